//! Model check of certifying and opening (crypto.md C38, C44 to C54; section 9, item 8) with the real decryptor, the real certificate
//! check and the real history: however server, network and up to d decryptors conspire, and whenever honest decryptors crash, nobody
//! ever holds certificates or openings for two sets of one round and group.
#![expect(clippy::unwrap_used, reason = "a pretend world may panic")]

#[path = "certifying/cohort.rs"]
mod cohort;
#[path = "certifying/global.rs"]
mod global;
#[path = "certifying/local.rs"]
mod local;
#[path = "certifying/table.rs"]
mod table;
#[path = "certifying/world.rs"]
mod world;

use global::{Game, Outcome, System};
use local::Fault;
use protocol::manifest::{Certificate, CertificateError};
use protocol::params::CommitteeSize;
use std::sync::LazyLock;
use table::Table;
use world::World;

/// All committees of up to four decryptors, and the default one of seven.
const COMMITTEES: [(u8, u8); 7] = [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (7, 2)];

/// Four decryptors, one of them hostile: the demo's committee, and the smallest in which two quorums differ.
static FOUR: LazyLock<(World, Table)> = LazyLock::new(|| {
    let world = World::new(4, 1);
    let table = table::explore(&world, 1);
    (world, table)
});

fn game(size: CommitteeSize) -> Game {
    let (c, d) = (usize::from(size.decryptors), usize::from(size.corrupt));
    Game { honest: c - d, hostile: d, quorum: size.quorum(), threshold: size.threshold() }
}

fn report(what: &str, size: CommitteeSize, local: usize, outcome: &Outcome) {
    let (states, transitions) = (outcome.states, outcome.transitions);
    eprintln!("{what}: c {} d {}: {local} states of one, {states} of all, {transitions} transitions", size.decryptors, size.corrupt);
}

/// The count of signatures in the game is the real check: every choice of signers, some of them twice, a stranger, another set.
#[test]
fn a_certificate_takes_a_quorum_of_distinct_decryptors_over_one_set() {
    for (c, d) in COMMITTEES {
        let world = World::new(c, d);
        let (m, set, other) = (&world.manifests[0], world.set((0, 0)), world.set((0, 1)));
        for mask in 0u32..1 << c {
            let chosen = |i: &usize| mask >> i & 1 == 1;
            let mut said: Vec<_> = (0..usize::from(c)).filter(chosen).map(|i| set.signatures[i].clone()).collect();
            said.extend(said.first().cloned());
            said.extend((0..usize::from(c)).filter(|i| !chosen(i)).map(|i| other.signatures[i].clone()));
            let made = Certificate::new(&m.manifest, m.digest, &set.headers, &said);
            let enough = mask.count_ones() as usize >= world.size.quorum();
            // Without any signature over the set, the first statement is over the other one.
            let expected = if enough { Ok(()) } else { Err(()) };
            assert_eq!(made.as_ref().map(drop).map_err(drop), expected, "{c} {d} {mask:b}: {made:?}");
        }
        let got = Certificate::new(&m.manifest, m.digest, &set.headers, &[]);
        assert_eq!(got, Err(CertificateError::BelowQuorum { got: 0, needed: world.size.quorum() }));
    }
}

/// C38, C44, C49, C54 for one decryptor, whatever certificates it is shown; and the machine has no memory that the states lack.
#[test]
fn an_honest_decryptor_never_says_two_things() {
    let world = World::new(4, 1);
    let table = table::explore(&world, 2);
    eprintln!("one decryptor: {} states, {} steps", table.states.len(), table.edges.iter().map(Vec::len).sum::<usize>());
    assert_eq!(table.broken, None);
    assert!(table.states.len() > 150, "{} states are too few to mean anything", table.states.len());
    table::walk(&world, &table, 200, 30, 2);
}

/// What a server may show besides: too few signatures, or a log that does not fit the question.
#[test]
fn no_other_view_of_the_log_allows_more() {
    let world = World::new(2, 1);
    table::check_refusals(&world, &table::explore(&world, 1));
}

/// Three honest decryptors with every interleaving of every step say what the reduced search says they can, and nothing else.
#[test]
fn the_reduced_search_loses_nothing() {
    let (world, table) = &*FOUR;
    let whole = game(world.size).play(&System::whole(table));
    report("whole", world.size, table.states.len(), &whole);
    assert_eq!(whole.violation, None);
    assert!(whole.states > 10_000, "{} states are too few to mean anything", whole.states);
    assert_eq!(whole.said, game(world.size).play(&System::reduced(table)).said);
}

/// Certificates of Q - 1 can be had for two sets, in every committee: Q is the smallest number (C47).
#[test]
fn a_smaller_quorum_is_found_out() {
    let system = System::reduced(&FOUR.1);
    for (decryptors, corrupt) in COMMITTEES {
        let size = CommitteeSize { decryptors, corrupt };
        let sound = game(size);
        let outcome = Game { quorum: sound.quorum - 1, ..sound }.play(&system);
        let (what, way) = outcome.violation.unwrap();
        eprintln!("Q - 1 of {decryptors}, {corrupt}: {what}\n  {}", way.join("\n  "));
    }
}

/// Every neglect of a driver is found, at the decryptor itself and as two certified or endorsed things of one kind.
#[test]
fn neglected_duties_are_found_out() {
    let world = World::new(4, 1);
    for fault in [Fault::ForgetsRecords, Fault::SignsUnasked, Fault::SpeaksBeforeDisk] {
        let table = table::explore_up_to(&world, fault, 1, 500);
        let (what, steps) = table.broken.clone().unwrap();
        eprintln!("{fault:?}: {what}: {steps:?}");
        let (what, way) = game(world.size).play(&System::reduced(&table)).violation.unwrap();
        eprintln!("{fault:?}: {what}\n  {}", way.join("\n  "));
    }
}

/// Plays one committee to the end of all its executions.
fn check(c: u8, d: u8, least: usize) {
    let world = World::new(c, d);
    let table = table::explore(&world, 1);
    assert_eq!(table.broken, None);
    let system = System::reduced(&table);
    let outcome = game(world.size).play(&system);
    report("reduced", world.size, system.len(), &outcome);
    assert_eq!(outcome.violation, None, "c {c} d {d}");
    // Whoever explores nothing finds nothing: openings of each set under each manifest are among what was seen.
    let opened = |bit: u32| outcome.said.iter().any(|said| said.iter().any(|s| s >> bit & 1 == 1));
    assert!((6..10).all(opened) && outcome.states > least, "c {c} d {d}");
}

/// The theorem, for all committees of up to four.
#[test]
fn no_execution_certifies_or_opens_two_sets() {
    for (c, d) in COMMITTEES.into_iter().filter(|(c, _)| *c <= 4) {
        check(c, d, [16, 60, 1_900][usize::from(c - d) - 1]);
    }
}

/// The same for the default committee, to the end as well.
#[test]
fn no_execution_of_the_default_committee_does() {
    check(7, 2, 96_000);
}
