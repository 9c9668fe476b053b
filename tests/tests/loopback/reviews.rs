//! Reviews and withdrawals on the same wire: signed where the auditor is, written by the server, found again by the next verification
//! (audit.md A39, A45).

use super::*;
use protocol::ids::{LeafIndex, SnapshotDigest, TaskId};
use protocol::release::{Withdrawal, WithdrawalReason};
use protocol::statement::Statement;
use server::admin;
use std::path::PathBuf;

/// What `concordat-audit` answers.
fn audit(args: &[&str]) -> String {
    let all = std::iter::once("concordat-audit").chain(args.iter().copied()).map(std::ffi::OsString::from);
    format!("{:?}", auditor::cli::run(all))
}

/// Signs a review of the first ten entries of the log with this key, and has the server write it.
async fn review(f: &Federation, key: &Path, out: &str) -> String {
    let (log, out) = (f.published().await, f.dir.path().join(out));
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let signed = audit(&["review", &text(&log), "--entries", "0..9", "--key", &text(key), "--out", &text(&out)]);
    assert_eq!(signed, format!("{:?}", std::process::ExitCode::SUCCESS));
    administer(vec!["review".into(), "--dir".into(), text(&f.server_dir()), text(&out.join("review.statement"))]).await
}

/// Files below the directories of a directory.
fn files_below(dir: &Path) -> usize {
    let below = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    below.map(|dir| std::fs::read_dir(dir).unwrap().count()).sum()
}

/// Of a task that is over what is older than asked for is deleted, and nothing of a task that the log does not have (audit.md A19).
async fn sealed_updates_go_on_record(f: &Federation) {
    let (dir, chunks) = (f.server_dir(), f.server_dir().join("chunks"));
    let order = |task, keep| AdminRequest::DeleteChunks { task, keep, unfinished: false };
    let refused = call(&dir, order(Some(TaskId([9; 16])), 0)).await;
    assert!(matches!(refused, AdminReply::Refused { reason: admin::Refusal::NoSuchTask }), "{refused:?}");
    let before = files_below(&chunks);
    let kept = call(&dir, order(None, 1)).await;
    assert!(matches!(kept, AdminReply::Deleted { rounds: 0, updates: 0, bytes: 0, left: 0 }), "{kept:?}");
    assert!(before > 0 && files_below(&chunks) == before, "the only round stays whole");
    let gone = call(&dir, order(None, 0)).await;
    assert!(matches!(gone, AdminReply::Deleted { rounds: 1, updates: 3, left: 0, .. }), "{gone:?}");
    assert_eq!(files_below(&chunks), 0);
    let again = call(&dir, order(None, 0)).await;
    assert!(matches!(again, AdminReply::Deleted { rounds: 0, left: 0, .. }), "{again:?}");
}

/// The copy verifies whole, and the log says how much was handed out (audit.md A19).
async fn a_copy_is_handed_out_on_record(f: &Federation) {
    let copy = f.dir.path().join("copy");
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let args = vec!["log".into(), "export".into(), "--dir".into(), text(&f.server_dir()), "--out".into(), text(&copy)];
    assert_eq!(administer(args).await, exit(0));
    let verdict = auditor::verify(&copy, &auditor::Options::default()).unwrap();
    assert!(verdict.verified && verdict.tree_size == verdict.entries, "{:?}", verdict.findings);
    let log = f.published().await;
    let whole = f.verify(&log);
    assert!(whole.verified, "{:?}", whole.findings);
    let entries = all_entries(&log, usize::try_from(whole.tree_size).unwrap());
    let at = entries.find("\"type\":\"audit.exported\"").unwrap();
    assert_eq!(field(&entries[at..], "size"), verdict.tree_size.to_string());
}

/// A key in the form that the auditor reads: 64 hexadecimal digits, for its owner only.
fn key_file(dir: &Path, name: &str, seed: &[u8]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join(name);
    let hex: String = seed.iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(&path, hex).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reviews_of_an_administrator_and_of_a_member_stand_in_the_log_and_a_strangers_does_not() {
    let done = format!("{:?}", std::process::ExitCode::SUCCESS);
    let mut f = Federation::start(3).await;
    f.propose(&plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 3")).await;
    f.ended().await;
    for client in std::mem::take(&mut f.clients) {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().unwrap();
    }
    // What was never released cannot be withdrawn.
    let (task, snapshot) = (TaskId([7; 16]), SnapshotDigest([9; 32]));
    let key = server::init::read_admin_key(&f.dir.path().join("admin.key")).unwrap();
    let said = Withdrawal { task, snapshot, reason: WithdrawalReason::Harmful, release: LeafIndex(0) };
    let statement = Statement::sign(&said, &key);
    let refused = call(&f.server_dir(), AdminRequest::Withdraw { statement }).await;
    assert!(matches!(refused, AdminReply::Refused { reason: admin::Refusal::NothingToWithdraw }), "{refused:?}");
    sealed_updates_go_on_record(&f).await;

    // The institutions come back as witnesses, so that every review is under a checkpoint.
    f.come_back(3);
    assert_eq!(review(&f, &f.dir.path().join("admin.key"), "review-1").await, done);
    let seed = std::fs::read(f.dir.path().join(name(1)).join("keys/institution.seed")).unwrap();
    let own = key_file(f.dir.path(), "member.key", &seed);
    assert_eq!(review(&f, &own, "review-2").await, done);
    let stranger = key_file(f.dir.path(), "stranger.key", &[5; 32]);
    assert_eq!(review(&f, &stranger, "review-3").await, format!("{:?}", std::process::ExitCode::from(1)));

    let log = f.published().await;
    let verdict = f.verify(&log);
    assert!(verdict.verified, "{:?}", verdict.findings);
    let entries = all_entries(&log, usize::try_from(verdict.tree_size).unwrap());
    let reviews: Vec<&str> = entries.match_indices("\"type\":\"audit.reviewed\"").map(|(at, _)| &entries[at..]).collect();
    assert_eq!(reviews.len(), 2);
    assert_eq!(entries.matches("\"type\":\"round.chunks.deleted\"").count(), 1);
    a_copy_is_handed_out_on_record(&f).await;
    for (review, (dir, actor)) in reviews.iter().zip([("review-1", "administrator"), ("review-2", "institution")]) {
        let findings = std::fs::read(f.dir.path().join(dir).join("findings.json")).unwrap();
        assert_eq!(field(review, "findings"), protocol::ids::Sha256(protocol::hash::sha256(&[&findings])).to_hex());
        assert_eq!((field(review, "role"), field(review, "first"), field(review, "last")), (actor, "0", "9"));
    }
}
