//! `concordat-audit`: hands its arguments to the library and ends with its exit code.

fn main() -> std::process::ExitCode {
    auditor::cli::run(std::env::args_os())
}
