//! Stories of rounds with random groups (crypto.md C37): who deals them, who refuses others, what a spoiled one costs.

use super::*;
use protocol::dealing::{self, NonceReveal};
use protocol::entry::{Actor, Draft};
use protocol::history::Clause;
use protocol::ids::SnapshotDigest;
use tests::fixture::nonce;

/// Six institutions in three random groups.
fn dealt_world() -> World {
    World::new(Shape { parts: 3, ..Shape::plain(6, 1) }, Mutant::Sound).unwrap()
}

#[test]
fn of_three_random_groups_a_spoiled_one_is_dropped_and_the_others_close_the_round() {
    let mut world = dealt_world();
    world.server.spoiled.insert(GroupId(1), Rejection::NormBound);
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    assert_eq!(failed_sums(&world, FIRST), [(GroupId(1), Rejection::NormBound.name().to_owned())]);
    let round = world.server.log.history().task(TASK).unwrap().rounds().get(&FIRST).unwrap();
    let cohorts: Vec<_> = round.groups.values().map(|g| (g.accepted.len(), g.result.is_some())).collect();
    assert_eq!(cohorts, [(2, true), (2, false), (2, true)]);
    let who: std::collections::BTreeSet<_> = round.groups.values().flat_map(|g| g.accepted.values().map(|(c, ..)| *c)).collect();
    assert_eq!(who.len(), 6, "everybody is in exactly one group");
}

#[test]
fn random_groups_change_from_round_to_round_and_everybody_can_deal_them() {
    let mut world = dealt_world();
    world.rest(RoundId(ROUNDS)).unwrap();
    all_closed(&world);
    let history = world.server.log.history().task(TASK).unwrap();
    let mut dealings = Vec::new();
    for (id, round) in history.rounds() {
        let manifest = &round.manifest.as_ref().unwrap().0;
        let nonces: Vec<_> = manifest.committee.iter().map(|c| nonce(c.institution, *id)).collect();
        let seed = dealing::seed(dealing::join_list(&manifest.eligible()), &nonces);
        let parts: Vec<_> = manifest.groups.iter().map(|g| g.eligible.clone()).collect();
        assert_eq!(dealing::deal(&seed, &manifest.eligible(), 3), parts);
        dealings.push(parts);
    }
    assert!(dealings[0] != dealings[1] || dealings[1] != dealings[2]);
}

#[test]
fn a_decryptor_refuses_groups_that_were_not_dealt() {
    refuses_a_manifest_dealt_otherwise(dealt_world());
}

#[test]
fn one_decryptor_that_reveals_nothing_does_not_stop_the_dealing() {
    let mut world = dealt_world();
    let silent = |l: &Letter| matches!(l, Letter::Down { frame, .. } if matches!(read_server(frame), ServerMessage::Reveal { .. }));
    world.until(|w| w.net.letters().iter().any(silent)).unwrap();
    let at = world.net.letters().iter().position(silent).unwrap();
    world.step(&Op::Drop(u16::try_from(at).unwrap())).unwrap();
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    let round = world.server.log.history().task(TASK).unwrap().rounds().get(&FIRST).unwrap();
    assert_eq!(round.nonces.len(), 3);
}

#[test]
fn a_number_that_nobody_committed_to_is_refused_and_named_in_a_log() {
    let mut world = dealt_world();
    world
        .until(|w| {
            w.net
                .letters()
                .iter()
                .any(|l| matches!(l, Letter::Down { frame, .. } if matches!(read_server(frame), ServerMessage::Reveal { .. })))
        })
        .unwrap();
    let (mut log, site) = (world.server.log.clone(), &world.fixture().sites[0]);
    let mut violations = |nonce| {
        let statement = Statement::sign(&NonceReveal { task: TASK, round: FIRST, nonce }, &site.key);
        let draft = Draft::said(Actor::Decryptor, Some(site.id), statement, Facts::NonceRevealed {}).in_round(TASK, FIRST);
        log.append(world.now, &draft).violations.iter().map(|v| v.clause).collect::<Vec<_>>()
    };
    assert_eq!(violations([9; 32]), [Clause::Dealing]);
    assert_eq!(violations(nonce(site.id, FIRST)), []);
    assert_eq!(violations(nonce(site.id, FIRST)), [Clause::State], "once");
}

#[test]
fn a_round_that_closes_on_too_few_of_its_random_groups_is_named_in_a_log() {
    let mut world = World::new(Shape { parts: 4, ..Shape::plain(8, 1) }, Mutant::Sound).unwrap();
    world.server.spoiled = [0, 1].map(|g| (GroupId(g), Rejection::NormBound)).into();
    let failed = |w: &World| failed_sums(w, FIRST).len() == 2;
    let opened = |w: &World| w.server.log.history().task(TASK).unwrap().rounds()[&FIRST].groups.values().any(|g| g.result.is_some());
    world.until(|w| failed(w) && opened(w)).unwrap();
    let mut log = world.server.log.clone();
    let draft = Draft::server(Facts::RoundClosed { snapshot: SnapshotDigest([8; 32]) }).in_round(TASK, FIRST);
    let clauses: Vec<_> = log.append(world.now, &draft).violations.iter().map(|v| v.clause).collect();
    assert_eq!(clauses, [Clause::Parts]);
    // The machine itself abandons it.
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(matches!(end_of(&world, FIRST), Outcome::Abandoned(Rejection::NormBound, _)), "{:?}", world.outcomes);
}
