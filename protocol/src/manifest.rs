//! The signed statements of one round, from prekeys to openings (crypto.md C35), and their digests (C36).

mod certificate;

pub use certificate::{Certificate, CertificateError, SetPayload, certificate_digest, set_digest};

use crate::decimal::Decimal;
use crate::hash::{Domain, tagged};
use crate::ids::{
    Address, BodyRoot, CertificateDigest, ClientId, CoreDigest, GroupId, HeaderDigest, KeySumDigest, ManifestDigest, PlanDigest, Position,
    RoundId, SetDigest, Sha256, ShardId, SnapshotDigest, SumRoot, TaskId, ValueDigest,
};
use crate::params::{CommitteeSize, MAX_POLYNOMIALS, Packing, Tally};
use crate::plan::{Plan, Unit};
use crate::statement::{MAX_PAYLOAD, Payload, StatementKind};
use crate::time::Time;
use minicbor::bytes::ByteVec;
use minicbor::{CborLen, Decode, Encode};

/// Bytes of an X-Wing public key.
pub const PREKEY_BYTES: usize = 1216;
/// Most rounds that one prekeys statement covers: 16 keys of 1,216 bytes stay below the limit of a statement.
pub const MAX_PREKEY_ROUNDS: u64 = 16;

/// A decryptor's public keys for a range of rounds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Prekeys {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// Round of the first key; the others follow without a gap.
    #[n(1)]
    pub first: RoundId,
    /// X-Wing public keys, one per round.
    #[n(2)]
    pub keys: Vec<ByteVec>,
    /// Commitments to the numbers that random groups are dealt from, one per round; for plans with random groups (C37).
    #[n(3)]
    pub nonces: Option<Vec<Sha256>>,
}

impl Payload for Prekeys {
    const KIND: StatementKind = StatementKind::Prekeys;
}

impl Prekeys {
    /// The key for `round`, if the range covers it and the key has the right length.
    pub fn key(&self, round: RoundId) -> Option<&[u8]> {
        let at = usize::try_from(round.0.checked_sub(self.first.0)?).ok()?;
        self.keys.get(at).map(|k| k.as_slice()).filter(|k| k.len() == PREKEY_BYTES)
    }

    /// The commitment for `round`, if there is one.
    pub fn commitment(&self, round: RoundId) -> Option<Sha256> {
        let at = usize::try_from(round.0.checked_sub(self.first.0)?).ok()?;
        self.nonces.as_ref()?.get(at).copied()
    }
}

/// One decryptor of the round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct CommitteeMember {
    /// The institution.
    #[n(0)]
    pub institution: ClientId,
    /// Its X-Wing public key for this round.
    #[n(1)]
    pub prekey: ByteVec,
}

/// A shard as a group carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct GroupShard {
    /// Number in the shard table.
    #[n(0)]
    pub id: ShardId,
    /// Coordinates.
    #[n(1)]
    pub length: u64,
    /// The quantiser's step is 2^step_exponent.
    #[n(2)]
    pub step_exponent: i8,
}

/// One sum of the round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct GroupSpec {
    /// Number of the group.
    #[n(0)]
    pub id: GroupId,
    /// Its shards in table order.
    #[n(1)]
    pub shards: Vec<GroupShard>,
    /// Derived packing; recomputed by everybody (C20).
    #[n(2)]
    pub packing: Packing,
    /// Fewest members of a certified set.
    #[n(3)]
    pub cohort_min: u16,
    /// Institutions that may contribute, ascending.
    #[n(4)]
    pub eligible: Vec<ClientId>,
    /// The weight that travels with every update, where the plan weighs institutions (C24).
    #[n(5)]
    pub tally: Option<Tally>,
}

impl GroupSpec {
    /// Shards with their lengths.
    pub fn shard_lengths(&self) -> Vec<(ShardId, u64)> {
        self.shards.iter().map(|s| (s.id, s.length)).collect()
    }

    /// Polynomials of one update, its tally included.
    ///
    /// # Errors
    /// As [`Packing::polynomials`], and for a tally that is not the one of its bound and bits.
    pub fn polynomials(&self) -> Result<u64, crate::params::BadParameters> {
        // First what a message may say wrongly: nothing is divided by a number that nobody has checked.
        let shards = self.packing.polynomials(&self.shard_lengths())?;
        self.tally.map_or(Ok(()), |t| t.check(self.packing.bits))?;
        let tally = self.tally.map_or(0, |t| self.packing.shard_polynomials(t.limbs()));
        let total = shards.saturating_add(tally);
        if total > MAX_POLYNOMIALS { Err(crate::params::BadParameters::Size(total)) } else { Ok(total) }
    }
}

/// The signed statement of one round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Manifest {
    /// Federation name.
    #[n(0)]
    pub federation: String,
    /// Task.
    #[n(1)]
    pub task: TaskId,
    /// Round.
    #[n(2)]
    pub round: RoundId,
    /// The plan.
    #[n(3)]
    pub plan: PlanDigest,
    /// The weights that the round starts from.
    #[n(4)]
    pub snapshot: SnapshotDigest,
    /// Parameter set of sealing; 1 = PS-A.
    #[n(5)]
    pub parameter_set: u8,
    /// Sums.
    #[n(6)]
    pub groups: Vec<GroupSpec>,
    /// Root of the roster (see [`roster_root`]).
    #[n(7)]
    pub roster: Sha256,
    /// Decryptors in order of their positions.
    #[n(8)]
    pub committee: Vec<CommitteeMember>,
    /// c and d.
    #[n(9)]
    pub size: CommitteeSize,
    /// No update is taken at or after this time.
    #[n(10)]
    pub reporting_until: Time,
    /// No set is signed at or after this time.
    #[n(11)]
    pub certifying_until: Time,
    /// No opening is taken at or after this time.
    #[n(12)]
    pub opening_until: Time,
    /// Tree size of the checkpoint that covers the end of the previous round.
    #[n(13)]
    pub log_size: u64,
    /// Leaf hash of the entry that ended the round before (or opened the task).
    #[n(14)]
    pub previous_end: Sha256,
}

impl Payload for Manifest {
    const KIND: StatementKind = StatementKind::Manifest;
}

impl Manifest {
    /// H(`manifest`; payload).
    pub fn digest(payload: &[u8]) -> ManifestDigest {
        ManifestDigest(tagged(Domain::Manifest, &[payload]))
    }

    /// The group with this number.
    pub fn group(&self, id: GroupId) -> Option<&GroupSpec> {
        self.groups.iter().find(|g| g.id == id)
    }

    /// The institution's place in the committee.
    pub fn position(&self, institution: ClientId) -> Option<Position> {
        let at = self.committee.iter().position(|m| m.institution == institution)?;
        u8::try_from(at + 1).ok().map(Position)
    }

    /// The decryptor at `position`.
    pub fn decryptor(&self, position: Position) -> Option<&CommitteeMember> {
        usize::from(position.0).checked_sub(1).and_then(|i| self.committee.get(i))
    }

    /// The group table that `plan` prescribes for these institutions in this round, dealt into as many parts as the plan has random groups
    /// (C37); with one random group, all of them in one part. Everybody recomputes it and refuses a difference.
    ///
    /// In a plan with tiers, a group has those institutions that train its shards in this round, and a group that fewer than the minimum
    /// train is left out: nobody seals for it (training.md M6).
    ///
    /// # Errors
    /// [`crate::params::BadParameters`] if the plan's numbers have no packing, or the parts are not as many as the plan says.
    pub fn groups_of(plan: &Plan, round: RoundId, parts: &[Vec<ClientId>]) -> Result<Vec<GroupSpec>, crate::params::BadParameters> {
        if parts.len() != usize::from(plan.robust().random_groups) {
            return Err(crate::params::BadParameters::Undealt(plan.robust().random_groups));
        }
        let mut groups = Vec::new();
        for g in &plan.groups {
            let shards = g.shards.iter().filter_map(|&id| plan.shard(id));
            let shards: Vec<_> = shards.map(|s| GroupShard { id: s.id, length: s.len(), step_exponent: s.step_exponent }).collect();
            let (packing, tally) = (Packing::derive(plan.part_n_max(), g.bits)?, plan.tally(g)?);
            for (part, eligible) in (0u16..).zip(parts) {
                let (id, shards) = (plan.part_id(g.id, part), shards.clone());
                let mut eligible: Vec<_> = eligible.iter().copied().filter(|&who| plan.trains(who, g, round)).collect();
                eligible.sort_unstable();
                if plan.tiers.is_some() && eligible.len() < usize::from(plan.cohort_min) {
                    continue;
                }
                groups.push(GroupSpec { id, shards, packing, cohort_min: plan.cohort_min, eligible, tally });
            }
        }
        Ok(groups)
    }

    /// Everybody who may contribute, ascending.
    pub fn eligible(&self) -> Vec<ClientId> {
        let all: std::collections::BTreeSet<_> = self.groups.iter().flat_map(|g| &g.eligible).copied().collect();
        all.into_iter().collect()
    }
}

/// Root of the roster: SHA-256 over the enrolled institutions' ids in ascending order, with their count.
pub fn roster_root(members: &[ClientId]) -> Sha256 {
    Sha256(crate::hash::List::Roster.digest(members.iter().map(|id| id.0).collect()))
}

/// The committee that the rule gives (C37): the c institutions with the smallest SHA-256(previous end ‖ id), in that order.
/// A function of roster and log alone, so that there is exactly one per (task, round).
pub fn committee_of(members: &[ClientId], previous_end: Sha256, size: CommitteeSize) -> Vec<ClientId> {
    let mut ranked: Vec<_> = members.iter().map(|&id| (crate::hash::sha256(&[&previous_end.0, &id.0]), id)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(usize::from(size.decryptors)).map(|(_, id)| id).collect()
}

/// A decryptor vouches for one manifest per (task, round).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Endorsement {
    /// The manifest.
    #[n(0)]
    pub manifest: ManifestDigest,
}

impl Payload for Endorsement {
    const KIND: StatementKind = StatementKind::Endorsement;
}

/// What this update cost, as the institution's ledger has it (audit.md A19, A21).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct BudgetSpend {
    /// Opaque id of the dataset lineage.
    #[n(0)]
    pub dataset: Sha256,
    /// Whose data.
    #[n(1)]
    pub unit: Unit,
    /// Noise multiplier that was executed.
    #[n(2)]
    pub noise_multiplier: Decimal,
    /// Sampling rate that was executed.
    #[n(3)]
    pub sampling_rate: Decimal,
    /// Steps paid for in this round.
    #[n(4)]
    pub steps: u64,
    /// Steps of this task paid for so far, this round included.
    #[n(5)]
    pub steps_total: u64,
    /// δ.
    #[n(6)]
    pub delta: Decimal,
    /// Upper bound on ε before this round, six places, rounded up.
    #[n(7)]
    pub epsilon_before: Decimal,
    /// Upper bound on ε after this round.
    #[n(8)]
    pub epsilon_after: Decimal,
    /// The institution's cap.
    #[n(9)]
    pub epsilon_cap: Decimal,
    /// Ledger counter of the reservation.
    #[n(10)]
    pub ledger_counter: u64,
    /// Hash of the reservation's ledger entry.
    #[n(11)]
    pub ledger_head: Sha256,
    /// Accountant and version.
    #[n(12)]
    pub accountant: String,
}

/// The part of a header that share blobs are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct HeaderCore {
    /// The manifest sealed under.
    #[n(0)]
    pub manifest: ManifestDigest,
    /// The institution.
    #[n(1)]
    pub institution: ClientId,
    /// The group.
    #[n(2)]
    pub group: GroupId,
    /// Polynomials.
    #[n(3)]
    pub polynomials: u64,
    /// Chunk addresses' count.
    #[n(4)]
    pub chunks: u64,
    /// Bytes of all bodies.
    #[n(5)]
    pub body_bytes: u64,
    /// Root over the chunk addresses.
    #[n(6)]
    pub body_root: BodyRoot,
    /// SHA-256 of the client's program.
    #[n(7)]
    pub build: Sha256,
    /// What it cost.
    #[n(8)]
    pub spend: BudgetSpend,
}

impl HeaderCore {
    /// H(`core`; core bytes): the associated data of every share blob.
    pub fn digest(&self) -> CoreDigest {
        CoreDigest(tagged(Domain::Core, &[&crate::codec::encode(self)]))
    }
}

/// The signed header of one sealed update.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Header {
    /// What the blobs are bound to.
    #[n(0)]
    pub core: HeaderCore,
    /// BLAKE3 addresses of the share blobs, by position.
    #[n(1)]
    pub blobs: Vec<Address>,
}

impl Payload for Header {
    const KIND: StatementKind = StatementKind::Header;
}

impl Header {
    /// H(`header`; payload).
    pub fn digest(payload: &[u8]) -> HeaderDigest {
        HeaderDigest(tagged(Domain::Header, &[payload]))
    }
}

/// H(`body`; count ‖ addresses in order).
pub fn body_root(chunks: &[Address]) -> BodyRoot {
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let flat: Vec<u8> = chunks.iter().flat_map(|a| a.0).collect();
    BodyRoot(tagged(Domain::Body, &[&count.to_le_bytes(), &flat]))
}

/// A decryptor's summed key share for a certified set.
#[derive(Clone, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct OpeningPayload {
    /// What it opens.
    #[n(0)]
    pub certificate: CertificateDigest,
    /// Who opens.
    #[n(1)]
    pub position: Position,
    /// 4100 summed shares, u32 LE (C33).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub shares: Vec<u8>,
    /// Four check values, u32 LE, per member in ascending order of header digests (C55).
    #[cbor(n(3), with = "minicbor::bytes")]
    pub checks: Vec<u8>,
}

impl std::fmt::Debug for OpeningPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpeningPayload({:?}, {:?})", self.certificate, self.position)
    }
}

impl Payload for OpeningPayload {
    const KIND: StatementKind = StatementKind::Opening;
}

/// What the server states about an opened sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct SumResult {
    /// The manifest.
    #[n(0)]
    pub manifest: ManifestDigest,
    /// The group.
    #[n(1)]
    pub group: GroupId,
    /// The certified set.
    #[n(2)]
    pub set: SetDigest,
    /// Over the summed bodies.
    #[n(3)]
    pub sum_root: SumRoot,
    /// Over S.
    #[n(4)]
    pub key_sum: KeySumDigest,
    /// Over the opened values.
    #[n(5)]
    pub values: ValueDigest,
    /// Largest mean square of a polynomial's residual over its prediction, six places.
    #[n(6)]
    pub residual_ratio: Decimal,
}

impl Payload for SumResult {
    const KIND: StatementKind = StatementKind::SumResult;
}

/// A client takes no part in a round, and says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Decline {
    /// Task.
    #[n(0)]
    pub task: TaskId,
    /// Round.
    #[n(1)]
    pub round: RoundId,
    /// Reason.
    #[n(2)]
    pub reason: crate::reject::Rejection,
}

impl Payload for Decline {
    const KIND: StatementKind = StatementKind::Decline;
}

const _: () = assert!(MAX_PAYLOAD >= 16 * (PREKEY_BYTES + 64) + 4096);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::BadParameters;

    /// A group table comes out of somebody's message: no number in it may bring down who reads it.
    #[test]
    fn a_group_with_numbers_that_nobody_derives_has_no_size() {
        let packing = Packing::derive(4, 8).unwrap();
        let shards = vec![GroupShard { id: ShardId(0), length: 100, step_exponent: 0 }];
        let good = GroupSpec { id: GroupId(0), shards, packing, cohort_min: 2, eligible: Vec::new(), tally: None };
        assert_eq!(good.polynomials(), Ok(1));
        for (max_weight, bits) in [(5, 0), (5, 1), (5, 3), (5, 9), (5, 255), (0, 8), (u64::MAX, 8)] {
            let group = GroupSpec { tally: Some(Tally { max_weight, bits }), ..good.clone() };
            assert!(matches!(group.polynomials(), Err(BadParameters::Weight(w)) if w == max_weight), "{max_weight} {bits}");
        }
        let none = GroupSpec { packing: Packing { slots: 0, ..packing }, ..good.clone() };
        assert!(matches!(none.polynomials(), Err(BadParameters::Packing { .. })));
        let long = GroupSpec { shards: vec![GroupShard { length: u64::MAX, ..good.shards[0] }; 64], ..good };
        assert!(matches!(long.polynomials(), Err(BadParameters::Size(_))));
    }
}
