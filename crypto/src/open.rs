//! From summed bodies and a key sum to exact integer sums, with every public check (crypto.md C32, C59, C60). Knows no secret:
//! whoever holds log and chunks computes the same.

use crate::Polynomial;
use crate::mask::MaskKey;
use crate::packing::Layout;
use crate::packing::slots::{Take, Taken};
use crate::ring::{RingKey, Workspace};
use crate::share::KeySum;
use crate::sum::{AggregateSum, BlockSum, hash_words, sum_root};
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

/// The exact sum of one certified set.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedSum {
    /// Σ v over the set, per shard in the group's order.
    pub values: Vec<(ShardId, Vec<i64>)>,
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
}

/// Opens a group block by block, in order, without holding the sum as a whole.
pub struct Opener<'a> {
    group: &'a GroupSpec,
    manifest: ManifestDigest,
    layout: Layout,
    mask: MaskKey,
    key: RingKey,
    key_sum_digest: KeySumDigest,
    members: u16,
    next: u64,
    blocks: Vec<Address>,
    values: Vec<(ShardId, Vec<i64>)>,
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
    /// Checks certificate and key sum against manifest and group.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn new(manifest: ManifestDigest, group: &'a GroupSpec, certificate: &Certificate, key_sum: &KeySum) -> Result<Self, OpenError> {
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
        Ok(Self::checked(manifest, group, layout, RingKey::new(key_sum.coefficients()), key_sum.digest(), members))
    }

    /// An opener whose numbers have been checked.
    pub(crate) fn checked(
        manifest: ManifestDigest,
        group: &'a GroupSpec,
        layout: Layout,
        key: RingKey,
        key_sum_digest: KeySumDigest,
        members: u16,
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
            values: group.shards.iter().map(|s| (s.id, Vec::new())).collect(),
            tally: Vec::new(),
            worst: 0.0,
            quiet: 0,
        }
    }

    /// Opens the next block.
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
        let first = self.next;
        let opened: Vec<OpenedPolynomial> = block
            .polynomials()
            .par_iter()
            .enumerate()
            .map_init(
                || (Box::new([0; RING_DIMENSION]), Workspace::new()),
                |(x, room), (i, sum)| self.open_polynomial(sum, first + i as u64, x, room),
            )
            .collect::<Result<_, _>>()?;
        for (polynomial, j) in opened.into_iter().zip(first..) {
            self.keep(polynomial, j);
        }
        self.next += count;
        self.blocks.push(block.address());
        Ok(())
    }

    fn keep(&mut self, polynomial: OpenedPolynomial, j: u64) {
        self.worst = self.worst.max(polynomial.ratio);
        self.quiet += u64::from(polynomial.ratio < LOW_RESIDUAL_RATIO);
        let shard = self.layout.span(j).and_then(|span| self.values.get_mut(span.shard));
        shard.map_or(&mut self.tally, |(_, values)| values).extend(polynomial.sums);
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
    pub fn finish(self) -> Result<OpenedSum, OpenError> {
        if self.next != self.layout.polynomials() {
            return Err(OpenError::WrongBlock(self.blocks.len()));
        }
        let join = |tally: Tally| tally.join(&self.tally, self.members).ok_or(OpenError::Tally);
        Ok(OpenedSum {
            weight: self.group.tally.map(join).transpose()?,
            residual_ratio: self.worst,
            quiet_polynomials: self.quiet,
            value_digest: value_digest(self.manifest, self.group.id, &self.values, &self.tally),
            key_sum_digest: self.key_sum_digest,
            sum_root: sum_root(self.manifest, self.group.id, &self.blocks),
            values: self.values,
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
    let mut flat = Vec::with_capacity(32 * (values.len() + 1));
    let tally = Some(tally).filter(|t| !t.is_empty());
    for shard in values.iter().map(|(_, shard)| shard.as_slice()).chain(tally) {
        flat.extend_from_slice(&hash_words(shard.iter().map(|v| v.to_le_bytes())));
    }
    ValueDigest(tagged(Domain::Values, &[&manifest.0, &group.0.to_le_bytes(), &flat]))
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
