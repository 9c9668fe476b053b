//! `concordat-server`: the aggregator and its administration.

fn main() -> std::process::ExitCode {
    server::cli::run(std::env::args_os())
}
