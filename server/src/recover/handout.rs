//! `log export`: the log as far as a quorum's checkpoint covers it, copied while the server runs: what an auditor is given (audit.md A2, A19). It
//! is made from the entries anew, so that nothing is in it that is under no checkpoint; it has neither the server's own state nor sidecars.

use super::tree::Copied;
use super::{RecoverError, copy_artefacts};
use crate::durable;
use crate::layout::Layout;
use crate::log::Directory;
use audit::note::MAX_NOTE_BYTES;
use audit::reader::{CHECKPOINT_PATH, DirEntry, LogReader as _, handover_path, note_path};
use protocol::trust::TrustDocument;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Copies the first `size` entries, under a published note of that size, into a new directory. The checkpoint comes last: where it is, the copy is
/// whole.
///
/// # Errors
/// [`RecoverError`], also where the directory is there already; what was copied by then is no log.
pub(crate) fn hand_out(layout: &Layout, size: u64, to: &Path) -> Result<(), RecoverError> {
    std::fs::create_dir(to)?;
    let log = Directory(layout.audit());
    let trust = durable::read_limited(&layout.trust(), TrustDocument::MAX_BYTES as u64)?;
    let document = TrustDocument::parse(&trust).map_err(|_| RecoverError::OtherFederation)?;
    let copied = Copied::read(&log, &document, size, &BTreeSet::new())?;
    if copied.size != size {
        return Err(io::Error::other("the log has fewer entries than its checkpoint covers").into());
    }
    copied.write(&log, to)?;
    copy_artefacts(&log, to)?;
    let copy = |path: String| -> Result<(), RecoverError> {
        let bytes = durable::read_limited(&log.0.join(&path), MAX_NOTE_BYTES as u64)?;
        Ok(durable::write_new(&to.join(path), &bytes)?)
    };
    for note in log.list("checkpoints")? {
        let DirEntry::File(name) = note else { continue };
        let earlier = name.strip_suffix(".note").and_then(|n| n.parse::<u64>().ok()).filter(|n| *n <= size);
        if let Some(earlier) = earlier {
            copy(note_path(earlier))?;
        }
    }
    // Without them nobody could tell that an older key of the log agreed to the next one.
    copied.keys.handovers().try_for_each(|(at, _)| copy(handover_path(at)))?;
    durable::write_new(&to.join("trust.json"), &trust)?;
    let checkpoint = durable::read_limited(&layout.audit().join(note_path(size)), MAX_NOTE_BYTES as u64)?;
    Ok(durable::write_new(&to.join(CHECKPOINT_PATH), &checkpoint)?)
}
