//! The log hands over to another key: notes of either time verify, and each key's signature at a size that is not its own is found (audit.md A14).

use super::fixture::{Draft, Files, Signers, head_of, write};
use super::invariants::{expect, expect_clean, verdict};
use super::story::tell;
use super::twist::Twist;
use crate::diff::{Relation, diff};
use crate::evidence::verify_evidence;
use crate::{Options, Verdict, verify};
use audit::fork::ForkProof;
use audit::key::SignerKey;
use audit::reader::{CHECKPOINT_PATH, handover_path, note_path, policy_path};
use protocol::trust::TrustDocument;

const TURN: &str = "A14: a note is signed by the key whose turn it is";
const GOES_ON: &str = "A14: where the log hands over to another key, its policy goes on";

fn check(files: &Files) -> Verdict {
    verify(write(files).path(), &Options::default()).unwrap()
}

fn finds(v: &Verdict, exit_code: u8, clause: &str) -> bool {
    v.exit_code == exit_code && v.findings.iter().any(|f| f.clause.starts_with(clause) && f.severity.exit_code() == exit_code)
}

/// The story, where it hands over, and the sizes of its last note before and its last note after that.
fn story() -> (Draft, u64, u64, u64) {
    let draft = tell(Twist::LogKeyChanged);
    let at = draft.handover().unwrap();
    let before = draft.published.iter().copied().filter(|size| *size < at).max().unwrap();
    let after = *draft.published.last().unwrap();
    assert!(1 < before && at < after);
    (draft, at, before, after)
}

/// A note of this size with its quorum, by these keys.
fn by(draft: &Draft, keys: &[&SignerKey], size: u64) -> Vec<u8> {
    Signers::new().note_of(keys, head_of(&draft.entries[..usize::try_from(size).unwrap()]), 0..2)
}

#[test]
fn a_log_with_notes_of_two_keys_verifies_and_says_which_signs_now() {
    expect_clean(Twist::LogKeyChanged);
    let (_, at, ..) = story();
    let (v, signers) = (verdict(Twist::LogKeyChanged), Signers::new());
    let next = signers.next.verifier().to_string();
    assert_eq!((v.trust_changes[0].entry, v.trust_changes[0].log_key.as_ref()), (at - 1, Some(&next)));
    assert!(crate::table::render(&v).contains("key of the log") && v.quorum.met);
    assert!(verdict(Twist::TrustChanged).trust_changes[0].log_key.is_none());
}

#[test]
fn a_key_that_has_handed_over_is_never_taken_back() {
    expect(Twist::LogKeyGivenBack, 3, "A14: a new trust document has one spelling");
}

#[test]
fn the_old_key_after_the_handover_and_the_new_one_before_it_are_found() {
    let ((draft, _, before, after), signers) = (story(), Signers::new());
    for (path, key, size) in [(note_path(after), &signers.log, after), (note_path(before), &signers.next, before)] {
        let mut files = draft.files();
        files.insert(path.clone(), by(&draft, &[key], size));
        let v = check(&files);
        assert!(finds(&v, 1, TURN), "{path}: {:#?}", v.findings);
        let named = v.findings.iter().find(|f| f.clause.starts_with(TURN)).unwrap();
        assert!(named.got == key.verifier().to_string() && named.expected != named.got, "the finding names the key: {named:?}");
    }
    let mut files = draft.files();
    files.insert(CHECKPOINT_PATH.to_owned(), by(&draft, &[&signers.log], after));
    assert!(finds(&check(&files), 1, TURN));
}

#[test]
fn a_handover_needs_both_signatures_its_own_tree_and_its_place() {
    let ((draft, at, ..), signers) = (story(), Signers::new());
    let with = |note: Option<Vec<u8>>| {
        let mut files = draft.files();
        files.remove(&handover_path(at));
        files.extend(note.map(|note| (handover_path(at), note)));
        check(&files)
    };
    assert!(finds(&with(None), 4, "A14: the note by which a key of the log handed over is there"));
    for one in [&signers.log, &signers.next] {
        let v = with(Some(by(&draft, &[one], at)));
        assert!(finds(&v, 1, "A14: the note of a handover carries both keys' signatures"), "{:#?}", v.findings);
    }
    let (mut other, size) = (draft.clone(), usize::try_from(at).unwrap());
    other.entries[size - 2].push(b' ');
    let v = with(Some(by(&other, &[&signers.log, &signers.next], at)));
    assert!(finds(&v, 1, "A35.4: the tree of a handover is a prefix"), "{:#?}", v.findings);
    let mut files = draft.files();
    files.insert(handover_path(at + 1), by(&draft, &[&signers.log, &signers.next], at + 1));
    assert!(finds(&check(&files), 1, "A2: a handover's note is named by a size at which an entry changed the key"));
}

/// Whoever holds the old key still, and takes the policy of the new one away, or writes another.
#[test]
fn without_the_policy_for_the_new_key_nothing_passes() {
    let ((draft, at, _, after), signers) = (story(), Signers::new());
    let mut files = draft.files();
    files.remove(&policy_path(at));
    for path in [note_path(after), CHECKPOINT_PATH.to_owned()] {
        files.insert(path, by(&draft, &[&signers.log], after));
    }
    let v = check(&files);
    assert!(finds(&v, 1, GOES_ON) && finds(&v, 1, TURN), "{:#?}", v.findings);
    let fewer = audit::policy::Policy::compose(signers.next.verifier(), &signers.policy().witnesses()[..1], Some(1)).unwrap();
    let mut files = draft.files();
    files.insert(policy_path(at), fewer.text().as_bytes().to_vec());
    assert!(finds(&check(&files), 1, GOES_ON));
    // In a log that does not hand over, a policy for another key is none of its own.
    let plain = tell(Twist::None);
    let mut files = plain.files();
    let other = signers.policy().with_log(signers.next.verifier()).unwrap();
    files.insert(policy_path(plain.activation.unwrap() + 1), other.text().as_bytes().to_vec());
    let v = check(&files);
    let named = v.findings.iter().any(|f| f.clause.starts_with("A14: a policy names the key of the log whose turn it is"));
    assert!(named && !v.verified && v.exit_code != 0, "{:#?}", v.findings);
}

#[test]
fn two_stories_on_either_side_of_a_handover_are_proved_with_both_keys() {
    let ((draft, _, before, _), signers) = (story(), Signers::new());
    // The old key tells another story that ends before the handover.
    let mut other = draft.clone();
    other.entries[100] = [&other.entries[100][..], b" "].concat();
    other.entries.truncate(usize::try_from(before).unwrap());
    other.published.retain(|size| *size <= before);
    let mut honest = draft.files();
    // The honest side holds only what the new key signed.
    honest.retain(|path, _| !path.starts_with("checkpoints/"));
    let (honest, other) = (write(&honest), write(&other.files()));
    let d = diff(honest.path(), other.path()).unwrap();
    let proof = ForkProof::parse(&d.proof.unwrap().to_bytes()).unwrap();
    let keys = [signers.log.verifier(), signers.next.verifier()];
    // The note of the handover is the old key's too: with it one key proves the fork.
    assert_eq!((d.relation, proof.second_log.as_ref()), (Relation::Forked, None));
    assert!(proof.check(keys[0], None).is_ok() && proof.check(keys[1], None).is_err());
    let with = Options { with: vec![other.path().to_owned()], ..Options::default() };
    let v = verify(honest.path(), &with).unwrap();
    assert!(v.exit_code == 1 && !v.equivocations.is_empty(), "{:#?}", v.findings);
    for proof in v.equivocations.iter().filter_map(|e| e.proof.as_ref()) {
        assert_eq!((&proof.log, proof.second_log.as_ref()), (&keys[0].to_string(), Some(&keys[1].to_string())));
        assert!(proof.check_by(keys, None).is_ok() && proof.check(keys[0], None).is_err(), "the newest note is the new key's alone");
    }
    assert!(v.equivocations.iter().any(|e| e.proof.is_some()));
}

#[test]
fn a_beginning_of_the_log_from_before_the_handover_is_its_beginning() {
    let (draft, _, before, _) = story();
    let mut short = draft.clone();
    short.entries.truncate(usize::try_from(before).unwrap());
    short.published.retain(|size| *size <= before);
    let (short, whole) = (write(&short.files()), write(&draft.files()));
    assert_eq!(diff(short.path(), whole.path()).unwrap().relation, Relation::AIsPrefix);
    // Each against the notes of the other.
    let with = Options { with: vec![short.path().to_owned()], ..Options::default() };
    assert_eq!(verify(whole.path(), &with).unwrap().exit_code, 0);
}

#[test]
fn evidence_rests_on_the_key_that_administrators_put_in_force() {
    let (draft, ..) = story();
    let files = super::pack::pack(&draft);
    let v = verify_evidence(write(&files).path(), Some(TrustDocument::hash(&draft.trust))).unwrap();
    assert!(v.verified && v.trust_pinned, "{:#?}", v.findings);
    // Without the word of administrators the new key is anybody's.
    let mut bare = files.clone();
    bare.retain(|_, bytes| !bytes.windows(24).any(|w| w == b"federation.trust.changed"));
    let v = verify_evidence(write(&bare).path(), None).unwrap();
    assert!(finds_in(&v, "A14: the policy names the key of the log"), "{:#?}", v.findings);
}

/// The fold of the whole log keeps the key that took over; evidence of the same entries rests on that one too.
#[test]
fn evidence_takes_no_key_of_the_log_back() {
    let draft = tell(Twist::LogKeyGivenBack);
    let v = verify_evidence(write(&super::pack::pack(&draft)).path(), Some(TrustDocument::hash(&draft.trust))).unwrap();
    assert!(v.verified, "{:#?}", v.findings);
}

fn finds_in(v: &crate::evidence::EvidenceVerdict, clause: &str) -> bool {
    v.exit_code == 1 && v.findings.iter().any(|f| f.clause.starts_with(clause))
}
