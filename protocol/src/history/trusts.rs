//! Which trust document is in force (audit.md A14, A19): the first one stands beside the log, each later one in the entries of the administrators
//! who put it in force. Knows no file.

use super::approvals::Effect;
use super::rules::{Clause, Report};
use super::{History, stamps};
use crate::ids::{LeafIndex, PublicKey, Sha256};
use crate::manifest::Manifest;
use crate::rotation::keyid;
use crate::statement::{Checked, Statement, StatementError};
use crate::trust::{BadSuccessor, TrustChange, TrustDocument};

/// A trust document where it was put in force.
#[derive(Clone, Debug)]
pub struct TrustInForce {
    /// SHA-256 of its bytes.
    pub hash: Sha256,
    /// The entry with the last word that it took; entry 0 for the first document. It judges what stands after that.
    pub since: LeafIndex,
    /// It.
    pub document: TrustDocument,
    /// What administrators of the document before it signed, as many as it took; nothing for the first.
    pub words: Vec<Statement>,
}

impl TrustInForce {
    /// A federation's first trust document.
    pub(super) fn first(document: TrustDocument) -> Self {
        Self { hash: TrustDocument::hash(&document.to_bytes()), since: LeafIndex(0), document, words: Vec::new() }
    }
}

/// Who may speak by a trust document alone: its administrators and its server, by the hashes that entries name their keys with.
pub(super) fn speakers(document: &TrustDocument) -> impl Iterator<Item = (Sha256, PublicKey)> {
    document.administrators.iter().chain([&document.server]).map(|key| (keyid(key), *key))
}

impl History {
    /// Trust documents that have been in force, oldest first; the last one is.
    pub fn trusts(&self) -> &[TrustInForce] {
        &self.trusts
    }

    /// SHA-256 of the trust document in force.
    pub fn trust_hash(&self) -> Sha256 {
        self.trusts.last().map_or_else(|| TrustDocument::hash(&self.trust.to_bytes()), |t| t.hash)
    }

    /// Whether this is the hash of a trust document that is or was in force.
    pub fn knows_trust(&self, hash: Sha256) -> bool {
        self.trusts.iter().any(|t| t.hash == hash)
    }

    /// The trust document that an entry is judged by: that in force before it. The last word that changes it is still one of the old document's
    /// administrators.
    pub fn trust_at(&self, index: LeafIndex) -> &TrustDocument {
        self.trusts.iter().rev().find(|t| t.since < index).or(self.trusts.first()).map_or(&self.trust, |t| &t.document)
    }

    /// The keys of the log in their text form, oldest first, each with the size of the smallest tree that it signs: that which ends with the entry
    /// that put the key in force, and which the key before it signs too (audit.md A14).
    pub fn log_vkeys(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut last: Option<&str> = None;
        self.trusts.iter().filter_map(move |t| {
            let (vkey, first) = (t.document.log_vkey.as_str(), last.is_none());
            let size = if first { 0 } else { t.since.0.saturating_add(1) };
            (last.replace(vkey) != Some(vkey)).then_some((size, vkey))
        })
    }

    /// What administrators signed to change the trust document, from the first one to that in force.
    pub fn trust_words(&self) -> Vec<Statement> {
        self.trusts.iter().flat_map(|t| t.words.iter().cloned()).collect()
    }

    /// A manifest of the server: signed with its key in force or, of a round that goes on while that key changes, with the one that was in force
    /// where the log took the manifest.
    ///
    /// # Errors
    /// [`StatementError`]; under an older key nothing counts that the log does not have.
    pub fn read_manifest(&self, statement: &Statement) -> Result<Manifest, StatementError> {
        let (got, expected) = (statement.key, self.trust.server);
        if got == expected || !self.trusts.iter().any(|t| t.document.server == got) {
            return statement.verify_by(&expected);
        }
        let manifest: Manifest = statement.verify()?;
        let round = self.task(manifest.task).and_then(|t| t.rounds().get(&manifest.round));
        let taken = round.and_then(|r| r.manifest.as_ref()).is_some_and(|(_, digest)| *digest == Manifest::digest(&statement.payload));
        if taken { Ok(manifest) } else { Err(StatementError::WrongKey { got, expected }) }
    }

    /// As many administrators as the document in force asks for put another one in its place. Each signs the whole of it, and it names the one
    /// that it takes the place of: what was signed over another one is void, whoever brings it again (I11).
    pub(super) fn trust_changed(&mut self, index: LeafIndex, fields: (Sha256, Sha256), statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<TrustChange>(statement, out) else { return };
        let in_force = self.trust_hash();
        out.require(fields.1 == said.hash(), Clause::FieldsDiffer);
        let next = match said.next(&self.trust, in_force) {
            Ok(next) => next,
            Err(BadSuccessor::Previous) => return out.add(Clause::Trust),
            Err(_) => return out.add(Clause::TrustDocument),
        };
        if next.takes_back_log_key(&self.trust, self.trusts.iter().map(|t| &t.document)) {
            return out.add(Clause::TrustDocument);
        }
        out.require(fields.0 == in_force, Clause::Trust);
        if !self.waits_for_trust(statement) {
            if self.has_said_too_much(statement) {
                return out.add(Clause::TrustWaiting);
            }
            self.pending_trust.push((**statement).clone());
        }
        if self.effect(statement, index) == Effect::Now {
            self.adopt(TrustInForce { hash: said.hash(), since: index, document: next, words: Vec::new() }, statement);
        }
    }

    /// Whether this word is among those that wait: one that is entered again is kept once.
    fn waits_for_trust(&self, said: &Statement) -> bool {
        self.pending_trust.iter().any(|word| word.key == said.key && word.payload == said.payload)
    }

    /// Whether its signer has proposed as many documents as one administrator may.
    fn has_said_too_much(&self, said: &Statement) -> bool {
        self.pending_trust.iter().filter(|word| word.key == said.key).count() >= TrustChange::MAX_WAITING
    }

    /// From here on others may speak. What waits for more words is void: whoever would complete it may be nobody's administrator any more.
    fn adopt(&mut self, mut next: TrustInForce, statement: &Statement) {
        self.keys.extend(speakers(&next.document));
        self.server = stamps::server(&next.document.federation, &next.document.server);
        self.approvals.forget_waiting();
        for word in std::mem::take(&mut self.pending_trust) {
            let new = next.words.iter().all(|w: &Statement| w.key != word.key);
            if new && word.payload == statement.payload {
                next.words.push(word);
            }
        }
        self.trust = next.document.clone();
        self.trusts.push(next);
    }
}
