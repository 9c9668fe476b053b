//! `concordat-demo`: a federation at home. Carries server, client and auditor and starts itself again in these roles.

fn main() -> std::process::ExitCode {
    demo::cli::run(std::env::args_os().collect())
}
