//! The common fields that follow from what stands before an entry: its number, its federation, who acted, and what led to it (audit.md A16).
//! Whoever writes takes them from here, and whoever reads compares. Knows no clock.

use super::causes::Place;
use super::rules::{Clause, Report};
use super::{History, Member};
use crate::entry::{Actor, Decision, Draft, EntryKind, Facts, Identity, LogEntry, Origin, Rule, Ruling, Stamp};
use crate::hash::sha256;
use crate::ids::{ClientId, LeafIndex, PublicKey, Sha256};
use crate::reject::Rejection;
use std::borrow::Cow;

/// What comes before the 32 bytes of an Ed25519 key in its subject public key info (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// SHA-256 of an Ed25519 key's subject public key info: the name that certificates and tools have for it.
fn spki_hash(key: &PublicKey) -> Sha256 {
    Sha256(sha256(&[&ED25519_SPKI[..], &key.0[..]]))
}

fn uri(federation: &str, institution: &str, role: &str) -> String {
    format!("spiffe://{federation}/institution/{institution}/{role}")
}

/// The server, as its certificate and the trust document name it.
pub(super) fn server(federation: &str, key: &PublicKey) -> Identity {
    Identity { uri: Some(uri(federation, "server", "server/main")), spki: Some(spki_hash(key)) }
}

/// A start of the server's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// SHA-256 of the program.
    pub build: Sha256,
    /// SHA-256 of its settings.
    pub config: Sha256,
}

impl History {
    /// The stamp of the next entry, if it is made of `draft`.
    pub fn stamp(&self, draft: &Draft, id: String, ts: String, origin: Origin) -> Stamp {
        let signed = draft.statement.as_ref().and_then(|s| self.key(&Sha256(s.signer().0)));
        let who = self.who(draft.actor, draft.institution, signed.or(draft.key).as_ref()).into_owned();
        let place: Place = (draft.task, draft.round, draft.group);
        let cause = self.causes.of_whom(&draft.facts, place, draft.institution, draft.code.map(Rejection::name));
        Stamp { seq: self.size, id, ts, who, origin, federation: self.trust.federation.clone(), cause }
    }

    /// The last two starts of the server's process, the newer one last.
    pub fn starts(&self) -> [Option<Start>; 2] {
        self.starts
    }

    /// Witnesses that are said to be missing.
    pub fn is_missing(&self, witness: &Sha256) -> bool {
        self.missing.contains(witness)
    }

    /// Who has this role, by the log so far.
    fn who(&self, actor: Actor, institution: Option<ClientId>, key: Option<&PublicKey>) -> Cow<'_, Identity> {
        let federation = &self.trust.federation;
        let member = |m: &Member| Identity { uri: Some(uri(federation, &m.name, "client/agent")), spki: Some(m.tls_key) };
        Cow::Owned(match actor {
            Actor::Server => return Cow::Borrowed(&self.server),
            // Who asks to join has no certificate yet.
            Actor::Institution | Actor::Decryptor => institution.and_then(|i| self.members.get(&i)).map(member).unwrap_or_default(),
            // Administrators have keys and no certificate.
            Actor::Administrator => Identity { uri: None, spki: key.map(spki_hash) },
            Actor::Stranger => Identity::default(),
        })
    }

    /// Holds the common fields of the next entry against what stands before it.
    pub(super) fn check_stamp(&self, entry: &LogEntry, out: &mut Report) {
        let stamp = &entry.stamp;
        out.require(stamp.federation == self.trust.federation, Clause::Federation);
        // Of administrators alone: what others have is in the roster.
        let signed = entry.stmt.as_ref().filter(|_| entry.actor == Actor::Administrator);
        let key = signed.and_then(|s| self.key(&s.keyid));
        let expected = self.who(entry.actor, entry.institution, key.as_ref());
        out.require(stamp.who == *expected || self.is_named_administrator(entry), Clause::Actor);
        let place: Place = (entry.task, entry.round, entry.group);
        out.require(stamp.cause == self.causes.of_whom(&entry.facts, place, entry.institution, entry.code.as_deref()), Clause::Cause);
        let starts = matches!(entry.facts, Facts::ProcessStarted { .. } | Facts::ProcessRecovered { .. });
        // Before the first start whoever makes the federation writes; after an end nobody does.
        let runs = self.origin.as_ref().map_or(self.starts[1].is_none(), |o| *o == stamp.origin);
        out.require(starts || runs, Clause::Origin);
        out.require(self.is_decided(entry), Clause::Decision);
    }

    /// A permission repeats no statement: the key that it names is one of an administrator, whose statement follows.
    fn is_named_administrator(&self, entry: &LogEntry) -> bool {
        let allowed = entry.kind() == EntryKind::AuthzAllowed && entry.actor == Actor::Administrator;
        allowed && self.trust.administrators.iter().any(|k| entry.stamp.who == *self.who(Actor::Administrator, None, Some(k)))
    }

    /// I12: decisions stand where they belong, and by the rule of their table; what is allowed is allowed to somebody whom the rule fits.
    fn is_decided(&self, entry: &LogEntry) -> bool {
        let kind = entry.kind();
        let Some(decision) = entry.decision else { return !matches!(kind, EntryKind::AuthzAllowed | EntryKind::AuthzDenied) };
        let fits = match decision.ruling {
            Ruling::Allow => kind == EntryKind::AuthzAllowed && self.is_entitled(entry, &decision),
            Ruling::Deny => kind == EntryKind::AuthzDenied,
        };
        fits && decision.agrees_with_its_table()
    }

    fn is_entitled(&self, entry: &LogEntry, decision: &Decision) -> bool {
        let signs = entry.actor == Actor::Administrator && entry.stamp.who.spki.is_some();
        let member = entry.institution.is_some_and(|i| self.is_active(i)) && entry.actor == Actor::Institution;
        match decision.rule {
            Rule::Host => entry.actor == Actor::Administrator && entry.stamp.who == Identity::default(),
            Rule::Administrator => signs,
            Rule::Reviewer => signs || member,
            Rule::Enrolled => member,
            Rule::Token => entry.actor == Actor::Institution,
        }
    }

    /// Remembers what later entries are compared with.
    pub(super) fn note(&mut self, index: LeafIndex, entry: &LogEntry) {
        self.causes.note(index, entry);
        if matches!(entry.facts, Facts::ProcessStarted { .. } | Facts::ProcessRecovered { .. }) {
            self.origin = Some(entry.stamp.origin.clone());
        }
        if matches!(entry.facts, Facts::ProcessStopped {}) {
            self.origin = None;
        }
    }

    pub(super) fn process_started(&mut self, start: Start) {
        self.unclean = true;
        self.starts = [self.starts[1], Some(start)];
    }

    /// I11: what is called the old one is that of the start before, and the new one that of the last.
    pub(super) fn is_change(&self, old: Sha256, new: Sha256, of: fn(&Start) -> Sha256) -> bool {
        let [before, now] = self.starts;
        old != new && before.as_ref().map(of) == Some(old) && now.as_ref().map(of) == Some(new)
    }

    /// A witness is said to be missing: one that was not already.
    pub(super) fn witness_missing(&mut self, entry: &LogEntry, witness: Sha256, size: u64, out: &mut Report) {
        let changes = self.missing.insert(witness);
        out.require(changes && self.is_witness_of(entry, witness) && size <= entry.stamp.seq, Clause::Witness);
    }

    /// A witness is back: one that was missing.
    pub(super) fn witness_returned(&mut self, entry: &LogEntry, witness: Sha256, size: u64, out: &mut Report) {
        let changes = self.missing.remove(&witness);
        out.require(changes && self.is_witness_of(entry, witness) && size <= entry.stamp.seq, Clause::Witness);
    }

    /// Whether the witness is that of the institution that the entry names, if it names one.
    fn is_witness_of(&self, entry: &LogEntry, witness: Sha256) -> bool {
        entry.institution.is_none_or(|i| self.members.get(&i).is_some_and(|m| m.has_had(witness)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::ClockDirection;
    use crate::trust::TrustDocument;

    fn history() -> History {
        let trust = TrustDocument {
            v: 1,
            federation: "demo".into(),
            log_vkey: String::new(),
            root_ca: Sha256([1; 32]),
            administrators: vec![PublicKey([2; 32])],
            threshold: 1,
            server: PublicKey([3; 32]),
            previous: None,
        };
        History::new(trust)
    }

    /// The rules that an entry by a process that began at this time breaks.
    fn broken(history: &mut History, boot_ms: u64, facts: Facts) -> Vec<Clause> {
        let (n, draft) = (history.size(), Draft::server(facts));
        let origin = Origin { name: "server".into(), version: String::new(), build: String::new(), boot_ms };
        let stamp = history.stamp(&draft, format!("id-{n}"), format!("2026-01-02T03:04:{n:02}.000000Z"), origin);
        let bytes = LogEntry::new(stamp, &draft).to_bytes();
        history.apply(&bytes).into_iter().map(|v| v.clause).collect()
    }

    #[test]
    fn a_process_writes_from_its_start_to_its_end_and_nobody_after_that() {
        let mut history = history();
        let started = || Facts::ProcessStarted { build: Sha256([4; 32]), clean: true, config: Sha256([5; 32]) };
        let tells = || Facts::ProcessClockSkew { direction: ClockDirection::Back, ms: 6_000 };
        let told = [
            (1, Facts::FederationCreated { trust: Sha256([6; 32]) }, None),
            (2, started(), None),
            (2, tells(), None),
            (3, tells(), Some(Clause::Origin)),
            (2, Facts::ProcessStopped {}, None),
            (2, tells(), Some(Clause::Origin)),
            (4, tells(), Some(Clause::Origin)),
            (4, started(), None),
            (4, tells(), None),
            // Without an end the next one has begun after a crash.
            (5, started(), None),
            (5, tells(), None),
        ];
        for (boot_ms, facts, expected) in told {
            let what = format!("entry {}, {facts:?}", history.size());
            assert_eq!(broken(&mut history, boot_ms, facts), Vec::from_iter(expected), "{what}");
        }
    }
}
