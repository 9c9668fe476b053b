//! Do the service units start what there is, and shut the rest? Knows no other sample.

use std::ffi::OsString;
use std::process::ExitCode;

const SERVER_UNIT: &str = include_str!("../../../configs/systemd/concordat-server.service");
const CLIENT_UNIT: &str = include_str!("../../../configs/systemd/concordat-client.service");

/// Value of a directive; a unit has each at most once here.
fn directive<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    let mut found = unit.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    let first = found.next();
    assert!(found.next().is_none(), "{key} stands twice");
    first
}

/// Whether the program takes these arguments: it prints help before it does anything, but after it has read what stands before.
fn takes(run: impl FnOnce(Vec<OsString>) -> ExitCode, command: &str) -> bool {
    let args = command.split(' ').chain(["--help"]).map(OsString::from).collect();
    format!("{:?}", run(args)) == format!("{:?}", ExitCode::SUCCESS)
}

#[test]
fn the_service_units_start_what_there_is_and_shut_the_rest() {
    let start = |unit: &'static str| directive(unit, "ExecStart").unwrap();
    assert!(takes(server::cli::run, start(SERVER_UNIT)));
    assert!(takes(client::cli::run, start(CLIENT_UNIT)));
    for unit in [SERVER_UNIT, CLIENT_UNIT] {
        for (key, value) in [
            ("DynamicUser", "yes"),
            ("ProtectSystem", "strict"),
            ("NoNewPrivileges", "yes"),
            ("LimitCORE", "0"),
            ("LimitNOFILE", "65536"),
            ("Restart", "on-failure"),
        ] {
            assert_eq!(directive(unit, key), Some(value), "{key}");
        }
        let sections: Vec<_> = unit.lines().filter(|l| l.starts_with('[')).collect();
        assert_eq!(sections, ["[Unit]", "[Service]", "[Install]"]);
        let read = |l: &str| l.is_empty() || l.starts_with(['#', '[']) || l.contains('=');
        assert!(unit.lines().all(read));
    }
}
