//! A pack made from the small honest log, and what becomes of the verdict when it is altered or tells of a broken rule.

use super::{BadPack, EvidenceVerdict, verify_evidence};
use crate::finding::Severity;
use crate::tests::fixture::{Files, write};
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use protocol::ids::Sha256;
use protocol::trust::TrustDocument;

fn pack(twist: Twist) -> (Files, Sha256) {
    let draft = tell(twist);
    (crate::tests::pack::pack(&draft), TrustDocument::hash(&draft.trust))
}

fn check(files: &Files, trust: Option<Sha256>) -> EvidenceVerdict {
    verify_evidence(write(files).path(), trust).unwrap()
}

#[test]
fn an_honest_pack_verifies_and_says_what_was_spent() {
    let (files, trust) = pack(Twist::None);
    let v = check(&files, Some(trust));
    assert_eq!((v.exit_code, v.findings.as_slice(), v.trust_pinned), (0, [].as_slice(), true));
    assert_eq!((v.name.as_str(), v.cosigners.as_slice()), ("clinic-1", ["w1".to_owned(), "w2".to_owned()].as_slice()));
    assert_eq!((v.datasets.len(), v.datasets[0].spends, v.datasets[0].ledger_agrees), (1, 2, None));
    assert!(v.datasets[0].epsilon.is_some() && v.statements >= 5);
    let text = super::render(&v);
    assert!(text.contains("Everything that was checked holds.") && text.contains("no entry about the institution was left out"));
    assert_eq!(check(&files, Some(Sha256([0; 32]))).exit_code, 1);
}

#[test]
fn a_site_log_is_compared_with_its_anchors() {
    use protocol::ids::{PlanDigest, TaskId};
    use protocol::site::{SiteEntry, SiteFacts};
    let entry = |seq: u64| {
        let facts = SiteFacts::PolicyDecided { task: TaskId([1; 16]), plan: PlanDigest([2; 32]), policy: Sha256([3; 32]), code: 0 };
        SiteEntry { v: 1, seq, ts: "2026-01-02T03:04:05.006Z".into(), facts }.to_bytes()
    };
    let lines: Vec<u8> = (0..9).flat_map(|seq| [entry(seq), vec![b'\n']].concat()).collect();
    // The story anchors roots that no log gives.
    let (mut files, _) = pack(Twist::Anchored);
    files.insert("site/log.jsonl".to_owned(), lines);
    let v = check(&files, None);
    assert_eq!((v.exit_code, v.anchors, v.site_entries), (1, 2, Some(9)));
    assert!(v.findings.iter().all(|f| f.clause.starts_with("A27")) && v.findings.len() == 2, "{:?}", v.findings);
    files.insert("site/log.jsonl".to_owned(), b"{}\n".to_vec());
    assert_eq!(check(&files, None).exit_code, 1);
    assert_eq!(check(&pack(Twist::AnchorFalls).0, None).exit_code, 3);
}

#[test]
fn a_spend_that_breaks_a_rule_is_named_in_a_pack_too() {
    for (twist, clause) in [(Twist::CapExceeded, "I8: epsilon is above the signed cap"), (Twist::EpsilonUnderstated, "recomputation")] {
        let v = check(&pack(twist).0, None);
        assert!(v.exit_code == 3 && v.findings.iter().any(|f| f.clause.contains(clause)), "{:?}", v.findings);
    }
}

#[test]
fn a_forged_statement_and_every_flipped_byte_of_a_receipt_are_found() {
    assert_eq!(check(&pack(Twist::ForgedStatement).0, None).exit_code, 1);
    let (files, _) = pack(Twist::None);
    let (path, bytes) = files.iter().find(|(p, _)| p.starts_with("entries/") && !p.contains("00000000000000000000.")).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut altered = files.clone();
        altered.get_mut(path).unwrap()[at] ^= 1;
        assert_ne!(check(&altered, None).exit_code, 0, "byte {at} of {path}");
    }
}

#[test]
fn a_policy_that_nobody_activated_and_a_missing_admission_are_found() {
    let (files, _) = pack(Twist::None);
    let mut other = files.clone();
    let policy = String::from_utf8(files["policy.txt"].clone()).unwrap();
    other.insert("policy.txt".to_owned(), format!("{policy}\n").into_bytes());
    assert_ne!(verify_evidence(write(&other).path(), None).map_or(1, |v| v.exit_code), 0);
    let mut alone = files.clone();
    for (path, bytes) in &files {
        if path.starts_with("entries/") && bytes.windows(13).any(|w| w == b"member.joined") {
            alone.remove(path);
        }
    }
    let v = check(&alone, None);
    assert!(v.exit_code == 4 && v.findings.iter().any(|f| f.severity == Severity::Incomplete && f.clause.starts_with("I9")));
}

#[test]
fn what_is_no_pack_is_an_error_and_no_verdict() {
    let (mut files, _) = pack(Twist::None);
    files.remove("policy.txt");
    assert!(matches!(verify_evidence(write(&files).path(), None), Err(BadPack::File("policy.txt"))));
    assert!(verify_evidence(&write(&Files::new()).path().join("nowhere"), None).is_err());
}

/// A14: where two administrators must say the same, one of them makes no policy that a pack could rest on.
#[test]
fn a_pack_rests_on_what_enough_administrators_said() {
    let (files, trust) = pack(Twist::ReleaseByBoth);
    assert_eq!(check(&files, Some(trust)).findings, []);
    let v = check(&pack(Twist::PolicyByOneOfTwo).0, None);
    assert!(v.exit_code == 1 && v.findings.iter().any(|f| f.clause.starts_with("A12: the policy is one")), "{:#?}", v.findings);
}

/// What was paid beside the tasks rests on a declared dataset, as a spend does.
#[test]
fn a_release_of_a_dataset_that_is_not_declared_is_named() {
    const CLAUSE: &str = "I8: scalar release from a dataset that was not declared";
    let (mut files, _) = pack(Twist::CountsPaid);
    let whole = check(&files, None);
    assert_eq!((whole.datasets[0].stated_releases, whole.datasets[0].releases), (1, None));
    assert!(whole.findings.iter().all(|f| f.clause != CLAUSE), "{:?}", whole.findings);
    files.retain(|_, bytes| !bytes.windows(16).any(|w| w == b"dataset.declared"));
    let v = check(&files, None);
    assert!(v.exit_code == 3 && v.findings.iter().any(|f| f.clause == CLAUSE), "{:?}", v.findings);
    // A ledger that nobody asked for proves nothing, and is not passed over.
    files.insert(format!("ledger/{}.ledger", Sha256([5; 32])), b"any bytes".to_vec());
    assert!(
        check(&files, None).findings.iter().any(|f| f.clause.starts_with("I8: a ledger in the pack") && f.severity == Severity::Notice)
    );
}

/// What the institution said is held against the key that it had when it said it.
#[test]
fn a_pack_follows_a_new_statement_key_and_takes_no_word_of_the_old_one() {
    const CLAUSE: &str = "A17: a statement is signed by the key that the institution had";
    let (files, trust) = pack(Twist::StatementKeyRotated);
    let v = check(&files, Some(trust));
    assert_eq!((v.exit_code, v.findings.as_slice(), v.datasets[0].spends), (0, [].as_slice(), 2));
    let is_named = |v: &EvidenceVerdict| v.exit_code == 1 && v.findings.iter().any(|f| f.clause.starts_with(CLAUSE));
    assert!(is_named(&check(&pack(Twist::OldStatementKey).0, None)));
    // Without the entry that names it, the new key is a stranger's.
    let mut without = files.clone();
    without.retain(|path, bytes| !(path.starts_with("entries/") && bytes.windows(11).any(|w| w == b"key.rotated")));
    assert!(without.len() + 1 == files.len() && is_named(&check(&without, Some(trust))));
}

/// What the institution itself compared when it joined is held against the documents that its receipts lead to.
#[test]
fn a_pack_whose_institution_joined_under_another_trust_document_is_named() {
    let v = check(&pack(Twist::OtherTrustShown).0, None);
    assert!(v.exit_code == 3 && v.findings.iter().any(|f| f.clause.starts_with("A14: an institution joins")), "{:#?}", v.findings);
}
