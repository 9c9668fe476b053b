//! As many records in one pass as a device's memory holds, found by trial (training.md M9).

use super::FitError;
use super::order::Item;
use crate::device;

/// Passes over all of these items in their order; `pass` gets the number of its first item. One for which there is no room is tried again with
/// half as many, and must have left nothing behind. The device remembers what fitted.
pub(super) fn in_passes<'a>(
    items: &'a [Item<'a>],
    pass: impl FnMut(usize, &'a [Item<'a>]) -> Result<(), FitError>,
) -> Result<(), FitError> {
    tried(items, device::fits(items.len()), device::halve, pass)
}

/// The same without what the device remembers: a judgement depends on the items alone, and changes no pass of the training around it.
pub(super) fn in_passes_of_judgement<'a>(
    items: &'a [Item<'a>],
    pass: impl FnMut(usize, &'a [Item<'a>]) -> Result<(), FitError>,
) -> Result<(), FitError> {
    tried(items, items.len(), |tried| Some(tried / 2).filter(|&next| next > 0), pass)
}

fn tried<'a>(
    items: &'a [Item<'a>],
    mut most: usize,
    halve: impl Fn(usize) -> Option<usize>,
    mut pass: impl FnMut(usize, &'a [Item<'a>]) -> Result<(), FitError>,
) -> Result<(), FitError> {
    let mut at = 0;
    while at < items.len() {
        let now = &items[at..items.len().min(at + most)];
        match pass(at, now) {
            Ok(()) => at += now.len(),
            Err(e) => {
                let said = e.out_of_memory()?;
                most = halve(now.len()).ok_or(FitError::Memory(Box::new(said)))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Record;
    use crate::device::memory::testing::no_room;
    use crate::device::{Engine, attach};
    use crate::direct::{DirectError, Precision};
    use std::sync::Arc;

    #[test]
    fn what_has_no_room_is_read_in_halves_and_nothing_twice() {
        let record = Record { tokens: vec![1], class: 0, labels: Vec::new() };
        let items = [Item::Record(&record); 7];
        for room in [1, 2, 3, 7] {
            let mut seen = [Vec::new(), Vec::new()];
            let [training, judgement] = &mut seen;
            let read = in_passes(&items, |at, now| within(room, at, now, training));
            let judged = in_passes_of_judgement(&items, |at, now| within(room, at, now, judgement));
            assert!(read.is_ok() && judged.is_ok(), "{room}");
            assert_eq!(seen, [(0..7).collect::<Vec<usize>>(), (0..7).collect()], "{room}");
        }
        assert!(matches!(in_passes(&items, |_, _| Err(no_room().into())), Err(FitError::Memory(_))));
        assert!(matches!(in_passes(&items, |_, _| Err(FitError::Model)), Err(FitError::Model)));
        // Without a graph a part of the gradient may be there already.
        let written_out = || FitError::Data(DirectError::Engine(no_room()));
        assert!(matches!(in_passes(&items, |_, _| Err(written_out())), Err(FitError::Data(_))));
    }

    fn within(room: usize, at: usize, now: &[Item<'_>], seen: &mut Vec<usize>) -> Result<(), FitError> {
        if now.len() > room {
            return Err(no_room().into());
        }
        seen.extend(at..at + now.len());
        Ok(())
    }

    /// A killed run goes on to the same end wherever it was judged.
    #[test]
    fn what_had_no_room_in_a_judgement_is_not_remembered() {
        let record = Record { tokens: vec![1], class: 0, labels: Vec::new() };
        let items = [Item::Record(&record); 8];
        std::thread::scope(|scope| {
            let found = scope.spawn(|| {
                attach(0, Arc::new(Engine::holding_models(Precision::F32)));
                let mut seen = Vec::new();
                in_passes_of_judgement(&items, |at, now| within(2, at, now, &mut seen)).unwrap();
                let after_judging = device::fits(8);
                in_passes(&items, |at, now| within(2, at, now, &mut seen)).unwrap();
                (after_judging, device::fits(8))
            });
            assert_eq!(found.join().unwrap(), (8, 2));
        });
    }
}
