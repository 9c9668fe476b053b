//! How fast a log is verified, on a log of stated size that is made for it (audit.md A40). The log is made in a temporary directory, entry by
//! entry, then goes through the same [`verify`](crate::verify()) as any other. Its keys are made up and guard nothing.

mod figures;
mod make;

pub use figures::Measured;
pub use make::MakeError;

use crate::dir::Directory;
use crate::verify::{Options, VerifyError, verify};
use audit::merkle::{prove_consistency, prove_inclusion};
use audit::reader::TileHashes;
use figures::{Usage, bytes_of};
use std::num::NonZeroUsize;
use std::path::Path;

/// What log to make. The default is the target of A40.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Entries.
    pub entries: u64,
    /// Bytes of an entry without a statement.
    pub entry_bytes: usize,
    /// Notes.
    pub notes: u64,
    /// Witnesses; all of them cosign every note.
    pub witnesses: u8,
    /// Entries with a signed statement.
    pub statements: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self { entries: 1_000_000, entry_bytes: 550, notes: 10_000, witnesses: 5, statements: 100_000 }
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The log could not be made.
    #[error("the log could not be made")]
    Make(#[from] MakeError),
    /// The log could not be verified at all.
    #[error("the log could not be verified")]
    Verify(#[from] VerifyError),
    /// No proof could be made from it.
    #[error("no proof could be made from the log")]
    Proof,
}

/// Told while the log is made: entries done, entries in all.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// Makes a log of this size in `dir`, which is empty, and verifies it on so many threads.
///
/// # Errors
/// [`BenchError`].
pub fn bench(dir: &Path, size: Size, threads: NonZeroUsize, progress: Progress<'_>) -> Result<Measured, BenchError> {
    let made = make::make(dir, size, progress)?;
    let before = Usage::now();
    let verdict = verify(dir, &Options { trust_hash: Some(made.trust), threads: Some(threads), ..Options::default() })?;
    let spent = Usage::now().since(&before);
    let log = Directory::open(dir).map_err(VerifyError::from)?;
    let (mut inclusion, mut hashes) = (0, 0);
    for index in [0, size.entries / 3, size.entries / 2, size.entries - 1] {
        let proof = prove_inclusion(&TileHashes::new(&log, size.entries), index, size.entries).map_err(|_| BenchError::Proof)?;
        inclusion = inclusion.max(bytes_of(index, &proof));
        hashes = hashes.max(proof.0.len());
    }
    let consistency =
        prove_consistency(&TileHashes::new(&log, size.entries), size.entries / 3 + 1, size.entries).map_err(|_| BenchError::Proof)?;
    Ok(Measured {
        entries: verdict.entries,
        mean_entry_bytes: made.bytes / size.entries.max(1),
        notes: verdict.notes,
        cosignatures_per_note: size.witnesses,
        statements: made.statements,
        exit_code: verdict.exit_code,
        verify_s: spent.elapsed_s,
        cpu_s: spent.cpu_s,
        peak_memory_bytes: spent.peak_memory_bytes,
        inclusion_bytes: inclusion,
        inclusion_hashes: hashes,
        consistency_hashes: consistency.0.len(),
        make_s: made.seconds,
        threads: threads.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_small_log_is_made_and_verifies_with_the_stated_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let size = Size { entries: 3_000, entry_bytes: 550, notes: 30, witnesses: 5, statements: 300 };
        let last = Cell::new(0);
        let m = bench(dir.path(), size, NonZeroUsize::MIN, &|done, _| last.set(done)).unwrap();
        assert_eq!((m.exit_code, m.entries, m.notes, m.statements, last.get()), (0, 3_000, 30, 300, 3_000));
        assert!((540..=660).contains(&m.mean_entry_bytes) && m.inclusion_hashes == 12 && m.inclusion_bytes < 1024, "{m:?}");
        let v = verify(dir.path(), &Options::default()).unwrap();
        assert_eq!((v.findings, v.quorum.cosigners.len()), (vec![], 5));
    }
}
