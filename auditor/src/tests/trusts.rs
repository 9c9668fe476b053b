//! Another trust document in force: who must have said so, whose words count on either side of it, and which hash an auditor may bring.

use super::fixture::{Draft, write};
use super::invariants::{WAITS, expect, expect_clean, verdict};
use super::story::{server, tell};
use super::twist::Twist;
use crate::evidence::verify_evidence;
use crate::{Options, verify};
use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::entry::{Facts, LogEntry};
use protocol::history::History;
use protocol::ids::Sha256;
use protocol::plan::Plan;
use protocol::statement::Statement;
use protocol::trust::TrustDocument;

/// Hashes of the trust documents that a story's log leads to, oldest first.
fn hashes(draft: &Draft) -> Vec<Sha256> {
    let mut history = History::new(TrustDocument::parse(&draft.trust).unwrap());
    for bytes in &draft.entries {
        history.apply(bytes);
    }
    history.trusts().iter().map(|t| t.hash).collect()
}

#[test]
fn administrators_hand_over_and_whoever_they_name_decides_from_there_on() {
    for twist in [Twist::TrustChanged, Twist::TrustChangedByBoth, Twist::TrustChangedTwice] {
        expect_clean(twist);
    }
    let v = verdict(Twist::TrustChangedByBoth);
    let change = &v.trust_changes[0];
    assert_eq!((v.trust_changes.len(), change.approvals, change.needed), (1, 2, 2));
    assert_eq!((change.administrators, change.threshold, change.server_key_changed), (1, 1, false));
    let text = crate::table::render(&v);
    assert!(text.contains("trust document in force") && text.contains(&change.fingerprint), "{text}");
    assert_eq!(verdict(Twist::TrustChangedTwice).trust_changes.len(), 2);
    assert!(verdict(Twist::None).trust_changes.is_empty());
}

#[test]
fn a_change_by_too_few_has_no_effect_and_who_goes_on_as_if_it_had_is_found() {
    expect(Twist::TrustChangedByOneOfTwo, 1, "A17: statement is not signed by a key enrolled at this index");
    let v = verdict(Twist::TrustChangedByOneOfTwo);
    assert!(v.trust_changes.is_empty() && v.findings.iter().any(|f| f.clause.starts_with(WAITS)), "{:#?}", v.findings);
    expect(Twist::TrustChangedByTheNewOnly, 1, "A17: statement is not signed by a key enrolled at this index");
    assert!(verdict(Twist::TrustChangedByTheNewOnly).trust_changes.is_empty());
}

#[test]
fn a_change_over_another_document_or_of_what_never_changes_is_named() {
    expect(Twist::TrustChangedFromAnother, 3, "I11: a new trust document names the one that is in force before it");
    expect(Twist::TrustChangedWithAnotherLogKey, 3, "A14: a new trust document has one spelling");
    expect(Twist::TrustChangedOtherwiseStated, 1, "A17: entry fields differ from the signed payload");
}

#[test]
fn whoever_administers_no_more_has_no_word_and_what_waited_for_it_is_void() {
    expect(Twist::TrustChangedAndTheOldSpeak, 3, "A19: statement is not an administrator's");
    // One word under either document is not two.
    expect(Twist::TrustChangedUnderAWaitingWord, 0, WAITS);
    let v = verdict(Twist::TrustChangedUnderAWaitingWord);
    let waits = v.findings.iter().filter(|f| f.clause.starts_with(WAITS)).count();
    assert_eq!((waits, v.trust_changes.len()), (1, 1), "{:#?}", v.findings);
    assert!(v.members.iter().all(|m| m.standing == "active"));
}

/// A round that goes on while the server's key changes is closed under the new one; its manifest stays what the log took under the old one.
#[test]
fn the_server_signs_with_its_new_key_from_the_change_on_and_not_with_the_old_one() {
    expect_clean(Twist::ServerKeyChanged);
    assert!(verdict(Twist::ServerKeyChanged).trust_changes[0].server_key_changed);
    expect(Twist::ServerKeyChangedAndTheOldUsed, 1, "A17: statement is not signed by a key enrolled at this index");

    let draft = tell(Twist::ServerKeyChanged);
    let first = TrustDocument::parse(&draft.trust).unwrap();
    let plan: Plan = codec::decode(&draft.plan, Plan::MAX_BYTES).unwrap();
    let mut history = History::new(first.clone());
    let mut manifests: Vec<Statement> = Vec::new();
    for bytes in &draft.entries {
        history.apply(bytes);
        history.learn_plan(&draft.plan, &plan);
        let entry = LogEntry::parse(bytes).ok().filter(|e| matches!(e.facts, Facts::ManifestPublished { .. }));
        manifests.extend(entry.and_then(|e| e.stmt).map(|s| s.with_key(first.server).unwrap()));
    }
    assert!(history.trust().server != first.server && manifests.len() == 2);
    assert!(manifests.iter().all(|m| history.read_manifest(m).is_ok()));
    let mut other = history.read_manifest(&manifests[1]).unwrap();
    other.log_size += 1;
    // The old key, in whoever's hands it is, makes no other manifest.
    let forged = Statement::sign(&other, &server());
    assert!(forged.key == first.server && history.read_manifest(&forged).is_err());
    let strangers = Statement::sign(&other, &SigningKey::from_bytes(&[99; 32]));
    assert!(history.read_manifest(&strangers).is_err());
}

/// Whoever knows any of a federation's trust documents from elsewhere knows the federation, and whoever knows another one does not.
#[test]
fn an_auditor_may_bring_the_hash_of_any_trust_document_of_the_log() {
    let draft = tell(Twist::TrustChangedTwice);
    let (dir, all) = (write(&draft.files()), hashes(&draft));
    let pinned = |hash: Sha256| verify(dir.path(), &Options { trust_hash: Some(hash), ..Options::default() }).unwrap();
    assert_eq!(all.len(), 3);
    for hash in &all {
        let v = pinned(*hash);
        assert!(v.verified && v.trust_pinned, "{:#?}", v.findings);
    }
    let v = pinned(Sha256([0; 32]));
    assert!(v.exit_code == 1 && !v.trust_pinned && v.findings.iter().any(|f| f.clause.starts_with("A35.1")), "{:#?}", v.findings);
    // A document that was only proposed is none of the log.
    let waits = tell(Twist::TrustChangedByOneOfTwo);
    assert_eq!(hashes(&waits).len(), 1);
}

#[test]
fn evidence_of_an_institution_rests_on_the_documents_that_its_receipts_prove() {
    let draft = tell(Twist::TrustChangedByBoth);
    let (files, all) = (super::pack::pack(&draft), hashes(&draft));
    for hash in &all {
        let v = verify_evidence(write(&files).path(), Some(*hash)).unwrap();
        assert!(v.verified && v.trust_pinned, "{:#?}", v.findings);
    }
    // Without the receipts of the change nothing shows that the later document is this federation's.
    let mut bare = files;
    bare.retain(|_, bytes| !bytes.windows(24).any(|w| w == b"federation.trust.changed"));
    let v = verify_evidence(write(&bare).path(), Some(all[1])).unwrap();
    assert!(v.exit_code == 1 && !v.trust_pinned, "{:#?}", v.findings);
}
