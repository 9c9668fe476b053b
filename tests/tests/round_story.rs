//! Single stories of a round, told from beginning to end: who vanishes, who is late, who asks twice. Knows no wire and no cipher.

use protocol::entry::{AlarmKind, Facts, LogEntry};
use protocol::ids::{ClientId, GroupId, HeaderDigest, LeafIndex, Position, RoundId, Sha256};
use protocol::manifest::{Header, Manifest};
use protocol::messages::{ClientMessage, ServerMessage, frame};
use protocol::reject::Rejection;
use protocol::round::{Blamed, Event, Outcome, Phase, Verdict};
use protocol::statement::Statement;
use protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use tests::aggregator::Mutant;
use tests::books::Broken;
use tests::fixture::{ROUNDS, Shape, TASK};
use tests::net::{Ask, Letter, read_client, read_server};
use tests::site::{Lie, Site};
use tests::world::{Op, World};

#[path = "round_story/random_groups.rs"]
mod random_groups;
#[path = "round_story/standing.rs"]
mod standing;

const FIRST: RoundId = RoundId::FIRST;

fn world(sites: usize) -> World {
    World::new(Shape::plain(sites, 2), Mutant::Sound).unwrap()
}

fn manifest(world: &World) -> Manifest {
    world.server.manifest().map(Statement::verify).unwrap().unwrap()
}

/// Five institutions of which four are decryptors: the one that is not.
fn bystander(world: &World) -> u8 {
    let m = manifest(world);
    let at = world.sites.iter().position(|s| m.position(s.id()).is_none()).unwrap();
    u8::try_from(at).unwrap()
}

fn end_of(world: &World, round: RoundId) -> Outcome {
    world.outcomes.iter().find(|(r, _)| *r == round).unwrap().1
}

fn is_closed(world: &World, round: RoundId) -> bool {
    matches!(end_of(world, round), Outcome::Closed(..))
}

#[track_caller]
fn all_closed(world: &World) {
    assert!(world.outcomes.iter().all(|(_, o)| matches!(o, Outcome::Closed(..))), "{:?}", world.outcomes);
}

/// The letter that was sent last overtakes all others.
fn deliver_last(world: &mut World) -> Result<(), Broken> {
    let last = u16::try_from(world.net.letters().len() - 1).unwrap();
    world.step(&Op::Deliver(last))
}

#[test]
fn left_in_peace_every_round_closes() {
    for sites in 2..=5 {
        let mut world = world(sites);
        world.rest(RoundId(ROUNDS)).unwrap();
        assert_eq!(world.outcomes.len(), 3);
        all_closed(&world);
        assert!(world.sites.iter().all(|s| s.receipts.len() == 6), "one receipt per round and group");
        assert_eq!((1..=ROUNDS).map(|r| world.books.dropped(RoundId(r))).sum::<usize>(), 0);
    }
}

/// privacy.md D12: when an update leaves does not tell how long anything took, and a kill between sealing and upload changes neither the time nor
/// a byte of what is sent.
#[test]
fn on_a_schedule_sealed_updates_leave_at_the_manifests_time_also_after_a_kill() {
    let mut world = world(3);
    world.keep_schedule().unwrap();
    world.until(|w| w.sites.iter().all(|s| s.spooled(FIRST).len() == 2)).unwrap();
    let headers = |w: &World| -> Vec<BTreeSet<HeaderDigest>> {
        w.sites.iter().map(|s| s.spooled(FIRST).iter().map(|h| Header::digest(&h.payload)).collect()).collect()
    };
    let (sealed, m) = (headers(&world), manifest(&world));
    world.step(&Op::Restart(0)).unwrap();
    let quarter = world.fixture().plan.deadlines.reporting_ms / 4;
    let from = Time(m.reporting_until.0 - quarter);
    world.still().unwrap();
    world.pass_to(Time(from.0 - 1)).unwrap();
    world.still().unwrap();
    assert!(world.accepted().is_empty() && world.sites.iter().all(|s| s.receipts.is_empty()), "everything was sealed long before");
    assert_eq!(headers(&world), sealed);
    world.pass_to(from).unwrap();
    world.still().unwrap();
    assert!(is_closed(&world, FIRST));
    let sent: Vec<BTreeSet<_>> = world.sites.iter().map(|s| s.receipts.keys().copied().collect()).collect();
    assert_eq!(sent, sealed);
}

/// Members of each group by round, as the manifests in the log have them.
fn cohorts(world: &World) -> Vec<Vec<(u32, usize)>> {
    let task = world.server.log.history().task(TASK).unwrap();
    let manifests = task.rounds().values().filter_map(|r| r.manifest.as_ref());
    manifests.map(|(m, _)| m.groups.iter().map(|g| (g.id.0, g.eligible.len())).collect()).collect()
}

/// training.md M6: every shard has its own cohort, and what has no turn or too few members is nobody's sum.
#[test]
fn tiers_give_every_shard_a_cohort_of_its_own() {
    let mut world = World::new(Shape { small: 2, ..Shape::plain(5, 3) }, Mutant::Sound).unwrap();
    world.rest(RoundId(ROUNDS)).unwrap();
    all_closed(&world);
    let plain = vec![(0, 3), (1, 5)];
    assert_eq!(cohorts(&world), [plain.clone(), vec![(0, 3), (1, 5), (2, 2)], plain]);

    // With one full institution its own shard has no sum to hide in; the shared one goes on.
    let mut world = World::new(Shape { small: 2, ..Shape::plain(5, 3) }, Mutant::Sound).unwrap();
    world.step(&Op::Unwilling(0, false)).unwrap();
    world.step(&Op::Unwilling(1, false)).unwrap();
    world.rest(RoundId(ROUNDS)).unwrap();
    all_closed(&world);
    assert_eq!(cohorts(&world), [vec![(1, 3)], vec![(1, 3), (2, 2)], vec![(1, 3)]]);
}

/// A member of the committee refuses groups that it does not find itself, and the round closes on the right ones.
fn refuses_a_manifest_dealt_otherwise(mut world: World) {
    world.until(|w| w.server.manifest().is_some()).unwrap();
    let at = world.sites.iter().position(|s| manifest(&world).position(s.id()).is_some()).unwrap();
    world.dealt_otherwise(at);
    deliver_last(&mut world).unwrap();
    assert_eq!(world.sites[at].refusals, [Rejection::WrongManifest]);
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST));
}

/// A server cannot put an institution into the sum of a shard that it does not train, nor take one out of its own.
#[test]
fn a_decryptor_refuses_a_manifest_in_which_institutions_have_changed_their_tiers() {
    refuses_a_manifest_dealt_otherwise(World::new(Shape { small: 2, ..Shape::plain(5, 2) }, Mutant::Sound).unwrap());
}

#[test]
fn a_decryptor_refuses_a_second_set_and_still_does_after_a_restart() {
    let mut world = world(3);
    world.until(|w| w.sites[0].signed_sets() > 0).unwrap();
    for _ in 0..2 {
        world.sites[0].refusals.clear();
        world.other_set(0);
        deliver_last(&mut world).unwrap();
        assert_eq!(world.sites[0].refusals, [Rejection::AlreadySigned]);
        world.step(&Op::Restart(0)).unwrap();
    }
}

#[test]
fn a_decryptor_refuses_a_second_manifest() {
    let mut world = world(3);
    world.until(|w| w.phase_is(Phase::Reporting)).unwrap();
    world.other_manifest(1);
    world.until(|w| !w.sites[1].refusals.is_empty()).unwrap();
    assert_eq!(world.sites[1].refusals, [Rejection::AlreadySigned]);
}

/// crypto.md C57: keys that have expired are deleted, so no manifest may need them; the server proposes none, and nobody would endorse it.
#[test]
fn no_manifest_names_a_prekey_that_expires_before_its_opening_ends() {
    let shape = |until| Shape { prekeys_until: until, ..Shape::plain(3, 1) };
    let mut lasting = World::new(shape(None), Mutant::Sound).unwrap();
    lasting.until(|w| w.server.manifest().is_some()).unwrap();
    let until = manifest(&lasting).opening_until.plus_ms(1000);
    let mut enough = World::new(shape(Some(until)), Mutant::Sound).unwrap();
    enough.until(|w| w.server.manifest().is_some()).unwrap();
    let (history, named) = (enough.server.log.history().clone(), manifest(&enough));
    assert!(history.agrees_with(&named));
    assert!(history.agrees_with(&Manifest { opening_until: until, ..named.clone() }));
    assert!(!history.agrees_with(&Manifest { opening_until: until.plus_ms(1), ..named }));
    enough.rest(FIRST).unwrap();
    assert!(is_closed(&enough, FIRST));
    let mut short = World::new(shape(Some(Time(1))), Mutant::Sound).unwrap();
    short.rest(FIRST).unwrap();
    assert!(matches!(end_of(&short, FIRST), Outcome::Abandoned(Rejection::Unknown, _)), "{:?}", short.outcomes);
}

#[test]
fn a_client_that_vanishes_does_not_stop_the_others() {
    let mut world = world(5);
    world.until(|w| w.phase_is(Phase::Reporting)).unwrap();
    world.step(&Op::Vanish(0)).unwrap();
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
}

#[test]
fn below_the_minimum_a_round_is_abandoned() {
    let mut early = world(2);
    early.step(&Op::Unwilling(1, false)).unwrap();
    early.rest(FIRST).unwrap();
    assert!(matches!(end_of(&early, FIRST), Outcome::Abandoned(Rejection::Cohort, _)));

    let mut later = world(3);
    later.until(|w| w.phase_is(Phase::Reporting)).unwrap();
    later.step(&Op::Vanish(0)).unwrap();
    later.step(&Op::Vanish(1)).unwrap();
    later.rest(FIRST).unwrap();
    assert!(matches!(end_of(&later, FIRST), Outcome::Abandoned(Rejection::Cohort, _)), "{:?}", later.outcomes);
}

#[test]
fn the_next_round_begins_after_an_abandoned_one() {
    let mut world = world(3);
    world.step(&Op::Unwilling(0, false)).unwrap();
    world.step(&Op::Unwilling(1, false)).unwrap();
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    world.step(&Op::Unwilling(0, true)).unwrap();
    world.rest(RoundId(ROUNDS)).unwrap();
    assert!(!is_closed(&world, FIRST) && is_closed(&world, RoundId(2)), "{:?}", world.outcomes);
}

#[test]
fn an_update_after_the_deadline_is_refused_and_the_rest_is_opened() {
    let mut world = world(5);
    world.until(|w| w.phase_is(Phase::Reporting)).unwrap();
    let late = bystander(&world);
    world.step(&Op::Vanish(late)).unwrap();
    world.step(&Op::Calm(500)).unwrap();
    let wait = manifest(&world).reporting_until.ms_since(world.now);
    world.step(&Op::Wait(u16::try_from(wait).unwrap())).unwrap();
    assert!(world.phase_is(Phase::Reporting), "reports may trail");
    world.step(&Op::Restart(late)).unwrap();
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST));
    assert_eq!(world.books.accepted(FIRST, protocol::ids::GroupId(0)), 4);
    assert!(world.sites[usize::from(late)].receipts.is_empty());
}

#[test]
fn a_client_that_restarts_sends_the_same_update_and_pays_once() {
    let mut world = world(3);
    world.until(|w| !w.sites[0].spooled(FIRST).is_empty()).unwrap();
    let before = world.sites[0].spooled(FIRST);
    while world.net.take(0).is_some() {}
    world.step(&Op::Restart(0)).unwrap();
    world.step(&Op::Reconnect(1)).unwrap();
    world.step(&Op::Reconnect(2)).unwrap();
    world.step(&Op::Calm(40)).unwrap();
    assert_eq!(world.sites[0].spooled(FIRST), before);
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST));
    assert_eq!(world.sites[0].receipts.len(), 2);
}

/// What the server says to one request.
fn ask(world: &mut World, from: usize, header: &Statement) -> Result<Verdict, Rejection> {
    world.hand_over(Letter::Ask { from, ask: Ask::Commit, header: header.clone() }).unwrap();
    let answer = world.net.letters().iter().rev().find_map(|l| if let Letter::Answer { verdict, .. } = l { Some(*verdict) } else { None });
    answer.unwrap()
}

#[test]
fn a_commit_that_comes_again_gets_the_same_receipt_in_every_state() {
    let mut world = world(3);
    world.until(|w| w.sites[0].receipts.len() == 2).unwrap();
    let header = world.sites[0].spooled(FIRST)[0].clone();
    let first = ask(&mut world, 0, &header);
    assert!(matches!(first, Ok(Verdict::Accepted(_))));
    for phase in [Phase::Certifying, Phase::Opening] {
        world.until(|w| w.phase_is(phase)).unwrap();
        assert_eq!(ask(&mut world, 0, &header), first, "{phase:?}");
        assert_eq!(ask(&mut world, 1, &header), Err(Rejection::Late), "a receipt is its owner's");
    }
    world.rest(FIRST).unwrap();
}

#[test]
fn lies_about_updates_are_refused_and_a_second_header_is_evidence() {
    let mut world = world(3);
    world.until(|w| w.sites[0].receipts.len() == 2 && w.phase_is(Phase::Reporting)).unwrap();
    for (lie, code) in [
        (Lie::SecondHeader, Rejection::Duplicate),
        (Lie::SecondHeader, Rejection::Duplicate),
        (Lie::WrongManifest, Rejection::WrongManifest),
        (Lie::OtherName, Rejection::WrongGroup),
        (Lie::OtherHeader, Rejection::BadSignature),
    ] {
        let others = world.sites[1].spooled(FIRST);
        let header = world.sites[0].lie(lie, world.server.manifest().unwrap(), world.sites[1].id(), &others);
        if let Some(header) = header {
            assert_eq!(ask(&mut world, 0, &header), Err(code), "{lie:?}");
        }
    }
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST));
    let alarms = world.server.log.entries().iter().filter(|e| String::from_utf8_lossy(e).contains("\"type\":\"audit.alarm\"")).count();
    assert_eq!(alarms, 1, "evidence stands in the log once");
}

/// Runs the first round up to where every update is accepted and every share held, and keeps the reports of it back.
fn hold_reports(world: &mut World) -> Vec<(usize, Vec<u8>)> {
    let mut held = Vec::new();
    while world.accepted().len() < world.sites.len() || !world.net.is_empty() || world.sites.iter().any(Site::is_busy) {
        match world.net.take(0) {
            Some(Letter::Up { from, frame }) if matches!(read_client(&frame), ClientMessage::BlobReport { .. }) => held.push((from, frame)),
            Some(letter) => world.hand_over(letter).unwrap(),
            None => {}
        }
        for at in 0..world.sites.len() {
            world.step(&Op::SiteDisk(u8::try_from(at).unwrap())).unwrap();
        }
        world.step(&Op::ServerDisk).unwrap();
    }
    held
}

/// Which header of the first group a report is about, and from which position.
fn about(world: &World, from: usize, frame: &[u8]) -> Option<(usize, u8)> {
    let ClientMessage::BlobReport { header, .. } = read_client(frame) else { return None };
    let nth = world.accepted().iter().position(|h| *h == header)?;
    Some((nth, manifest(world).position(world.sites[from].id())?.0))
}

#[test]
fn no_update_is_dropped_because_a_report_is_still_on_its_way() {
    let mut world = world(5);
    let held = hold_reports(&mut world);
    // Each header is held by a quorum of three of four, but each by another one; only then the rest is heard.
    let last = |from: usize, frame: &[u8]| about(&world, from, frame).is_some_and(|(nth, p)| usize::from(p) == nth % 4 + 1);
    let (after, before): (Vec<_>, Vec<_>) = held.into_iter().partition(|(from, frame)| last(*from, frame));
    for (from, frame) in before.into_iter().chain(after) {
        world.hand_over(Letter::Up { from, frame }).unwrap();
    }
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST));
    assert_eq!(world.books.dropped(FIRST), 0);
}

/// An update whose shares only two of four decryptors hold is left out; what is opened is the sum of the others.
fn drop_one(mutant: Mutant) -> Result<World, Broken> {
    let mut world = World::new(Shape::plain(5, 1), mutant)?;
    let held = hold_reports(&mut world);
    let lost = |from: usize, frame: &[u8]| about(&world, from, frame).is_some_and(|(nth, p)| nth == 0 && p > 2);
    let (_, heard): (Vec<_>, Vec<_>) = held.into_iter().partition(|(from, frame)| lost(*from, frame));
    for (from, frame) in heard {
        world.hand_over(Letter::Up { from, frame })?;
    }
    world.until(|w| !w.outcomes.is_empty())?;
    Ok(world)
}

#[test]
fn an_update_that_too_few_decryptors_hold_is_dropped_and_not_in_the_sum() {
    let world = drop_one(Mutant::Sound).unwrap();
    assert!(is_closed(&world, FIRST));
    assert_eq!(world.books.dropped(FIRST), 1);
}

#[test]
fn a_server_that_keeps_dropped_updates_in_the_sum_is_caught() {
    let caught = drop_one(Mutant::KeepsDropped).err();
    assert!(matches!(caught, Some(Broken::WrongSum { .. })), "{caught:?}");
}

#[test]
fn a_server_that_sums_before_the_entry_is_durable_is_caught() {
    let mut world = World::new(Shape::plain(3, 1), Mutant::SumsFirst).unwrap();
    let caught = world.rest(FIRST).err();
    assert!(matches!(caught, Some(Broken::SummedBeforeDurable(_))), "{caught:?}");
}

/// A decryptor endorses, restarts, and is shown another manifest of the same round before the log shows the first.
fn endorse_restart_endorse(mutant: Mutant) -> Result<World, Broken> {
    let mut world = World::new(Shape::plain(3, 1), mutant)?;
    world.until(|w| w.sites[0].endorsements() > 0)?;
    world.step(&Op::Restart(0))?;
    world.other_manifest(0);
    deliver_last(&mut world)?;
    world.until(|w| w.outcomes.len() == 1)?;
    Ok(world)
}

#[test]
fn a_decryptor_that_forgets_at_a_restart_is_caught() {
    let sound = endorse_restart_endorse(Mutant::Sound).unwrap();
    assert_eq!(sound.sites[0].refusals, [Rejection::AlreadySigned]);
    let caught = endorse_restart_endorse(Mutant::ForgetsRecords).err();
    assert!(matches!(caught, Some(Broken::TwoEndorsements(_))), "{caught:?}");
}

/// Hands the first client one of the server's messages twice before its disk has done anything; the books object to early words.
fn ask_twice(wanted: fn(&ServerMessage) -> bool) {
    let mut world = world(3);
    let is_it = |l: &Letter| matches!(l, Letter::Down { to: 0, frame } if wanted(&read_server(frame)));
    world.until(|w| w.net.letters().iter().any(is_it)).unwrap();
    let letter = world.net.letters().iter().find(|l| is_it(l)).unwrap().clone();
    world.hand_over(letter.clone()).unwrap();
    world.hand_over(letter).unwrap();
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST));
}

#[test]
fn a_decryptor_asked_twice_says_nothing_before_its_disk_knows() {
    ask_twice(|m| matches!(m, ServerMessage::Endorse { .. }));
    ask_twice(|m| matches!(m, ServerMessage::SignSet { .. }));
    ask_twice(|m| matches!(m, ServerMessage::Certified { .. }));
}

#[test]
fn a_checkpoint_that_is_too_small_opens_nothing() {
    let mut world = world(3);
    world.until(|w| w.phase_is(Phase::Certifying) && w.server.is_working()).unwrap();
    world.tell(Event::Covered { size: 1, checkpoint: 1u64.to_le_bytes().to_vec() }).unwrap();
    assert!(world.phase_is(Phase::Certifying));
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST));
}

/// The server says that the certificate stands where a checkpoint covers it; the decryptor's own mirror says that it does not (A33c).
#[test]
fn a_decryptor_goes_by_its_mirror_for_where_a_certificate_stands() {
    let mut world = world(3);
    let please_open =
        |l: &Letter| matches!(l, Letter::Down { to: 0, frame } if matches!(read_server(frame), ServerMessage::Certified { .. }));
    world.until(|w| w.net.letters().iter().any(please_open)).unwrap();
    let at = world.net.letters().iter().position(please_open).unwrap();
    let Some(Letter::Down { to, frame: asked }) = world.net.take(at) else { panic!("a letter") };
    let ServerMessage::Certified { headers, statements, index, .. } = read_server(&asked) else { panic!("a question") };
    let early = ServerMessage::Certified { headers, statements, index: LeafIndex(0), checkpoint: index.0.to_le_bytes().to_vec().into() };
    world.sites[0].refusals.clear();
    world.hand_over(Letter::Down { to, frame: frame(&early) }).unwrap();
    assert_eq!(world.sites[0].refusals, [Rejection::NotCertified]);
    world.hand_over(Letter::Down { to, frame: asked }).unwrap();
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST));
}

#[test]
fn a_disk_that_is_slower_than_the_round_ends_it_and_does_not_hang_it() {
    let mut world = world(3);
    world.until(|w| w.sites.iter().all(|s| s.endorsements() > 0) && w.server.is_writing()).unwrap();
    assert!(world.phase_is(Phase::Selecting));
    world.step(&Op::Wait(60_000)).unwrap();
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(matches!(end_of(&world, FIRST), Outcome::Abandoned(..)));
}

/// Codes of the round's failed sums, as its log has them.
fn failed_sums(world: &World, round: RoundId) -> Vec<(GroupId, String)> {
    let entries = world.server.log.entries().iter().filter_map(|bytes| LogEntry::parse(bytes).ok());
    let failed = entries.filter(|e| e.round == Some(round) && matches!(e.facts, Facts::SumFailed {}));
    failed.map(|e| (e.group.unwrap(), e.code.unwrap())).collect()
}

/// Alarms of the round: what about, and with which evidence.
fn alarms(world: &World, round: RoundId) -> Vec<(AlarmKind, Sha256)> {
    let entries = world.server.log.entries().iter().filter_map(|bytes| LogEntry::parse(bytes).ok()).filter(|e| e.round == Some(round));
    entries.filter_map(|e| if let Facts::AuditAlarm { alarm, evidence } = e.facts { Some((alarm, evidence)) } else { None }).collect()
}

#[test]
fn a_decryptor_and_an_update_that_openings_show_to_be_false_are_named_once_with_evidence_from_the_log() {
    let mut world = world(4);
    let header = HeaderDigest([9; 32]);
    world.server.blamed = Blamed { decryptors: vec![Position(2)], updates: vec![header], ..Blamed::default() };
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    let seen = alarms(&world, FIRST);
    let kinds = |kind| seen.iter().filter(|(k, _)| *k == kind).count();
    assert_eq!((seen.len(), kinds(AlarmKind::FalseOpening), kinds(AlarmKind::FalseShares)), (4, 2, 2), "one of each in both groups");
    let posted: Vec<_> = world.server.log.entries().iter().filter_map(|bytes| LogEntry::parse(bytes).ok()).collect();
    let posted = posted.iter().filter(|e| matches!(e.facts, Facts::OpeningPosted { position: Position(2), .. }));
    let payloads: Vec<_> = posted.map(|e| Sha256(protocol::hash::sha256(&[&e.stmt.as_ref().unwrap().payload_bytes().unwrap()]))).collect();
    let named = seen.iter().filter(|(k, _)| *k == AlarmKind::FalseOpening);
    assert!(named.clone().all(|(_, evidence)| payloads.contains(evidence)), "the evidence is the opening as it was posted");
}

/// Disputes that the log has about a round: in which group, with which decryptor, about which update.
fn disputes(world: &World, round: RoundId) -> Vec<(GroupId, ClientId, Sha256)> {
    let entries = world.server.log.entries().iter().filter_map(|bytes| LogEntry::parse(bytes).ok()).filter(|e| e.round == Some(round));
    let dispute = |e: LogEntry| {
        let Facts::AuditAlarm { alarm: AlarmKind::Disputed, evidence } = e.facts else { return None };
        Some((e.group?, e.institution?, evidence))
    };
    entries.filter_map(dispute).collect()
}

/// crypto.md C56, in a group that opens and in one that fails after as many attempts as there are openings: each dispute stands in the log
/// once, with both sides, and says what the last attempt knew.
#[test]
fn what_neither_a_client_nor_a_decryptor_is_proven_wrong_of_is_logged_as_disputed_between_the_two() {
    let mut world = world(4);
    let header = HeaderDigest([9; 32]);
    world.server.blamed = Blamed { disputed: vec![(header, Position(3)), (header, Position(1))], ..Blamed::default() };
    world.server.spoiled.insert(GroupId(1), Rejection::BadSum);
    world.until(|w| w.phase_is(Phase::Opening)).unwrap();
    let committee: Vec<_> = manifest(&world).committee.iter().map(|m| m.institution).collect();
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    let mut seen = disputes(&world, FIRST);
    let mut expected: Vec<_> = [0, 1].iter().flat_map(|g| [2, 0].map(|at| (GroupId(*g), committee[at], Sha256(header.0)))).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(alarms(&world, FIRST).iter().filter(|(kind, _)| *kind == AlarmKind::FalseShares).count(), 0, "nobody is accused alone");
}

#[test]
fn a_sum_whose_weights_are_not_the_declared_ones_fails_at_once_and_the_others_close_the_round() {
    let mut world = world(4);
    world.server.spoiled.insert(GroupId(1), Rejection::BadWeight);
    world.rest(FIRST).unwrap();
    assert!(is_closed(&world, FIRST), "{:?}", world.outcomes);
    assert_eq!(failed_sums(&world, FIRST), [(GroupId(1), Rejection::BadWeight.name().to_owned())]);
    let round = world.server.log.history().task(TASK).unwrap().rounds().get(&FIRST).unwrap();
    assert_eq!(alarms(&world, FIRST).iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [AlarmKind::FalseSum]);
    // One attempt: the sum was decoded, and more openings would not mend it.
    assert!(round.groups[&GroupId(0)].result.is_some() && round.groups[&GroupId(1)].result.is_none());
}

#[test]
fn a_round_whose_sums_all_fail_says_why() {
    let mut world = world(3);
    world.server.spoiled = BTreeMap::from([0, 1].map(|g| (GroupId(g), Rejection::BadSum)));
    world.rest(FIRST).unwrap();
    assert!(matches!(end_of(&world, FIRST), Outcome::Abandoned(Rejection::BadSum, _)), "{:?}", world.outcomes);
    assert_eq!(failed_sums(&world, FIRST).len(), 2);
}

#[test]
fn the_books_know_a_bad_trace() {
    use protocol::ids::HeaderDigest;
    use tests::books::{Books, Fact};
    let mut books = Books::new(&[], 2);
    let header = HeaderDigest([1; 32]);
    assert_eq!(books.take(Fact::Accumulated(header)), Err(Broken::SummedBeforeDurable(header)));
    books.take(Fact::Asked(0)).unwrap();
    assert_eq!(books.take(Fact::AtRest), Err(Broken::Unanswered(0)));
    let receipt = Ok(Verdict::Accepted(protocol::ids::LeafIndex(3)));
    assert_eq!(books.take(Fact::Answered { ticket: 0, header, verdict: receipt }), Err(Broken::ReceiptBeforeDurable(header)));
}

/// C38: the checkpoint that a manifest names must be under a quorum's cosignatures in the decryptor's own mirror, and cover the end of the
/// round before. What the server says about it does not count.
#[test]
fn a_decryptor_endorses_only_under_a_checkpoint_that_a_quorum_has_cosigned() {
    let mut world = world(3);
    let please = |l: &Letter| matches!(l, Letter::Down { to: 0, frame } if matches!(read_server(frame), ServerMessage::Endorse { .. }));
    world.until(|w| w.net.letters().iter().any(please)).unwrap();
    let at = world.net.letters().iter().position(please).unwrap();
    let Some(Letter::Down { to, frame: asked }) = world.net.take(at) else { panic!("a letter") };
    let ServerMessage::Endorse { manifest, log_size, .. } = read_server(&asked) else { panic!("a question") };
    let small = manifest.verify::<Manifest>().unwrap().log_size - 1;
    let early = ServerMessage::Endorse { manifest, log_size, checkpoint: small.to_le_bytes().to_vec().into() };
    world.hand_over(Letter::Down { to, frame: frame(&early) }).unwrap();
    assert_eq!((world.sites[0].refusals.as_slice(), world.sites[0].endorsements()), ([Rejection::WrongManifest].as_slice(), 0));
    world.hand_over(Letter::Down { to, frame: asked }).unwrap();
    world.until(|w| !w.outcomes.is_empty()).unwrap();
    assert!(is_closed(&world, FIRST) && world.sites[0].endorsements() == 1);
}
