//! The witness's decisions, one status at a time.

use proptest::prelude::*;

use super::*;
use crate::key::KeyType;
use crate::merkle::prove_consistency;
use crate::reader::{MemoryLog, TileHashes};
use crate::writer::LogWriter;

/// A log whose heads at several sizes are known.
struct World {
    files: MemoryLog,
    key: SignerKey,
    heads: Vec<TreeHead>,
}

impl World {
    fn new(first_entry: &str) -> Self {
        let (mut files, mut writer, mut heads) = (MemoryLog::default(), LogWriter::new(), vec![TreeHead::empty()]);
        for i in 0..40 {
            let entry = if i == 0 { first_entry.to_owned() } else { format!("entry {i}") };
            files.files.extend(writer.append(&[entry]).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
            heads.push(writer.head());
        }
        Self { files, key: SignerKey::new("fed.example/log", KeyType::Note, &[1; 32]).ok().unwrap(), heads }
    }

    fn keys(&self) -> LogKeys {
        self.key.verifier().clone().into()
    }

    fn note(&self, size: usize) -> Note {
        Checkpoint { origin: "fed.example/log".into(), head: self.heads[size] }.sign(&self.key).unwrap()
    }

    fn request(&self, old: usize, new: usize) -> AddCheckpoint {
        let (old_size, new_size) = (u64::try_from(old).unwrap(), u64::try_from(new).unwrap());
        let consistency = prove_consistency(&TileHashes::new(&self.files, 40), old_size.min(new_size), new_size).unwrap();
        AddCheckpoint { old_size, consistency, note: self.note(new) }
    }

    fn state(&self, size: usize) -> WitnessState {
        WitnessState { head: self.heads[size], time_s: 1000 }
    }

    fn ask(&self, state: &WitnessState, request: &AddCheckpoint) -> Result<Advance, Refusal> {
        decide(state, &self.keys(), &request.encode(), 2000)
    }
}

fn witness() -> SignerKey {
    SignerKey::new("w.example", KeyType::Cosignature, &[2; 32]).ok().unwrap()
}

#[test]
fn every_growing_step_is_cosigned_from_the_state_it_was_decided_from() {
    let world = World::new("a");
    for old in 0..=40 {
        for new in old..=40 {
            let advance = world.ask(&world.state(old), &world.request(old, new)).unwrap();
            assert_eq!(*advance.from_state(), world.state(old));
            assert_eq!(*advance.next_state(), WitnessState { head: world.heads[new], time_s: 2000 });
        }
    }
    let advance = world.ask(&WitnessState::new(), &world.request(0, 7)).unwrap();
    let line = advance.cosign(&witness()).unwrap();
    let mut note = advance.note().clone();
    note.add(&[line]).unwrap();
    assert_eq!(note.verify([witness().verifier()]).unwrap()[0].time_s, Some(2000));
}

/// The old key up to the handover, both at it, the new one after it, and nothing else at any size.
#[test]
fn a_tree_is_cosigned_under_the_key_of_its_size_only() {
    let world = World::new("a");
    let new = SignerKey::new("fed.example/log", KeyType::Note, &[3; 32]).ok().unwrap();
    let mut keys = world.keys();
    keys.hand_over(9, new.verifier().clone()).unwrap();
    for size in 6..=12 {
        let old_note = world.note(size);
        let new_note = Checkpoint { origin: "fed.example/log".into(), head: world.heads[size] }.sign(&new).unwrap();
        let mut both = old_note.clone();
        both.add(new_note.lines()).unwrap();
        let cosigned = |note: &Note| {
            let request = AddCheckpoint { note: note.clone(), ..world.request(5, size) };
            match decide(&world.state(5), &keys, &request.encode(), 2000) {
                Ok(_) => true,
                Err(refusal) => {
                    assert_eq!((refusal.clone(), refusal.status()), (Refusal::NotByLog, 403));
                    false
                }
            }
        };
        assert_eq!((cosigned(&old_note), cosigned(&new_note), cosigned(&both)), (size < 9, size > 9, true), "size {size}");
    }
}

#[test]
fn times_never_fall() {
    let world = World::new("a");
    let late = WitnessState { time_s: 9000, ..world.state(3) };
    assert_eq!(world.ask(&late, &world.request(3, 5)).unwrap().next_state().time_s, 9000);
}

#[test]
fn each_refusal_has_its_status() {
    let world = World::new("a");
    let state = world.state(5);
    let refusal = |request: &AddCheckpoint| world.ask(&state, request).unwrap_err();

    assert_eq!(refusal(&world.request(4, 9)), Refusal::OtherSize { size: 5 });
    assert_eq!(refusal(&world.request(9, 4)), Refusal::Malformed);
    let mut unproved = world.request(5, 9);
    unproved.consistency.0.pop();
    assert_eq!(refusal(&unproved), Refusal::NotConsistent);

    let forger = SignerKey::new("fed.example/log", KeyType::Note, &[9; 32]).ok().unwrap();
    let forged = AddCheckpoint { note: Note::sign(world.note(9).text(), &forger).unwrap(), ..world.request(5, 9) };
    assert_eq!(refusal(&forged), Refusal::NotByLog);
    let elsewhere = Checkpoint { origin: "other/log".into(), head: world.heads[9] }.sign(&world.key).unwrap();
    assert_eq!(refusal(&AddCheckpoint { note: elsewhere, ..world.request(5, 9) }), Refusal::UnknownLog);
    assert_eq!(decide(&state, &world.keys(), b"old 5\n", 1), Err(Refusal::Malformed));

    let statuses: Vec<u16> =
        [Refusal::Malformed, Refusal::NotByLog, Refusal::UnknownLog, Refusal::OtherSize { size: 5 }, Refusal::NotConsistent]
            .iter()
            .map(|r| {
                assert_eq!(r.status(), r.answer().status());
                r.status()
            })
            .collect();
    assert_eq!(statuses, [400, 403, 404, 409, 422]);
}

#[test]
fn a_fork_is_never_cosigned() {
    let (one, other) = (World::new("a"), World::new("b"));
    let fork = other.request(5, 5);
    assert!(matches!(one.ask(&one.state(5), &fork), Err(Refusal::Fork { size: 5, .. })));
    for new in 6..=40 {
        assert_eq!(one.ask(&one.state(5), &other.request(5, new)), Err(Refusal::NotConsistent));
    }
}

#[test]
fn answers_have_one_spelling() {
    let world = World::new("a");
    let line = world.ask(&WitnessState::new(), &world.request(0, 7)).unwrap().cosign(&witness()).unwrap();
    let all = [
        Answer::Cosigned(vec![line]),
        Answer::BadRequest,
        Answer::Forbidden,
        Answer::NotFound,
        Answer::Conflict { size: 12 },
        Answer::Unprocessable,
    ];
    for answer in all {
        assert_eq!(Answer::parse(answer.status(), &answer.body()), Ok(answer));
    }
    for (status, body) in [(200, ""), (200, "\n"), (409, ""), (409, "012\n"), (409, "12"), (403, "x"), (500, ""), (201, "")] {
        assert_eq!(Answer::parse(status, body), Err(BadAnswer { status }), "{status} {body:?}");
    }
}

#[test]
fn a_request_and_a_state_have_one_spelling() {
    let world = World::new("a");
    let request = world.request(5, 9);
    assert_eq!(AddCheckpoint::parse(&request.encode()).unwrap(), request);
    let text = String::from_utf8(request.encode()).unwrap();
    for bad in [
        text.replace("old 5", "old 05"),
        text.replace("old 5", "Old 5"),
        text.replace("old 5\n", "old 5\n\n"),
        text.replacen('\n', "\r\n", 1),
    ] {
        assert!(AddCheckpoint::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let many = text.replace("old 5\n", &format!("old 5\n{}", format!("{}\n", world.heads[1].root.to_base64()).repeat(63)));
    assert_eq!(AddCheckpoint::parse(many.as_bytes()), Err(RequestError::BadHashLine { line: 63 }));
    let state = world.state(5);
    assert_eq!(state.to_string().parse(), Ok(state));
    assert_eq!(format!("0{state}").parse::<WitnessState>(), Err(BadWitnessState));
}

proptest! {
    #[test]
    fn deciding_on_nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let key = SignerKey::new("l", KeyType::Note, &[1; 32]).ok().unwrap();
        prop_assert_eq!(decide(&WitnessState::new(), &key.verifier().clone().into(), &bytes, 1), Err(Refusal::Malformed));
    }
}
