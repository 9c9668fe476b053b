//! Openings of decryptors, as server and auditor read them from the log: hostile ones of a certified set. Two programs that share no line find
//! the same key sums in them (crypto.md C55, C56, C77).

use auditor::share::{Answer, CheckMatrix, KeySum, candidates, doubts};
use crypto::share::decode_key_sum;
use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::ids::{ClientId, GroupId, HeaderDigest, PlanDigest, Position, PublicKey, RoundId, Sha256, ShardId, SnapshotDigest, TaskId};
use protocol::manifest::{
    Certificate, CommitteeMember, GroupShard, GroupSpec, Manifest, OpeningPayload, PREKEY_BYTES, SetPayload, roster_root, set_digest,
};
use protocol::params::{CommitteeSize, PS_A, Packing};
use protocol::statement::Statement;
use protocol::time::Time;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Four decryptors, of whom any two open.
const SIZE: CommitteeSize = CommitteeSize { decryptors: 4, corrupt: 1 };
/// Members of the set.
pub const MEMBERS: [HeaderDigest; 2] = [HeaderDigest([1; 32]), HeaderDigest([2; 32])];
/// More than eight openings of two members.
const LIMIT: usize = 1 << 18;

static CERTIFICATE: LazyLock<Option<Certificate>> = LazyLock::new(|| {
    let keys: Vec<SigningKey> = (1..=SIZE.decryptors).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
    let ids: Vec<ClientId> = keys.iter().map(|k| ClientId::of(&PublicKey(k.verifying_key().to_bytes()))).collect();
    let packing = Packing::derive(4, 8).ok()?;
    let shards = vec![GroupShard { id: ShardId(0), length: 1, step_exponent: -10 }];
    let group = GroupSpec { id: GroupId(0), shards, packing, cohort_min: 2, eligible: ids.clone(), tally: None };
    let member = |id: &ClientId| CommitteeMember { institution: *id, prekey: vec![0; PREKEY_BYTES].into() };
    let manifest = Manifest {
        federation: "fuzz".into(),
        task: TaskId([3; 16]),
        round: RoundId::FIRST,
        plan: PlanDigest([4; 32]),
        snapshot: SnapshotDigest([5; 32]),
        parameter_set: PS_A,
        groups: vec![group],
        roster: roster_root(&ids),
        committee: ids.iter().map(member).collect(),
        size: SIZE,
        reporting_until: Time(1),
        certifying_until: Time(2),
        opening_until: Time(3),
        log_size: 1,
        previous_end: Sha256([6; 32]),
    };
    let (digest, group) = (Manifest::digest(&codec::encode(&manifest)), GroupId(0));
    let payload = SetPayload { manifest: digest, group, set: set_digest(digest, group, &MEMBERS), count: 2, log_size: 9 };
    let statements: Vec<Statement> = keys.iter().map(|k| Statement::sign(&payload, k)).collect();
    Certificate::new(&manifest, digest, &MEMBERS, &statements).ok()
});

/// The certificate that openings are of.
pub fn certificate() -> &'static Certificate {
    let Some(certificate) = CERTIFICATE.as_ref() else { unreachable!("the certificate above is one") };
    certificate
}

/// A list of openings, whoever sent them.
pub fn openings(bytes: &[u8]) {
    let Ok(openings) = codec::decode::<Vec<OpeningPayload>>(bytes, LIMIT) else { return };
    if openings.len() > usize::from(SIZE.decryptors) + 1 {
        return;
    }
    let certificate = certificate();
    let server = decode_key_sum(SIZE, certificate, &openings);
    let theirs: BTreeSet<_> = server.map(|d| d.candidates.iter().map(|c| c.digest()).collect()).unwrap_or_default();
    let ours = audited(certificate, &openings);
    // The log takes one opening of each position of the committee, and of this certificate; what else may come is the server's to refuse.
    let distinct: BTreeSet<Position> = openings.iter().map(|o| o.position).collect();
    let logged = |o: &OpeningPayload| o.certificate == certificate.digest() && (1..=SIZE.decryptors).contains(&o.position.0);
    if distinct.len() == openings.len() && openings.iter().all(logged) {
        assert!(theirs.is_subset(&ours), "the server found a key sum that the auditor does not");
        assert!(!theirs.is_empty() || ours.len() != 1 || openings.len() > SIZE.threshold(), "the auditor alone found one");
    }
}

/// Key sums within their bound that the auditor finds.
fn audited(certificate: &Certificate, openings: &[OpeningPayload]) -> BTreeSet<protocol::ids::KeySumDigest> {
    let matrix = CheckMatrix::of(certificate.digest());
    let read = openings.iter().filter_map(|o| Answer::parse(o, MEMBERS.len()).ok());
    let answers: Vec<Answer> = read.filter(|a| matrix.is_consistent(a)).collect();
    let degree = usize::from(SIZE.corrupt);
    assert!(doubts(&answers, degree, MEMBERS.len()).iter().all(|(member, _)| *member < MEMBERS.len()));
    let bounded = |s: &KeySum| s.is_bounded(certificate.members());
    candidates(&answers, degree).iter().filter(|s| bounded(s)).map(KeySum::digest).collect()
}
