//! A federation in miniature for tests, of this crate and of the rooms above: keys, manifest, certificates, openings. Knows no network and
//! no log. Behind the feature `test-doors`, which release builds refuse.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a pretend world may panic")]

use crate::blob::open_blob;
use crate::prekey::PrekeySecret;
use crate::sampler::HedgeSecret;
use crate::seal::{ChunkSink, SealContext, SealError, SealedUpdate, seal};
use crate::share::{Share, post_opening};
use crate::sum::AggregateSum;
use ed25519_dalek::SigningKey;
use privacy::delta::PrivateDelta;
use privacy::noise::SeededEntropy;
use protocol::codec::encode;
use protocol::decimal::Decimal;
use protocol::ids::*;
use protocol::manifest::*;
use protocol::params::{CommitteeSize, PS_A, Packing, Tally};
use protocol::plan::Unit;
use protocol::statement::Statement;
use protocol::time::Time;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Chunks of a body, in order.
#[derive(Debug, Default)]
pub struct Spool(pub Vec<Vec<u8>>);

impl ChunkSink for Spool {
    type Error = Infallible;
    fn put(&mut self, address: Address, bytes: &[u8]) -> Result<(), Infallible> {
        assert_eq!(address, crate::blob::address_of(bytes));
        self.0.push(bytes.to_vec());
        Ok(())
    }
}

/// An update and its chunks.
#[derive(Debug)]
pub struct Sealed {
    /// Header and blobs.
    pub update: SealedUpdate,
    /// Body chunks.
    pub chunks: Vec<Vec<u8>>,
    /// Of the header.
    pub digest: HeaderDigest,
}

/// Keys of everybody, and one round with one group, number 7.
pub struct Federation {
    /// The round.
    pub manifest: Manifest,
    /// Its digest.
    pub digest: ManifestDigest,
    /// Institutions; the first are the eligible ones.
    pub ids: Vec<ClientId>,
    keys: Vec<SigningKey>,
    prekeys: Vec<PrekeySecret>,
    spend: BudgetSpend,
}

fn spend() -> BudgetSpend {
    let d = |text: &str| text.parse::<Decimal>().unwrap();
    BudgetSpend {
        dataset: Sha256([1; 32]),
        unit: Unit::Record,
        noise_multiplier: d("1.1"),
        sampling_rate: d("0.01"),
        steps: 10,
        steps_total: 10,
        delta: d("0.00001"),
        epsilon_before: d("0"),
        epsilon_after: d("0.5"),
        epsilon_cap: d("8"),
        ledger_counter: 1,
        ledger_head: Sha256([2; 32]),
        accountant: "test".into(),
    }
}

impl Federation {
    /// `institutions` clients, the first c of max(c, institutions) keys are decryptors; one group 7 with shards of these lengths.
    pub fn new(institutions: u8, n_max: u16, size: CommitteeSize, bits: u8, lengths: &[u64]) -> Self {
        let keys: Vec<SigningKey> = (0..institutions.max(size.decryptors)).map(|i| SigningKey::from_bytes(&[i + 1; 32])).collect();
        let ids: Vec<ClientId> = keys.iter().map(|k| ClientId::of(&PublicKey(k.verifying_key().to_bytes()))).collect();
        let pairs = (0..size.decryptors).map(|i| PrekeySecret::generate(&mut SeededEntropy::new(900 + u64::from(i))).unwrap());
        let (prekeys, publics): (Vec<_>, Vec<_>) = pairs.unzip();
        let committee = ids.iter().zip(publics).map(|(&institution, key)| CommitteeMember { institution, prekey: key.into() }).collect();
        let shards = lengths.iter().zip(0u32..).map(|(&length, i)| GroupShard { id: ShardId(i), length, step_exponent: -10 }).collect();
        let mut eligible = ids[..usize::from(institutions)].to_vec();
        eligible.sort_unstable();
        let packing = Packing::derive(n_max, bits).unwrap();
        let group = GroupSpec { id: GroupId(7), shards, packing, cohort_min: 2, eligible, tally: None };
        let manifest = Manifest {
            federation: "test".into(),
            task: TaskId([3; 16]),
            round: RoundId::FIRST,
            plan: PlanDigest([4; 32]),
            snapshot: SnapshotDigest([5; 32]),
            parameter_set: PS_A,
            groups: vec![group],
            roster: roster_root(&ids),
            committee,
            size,
            reporting_until: Time(1),
            certifying_until: Time(2),
            opening_until: Time(3),
            log_size: 1,
            previous_end: Sha256([6; 32]),
        };
        let digest = Manifest::digest(&encode(&manifest));
        Self { manifest, digest, ids, keys, prekeys, spend: spend() }
    }

    /// Lets institutions weigh, up to this much; client i then weighs i + 1.
    pub fn weigh(&mut self, max_weight: u64) {
        let group = &mut self.manifest.groups[0];
        group.tally = Some(Tally::derive(max_weight, group.packing.bits).unwrap());
        self.digest = Manifest::digest(&encode(&self.manifest));
    }

    /// The group.
    pub fn group(&self) -> &GroupSpec {
        &self.manifest.groups[0]
    }

    /// The header as client `client` signs it.
    pub fn header(&self, client: usize, sealed: &Sealed) -> Statement {
        Statement::sign(&sealed.update.header, &self.keys[client])
    }

    /// What client `client` seals under.
    pub fn context(&self, client: usize) -> SealContext<'_> {
        SealContext {
            manifest: &self.manifest,
            digest: self.digest,
            group: self.group().id,
            institution: self.ids[client],
            build: Sha256([8; 32]),
            spend: &self.spend,
            weight: self.group().tally.map(|t| t.max_weight.min(client as u64 + 1)),
        }
    }

    /// Seals these integers.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn try_seal(&self, client: usize, shards: &[Vec<i32>]) -> Result<Sealed, SealError<Infallible>> {
        let delta = PrivateDelta::for_test(shards.iter().zip(0u32..).map(|(v, i)| (ShardId(i), v.clone())).collect());
        let hedge = HedgeSecret::new(&mut [9; 32]);
        let mut spool = Spool::default();
        let update = seal(&self.context(client), &delta, &hedge, &mut SeededEntropy::new(client as u64), &mut spool)?;
        let digest = Header::digest(&encode(&update.header));
        Ok(Sealed { update, chunks: spool.0, digest })
    }

    /// Seals these integers.
    pub fn seal(&self, client: usize, shards: &[Vec<i32>]) -> Sealed {
        self.try_seal(client, shards).unwrap()
    }

    /// A certificate of this set by the whole committee.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn certificate(&self, members: &[HeaderDigest]) -> Result<Certificate, CertificateError> {
        let payload = SetPayload {
            manifest: self.digest,
            group: self.group().id,
            set: set_digest(self.digest, self.group().id, members),
            count: u32::try_from(members.len()).unwrap(),
            log_size: 9,
        };
        let decryptors = usize::from(self.manifest.size.decryptors);
        let statements: Vec<_> = self.keys[..decryptors].iter().map(|k| Statement::sign(&payload, k)).collect();
        Certificate::new(&self.manifest, self.digest, members, &statements)
    }

    /// A certificate of these updates.
    pub fn certify(&self, sealed: &[Sealed]) -> Certificate {
        self.certificate(&sealed.iter().map(|s| s.digest).collect::<Vec<_>>()).unwrap()
    }

    /// What the decryptor at `position` finds in its blobs.
    pub fn shares(&self, sealed: &[Sealed], position: u8) -> BTreeMap<HeaderDigest, Share> {
        let at = usize::from(position) - 1;
        let open = |s: &Sealed| {
            let share = open_blob(&self.prekeys[at], s.update.header.core.digest(), Position(position), &s.update.blobs[at]);
            (s.digest, share.unwrap())
        };
        sealed.iter().map(open).collect()
    }

    /// A decryptor's secret of the round.
    pub fn prekey(&self, position: u8) -> &PrekeySecret {
        &self.prekeys[usize::from(position) - 1]
    }

    /// Openings of the decryptors at these positions.
    pub fn openings(&self, certificate: &Certificate, sealed: &[Sealed], positions: &[u8]) -> Vec<OpeningPayload> {
        positions.iter().map(|&p| post_opening(certificate, Position(p), &self.shares(sealed, p)).unwrap()).collect()
    }

    /// The sum of these bodies.
    pub fn sum(&self, sealed: &[Sealed]) -> AggregateSum {
        let mut sum = AggregateSum::new(self.group()).unwrap();
        for s in sealed {
            for (chunk, i) in s.chunks.iter().zip(0u64..) {
                sum.add_chunk(i, chunk).unwrap();
            }
        }
        sum
    }
}
