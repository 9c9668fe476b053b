use super::*;
use crate::keys::{Keys, next_witness};
use crate::testing::{Case, TestLog, case};
use crate::witness::Witness;
use audit::key::VerifierKey;
use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, Draft, Facts};
use protocol::statement::Statement;
use protocol::trust::PolicyApproval;

/// Does what `sync` does, out of a log at hand.
fn follow(mirror: &mut Mirror, log: &TestLog) -> Result<(), MirrorError> {
    let note = mirror.read_note(&log.note())?;
    let range = mirror.missing_until(&note)?;
    let at = |n: u64| usize::try_from(n).unwrap();
    if !range.is_empty() {
        mirror.append(&note, log.entries[at(range.start)..at(range.end)].to_vec())?;
    }
    assert_eq!(mirror.fold()?, None);
    Ok(())
}

#[test]
fn a_mirror_comes_back_with_the_same_history() {
    let mut c = case();
    for size in [1, 255, 256, 300, 700] {
        c.log.grow(size - c.mirror.size(), 1);
        follow(&mut c.mirror, &c.log).unwrap();
    }
    let again = Mirror::open(&c.home).unwrap();
    assert_eq!((again.size(), again.history().size()), (700, 700));
    assert!(again.violations().is_empty());
    for index in [0u64, 255, 256, 699] {
        assert_eq!(again.entry(LeafIndex(index)).unwrap().as_ref(), c.log.entries.get(usize::try_from(index).unwrap()));
    }
    assert_eq!(again.entry(LeafIndex(700)).unwrap(), None);
    for (asked, found) in [(0, 0), (1, 1), (256, 256), (513, 513), (800, 700)] {
        let all = again.entries(asked).collect::<Result<Vec<_>, _>>().unwrap();
        let said: Vec<_> = (0..).map(LeafIndex).zip(c.log.entries.iter().cloned()).take(found).collect();
        assert!(all == said, "the first {asked}");
    }
}

#[test]
fn a_forked_note_is_refused_and_kept_for_ever() {
    let mut c = case();
    c.log.grow(10, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    // The same key signs another history of the same length, and a shorter one. That a longer one parts from ours takes a proof: see `sync`.
    for size in [10, 5] {
        let mut other = TestLog::new();
        other.grow(size, 2);
        assert!(matches!(follow(&mut c.mirror, &other), Err(MirrorError::Forked { size: s }) if s == size), "{size}");
        assert!(matches!(Mirror::open(&c.home), Err(MirrorError::Forked { .. })));
    }
    assert_eq!(c.mirror.size(), 10);
    // Our note, both of theirs, and both proofs.
    let kept = files::names(&c.home.evidence(), Item::Note).unwrap();
    assert_eq!(kept.len(), 5);
    let proofs: Vec<_> = kept.iter().filter(|name| name.ends_with("-fork.json")).collect();
    assert_eq!(proofs.len(), 2);
    for name in proofs {
        let proof = audit::fork::ForkProof::parse(&std::fs::read(c.home.evidence().join(name)).unwrap()).unwrap();
        assert!([5, 10].contains(&proof.check_by(c.mirror.log.all(), None).unwrap().size), "anybody can check it");
    }
}

#[test]
fn an_older_note_of_the_same_history_is_no_fork() {
    let mut c = case();
    c.log.grow(5, 1);
    let older = c.log.note();
    c.log.grow(7, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    let older = c.mirror.read_note(&older).unwrap();
    assert!(c.mirror.missing_until(&older).unwrap().is_empty());
}

#[test]
fn notes_of_another_key_or_with_a_changed_byte_are_refused() {
    let mut c = case();
    c.log.grow(3, 1);
    let note = c.log.note();
    for at in 0..note.len() {
        let mut bad = note.clone();
        bad[at] ^= 1;
        assert!(c.mirror.read_note(&bad).is_err(), "byte {at}");
    }
    assert!(c.mirror.read_note(&note).is_ok());
    follow(&mut c.mirror, &c.log).unwrap();
}

#[test]
fn tiles_without_their_note_are_written_again_and_a_lost_tile_is_seen() {
    let mut c = case();
    c.log.grow(300, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    let kept = files::read(&c.home.mirror_note(), MAX_NOTE_BYTES, Item::Note).unwrap();
    c.log.grow(300, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    // A crash between tiles and note: the note of before, the tiles of after.
    files::replace(&c.home.mirror_note(), &kept, Item::Note).unwrap();
    let mut again = Mirror::open(&c.home).unwrap();
    assert_eq!(again.size(), 300);
    follow(&mut again, &c.log).unwrap();
    assert_eq!(again.size(), 600);
    std::fs::remove_file(c.mirror.store_root().join("tile/0/002.p/88")).unwrap();
    assert!(matches!(Mirror::open(&c.home), Err(MirrorError::Edge)));
}

#[test]
fn a_witness_signs_only_what_is_mirrored_and_never_goes_back() {
    let mut c = case();
    let keys = Keys::load_or_make(&c.home, "fed/hospital-a").ok().unwrap();
    let mut witness = Witness::open(&c.home, &c.mirror).unwrap();
    c.log.grow(5, 1);
    let five = c.mirror.read_note(&c.log.note()).unwrap();
    assert!(witness.cosign(&c.mirror, &keys, &five, 100).is_err());
    follow(&mut c.mirror, &c.log).unwrap();
    let (size, line) = witness.cosign(&c.mirror, &keys, &five, 100).unwrap();
    assert_eq!(size, 5);
    let lines = audit::note::parse_lines(&line).unwrap();
    assert_eq!(keys.witness().verifier().verify(five.note().text(), lines[0].blob()), Ok(Some(100)));
    c.log.grow(4, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    let nine = c.mirror.read_note(&c.log.note()).unwrap();
    // Another process with the state on disk goes on where this one was; its time does not fall.
    drop(witness);
    let mut witness = Witness::open(&c.home, &c.mirror).unwrap();
    assert_eq!(witness.cosigned().0, 5);
    let (_, line) = witness.cosign(&c.mirror, &keys, &nine, 50).unwrap();
    let lines = audit::note::parse_lines(&line).unwrap();
    assert_eq!(keys.witness().verifier().verify(nine.note().text(), lines[0].blob()), Ok(Some(100)));
    assert_eq!(witness.cosign(&c.mirror, &keys, &five, 200).unwrap(), (9, String::new()));
}

/// Appends what is missing up to a note's tree and folds it, whoever signed it.
fn take_in(mirror: &mut Mirror, log: &TestLog, note: &[u8]) -> LogNote {
    let note = mirror.read_note(note).unwrap();
    let at = |n: u64| usize::try_from(n).unwrap();
    mirror.append(&note, log.entries[at(mirror.size())..at(note.head().size)].to_vec()).unwrap();
    assert_eq!(mirror.fold().unwrap(), None);
    note
}

#[test]
fn a_mirror_goes_over_to_the_logs_next_key_with_the_note_that_both_signed() {
    let mut c = case();
    c.log.grow(5, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    c.log.hand_over(11);
    let handover = c.log.note();
    c.log.grow(3, 1);
    let nine = c.log.note();
    // Whoever was not there knows the old key only, and gets to know the new one by the note that both signed.
    assert!(matches!(c.mirror.read_note(&nine), Err(MirrorError::BadNote)));
    let note = take_in(&mut c.mirror, &c.log, &handover);
    assert!(c.mirror.judge_again(&note).is_ok() && note.head().size == 6);
    assert_eq!(c.mirror.handover_notes().unwrap(), std::slice::from_ref(&handover));
    // A process that ends here goes on from here.
    c.mirror = Mirror::open(&c.home).unwrap();
    follow(&mut c.mirror, &c.log).unwrap();
    assert!(c.mirror.read_note(&c.log.note_by_the_key_before()).is_err(), "the old key has signed its last");
    c.mirror = Mirror::open(&c.home).unwrap();
    assert_eq!((c.mirror.size(), c.mirror.log_keys().newest()), (9, c.log.key.verifier()));
    assert_eq!(c.mirror.handover_notes().unwrap(), [handover]);
    assert!(c.mirror.violations().is_empty());
}

#[test]
fn a_handover_that_lacks_a_signature_is_mirrored_and_not_cosigned() {
    let mut c = case();
    let keys = Keys::load_or_make(&c.home, "fed/hospital-a").ok().unwrap();
    let mut witness = Witness::open(&c.home, &c.mirror).unwrap();
    c.log.grow(5, 1);
    c.log.hand_over(11);
    let old_alone = c.log.note_by_the_key_before();
    let note = take_in(&mut c.mirror, &c.log, &old_alone);
    assert!(matches!(c.mirror.judge_again(&note), Err(MirrorError::BadNote)));
    assert!(witness.cosign(&c.mirror, &keys, &note, 100).is_err());
    assert_eq!((witness.cosigned().0, c.mirror.handover_notes().unwrap().len()), (0, 0));
    // It is nobody's end: with both it is cosigned, also after a restart.
    let mut again = Mirror::open(&c.home).unwrap();
    let both = again.read_note(&c.log.note()).unwrap();
    assert!(again.missing_until(&both).unwrap().is_empty());
    assert_eq!(witness.cosign(&again, &keys, &both, 100).unwrap().0, 6);
    c.log.grow(2, 1);
    follow(&mut again, &c.log).unwrap();
    let eight = again.read_note(&c.log.note()).unwrap();
    assert_eq!(witness.cosign(&again, &keys, &eight, 100).unwrap().0, 8);
}

#[test]
fn a_tree_signed_by_a_key_that_had_handed_over_ends_participation_and_is_kept() {
    let mut c = case();
    c.log.grow(5, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    c.log.hand_over(11);
    c.log.grow(3, 1);
    let note = take_in(&mut c.mirror, &c.log, &c.log.note_by_the_key_before());
    assert!(matches!(c.mirror.judge_again(&note), Err(MirrorError::RetiredKey { size: 9 })));
    assert_eq!(files::names(&c.home.evidence(), Item::Note).unwrap(), ["00000000000000000009-retired.note"]);
    assert!(matches!(Mirror::open(&c.home), Err(MirrorError::Forked { .. })));
}

#[test]
fn the_witness_policy_goes_on_for_the_next_key_in_the_same_words() {
    use audit::policy::Witness as Named;

    let mut c = case();
    let keys = Keys::load_or_make(&c.home, "fed/hospital-a").ok().unwrap();
    let named = [Named { name: "a".into(), key: keys.witness().verifier().clone() }];
    let policy = Policy::compose(c.log.key.verifier(), &named, Some(1)).unwrap();
    let hash = Sha256(protocol::hash::sha256(&[policy.text().as_bytes()]));
    c.log.grow(2, 1);
    let statement = Statement::sign(&PolicyApproval { policy: hash, replaces: None }, &SigningKey::from_bytes(&[8; 32]));
    c.log.write(&Draft::said(Actor::Administrator, None, statement, Facts::PolicyActivated { old: None, policy: hash }));
    let note = c.mirror.read_note(&c.log.note()).unwrap();
    c.mirror.append(&note, c.log.entries.clone()).unwrap();
    while let Some(wanted) = c.mirror.fold().unwrap() {
        c.mirror.supply(wanted, Some(policy.text().as_bytes())).unwrap();
    }
    let mut witness = Witness::open(&c.home, &c.mirror).unwrap();
    let mut published = |c: &mut Case| {
        let note = c.mirror.read_note(&c.log.note()).unwrap();
        let (_, line) = witness.cosign(&c.mirror, &keys, &note, 100).unwrap();
        let mut note = note.note().clone();
        note.add(&audit::note::parse_lines(&line).unwrap()).unwrap();
        c.mirror.observe(&note.encode()).unwrap()
    };
    assert_eq!(published(&mut c), Some(3));
    let before = c.mirror.receipt(LeafIndex(1)).unwrap().unwrap();
    c.log.hand_over(11);
    follow(&mut c.mirror, &c.log).unwrap();
    assert_eq!(published(&mut c), Some(4));
    c.log.grow(2, 1);
    follow(&mut c.mirror, &c.log).unwrap();
    assert_eq!(published(&mut c), Some(6));
    let next = policy.with_log(c.log.key.verifier()).unwrap();
    assert_eq!(c.mirror.policy_text(), Some(next.text()));
    let kept = std::fs::read_to_string(c.mirror.store_root().join(audit::reader::policy_path(4))).unwrap();
    assert_eq!(kept, next.text(), "for tools that read the directory");
    let after = c.mirror.receipt(LeafIndex(1)).unwrap().unwrap();
    // A receipt of before holds under the policy of before for ever, and one of after under that of after.
    assert!(before.verify(&policy).is_ok() && before.verify(&next).is_err());
    assert!(after.verify(&next).is_ok() && after.verify(&policy).is_err());
    let again = Mirror::open(&c.home).unwrap();
    assert_eq!((again.published(), again.policy_text()), (6, Some(next.text())));
}

/// The one administrator's policy that names this witness alone, and the mirror behind it.
fn activate(c: &mut Case, witness: &VerifierKey) {
    let named = [audit::policy::Witness { name: "hospital-a".into(), key: witness.clone() }];
    let text = Policy::compose(c.mirror.log_keys().newest(), &named, Some(1)).unwrap().text().to_owned();
    let (policy, replaces) = (Sha256(protocol::hash::sha256(&[text.as_bytes()])), c.mirror.history().policy_in_force());
    let facts = Facts::PolicyActivated { old: replaces.map(|r| r.policy), policy };
    let said = Statement::sign(&PolicyApproval { policy, replaces }, &SigningKey::from_bytes(&[8; 32]));
    c.log.write(&Draft::said(Actor::Administrator, None, said, facts));
    let from = usize::try_from(c.mirror.size()).unwrap();
    let note = c.mirror.read_note(&c.log.note()).unwrap();
    c.mirror.append(&note, c.log.entries[from..].to_vec()).unwrap();
    let wanted = c.mirror.fold().unwrap().expect("the policy's text");
    c.mirror.supply(wanted, Some(text.as_bytes())).unwrap();
    assert_eq!(c.mirror.fold().unwrap(), None);
}

/// A10, A12: the key is that of the policy of the size, and the time is the witness's, whichever key it has.
#[test]
fn a_witness_goes_on_with_its_next_key_under_the_policy_that_names_it_and_at_no_earlier_time() {
    let mut c = case();
    let keys = Keys::load_or_make(&c.home, "fed/hospital-a").ok().unwrap();
    let first = keys.witness().verifier().clone();
    let next = next_witness(&c.home, keys.witness()).ok().unwrap().verifier().clone();
    let keys = Keys::load(&c.home).ok().unwrap();
    let mut witness = Witness::open(&c.home, &c.mirror).unwrap();
    let mut cosigned = |c: &Case, key: &VerifierKey, now_s: u64| {
        let note = c.mirror.read_note(&c.log.note()).unwrap();
        let (_, line) = witness.cosign(&c.mirror, &keys, &note, now_s).unwrap();
        let lines = audit::note::parse_lines(&line).unwrap();
        key.verify(note.note().text(), lines[0].blob()).ok().flatten()
    };
    c.log.grow(1, 1);
    activate(&mut c, &first);
    assert_eq!(cosigned(&c, &first, 100), Some(100));
    activate(&mut c, &next);
    assert_eq!(cosigned(&c, &next, 50), Some(100), "its clock was put back meanwhile");
}
