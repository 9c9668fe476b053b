//! The evidence of a release: what a buyer checks its history with, without the log (audit.md A13, A44).

use super::ReleaseError;
use crate::durable;
use crate::layout::Layout;
use crate::log::Directory;
use audit::checkpoint::Checkpoint;
use audit::merkle::prove_inclusion;
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::policy::{MAX_POLICY_BYTES, Policy};
use audit::proof::TlogProof;
use audit::reader::{CHECKPOINT_PATH, DirEntry, LogReader as _, TileHashes, policy_path};
use audit::tile::{MAX_BUNDLE_BYTES, TileKind, TilePath, WIDTH, decode_bundle};
use protocol::ids::LeafIndex;
use protocol::trust::TrustDocument;
use std::path::Path;

/// Writes what a buyer checks the history with: the entry that makes the release, its proof, the policy that judges it; entry and proof of each
/// administrator who said so before; and whose words these are: the first trust document, with entry and proof of each of the `words` that put
/// another one in its place (A14).
pub(super) fn prove(layout: &Layout, places: &[LeafIndex], words: &[LeafIndex], out: &Path) -> anyhow::Result<()> {
    let log = Directory(layout.audit());
    let note = Note::parse(&log.read(CHECKPOINT_PATH, MAX_NOTE_BYTES)?.ok_or(ReleaseError::Unproved)?)?;
    let size = note.text().parse::<Checkpoint>()?.head.size;
    let policy = policy_at(&log, size)?;
    let opened = policy.open_note(note)?;
    let (last, before) = places.split_last().ok_or(ReleaseError::Unproved)?;
    let approvals = before.iter().map(|at| (*at, format!("approval-{at}")));
    let trust = words.iter().filter(|at| at.0 < size).map(|at| (*at, format!("trust-{at}")));
    let named = approvals.chain(trust).chain([(*last, "release".to_owned())]);
    for (index, name) in named {
        let entry = entry(&log, index.0, size)?.ok_or(ReleaseError::Unproved)?;
        let inclusion = prove_inclusion(&TileHashes::new(&log, size), index.0, size).map_err(|_| ReleaseError::Unproved)?;
        let proof = TlogProof { index: index.0, inclusion, note: opened.note().clone() };
        proof.verify(&policy, &entry)?;
        durable::replace(&out.join(format!("{name}.tlog-proof")), &proof.encode())?;
        durable::replace(&out.join(format!("{name}.entry")), &entry)?;
    }
    let trust = durable::read_limited(&layout.trust(), TrustDocument::MAX_BYTES as u64)?;
    for (name, bytes) in [("policy.txt", policy.text().as_bytes()), ("trust.json", &trust)] {
        durable::replace(&out.join(name), bytes)?;
    }
    Ok(())
}

/// The policy that judges a checkpoint of `size`: the last one that holds from there or before (A12), not one that came since.
fn policy_at(log: &Directory, size: u64) -> anyhow::Result<Policy> {
    let from = |e: DirEntry| match e {
        DirEntry::File(name) => name.strip_suffix(".txt").and_then(|n| n.parse::<u64>().ok()),
        DirEntry::Directory(_) => None,
    };
    let in_force = log.list("policy")?.into_iter().filter_map(from).filter(|from| *from <= size).max().ok_or(ReleaseError::Unproved)?;
    let text = log.read(&policy_path(in_force), MAX_POLICY_BYTES)?.ok_or(ReleaseError::Unproved)?;
    Ok(Policy::parse(std::str::from_utf8(&text)?)?)
}

fn entry(log: &Directory, index: u64, size: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = TilePath::in_tree(TileKind::Entries, index / u64::from(WIDTH), size) else { return Ok(None) };
    for candidate in [path, path.full()] {
        let Some(bytes) = log.read(&candidate.to_string(), MAX_BUNDLE_BYTES)? else { continue };
        let at = usize::try_from(index % u64::from(WIDTH))?;
        return Ok(decode_bundle(&bytes, candidate.width())?.get(at).map(|e| e.to_vec()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use audit::key::{KeyType, SignerKey};
    use audit::policy::Witness;

    #[test]
    fn a_checkpoint_is_judged_by_the_policy_of_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let log = Directory(dir.path().to_owned());
        let key = SignerKey::new("demo/log", KeyType::Note, &[1; 32]).unwrap();
        for (from, witness) in [(4u64, "early"), (9, "late")] {
            let signer = SignerKey::new(witness, KeyType::Cosignature, &[2; 32]).unwrap();
            let named = [Witness { name: witness.into(), key: signer.verifier().clone() }];
            let policy = Policy::compose(key.verifier(), &named, Some(1)).unwrap();
            durable::write_new(&dir.path().join(policy_path(from)), policy.text().as_bytes()).unwrap();
        }
        let name = |size| policy_at(&log, size).map(|p| p.witnesses()[0].name.clone()).ok();
        let got: Vec<_> = [3, 4, 8, 9, 20].into_iter().map(name).collect();
        let (early, late) = (Some("early".to_owned()), Some("late".to_owned()));
        assert_eq!(got, [None, early.clone(), early, late.clone(), late]);
    }
}
