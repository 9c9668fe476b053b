//! The story on a real wire: real quinn, real TLS, real files, four institutions, a tiny model. What is failure here: a round that does not
//! close, a log that does not verify, a byte that can be changed unnoticed, a secret or a record in the wrong place. What is not: slowness.

use protocol::ids::RoundId;
use server::admin::{AdminReply, AdminRequest};
use std::path::Path;
use std::time::Duration;

#[path = "loopback/administrators.rs"]
mod administrators;
#[path = "loopback/checkpoint.rs"]
mod checkpoint;
#[path = "loopback/counting.rs"]
mod counting;
#[path = "loopback/families.rs"]
mod families;
#[path = "loopback/federation.rs"]
mod federation;
#[path = "loopback/keys.rs"]
mod keys;
#[path = "loopback/means.rs"]
mod means;
#[path = "loopback/mixed.rs"]
mod mixed;
#[path = "loopback/released.rs"]
mod released;
#[path = "loopback/renewals.rs"]
mod renewals;
#[path = "loopback/reviews.rs"]
mod reviews;
#[path = "loopback/rollback.rs"]
mod rollback;
#[path = "loopback/scheduled.rs"]
mod scheduled;
#[path = "loopback/standing.rs"]
mod standing;
#[path = "loopback/sums.rs"]
mod sums;
#[path = "loopback/trusts.rs"]
mod trusts;

use federation::*;
use sums::opened_sums_are_exact;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_institutions_train_open_only_sums_and_leave_a_log_that_verifies() {
    let mut f = Federation::start(4).await;
    let plan = f.propose(&plan_toml(2, 120_000, 2)).await;
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(2)));
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1, 2, 3]);

    let log = f.log();
    let verdict = f.verify(&log);
    assert!(verdict.verified, "{:?}", verdict.findings);

    // No record, key or path of an institution has reached the server or the log.
    let secrets = secrets(f.dir.path(), 4);
    assert!(secrets.len() >= 4, "the test must know the keys it looks for");
    let updates: Vec<Vec<u8>> =
        f.integers.lock().unwrap().values().map(|v| v.iter().take(16).flat_map(|x| x.to_le_bytes()).collect()).collect();
    for file in files(&f.server_dir()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!updates.iter().any(|u| contains(&bytes, u)), "an unsealed update is in {}", file.display());
        assert!(!contains(&bytes, CANARY.as_bytes()), "a record's text is in {}", file.display());
        assert!(!secrets.iter().any(|s| contains(&bytes, s)), "a key is in {}", file.display());
    }
    nothing_of_records_is_shown(&f, &log);
    every_flipped_byte_is_found(&f, &log);
}

/// No text, person, path or name of data is in anybody's copy of the log, nor in anything that is made of it (audit.md A22, F41).
fn nothing_of_records_is_shown(f: &Federation, log: &Path) {
    for file in (0..4).flat_map(|i| files(&f.dir.path().join(name(i)).join("mirror"))) {
        assert!(!contains(&std::fs::read(&file).unwrap(), CANARY.as_bytes()), "of a record in {}", file.display());
    }
    let (options, verdict) = (auditor::Options::default(), f.verify(log));
    let mut shown = vec![auditor::table::render(&verdict), serde_json::to_string(&verdict).unwrap()];
    for language in [auditor::report::Language::English, auditor::report::Language::Chinese] {
        shown.push(auditor::report::report(log, &options, language).unwrap().0);
    }
    use auditor::export::{Doubt, Form, export};
    for form in [Form::JsonLines, Form::Csv, Form::Ocsf, Form::ProvJson] {
        let mut out = Vec::new();
        export(log, &options, form, &auditor::select::Selection::default(), Doubt::Refuse, &mut out).unwrap();
        shown.push(String::from_utf8(out).unwrap());
    }
    assert!(shown.iter().all(|text| text.len() > 100 && !text.contains(CANARY)), "of a record in what auditors are shown");
}

/// Flips one byte in each file of the log, each time at another place of the file (the auditor's own tests flip many in each); signature lines of notes are left out: an unknown signature is ignored by rule.
fn every_flipped_byte_is_found(f: &Federation, log: &Path) {
    for (turn, file) in files(log).into_iter().enumerate() {
        let whole = std::fs::read(&file).unwrap();
        let is_note = file.file_name().is_some_and(|n| n == "checkpoint") || file.extension().is_some_and(|e| e == "note");
        let body = if is_note { whole.windows(2).position(|w| w == b"\n\n").unwrap() } else { whole.len() };
        let at = [0, body / 3, body / 2, body - 1][turn % 4];
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(f.verify(log).exit_code, 1, "byte {at} of {}: an altered file is an integrity failure", file.display());
        std::fs::write(&file, &whole).unwrap();
    }
    assert_eq!(f.verify(log).exit_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_vanishes_mid_round_does_not_stop_the_others() {
    let mut f = Federation::start(4).await;
    let plan = f.propose(&plan_toml(2, 15_000, 1)).await;
    // Gone when it has trained but sent nothing, or little, of its first update.
    loop {
        let seen = tokio::time::timeout(PATIENCE, f.trained.recv()).await.expect("nobody trains");
        if let Some((0, _)) = seen {
            break;
        }
    }
    f.clients[0].abort();
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(2)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let last = verdict.tasks[0].rounds.last().unwrap();
    assert_eq!((last.state, last.groups[0].cohort), ("closed", 3));
    // Round 2 certainly ran without it.
    let integers = f.integers.lock().unwrap();
    assert!(!integers.contains_key(&(plan.rounds, 0, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_stops_mid_round_goes_on_where_its_log_ends() {
    let mut f = Federation::start(3).await;
    // A client that was in the middle of the abandoned round may be waited for until the deadline; it must not hold the test up.
    let plan = plan_toml(3, 30_000, 1).replace("decryptors = 4", "decryptors = 3");
    f.propose(&plan).await;
    // Somebody has trained, so a round is under way.
    tokio::time::timeout(PATIENCE, f.trained.recv()).await.expect("nobody trains");
    let address = std::fs::read_to_string(f.server_dir().join("address")).unwrap();
    call(&f.server_dir(), AdminRequest::Stop {}).await;
    let (dir, config) = (f.server_dir(), format!("listen = \"{address}\""));
    let old = std::mem::replace(&mut f.server, tokio::spawn(async { Ok(()) }));
    tokio::time::timeout(PATIENCE, old).await.unwrap().unwrap().unwrap();
    let config = server::config::Config::parse(&config, Path::new("test")).unwrap();
    let started = tokio::spawn(async move { server::serve::run(&dir, &config).await });
    until(async || {
        assert!(!started.is_finished(), "the server does not start again");
        f.server_dir().join("address").exists().then_some(())
    })
    .await;
    f.server = started;

    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(3)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let states: Vec<_> = verdict.tasks[0].rounds.iter().map(|r| r.state).collect();
    assert_eq!(states.len(), 3);
    assert_eq!(states.last(), Some(&"closed"), "{states:?}");
    assert!(states.iter().filter(|s| **s == "abandoned").count() <= 1, "{states:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_works_once_and_a_stranger_is_denied() {
    let dir = tempfile::tempdir().unwrap();
    let (server_dir, key) = (dir.path().join("server"), dir.path().join("admin.key"));
    server::init::init(&server_dir, "loop", &key).unwrap();
    assert!(server::init::init(&server_dir, "loop", &key).is_err(), "a federation is never overwritten");
    let config = server::config::Config::parse("listen = \"127.0.0.1:0\"", Path::new("test")).unwrap();
    let serving = server_dir.clone();
    let server = tokio::spawn(async move { server::serve::run(&serving, &config).await });
    until(async || server_dir.join("address").exists().then_some(())).await;
    let AdminReply::Token { line } = call(&server_dir, AdminRequest::Invite { institution: "a".into(), ttl_s: 600 }).await else {
        panic!()
    };
    let first = dir.path().join("first");
    let waits = client::join::join(&first, &line, Duration::from_secs(2), &mut |_| {}).await;
    assert!(matches!(waits, Err(client::join::JoinError::StillPending)), "nobody has approved yet");
    let thief = client::join::join(&dir.path().join("thief"), &line, Duration::from_secs(5), &mut |_| {}).await;
    assert!(matches!(thief, Err(client::join::JoinError::Rejected(_))), "the token is used up");
    // A second server on the same directory would fork the log.
    let second = server::config::Config::parse("listen = \"127.0.0.1:0\"", Path::new("test")).unwrap();
    assert!(server::serve::run(&server_dir, &second).await.is_err());
    call(&server_dir, AdminRequest::Stop {}).await;
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}
