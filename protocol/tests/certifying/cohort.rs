//! The real decryptor under a plan whose noise is calibrated for three institutions: below that nothing is signed, so nothing can be opened
//! (privacy.md D7, D11; bug class B29).

use crate::world::{BadProposal, GROUP, More, ROUND, TASK, World};
use protocol::decryptor::{Action, Decryptor, Event, Record};
use protocol::history::History;
use protocol::ids::HeaderDigest;
use protocol::manifest::{Certificate, CertificateError};
use protocol::messages::ClientMessage;
use protocol::reject::Rejection;
use protocol::statement::Statement;
use protocol::time::Time;

/// The first decryptor of the committee with the shares of these updates. It has signed nothing.
fn holding(world: &World, headers: &[HeaderDigest]) -> Decryptor {
    let m = &world.manifests[0];
    let endorsed = Record::Endorsed { task: TASK, round: ROUND, manifest: m.statement.clone() };
    let mut decryptor = Decryptor::restore(world.decryptor(0), &[endorsed]);
    for &header in headers {
        let held = Event::Share { manifest: m.digest, group: GROUP, header, trouble: None };
        decryptor.handle(Time(1), &world.open, held);
    }
    while decryptor.poll_action().is_some() {}
    decryptor
}

/// What it answers when it is shown a certificate that it has not signed, under a checkpoint that covers the whole log.
fn opens(world: &World, log: &History, headers: &[HeaderDigest], statements: &[Statement]) -> Result<(), Rejection> {
    let mut decryptor = holding(world, headers);
    let certified = Event::Certified { headers: headers.to_vec(), statements: statements.to_vec(), covered: u64::MAX };
    decryptor.handle(Time(1), log, certified);
    match decryptor.poll_action() {
        Some(Action::Compute(..)) => Ok(()),
        Some(Action::Send(ClientMessage::Refused { reason, .. })) => Err(reason),
        other => unreachable!("{other:?}"),
    }
}

/// What the first decryptor of the committee answers to a proposal whose shares it all holds.
fn answer(world: &World, proposal: &BadProposal) -> Result<(), Rejection> {
    let mut decryptor = holding(world, &proposal.headers);
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
    assert_eq!(answer(&world, &m.propose(3, More::None)), Ok(()), "three are enough");
    assert_eq!(answer(&world, &m.propose(2, More::None)), Err(Rejection::Cohort));
    assert_eq!(answer(&world, &m.propose(1, More::None)), Err(Rejection::Cohort));
    // Three headers of two institutions are two shares of noise.
    let twice = m.propose(2, More::Again);
    assert_eq!((twice.headers.len(), answer(&world, &twice)), (3, Err(Rejection::Cohort)));
    assert_eq!(answer(&world, &m.propose(3, More::Again)), Err(Rejection::Cohort), "nobody's update is in a sum twice");
}

/// C53: who did not sign looks at everything that the signers should have looked at. A whole committee's signatures do not make three headers
/// of two institutions a sum over three.
#[test]
fn a_decryptor_opens_no_set_that_it_would_not_have_signed_whoever_did() {
    let world = World::calibrated_for_three(3, 1);
    let m = &world.manifests[0];
    let answered = |proposal: &BadProposal| {
        let (log, statements) = proposal.certify(&world.committee);
        opens(&world, &log, &proposal.headers, &statements)
    };
    assert_eq!(answered(&m.propose(3, More::None)), Ok(()), "an honest set, which this decryptor was too late to sign");
    assert_eq!(answered(&m.propose(2, More::Again)), Err(Rejection::Cohort));
    assert_eq!(answered(&m.propose(3, More::Again)), Err(Rejection::Cohort));
}

/// The same where the mirror shows no quorum behind the manifest: another one may have it.
#[test]
fn a_decryptor_opens_nothing_under_a_manifest_that_no_quorum_endorsed() {
    for (world, expected) in [(World::new(3, 1), Ok(())), (World::not_endorsed(3, 1), Err(Rejection::WrongManifest))] {
        let set = world.set((0, 0));
        assert_eq!(opens(&world, &set.certified, &set.headers, &set.signatures), expected);
    }
}

/// C28: one update more than the packing carries would run over into the next slot.
#[test]
fn a_decryptor_signs_no_set_that_is_larger_than_the_packing_carries() {
    let world = World::of_at_most_three(3, 1);
    let m = &world.manifests[0];
    assert_eq!(m.manifest.groups[0].packing.n_max, 3);
    assert_eq!(answer(&world, &m.propose(3, More::None)), Ok(()));
    let four = m.propose(3, More::Another);
    assert_eq!((four.headers.len(), answer(&world, &four)), (4, Err(Rejection::Cohort)));
}

/// Without the number nothing is opened either: there is no certificate for whoever asks for an opening.
#[test]
fn there_is_no_certificate_below_the_calibrated_number() {
    let world = World::calibrated_for_three(3, 1);
    let m = &world.manifests[0];
    let short = m.propose(2, More::None);
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
