//! Institutions that go on with another statement key or another witness key, and what becomes of the old ones.

use super::super::fixture::Signers;
use super::super::twist::Twist;
use super::{Scribe, admin, key, public};
use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, Draft, Facts};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::membership::{KeyPurpose, KeyRevocation, StandingReason};
use protocol::release::SiteAnchor;
use protocol::rotation::{StatementKeyChange, StatementKeyRotation, WitnessKeyRotation, keyid, witness_id};
use protocol::statement::Statement;
use protocol::trust::PolicyApproval;

/// Who cosigns under the second policy of a story.
pub(super) fn signers(twist: Twist) -> fn() -> Signers {
    if twist == Twist::OldWitnessNamed { Signers::new } else { Signers::after_a_rotation }
}

impl Scribe {
    /// `clinic-1` takes another statement key between the rounds, and does with it what it does in the second.
    pub(super) fn new_statement_key(&mut self) {
        if self.twist.tells(&[Twist::StatementKeyRotated]) {
            let (old, new) = (self.people[1].clone(), key(81));
            self.rotates_statement_key(&old, &new, &old, &new);
            self.people[1] = new;
        }
    }

    /// Changes of a statement key that are none, and a word of a key that was one.
    pub(super) fn false_statement_key(&mut self) {
        let (old, new, stranger) = (self.people[1].clone(), key(81), key(82));
        if self.twist.tells(&[Twist::StatementKeyByAnother]) {
            self.rotates_statement_key(&old, &new, &stranger, &new);
        }
        if self.twist.tells(&[Twist::StatementKeyUnproved]) {
            self.rotates_statement_key(&old, &new, &old, &stranger);
        }
        if self.twist.tells(&[Twist::OldStatementKey]) {
            self.rotates_statement_key(&old, &new, &old, &new);
            let anchor = SiteAnchor { size: 3, root: Sha256([72; 32]) };
            self.says(1, &anchor, Facts::SiteAnchored { size: anchor.size, root: anchor.root });
        }
    }

    /// A change from `old` to `new`, said by `signer` with the proof of `prover`.
    fn rotates_statement_key(&mut self, old: &SigningKey, new: &SigningKey, signer: &SigningKey, prover: &SigningKey) {
        let institution = self.ids()[1];
        let change = StatementKeyChange { federation: "demo".into(), institution, old: public(old), new: public(new) };
        let facts = Facts::KeyRotated { purpose: KeyPurpose::Statement, old: keyid(&change.old), new: keyid(&change.new) };
        let statement = Statement::sign(&StatementKeyRotation::new(&change, prover), signer);
        self.push(Draft::said(Actor::Institution, Some(institution), statement, facts));
    }

    /// The witness key of `clinic-0` is revoked, or it takes another one; the policy that follows names it or, in the one story, the old one.
    pub(super) fn new_witness(&mut self) {
        if self.twist == Twist::WitnessRevoked {
            let (purpose, reason) = (KeyPurpose::Witness, StandingReason::KeyCompromise);
            let key = witness_id(&Signers::new().witnesses[0].verifier().to_string());
            let said = KeyRevocation { institution: self.ids()[0], purpose, key, reason };
            self.push(Draft::said(Actor::Administrator, Some(said.institution), Statement::sign(&said, &admin()), said.facts()));
        }
        if !self.twist.tells(&[Twist::WitnessRotated, Twist::OldWitnessNamed]) {
            return;
        }
        let vkey = |signers: Signers| signers.witnesses[0].verifier().to_string();
        let (old, new) = (witness_id(&vkey(Signers::new())), vkey(Signers::after_a_rotation()));
        let said = WitnessKeyRotation { federation: "demo".into(), institution: self.ids()[0], old, new: new.clone() };
        self.says(0, &said, Facts::KeyRotated { purpose: KeyPurpose::Witness, old, new: witness_id(&new) });
        let policy = Sha256(sha256(&[signers(self.twist)().policy().text().as_bytes()]));
        let replaces = self.history.policy_in_force();
        let facts = Facts::PolicyActivated { old: replaces.map(|r| r.policy), policy };
        self.next_activation = Some(self.admin_says(&PolicyApproval { policy, replaces }, facts, None));
    }
}
