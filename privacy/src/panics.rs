//! What a panic may say (audit.md A22, A23): where it happened, never what it quotes. A message of a library may hold a piece of the record that it
//! choked on, and standard error of a service ends in journals and support tickets. Both edges install this; knows no record.

use std::io::Write as _;
use std::panic::PanicHookInfo;

/// Withholds the messages of panics for the whole process; the place in our sources is told instead.
pub fn withhold() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), |l| format!("{}:{}:{}", l.file(), l.line(), l.column()));
    let said = "its message is withheld, because it may quote a record. Please report the place.";
    // Where nobody listens nothing can be told.
    writeln!(std::io::stderr(), "error: a bug of this program, at {place}; {said}").unwrap_or(());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const CANARY: &str = "kanarienvogel";

    #[test]
    #[ignore = "panics on purpose: the next test runs it as a process of its own"]
    fn a_library_chokes_on_a_record() {
        super::withhold();
        let record = format!("{CANARY} \u{e9}");
        // A thread as training uses them, and a slice that ends inside a letter, whose panic quotes the text.
        let worker = std::thread::spawn(move || record[..CANARY.len() + 2].len());
        assert!(worker.join().is_err(), "it was to panic");
        panic!("{CANARY} again, on the main thread");
    }

    #[test]
    fn no_panic_quotes_a_record() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::tests::a_library_chokes_on_a_record", "--ignored", "--nocapture"])
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let said = [child.stdout, child.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!child.status.success() && said.contains("1 failed"), "{said}");
        assert_eq!(said.matches("a bug of this program, at ").count(), 2, "{said}");
        assert!(said.contains("panics.rs:") && !said.contains(CANARY), "{said}");
    }
}
