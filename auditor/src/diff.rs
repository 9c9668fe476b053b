//! Two copies of one log compared (audit.md A39): equal, one the beginning of the other, or a fork with its proof. Both are read once,
//! side by side. Knows no meaning of an entry beyond its type.

use crate::dir::{Directory, ReadError};
use crate::entries;
use crate::finding::Findings;
use crate::notes;
use crate::trust::{self, Trusted};
use audit::fork::ForkProof;
use audit::hash::{Hash, leaf_hash};
use audit::keys::LogKeys;
use audit::merkle::prove_consistency;
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::reader::{HANDOVERS, LogReader, TileHashes};
use audit::tile::{WIDTH, decode_bundle};
use audit::tree::{CompactRange, TreeHead};
use protocol::history::History;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// How two copies stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// The same entries.
    Equal,
    /// Everything in A is in B, which has more.
    AIsPrefix,
    /// Everything in B is in A, which has more.
    BIsPrefix,
    /// They differ, or one contradicts its own notes.
    Forked,
}

/// An entry that the copies do not share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parting {
    /// Its index.
    pub index: u64,
    /// Leaf hash in A.
    pub a: String,
    /// Leaf hash in B.
    pub b: String,
}

/// What a comparison came to.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// In one word.
    pub relation: Relation,
    /// Entries of A and of B.
    pub sizes: [u64; 2],
    /// The first entry that differs.
    pub parting: Option<Parting>,
    /// Notes of both, signed by the log, that were compared with both trees.
    pub notes: u64,
    /// A proof that anybody can check; a fork may lack one where nobody signed one of the two stories.
    pub proof: Option<ForkProof>,
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// A directory cannot be read.
    #[error("a copy of the log cannot be read")]
    Read(#[from] ReadError),
    /// No usable trust document.
    #[error("copy {0} has no trust document that can be read")]
    NoTrust(char),
    /// Two logs.
    #[error("the copies are of two logs: {0} and {1}")]
    OtherLog(String, String),
    /// No note by the log.
    #[error("copy {0} has no checkpoint that its log signed")]
    NoNote(char),
}

/// One copy while it is read.
struct Copy {
    log: Directory,
    /// The log's keys, by what administrators say in this copy.
    keys: LogKeys,
    /// By size; of several notes of one size the first that was found.
    notes: BTreeMap<u64, (Note, TreeHead)>,
    range: CompactRange,
    roots: BTreeMap<u64, Hash>,
}

impl Copy {
    fn open(name: char, dir: &Path) -> Result<Self, DiffError> {
        let log = Directory::open(dir)?;
        let trusted = trust::check(&log, &mut Findings::default())?.ok_or(DiffError::NoTrust(name))?;
        let all = notes(&log)?;
        let keys = keys(&log, trusted, all.iter().map(|(_, head)| head.size).max().unwrap_or(0))?;
        let mut notes = BTreeMap::new();
        for (note, head) in all.into_iter().filter(|(note, _)| keys.signed_by_any(note).is_some()) {
            notes.entry(head.size).or_insert((note, head));
        }
        if notes.is_empty() {
            return Err(DiffError::NoNote(name));
        }
        Ok(Self { log, keys, notes, range: CompactRange::new(), roots: BTreeMap::new() })
    }

    fn size(&self) -> u64 {
        self.notes.keys().next_back().copied().unwrap_or(0)
    }

    /// The leaf hashes of the bundle that begins at `first`; none where there is no bundle.
    fn leaves(&self, first: u64) -> Result<Vec<Hash>, ReadError> {
        if first >= self.size() {
            return Ok(Vec::new());
        }
        let Some((bytes, width)) = entries::bundle(&self.log, first, self.size())? else { return Ok(Vec::new()) };
        let most = usize::try_from(self.size() - first).unwrap_or(usize::MAX);
        Ok(decode_bundle(&bytes, width).unwrap_or_default().into_iter().take(most).map(leaf_hash).collect())
    }

    fn push(&mut self, leaf: Hash, wanted: &[u64]) {
        self.range.push(leaf);
        if wanted.binary_search(&self.range.size()).is_ok() {
            self.roots.insert(self.range.size(), self.range.root());
        }
    }

    /// A proof that this copy's note contradicts the other copy's tree, under a note that the other tree bears out.
    fn contradicts(&self, other: &Self, keys: &LogKeys) -> Option<ForkProof> {
        for (size, (note, head)) in &self.notes {
            let Some(root) = other.roots.get(size).filter(|r| **r != head.root) else { continue };
            let borne_out = |(s, (_, h)): &(&u64, &(Note, TreeHead))| other.roots.get(*s) == Some(&h.root);
            let Some((newer, (second, _))) = other.notes.range(*size..).find(borne_out) else { continue };
            let Ok(proof) = prove_consistency(&TileHashes::new(&other.log, *newer), *size, *newer) else { continue };
            let proof = ForkProof::new(keys, (note, *size), second, *root, &proof);
            if proof.check_by(keys.all(), None).is_ok() {
                return Some(proof);
            }
        }
        None
    }

    /// Whether every note is borne out by the entries of this copy.
    fn is_sound(&self) -> bool {
        self.notes.iter().all(|(size, (_, head))| self.roots.get(size) == Some(&head.root))
    }
}

/// The notes of a directory, whoever signed them.
fn notes(log: &Directory) -> Result<Vec<(Note, TreeHead)>, ReadError> {
    let mut found = Vec::new();
    for path in notes::all(log)? {
        found.extend(log.read(&path, MAX_NOTE_BYTES)?.and_then(|bytes| notes::stated(&bytes)));
    }
    Ok(found)
}

/// The keys of a copy's log (A14). Where a key took over, administrators say so in entries below `size`; a log that has no note of that has one key.
fn keys(log: &Directory, trusted: Trusted, size: u64) -> Result<LogKeys, ReadError> {
    let one = LogKeys::new(trusted.log);
    if log.list(HANDOVERS)?.is_empty() {
        return Ok(one);
    }
    let mut history = History::new(trusted.document);
    while history.size() < size {
        let first = history.size();
        let Some((bytes, width)) = entries::bundle(log, first, size)? else { break };
        decode_bundle(&bytes, width).unwrap_or_default().into_iter().for_each(|entry| drop(history.apply(entry)));
        // A hole, or a partial bundle: what comes after it has no place in a tree.
        if history.size() - first < u64::from(WIDTH) {
            break;
        }
    }
    Ok(LogKeys::of(history.log_vkeys()).unwrap_or(one))
}

/// Compares two copies of one log.
///
/// # Security
/// Both may be an attacker's. What is claimed is only what the log's key signed and what the entries give; policies and cosignatures are
/// not judged here.
///
/// # Errors
/// [`DiffError`] if there is nothing to compare.
pub fn diff(a: &Path, b: &Path) -> Result<Difference, DiffError> {
    let (mut a, mut b) = (Copy::open('A', a)?, Copy::open('B', b)?);
    let first = |copy: &Copy| copy.keys.at(0).to_string();
    if first(&a) != first(&b) {
        return Err(DiffError::OtherLog(first(&a), first(&b)));
    }
    // One copy may end before a key took over in the other.
    let keys = if a.keys.all().count() >= b.keys.all().count() { a.keys.clone() } else { b.keys.clone() };
    let mut wanted: Vec<u64> = a.notes.keys().chain(b.notes.keys()).copied().collect();
    wanted.sort_unstable();
    for copy in [&mut a, &mut b] {
        copy.roots.insert(0, copy.range.root());
    }
    let parting = walk(&mut a, &mut b, &wanted)?;
    let proof = a.contradicts(&b, &keys).or_else(|| b.contradicts(&a, &keys)).or_else(|| same_size(&a, &b, &keys));
    let forked = parting.is_some() || proof.is_some() || !a.is_sound() || !b.is_sound();
    let relation = match (forked, a.size().cmp(&b.size())) {
        (true, _) => Relation::Forked,
        (false, std::cmp::Ordering::Equal) => Relation::Equal,
        (false, std::cmp::Ordering::Less) => Relation::AIsPrefix,
        (false, std::cmp::Ordering::Greater) => Relation::BIsPrefix,
    };
    let notes = a.notes.len().saturating_add(b.notes.len()) as u64;
    Ok(Difference { relation, sizes: [a.size(), b.size()], parting, notes, proof })
}

/// Two notes of one size with two roots prove themselves, whatever the entries say.
fn same_size(a: &Copy, b: &Copy, keys: &LogKeys) -> Option<ForkProof> {
    let pair =
        a.notes.iter().find_map(|(size, (note, head))| b.notes.get(size).filter(|(_, h)| h.root != head.root).map(|o| (note, *size, o)));
    let (note, size, (other, head)) = pair?;
    Some(ForkProof::new(keys, (note, size), other, head.root, &audit::merkle::ConsistencyProof(Vec::new())))
}

/// Reads both side by side; returns the first entry that differs.
fn walk(a: &mut Copy, b: &mut Copy, wanted: &[u64]) -> Result<Option<Parting>, ReadError> {
    let (mut parting, mut first) = (None, 0);
    loop {
        // A hole ends a copy: whatever comes after it has no place in a tree.
        let whole = |c: &Copy| c.range.size() == first;
        let left = if whole(a) { a.leaves(first)? } else { Vec::new() };
        let right = if whole(b) { b.leaves(first)? } else { Vec::new() };
        if left.is_empty() && right.is_empty() {
            return Ok(parting);
        }
        if parting.is_none() {
            let at = left.iter().zip(&right).position(|(l, r)| l != r);
            let text = |leaves: &[Hash], at: usize| leaves.get(at).map(Hash::to_string).unwrap_or_default();
            parting = at.map(|at| Parting { index: first + at as u64, a: text(&left, at), b: text(&right, at) });
        }
        left.into_iter().for_each(|l| a.push(l, wanted));
        right.into_iter().for_each(|l| b.push(l, wanted));
        first += u64::from(WIDTH);
    }
}

/// The comparison for people.
pub fn render(d: &Difference) -> String {
    let [a, b] = d.sizes;
    let mut out = match d.relation {
        Relation::Equal => format!("The copies are equal: {a} entries."),
        Relation::AIsPrefix => format!("A is the beginning of B: {a} entries are shared, B has {} more.", b - a),
        Relation::BIsPrefix => format!("B is the beginning of A: {b} entries are shared, A has {} more.", a - b),
        Relation::Forked => "FORK: the copies tell two stories.".to_owned(),
    };
    out.push_str(&format!("\n{} notes signed by the log were compared.", d.notes));
    if let Some(p) = &d.parting {
        out.push_str(&format!("\nEntry {} is the first that differs: leaf {} in A, {} in B.", p.index, p.a, p.b));
    }
    match &d.proof {
        Some(proof) => {
            out.push_str(&format!("\nPROOF OF A FORK at size {}. Both notes are signed by the log; anybody can check this:\n", proof.size));
            out.push_str(&String::from_utf8_lossy(&proof.to_bytes()));
        }
        None if d.relation == Relation::Forked => out.push_str(
            "\nNo pair of signed notes proves it to others: one copy contradicts its own notes. Run `concordat-audit verify` on each.",
        ),
        None => {}
    }
    out
}
