//! From summed bodies and a key sum to exact integer sums, with every public check (crypto.md C32, C59, C60). Knows no secret:
//! whoever holds log and chunks computes the same.

use crate::Polynomial;
use crate::mask::MaskKey;
use crate::packing::Layout;
use crate::packing::slots::{Take, Taken};
use crate::ring::{RingKey, Workspace};
use crate::share::KeySum;
use crate::sum::{AggregateSum, BlockSum, hash_words, sum_root, update_words};
use crate::vector;
use protocol::hash::{Domain, tagged};
use protocol::ids::{Address, GroupId, KeySumDigest, ManifestDigest, ShardId, SumRoot, ValueDigest};
use protocol::manifest::{Certificate, GroupSpec};
use protocol::params::{BadParameters, CBD_BOUND, Packing, RING_DIMENSION, Tally};
use rayon::prelude::*;

/// Largest mean square of a residual over its prediction that an honest sum has (C60).
pub const MAX_RESIDUAL_RATIO: f64 = 1.25;
/// Below this, a sum is reported as suspiciously quiet, not failed (C60).
pub const LOW_RESIDUAL_RATIO: f64 = 0.75;

/// Polynomials that are opened together: enough for all threads, and few enough that their values take 2 MiB for each slot of a coefficient.
const STRIP: usize = 64;

/// Opened values in memory, by shard: for models of a few megabytes, tests and audits. Servers keep them in files.
pub type Values = Vec<(ShardId, Vec<i64>)>;

/// Where opened values go: the shards in the group's order, the values of each in theirs. Limb sums of a tally stay with the opener.
pub trait ValueSink {
    /// Takes the next values of a shard.
    ///
    /// # Errors
    /// [`NotKept`]; the sink says why.
    fn put(&mut self, shard: ShardId, values: &[i64]) -> Result<(), NotKept>;
}

/// A [`ValueSink`] could not take values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("opened values could not be kept")]
pub struct NotKept;

impl ValueSink for Values {
    fn put(&mut self, shard: ShardId, values: &[i64]) -> Result<(), NotKept> {
        let (_, kept) = self.iter_mut().find(|(id, _)| *id == shard).ok_or(NotKept)?;
        kept.extend_from_slice(values);
        Ok(())
    }
}

/// The exact sum of one certified set.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedSum<S = Values> {
    /// Σ v over the set, per shard in the group's order; or where they were put.
    pub values: S,
    /// Σ W over the set, where the group has a tally (C24).
    pub weight: Option<u64>,
    /// Largest mean square of a polynomial's residual over its prediction; 1 is expected.
    pub residual_ratio: f64,
    /// Polynomials below [`LOW_RESIDUAL_RATIO`].
    pub quiet_polynomials: u64,
    /// Over the values.
    pub value_digest: ValueDigest,
    /// Over the key sum.
    pub key_sum_digest: KeySumDigest,
    /// Over the summed bodies.
    pub sum_root: SumRoot,
}

/// Why a sum is not published (C62). The group is over; nothing is opened again (C58).
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Packing or sizes are not what everybody computes.
    #[error("the group's sealing numbers do not hold")]
    Parameters(#[from] BadParameters),
    /// The certificate is over another manifest or group.
    #[error("the certificate is not of this manifest and group")]
    WrongCertificate,
    /// No candidate, or the key sum of another certificate.
    #[error("the key sum is not of this certificate")]
    WrongKeySum,
    /// A coefficient that no key sum of so many members has (C59).
    #[error("coefficient {0} of the key sum is outside the range of the set")]
    KeySumRange(usize),
    /// A block is missing, of another size, or holds another number of updates than the set has members.
    #[error("block {0} does not hold the sum of the set")]
    WrongBlock(usize),
    /// Residuals that no honest sum has: wrong set, mask or key sum.
    #[error("polynomial {polynomial} has a residual ratio of {ratio}, at most {MAX_RESIDUAL_RATIO} is accepted")]
    Residual {
        /// Which.
        polynomial: u64,
        /// Mean square over prediction.
        ratio: f64,
    },
    /// A slot sum that no valid values have.
    #[error("polynomial {polynomial} holds a slot outside the range of the set")]
    SlotRange {
        /// Which.
        polynomial: u64,
    },
    /// Limb sums that no weights of so many members have.
    #[error("the tally holds no sum of weights of the set")]
    Tally,
    /// A padding slot that is not 0.
    #[error("polynomial {polynomial} has padding that is not empty")]
    Padding {
        /// Which.
        polynomial: u64,
    },
    /// The values are in order and could not be kept: ours, nobody's fault.
    #[error(transparent)]
    NotKept(#[from] NotKept),
}

/// Opens a group block by block, in order, without holding the sum as a whole. What it has put into its sink counts only once
/// [`Opener::finish`] has given it back: a later block may still show that the key sum is not the set's.
pub struct Opener<'a, S = Values> {
    group: &'a GroupSpec,
    manifest: ManifestDigest,
    layout: Layout,
    mask: MaskKey,
    key: RingKey,
    key_sum_digest: KeySumDigest,
    members: u16,
    next: u64,
    blocks: Vec<Address>,
    sink: S,
    /// One for each shard.
    hashes: Vec<blake3::Hasher>,
    tally: Vec<i64>,
    worst: f64,
    quiet: u64,
}

/// What one polynomial gives.
struct OpenedPolynomial {
    sums: Vec<i64>,
    ratio: f64,
}

impl<'a> Opener<'a> {
    /// [`Opener::into_sink`] with the values in memory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn new(manifest: ManifestDigest, group: &'a GroupSpec, certificate: &Certificate, key_sum: &KeySum) -> Result<Self, OpenError> {
        Self::into_sink(manifest, group, certificate, key_sum, in_memory(group))
    }
}

/// A place in memory for every shard of the group.
pub(crate) fn in_memory(group: &GroupSpec) -> Values {
    group.shards.iter().map(|s| (s.id, Vec::new())).collect()
}

impl<'a, S: ValueSink + Sync> Opener<'a, S> {
    /// Checks certificate and key sum against manifest and group.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn into_sink(
        manifest: ManifestDigest,
        group: &'a GroupSpec,
        certificate: &Certificate,
        key_sum: &KeySum,
        sink: S,
    ) -> Result<Self, OpenError> {
        let layout = Layout::new(group)?;
        let members = certificate.members();
        let of_group = certificate.payload().manifest == manifest && certificate.payload().group == group.id;
        if !of_group || members > group.packing.n_max {
            return Err(OpenError::WrongCertificate);
        }
        if key_sum.certificate() != certificate.digest() {
            return Err(OpenError::WrongKeySum);
        }
        let bound = CBD_BOUND * i64::from(members);
        if let Some(at) = key_sum.coefficients().iter().position(|&c| i64::from(c).abs() > bound) {
            return Err(OpenError::KeySumRange(at));
        }
        Ok(Self::checked(manifest, (group, layout), RingKey::new(key_sum.coefficients()), key_sum.digest(), members, sink))
    }

    /// An opener whose numbers have been checked.
    pub(crate) fn checked(
        manifest: ManifestDigest,
        (group, layout): (&'a GroupSpec, Layout),
        key: RingKey,
        key_sum_digest: KeySumDigest,
        members: u16,
        sink: S,
    ) -> Self {
        Self {
            group,
            manifest,
            layout,
            mask: MaskKey::derive(manifest, group.id),
            key,
            key_sum_digest,
            members,
            next: 0,
            blocks: Vec::new(),
            sink,
            hashes: vec![blake3::Hasher::new(); group.shards.len()],
            tally: Vec::new(),
            worst: 0.0,
            quiet: 0,
        }
    }

    /// Opens the next block and hands its values on.
    ///
    /// # Errors
    /// [`OpenError`]; the opener is of no more use then.
    pub fn open_block(&mut self, block: &BlockSum) -> Result<(), OpenError> {
        let index = self.blocks.len();
        let left = self.layout.polynomials() - self.next;
        let count = block.polynomials().len() as u64;
        if block.added() != self.members || count != left.min(protocol::params::CHUNK_POLYNOMIALS) || count == 0 {
            return Err(OpenError::WrongBlock(index));
        }
        for strip in block.polynomials().chunks(STRIP) {
            let first = self.next;
            let opened: Vec<OpenedPolynomial> = strip
                .par_iter()
                .enumerate()
                .map_init(
                    || (Box::new([0; RING_DIMENSION]), Workspace::new()),
                    |(x, room), (i, sum)| self.open_polynomial(sum, first + i as u64, x, room),
                )
                .collect::<Result<_, _>>()?;
            self.keep(opened)?;
        }
        self.blocks.push(block.address());
        Ok(())
    }

    /// Counts a strip and hands its values on, those of one shard together.
    fn keep(&mut self, strip: Vec<OpenedPolynomial>) -> Result<(), NotKept> {
        let (mut run, mut of) = (Vec::new(), None);
        for polynomial in strip {
            self.worst = self.worst.max(polynomial.ratio);
            self.quiet += u64::from(polynomial.ratio < LOW_RESIDUAL_RATIO);
            let place = self.layout.span(self.next).map(|span| span.shard);
            if place != of {
                self.hand_on(of, &run)?;
                (run, of) = (Vec::new(), place);
            }
            run.extend(polynomial.sums);
            self.next += 1;
        }
        self.hand_on(of, &run)
    }

    /// Values of the part at `place`: a shard, or behind the last one the tally.
    fn hand_on(&mut self, place: Option<usize>, values: &[i64]) -> Result<(), NotKept> {
        let shard = place.and_then(|at| Some((self.group.shards.get(at)?.id, self.hashes.get_mut(at)?)));
        match shard {
            Some((id, hash)) => {
                update_words(hash, values.iter().map(|v| v.to_le_bytes()));
                self.sink.put(id, values)
            }
            None => {
                self.tally.extend_from_slice(values);
                Ok(())
            }
        }
    }

    /// C32 and C60 for one polynomial.
    fn open_polynomial(
        &self,
        sum: &Polynomial,
        polynomial: u64,
        x: &mut Polynomial,
        room: &mut Workspace,
    ) -> Result<OpenedPolynomial, OpenError> {
        let span = self.layout.span(polynomial).ok_or(OpenError::WrongBlock(self.blocks.len()))?;
        let extract = Extract::new(self.layout.packing(), self.members);
        self.mask.expand(polynomial, x);
        self.key.multiply(x, room);
        for (x, &acc) in x.iter_mut().zip(sum) {
            *x = extract.centred(acc, *x);
        }
        let mut sums = vec![0i64; span.len];
        let taken = vector::dispatch(Take { packing: self.layout.packing(), members: self.members, x, sums: &mut sums });
        let ratio = taken.squares as f64 / RING_DIMENSION as f64 / self.layout.packing().residual_variance(self.members);
        if ratio > MAX_RESIDUAL_RATIO {
            return Err(OpenError::Residual { polynomial, ratio });
        }
        match taken {
            Taken { in_range: false, .. } => Err(OpenError::SlotRange { polynomial }),
            Taken { padding_is_empty: false, .. } => Err(OpenError::Padding { polynomial }),
            Taken { .. } => Ok(OpenedPolynomial { sums, ratio }),
        }
    }

    /// The opened sum, once every block was there.
    ///
    /// # Errors
    /// [`OpenError::WrongBlock`] if one is missing.
    pub fn finish(self) -> Result<OpenedSum<S>, OpenError> {
        if self.next != self.layout.polynomials() {
            return Err(OpenError::WrongBlock(self.blocks.len()));
        }
        let join = |tally: Tally| tally.join(&self.tally, self.members).ok_or(OpenError::Tally);
        Ok(OpenedSum {
            weight: self.group.tally.map(join).transpose()?,
            residual_ratio: self.worst,
            quiet_polynomials: self.quiet,
            value_digest: digest_of_parts(self.manifest, self.group.id, self.hashes.iter().map(|h| h.finalize().into()), &self.tally),
            key_sum_digest: self.key_sum_digest,
            sum_root: sum_root(self.manifest, self.group.id, &self.blocks),
            values: self.sink,
        })
    }
}

/// The numbers of C32 for one packing and set.
struct Extract {
    centre: u64,
}

impl Extract {
    fn new(packing: &Packing, members: u16) -> Self {
        // Rounding half up adds half a unit per client; ⌊|set| ÷ 2⌋ takes it away again.
        let bias = if packing.dropped_bits >= 1 { u64::from(members / 2) } else { 0 };
        Self { centre: (1u64 << (packing.noise_bits - 1)).wrapping_sub(bias) }
    }

    /// x = acc - (A·S) + 2^(f-1) - bias. Wrapping by intent (C29).
    fn centred(&self, acc: u64, product: u64) -> u64 {
        acc.wrapping_sub(product).wrapping_add(self.centre)
    }
}

/// H(`values`; manifest digest ‖ group ‖ BLAKE3 of the values of each shard as i64 LE, in order, then of the tally's limb sums) (C36).
/// A group without a tally gives no limb sums.
pub fn value_digest(manifest: ManifestDigest, group: GroupId, values: &[(ShardId, Vec<i64>)], tally: &[i64]) -> ValueDigest {
    digest_of_parts(manifest, group, values.iter().map(|(_, shard)| hash_values(shard)), tally)
}

fn digest_of_parts(manifest: ManifestDigest, group: GroupId, shards: impl Iterator<Item = [u8; 32]>, tally: &[i64]) -> ValueDigest {
    let tally = Some(tally).filter(|t| !t.is_empty()).map(hash_values);
    let flat: Vec<u8> = shards.chain(tally).flatten().collect();
    ValueDigest(tagged(Domain::Values, &[&manifest.0, &group.0.to_le_bytes(), &flat]))
}

fn hash_values(values: &[i64]) -> [u8; 32] {
    hash_words(values.iter().map(|v| v.to_le_bytes()))
}

/// Opens a group's sum with the first candidate that passes every check (C56, C59, C60).
///
/// # Errors
/// The error of the first candidate, if none passes.
pub fn open_group(
    manifest: ManifestDigest,
    group: &GroupSpec,
    certificate: &Certificate,
    candidates: &[KeySum],
    sum: &AggregateSum,
) -> Result<OpenedSum, OpenError> {
    let mut first = OpenError::WrongKeySum;
    for (tried, key_sum) in candidates.iter().enumerate() {
        match open_with(manifest, group, certificate, key_sum, sum) {
            Ok(opened) => return Ok(opened),
            Err(error) if tried == 0 => first = error,
            Err(_) => {}
        }
    }
    Err(first)
}

fn open_with(
    manifest: ManifestDigest,
    group: &GroupSpec,
    certificate: &Certificate,
    key_sum: &KeySum,
    sum: &AggregateSum,
) -> Result<OpenedSum, OpenError> {
    let mut opener = Opener::new(manifest, group, certificate, key_sum)?;
    sum.blocks().iter().try_for_each(|block| opener.open_block(block))?;
    opener.finish()
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
