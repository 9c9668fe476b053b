//! What a panic may say (audit.md A22, A23): where it happened, never what it quotes. A message of a library may hold a piece of the record that it
//! choked on, and standard error of a service ends in journals and support tickets. Both edges install this; knows no record.

use std::io::Write as _;
use std::panic::PanicHookInfo;

/// Withholds the messages of panics for the whole process; the place in our sources is told instead. Nothing at all is told where `catching`
/// says that this thread's panic will be caught: there a foreign reader refuses damaged input in its own way, and the refusal is told as one.
pub fn withhold(catching: fn() -> bool) {
    std::panic::set_hook(Box::new(move |info| {
        if !catching() {
            tell(info);
        }
    }));
}

fn tell(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), |l| format!("{}:{}:{}", l.file(), l.line(), l.column()));
    let said = "its message is withheld, because it may quote a record. Please report the place.";
    // Where nobody listens nothing can be told.
    writeln!(std::io::stderr(), "error: a bug of this program, at {place}; {said}").unwrap_or(());
}

/// What tests of the programs that withhold need: a panic ends the process that it is tried in, so it is one of its own.
#[cfg(any(test, feature = "test-doors"))]
pub mod doors {
    use std::process::Command;

    /// What a panic is to quote in vain.
    pub const CANARY: &str = "kanarienvogel";

    /// Runs an ignored test of the calling program alone. It is to call [`super::withhold`], then to panic this often, quoting [`CANARY`].
    ///
    /// # Panics
    /// If it does not fail, tells of more or fewer panics or of another place, or quotes the canary.
    pub fn assert_withheld(test: &str, panics: usize, place: &str) {
        let arguments = ["--exact", test, "--ignored", "--nocapture"];
        let program = std::env::current_exe().expect("a running test has a file");
        let child = Command::new(program).args(arguments).env("RUST_BACKTRACE", "0").output().expect("what runs can be run again");
        let said = [child.stdout, child.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!child.status.success() && said.contains("1 failed"), "{said}");
        assert_eq!(said.matches("a bug of this program, at ").count(), panics, "{said}");
        assert!(said.contains(place) && !said.contains(CANARY), "{said}");
    }
}

#[cfg(test)]
mod tests {
    use super::doors::{CANARY, assert_withheld};
    use std::cell::Cell;

    thread_local! {
        static CAUGHT: Cell<bool> = const { Cell::new(false) };
    }

    #[test]
    #[ignore = "panics on purpose: the next test runs it as a process of its own"]
    fn a_library_chokes_on_a_record() {
        super::withhold(|| CAUGHT.get());
        CAUGHT.set(true);
        assert!(std::panic::catch_unwind(|| -> u8 { panic!("{CANARY} in a damaged file") }).is_err());
        CAUGHT.set(false);
        let record = format!("{CANARY} \u{e9}");
        // A thread as training uses them, and a slice that ends inside a letter, whose panic quotes the text.
        let worker = std::thread::spawn(move || record[..CANARY.len() + 2].len());
        assert!(worker.join().is_err(), "it was to panic");
        panic!("{CANARY} again, on the main thread");
    }

    #[test]
    fn no_panic_quotes_a_record() {
        assert_withheld("panics::tests::a_library_chokes_on_a_record", 2, "panics.rs:");
    }
}
