//! Which log and witnesses are believed, and how many witnesses suffice (A11, A12; tlog-policy). Knows no entry.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::{KeyError, KeyType, VerifierKey};
use crate::note::{Claimed, Note, NoteError, Verified};
use crate::text;

/// Largest policy text: 64 witnesses and 64 groups of 255-byte names and URLs fit.
pub const MAX_POLICY_BYTES: usize = 128 * 1024;

/// Most witnesses (A12).
pub const MAX_WITNESSES: usize = 64;

/// Most groups: one per witness is more than any federation needs.
pub const MAX_GROUPS: usize = 64;

/// Why a policy text is refused. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Above [`MAX_POLICY_BYTES`], without a final line feed, or with a control character other than tab and line feed.
    #[error("the policy is not a text of lines within {MAX_POLICY_BYTES} bytes")]
    NotText,
    /// A line that is none of `log`, `witness`, `group`, `quorum`, or has the wrong number of words.
    #[error("line {line} is not a policy line")]
    BadLine {
        /// Line number.
        line: usize,
    },
    /// A key that cannot be read.
    #[error("line {line} has a bad key")]
    BadKey {
        /// Line number.
        line: usize,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A log key that is no note key, or a witness key that is no cosignature key.
    #[error("line {line} has a key of the wrong type")]
    WrongKeyType {
        /// Line number.
        line: usize,
    },
    /// A name or public key is there twice, a member is used twice, or there is a second `log` or `quorum`.
    #[error("line {line} repeats what may stand once")]
    Repeated {
        /// Line number.
        line: usize,
    },
    /// A name that no earlier line defines.
    #[error("line {line} names something that no earlier line defines")]
    Undefined {
        /// Line number.
        line: usize,
    },
    /// A threshold that is not `1 <= k <= n`.
    #[error("line {line} has a threshold outside 1 to the number of members")]
    BadThreshold {
        /// Line number.
        line: usize,
    },
    /// More than [`MAX_WITNESSES`] or [`MAX_GROUPS`].
    #[error("line {line} is one too many of its kind")]
    TooMany {
        /// Line number.
        line: usize,
    },
    /// No `log` line.
    #[error("the policy has no log")]
    NoLog,
    /// No `quorum` line.
    #[error("the policy has no quorum")]
    NoQuorum,
}

/// A witness or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Witness([u8; 32]),
    Group { threshold: usize, members: Vec<usize> },
}

/// A witness of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name within the policy.
    pub name: String,
    /// Its cosignature key.
    pub key: VerifierKey,
}

/// A parsed policy. It keeps its exact text, whose hash is what entries name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    text: String,
    log: VerifierKey,
    witnesses: Vec<Witness>,
    nodes: Vec<Node>,
    quorum: Option<usize>,
}

/// How many of `n` witnesses make a quorum: `⌊(n+f)/2⌋+1` with `f = ⌊(n−1)/3⌋`, so that any two quorums share an honest
/// witness as long as at most f collude with the server. 0 for no witness, which only `quorum none` can mean.
pub fn default_quorum(n: usize) -> usize {
    let colluding = n.saturating_sub(1) / 3;
    if n == 0 { 0 } else { (n + colluding) / 2 + 1 }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the first line that is wrong. Without any witness, only `quorum none` is accepted.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let control = |b: u8| (b < 0x20 && b != b'\n' && b != b'\t') || b == 0x7f;
        if text.len() > MAX_POLICY_BYTES || !text.ends_with('\n') || text.bytes().any(control) {
            return Err(PolicyError::NotText);
        }
        let mut parser = Parser::default();
        for (at, line) in text.split('\n').enumerate() {
            let words: Vec<&str> = line.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
            parser.line(at + 1, &words)?;
        }
        let quorum = parser.quorum.ok_or(PolicyError::NoQuorum)?;
        let log = parser.log.ok_or(PolicyError::NoLog)?;
        Ok(Self { text: text.to_owned(), log, witnesses: parser.witnesses, nodes: parser.nodes, quorum })
    }

    /// Writes and reads the usual policy: these witnesses, `threshold` of them; `None` is `quorum none`.
    ///
    /// # Errors
    /// [`PolicyError`] if the parts do not make a policy.
    pub fn compose(log: &VerifierKey, witnesses: &[Witness], threshold: Option<usize>) -> Result<Self, PolicyError> {
        let mut lines = vec![format!("log {log}")];
        lines.extend(witnesses.iter().map(|w| format!("witness {} {}", w.name, w.key)));
        match threshold {
            None => lines.push("quorum none".to_owned()),
            Some(k) => {
                let names: String = witnesses.iter().map(|w| format!(" {}", w.name)).collect();
                lines.push(format!("group all-witnesses {k}{names}"));
                lines.push("quorum all-witnesses".to_owned());
            }
        }
        Self::parse(&(lines.join("\n") + "\n"))
    }

    /// This policy for another key of the same log (A14): the text with that key in its `log` line, and not a byte else changed. So administrators
    /// need not activate again what they activated, and everybody finds the same text, and the one before it again.
    ///
    /// # Errors
    /// [`PolicyError`] if the key cannot be a log's beside these witnesses.
    pub fn with_log(&self, key: &VerifierKey) -> Result<Self, PolicyError> {
        if *key == self.log {
            return Ok(self.clone());
        }
        let other = |line: &str| {
            let mut words = line.split([' ', '\t']).filter(|w| !w.is_empty());
            match (words.next(), words.next()) {
                (Some("log"), Some(vkey)) => line.replacen(vkey, &key.to_string(), 1),
                _any_other => line.to_owned(),
            }
        };
        Self::parse(&self.text.split('\n').map(other).collect::<Vec<_>>().join("\n"))
    }

    /// The exact text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The log's key.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The witnesses, in the order of the text.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether the policy demands cosignatures at all (A12: `quorum none` holds only until the first task opens).
    pub fn demands_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether these witnesses (public keys) make the quorum.
    pub fn is_met(&self, cosigners: &BTreeSet<[u8; 32]>) -> bool {
        let mut witnessed = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            // Members stand before their group, so one pass decides them all.
            let met = match node {
                Node::Witness(key) => cosigners.contains(key),
                Node::Group { threshold, members } => {
                    members.iter().filter(|m| witnessed.get(**m).copied().unwrap_or(false)).count() >= *threshold
                }
            };
            witnessed.push(met);
        }
        self.quorum.is_none_or(|q| witnessed.get(q).copied().unwrap_or(false))
    }

    /// Reads a checkpoint note and believes what this policy's keys signed.
    ///
    /// # Errors
    /// [`OpenError`] if it is no note, no checkpoint of this log, a known key's signature fails, or the log's own is absent.
    pub fn open(&self, note: &[u8]) -> Result<Opened, OpenError> {
        self.open_note(Note::parse(note)?)
    }

    /// [`Self::open`] for a note that is parsed already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_note(&self, note: Note) -> Result<Opened, OpenError> {
        let verified = note.verify(self.keys());
        self.open_verified(note, verified)
    }

    /// The log's key and the witnesses'.
    fn keys(&self) -> impl Iterator<Item = &VerifierKey> + Clone {
        std::iter::once(&self.log).chain(self.witnesses.iter().map(|w| &w.key))
    }

    /// The signatures of a note that claim this policy's keys.
    pub(crate) fn claims(&self, note: &Note) -> Vec<Claimed<'_>> {
        note.claims(self.keys())
    }

    /// [`Self::open_note`] where the signatures of [`Self::claims`] are judged already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_verified(&self, note: Note, verified: Result<Vec<Verified<'_>>, NoteError>) -> Result<Opened, OpenError> {
        let checkpoint: Checkpoint = note.text().parse()?;
        if checkpoint.origin != self.log.name() {
            return Err(OpenError::WrongOrigin { expected: self.log.name().to_owned(), got: checkpoint.origin });
        }
        let verified = verified?;
        if !verified.iter().any(|v| v.key == &self.log) {
            return Err(OpenError::NotByLog);
        }
        let mut times = BTreeMap::new();
        for (key, time) in verified.iter().filter_map(|v| Some((v.key.public(), v.time_s?))) {
            // Two cosignatures of one witness count once, with the later time.
            times.entry(key).and_modify(|t: &mut u64| *t = time.max(*t)).or_insert(time);
        }
        let quorum = self.is_met(&times.keys().copied().collect());
        Ok(Opened { checkpoint, note, times, quorum })
    }
}

/// A checkpoint with the log's signature and what witnesses of the policy added. Only [`Policy::open`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    checkpoint: Checkpoint,
    note: Note,
    times: BTreeMap<[u8; 32], u64>,
    quorum: bool,
}

impl Opened {
    /// What the log states.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note as it came.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Time of each cosigner (public key), in seconds since 1970. Auditors may ask for more of them than the policy does.
    pub fn cosigners(&self) -> &BTreeMap<[u8; 32], u64> {
        &self.times
    }

    /// Whether the policy's quorum is met.
    pub fn has_quorum(&self) -> bool {
        self.quorum
    }
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not a note, or a known key's signature fails.
    #[error("the note is refused")]
    Note(#[from] NoteError),
    /// The text is not a checkpoint.
    #[error("the note's text is not a checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// Another log's checkpoint.
    #[error("checkpoint of {got}, expected {expected}")]
    WrongOrigin {
        /// Origin of the policy's log.
        expected: String,
        /// Origin stated.
        got: String,
    },
    /// No signature of the policy's log key.
    #[error("the log's signature is missing")]
    NotByLog,
}

/// The state of reading a policy, line by line.
#[derive(Default)]
struct Parser {
    log: Option<VerifierKey>,
    witnesses: Vec<Witness>,
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    keys: BTreeSet<[u8; 32]>,
    used: BTreeSet<usize>,
    quorum: Option<Option<usize>>,
}

impl Parser {
    fn line(&mut self, line: usize, words: &[&str]) -> Result<(), PolicyError> {
        match words {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey] | ["log", vkey, _] => self.add_log(line, vkey),
            ["witness", name, vkey] | ["witness", name, vkey, _] => self.add_witness(line, name, vkey),
            ["group", name, threshold, members @ ..] => self.add_group(line, name, threshold, members),
            ["quorum", name] => self.set_quorum(line, name),
            _ => Err(PolicyError::BadLine { line }),
        }
    }

    fn key(&mut self, line: usize, vkey: &str, kind: KeyType) -> Result<VerifierKey, PolicyError> {
        let key: VerifierKey = vkey.parse().map_err(|source| PolicyError::BadKey { line, source })?;
        if key.kind() != kind {
            return Err(PolicyError::WrongKeyType { line });
        }
        // One key, one part to play: a log that is its own witness would witness nothing.
        if self.keys.insert(key.public()) { Ok(key) } else { Err(PolicyError::Repeated { line }) }
    }

    fn name(&mut self, line: usize, name: &str, node: Node) -> Result<(), PolicyError> {
        if name == "none" || self.names.contains_key(name) {
            return Err(PolicyError::Repeated { line });
        }
        self.names.insert(name.to_owned(), self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn add_log(&mut self, line: usize, vkey: &str) -> Result<(), PolicyError> {
        if self.log.is_some() {
            return Err(PolicyError::Repeated { line });
        }
        self.log = Some(self.key(line, vkey, KeyType::Note)?);
        Ok(())
    }

    fn add_witness(&mut self, line: usize, name: &str, vkey: &str) -> Result<(), PolicyError> {
        if self.witnesses.len() == MAX_WITNESSES {
            return Err(PolicyError::TooMany { line });
        }
        let key = self.key(line, vkey, KeyType::Cosignature)?;
        self.name(line, name, Node::Witness(key.public()))?;
        self.witnesses.push(Witness { name: name.to_owned(), key });
        Ok(())
    }

    fn add_group(&mut self, line: usize, name: &str, threshold: &str, members: &[&str]) -> Result<(), PolicyError> {
        if self.nodes.len() - self.witnesses.len() == MAX_GROUPS {
            return Err(PolicyError::TooMany { line });
        }
        let lookup = |member: &&str| self.names.get(*member).copied().ok_or(PolicyError::Undefined { line });
        let members: Vec<usize> = members.iter().map(lookup).collect::<Result<_, _>>()?;
        if !members.iter().all(|m| self.used.insert(*m)) {
            return Err(PolicyError::Repeated { line });
        }
        let threshold = match threshold {
            "all" => members.len(),
            "any" => 1,
            k => text::decimal(k).and_then(|k| usize::try_from(k).ok()).ok_or(PolicyError::BadThreshold { line })?,
        };
        if threshold == 0 || threshold > members.len() {
            return Err(PolicyError::BadThreshold { line });
        }
        self.name(line, name, Node::Group { threshold, members })
    }

    fn set_quorum(&mut self, line: usize, name: &str) -> Result<(), PolicyError> {
        if self.quorum.is_some() {
            return Err(PolicyError::Repeated { line });
        }
        let node = if name == "none" { None } else { Some(*self.names.get(name).ok_or(PolicyError::Undefined { line })?) };
        self.quorum = Some(node);
        Ok(())
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
