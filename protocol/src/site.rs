//! An entry of an institution's own site log (audit.md A27): what its program decided and sent, told to nobody but whom the institution shows
//! it to. Only size and root of the log go out ([`crate::release::SiteAnchor`]). Holds no record, name of data, path or step time (A22).

use crate::ids::{GroupId, HeaderDigest, LeafIndex, PlanDigest, RoundId, Sha256, TaskId};
use crate::plan::Unit;
use serde::{Deserialize, Serialize};

/// Longest entry.
pub const MAX_SITE_ENTRY: usize = 4096;

/// What happened at the institution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum SiteFacts {
    /// Plan, records, mechanism and budget were judged against the site policy.
    #[serde(rename = "policy.decided")]
    PolicyDecided {
        /// The task.
        task: TaskId,
        /// Its plan.
        plan: PlanDigest,
        /// SHA-256 of the site policy's file.
        policy: Sha256,
        /// Number of the reason against it ([`crate::reject::Rejection::code`]); 0 where the institution takes part.
        code: u16,
    },
    /// An update was trained here, paid, sealed and accepted by the federation.
    #[serde(rename = "training.accepted")]
    TrainingAccepted {
        /// The task.
        task: TaskId,
        /// The round.
        round: RoundId,
        /// The group.
        group: GroupId,
        /// The signed header.
        header: HeaderDigest,
        /// Where it stands in the federation's log.
        entry: LeafIndex,
        /// Counter of the ledger entry that paid for it.
        ledger_counter: u64,
        /// Hash of that entry.
        ledger_head: Sha256,
    },
    /// A scalar release was paid from the ledger; its noise was drawn after this line, if at all (privacy.md D28). What was asked and what came
    /// of it are not here.
    #[serde(rename = "release.paid")]
    ReleasePaid {
        /// The dataset.
        dataset: Sha256,
        /// Whose data one unit is.
        unit: Unit,
        /// Opaque id of the release.
        release: Sha256,
        /// Digest of what was asked.
        question: Sha256,
        /// Values.
        values: u64,
        /// L2 sensitivity in whole counts.
        sensitivity: u64,
        /// Scale of the noise in 1024ths.
        scale_1024: u64,
        /// Counter of the ledger entry that paid for it.
        ledger_counter: u64,
        /// Hash of that entry.
        ledger_head: Sha256,
    },
}

/// One line of a site log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteEntry {
    /// Format version, 1.
    pub v: u8,
    /// Position, from 0.
    pub seq: u64,
    /// RFC 3339 UTC, milliseconds.
    pub ts: String,
    /// What happened.
    #[serde(flatten)]
    pub facts: SiteFacts,
}

/// Bytes that are no entry of a site log in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of a site log in its one spelling")]
pub struct BadSiteEntry;

impl SiteEntry {
    /// The one line, without a line feed.
    ///
    /// # Panics
    /// Never: every field is plain.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialise")
    }

    /// Parses the one spelling.
    ///
    /// # Errors
    /// [`BadSiteEntry`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSiteEntry> {
        if bytes.len() > MAX_SITE_ENTRY {
            return Err(BadSiteEntry);
        }
        let entry: Self = serde_json::from_slice(bytes).map_err(|_| BadSiteEntry)?;
        if entry.v == 1 && entry.to_bytes() == bytes { Ok(entry) } else { Err(BadSiteEntry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_spelling() {
        let facts = SiteFacts::PolicyDecided { task: TaskId([1; 16]), plan: PlanDigest([2; 32]), policy: Sha256([3; 32]), code: 15 };
        let entry = SiteEntry { v: 1, seq: 4, ts: "2026-01-02T03:04:05.006Z".into(), facts };
        let text = String::from_utf8(entry.to_bytes()).unwrap();
        assert_eq!(SiteEntry::parse(text.as_bytes()), Ok(entry));
        for bad in [text.replacen("\"v\":1", "\"v\":2", 1), text.replacen("\"seq\"", "\"extra\":1,\"seq\"", 1), format!("{text} ")] {
            assert_eq!(SiteEntry::parse(bad.as_bytes()), Err(BadSiteEntry), "{bad}");
        }
    }
}
