//! Statement and witness keys that members replace by their own word (audit.md A12, A17, A19). What the log accepts is the history's to say; here
//! is what it is asked, and that a round waits for it. TLS keys are `renew`'s.

use super::{Driver, now};
use audit::key::{KeyType, VerifierKey};
use protocol::entry::Facts;
use protocol::history::Clause;
use protocol::ids::ClientId;
use protocol::membership::KeyPurpose;
use protocol::reject::Rejection;
use protocol::rotation::{StatementKeyRotation, WitnessKeyRotation, keyid, witness_id};
use protocol::statement::{Payload as _, Statement};
use protocol::time::Time;

/// How long no round begins after a member was told to ask again when its round is over. It asks every few seconds; one that went away holds
/// nobody up for longer.
const HELD_MS: u64 = 30_000;

/// What the entry of a member's rotation says; nothing where a proof or a key does not hold.
pub(super) fn rotated(statement: &Statement) -> Option<Facts> {
    if statement.kind == StatementKeyRotation::KIND {
        let change = statement.verify::<StatementKeyRotation>().ok()?.change().ok()?;
        let (old, new) = (keyid(&change.old), keyid(&change.new));
        return Some(Facts::KeyRotated { purpose: KeyPurpose::Statement, old, new });
    }
    let said = statement.verify::<WitnessKeyRotation>().ok()?;
    // In any policy that is made from here on it must be a witness that can be read.
    let cosigns = said.new.parse::<VerifierKey>().is_ok_and(|key| key.kind() == KeyType::Cosignature);
    cosigns.then(|| Facts::KeyRotated { purpose: KeyPurpose::Witness, old: said.old, new: witness_id(&said.new) })
}

impl Driver {
    /// Whether somebody who was ever admitted has the key of this witness already, under whatever name: no policy may name it twice.
    pub(super) fn is_taken_witness(&self, vkey: &str) -> bool {
        let public = |vkey: &str| vkey.parse::<VerifierKey>().ok().map(|key| key.public());
        let new = public(vkey);
        new.is_some() && self.log.history().members().values().any(|m| public(&m.witness_vkey) == new)
    }

    /// The answer to a declaration that breaks a rule of the log. Whoever only has to wait for the end of a round is told so, and the next round
    /// waits for it.
    pub(super) fn against(&mut self, who: ClientId, clause: Clause) -> Rejection {
        tracing::warn!(client = %who.short(), clause = clause.text(), "a declaration is refused");
        if clause != Clause::KeyInRound {
            return Rejection::Policy;
        }
        self.held.insert(who, now().plus_ms(HELD_MS));
        Rejection::InRound
    }

    /// Whether no round may begin now, because a member waits to change its statement key.
    pub(super) fn is_held(&self, now: Time) -> bool {
        self.held.values().any(|until| now < *until)
    }

    /// This member's statement key was replaced: no round waits for it any more. Others may wait still.
    pub(super) fn waits_no_more(&mut self, who: ClientId) {
        self.held.remove(&who);
    }
}
