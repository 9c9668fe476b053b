//! Stories of members whose membership ends in the middle of a round: the others go on, by the numbers that the plan promised.

use super::*;
use protocol::entry::{Actor, Draft};
use protocol::membership::{Change, StandingChange, StandingReason};
use tests::fixture::admin;

/// As the driver does it: the entry is durable, then the machine is told, and nothing that was on its way arrives.
fn revoke(world: &mut World, at: usize) {
    while world.server.is_writing() {
        world.step(&Op::ServerDisk).unwrap();
    }
    let institution = world.sites[at].id();
    let since = world.server.log.history().members()[&institution].since;
    let said = StandingChange { institution, since, change: Change::Revoke, reason: StandingReason::Misconduct };
    let draft = Draft::said(Actor::Administrator, Some(institution), Statement::sign(&said, &admin()), said.facts());
    assert_eq!(world.server.log.append(world.now, &draft).violations, []);
    world.sites[at].stop();
    let theirs = |l: &Letter| matches!(l, Letter::Up { from, .. } | Letter::Ask { from, .. } if *from == at);
    while let Some(found) = world.net.letters().iter().position(theirs) {
        world.net.take(found);
    }
    world.tell(Event::Barred(institution)).unwrap();
}

/// Entries of a round about this institution, by type and code.
fn about(world: &World, round: RoundId, who: ClientId) -> Vec<(&'static str, Option<String>)> {
    let entries = world.server.log.entries().iter().map(|e| LogEntry::parse(e).unwrap());
    entries.filter(|e| e.round == Some(round) && e.institution == Some(who)).map(|e| (e.kind().name(), e.code)).collect()
}

fn committee_member(world: &World) -> usize {
    let m = manifest(world);
    world.sites.iter().position(|s| m.position(s.id()).is_some()).unwrap()
}

#[test]
fn an_update_of_whoever_is_revoked_before_the_set_is_proposed_is_in_no_sum() {
    let mut world = world(5);
    world.until(|w| w.server.manifest().is_some()).unwrap();
    let at = usize::from(bystander(&world));
    let who = world.sites[at].id();
    let sent = |w: &World| {
        w.books.accepted(FIRST, GroupId(0)) > 0 && about(w, FIRST, who).iter().any(|(kind, _)| *kind == "round.update.accepted")
    };
    world.until(sent).unwrap();
    assert!(world.phase_is(Phase::Reporting));
    revoke(&mut world, at);
    world.rest(RoundId(ROUNDS)).unwrap();
    all_closed(&world);
    assert!(world.books.dropped(FIRST) >= 1);
    let dropped = about(&world, FIRST, who).into_iter().filter(|(kind, _)| *kind == "round.update.dropped").collect::<Vec<_>>();
    assert!(!dropped.is_empty() && dropped.iter().all(|(_, code)| code.as_deref() == Some("revoked")), "{dropped:?}");
    for round in [RoundId(2), RoundId(3)] {
        assert_eq!(about(&world, round, who), [], "it is in no further round");
        let (m, _) = world.server.log.history().task(TASK).unwrap().rounds()[&round].manifest.clone().unwrap();
        assert!(!m.eligible().contains(&who) && m.position(who).is_none());
    }
}

#[test]
fn a_decryptor_that_is_revoked_while_a_manifest_is_endorsed_is_missed_by_nobody() {
    let mut world = world(5);
    world.until(|w| w.server.manifest().is_some() && w.sites.iter().any(|s| s.endorsements() > 0)).unwrap();
    assert!(world.phase_is(Phase::Selecting));
    let at = committee_member(&world);
    let who = world.sites[at].id();
    revoke(&mut world, at);
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    assert_eq!(about(&world, FIRST, who), [], "nothing of it is in the log of the round");
}

#[test]
fn a_signature_of_whoever_is_revoked_before_it_is_logged_never_is() {
    let mut world = world(5);
    let signs = |l: &Letter| matches!(l, Letter::Up { frame, .. } if matches!(read_client(frame), ClientMessage::SetSigned { .. }));
    world.until(|w| w.phase_is(Phase::Certifying) && w.net.letters().iter().any(signs)).unwrap();
    let found = world.net.letters().iter().position(signs).unwrap();
    let Some(letter) = world.net.take(found) else { panic!("a letter") };
    let Letter::Up { from: at, .. } = letter else { panic!("of a decryptor") };
    world.hand_over(letter).unwrap();
    let who = world.sites[at].id();
    assert!(world.phase_is(Phase::Certifying));
    revoke(&mut world, at);
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    assert!(about(&world, FIRST, who).iter().all(|(kind, _)| *kind != "round.set.signed" && *kind != "round.opening.posted"));
}
