//! Witnesses that were replaced or revoked (audit.md A10, A12): their times do not fall from one key to the next, and a policy that names one that was
//! revoked is told. Within one key the tree's own check looks.
//! Knows no entry.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::notes;
use crate::policies::Policies;
use audit::note::MAX_NOTE_BYTES;
use audit::policy::Witness;
use audit::reader::{LogReader, note_path, policy_path};
use protocol::history::{History, Member};
use protocol::rotation::witness_id;

const TIMES: Rule =
    Rule::new(Check::Notes, Severity::Integrity, "A10: times of one witness never fall, from one of its keys to the next either");

const REVOKED: Rule = Rule::new(
    Check::Trust,
    Severity::Notice,
    "A12: the policy in force names a witness key that administrators revoked; it counts for a quorum until the next policy",
);

/// Tells of witnesses that were revoked and that the policy in force names.
fn revoked(policies: &Policies, history: &History, findings: &mut Findings) {
    let Some((from, policy)) = policies.at(history.size()) else { return };
    for named in policy.witnesses() {
        if let Some(member) = history.revoked_witness_of(witness_id(&named.key.to_string())) {
            let got = format!("{} of {}", named.key, member.name);
            findings.add(REVOKED, Place::Path(policy_path(from)), "witnesses that nobody revoked", got);
        }
    }
}

/// Looks at the notes around each policy that names another key of a member than the policy before it.
///
/// # Errors
/// A note that is there and cannot be read.
pub(crate) fn check(log: &Directory, policies: &Policies, history: &History, findings: &mut Findings) -> Result<(), ReadError> {
    let replaced: Vec<&Member> = history.members().values().filter(|m| !m.retired_witnesses.is_empty()).collect();
    if replaced.is_empty() {
        return Ok(());
    }
    revoked(policies, history, findings);
    let notes = Notes { log, policies, sizes: notes::sizes(log)? };
    for member in replaced {
        let is_its = |w: &&Witness| member.has_had(witness_id(&w.key.to_string()));
        let named = policies.by_size().iter().filter_map(|(from, p)| Some((*from, p.witnesses().iter().find(is_its)?.key.public())));
        let named: Vec<(u64, [u8; 32])> = named.collect();
        for (before, after) in named.iter().zip(named.iter().skip(1)).filter(|((_, before), (_, after))| before != after) {
            notes.compare(before.1, *after, findings)?;
        }
    }
    Ok(())
}

/// The retained notes, by size.
struct Notes<'a> {
    log: &'a Directory,
    policies: &'a Policies,
    sizes: Vec<u64>,
}

impl Notes<'_> {
    /// The last time of the one key before the size from which the other one cosigns, and the first of that.
    fn compare(&self, old: [u8; 32], (from, new): (u64, [u8; 32]), findings: &mut Findings) -> Result<(), ReadError> {
        let (earlier, later) = self.sizes.split_at(self.sizes.partition_point(|size| *size < from));
        let last = self.first_by(old, earlier.iter().rev())?;
        let first = self.first_by(new, later.iter())?;
        if let (Some((_, before)), Some((size, after))) = (last, first)
            && after < before
        {
            findings.add(TIMES, Place::Path(note_path(size)), format!("a time from {before} on"), after.to_string());
        }
        Ok(())
    }

    /// The first of these notes that the key cosigned, with its time.
    fn first_by<'s>(&self, key: [u8; 32], sizes: impl Iterator<Item = &'s u64>) -> Result<Option<(u64, u64)>, ReadError> {
        for &size in sizes {
            let bytes = self.log.read(&note_path(size), MAX_NOTE_BYTES)?;
            let opened = bytes.and_then(|bytes| self.policies.at(size)?.1.open(&bytes).ok());
            if let Some(time) = opened.and_then(|o| o.cosigners().get(&key).copied()) {
                return Ok(Some((size, time)));
            }
        }
        Ok(None)
    }
}
