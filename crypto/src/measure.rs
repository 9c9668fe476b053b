//! Work for sizing hardware (crypto.md C80): whole seals, the stock library's encryption, openings, all of made-up integers. Knows no
//! clock: the caller times. What is sealed here never leaves but as a count of bytes, so this is no door around [`crate::seal::seal`].

use crate::blob::{BlobError, open_blob, seal_blob};
use crate::mask::MaskKey;
use crate::open::{OpenError, OpenedSum, Opener, in_memory};
use crate::packing::{Layout, OutOfRange, pack, truncate, write_bits};
use crate::prekey::{BadPrekey, PrekeySecret};
use crate::reference::stock_encryption;
use crate::ring::RingKey;
use crate::sampler::{HedgeSecret, RoundSecret, SmallPolynomial};
use crate::seal::{Bench, ChunkSink, SealContext, SealError, Sealing, seal_integers};
use crate::share::{OpeningError, Share, add_shares, deal};
use crate::sum::BlockSum;
use core::convert::Infallible;
use privacy::noise::{EntropyError, EntropySource};
use protocol::codec::encode;
use protocol::decimal::Decimal;
use protocol::ids::{
    Address, CertificateDigest, ClientId, CoreDigest, GroupId, HeaderDigest, KeySumDigest, ManifestDigest, PlanDigest, Position, RoundId,
    Sha256, ShardId, SnapshotDigest, TaskId,
};
use protocol::manifest::{BudgetSpend, CommitteeMember, GroupShard, GroupSpec, Manifest};
use protocol::params::{BadParameters, CHUNK_POLYNOMIALS, CommitteeSize, PS_A, Packing, RING_DIMENSION};
use protocol::plan::Unit;
use protocol::time::Time;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Why there is nothing to measure.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// No such packing, or too many parameters.
    #[error("these sizes cannot be sealed")]
    Parameters(#[from] BadParameters),
    /// No entropy for keys.
    #[error("no fresh entropy")]
    Entropy(#[from] EntropyError),
    /// No threads to run on.
    #[error("no pool of that many threads")]
    Threads,
    /// The seal refused its own input.
    #[error("the made-up update could not be sealed")]
    Seal(#[source] SealError<Infallible>),
    /// A made-up value is outside its slot.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// The sum did not open.
    #[error("the made-up sum does not open")]
    Open(#[from] OpenError),
    /// A made-up prekey is none.
    #[error("a made-up prekey cannot be sealed to")]
    Prekey(#[from] BadPrekey),
    /// A made-up blob did not open.
    #[error("a made-up blob does not open")]
    Blob(#[from] BlobError),
    /// The shares were not added.
    #[error("made-up shares cannot be added")]
    Opening(#[from] OpeningError),
}

/// One institution's made-up update and the manifest that it is sealed under.
pub struct Workload {
    manifest: Manifest,
    digest: ManifestDigest,
    layout: Layout,
    values: Vec<i32>,
    spend: BudgetSpend,
}

/// Forgets chunks, counting their bytes.
#[derive(Default)]
struct Counter(u64);

impl ChunkSink for Counter {
    type Error = Infallible;
    fn put(&mut self, _: Address, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

impl Workload {
    /// One shard of `parameters` values of `bits` bits for cohorts of at most `n_max`, a committee of seven.
    ///
    /// # Errors
    /// [`MeasureError`] for sizes outside crypto.md C16 and without entropy.
    pub fn new(n_max: u16, bits: u8, parameters: u64, entropy: &mut dyn EntropySource) -> Result<Self, MeasureError> {
        let size = CommitteeSize { decryptors: 7, corrupt: 2 };
        let group = group(n_max, bits, parameters)?;
        let layout = Layout::new(&group)?;
        let member = |i: u8| {
            let (_, key) = PrekeySecret::generate(entropy)?;
            Ok::<_, EntropyError>(CommitteeMember { institution: ClientId([i; 32]), prekey: key.into() })
        };
        let committee = (0..size.decryptors).map(member).collect::<Result<Vec<_>, _>>()?;
        let manifest = manifest(group, committee, size);
        let most = *manifest.groups[0].packing.value_range().end();
        let values = (0..parameters).map(|t| made_up(t, most)).collect();
        Ok(Self { digest: Manifest::digest(&encode(&manifest)), manifest, layout, values, spend: spend() })
    }

    /// The packing.
    pub fn packing(&self) -> &Packing {
        self.layout.packing()
    }

    /// The group that is sealed for.
    pub fn group(&self) -> &GroupSpec {
        &self.manifest.groups[0]
    }

    /// Coefficients of one update.
    pub fn coefficients(&self) -> u64 {
        self.layout.polynomials() * RING_DIMENSION as u64
    }

    /// Seals the whole update as a client does, blobs included, and gives the bytes of its chunks and blobs.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn seal(&self, entropy: &mut dyn EntropySource) -> Result<u64, MeasureError> {
        let context = SealContext {
            manifest: &self.manifest,
            digest: self.digest,
            group: self.group().id,
            institution: self.group().eligible[0],
            build: Sha256([0; 32]),
            spend: &self.spend,
            weight: None,
        };
        let mut sink = Counter::default();
        let hedge = HedgeSecret::new(&mut [0; 32]);
        let sealed = seal_integers(&context, &self.layout, vec![&self.values], &hedge, entropy, &mut sink).map_err(MeasureError::Seal)?;
        Ok(sink.0 + sealed.blobs.iter().map(|b| b.len() as u64).sum::<u64>())
    }

    /// Seals the first `polynomials` with the stock library's seeded encryption and its own Gaussian noise of deviation 6.7, packed alike,
    /// and gives the bytes of the bodies.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn seal_stock(&self, polynomials: u64) -> Result<u64, MeasureError> {
        let round = self.round_secret();
        let key = RingKey::reference(&round.secret());
        let mask = MaskKey::derive(self.digest, self.group().id);
        let mut plain = Zeroizing::new(Vec::new());
        for j in 0..polynomials.min(self.layout.polynomials()) {
            plain.extend_from_slice(pack(self.packing(), self.values_of(j))?.as_slice());
        }
        let bodies = stock_encryption(mask, &key, &plain);
        let mut out = vec![0u8; 512 * usize::from(self.packing().body_bits)];
        let mut bytes = 0;
        for body in bodies.as_ref().as_chunks::<RING_DIMENSION>().0 {
            let mut body = *body;
            truncate(&mut body, self.packing());
            write_bits(&body, self.packing().body_bits, &mut out);
            bytes += out.len() as u64;
        }
        Ok(bytes)
    }

    /// The sealed bodies of the first block, summed alone, with what opens them.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn first_block(&self) -> Result<SealedBlock, MeasureError> {
        let spec =
            GroupSpec { shards: vec![GroupShard { length: self.first_values() as u64, ..self.group().shards[0] }], ..self.group().clone() };
        let layout = Layout::new(&spec)?;
        let round = self.round_secret();
        let shards = [&self.values[..self.first_values()]];
        let sealing = Sealing::new(&layout, &shards, &round, MaskKey::derive(self.digest, spec.id));
        let stride = 512 * usize::from(self.packing().body_bits);
        let mut bench = Bench::new();
        let mut packed = vec![0u8; stride * usize::try_from(layout.polynomials()).unwrap_or(0)];
        for (out, j) in packed.chunks_exact_mut(stride).zip(0..) {
            sealing.write(j, &mut bench, out)?;
        }
        Ok(SealedBlock { spec, layout, manifest: self.digest, key: round, packed })
    }

    fn first_values(&self) -> usize {
        let most = usize::from(self.packing().slots) * RING_DIMENSION * usize::try_from(CHUNK_POLYNOMIALS).unwrap_or(0);
        self.values.len().min(most)
    }

    fn values_of(&self, j: u64) -> &[i32] {
        self.layout.span(j).map_or(&[], |span| &self.values[span.start..span.start + span.len])
    }

    fn round_secret(&self) -> RoundSecret {
        let zero = Zeroizing::new([0; 32]);
        RoundSecret::derive(&zero, &HedgeSecret::new(&mut [0; 32]), self.digest, self.group().id, &zero)
    }
}

/// One block of a made-up update: what a server adds and opens.
pub struct SealedBlock {
    spec: GroupSpec,
    layout: Layout,
    manifest: ManifestDigest,
    key: RoundSecret,
    packed: Vec<u8>,
}

impl SealedBlock {
    /// The packed chunk.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The group of this one block.
    pub fn group(&self) -> &GroupSpec {
        &self.spec
    }

    /// Opens the block, summed from this one update, as a server does.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn open(&self, block: &BlockSum) -> Result<OpenedSum, MeasureError> {
        let key = RingKey::new(&self.key.secret());
        let none = KeySumDigest([0; 32]);
        let of = (&self.spec, self.layout.clone());
        let mut opener = Opener::checked(self.manifest, of, key, none, block.added(), in_memory(&self.spec));
        opener.open_block(block)?;
        Ok(opener.finish()?)
    }
}

/// Layer 2 of one made-up update: what its client deals, and what one decryptor does with a hundred of them.
pub struct Sharing {
    round: RoundSecret,
    secret: SmallPolynomial,
    size: CommitteeSize,
    prekeys: Vec<(PrekeySecret, Vec<u8>)>,
}

impl Sharing {
    /// A committee of this size.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn new(size: CommitteeSize, entropy: &mut dyn EntropySource) -> Result<Self, MeasureError> {
        size.check()?;
        let zero = Zeroizing::new([0; 32]);
        let round = RoundSecret::derive(&zero, &HedgeSecret::new(&mut [0; 32]), ManifestDigest([0; 32]), GroupId(0), &zero);
        let prekeys = (0..size.decryptors).map(|_| PrekeySecret::generate(entropy)).collect::<Result<_, _>>()?;
        Ok(Self { secret: round.secret(), round, size, prekeys })
    }

    /// Deals the shares, and gives their number.
    pub fn deal(&self) -> usize {
        deal(&self.secret, &self.round, self.size).len()
    }

    /// Seals one share to each decryptor.
    ///
    /// # Errors
    /// [`MeasureError::Prekey`].
    pub fn seal(&self) -> Result<Vec<Vec<u8>>, MeasureError> {
        let shares = deal(&self.secret, &self.round, self.size);
        let seal = |(share, (_, key)): (&Share, &(PrekeySecret, Vec<u8>))| -> Result<Vec<u8>, MeasureError> {
            Ok(seal_blob(key, CoreDigest([0; 32]), share, self.round.encapsulation(share.position()))?)
        };
        shares.iter().zip(&self.prekeys).map(seal).collect()
    }

    /// Opens the first decryptor's blob so many times, as if each were another client's.
    ///
    /// # Errors
    /// [`MeasureError::Blob`].
    pub fn open(&self, blobs: &[Vec<u8>], times: u16) -> Result<Shares, MeasureError> {
        let (Some((secret, _)), Some(blob)) = (self.prekeys.first(), blobs.first()) else { return Ok(Shares(BTreeMap::new())) };
        let open = |i: u16| -> Result<(HeaderDigest, Share), MeasureError> {
            let mut header = HeaderDigest([0; 32]);
            header.0[..2].copy_from_slice(&i.to_le_bytes());
            Ok((header, open_blob(secret, CoreDigest([0; 32]), Position(1), blob)?))
        };
        (0..times).map(open).collect::<Result<_, _>>().map(Shares)
    }
}

/// Shares that one decryptor holds of a made-up set.
pub struct Shares(BTreeMap<HeaderDigest, Share>);

impl Shares {
    /// Adds them and makes their check values, as for an opening, and gives its bytes.
    ///
    /// # Errors
    /// [`MeasureError::Opening`].
    pub fn check(&self) -> Result<usize, MeasureError> {
        let members: Vec<HeaderDigest> = self.0.keys().copied().collect();
        let opening = add_shares(CertificateDigest([0; 32]), &members, Position(1), &self.0)?;
        Ok(opening.shares.len() + opening.checks.len())
    }
}

/// Values over the whole range of a slot.
fn made_up(t: u64, most: i64) -> i32 {
    let spread = t.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    i32::try_from(spread.cast_signed() % (2 * most + 1) - most).unwrap_or(0)
}

fn group(n_max: u16, bits: u8, parameters: u64) -> Result<GroupSpec, BadParameters> {
    let shards = vec![GroupShard { id: ShardId(0), length: parameters, step_exponent: -16 }];
    let eligible = vec![ClientId([0; 32]), ClientId([1; 32])];
    Ok(GroupSpec { id: GroupId(0), shards, packing: Packing::derive(n_max, bits)?, cohort_min: 2, eligible, tally: None })
}

fn manifest(group: GroupSpec, committee: Vec<CommitteeMember>, size: CommitteeSize) -> Manifest {
    Manifest {
        federation: "measurement".into(),
        task: TaskId([0; 16]),
        round: RoundId::FIRST,
        plan: PlanDigest([0; 32]),
        snapshot: SnapshotDigest([0; 32]),
        parameter_set: PS_A,
        roster: protocol::manifest::roster_root(&group.eligible),
        groups: vec![group],
        committee,
        size,
        reporting_until: Time(1),
        certifying_until: Time(2),
        opening_until: Time(3),
        log_size: 1,
        previous_end: Sha256([0; 32]),
    }
}

fn spend() -> BudgetSpend {
    let zero = Decimal::ZERO;
    BudgetSpend {
        dataset: Sha256([0; 32]),
        unit: Unit::Record,
        noise_multiplier: zero,
        sampling_rate: zero,
        steps: 0,
        steps_total: 0,
        delta: zero,
        epsilon_before: zero,
        epsilon_after: zero,
        epsilon_cap: zero,
        ledger_counter: 0,
        ledger_head: Sha256([0; 32]),
        accountant: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use privacy::noise::SeededEntropy;

    #[test]
    fn what_is_measured_is_whole() {
        let work = Workload::new(100, 8, 30_000, &mut SeededEntropy::new(1)).unwrap();
        assert_eq!((work.packing().bits_per_parameter(), work.coefficients()), (17.0, 3 * 4096));
        assert_eq!(work.seal(&mut SeededEntropy::new(2)).unwrap(), 3 * 512 * 51 + 7 * 17_536);
        assert_eq!(work.seal_stock(2).unwrap(), 2 * 512 * 51);
        let block = work.first_block().unwrap();
        let mut sum = BlockSum::new(block.group(), 0).unwrap();
        sum.add_chunk(block.packed()).unwrap();
        let opened = block.open(&sum).unwrap();
        assert!(opened.values[0].1.iter().zip(&work.values).all(|(&sum, &v)| sum == i64::from(v)));
        let sharing = Sharing::new(CommitteeSize { decryptors: 7, corrupt: 2 }, &mut SeededEntropy::new(3)).unwrap();
        let blobs = sharing.seal().unwrap();
        assert_eq!((sharing.deal(), blobs.iter().map(Vec::len).sum::<usize>()), (7, 7 * 17_536));
        assert_eq!(sharing.open(&blobs, 100).unwrap().check().unwrap(), 16_400 + 16 * 100);
        assert!(Workload::new(1, 8, 10, &mut SeededEntropy::new(1)).is_err());
        assert!(Workload::new(100, 8, 1 << 40, &mut SeededEntropy::new(1)).is_err());
    }
}
