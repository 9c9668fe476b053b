//! The small log that the auditor's own tests are told about, and what an outsider may be handed of it: a pack of evidence, a proof of a fork.

#[path = "../../../auditor/src/tests/fixture.rs"]
mod fixture;
#[path = "../../../auditor/src/tests/pack.rs"]
mod pack;
#[path = "../../../auditor/src/tests/sealing.rs"]
mod sealing;
#[path = "../../../auditor/src/tests/secrets.rs"]
mod secrets;
#[expect(dead_code, reason = "the log without the files of its model is enough here")]
#[path = "../../../auditor/src/tests/story.rs"]
mod story;
#[path = "../../../auditor/src/tests/twist.rs"]
mod twist;

use fixture::{Draft, Files, write};
use protocol::ids::{PlanDigest, Sha256, TaskId};
use protocol::site::{SiteEntry, SiteFacts};
use twist::Twist;

/// Lines of a site log.
pub(crate) fn site_entries() -> Vec<Vec<u8>> {
    let facts = SiteFacts::PolicyDecided { task: TaskId([1; 16]), plan: PlanDigest([2; 32]), policy: Sha256([3; 32]), code: 0 };
    let entry = |seq| SiteEntry { v: 1, seq, ts: "2026-01-02T03:04:05.006Z".into(), facts: facts.clone() }.to_bytes();
    (0..3).map(entry).collect()
}

/// What institutions may tell beside a log.
pub(crate) fn sidecars() -> Vec<Vec<u8>> {
    (0..3).map(|who| story::name_of_dataset(who).to_bytes()).collect()
}

/// The pack of one of its institutions, with a site log.
pub(crate) fn pack() -> Files {
    let mut files = pack::pack(&story::tell(Twist::None));
    files.insert("site/log.jsonl".to_owned(), site_entries().into_iter().flat_map(|line| [line, vec![b'\n']].concat()).collect());
    files
}

/// What a chunk store, a server's `sums/` and a server's `models/` hold of it.
pub(crate) fn lists() -> [Vec<u8>; 3] {
    let draft = story::tell(Twist::None);
    let list = draft.chunks.iter().find(|(name, _)| name.ends_with(".list")).unwrap().1;
    let first = |files: &Files| files.values().next().unwrap().clone();
    [list.clone(), first(&draft.sums), first(&draft.snapshots)]
}

/// A proof that this log has told two stories.
pub(crate) fn fork() -> Vec<u8> {
    let draft = story::tell(Twist::None);
    let mut entries = draft.entries.clone();
    entries[100] = String::from_utf8(entries[100].clone()).unwrap().replacen("status.read", "update.submit", 1).into_bytes();
    let other = Draft { entries, ..draft.clone() };
    let difference = auditor::diff::diff(write(&draft.files()).path(), write(&other.files()).path()).unwrap();
    difference.proof.unwrap().to_bytes()
}
