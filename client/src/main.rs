//! `concordat-client`: the institution's program. Everything is in the library.

fn main() -> std::process::ExitCode {
    client::panics::withhold();
    client::cli::run(std::env::args_os())
}
