//! How one trust document takes the place of another: by as many of the old one's administrators as it asks for (audit.md A14). Knows no log.

use super::TrustDocument;
use crate::hash::sha256;
use crate::ids::Sha256;
use crate::statement::{Payload, Statement, StatementKind};
use ed25519_dalek::VerifyingKey;
use minicbor::{CborLen, Decode, Encode};
use std::collections::BTreeSet;

/// Administrators put another trust document in force: its exact bytes, so that nobody needs anything but the log to go on with it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct TrustChange {
    /// The whole document, in its one spelling. It names the one that it takes the place of.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub document: Vec<u8>,
}

impl Payload for TrustChange {
    const KIND: StatementKind = StatementKind::TrustChange;
}

/// Why a trust document cannot take the place of the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSuccessor {
    /// Not a document, or too long for an entry.
    #[error("not a trust document of this version in its one spelling, of at most {} bytes", TrustChange::MAX_DOCUMENT)]
    Document,
    /// Made over another document.
    #[error("the new trust document names another one than that in force as the one that it takes the place of")]
    Previous,
    /// Another federation.
    #[error("the new trust document is of another federation, or names another root certificate: neither ever changes")]
    Federation,
    /// A log key that cannot take over.
    #[error("the new trust document names a log key that is no key of this federation's log, or one that has signed it before")]
    LogKey,
    /// A key that nobody can sign with.
    #[error("a key of the new trust document is no Ed25519 key")]
    Key,
    /// The same again.
    #[error("the new trust document changes nothing")]
    Nothing,
}

impl TrustChange {
    /// Longest document that fits into a statement of an entry.
    pub const MAX_DOCUMENT: usize = 32 * 1024;

    /// Documents that one administrator may have signed while the one in force stands: whoever folds a log keeps them until the next change.
    pub const MAX_WAITING: usize = 32;

    /// The document, if it can take the place of `old`, whose hash is `hash`.
    ///
    /// # Errors
    /// [`BadSuccessor`], the first rule broken.
    pub fn next(&self, old: &TrustDocument, hash: Sha256) -> Result<TrustDocument, BadSuccessor> {
        if self.document.len() > Self::MAX_DOCUMENT {
            return Err(BadSuccessor::Document);
        }
        let new = TrustDocument::parse(&self.document).map_err(|_| BadSuccessor::Document)?;
        if new.previous != Some(hash) {
            return Err(BadSuccessor::Previous);
        }
        if (&new.federation, new.root_ca) != (&old.federation, old.root_ca) {
            return Err(BadSuccessor::Federation);
        }
        if new.log_vkey != old.log_vkey && !is_log_vkey(&new.log_vkey, &new.federation) {
            return Err(BadSuccessor::LogKey);
        }
        let known = new.administrators.iter().chain([&new.server]).all(|k| VerifyingKey::from_bytes(&k.0).is_ok());
        if !known {
            return Err(BadSuccessor::Key);
        }
        let keys = |d: &TrustDocument| (d.administrators.clone(), d.threshold, d.server, d.log_vkey.clone());
        if keys(&new) == keys(old) { Err(BadSuccessor::Nothing) } else { Ok(new) }
    }

    /// SHA-256 of the document.
    pub fn hash(&self) -> Sha256 {
        TrustDocument::hash(&self.document)
    }
}

impl TrustDocument {
    /// Whether it names a log key that a document before `old` named, and `old` does not: a key of the log signs once, until it hands over, so that
    /// it is plain which trees are its own (audit.md A14).
    pub fn takes_back_log_key<'a>(&self, old: &Self, earlier: impl IntoIterator<Item = &'a Self>) -> bool {
        self.log_vkey != old.log_vkey && earlier.into_iter().any(|document| document.log_vkey == self.log_vkey)
    }
}

/// Whether this is a verifier key of a federation's log in its one spelling: `name+id+base64(type‖key)`, an Ed25519 key for notes (audit.md A8).
fn is_log_vkey(vkey: &str, federation: &str) -> bool {
    use base64::Engine as _;
    let name = format!("{federation}/log");
    let rest = vkey.strip_prefix(&name).and_then(|rest| rest.strip_prefix('+'));
    let Some((id, material)) = rest.and_then(|rest| rest.split_once('+')) else { return false };
    let Ok(material) = base64::engine::general_purpose::STANDARD.decode(material) else { return false };
    let hash = sha256(&[name.as_bytes(), b"\n", &material]);
    let Some((0x01, key)) = material.split_first().map(|(kind, key)| (*kind, key)) else { return false };
    let strong = |key: &[u8; 32]| VerifyingKey::from_bytes(key).is_ok_and(|k| !k.is_weak());
    id == hex::encode(&hash[..4]) && <&[u8; 32]>::try_from(key).is_ok_and(strong)
}

/// Why what was signed leads from no trust document to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadChain {
    /// Somebody else's word, or a signature that does not hold.
    #[error("a word for another trust document is not signed by an administrator of the one before it")]
    Word,
    /// Not enough of them.
    #[error("fewer administrators signed another trust document than the one before it asks for")]
    TooFew,
    /// A document that may not follow.
    #[error("a trust document does not follow from the one before it")]
    Successor(#[from] BadSuccessor),
}

/// Trust documents of a federation from its first one on, each put in force by the administrators of the one before it. Each also names the one
/// before it: whoever knows the hash of any of them from elsewhere knows all before it by their hashes, and all after it by signatures.
#[derive(Clone, Debug)]
pub struct TrustChain {
    /// Before the last one.
    before: Vec<(Sha256, TrustDocument)>,
    last: (Sha256, TrustDocument),
}

impl TrustChain {
    /// A federation's first trust document.
    pub fn new(first: TrustDocument) -> Self {
        Self { before: Vec::new(), last: (TrustDocument::hash(&first.to_bytes()), first) }
    }

    /// Goes on with what administrators signed: for each document as many words as the one before it asks for, in order.
    ///
    /// # Errors
    /// [`BadChain`] at the first word that leads nowhere; what came before it counts.
    pub fn follow(&mut self, words: &[Statement]) -> Result<(), BadChain> {
        let (mut said, mut signers) = (None, BTreeSet::new());
        for word in words {
            let (hash, document) = &self.last;
            if !document.administrators.contains(&word.key) {
                return Err(BadChain::Word);
            }
            let change: TrustChange = word.verify().map_err(|_| BadChain::Word)?;
            let next = change.next(document, *hash)?;
            if next.takes_back_log_key(document, self.before.iter().map(|(_, d)| d)) {
                return Err(BadSuccessor::LogKey.into());
            }
            if *said.get_or_insert_with(|| change.hash()) != change.hash() {
                return Err(BadChain::TooFew);
            }
            signers.insert(word.key);
            if signers.len() >= usize::from(document.threshold) {
                (said, signers) = (None, BTreeSet::new());
                self.before.push(std::mem::replace(&mut self.last, (change.hash(), next)));
            }
        }
        if said.is_none() { Ok(()) } else { Err(BadChain::TooFew) }
    }

    /// The first one: what a copy of the log begins with.
    pub fn first(&self) -> &TrustDocument {
        self.before.first().map_or(&self.last.1, |(_, document)| document)
    }

    /// The newest one.
    pub fn last(&self) -> &TrustDocument {
        &self.last.1
    }

    /// The documents from the one of this hash on, oldest first; none where the hash is of no document of the chain.
    pub fn since(&self, hash: Sha256) -> impl Iterator<Item = &TrustDocument> {
        self.before.iter().chain([&self.last]).skip_while(move |(h, _)| *h != hash).map(|(_, document)| document)
    }

    /// Whether the hash is that of one of its documents.
    pub fn reaches(&self, hash: Sha256) -> bool {
        self.since(hash).next().is_some()
    }
}
