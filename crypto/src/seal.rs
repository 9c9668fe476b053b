//! From a private delta to a sealed update: bodies, header, share blobs (crypto.md C6, C17, C19, C39). Knows no raw value, no file and
//! no socket; chunks go to a sink as they are made, so that memory is one chunk whatever the model.

use crate::Polynomial;
use crate::blob::{address_of, seal_blob};
use crate::mask::MaskKey;
use crate::packing::{Layout, OutOfRange, add_packed, write_rounded};
use crate::ring::{RingKey, Workspace};
use crate::sampler::{HedgeSecret, NoiseStream, RoundSecret, SmallPolynomial};
use crate::stack::scrub;
use privacy::delta::PrivateDelta;
use privacy::noise::{EntropyError, EntropySource};
use protocol::hash::{Domain, tagged};
use protocol::ids::{Address, ClientId, CoreDigest, GroupId, ManifestDigest, Position, Sha256, ShardId};
use protocol::manifest::{BudgetSpend, GroupSpec, Header, HeaderCore, Manifest, body_root};
use protocol::params::{BadParameters, CHUNK_POLYNOMIALS, PS_A, Packing, RING_DIMENSION};
use rayon::prelude::*;
use std::collections::BTreeSet;
use zeroize::{Zeroize, Zeroizing};

/// Message polynomials packed and hashed at a time by each thread: as many as stay in a processor's own cache.
const MESSAGE_POLYNOMIALS: u64 = 16;

/// Under what an update is sealed. The caller has verified the manifest and its endorsements (C38).
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// The endorsed manifest.
    pub manifest: &'a Manifest,
    /// Digest of its exact bytes.
    pub digest: ManifestDigest,
    /// The group sealed for.
    pub group: GroupId,
    /// This institution.
    pub institution: ClientId,
    /// SHA-256 of the running program.
    pub build: Sha256,
    /// What the update cost, from the ledger.
    pub spend: &'a BudgetSpend,
    /// This institution's declared weight, if and only if the group has a tally (C24). The caller has scaled the delta by it.
    pub weight: Option<u64>,
}

/// Takes chunks as they are sealed; the client's spool.
pub trait ChunkSink {
    /// Why a chunk could not be kept.
    type Error;
    /// Keeps one packed chunk under its address. Called once per chunk, in order.
    ///
    /// # Errors
    /// The sink's own; the seal ends with it.
    fn put(&mut self, address: Address, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Everything of a sealed update but the chunks, which the sink has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedUpdate {
    /// To be signed by the institution.
    pub header: Header,
    /// Chunk addresses in order; their root is in the header.
    pub chunks: Vec<Address>,
    /// One share blob per decryptor, by position.
    pub blobs: Vec<Vec<u8>>,
}

/// Why nothing was sealed. What a sink already has is to be deleted (C39).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError<E> {
    /// The manifest names a parameter set that does not exist.
    #[error("parameter set {0} is unknown")]
    ParameterSet(u8),
    /// The manifest has no such group.
    #[error("the manifest has no group {0}")]
    UnknownGroup(GroupId),
    /// The institution is not eligible for the group.
    #[error("this institution is not eligible for the group")]
    NotEligible,
    /// The institution is in two groups with a common shard: their sums would differ by single updates (C18).
    #[error("shard {0} is in two groups of this institution")]
    Overlap(ShardId),
    /// Packing, sizes or committee are not what everybody computes.
    #[error("the manifest's sealing numbers do not hold")]
    Parameters(#[source] BadParameters),
    /// As many committee members as the manifest says are not there.
    #[error("the committee has {got} members, expected {expected}")]
    Committee {
        /// Members listed.
        got: usize,
        /// c.
        expected: u8,
    },
    /// A decryptor's prekey is no key.
    #[error("the prekey at position {0} is not valid")]
    Prekey(Position),
    /// The delta lacks a shard of the group.
    #[error("the delta has no shard {0}")]
    MissingShard(ShardId),
    /// A shard has another length than the group says.
    #[error("shard {shard} has {got} values, expected {expected}")]
    ShardLength {
        /// Which.
        shard: ShardId,
        /// In the delta.
        got: usize,
        /// In the manifest.
        expected: u64,
    },
    /// A value that no slot carries, in the shard at this place of the group.
    #[error("the group's shard at place {0} holds a value outside the range of a slot")]
    OutOfRange(usize),
    /// A weight without a tally, a tally without a weight, or a weight of 0 or above the plan's bound.
    #[error("the institution's weight does not fit the group's tally")]
    Weight,
    /// No entropy.
    #[error("no fresh entropy")]
    Entropy(#[source] EntropyError),
    /// The sink failed.
    #[error("a chunk could not be kept")]
    Sink(E),
}

/// Seals the group's shards of a private delta.
///
/// The same delta, manifest, hedge secret and entropy give the same bytes.
///
/// A delta that is only bounded does not fit:
///
/// ```compile_fail,E0308
/// use crypto::{sampler::HedgeSecret, seal::{ChunkSink, SealContext, seal}};
/// use privacy::{delta::BoundedDelta, noise::EntropySource};
/// fn hurried(c: &SealContext<'_>, d: BoundedDelta, h: &HedgeSecret, e: &mut dyn EntropySource, s: &mut impl ChunkSink) {
///     let _ = seal(c, &d, h, e, s);
/// }
/// ```
///
/// # Privacy
/// Whoever sees the bodies and up to d share blobs in the clear learns nothing about the values beyond certified sums (C1, C10: outside
/// review pending). The sum itself is opened; what protects one institution in it is the noise already in the delta.
///
/// # Errors
/// [`SealError`].
///
/// # Source
/// crypto.md C6, C17 to C20, C30, C33 to C36.
pub fn seal<S: ChunkSink>(
    context: &SealContext<'_>,
    delta: &PrivateDelta,
    hedge: &HedgeSecret,
    entropy: &mut dyn EntropySource,
    sink: &mut S,
) -> Result<SealedUpdate, SealError<S::Error>> {
    let (group, layout) = check_context(context)?;
    let shards = collect_shards(group, delta)?;
    seal_integers(context, &layout, shards, hedge, entropy, sink)
}

/// [`seal`] of checked shards in the group's order.
pub(crate) fn seal_integers<S: ChunkSink>(
    context: &SealContext<'_>,
    layout: &Layout,
    shards: Vec<&[i32]>,
    hedge: &HedgeSecret,
    entropy: &mut dyn EntropySource,
    sink: &mut S,
) -> Result<SealedUpdate, SealError<S::Error>> {
    let sealed = seal_below(context, layout, shards, hedge, entropy, sink);
    scrub();
    sealed
}

/// The work of [`seal_integers`], in a frame of its own below the one that wipes.
#[inline(never)]
fn seal_below<S: ChunkSink>(
    context: &SealContext<'_>,
    layout: &Layout,
    shards: Vec<&[i32]>,
    hedge: &HedgeSecret,
    entropy: &mut dyn EntropySource,
    sink: &mut S,
) -> Result<SealedUpdate, SealError<S::Error>> {
    let group = context.manifest.group(context.group).ok_or(SealError::UnknownGroup(context.group))?;
    let tally = tally_limbs(context, group)?;
    let shards: Vec<&[i32]> = shards.into_iter().chain(tally.as_deref()).collect();
    let message = message_digest(layout, &shards)?;
    let mut fresh = Zeroizing::new([0u8; 32]);
    entropy.fill(fresh.as_mut()).map_err(SealError::Entropy)?;
    let round = RoundSecret::derive(&fresh, hedge, context.digest, group.id, &message);
    let sealing = Sealing::new(layout, &shards, &round, MaskKey::derive(context.digest, group.id));
    let chunks = seal_chunks(&sealing, sink)?;
    let core = header_core(context, group, layout, &chunks);
    let blobs = seal_shares(context.manifest, core.digest(), &sealing, &round)?;
    let header = Header { core, blobs: blobs.iter().map(|b| address_of(b)).collect() };
    Ok(SealedUpdate { header, chunks, blobs })
}

/// Refuses what a client must not seal under (C18, C20, C38 as far as the manifest alone shows).
fn check_context<'a, E>(context: &SealContext<'a>) -> Result<(&'a GroupSpec, Layout), SealError<E>> {
    let manifest = context.manifest;
    if manifest.parameter_set != PS_A {
        return Err(SealError::ParameterSet(manifest.parameter_set));
    }
    let group = manifest.group(context.group).ok_or(SealError::UnknownGroup(context.group))?;
    if !group.eligible.contains(&context.institution) {
        return Err(SealError::NotEligible);
    }
    let mut seen = BTreeSet::new();
    let mine = manifest.groups.iter().filter(|g| g.eligible.contains(&context.institution));
    for shard in mine.flat_map(|g| &g.shards) {
        if !seen.insert(shard.id) {
            return Err(SealError::Overlap(shard.id));
        }
    }
    manifest.size.check().map_err(SealError::Parameters)?;
    if manifest.committee.len() != usize::from(manifest.size.decryptors) {
        return Err(SealError::Committee { got: manifest.committee.len(), expected: manifest.size.decryptors });
    }
    let layout = Layout::new(group).map_err(SealError::Parameters)?;
    Ok((group, layout))
}

/// The group's shards in its order.
fn collect_shards<'a, E>(group: &GroupSpec, delta: &'a PrivateDelta) -> Result<Vec<&'a [i32]>, SealError<E>> {
    let find = |shard: &protocol::manifest::GroupShard| {
        let (_, values) = delta.shards().find(|(id, _)| *id == shard.id).ok_or(SealError::MissingShard(shard.id))?;
        if u64::try_from(values.len()) == Ok(shard.length) {
            Ok(values)
        } else {
            Err(SealError::ShardLength { shard: shard.id, got: values.len(), expected: shard.length })
        }
    };
    group.shards.iter().map(find).collect()
}

/// The weight as the shard behind the last one.
fn tally_limbs<E>(context: &SealContext<'_>, group: &GroupSpec) -> Result<Option<Vec<i32>>, SealError<E>> {
    match (group.tally, context.weight) {
        (None, None) => Ok(None),
        (Some(tally), Some(weight)) => tally.split(weight).map(Some).ok_or(SealError::Weight),
        (None, Some(_)) | (Some(_), None) => Err(SealError::Weight),
    }
}

/// H(`message`; BLAKE3 of the packed m_j as `u64` LE). Also refuses values out of range, before anything is drawn.
fn message_digest<E>(layout: &Layout, shards: &[&[i32]]) -> Result<Zeroizing<[u8; 32]>, SealError<E>> {
    let mut hash = blake3::Hasher::new();
    let mut room: Zeroizing<Vec<Polynomial>> = Zeroizing::new(Vec::new());
    let most = MESSAGE_POLYNOMIALS * rayon::current_num_threads() as u64;
    for (first, count) in spans(layout.polynomials(), most) {
        room.resize(count, [0; RING_DIMENSION]);
        let packed = room.par_iter_mut().enumerate().try_for_each(|(i, packed)| {
            let (shard, values) = values_of(layout, shards, first + i as u64);
            packed.fill(0);
            add_packed(layout.packing(), values, packed).map_err(|OutOfRange| shard)?;
            packed.iter_mut().for_each(|word| *word = word.to_le());
            Ok(())
        });
        packed.map_err(SealError::OutOfRange)?;
        hash.update_rayon(bytemuck::cast_slice(&room));
    }
    let message = Zeroizing::new(*hash.finalize().as_bytes());
    hash.zeroize();
    Ok(Zeroizing::new(tagged(Domain::Message, &[message.as_slice()])))
}

/// First polynomial and number of polynomials of each part of at most `most`.
fn spans(total: u64, most: u64) -> impl Iterator<Item = (u64, usize)> {
    let firsts = (0..total).step_by(usize::try_from(most).unwrap_or(usize::MAX));
    firsts.map(move |first| (first, usize::try_from((total - first).min(most)).unwrap_or(0)))
}

/// Place of the shard and the values that polynomial j carries.
fn values_of<'a>(layout: &Layout, shards: &[&'a [i32]], j: u64) -> (usize, &'a [i32]) {
    let span = layout.span(j).expect("callers count up to the layout's own polynomials");
    (span.shard, &shards[span.shard][span.start..span.start + span.len])
}

/// All that the bodies of one update are made of.
pub(crate) struct Sealing<'a> {
    layout: &'a Layout,
    shards: &'a [&'a [i32]],
    noise: NoiseStream,
    mask: MaskKey,
    secret: SmallPolynomial,
    key: RingKey,
}

/// What one thread works in: a body in the making, and room for its product.
pub(crate) struct Bench {
    body: Box<Zeroizing<Polynomial>>,
    room: Workspace,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { body: Box::new(Zeroizing::new([0; RING_DIMENSION])), room: Workspace::new() }
    }
}

/// A worker's stack is its own: what sealing left on it goes when the worker is done.
impl Drop for Bench {
    fn drop(&mut self) {
        scrub();
    }
}

impl<'a> Sealing<'a> {
    pub(crate) fn new(layout: &'a Layout, shards: &'a [&'a [i32]], round: &RoundSecret, mask: MaskKey) -> Self {
        let secret = round.secret();
        let key = RingKey::new(&secret);
        Self { layout, shards, noise: round.noise_stream(), mask, secret, key }
    }

    /// b_j = A_j·s + e_j + m_j, before truncation, while it is in cache. Wrapping by intent (C29).
    fn body(&self, j: u64, bench: &mut Bench) -> Result<(), OutOfRange> {
        self.mask.expand(j, &mut bench.body);
        self.key.multiply(&mut bench.body, &mut bench.room);
        self.noise.add_to(j, &mut bench.body);
        add_packed(self.layout.packing(), values_of(self.layout, self.shards, j).1, &mut bench.body)
    }

    /// Writes the packed body of polynomial j.
    pub(crate) fn write(&self, j: u64, bench: &mut Bench, out: &mut [u8]) -> Result<(), OutOfRange> {
        self.body(j, bench)?;
        write_rounded(&bench.body, self.layout.packing().body_bits, out);
        Ok(())
    }
}

fn seal_chunks<S: ChunkSink>(sealing: &Sealing<'_>, sink: &mut S) -> Result<Vec<Address>, SealError<S::Error>> {
    let stride = 512 * usize::from(sealing.layout.packing().body_bits);
    let mut addresses = Vec::new();
    let mut buffer = Vec::new();
    for (first, count) in spans(sealing.layout.polynomials(), CHUNK_POLYNOMIALS) {
        buffer.resize(count * stride, 0);
        let sealed = buffer.par_chunks_exact_mut(stride).enumerate().try_for_each_init(Bench::new, |bench, (i, out)| {
            let j = first + i as u64;
            sealing.write(j, bench, out).map_err(|OutOfRange| values_of(sealing.layout, sealing.shards, j).0)
        });
        sealed.map_err(SealError::OutOfRange)?;
        let address = address_of(&buffer);
        sink.put(address, &buffer).map_err(SealError::Sink)?;
        addresses.push(address);
    }
    Ok(addresses)
}

fn header_core(context: &SealContext<'_>, group: &GroupSpec, layout: &Layout, chunks: &[Address]) -> HeaderCore {
    let polynomials = layout.polynomials();
    HeaderCore {
        manifest: context.digest,
        institution: context.institution,
        group: group.id,
        polynomials,
        chunks: Packing::chunks(polynomials),
        body_bytes: polynomials * layout.packing().polynomial_bytes(),
        body_root: body_root(chunks),
        build: context.build,
        spend: context.spend.clone(),
    }
}

fn seal_shares<E>(manifest: &Manifest, core: CoreDigest, sealing: &Sealing<'_>, round: &RoundSecret) -> Result<Vec<Vec<u8>>, SealError<E>> {
    let shares = crate::share::deal(&sealing.secret, round, manifest.size);
    let sealed = shares.iter().zip(&manifest.committee).map(|(share, member)| {
        let position = share.position();
        seal_blob(&member.prekey, core, share, round.encapsulation(position)).map_err(|_| SealError::Prekey(position))
    });
    sealed.collect()
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
