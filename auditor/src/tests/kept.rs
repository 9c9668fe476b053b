//! Logs that are kept for ever (audit.md A51): every later version of this program verifies them, and finds in them what was found when they were
//! made. A log that is missing is made, and one that is there is never touched, by
//! `CONCORDAT_WRITE_VECTORS=1 cargo test -p concordat-auditor --lib kept`.

use super::fixture::put;
use super::story::tell;
use super::twist::Twist;
use crate::dir::Directory;
use crate::entries::walk;
use crate::{Options, verify};
use protocol::entry::{EntryKind, LogEntry};
use protocol::ids::Sha256;
use protocol::trust::TrustDocument;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One log in which almost everything happens, and one whose second sum fails.
const KEPT: [(&str, Twist); 2] = [("whole", Twist::Everything), ("failed-sum", Twist::SumFails)];

/// Types that no kept log has yet: what tells of them is a test of its own.
const NOT_KEPT: [EntryKind; 10] = [
    EntryKind::TrustChanged,
    EntryKind::SitePolicyDeclared,
    EntryKind::BudgetRepaired,
    EntryKind::BudgetExhausted,
    EntryKind::RoundJoined,
    EntryKind::NonceRevealed,
    EntryKind::UpdateRejected,
    EntryKind::UpdateDropped,
    EntryKind::RoundChunksDeleted,
    EntryKind::AuditExported,
];

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/v1").join(name)
}

/// What is known of a log from when it was made: beside its directory, as an auditor would have it from elsewhere.
fn known(name: &str) -> Value {
    let path = place(&format!("{name}.json"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; make it as the first lines of this file say", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// One test makes what the other waits for.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes a log that is not there yet.
fn make(name: &str, twist: Twist) {
    let _made = MAKING.lock().unwrap();
    if place(name).exists() {
        return;
    }
    let draft = tell(twist);
    draft.files().iter().for_each(|(path, bytes)| put(&place(name), path, bytes));
    let v = verify(&place(name), &Options::default()).unwrap();
    assert_eq!(v.exit_code, 0, "{name} is not worth keeping: {:#?}", v.findings);
    let about = json!({
        "made_by": env!("CARGO_PKG_VERSION"), "trust_hash": TrustDocument::hash(&draft.trust), "root": v.root, "entries": v.entries,
    });
    put(&place(""), &format!("{name}.json"), format!("{about:#}\n").as_bytes());
}

fn for_each(look: impl Fn(&str, &Value)) {
    for (name, twist) in KEPT {
        if std::env::var_os("CONCORDAT_WRITE_VECTORS").is_some() {
            make(name, twist);
        }
        look(name, &known(name));
    }
}

#[test]
fn every_kept_log_verifies_to_the_root_that_it_had_when_it_was_made() {
    for_each(|name, known| {
        let trust_hash: Sha256 = known["trust_hash"].as_str().unwrap().parse().unwrap();
        let v = verify(&place(name), &Options { trust_hash: Some(trust_hash), quorum: Some(2), ..Options::default() }).unwrap();
        assert_eq!((v.exit_code, v.trust_pinned, v.quorum.met), (0, true, true), "{name}: {:#?}", v.findings);
        assert_eq!((v.root.as_deref(), Some(v.entries)), (known["root"].as_str(), known["entries"].as_u64()), "{name}");
        assert!(v.tree_size == v.entries && v.tasks[0].rounds.len() == 2 && v.tasks[0].rounds[0].groups[0].key_sum_confirmed, "{name}");
    });
}

/// A type that is new gets into a kept log, or among those that are said not to be in one.
#[test]
fn kept_logs_have_an_entry_of_every_type_but_those_that_are_named() {
    let seen = std::cell::RefCell::new(BTreeSet::new());
    for_each(|name, known| {
        let log = Directory::open(&place(name)).unwrap();
        let walked = walk(&log, known["entries"].as_u64().unwrap(), known["root"].as_str(), |_, bytes| {
            seen.borrow_mut().insert(LogEntry::parse(bytes).unwrap().kind());
            Ok(())
        });
        assert!(walked.is_ok(), "{name}: {:?}", walked.err());
    });
    let seen = seen.into_inner();
    let missing: Vec<EntryKind> = EntryKind::ALL.iter().copied().filter(|kind| !seen.contains(kind)).collect();
    assert_eq!(missing, NOT_KEPT);
}
