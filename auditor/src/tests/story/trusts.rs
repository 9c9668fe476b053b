//! Another trust document between the rounds: who puts it in force, and who goes on to speak.

use super::super::fixture::Signers;
use super::super::twist::Twist;
use super::{Scribe, admin, key, public, second_admin, server};
use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, Draft, Facts};
use protocol::ids::Sha256;
use protocol::membership::{Change, StandingReason};
use protocol::statement::Statement;
use protocol::trust::{TrustChange, TrustDocument};

/// Whoever administers after a change.
fn successor() -> SigningKey {
    key(5)
}

/// The server's key after a change.
fn next_server() -> SigningKey {
    key(6)
}

impl Scribe {
    pub(super) fn trust_changes(&mut self) {
        use Twist as T;
        self.log_key_changes();
        let twist = self.twist;
        let by_the_first = [
            T::TrustChanged,
            T::TrustChangedTwice,
            T::TrustChangedByOneOfTwo,
            T::TrustChangedFromAnother,
            T::TrustChangedWithAnotherLogKey,
            T::TrustChangedOtherwiseStated,
            T::TrustChangedAndTheOldSpeak,
            T::RealModelUnderAnotherTrust,
        ];
        let signers = if by_the_first.contains(&twist) {
            vec![admin()]
        } else if [T::TrustChangedByBoth, T::TrustChangedUnderAWaitingWord].contains(&twist) {
            vec![admin(), second_admin()]
        } else if twist == T::TrustChangedByTheNewOnly {
            vec![successor()]
        } else {
            return;
        };
        if twist == T::TrustChangedUnderAWaitingWord {
            // One of two has said it under the old document when the new one comes.
            self.suspends(&admin(), Change::Suspend);
        }
        let next = self.successors_document();
        self.changes_trust(&next, &signers);
        if twist == T::TrustChangedTwice {
            // Back to the first administrator: another document than the first one.
            let (administrators, previous) = (vec![public(&admin())], Some(self.history.trust_hash()));
            let back = TrustDocument { administrators, previous, ..self.history.trust().clone() };
            self.changes_trust(&back, &[successor()]);
            self.suspended_and_resumed(&admin());
        }
        // Where one word was not enough, the server goes on as if it had been.
        if [T::TrustChanged, T::TrustChangedByBoth, T::TrustChangedByOneOfTwo].contains(&twist) {
            self.suspended_and_resumed(&successor());
        }
        if twist == T::TrustChangedAndTheOldSpeak {
            self.suspends(&admin(), Change::Suspend);
        }
        if twist == T::TrustChangedUnderAWaitingWord {
            // The second of the two is an administrator still, and the first one's word is void.
            self.suspends(&second_admin(), Change::Suspend);
        }
    }

    /// The log gets another key, and perhaps the old one back.
    fn log_key_changes(&mut self) {
        let signers = Signers::new();
        let all = [&signers.next, &signers.log];
        let keys = usize::from(self.twist == Twist::LogKeyChanged) + 2 * usize::from(self.twist == Twist::LogKeyGivenBack);
        for key in all.into_iter().take(keys) {
            let (log_vkey, previous) = (key.verifier().to_string(), Some(self.history.trust_hash()));
            let document = TrustDocument { log_vkey, previous, ..self.history.trust().clone() };
            self.changes_trust(&document, &[admin()]);
        }
    }

    /// While the round goes on, the server gets another key, and uses it or does not.
    pub(super) fn server_key_changes(&mut self) {
        if [Twist::ServerKeyChanged, Twist::ServerKeyChangedAndTheOldUsed].contains(&self.twist) {
            let previous = Some(self.history.trust_hash());
            let document = TrustDocument { server: public(&next_server()), previous, ..self.history.trust().clone() };
            self.changes_trust(&document, &[admin()]);
        }
    }

    /// What the server signs with.
    pub(super) fn server_key(&self) -> SigningKey {
        let changed = self.history.trust().server == public(&next_server());
        if changed && self.twist != Twist::ServerKeyChangedAndTheOldUsed { next_server() } else { server() }
    }

    /// Whoever administers, where one alone does.
    pub(super) fn administrator(&self) -> SigningKey {
        let changed = self.history.trust().administrators == [public(&successor())];
        if changed && self.twist == Twist::RealModelUnderAnotherTrust { successor() } else { admin() }
    }

    fn successors_document(&self) -> TrustDocument {
        let old = self.history.trust();
        // Where a word waits, the second of the old ones stays.
        let stays = self.twist == Twist::TrustChangedUnderAWaitingWord;
        let administrators = if stays { vec![public(&second_admin()), public(&successor())] } else { vec![public(&successor())] };
        let threshold = if stays { 2 } else { 1 };
        let previous = if self.twist == Twist::TrustChangedFromAnother { Sha256([9; 32]) } else { self.history.trust_hash() };
        let other_key = self.twist == Twist::TrustChangedWithAnotherLogKey;
        let log_vkey = if other_key { "demo/log+00000000+AA==".to_owned() } else { old.log_vkey.clone() };
        TrustDocument { administrators, threshold, log_vkey, previous: Some(previous), ..old.clone() }
    }

    fn changes_trust(&mut self, document: &TrustDocument, signers: &[SigningKey]) {
        let said = TrustChange { document: document.to_bytes() };
        let (old, new) = (document.previous.unwrap(), said.hash());
        let new = if self.twist == Twist::TrustChangedOtherwiseStated { Sha256([8; 32]) } else { new };
        for key in signers {
            self.push(Draft::said(Actor::Administrator, None, Statement::sign(&said, key), Facts::TrustChanged { old, new }));
        }
    }

    fn suspends(&mut self, signer: &SigningKey, change: Change) {
        let reason = if change == Change::Resume { StandingReason::Resolved } else { StandingReason::Incident };
        let said = self.change(3, change, reason);
        let draft = Draft::said(Actor::Administrator, Some(said.institution), Statement::sign(&said, signer), said.facts());
        let at = self.push(draft);
        if self.twist != Twist::TrustChangedUnderAWaitingWord {
            self.since[3] = at;
        }
    }

    fn suspended_and_resumed(&mut self, signer: &SigningKey) {
        self.suspends(signer, Change::Suspend);
        self.suspends(signer, Change::Resume);
    }
}
