//! Keys of institutions: whose word a signature is at this place of the log, and how another key takes the place of one, by the institution's own
//! word or after administrators revoked it (audit.md A17, A19, I9).

use super::History;
use super::approvals::Effect;
use super::members::Member;
use super::rules::{Clause, Report};
use crate::entry::{Facts, LogEntry};
use crate::ids::{ClientId, LeafIndex, PublicKey, Sha256};
use crate::membership::{KeyPurpose, KeyRevocation};
use crate::renewal::Rotation;
use crate::rotation::{StatementKeyRotation, WitnessKeyRotation, keyid, witness_id};
use crate::statement::Checked;

/// Most keys of one purpose that one institution may have had: a new one every week for nineteen years.
const MAX_RETIRED: usize = 1000;

impl Member {
    /// Whether this TLS key shows that it is there.
    pub fn shows(&self, key: Sha256) -> bool {
        self.tls_key == key && !self.retired.contains(&key)
    }

    /// SHA-256 of its witness: what entries name that by.
    pub fn witness(&self) -> Sha256 {
        witness_id(&self.witness_vkey)
    }

    /// Whether the next policy may name this witness for it: the one that it has, and not revoked.
    pub fn cosigns(&self, witness: Sha256) -> bool {
        self.witness() == witness && !self.retired_witnesses.contains(&witness)
    }

    /// Whether it has, or had, this witness. A policy that was activated before a rotation goes on naming the one before it.
    pub fn has_had(&self, witness: Sha256) -> bool {
        self.witness() == witness || self.retired_witnesses.contains(&witness)
    }
}

impl History {
    /// The institution that has, or had, the statement key of this hash.
    pub fn holder(&self, keyid: Sha256) -> Option<ClientId> {
        self.holders.get(&keyid).copied()
    }

    /// The institution that speaks with this key now: none for a key that was replaced, or that no institution has.
    pub fn speaker(&self, key: &PublicKey) -> Option<ClientId> {
        let who = self.holder(keyid(key))?;
        self.members.get(&who).filter(|m| m.key == *key).map(|_| who)
    }

    /// Whether an institution had this witness and no policy may name it any more: it was replaced, or revoked (A12).
    pub fn is_old_witness(&self, witness: Sha256) -> bool {
        let members = || self.members.values();
        members().any(|m| m.retired_witnesses.contains(&witness)) && !members().any(|m| m.cosigns(witness))
    }

    /// The institution whose witness this was until administrators revoked it. A policy of before goes on naming it until the next one.
    pub fn revoked_witness_of(&self, witness: Sha256) -> Option<&Member> {
        self.members.values().find(|m| m.revoked_witnesses.contains(&witness))
    }

    /// Whether nobody is to be waited for at this witness any more: it was revoked, or its institution is gone for good.
    pub fn has_gone(&self, witness: Sha256) -> bool {
        let has = |m: &&Member| m.has_had(witness) && !m.revoked_witnesses.contains(&witness);
        let known = self.members.values().any(|m| m.has_had(witness));
        known && self.members.values().filter(has).all(|m| m.standing.is_final())
    }

    /// Whether an institution had the statement key of this hash and has another one now.
    pub(super) fn is_retired(&self, id: Sha256) -> bool {
        let now = self.holder(id).and_then(|who| self.members.get(&who));
        now.is_some_and(|m| keyid(&m.key) != id)
    }

    /// An institution goes on with another key, by its own word.
    pub(super) fn key_rotated(&mut self, purpose: KeyPurpose, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        match purpose {
            KeyPurpose::Tls => self.tls_key_rotated(entry, statement, out),
            KeyPurpose::Statement => self.statement_key_rotated(entry, statement, out),
            KeyPurpose::Witness => self.witness_key_rotated(entry, statement, out),
        }
    }

    /// A TLS key that it had once never comes back: old words do nothing.
    fn tls_key_rotated(&mut self, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<Rotation>(entry, statement, out) else { return };
        let (purpose, old, new) = (KeyPurpose::Tls, said.old, said.new);
        out.require(entry.facts == Facts::KeyRotated { purpose, old, new }, Clause::FieldsDiffer);
        let taken = self.members.values().any(|m| m.tls_key == new || m.retired.contains(&new));
        let Some(member) = self.members.get_mut(&who).filter(|m| m.tls_key == old && !taken && m.retired.len() < MAX_RETIRED) else {
            return out.add(Clause::KeyRotation);
        };
        member.retired.insert(old);
        member.tls_key = new;
        // What waited for more administrators is about a key that shows nobody.
        self.approvals.forget(KeyRevocation::all(who, purpose, old));
    }

    /// From here on the institution's statements are verified by the new key, which has signed that it is the institution's. Its id stays, and
    /// what it said before stays verified by the key of that time. Not within a round: what decryptors and clients show each other there is judged
    /// by one key for each.
    fn statement_key_rotated(&mut self, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<StatementKeyRotation>(entry, statement, out) else { return };
        let Ok(change) = said.change() else { return out.add(Clause::Possession) };
        let (purpose, old, new) = (KeyPurpose::Statement, keyid(&change.old), keyid(&change.new));
        let here = change.federation == self.trust.federation && change.institution == who;
        if !here || entry.facts != (Facts::KeyRotated { purpose, old, new }) {
            return out.add(Clause::FieldsDiffer);
        }
        // Nobody else's, and none that asks to join: a key speaks for one, for ever.
        let taken = self.keys.contains_key(&new) || self.requests.values().any(|r| r.institution_key == change.new);
        let had = self.holders.values().filter(|holder| **holder == who).count();
        if taken || change.old != statement.key || had > MAX_RETIRED {
            return out.add(Clause::KeyRotation);
        }
        if self.tasks.values().any(|t| t.is_in_round(who)) {
            return out.add(Clause::KeyInRound);
        }
        self.keys.insert(new, change.new);
        self.holders.insert(new, who);
        if let Some(member) = self.members.get_mut(&who) {
            member.key = change.new;
        }
    }

    /// Policies that are activated from here on name the new witness; the one in force goes on naming the old one until then (A12).
    fn witness_key_rotated(&mut self, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<WitnessKeyRotation>(entry, statement, out) else { return };
        let (purpose, old, new) = (KeyPurpose::Witness, said.old, witness_id(&said.new));
        let here = said.federation == self.trust.federation && said.institution == who;
        if !here || entry.facts != (Facts::KeyRotated { purpose, old, new }) {
            return out.add(Clause::FieldsDiffer);
        }
        let taken = !said.is_sound() || self.members.values().any(|m| m.has_had(new));
        let room = |m: &Member| m.witness() == old && said.keeps_name(&m.witness_vkey) && m.retired_witnesses.len() < MAX_RETIRED;
        let Some(member) = self.members.get_mut(&who).filter(|m| !taken && room(m)) else { return out.add(Clause::KeyRotation) };
        member.retired_witnesses.insert(old);
        member.witness_vkey = said.new;
        self.approvals.forget(KeyRevocation::all(who, purpose, old));
    }

    /// As many administrators as must revoke the TLS or witness key that an institution has. Its statement key they cannot: without it nobody could
    /// name another one.
    pub(super) fn key_revoked(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<KeyRevocation>(statement, out) else { return };
        out.require(said.facts() == entry.facts && entry.institution == Some(said.institution), Clause::FieldsDiffer);
        let in_use = |m: &Member| match said.purpose {
            KeyPurpose::Tls => m.shows(said.key),
            KeyPurpose::Witness => m.cosigns(said.key),
            KeyPurpose::Statement => false,
        };
        if !self.members.get(&said.institution).is_some_and(|m| in_use(m) && !m.standing.is_final()) {
            return out.add(Clause::KeyRevocation);
        }
        if self.effect(statement, index) != Effect::Now {
            return;
        }
        self.approvals.forget(said.alternatives());
        if let Some(member) = self.members.get_mut(&said.institution) {
            match said.purpose {
                KeyPurpose::Witness => {
                    member.retired_witnesses.insert(said.key);
                    member.revoked_witnesses.insert(said.key);
                }
                KeyPurpose::Tls | KeyPurpose::Statement => {
                    member.retired.insert(said.key);
                }
            }
        }
    }
}
