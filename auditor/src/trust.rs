//! Check 1: the trust document that the log begins with, the log's key in it, and what the auditor was told of it or of a later one.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, VerifierKey};
use audit::reader::LogReader;
use protocol::history::History;
use protocol::ids::Sha256;
use protocol::trust::TrustDocument;

/// Path of the trust document (A2).
pub(crate) const TRUST_PATH: &str = "trust.json";

const MISSING: Rule = Rule::new(Check::Trust, Severity::Incomplete, "A2: the trust document is there");
const PARSES: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: the trust document has one spelling");
const PINNED: Rule = Rule::new(Check::Trust, Severity::Integrity, "A35.1: the trust document is the one that was pinned");
const LOG_KEY: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: the trust document names a log key");

/// A trust document that parses, with the key of its log.
pub(crate) struct Trusted {
    pub(crate) document: TrustDocument,
    pub(crate) hash: Sha256,
    pub(crate) log: VerifierKey,
}

/// Whether the auditor knows the federation by one of its trust documents: the first one, or a later one that administrators put in force. A later
/// one pins all before it, since each names the one before.
pub(crate) fn check_pinned(history: &History, pinned: Option<Sha256>, findings: &mut Findings) -> bool {
    let known = pinned.map(|p| history.knows_trust(p));
    if let (Some(pinned), Some(false)) = (pinned, known) {
        let all: Vec<String> = history.trusts().iter().map(|t| t.hash.to_hex()).collect();
        findings.add(PINNED, Place::Path(TRUST_PATH.to_owned()), pinned.to_hex(), all.join(", "));
    }
    known == Some(true)
}

/// Reads and judges the trust document that the log begins with; nothing else can be believed without it.
pub(crate) fn check(log: &Directory, findings: &mut Findings) -> Result<Option<Trusted>, ReadError> {
    let place = || Place::Path(TRUST_PATH.to_owned());
    let Some(bytes) = log.read(TRUST_PATH, TrustDocument::MAX_BYTES)? else {
        findings.add(MISSING, place(), "a file", "nothing");
        return Ok(None);
    };
    let hash = TrustDocument::hash(&bytes);
    let Ok(document) = TrustDocument::parse(&bytes) else {
        findings.add(PARSES, place(), "a trust document", format!("{} bytes that are none", bytes.len()));
        return Ok(None);
    };
    let key = document.log_vkey.parse::<VerifierKey>().ok();
    let origin = Checkpoint::origin_of(&document.federation);
    let Some(key) = key.filter(|k| k.kind() == KeyType::Note && k.name() == origin) else {
        findings.add(LOG_KEY, place(), format!("a note key named {origin}"), document.log_vkey.clone());
        return Ok(None);
    };
    Ok(Some(Trusted { document, hash, log: key }))
}
