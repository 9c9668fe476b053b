//! Whose words count where: the trust document that the log begins with, and those that proved entries put in force (audit.md A14). Believes an
//! entry that is proved, and of it what its signers may say. Knows no file.

use super::judge::Proved;
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::key::VerifierKey;
use audit::policy::Policy;
use protocol::entry::{Facts, LogEntry};
use protocol::ids::Sha256;
use protocol::rotation::keyid;
use protocol::statement::Payload;
use protocol::trust::{JoinRequest, Membership, TrustChange, TrustDocument};
use std::collections::{BTreeMap, BTreeSet};

const SHOWN: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "A14: an institution joins under a trust document of this log, as its own request says",
);

/// Trust documents in order, with their hashes and the entry behind which each is in force.
pub(super) struct Trusts(Vec<(u64, Sha256, TrustDocument)>);

impl Trusts {
    /// The documents that proved entries lead to.
    pub(super) fn of(first: &TrustDocument, hash: Sha256, proved: &Proved) -> Self {
        let mut this = Self(vec![(0, hash, first.clone())]);
        let mut signers: BTreeMap<&str, BTreeSet<Sha256>> = BTreeMap::new();
        for (index, entry) in proved.iter().filter(|(_, e)| matches!(e.facts, Facts::TrustChanged { .. })) {
            let (Some(said), Some(stmt)) = (this.administrator::<TrustChange>(entry), &entry.stmt) else { continue };
            let Some((hash, now)) = this.before(*index) else { continue };
            let (Ok(next), need) = (said.next(now, hash), usize::from(now.threshold)) else { continue };
            // As the fold of the whole log judges it.
            if next.takes_back_log_key(now, this.0.iter().map(|(_, _, document)| document)) {
                continue;
            }
            let others = signers.iter().filter(|(payload, by)| **payload != stmt.payload && by.contains(&stmt.keyid)).count();
            if others >= TrustChange::MAX_WAITING && !signers.get(stmt.payload.as_str()).is_some_and(|by| by.contains(&stmt.keyid)) {
                continue;
            }
            let have = signers.entry(&stmt.payload).or_default();
            have.insert(stmt.keyid);
            if have.len() >= need {
                signers.clear();
                this.0.push((*index, said.hash(), next));
            }
        }
        this
    }

    /// The document that judges the entry at `index`: an entry that puts another one in force is itself judged by the one before.
    fn before(&self, index: u64) -> Option<(Sha256, &TrustDocument)> {
        let later = self.0.iter().rev().find(|(since, ..)| *since < index);
        later.or(self.0.first()).map(|(_, hash, document)| (*hash, document))
    }

    /// The key of the log that signs a tree of this size: that of the document in force behind its last entry.
    pub(super) fn log_vkey_at(&self, size: u64) -> &str {
        self.before(size).map_or("", |(_, document)| document.log_vkey.as_str())
    }

    /// A policy as it is, and as it was for every key that the log has had.
    pub(super) fn policies(&self, policy: &Policy) -> impl Iterator<Item = Policy> {
        let keys = self.0.iter().filter_map(|(_, _, document)| document.log_vkey.parse::<VerifierKey>().ok());
        keys.filter_map(move |key| policy.with_log(&key).ok())
    }

    /// Whether this is the hash of one of them.
    pub(super) fn knows(&self, hash: Sha256) -> bool {
        self.0.iter().any(|(_, known, _)| *known == hash)
    }

    /// Whether this is the hash of one that is or was in force where an entry stands.
    fn knew(&self, hash: Sha256, index: u64) -> bool {
        self.0.iter().enumerate().any(|(n, (since, known, _))| *known == hash && (n == 0 || *since < index))
    }

    /// What an institution pinned when it asked to join stands under its own signature: a document of this log, as the fold of the whole log asks.
    pub(super) fn check_shown(&self, member: &Membership, proved: &Proved, findings: &mut Findings) {
        let asks = |e: &LogEntry| matches!(e.facts, Facts::MemberJoinRequested { .. }) && e.institution == Some(member.institution);
        for (index, entry) in proved.iter().filter(|(_, e)| asks(e)) {
            let said =
                entry.stmt.as_ref().and_then(|s| s.with_key(member.institution_key).ok()?.checked().ok()?.read::<JoinRequest>().ok());
            if let Some(said) = said.filter(|said| !self.knew(said.trust, *index)) {
                let known: Vec<String> = self.0.iter().map(|(_, hash, _)| hash.to_hex()).collect();
                findings.add(SHOWN, Place::Index(*index), known.join(", "), said.trust.to_hex());
            }
        }
    }

    /// What an administrator says in an entry.
    pub(super) fn administrator<P: Payload>(&self, entry: &LogEntry) -> Option<P> {
        let stmt = entry.stmt.as_ref()?;
        let (_, trust) = self.before(entry.stamp.seq)?;
        let key = trust.administrators.iter().find(|k| keyid(k) == stmt.keyid)?;
        stmt.with_key(*key).ok()?.checked().ok()?.read().ok()
    }

    /// What as many administrators say as their trust document asks for (A14): each by exactly the same bytes, which `read` reads. Words under two
    /// documents are not words for one thing.
    pub(super) fn by_enough<'a, P>(&self, entries: impl Iterator<Item = &'a LogEntry>, read: impl Fn(&LogEntry) -> Option<P>) -> Vec<P> {
        let mut said: BTreeMap<(Sha256, String), (u16, BTreeSet<Sha256>, P)> = BTreeMap::new();
        for entry in entries {
            let (Some(value), Some(stmt), Some((hash, trust))) = (read(entry), &entry.stmt, self.before(entry.stamp.seq)) else { continue };
            let act = (hash, stmt.payload.clone());
            said.entry(act).or_insert_with(|| (trust.threshold, BTreeSet::new(), value)).1.insert(stmt.keyid);
        }
        let enough = |(need, signers, _): &(u16, BTreeSet<Sha256>, P)| signers.len() >= usize::from(*need);
        said.into_values().filter(enough).map(|(_, _, value)| value).collect()
    }
}
