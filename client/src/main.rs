//! `concordat-client`: the institution's program. Everything is in the library.

fn main() -> std::process::ExitCode {
    guard();
    client::cli::run(std::env::args_os())
}

/// What this process must never say: the text of a panic, and its memory in a core file (audit.md A22, A23).
fn guard() {
    privacy::panics::withhold(corpus::foreign::catching);
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        eprintln!("warning: core files could not be forbidden ({error}); set `ulimit -c 0`");
    }
}

#[cfg(test)]
mod tests {
    use privacy::panics::doors::{CANARY, assert_withheld};

    #[test]
    #[ignore = "panics on purpose: the next test runs it as a process of its own"]
    fn a_guarded_process_chokes_on_a_record() {
        super::guard();
        assert_eq!(rlimit::getrlimit(rlimit::Resource::CORE).ok(), Some((0, 0)), "no core file, and nobody below raises the limit again");
        // What a foreign reader does with a damaged file is told as that, not as a bug of this program.
        assert!(corpus::foreign::caught(|| -> u8 { panic!("{CANARY} stands in a damaged file") }).is_err());
        panic!("{CANARY} stands in a record");
    }

    #[test]
    fn this_program_neither_quotes_a_record_nor_leaves_its_memory() {
        // The line of the panic, not of the assertion before it.
        let line = include_str!("main.rs").lines().position(|l| l.contains("stands in a record")).unwrap() + 1;
        assert_withheld("tests::a_guarded_process_chokes_on_a_record", 1, &format!("main.rs:{line}:"));
    }
}
