//! The real decryptor under a plan whose noise is calibrated for three institutions: below that nothing is signed, so nothing can be opened
//! (privacy.md D7, D11; bug class B29).

use crate::world::{BadProposal, GROUP, ROUND, TASK, World};
use protocol::decryptor::{Action, Decryptor, Event, Record};
use protocol::manifest::{Certificate, CertificateError};
use protocol::messages::ClientMessage;
use protocol::reject::Rejection;
use protocol::time::Time;

/// What the first decryptor of the committee answers to a proposal whose shares it all holds.
fn answer(world: &World, proposal: &BadProposal) -> Result<(), Rejection> {
    let m = &world.manifests[0];
    let endorsed = Record::Endorsed { task: TASK, round: ROUND, manifest: m.statement.clone() };
    let mut decryptor = Decryptor::restore(world.decryptor(0), &[endorsed]);
    for &header in &proposal.headers {
        let held = Event::Share { manifest: m.digest, group: GROUP, header, trouble: None };
        decryptor.handle(Time(1), &proposal.log, held);
    }
    while decryptor.poll_action().is_some() {}
    let (payload, headers) = (protocol::codec::encode(&proposal.payload), proposal.headers.clone());
    decryptor.handle(Time(1), &proposal.log, Event::SignSet { payload, headers });
    match decryptor.poll_action() {
        Some(Action::Persist(_, record)) if matches!(*record, Record::Signed { .. }) => Ok(()),
        Some(Action::Send(ClientMessage::Refused { reason, .. })) => Err(reason),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_decryptor_signs_no_set_below_the_calibrated_number() {
    let world = World::calibrated_for_three(3, 1);
    let m = &world.manifests[0];
    assert_eq!(answer(&world, &m.propose(3, false)), Ok(()), "three are enough");
    assert_eq!(answer(&world, &m.propose(2, false)), Err(Rejection::Cohort));
    assert_eq!(answer(&world, &m.propose(1, false)), Err(Rejection::Cohort));
    // Three headers of two institutions are two shares of noise.
    let twice = m.propose(2, true);
    assert_eq!((twice.headers.len(), answer(&world, &twice)), (3, Err(Rejection::Cohort)));
    assert_eq!(answer(&world, &m.propose(3, true)), Err(Rejection::Cohort), "nobody's update is in a sum twice");
}

/// Without the number nothing is opened either: there is no certificate for whoever asks for an opening.
#[test]
fn there_is_no_certificate_below_the_calibrated_number() {
    let world = World::calibrated_for_three(3, 1);
    let m = &world.manifests[0];
    let short = m.propose(2, false);
    let signed: Vec<_> = world.committee.iter().map(|k| protocol::statement::Statement::sign(&short.payload, k)).collect();
    let certificate = Certificate::new(&m.manifest, m.digest, &short.headers, &signed);
    assert_eq!(certificate.err(), Some(CertificateError::Cohort(2)));
}

/// A cohort of one by another manifest: n_min, c and the grid stand in the plan, and a client takes no manifest that says otherwise.
#[test]
fn a_client_takes_no_manifest_with_another_number_than_the_plans() {
    let world = World::calibrated_for_three(3, 1);
    let honest = &world.manifests[0].manifest;
    assert!(world.open.agrees_with(honest));
    let mut fewer = honest.clone();
    fewer.groups[0].cohort_min = 2;
    assert!(!world.open.agrees_with(&fewer));
    let mut narrower = honest.clone();
    narrower.groups[0].packing.bits = 8;
    assert!(!world.open.agrees_with(&narrower));
    let mut other = honest.clone();
    other.plan = protocol::ids::PlanDigest([1; 32]);
    assert!(!world.open.agrees_with(&other), "another c or grid is another plan");
    let mut roster = honest.clone();
    roster.roster = protocol::manifest::roster_root(&honest.groups[0].eligible[1..]);
    assert!(!world.open.agrees_with(&roster));
}
