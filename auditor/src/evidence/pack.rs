//! The files of a pack, read with limits. Believes nothing.

use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::MAX_ENTRY_BYTES;
use audit::policy::{MAX_POLICY_BYTES, Policy};
use audit::proof::{MAX_PROOF_BYTES, Receipt};
use audit::reader::{DirEntry, LogReader as _};
use protocol::codec;
use protocol::ids::{ClientId, PlanDigest, Sha256};
use protocol::plan::Plan;
use protocol::trust::TrustDocument;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const FORMAT: &str = "concordat-evidence/v1";
const MAX_ABOUT: usize = 4096;
/// As long as a client writes them.
const MAX_LEDGER: usize = 512 << 20;
/// More receipts than an institution gets in years; a pack is one institution's.
const MAX_RECEIPTS: usize = 1_000_000;

const SHAPE: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A13: a receipt has one spelling and is named by its index");
const PLAN: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A2: a plan hashes to its name");

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadPack {
    /// It cannot be read.
    #[error("the evidence cannot be read")]
    Read(#[source] ReadError),
    /// A file that every pack has.
    #[error("{0} is missing or no file of an evidence pack of the form {FORMAT}")]
    File(&'static str),
    /// Too many receipts.
    #[error("more than {MAX_RECEIPTS} receipts")]
    TooMany,
}

/// What the pack says of itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    format: String,
    pub(super) federation: String,
    pub(super) institution: ClientId,
    pub(super) name: String,
    pub(super) trust: Sha256,
    pub(super) size: u64,
}

/// A pack in memory.
pub(super) struct Pack {
    pub(super) about: About,
    pub(super) trust_bytes: Vec<u8>,
    pub(super) trust: TrustDocument,
    pub(super) policy: Policy,
    pub(super) receipts: BTreeMap<u64, Receipt>,
    pub(super) plans: BTreeMap<PlanDigest, Plan>,
    /// By the dataset that the file's name states.
    pub(super) ledgers: BTreeMap<Sha256, Vec<u8>>,
    pub(super) site_log: Option<Vec<u8>>,
}

fn names(dir: &Directory, below: &str, end: &str) -> Result<Vec<String>, ReadError> {
    let name = |e: DirEntry| match e {
        DirEntry::File(name) => name.strip_suffix(end).map(str::to_owned),
        DirEntry::Directory(_) => None,
    };
    Ok(dir.list(below)?.into_iter().filter_map(name).collect())
}

impl Pack {
    pub(super) fn read(dir: &Path, findings: &mut Findings) -> Result<Self, BadPack> {
        let dir = Directory::open(dir)?;
        let file = |name: &'static str, limit| dir.read(name, limit)?.ok_or(BadPack::File(name));
        let about: About = serde_json::from_slice(&file("evidence.json", MAX_ABOUT)?).map_err(|_| BadPack::File("evidence.json"))?;
        if about.format != FORMAT {
            return Err(BadPack::File("evidence.json"));
        }
        let trust_bytes = file("trust.json", TrustDocument::MAX_BYTES)?;
        let trust = TrustDocument::parse(&trust_bytes).map_err(|_| BadPack::File("trust.json"))?;
        let text = file("policy.txt", MAX_POLICY_BYTES)?;
        let policy = std::str::from_utf8(&text).ok().and_then(|t| Policy::parse(t).ok()).ok_or(BadPack::File("policy.txt"))?;
        let receipts = receipts(&dir, findings)?;
        let plans = plans(&dir, findings)?;
        let mut ledgers = BTreeMap::new();
        for name in names(&dir, "ledger", ".ledger")? {
            let bytes = dir.read(&format!("ledger/{name}.ledger"), MAX_LEDGER)?;
            if let (Ok(dataset), Some(bytes)) = (name.parse(), bytes) {
                ledgers.insert(dataset, bytes);
            }
        }
        let site_log = dir.read("site/log.jsonl", MAX_LEDGER)?;
        Ok(Self { about, trust_bytes, trust, policy, receipts, plans, ledgers, site_log })
    }
}

fn receipts(dir: &Directory, findings: &mut Findings) -> Result<BTreeMap<u64, Receipt>, BadPack> {
    let names = names(dir, "entries", ".receipt")?;
    if names.len() > MAX_RECEIPTS {
        return Err(BadPack::TooMany);
    }
    let mut out = BTreeMap::new();
    for name in names {
        let path = format!("entries/{name}.receipt");
        let bytes = dir.read(&path, MAX_ENTRY_BYTES + MAX_PROOF_BYTES)?.unwrap_or_default();
        match Receipt::parse(&bytes) {
            Ok(receipt) if format!("{:020}", receipt.proof.index) == name => drop(out.insert(receipt.proof.index, receipt)),
            Ok(receipt) => findings.add(SHAPE, Place::Path(path), name, receipt.proof.index.to_string()),
            Err(e) => findings.add(SHAPE, Place::Path(path), "a receipt", e.to_string()),
        }
    }
    Ok(out)
}

fn plans(dir: &Directory, findings: &mut Findings) -> Result<BTreeMap<PlanDigest, Plan>, ReadError> {
    let mut out = BTreeMap::new();
    for name in names(dir, "plans", ".cbor")? {
        let path = format!("plans/{name}.cbor");
        let bytes = dir.read(&path, Plan::MAX_BYTES)?.unwrap_or_default();
        let digest = Plan::digest(&bytes);
        match codec::decode::<Plan>(&bytes, Plan::MAX_BYTES) {
            Ok(plan) if digest.to_hex() == name => drop(out.insert(digest, plan)),
            Ok(_) | Err(_) => findings.add(PLAN, Place::Path(path), name, digest.to_hex()),
        }
    }
    Ok(out)
}
