//! One group's sum made again, block by block: bodies added, mask removed, slots read (crypto.md C31, C32, C36, C60). Holds one block and one
//! chunk at a time. Knows no log and no key but the key sum, which is public.

use super::bodies;
use super::chunks::ChunkFault;
use super::extract::{Extraction, Fault, Opened, Places, QUIET};
use super::integers::{Integers, Keep, Reading};
use crate::ring::{Mask, lift, product};
use protocol::hash::{Domain, tagged};
use protocol::ids::{Address, GroupId, ManifestDigest, SumRoot};
use protocol::manifest::GroupSpec;
use protocol::params::{CHUNK_POLYNOMIALS, Packing, RING_DIMENSION};
use std::num::NonZeroUsize;

/// What is summed.
pub(crate) struct Job<'a> {
    pub(crate) manifest: ManifestDigest,
    pub(crate) spec: &'a GroupSpec,
    pub(crate) places: &'a Places,
    /// Chunk addresses of each member of the certified set.
    pub(crate) members: &'a [Vec<Address>],
    /// S; empty if no openings give one, then only bodies are added.
    pub(crate) key_sum: &'a [i32],
    /// Whether the integers are wanted.
    pub(crate) keep: Keep,
}

/// What came out.
pub(crate) struct Sum {
    pub(crate) sum_root: SumRoot,
    /// The integers, or the first fault among them.
    pub(crate) opened: Result<OpenedSum, Fault>,
}

/// The integers, and how well they opened.
pub(crate) struct OpenedSum {
    pub(crate) integers: Integers,
    pub(crate) worst: f64,
    pub(crate) quiet: u64,
}

impl Job<'_> {
    fn set(&self) -> u16 {
        u16::try_from(self.members.len()).unwrap_or(u16::MAX)
    }

    /// Adds and opens all blocks. `read` gives a chunk of so many bytes, checked against its address; `done` hears of every block.
    pub(crate) fn run(
        &self,
        read: impl Fn(Address, usize) -> Result<Vec<u8>, ChunkFault>,
        done: impl Fn(u64, u64),
    ) -> Result<Sum, ChunkFault> {
        let (polynomials, key) = (self.places.polynomials(), lift(self.key_sum));
        let blocks = Packing::chunks(polynomials);
        let mut addresses = Vec::new();
        let mut reader = Reader::new(self);
        for block in 0..blocks {
            let acc = self.block(block, &read)?;
            let bytes: Vec<u8> = acc.iter().flat_map(|w| w.to_le_bytes()).collect();
            addresses.push(Address(blake3::hash(&bytes).into()));
            drop(bytes);
            if !key.is_empty() {
                reader.take(block * CHUNK_POLYNOMIALS, open_block(self, &key, block * CHUNK_POLYNOMIALS, &acc));
            }
            done(block + 1, blocks);
        }
        Ok(Sum { sum_root: sum_root(self.manifest, self.spec.id, &addresses), opened: reader.finish() })
    }

    /// C31 for one block: every member's chunk at this place.
    fn block(&self, block: u64, read: &impl Fn(Address, usize) -> Result<Vec<u8>, ChunkFault>) -> Result<Vec<u64>, ChunkFault> {
        let mut acc = vec![0u64; bodies::block_len(self.places.polynomials(), block).unwrap_or(0)];
        let bytes = bodies::packed_len(&self.spec.packing, acc.len());
        let at = usize::try_from(block).unwrap_or(usize::MAX);
        for address in self.members.iter().filter_map(|chunks| chunks.get(at)) {
            bodies::add(&mut acc, &read(*address, bytes)?, &self.spec.packing);
        }
        Ok(acc)
    }
}

/// Removes the mask from every polynomial of a block, on all cores.
fn open_block(job: &Job<'_>, key: &[u64], first: u64, acc: &[u64]) -> Vec<Result<Opened, Fault>> {
    let (mask, extraction) = (Mask::of(job.manifest, job.spec.id), Extraction::new(job.spec.packing, job.set()));
    let open = |(j, acc): (u64, &[u64])| {
        let used = job.places.at(j).map_or(0, |(_, used)| used);
        extraction.open(j, acc, &product(&mask.polynomial(j), key), used)
    };
    let numbered: Vec<(u64, &[u64])> = (first..).zip(acc.chunks(RING_DIMENSION)).collect();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let each = numbered.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = numbered.chunks(each).map(|part| scope.spawn(|| part.iter().copied().map(open).collect::<Vec<_>>())).collect();
        // A panic of a part is one of ours: it goes on in this thread.
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Reads opened polynomials in order.
struct Reader<'a> {
    job: &'a Job<'a>,
    integers: Reading<'a>,
    worst: f64,
    quiet: u64,
    fault: Option<Fault>,
}

impl<'a> Reader<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Self { job, integers: Reading::new(job.manifest, job.spec, job.keep), worst: 0.0, quiet: 0, fault: None }
    }

    fn take(&mut self, first: u64, block: Vec<Result<Opened, Fault>>) {
        for (j, polynomial) in (first..).zip(block) {
            match polynomial {
                Ok(opened) => self.keep(j, opened),
                Err(fault) => self.fault = self.fault.or(Some(fault)),
            }
        }
    }

    fn keep(&mut self, j: u64, opened: Opened) {
        self.worst = self.worst.max(opened.ratio);
        self.quiet += u64::from(opened.ratio < QUIET);
        if let Some((part, _)) = self.job.places.at(j) {
            self.integers.take(part, opened.values);
        }
    }

    fn finish(self) -> Result<OpenedSum, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let integers = self.integers.finish(self.job.set())?;
        Ok(OpenedSum { integers, worst: self.worst, quiet: self.quiet })
    }
}

/// H(`sum`; manifest digest ‖ group ‖ count ‖ block addresses) (C36).
fn sum_root(manifest: ManifestDigest, group: GroupId, blocks: &[Address]) -> SumRoot {
    let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
    let flat: Vec<u8> = blocks.iter().flat_map(|a| a.0).collect();
    SumRoot(tagged(Domain::Sum, &[&manifest.0, &group.0.to_le_bytes(), &count.to_le_bytes(), &flat]))
}
