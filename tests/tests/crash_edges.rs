//! A process that ends between its disk and the wire: what is durable has been said to nobody yet. After a restart it says the same
//! bytes, and the round goes on (crypto.md C39, C40, C44, C54; section 9, item 7).

use protocol::ids::RoundId;
use protocol::messages::ClientMessage;
use protocol::round::Outcome;
use tests::aggregator::Mutant;
use tests::fixture::Shape;
use tests::net::{Ask, Letter, read_client};
use tests::world::{Op, World};

/// The bytes of institution 0's letter of the wanted kind, and its place among the letters in flight.
type Wanted = fn(&Letter) -> Option<Vec<u8>>;

fn message(letter: &Letter, wanted: fn(&ClientMessage) -> bool) -> Option<Vec<u8>> {
    match letter {
        Letter::Up { from: 0, frame } if wanted(&read_client(frame)) => Some(frame.clone()),
        Letter::Up { .. } | Letter::Down { .. } | Letter::Ask { .. } | Letter::Answer { .. } => None,
    }
}

fn endorsement(letter: &Letter) -> Option<Vec<u8>> {
    message(letter, |m| matches!(m, ClientMessage::Endorsed { .. }))
}
fn set_signature(letter: &Letter) -> Option<Vec<u8>> {
    message(letter, |m| matches!(m, ClientMessage::SetSigned { .. }))
}
fn opening(letter: &Letter) -> Option<Vec<u8>> {
    message(letter, |m| matches!(m, ClientMessage::Opened { .. }))
}
fn update(letter: &Letter) -> Option<Vec<u8>> {
    match letter {
        Letter::Ask { from: 0, ask: Ask::Begin, header } => Some(protocol::codec::encode(header)),
        Letter::Up { .. } | Letter::Down { .. } | Letter::Ask { .. } | Letter::Answer { .. } => None,
    }
}

fn in_flight(world: &World, wanted: Wanted) -> Option<(u16, Vec<u8>)> {
    let found = world.net.letters().iter().enumerate().find_map(|(at, l)| Some((at, wanted(l)?)))?;
    Some((u16::try_from(found.0).unwrap(), found.1))
}

/// Ends the process `times` times at the same edge; every letter that it left with is lost.
fn ends_before_the_wire(wanted: Wanted, times: usize) -> World {
    let mut world = World::new(Shape::plain(3, 1), Mutant::Sound).unwrap();
    let mut first = None;
    for _ in 0..times {
        world.until(|w| in_flight(w, wanted).is_some()).unwrap();
        while let Some((at, bytes)) = in_flight(&world, wanted) {
            assert_eq!(*first.get_or_insert(bytes.clone()), bytes, "other bytes after a restart");
            world.step(&Op::Drop(at)).unwrap();
        }
        world.step(&Op::Vanish(0)).unwrap();
        world.step(&Op::Restart(0)).unwrap();
    }
    world.until(|w| in_flight(w, wanted).is_some()).unwrap();
    assert_eq!(in_flight(&world, wanted).map(|(_, bytes)| bytes), first);
    world.rest(RoundId::FIRST).unwrap();
    world
}

fn closes_with_everybody(wanted: Wanted) {
    for times in 1..=3 {
        let world = ends_before_the_wire(wanted, times);
        let (round, outcome) = world.outcomes[0];
        assert!(round == RoundId::FIRST && matches!(outcome, Outcome::Closed(..)), "{outcome:?} after {times} restarts");
        assert_eq!(world.books.dropped(RoundId::FIRST), 0);
    }
}

#[test]
fn an_endorsement_is_said_again_by_a_decryptor_that_ended_before_sending_it() {
    closes_with_everybody(endorsement);
}

#[test]
fn a_set_signature_is_said_again_by_a_decryptor_that_ended_before_sending_it() {
    closes_with_everybody(set_signature);
}

#[test]
fn an_opening_is_the_same_bytes_after_a_restart() {
    closes_with_everybody(opening);
}

#[test]
fn a_spooled_update_is_the_same_bytes_after_a_restart() {
    closes_with_everybody(update);
}

/// Before the disk, after it, before the wire, after it: an institution ends at every single step of a round in turn, and starts again.
#[test]
fn a_process_may_end_at_any_step_of_a_round() {
    let (mut steps, mut over) = (0u16, false);
    while !over {
        let mut world = World::new(Shape::plain(3, 1), Mutant::Sound).unwrap();
        world.step(&Op::Calm(steps)).unwrap();
        over = !world.outcomes.is_empty();
        world.step(&Op::Vanish(1)).unwrap();
        world.step(&Op::Restart(1)).unwrap();
        world.rest(RoundId::FIRST).unwrap();
        assert!(matches!(world.outcomes[0].1, Outcome::Closed(..)), "{:?} when it ends after {steps} steps", world.outcomes[0]);
        steps += 1;
    }
    assert!(steps > 50, "a round of {steps} steps has no edges");
}
