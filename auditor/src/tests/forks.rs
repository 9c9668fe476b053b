//! Split views (audit.md A50): two histories for two people, and the proof that stands alone.

use super::fixture::{Draft, Files, Signers, head_of, write};
use super::story::tell;
use super::twist::Twist;
use crate::diff::{Relation, diff};
use audit::fork::{ForkProof, NoFork};
use audit::key::VerifierKey;
use audit::reader::CHECKPOINT_PATH;
use proptest::prelude::*;

/// The same story with one entry altered after the first note.
fn other(draft: &Draft, at: usize) -> Draft {
    let mut entries = draft.entries.clone();
    entries[at] = String::from_utf8(entries[at].clone()).unwrap().replacen("status.read", "update.submit", 1).into_bytes();
    Draft { entries, ..draft.clone() }
}

fn key() -> VerifierKey {
    Signers::new().log.verifier().clone()
}

fn compare(a: &Files, b: &Files) -> crate::diff::Difference {
    diff(write(a).path(), write(b).path()).unwrap()
}

#[test]
fn equal_copies_and_beginnings_are_no_forks() {
    let draft = tell(Twist::None);
    let mut short = draft.clone();
    short.entries.truncate(usize::try_from(draft.published[2]).unwrap());
    short.published.truncate(3);
    assert_eq!(compare(&draft.files(), &draft.files()).relation, Relation::Equal);
    let d = compare(&short.files(), &draft.files());
    assert_eq!((d.relation, d.proof, d.parting), (Relation::AIsPrefix, None, None));
    assert_eq!(compare(&draft.files(), &short.files()).relation, Relation::BIsPrefix);
}

#[test]
fn a_fork_gives_a_proof_that_anybody_can_check() {
    let draft = tell(Twist::None);
    for at in [100, 2] {
        let d = compare(&draft.files(), &other(&draft, at).files());
        assert_eq!(d.relation, Relation::Forked);
        assert_eq!(d.parting.unwrap().index, at as u64);
        let proof = d.proof.unwrap();
        let again = ForkProof::parse(&proof.to_bytes()).unwrap();
        let fork = again.check(&key(), Some(&Signers::new().policy())).unwrap();
        assert_eq!((fork.size, again), (proof.size, proof));
        assert_eq!(fork.cosigned_both, ["w1", "w2"], "these witnesses vouched for both");
    }
}

#[test]
fn a_fork_whose_notes_have_different_sizes_is_proved_by_consistency() {
    let draft = tell(Twist::None);
    let (a, mut fork) = (draft.clone(), other(&draft, 100));
    // The other view never published at the sizes that this one did, but for the end, which came later.
    fork.published = vec![1, draft.published[3]];
    let mut short = a.clone();
    short.entries.truncate(usize::try_from(draft.published[2]).unwrap());
    short.published.truncate(3);
    let d = compare(&short.files(), &fork.files());
    let proof = d.proof.unwrap();
    assert!(d.relation == Relation::Forked && !proof.consistency.is_empty() && proof.check(&key(), None).is_ok());
}

#[test]
fn no_honest_log_can_be_accused() {
    let draft = tell(Twist::None);
    let proof = compare(&draft.files(), &other(&draft, 100).files()).proof.unwrap();
    let honest = ForkProof { second: proof.first.clone(), root: proof.root.clone(), ..proof.clone() };
    assert!(honest.check(&key(), None).is_err(), "one note twice");
    let signers = Signers::new();
    let forged = String::from_utf8(signers.note(head_of(&draft.entries), 0)).unwrap();
    let wrong = ForkProof { first: forged.replacen("demo/log\n", "demo/log2\n", 1), ..proof.clone() };
    assert_eq!(wrong.check(&key(), None), Err(NoFork::NotSigned("first")));
    let stranger: VerifierKey = signers.witnesses[0].verifier().clone();
    assert!(matches!(proof.check(&stranger, None), Err(NoFork::OtherLog { .. })));
    let mut text = String::from_utf8(proof.to_bytes()).unwrap();
    text.push(' ');
    assert_eq!(ForkProof::parse(text.as_bytes()), Err(NoFork::Malformed));
}

#[test]
fn with_at_most_f_colluding_witnesses_one_of_two_views_stays_below_its_quorum() {
    // Three witnesses, a quorum of two: two views need four cosignatures, three witnesses give one each; f = 0 collude, so one view lacks.
    let (draft, signers) = (tell(Twist::None), Signers::new());
    let fork = other(&draft, 100);
    let with = |draft: &Draft, cosigners: usize| {
        let mut files = draft.files();
        files.insert(CHECKPOINT_PATH.to_owned(), signers.note(head_of(&draft.entries), cosigners));
        crate::verify(write(&files).path(), &crate::Options::default()).unwrap().quorum.met
    };
    assert!(with(&draft, 2) && !with(&fork, 1));
}

/// A50: with at most f colluders at most one of two views has its quorum, however the server divides the honest witnesses; in any case
/// two views that were signed are proved by `diff`, and `proof check` names those who vouched for both.
#[test]
fn two_views_for_one_three_four_and_seven_witnesses_and_any_number_of_colluders() {
    let draft = tell(Twist::None);
    let fork = other(&draft, 100);
    for n in [1u8, 3, 4, 7] {
        let (signers, n) = (Signers::of(n), usize::from(n));
        let (policy, k, f) = (signers.policy(), audit::policy::default_quorum(n), (n - 1) / 3);
        let quorum = |note: &[u8]| policy.open(note).unwrap().has_quorum();
        for colluders in 0..=n {
            let views = |to_a: usize| {
                let a = signers.note_by(head_of(&draft.entries), 0..colluders + to_a);
                let b = signers.note_by(head_of(&fork.entries), (0..colluders).chain(colluders + to_a..n));
                (a, b)
            };
            let both = (0..=n - colluders).map(views).filter(|(a, b)| quorum(a) && quorum(b)).count();
            assert!(colluders > f || both == 0, "{n} witnesses, {colluders} collude, {both} divisions fool both sides");
            // The bound is sharp where the numbers of A11 are: two quorums need 2k cosignatures, and colluders give two each.
            assert_eq!(both > 0, n + colluders >= 2 * k, "{n} witnesses, {colluders} collude");
            let (a, b) = views((n - colluders) / 2);
            let with = |draft: &Draft, note: Vec<u8>| {
                let mut files = draft.files();
                files.retain(|path, _| !path.starts_with("checkpoints/"));
                files.insert(CHECKPOINT_PATH.to_owned(), note);
                files
            };
            let proof = compare(&with(&draft, a), &with(&fork, b)).proof.unwrap();
            let shown = ForkProof::parse(&proof.to_bytes()).unwrap().check(&key(), Some(&policy)).unwrap();
            assert_eq!(shown.cosigned_both, (1..=colluders).map(|w| format!("w{w}")).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any single byte of a proof that is changed makes it no proof, or leaves it one about the same two roots.
    #[test]
    fn a_damaged_proof_accuses_nobody_of_anything_else(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        static PROOF: std::sync::OnceLock<ForkProof> = std::sync::OnceLock::new();
        let proof = PROOF.get_or_init(|| {
            let draft = tell(Twist::None);
            compare(&draft.files(), &other(&draft, 100).files()).proof.unwrap()
        });
        let honest = proof.check(&key(), None).unwrap();
        let mut bytes = proof.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(fork) = ForkProof::parse(&bytes).and_then(|p| p.check(&key(), None)) {
            prop_assert_eq!((fork.first_root, fork.second_root), (honest.first_root, honest.second_root));
        }
    }
}
