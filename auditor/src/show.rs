//! One entry of a log, with its proof (A39). Verifies only what it prints.

use crate::dir::{Directory, ReadError};
use crate::entries;
use crate::notes;
use crate::policies::Policies;
use crate::trust;
use audit::hash::leaf_hash;
use audit::merkle::prove_inclusion;
use audit::note::MAX_NOTE_BYTES;
use audit::policy::OpenError;
use audit::proof::{TlogProof, Unproved};
use audit::reader::{CHECKPOINT_PATH, LogReader, TileHashes};
use audit::tile::{WIDTH, decode_bundle};
use std::path::Path;

/// One entry as it stands in the log.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its exact bytes.
    pub entry: Vec<u8>,
    /// Its leaf hash, in hex.
    pub leaf_hash: String,
    /// A `.tlog-proof` under the newest checkpoint, if it was asked for.
    pub proof: Option<TlogProof>,
}

/// Why an entry cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShowError {
    /// The directory cannot be read.
    #[error("the directory cannot be read")]
    Read(#[from] ReadError),
    /// There is no usable trust document.
    #[error("the directory has no trust document that can be read")]
    NoTrust,
    /// There is no checkpoint that this log signed.
    #[error("the directory has no checkpoint that can be believed")]
    NoCheckpoint(#[source] Option<OpenError>),
    /// The log does not reach so far.
    #[error("entry {index} is beyond the newest checkpoint, which covers {size} entries")]
    Beyond {
        /// Asked for.
        index: u64,
        /// Entries covered.
        size: u64,
    },
    /// Its bundle is missing or cannot be decoded.
    #[error("the bundle of entry {0} is missing or cannot be decoded")]
    NoBundle(u64),
    /// No proof can be made from the tiles.
    #[error("the tiles of entry {0} are missing")]
    NoTiles(u64),
    /// The proof made from the tiles does not hold: an integrity failure.
    #[error("the entry is not what the checkpoint covers")]
    Unproved(#[source] Unproved),
}

/// Reads entry `index`, and with `prove` makes and checks its proof under the newest checkpoint.
///
/// # Errors
/// [`ShowError`].
pub fn show(dir: &Path, index: u64, prove: bool) -> Result<Shown, ShowError> {
    let log = Directory::open(dir)?;
    let mut ignored = crate::finding::Findings::default();
    let trusted = trust::check(&log, &mut ignored)?.ok_or(ShowError::NoTrust)?;
    let policies = Policies::load(&log, &trusted.log, &mut ignored)?;
    let note = log.read(CHECKPOINT_PATH, MAX_NOTE_BYTES)?.ok_or(ShowError::NoCheckpoint(None))?;
    // The policy of its size: of a later one the witnesses, and the log's key, may be others.
    let stated = notes::stated(&note).map_or(0, |(_, head)| head.size);
    let (_, policy) = policies.at(stated).ok_or(ShowError::NoCheckpoint(None))?;
    let opened = policy.open(&note).map_err(|e| ShowError::NoCheckpoint(Some(e)))?;
    let size = opened.checkpoint().head.size;
    if index >= size {
        return Err(ShowError::Beyond { index, size });
    }
    let entry = read_entry(&log, index, size)?.ok_or(ShowError::NoBundle(index))?;
    let leaf_hash = leaf_hash(&entry).to_string();
    let proof = if prove {
        let inclusion = prove_inclusion(&TileHashes::new(&log, size), index, size).map_err(|_| ShowError::NoTiles(index))?;
        let proof = TlogProof { index, inclusion, note: opened.note().clone() };
        proof.verify(policy, &entry).map_err(ShowError::Unproved)?;
        Some(proof)
    } else {
        None
    };
    Ok(Shown { entry, leaf_hash, proof })
}

fn read_entry(log: &Directory, index: u64, size: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let Some((bytes, width)) = entries::bundle(log, index, size)? else { return Ok(None) };
    let Ok(entries) = decode_bundle(&bytes, width) else { return Ok(None) };
    let at = usize::try_from(index % u64::from(WIDTH)).unwrap_or(usize::MAX);
    Ok(entries.get(at).map(|e| e.to_vec()))
}
