//! One round as the log tells it: its groups with their sets, certificates and openings (audit.md A20, I1 to I6). Knows no other round.

use super::members::speaks;
use super::rules::{Clause, Report};
use super::{DatasetHistory, Member};
use crate::dealing::Nonce;
use crate::entry::{Facts, LogEntry};
use crate::ids::{
    CertificateDigest, ClientId, GroupId, HeaderDigest, LeafIndex, ManifestDigest, Position, PublicKey, SetDigest, Sha256, SnapshotDigest,
};
use crate::manifest::{
    BudgetSpend, Certificate, Decline, Endorsement, Header, Manifest, OpeningPayload, SetPayload, SumResult, set_digest,
};
use crate::statement::{Checked, Statement};
use std::collections::{BTreeMap, BTreeSet};

/// What a round's entries are checked against.
pub(super) struct World<'a> {
    pub(super) members: &'a BTreeMap<ClientId, Member>,
    pub(super) datasets: &'a BTreeMap<(ClientId, Sha256), DatasetHistory>,
    pub(super) server: PublicKey,
}

/// The state of a round (A20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoundState {
    /// Who takes part.
    Selecting,
    /// Updates come in.
    Reporting,
    /// A set is proposed.
    Certifying,
    /// A set is certified.
    Opening,
    /// Over, with this snapshot.
    Closed(SnapshotDigest),
    /// Over, without.
    Abandoned,
}

/// One group of a round.
#[derive(Clone, Debug, Default)]
pub struct GroupHistory {
    /// Updates that institutions began to send.
    pub begun: BTreeSet<HeaderDigest>,
    /// Accepted updates.
    pub accepted: BTreeMap<HeaderDigest, (ClientId, LeafIndex, Header)>,
    /// Those that were dropped.
    pub dropped: BTreeSet<HeaderDigest>,
    /// The proposed set.
    pub proposed: Option<SetDigest>,
    /// Signatures over sets.
    pub signed: BTreeMap<ClientId, Statement>,
    /// The certificate.
    pub certificate: Option<Certificate>,
    /// Where it stands.
    pub certified_at: Option<LeafIndex>,
    /// Openings.
    pub openings: BTreeMap<Position, OpeningPayload>,
    /// The opened sum.
    pub result: Option<SumResult>,
}

impl GroupHistory {
    /// Accepted and not dropped headers, ascending: the only set that may be certified.
    pub fn members(&self) -> Vec<HeaderDigest> {
        self.accepted.keys().filter(|h| !self.dropped.contains(h)).copied().collect()
    }
}

/// One round.
#[derive(Clone, Debug)]
pub struct RoundHistory {
    /// Its state.
    pub state: RoundState,
    /// Those in good standing when it began, ascending: its roster, from which its committee is drawn. From whoever is suspended, revoked or
    /// gone since, nothing more is accepted.
    pub roster: Vec<ClientId>,
    /// The manifest.
    pub manifest: Option<(Manifest, ManifestDigest)>,
    /// Who endorsed it.
    pub endorsed: BTreeSet<ClientId>,
    /// Who declined.
    pub declined: BTreeSet<ClientId>,
    /// Units declared when the manifest was published, by institution and dataset: what weights of this round are made from. A
    /// declaration that comes later counts from the next round on, so that nobody's sealed update has the wrong weight.
    pub declared: BTreeMap<(ClientId, Sha256), u64>,
    /// Digest of the join list, in rounds with random groups.
    pub joined: Option<Sha256>,
    /// Revealed numbers.
    pub nonces: BTreeMap<ClientId, Nonce>,
    /// Its groups.
    pub groups: BTreeMap<GroupId, GroupHistory>,
    /// Where its sealed parts were deleted.
    pub deleted: Option<LeafIndex>,
}

impl RoundHistory {
    /// Whether the round has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.state, RoundState::Closed(_) | RoundState::Abandoned)
    }

    /// As much of it as decides about an update.
    pub(super) fn around(&self, group: GroupId) -> Self {
        let groups = self.groups.get(&group).map(|g| (group, g.clone())).into_iter().collect();
        let (manifest, endorsed, declared) = (self.manifest.clone(), self.endorsed.clone(), self.declared.clone());
        Self { state: self.state, joined: self.joined, manifest, endorsed, declared, groups, ..Self::opened() }
    }

    pub(super) fn opened() -> Self {
        Self {
            state: RoundState::Selecting,
            roster: Vec::new(),
            manifest: None,
            endorsed: BTreeSet::new(),
            declined: BTreeSet::new(),
            declared: BTreeMap::new(),
            joined: None,
            nonces: BTreeMap::new(),
            groups: BTreeMap::new(),
            deleted: None,
        }
    }

    pub(super) fn apply(
        &mut self,
        index: LeafIndex,
        entry: &LogEntry,
        statement: Option<&Checked>,
        world: &World<'_>,
        out: &mut Report,
    ) -> Option<(ClientId, BudgetSpend)> {
        match (&entry.facts, statement) {
            (Facts::RoundJoined { joined, .. }, None) => {
                out.require(self.state == RoundState::Selecting && self.joined.is_none(), Clause::State);
                self.joined.get_or_insert(*joined);
            }
            (Facts::ManifestEndorsed { .. }, Some(s)) => self.endorse(s, world, out),
            (Facts::RoundDeclined {}, Some(s)) => self.decline(entry, s, world, out),
            (Facts::UpdateBegun { header }, None) => self.begin(entry, *header, world, out),
            (Facts::UpdateAccepted { header, .. }, Some(s)) => return self.accept(index, entry, *header, s, world, out),
            (Facts::UpdateDropped { header }, None) => {
                let group = self.group(entry, out)?;
                out.require(group.accepted.contains_key(header) && group.proposed.is_none(), Clause::State);
                group.dropped.insert(*header);
            }
            (Facts::SetProposed { set, count, .. }, None) => self.propose(entry, *set, *count, world, out),
            (Facts::SetSigned { set }, Some(s)) => self.sign(entry, *set, s, world, out),
            (Facts::SetCertified { certificate, .. }, None) => self.certify(index, entry, *certificate, out),
            (Facts::OpeningPosted { .. }, Some(s)) => self.post(entry, s, world, out),
            (Facts::SumOpened { .. }, Some(s)) => self.sum(entry, s, world, out),
            (Facts::SumFailed {}, None) => {}
            (Facts::RoundClosed { snapshot }, None) => {
                out.require(self.state == RoundState::Opening && self.groups.values().any(|g| g.result.is_some()), Clause::State);
                self.state = RoundState::Closed(*snapshot);
            }
            (Facts::RoundAbandoned {}, None) => self.state = RoundState::Abandoned,
            _unfitting => out.add(Clause::Schema),
        }
        None
    }

    fn group(&mut self, entry: &LogEntry, out: &mut Report) -> Option<&mut GroupHistory> {
        let group = entry.group.and_then(|g| self.groups.get_mut(&g));
        out.require(group.is_some(), Clause::State);
        group
    }

    /// Only what an institution said about this round keeps it out of it: the server cannot decline for anybody (A17).
    fn decline(&mut self, entry: &LogEntry, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Ok(said) = s.read::<Decline>() else { return out.add(Clause::Signature) };
        let who = s.signer();
        let member = speaks(world.members, who, entry.institution, out);
        let reason = Some(said.reason.name());
        let same = (Some(said.task), Some(said.round), reason) == (entry.task, entry.round, entry.code.as_deref());
        out.require(same, Clause::FieldsDiffer);
        if member && same {
            self.declined.insert(who);
        }
    }

    fn endorse(&mut self, s: &Checked, world: &World<'_>, out: &mut Report) {
        let (Ok(said), Some((manifest, digest))) = (s.read::<Endorsement>(), &self.manifest) else {
            return out.add(Clause::Signature);
        };
        out.require(said.manifest == *digest, Clause::OtherManifest);
        let decryptor = manifest.position(s.signer()).is_some();
        out.require(decryptor, Clause::Manifest);
        let member = decryptor && speaks(world.members, s.signer(), Some(s.signer()), out);
        // Only endorsements of this manifest by its committee make a quorum.
        if member && said.manifest == *digest {
            self.endorsed.insert(s.signer());
        }
    }

    /// Once for each update, by somebody who may send one, while updates are taken (A21).
    fn begin(&mut self, entry: &LogEntry, header: HeaderDigest, world: &World<'_>, out: &mut Report) {
        out.require(self.state == RoundState::Reporting, Clause::State);
        match entry.institution {
            Some(who) => {
                speaks(world.members, who, Some(who), out);
            }
            None => out.add(Clause::NotMember),
        }
        let Some(group) = self.group(entry, out) else { return };
        let first = group.begun.insert(header);
        out.require(first, Clause::Twice);
    }

    fn accept(
        &mut self,
        index: LeafIndex,
        entry: &LogEntry,
        digest: HeaderDigest,
        s: &Checked,
        world: &World<'_>,
        out: &mut Report,
    ) -> Option<(ClientId, BudgetSpend)> {
        let (Ok(header), Some((manifest, manifest_digest))) = (s.read::<Header>(), self.manifest.clone()) else {
            out.add(Clause::Signature);
            return None;
        };
        let (who, core) = (s.signer(), header.core.clone());
        out.require(self.state == RoundState::Reporting, Clause::State);
        out.require(self.endorsed.len() >= manifest.size.quorum(), Clause::Manifest);
        out.require(core.manifest == manifest_digest, Clause::OtherManifest);
        speaks(world.members, who, Some(core.institution), out);
        let same = Header::digest(&s.payload) == digest && entry.group == Some(core.group) && entry.institution == Some(who);
        let repeats = matches!(entry.facts, Facts::UpdateAccepted { body_root, body_bytes, .. } if body_root == core.body_root && body_bytes == core.body_bytes);
        out.require(same && repeats, Clause::FieldsDiffer);
        let eligible = manifest.group(core.group).is_some_and(|g| g.eligible.contains(&who));
        out.require(eligible, Clause::Set);
        let weighed =
            manifest.group(core.group).is_none_or(|g| g.tally.is_none()) || self.declared.contains_key(&(who, core.spend.dataset));
        out.require(weighed, Clause::BudgetUndeclared);
        let group = self.group(entry, out)?;
        out.require(group.accepted.values().all(|(c, ..)| *c != who) && !group.accepted.contains_key(&digest), Clause::Twice);
        group.accepted.insert(digest, (who, index, header));
        Some((who, core.spend))
    }

    fn propose(&mut self, entry: &LogEntry, set: SetDigest, count: u32, world: &World<'_>, out: &mut Report) {
        let Some((manifest, digest)) = self.manifest.clone() else { return out.add(Clause::State) };
        let state = self.state;
        let Some(group) = self.group(entry, out) else { return };
        let members = group.members();
        let id = entry.group.unwrap_or(GroupId(u32::MAX));
        // Groups go their own pace: one may be certified while another still drops an update.
        let open = matches!(state, RoundState::Reporting | RoundState::Certifying | RoundState::Opening);
        out.require(open && group.proposed.is_none(), Clause::State);
        out.require(set_digest(digest, id, &members) == set && usize::try_from(count).is_ok_and(|c| c == members.len()), Clause::Set);
        let stands = |who: &ClientId| world.members.get(who).is_some_and(Member::is_active);
        out.require(members.iter().filter_map(|h| group.accepted.get(h)).all(|(who, ..)| stands(who)), Clause::Standings);
        let limits = manifest.group(id).map(|g| u32::from(g.cohort_min.max(2))..=u32::from(g.packing.n_max));
        out.require(limits.is_some_and(|l| l.contains(&count)), Clause::Cohort);
        group.proposed = Some(set);
        self.state = state.max(RoundState::Certifying);
    }

    fn sign(&mut self, entry: &LogEntry, set: SetDigest, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Some((manifest, digest)) = self.manifest.clone() else { return out.add(Clause::State) };
        let Ok(said) = s.read::<SetPayload>() else { return out.add(Clause::Signature) };
        let who = s.signer();
        out.require(said.manifest == digest, Clause::OtherManifest);
        out.require(manifest.position(who).is_some(), Clause::Certificate);
        speaks(world.members, who, entry.institution, out);
        let Some(group) = self.group(entry, out) else { return };
        out.require(group.proposed == Some(set) && said.set == set && entry.group == Some(said.group), Clause::Set);
        let other = group.signed.get(&who).is_some_and(|old| old.payload != s.payload);
        out.require(!other, Clause::TwoSets);
        group.signed.insert(who, Statement::clone(s));
    }

    fn certify(&mut self, index: LeafIndex, entry: &LogEntry, certificate: CertificateDigest, out: &mut Report) {
        let Some((manifest, digest)) = self.manifest.clone() else { return out.add(Clause::State) };
        let Some(group) = self.group(entry, out) else { return };
        let made = Certificate::of(&manifest, digest, &group.members(), group.signed.iter().map(|(who, s)| (*who, s)));
        match made {
            Ok(c) if c.digest() == certificate && group.certificate.is_none() => {
                (group.certificate, group.certified_at) = (Some(c), Some(index));
            }
            Ok(_) | Err(_) => out.add(Clause::Certificate),
        }
        // Other groups of the round may still be certifying; openings wait for all of them.
        self.state = RoundState::Opening;
    }

    fn post(&mut self, entry: &LogEntry, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Some((manifest, _)) = self.manifest.clone() else { return out.add(Clause::State) };
        let Ok(said) = s.read::<OpeningPayload>() else { return out.add(Clause::Signature) };
        let repeats = matches!(entry.facts, Facts::OpeningPosted { certificate, position } if certificate == said.certificate && position == said.position);
        out.require(repeats, Clause::FieldsDiffer);
        speaks(world.members, s.signer(), entry.institution, out);
        let Some(group) = self.group(entry, out) else { return };
        let certified = group.certificate.as_ref().is_some_and(|c| c.digest() == said.certificate);
        out.require(certified && manifest.position(s.signer()) == Some(said.position), Clause::Opening);
        let first = group.openings.insert(said.position, said).is_none();
        out.require(first, Clause::Opening);
    }

    fn sum(&mut self, entry: &LogEntry, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Ok(said) = s.read_by::<SumResult>(&world.server) else { return out.add(Clause::Signature) };
        let Some((manifest, digest)) = self.manifest.clone() else { return out.add(Clause::State) };
        out.require(said.manifest == digest && entry.group == Some(said.group), Clause::OtherManifest);
        let Some(group) = self.group(entry, out) else { return };
        let set = group.certificate.as_ref().map(|c| c.payload().set);
        out.require(set == Some(said.set) && group.openings.len() >= manifest.size.threshold(), Clause::Opening);
        let same = matches!(&entry.facts, Facts::SumOpened { sum_root, key_sum, values, residual_ratio, .. }
            if (*sum_root, *key_sum, *values, *residual_ratio) == (said.sum_root, said.key_sum, said.values, said.residual_ratio));
        out.require(same && group.result.is_none(), Clause::FieldsDiffer);
        group.result = Some(said);
    }
}
