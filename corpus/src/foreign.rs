//! Calls into foreign readers that panic on some damaged bytes instead of saying that they are damaged. Such a panic is a refusal of the input
//! and no bug of ours: whoever tells of panics asks [`catching`] first. Must not know what is read.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// A foreign reader panicked. What it said is gone: it may have quoted what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choked;

/// Runs a foreign reader on this thread.
///
/// # Errors
/// [`Choked`] if it panicked. What `read` holds then may be half done: it is to be dropped, never used again.
pub fn caught<T>(read: impl FnOnce() -> T) -> Result<T, Choked> {
    let before = CATCHING.replace(true);
    let read = std::panic::catch_unwind(AssertUnwindSafe(read));
    CATCHING.set(before);
    read.map_err(|_| Choked)
}

/// Whether a panic of this thread is caught here and ends as a refusal, so that nobody needs to hear of it.
pub fn catching() -> bool {
    CATCHING.try_with(Cell::get).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_caught_is_known_while_it_is_read_and_not_longer() {
        assert!(!catching());
        assert_eq!(caught(catching), Ok(true));
        let nested = caught(|| {
            let inner = caught(|| -> u8 { panic!("on purpose") });
            (inner, catching())
        });
        assert_eq!(nested, Ok((Err(Choked), true)), "the outer call still catches");
        assert!(!catching());
        assert_eq!(caught(|| std::thread::spawn(catching).join().ok()), Ok(Some(false)), "another thread is not caught here");
    }
}
