//! The common fields of an entry (audit.md A15 to A17) and its one spelling as bytes.

use super::common::{Actor, Identity, Origin, Outcome, Party, StatedParty};
use super::decision::{Decision, Ruling};
use super::facts::{EntryKind, Facts};
use super::subject::Subject;
use crate::ids::{ClientId, GroupId, LeafIndex, PublicKey, RoundId, Sha256, TaskId};
use crate::reject::Rejection;
use crate::statement::{Statement, StatementKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest entry (A15).
pub const MAX_ENTRY: usize = 60 * 1024;

/// A statement inside an entry: exact payload bytes in base64, the signer by the hash of its key (A17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stmt {
    /// Media type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Base64 of the exact CBOR bytes.
    pub payload: String,
    /// SHA-256 of the public key.
    pub keyid: Sha256,
    /// Base64 of the signature.
    pub sig: String,
}

impl Stmt {
    /// The entry form of a statement.
    pub fn of(s: &Statement) -> Self {
        Self {
            media_type: s.kind.media_type().to_owned(),
            payload: BASE64.encode(&s.payload),
            keyid: Sha256(s.signer().0),
            sig: BASE64.encode(s.signature),
        }
    }

    /// The exact payload bytes.
    ///
    /// # Errors
    /// [`EntryError::Statement`] if they are not base64.
    pub fn payload_bytes(&self) -> Result<Vec<u8>, EntryError> {
        BASE64.decode(&self.payload).map_err(|_| EntryError::Statement)
    }

    /// The statement again, given the key that `keyid` names. Not yet verified.
    ///
    /// # Errors
    /// [`EntryError::Statement`] if a field does not decode or the key is another.
    pub fn with_key(&self, key: PublicKey) -> Result<Statement, EntryError> {
        let kind = StatementKind::from_media_type(&self.media_type).ok_or(EntryError::Statement)?;
        let payload = self.payload_bytes()?;
        let signature = BASE64.decode(&self.sig).ok().and_then(|s| s.try_into().ok()).ok_or(EntryError::Statement)?;
        if ClientId::of(&key).0 != self.keyid.0 {
            return Err(EntryError::Statement);
        }
        Ok(Statement { kind, payload, key, signature })
    }
}

/// What a machine knows of an entry; the driver adds number, id and time ([`Stamp`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who acted.
    pub actor: Actor,
    /// The institution it is about.
    pub institution: Option<ClientId>,
    /// The task.
    pub task: Option<TaskId>,
    /// The round.
    pub round: Option<RoundId>,
    /// The group.
    pub group: Option<GroupId>,
    /// What was decided about a right; on `authz.*` and nowhere else.
    pub decision: Option<Decision>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why not.
    pub code: Option<Rejection>,
    /// What happened.
    pub facts: Facts,
    /// Who says so.
    pub statement: Option<Statement>,
    /// The key of who acted, where the entry repeats no statement of it.
    pub key: Option<PublicKey>,
}

impl Draft {
    /// The server's own word about `facts`.
    pub fn server(facts: Facts) -> Self {
        Self {
            actor: Actor::Server,
            institution: None,
            task: None,
            round: None,
            group: None,
            decision: None,
            outcome: Outcome::Ok,
            code: None,
            facts,
            statement: None,
            key: None,
        }
    }

    /// The server's decision about a right that somebody asked for.
    pub fn decided(actor: Actor, decision: Decision) -> Self {
        let facts = match decision.ruling {
            Ruling::Allow => Facts::AuthzAllowed {},
            Ruling::Deny => Facts::AuthzDenied {},
        };
        Self { actor, decision: Some(decision), ..Self::server(facts) }
    }

    /// The signer's word about `facts`.
    pub fn said(actor: Actor, institution: Option<ClientId>, statement: Statement, facts: Facts) -> Self {
        Self { actor, institution, statement: Some(statement), ..Self::server(facts) }
    }

    /// Places the entry in a task.
    pub fn in_task(self, task: TaskId) -> Self {
        Self { task: Some(task), ..self }
    }
    /// Places the entry in a round.
    pub fn in_round(self, task: TaskId, round: RoundId) -> Self {
        Self { task: Some(task), round: Some(round), ..self }
    }
    /// Places the entry in a group.
    pub fn in_group(self, group: GroupId) -> Self {
        Self { group: Some(group), ..self }
    }
    /// The peer's fault.
    pub fn rejected(self, code: Rejection) -> Self {
        Self { outcome: Outcome::Rejected, code: Some(code), ..self }
    }
    /// Our fault, or nobody's.
    pub fn failed(self, code: Rejection) -> Self {
        Self { outcome: Outcome::Failed, code: Some(code), ..self }
    }
}

/// What the driver adds when it appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Leaf index.
    pub seq: u64,
    /// UUIDv7.
    pub id: String,
    /// RFC 3339 UTC with microseconds; rises.
    pub ts: String,
    /// Who acted, as the log knows it before this entry.
    pub who: Identity,
    /// The writing program.
    pub origin: Origin,
    /// Federation name.
    pub federation: String,
    /// The entry that led here, where one did.
    pub cause: Option<LeafIndex>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Number, id, time, who, writer, cause.
    pub stamp: Stamp,
    /// Who acted.
    pub actor: Actor,
    /// The institution it is about.
    pub institution: Option<ClientId>,
    /// The task.
    pub task: Option<TaskId>,
    /// The round.
    pub round: Option<RoundId>,
    /// The group.
    pub group: Option<GroupId>,
    /// What was decided about a right.
    pub decision: Option<Decision>,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable name of the reason.
    pub code: Option<String>,
    /// What happened.
    pub facts: Facts,
    /// Who says so.
    pub stmt: Option<Stmt>,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Longer than [`MAX_ENTRY`].
    #[error("entry is longer than 61440 bytes")]
    TooLong,
    /// Not JSON, or a field is missing or of the wrong form.
    #[error("entry is not of the expected form")]
    Malformed,
    /// A type that this version does not know. Integrity holds, meaning unknown (A38).
    #[error("entry has a type or a field unknown to this version")]
    Unknown,
    /// A second spelling of the same entry.
    #[error("entry is not in its one spelling")]
    NotCanonical,
    /// Its statement cannot be read.
    #[error("the entry's statement cannot be read")]
    Statement,
}

impl LogEntry {
    /// Completes a draft.
    pub fn new(stamp: Stamp, draft: &Draft) -> Self {
        Self {
            stamp,
            actor: draft.actor,
            institution: draft.institution,
            task: draft.task,
            round: draft.round,
            group: draft.group,
            decision: draft.decision,
            outcome: draft.outcome,
            code: draft.code.map(|c| c.name().to_owned()),
            facts: draft.facts.clone(),
            stmt: draft.statement.as_ref().map(Stmt::of),
        }
    }

    /// The one line, without a line feed.
    ///
    /// # Panics
    /// Never: every field is plain.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialise")
    }

    /// Its type.
    pub fn kind(&self) -> EntryKind {
        self.facts.kind()
    }

    /// What it is about.
    pub fn subject(&self) -> Option<Subject> {
        self.facts.subject()
    }

    /// Parses the one spelling.
    ///
    /// # Errors
    /// [`EntryError`], the first rule broken. [`EntryError::Unknown`] is no integrity failure.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLong);
        }
        // The whole line is looked at once for being text, instead of every string in it.
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(entry) = serde_json::from_str::<Spelled>(text)
            && let entry = Self::from(entry)
            && entry.is_spelled(bytes)
        {
            return Ok(entry);
        }
        Self::parse_slowly(bytes)
    }

    /// Whether these bytes are its one spelling.
    fn is_spelled(&self, bytes: &[u8]) -> bool {
        let mut again = Vec::with_capacity(bytes.len());
        serde_json::to_writer(&mut again, self).is_ok() && again == bytes
    }

    /// Says what is wrong. Every entry that keeps the rules has been read in one pass before this is asked (A40).
    fn parse_slowly(bytes: &[u8]) -> Result<Self, EntryError> {
        let map: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| EntryError::Malformed)?;
        let known = map.get("type").and_then(Value::as_str).is_some_and(|t| EntryKind::ALL.iter().any(|k| k.name() == t));
        if !known {
            return Err(EntryError::Unknown);
        }
        let entry = Self::from_map(map)?;
        if entry.is_spelled(bytes) { Ok(entry) } else { Err(EntryError::NotCanonical) }
    }

    fn from_map(mut map: Map<String, Value>) -> Result<Self, EntryError> {
        fn take<T: for<'de> Deserialize<'de>>(map: &mut Map<String, Value>, field: &str) -> Result<T, EntryError> {
            serde_json::from_value(map.remove(field).unwrap_or(Value::Null)).map_err(|_| EntryError::Malformed)
        }
        if take::<u8>(&mut map, "v")? != 1 {
            return Err(EntryError::Unknown);
        }
        let (actor, who) = take::<StatedParty>(&mut map, "actor")?.parts();
        let stamp = Stamp {
            seq: take(&mut map, "seq")?,
            id: take(&mut map, "id")?,
            ts: take(&mut map, "ts")?,
            who,
            origin: take(&mut map, "origin")?,
            federation: take(&mut map, "federation")?,
            cause: take(&mut map, "cause")?,
        };
        // Its one value follows from the type's own fields, and is compared with the one spelling.
        take::<Option<Subject>>(&mut map, "subject")?;
        Ok(Self {
            stamp,
            actor,
            institution: take(&mut map, "institution")?,
            task: take(&mut map, "task")?,
            round: take(&mut map, "round")?,
            group: take(&mut map, "group")?,
            decision: take(&mut map, "decision")?,
            outcome: take(&mut map, "outcome")?,
            code: take(&mut map, "code")?,
            stmt: take(&mut map, "stmt")?,
            // What is left is the type and its own fields; anything more is unknown.
            facts: serde_json::from_value(Value::Object(map)).map_err(|_| EntryError::Unknown)?,
        })
    }
}

/// The fields of an entry as one pass reads them. What it takes is compared with the one spelling afterwards.
#[derive(Deserialize)]
struct Spelled {
    v: Version,
    seq: u64,
    id: String,
    ts: String,
    #[serde(flatten)]
    facts: Facts,
    actor: StatedParty,
    origin: Origin,
    federation: String,
    institution: Option<ClientId>,
    task: Option<TaskId>,
    round: Option<RoundId>,
    group: Option<GroupId>,
    // Not read: it follows from the type's own fields, and is compared with the one spelling.
    #[serde(rename = "subject")]
    _subject: Option<serde::de::IgnoredAny>,
    decision: Option<Decision>,
    outcome: Outcome,
    code: Option<String>,
    cause: Option<LeafIndex>,
    stmt: Option<Stmt>,
}

/// The one version of entries that this program reads.
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if u8::deserialize(d)? == 1 { Ok(Self) } else { Err(serde::de::Error::custom("another version")) }
    }
}

impl From<Spelled> for LogEntry {
    fn from(s: Spelled) -> Self {
        let Version = s.v;
        let (actor, who) = s.actor.parts();
        let stamp = Stamp { seq: s.seq, id: s.id, ts: s.ts, who, origin: s.origin, federation: s.federation, cause: s.cause };
        let (institution, task, round, group) = (s.institution, s.task, s.round, s.group);
        let (decision, outcome, code, facts, stmt) = (s.decision, s.outcome, s.code, s.facts, s.stmt);
        Self { stamp, actor, institution, task, round, group, decision, outcome, code, facts, stmt }
    }
}

impl Serialize for LogEntry {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_map(None)?;
        out.serialize_entry("v", &1)?;
        out.serialize_entry("seq", &self.stamp.seq)?;
        out.serialize_entry("id", &self.stamp.id)?;
        out.serialize_entry("ts", &self.stamp.ts)?;
        out.serialize_entry("type", self.facts.kind().name())?;
        let Identity { uri, spki } = &self.stamp.who;
        out.serialize_entry("actor", &Party { uri: uri.as_deref(), role: self.actor, spki: *spki })?;
        out.serialize_entry("origin", &self.stamp.origin)?;
        out.serialize_entry("federation", &self.stamp.federation)?;
        optional(&mut out, "institution", &self.institution)?;
        optional(&mut out, "task", &self.task)?;
        optional(&mut out, "round", &self.round)?;
        optional(&mut out, "group", &self.group)?;
        optional(&mut out, "subject", &self.subject())?;
        optional(&mut out, "decision", &self.decision)?;
        out.serialize_entry("outcome", &self.outcome)?;
        optional(&mut out, "code", &self.code)?;
        optional(&mut out, "cause", &self.stamp.cause)?;
        self.facts.write_fields(&mut out)?;
        optional(&mut out, "stmt", &self.stmt)?;
        out.end()
    }
}

fn optional<M: SerializeMap, T: Serialize>(out: &mut M, name: &str, value: &Option<T>) -> Result<(), M::Error> {
    value.as_ref().map_or(Ok(()), |v| out.serialize_entry(name, v))
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
