//! One institution's evidence, verified without the rest of the log (audit.md A27, A28): receipts under one policy, statements under the
//! institution's key, spends recomputed, ledgers against the heads in the log. Says what a pack cannot show. Knows no server.

mod judge;
mod pack;
pub(crate) mod released;
mod releases;
mod table;
mod trusts;

pub use pack::BadPack;
pub use table::render;

use crate::dir::{Directory, ReadError};
use crate::finding::{Finding, Findings, Severity};
use crate::sidecars::{self, Told};
use crate::verdict::SCHEMA_VERSION;
use protocol::ids::Sha256;
use protocol::trust::{TrustDocument, fingerprint};
use serde::Serialize;
use std::path::Path;

/// What a dataset's spends came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DatasetSummary {
    /// Opaque id.
    pub dataset: String,
    /// Declared units, two digits.
    pub declared_units: u64,
    /// Signed cap on ε over all tasks.
    pub epsilon_cap: Option<String>,
    /// Nothing: that cap is of own cost. Else it is of what shares of noise leave to a coalition, and `epsilon` is held to this one, of own noise in
    /// any one task (privacy.md D61).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_epsilon_cap: Option<String>,
    /// ε after the last spend.
    pub epsilon: Option<String>,
    /// δ.
    pub delta: Option<String>,
    /// Accepted updates.
    pub spends: usize,
    /// Whether the ledger itself was in the pack and agrees with the log.
    pub ledger_agrees: Option<bool>,
    /// Scalar releases whose cost the receipts state.
    pub stated_releases: usize,
    /// Scalar releases that the ledger paid for, if it was in the pack: no header has them, the federation's log has their cost.
    pub releases: Option<usize>,
    /// ε over all tasks and releases by the ledger's filter, if the ledger was in the pack and the figure is finite.
    pub ledger_epsilon: Option<String>,
}

/// What a pack came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceVerdict {
    /// Version of this form.
    pub schema_version: u32,
    /// Whether everything that was checked holds.
    pub verified: bool,
    /// Exit code of A38.
    pub exit_code: u8,
    /// The federation.
    pub federation: String,
    /// The institution's id.
    pub institution: String,
    /// Its name, as it was admitted.
    pub name: String,
    /// SHA-256 of the trust document.
    pub trust_hash: String,
    /// The same for a telephone.
    pub trust_fingerprint: String,
    /// Whether the auditor knew that hash from elsewhere.
    pub trust_pinned: bool,
    /// Size of the checkpoint that covers the receipts.
    pub tree_size: u64,
    /// Witnesses that cosigned it.
    pub cosigners: Vec<String>,
    /// Receipts that hold.
    pub receipts: usize,
    /// Statements of the institution whose signature holds.
    pub statements: usize,
    /// What it declared and spent.
    pub datasets: Vec<DatasetSummary>,
    /// Anchors of its site log in the federation's log.
    pub anchors: usize,
    /// Entries of the site log, if it is in the pack and its lines are entries.
    pub site_entries: Option<u64>,
    /// What the institution told of the names that the log has as hashes, where the hash is right.
    pub sidecars: Vec<Told>,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// What a pack cannot show.
    pub not_verified: Vec<&'static str>,
}

/// What no pack shows by itself.
const NEVER: [&str; 6] = [
    "that no entry about the institution was left out: only the whole log shows that (concordat-audit verify, then compare)",
    "that inputs were honest: a statement shows what was said, not that it was true",
    "rules about other institutions: sets, committees and sums are judged by verify over the whole log",
    "scalar releases beyond the cost that the federation's log states (budget.released), without the ledger and the site log: no header states them",
    "ledgers that are not in the pack (evidence export --with-ledger)",
    "a site log that is not in the pack (evidence export --with-site-log), and what it says beyond its last anchor",
];

/// Verifies the pack in `dir`.
///
/// # Errors
/// [`BadPack`] if it is no pack at all. Whatever is wrong inside one is a finding.
///
/// # Security
/// Every byte may be an attacker's: files are read with limits, links are refused, nothing is believed that is not signed or proved.
pub fn verify_evidence(dir: &Path, trust_hash: Option<Sha256>) -> Result<EvidenceVerdict, BadPack> {
    let mut findings = Findings::default();
    let pack = pack::Pack::read(dir, &mut findings)?;
    let hash = TrustDocument::hash(&pack.trust_bytes);
    let judged = judge::judge(&pack, trust_hash, &mut findings);
    let sidecars = sidecars::sweep(&Directory::open(dir)?, &judged.hidden, &mut findings)?;
    let exit_code = findings.worst().map_or(0, Severity::exit_code);
    Ok(EvidenceVerdict {
        schema_version: SCHEMA_VERSION,
        verified: exit_code == 0,
        exit_code,
        federation: pack.trust.federation.clone(),
        institution: pack.about.institution.to_hex(),
        name: judged.name,
        trust_hash: hash.to_hex(),
        trust_fingerprint: fingerprint(&hash),
        trust_pinned: judged.pinned,
        tree_size: judged.tree_size,
        cosigners: judged.cosigners,
        receipts: judged.receipts,
        statements: judged.statements,
        datasets: judged.datasets,
        anchors: judged.anchors,
        site_entries: judged.site_entries,
        sidecars,
        findings: findings.list().to_vec(),
        not_verified: NEVER.to_vec(),
    })
}

impl From<ReadError> for BadPack {
    fn from(e: ReadError) -> Self {
        Self::Read(e)
    }
}

#[cfg(test)]
mod tests;
