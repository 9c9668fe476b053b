//! Who may speak: requests to join, admissions, and what becomes of a membership after that (audit.md A19, I9).

use super::approvals::Effect;
use super::rules::{Clause, Report};
use super::{DatasetHistory, History};
use crate::entry::{Facts, LogEntry};
use crate::hash::sha256;
use crate::ids::{ClientId, LeafIndex, PublicKey, Sha256};
use crate::membership::{Barred, DatasetReason, DatasetWithdrawal, Departure, Standing, StandingChange};
use crate::statement::Checked;
use crate::trust::{JoinRequest, Membership};
use std::collections::{BTreeMap, BTreeSet};

/// An institution that was admitted.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its statement key: the one that it speaks with now. Its id is that of the first one.
    pub key: PublicKey,
    /// Its witness, as tlog-policy writes it: the one that the next policy names.
    pub witness_vkey: String,
    /// SHA-256 of its TLS key's subject public key info.
    pub tls_key: Sha256,
    /// Where it was admitted.
    pub joined: LeafIndex,
    /// TLS keys that show it no more: those before this one, and whatever was revoked.
    pub retired: BTreeSet<Sha256>,
    /// Witnesses that no later policy may name for it: those before this one, and whatever was revoked.
    pub retired_witnesses: BTreeSet<Sha256>,
    /// Those among them that administrators revoked.
    pub revoked_witnesses: BTreeSet<Sha256>,
    /// How it stands.
    pub standing: Standing,
    /// Since which entry it stands so.
    pub since: LeafIndex,
}

impl Member {
    /// Whether what it says is accepted.
    pub fn is_active(&self) -> bool {
        self.standing.is_active()
    }

    /// Why it is not let in, unless it is in good standing.
    pub fn barred(&self) -> Option<Barred> {
        (!self.is_active()).then_some(Barred { standing: self.standing, since: self.since })
    }
}

/// Ids of those in good standing, ascending.
pub(super) fn active(members: &BTreeMap<ClientId, Member>) -> Vec<ClientId> {
    members.iter().filter(|(_, m)| m.is_active()).map(|(id, _)| *id).collect()
}

/// Whether `who`, whom the entry must name, may speak as a member now. What it may not is reported.
pub(super) fn speaks(members: &BTreeMap<ClientId, Member>, who: ClientId, named: Option<ClientId>, out: &mut Report) -> bool {
    match members.get(&who).filter(|_| named == Some(who)).map(Member::is_active) {
        Some(true) => true,
        Some(false) => {
            out.add(Clause::Barred);
            false
        }
        None => {
            out.add(Clause::NotMember);
            false
        }
    }
}

/// When a dataset was withdrawn, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The entry.
    pub index: LeafIndex,
    /// Why.
    pub reason: DatasetReason,
}

impl History {
    pub(super) fn join_requested(&mut self, entry: &LogEntry, request: Sha256, statement: &Checked, out: &mut Report) {
        let Ok(said) = statement.read::<JoinRequest>() else { return out.add(Clause::Signature) };
        let hash = Sha256(sha256(&[&statement.payload]));
        out.require(hash == request && entry.institution == Some(statement.signer()), Clause::FieldsDiffer);
        // What it pinned stands under its own signature: a log in which administrators of an earlier document went another way shows it here,
        // and to the newcomer itself first.
        out.require(self.knows_trust(said.trust), Clause::Shown);
        self.requests.insert(hash, said);
    }

    pub(super) fn joined(&mut self, index: LeafIndex, entry: &LogEntry, request: Sha256, statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<Membership>(statement, out) else { return };
        let asked = self.requests.get(&request).map(Membership::of);
        if asked.as_ref() != Some(&said) {
            return out.add(Clause::FieldsDiffer);
        }
        out.require(entry.institution.is_none_or(|named| named == said.institution), Clause::FieldsDiffer);
        // A key is enrolled once, for ever; a name is free again when whoever had it is gone for good.
        let named = |m: &Member| m.name == said.name && !m.standing.is_final();
        let known = self.holder(Sha256(said.institution.0)).is_some();
        let taken = known || self.members.values().any(named);
        out.require(!taken, Clause::Enrolled);
        if self.effect(statement, index) == Effect::Waits {
            return;
        }
        let (key, standing) = (said.institution_key, Standing::Active);
        let (name, witness_vkey, tls_key) = (said.name, said.witness_vkey, said.tls_key);
        let member = Member {
            name,
            key,
            witness_vkey,
            tls_key,
            joined: index,
            retired: BTreeSet::new(),
            retired_witnesses: BTreeSet::new(),
            revoked_witnesses: BTreeSet::new(),
            standing,
            since: index,
        };
        self.keys.insert(Sha256(said.institution.0), key);
        self.holders.entry(Sha256(said.institution.0)).or_insert(said.institution);
        // The first entry holds: a second one would exchange the keys of somebody who is there.
        self.members.entry(said.institution).or_insert(member);
    }

    /// As many administrators as must suspend, resume or revoke. Each names the entry since which the institution stands as it stands, so that
    /// nobody can enter their words again for another occasion.
    pub(super) fn standing_changed(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<StandingChange>(statement, out) else { return };
        out.require(said.facts() == entry.facts && entry.institution == Some(said.institution), Clause::FieldsDiffer);
        let next = self.members.get(&said.institution).filter(|m| m.since == said.since);
        let Some(next) = next.and_then(|m| m.standing.after(said.change, said.reason)) else { return out.add(Clause::Standing) };
        if self.effect(statement, index) != Effect::Now {
            return;
        }
        self.approvals.forget(said.alternatives());
        self.stands(said.institution, next, index);
    }

    /// Nobody but the institution says that it leaves.
    pub(super) fn left(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<Departure>(entry, statement, out) else { return };
        let same = entry.facts == Facts::MemberLeft { since: said.since, reason: said.reason };
        out.require(same, Clause::FieldsDiffer);
        out.require(self.members.get(&who).is_some_and(|m| m.since == said.since), Clause::Standing);
        // What waited for more administrators is about somebody who is gone.
        self.approvals.forget(StandingChange::all(who, said.since));
        self.stands(who, Standing::Left(said.reason), index);
    }

    fn stands(&mut self, who: ClientId, standing: Standing, since: LeafIndex) {
        if let Some(member) = self.members.get_mut(&who) {
            (member.standing, member.since) = (standing, since);
        }
    }

    /// An institution withdraws what it declared, once and for ever.
    pub(super) fn dataset_withdrawn(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<DatasetWithdrawal>(entry, statement, out) else { return };
        let DatasetWithdrawal { dataset, reason } = said;
        out.require(entry.facts == Facts::DatasetWithdrawn { dataset, reason }, Clause::FieldsDiffer);
        let known = self.datasets.get_mut(&(who, dataset)).filter(|d| d.withdrawn.is_none());
        match known {
            Some(known) => known.withdrawn = Some(Withdrawn { index, reason }),
            None => out.add(Clause::Withdrawn),
        }
    }

    /// Those in good standing, by id.
    pub fn active(&self) -> impl Iterator<Item = (&ClientId, &Member)> {
        self.members.iter().filter(|(_, m)| m.is_active())
    }

    /// Their ids, ascending.
    pub fn member_ids(&self) -> Vec<ClientId> {
        active(&self.members)
    }

    /// Whether `who` is enrolled and in good standing.
    pub fn is_active(&self, who: ClientId) -> bool {
        self.members.get(&who).is_some_and(Member::is_active)
    }

    /// Why a member is not let in; nothing for whoever is in good standing, or was never admitted.
    pub fn barred(&self, who: ClientId) -> Option<Barred> {
        self.members.get(&who)?.barred()
    }
}

impl DatasetHistory {
    /// Reports what is said about, or trained on, a dataset after it was withdrawn.
    pub(super) fn must_be_in_use(&self, out: &mut Report) {
        out.require(self.withdrawn.is_none(), Clause::Withdrawn);
    }
}
