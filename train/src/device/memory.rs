//! How many records a device's memory holds at once, found by trial (training.md M9): a pass for which there is no room is tried again with
//! half as many. Which records are read together changes no result but for the order of sums.

use super::with_site;
use candle_core::Error;

/// What drivers and libraries say when there is no room. The engine passes their words on and has no error of its own for it.
const NO_ROOM: [&str; 3] = ["OUT_OF_MEMORY", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED"];

/// Whether an error of the engine says that a device's memory is full.
pub(crate) fn is_out_of_memory(error: &Error) -> bool {
    if let Error::Cuda(inner) = error {
        let said = format!("{inner} {inner:?}");
        return NO_ROOM.iter().any(|words| said.contains(words));
    }
    if let Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } | Error::WithPath { inner, .. } = error {
        return is_out_of_memory(inner);
    }
    false
}

/// How many of so many records this thread's device is known to hold at once; at least one.
pub(crate) fn fits(records: usize) -> usize {
    with_site(|site| site.map_or(records, |site| records.min(site.most()))).max(1)
}

/// How many to try after so many did not fit; none if that was a single one. The device remembers.
pub(crate) fn halve(tried: usize) -> Option<usize> {
    let next = tried / 2;
    if next > 0 {
        with_site(|site| site.into_iter().for_each(|site| site.at_most(next)));
    }
    (next > 0).then_some(next)
}

#[cfg(test)]
pub(crate) mod testing {
    use candle_core::Error;

    /// What the engine says when a GPU's memory is full.
    pub(crate) fn no_room() -> Error {
        Error::Cuda("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")".into()).bt()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Engine, attach};
    use super::testing::no_room;
    use super::*;
    use crate::direct::Precision;
    use std::sync::Arc;

    #[test]
    fn only_a_full_memory_is_taken_for_one() {
        assert!(is_out_of_memory(&no_room()) && is_out_of_memory(&no_room().context("a product")));
        assert!(is_out_of_memory(&Error::Cuda("CublasError(CUBLAS_STATUS_ALLOC_FAILED)".into())));
        assert!(!is_out_of_memory(&Error::Cuda("DriverError(CUDA_ERROR_INVALID_VALUE)".into())));
        assert!(!is_out_of_memory(&Error::Msg("a record is out of memory".into())));
    }

    /// On a thread of its own: what is attached stays attached.
    #[test]
    fn a_device_remembers_how_many_records_it_holds() {
        assert_eq!((fits(8), fits(0), halve(8), halve(1)), (8, 1, Some(4), None));
        std::thread::scope(|scope| {
            let found = scope.spawn(|| {
                attach(0, Arc::new(Engine::holding_models(Precision::F32)));
                (fits(8), halve(7), fits(8), fits(2), halve(1), fits(8))
            });
            assert_eq!(found.join().unwrap(), (8, Some(3), 3, 2, None, 3));
        });
    }
}
