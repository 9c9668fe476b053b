//! `concordat-client`: the institution's program. Everything is in the library.

fn main() -> std::process::ExitCode {
    client::cli::run(std::env::args_os())
}
