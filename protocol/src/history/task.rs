//! One task as the log tells it: its plan, its prekeys, and one round after the other (audit.md A20, I6, I7).

use super::leaf_hash;
use super::members::{active, speaks};
use super::round::{GroupHistory, RoundHistory, RoundState, World};
use super::rules::{Clause, Report};
use crate::dealing::{self, Nonce, NonceReveal};
use crate::entry::{Facts, LogEntry};
use crate::ids::{ClientId, GroupId, LeafIndex, PlanDigest, RoundId, Sha256, SnapshotDigest, TaskId};
use crate::manifest::{BudgetSpend, Manifest, Prekeys, committee_of, roster_root};
use crate::plan::Plan;
use crate::statement::Checked;
use std::collections::{BTreeMap, BTreeSet};

/// Privacy spent by one accepted update, or for a round that took none.
#[derive(Clone, Debug)]
pub struct SpendRecord {
    /// Where it stands.
    pub index: LeafIndex,
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: RoundId,
    /// The figures.
    pub spend: BudgetSpend,
}

/// One task.
#[derive(Clone, Debug)]
pub struct TaskHistory {
    digest: PlanDigest,
    plan: Option<Plan>,
    opened: bool,
    ended: Option<LeafIndex>,
    snapshot: Option<SnapshotDigest>,
    previous_end: Sha256,
    previous_end_at: LeafIndex,
    prekeys: BTreeMap<ClientId, Vec<Prekeys>>,
    rounds: BTreeMap<RoundId, RoundHistory>,
    /// Those that are not over.
    running: BTreeSet<RoundId>,
}

impl TaskHistory {
    pub(super) fn approved(digest: PlanDigest) -> Self {
        Self {
            digest,
            plan: None,
            opened: false,
            ended: None,
            snapshot: None,
            previous_end: Sha256([0; 32]),
            previous_end_at: LeafIndex(0),
            prekeys: BTreeMap::new(),
            rounds: BTreeMap::new(),
            running: BTreeSet::new(),
        }
    }

    /// Digest of the approved plan.
    pub fn plan_digest(&self) -> PlanDigest {
        self.digest
    }
    /// The plan, once its artefact was shown.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }
    /// Whether rounds may begin.
    pub fn is_open(&self) -> bool {
        self.opened && self.ended.is_none()
    }
    /// The entry that ended it.
    pub fn ended(&self) -> Option<LeafIndex> {
        self.ended
    }
    /// The weights that the next round starts from.
    pub fn snapshot(&self) -> Option<SnapshotDigest> {
        self.snapshot
    }
    /// Leaf hash of the last end, or of `task.opened`.
    pub fn previous_end(&self) -> Sha256 {
        self.previous_end
    }
    /// Rounds.
    pub fn rounds(&self) -> &BTreeMap<RoundId, RoundHistory> {
        &self.rounds
    }
    /// The last round that was opened.
    pub fn last_round(&self) -> Option<RoundId> {
        self.rounds.keys().next_back().copied()
    }
    /// Whether `who` is on the roster of a round that goes on.
    pub(super) fn is_in_round(&self, who: ClientId) -> bool {
        self.running.iter().filter_map(|id| self.rounds.get(id)).any(|r| r.roster.binary_search(&who).is_ok())
    }
    /// Whether this round was opened and is not over.
    pub(super) fn is_running(&self, round: RoundId) -> bool {
        self.running.contains(&round)
    }
    /// What a decryptor has said about its prekeys, in the order of the log.
    pub fn prekeys(&self, who: ClientId) -> &[Prekeys] {
        self.prekeys.get(&who).map_or(&[], Vec::as_slice)
    }
    /// Whether the manifest is of the round that is open or next, and the only one of it that the log shows.
    fn may_have(&self, m: &Manifest) -> bool {
        match self.rounds.last_key_value() {
            None => m.round == RoundId::FIRST,
            Some((last, round)) if round.is_over() => Some(m.round) == last.next(),
            Some((last, round)) => m.round == *last && round.manifest.as_ref().is_none_or(|(known, _)| known == m),
        }
    }
    pub(super) fn learn_plan(&mut self, plan: Plan) {
        self.plan = Some(plan);
    }
    /// As much of it as decides about an update.
    pub(super) fn around(&self, round: RoundId, group: GroupId) -> Self {
        let rounds = self.rounds.get(&round).map(|r| (round, r.around(group))).into_iter().collect();
        Self { rounds, plan: self.plan.clone(), prekeys: BTreeMap::new(), running: self.running.clone(), ..*self }
    }
    /// With these rounds, from the first on.
    #[cfg(test)]
    pub(super) fn with_rounds(self, rounds: impl IntoIterator<Item = RoundHistory>) -> Self {
        let numbers = std::iter::successors(Some(RoundId::FIRST), |id| id.next());
        Self { rounds: numbers.zip(rounds).collect(), ..self }
    }

    pub(super) fn apply(
        &mut self,
        index: LeafIndex,
        bytes: &[u8],
        entry: &LogEntry,
        statement: Option<&Checked>,
        world: &World<'_>,
        out: &mut Report,
    ) -> Option<(ClientId, SpendRecord)> {
        match (&entry.facts, statement) {
            (Facts::TaskOpened { plan, snapshot }, None) => {
                out.require(!self.opened && *plan == self.digest, Clause::State);
                (self.opened, self.snapshot) = (true, Some(*snapshot));
                (self.previous_end, self.previous_end_at) = (leaf_hash(bytes), index);
            }
            (Facts::TaskEnded { snapshot, .. }, None) => {
                out.require(self.is_open() && self.snapshot == Some(*snapshot), Clause::State);
                self.ended = Some(LeafIndex(entry.stamp.seq));
            }
            (Facts::PrekeysPublished { first, count }, Some(s)) => self.prekeys_published(entry, *first, *count, s, world, out),
            (Facts::RoundOpened { previous_end }, None) => {
                let expected = self.last_round().map_or(Some(RoundId::FIRST), RoundId::next);
                let over = self.running.is_empty();
                out.require(self.is_open() && over && entry.round == expected && *previous_end == self.previous_end, Clause::State);
                if let Some(round) = entry.round {
                    self.running.insert(round);
                    self.rounds.insert(round, RoundHistory { roster: active(world.members), ..RoundHistory::opened() });
                }
            }
            (Facts::RoundChunksDeleted { .. }, None) => match entry.round.and_then(|round| self.rounds.get_mut(&round)) {
                Some(round) => round.chunks_deleted(index, entry, out),
                None => out.add(Clause::State),
            },
            _in_round => return self.in_round(index, bytes, entry, statement, world, out),
        }
        None
    }

    fn prekeys_published(&mut self, entry: &LogEntry, first: RoundId, count: u64, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Ok(keys) = s.read::<Prekeys>() else { return out.add(Clause::Signature) };
        let who = s.signer();
        speaks(world.members, who, entry.institution, out);
        out.require(keys.first == first && keys.keys.len() as u64 == count && entry.task == Some(keys.task), Clause::FieldsDiffer);
        self.prekeys.entry(who).or_default().push(keys);
    }

    fn in_round(
        &mut self,
        index: LeafIndex,
        bytes: &[u8],
        entry: &LogEntry,
        statement: Option<&Checked>,
        world: &World<'_>,
        out: &mut Report,
    ) -> Option<(ClientId, SpendRecord)> {
        let (Some(task), Some(id)) = (entry.task, entry.round) else {
            out.add(Clause::Schema);
            return None;
        };
        if let (Facts::ManifestPublished { .. }, Some(s)) = (&entry.facts, statement) {
            self.manifest_published(id, entry, s, world, out);
            return None;
        }
        if let (Facts::NonceRevealed {}, Some(s)) = (&entry.facts, statement) {
            self.nonce_revealed(id, entry, s, world, out);
            return None;
        }
        if matches!(entry.facts, Facts::RoundClosed { .. }) {
            out.require(self.has_enough_groups(id), Clause::Parts);
        }
        let Some(round) = self.rounds.get_mut(&id) else {
            out.add(Clause::State);
            return None;
        };
        let ended = round.is_over();
        out.require(!ended, Clause::State);
        let spend = round.apply(index, entry, statement, world, out);
        // A broken log may also have rounds that are over and go on all the same.
        if round.is_over() {
            self.running.remove(&id);
        } else {
            self.running.insert(id);
        }
        // A sum of gradients is divided by what its members declared: who declared nothing before the manifest is in no such sum.
        let divided = self.plan.as_ref().is_some_and(|p| p.privacy.mode.joint().is_some());
        let declared = |(who, s): &(ClientId, BudgetSpend)| round.declared.contains_key(&(*who, s.dataset));
        out.require(!divided || spend.as_ref().is_none_or(declared), Clause::BudgetUndeclared);
        match round.state {
            RoundState::Closed(snapshot) if !ended => {
                self.snapshot = Some(snapshot);
                (self.previous_end, self.previous_end_at) = (leaf_hash(bytes), index);
            }
            RoundState::Abandoned if !ended => (self.previous_end, self.previous_end_at) = (leaf_hash(bytes), index),
            RoundState::Closed(_) | RoundState::Abandoned => {}
            RoundState::Selecting | RoundState::Reporting | RoundState::Certifying | RoundState::Opening => {}
        }
        spend.map(|(who, spend)| (who, SpendRecord { index, task, round: id, spend }))
    }

    /// Whether some planned sum has as many opened parts as the plan combines (C65). A plan that was not shown is another finding's matter.
    fn has_enough_groups(&self, id: RoundId) -> bool {
        let (Some(plan), Some(round)) = (&self.plan, self.rounds.get(&id)) else { return true };
        let opened: Vec<_> = round.groups.iter().filter(|(_, g)| g.result.is_some()).map(|(id, _)| *id).collect();
        !plan.counting(&opened).is_empty()
    }

    /// C37: after the join list, once, and what the decryptor had committed to.
    fn nonce_revealed(&mut self, id: RoundId, entry: &LogEntry, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Ok(said) = s.read::<NonceReveal>() else { return out.add(Clause::Signature) };
        let who = s.signer();
        out.require(entry.institution == Some(who) && (Some(said.task), said.round) == (entry.task, id), Clause::FieldsDiffer);
        let member = speaks(world.members, who, Some(who), out);
        let committed = Prekeys::committed(self.prekeys(who), id);
        let bound = committed == Some(dealing::commitment(&said.nonce));
        out.require(bound, Clause::Dealing);
        let Some(round) = self.rounds.get_mut(&id) else { return out.add(Clause::State) };
        let open = round.state == RoundState::Selecting && round.joined.is_some() && !round.nonces.contains_key(&who);
        out.require(open, Clause::State);
        if open && bound && member {
            round.nonces.insert(who, said.nonce);
        }
    }

    /// The parts that the log prescribes for a round of random groups; all in one part where the plan has none.
    fn parts(&self, plan: &Plan, m: &Manifest) -> Option<Vec<Vec<ClientId>>> {
        let (eligible, parts) = (m.eligible(), plan.robust().random_groups);
        if parts == 1 {
            return Some(vec![eligible]);
        }
        let round = self.rounds.get(&m.round)?;
        let joined = round.joined.filter(|&j| j == dealing::join_list(&eligible))?;
        let nonces: Vec<Nonce> = m.committee.iter().filter_map(|c| round.nonces.get(&c.institution).copied()).collect();
        let enough = nonces.len() >= m.size.quorum();
        enough.then(|| dealing::deal(&dealing::seed(joined, &nonces), &eligible, parts))
    }

    /// Whether `who` may reveal its number for this round: the join list is logged, no manifest is, and the committee rule names it.
    fn may_reveal(&self, who: ClientId, round: RoundId) -> bool {
        let open = self.rounds.get(&round).filter(|r| r.state == RoundState::Selecting && r.joined.is_some());
        let (Some(open), Some(size)) = (open, self.plan.as_ref().map(|p| p.committee)) else { return false };
        committee_of(&open.roster, self.previous_end, size).contains(&who)
    }

    /// I6: the manifest is the server's word, and everything in it that the log knows is as the log knows it.
    fn manifest_published(&mut self, id: RoundId, entry: &LogEntry, s: &Checked, world: &World<'_>, out: &mut Report) {
        let Ok(manifest) = s.read_by::<Manifest>(&world.server) else { return out.add(Clause::Signature) };
        let digest = Manifest::digest(&s.payload);
        out.require(matches!(entry.facts, Facts::ManifestPublished { manifest } if manifest == digest), Clause::FieldsDiffer);
        out.require(self.manifest_agrees(&manifest, id, entry.task, world), Clause::Manifest);
        let Some(round) = self.rounds.get_mut(&id) else { return out.add(Clause::State) };
        out.require(round.state == RoundState::Selecting && round.manifest.is_none(), Clause::State);
        round.groups = manifest.groups.iter().map(|g| (g.id, GroupHistory::default())).collect();
        round.declared = world.datasets.iter().map(|(id, d)| (*id, d.declaration.declared_units)).collect();
        round.manifest = Some((manifest, digest));
        round.state = RoundState::Reporting;
    }

    /// Whether the log, and the plan if it is known, give this manifest's numbers.
    pub(super) fn manifest_agrees(&self, m: &Manifest, round: RoundId, task: Option<TaskId>, world: &World<'_>) -> bool {
        // Before its round is opened here, a manifest is judged by those who stand well now.
        let opened = self.rounds.get(&round).map(|r| r.roster.clone());
        let members = opened.unwrap_or_else(|| active(world.members));
        let committee: Vec<_> = m.committee.iter().map(|c| c.institution).collect();
        let key = |who| Prekeys::choose(self.prekeys(who), m.round, m.opening_until);
        let prekeys = m.committee.iter().all(|c| key(c.institution) == Some(&c.prekey[..]));
        let by_log = m.round == round
            && Some(m.task) == task
            && m.plan == self.digest
            && Some(m.snapshot) == self.snapshot
            && m.previous_end == self.previous_end
            // The checkpoint that it names covers that end (C35, C38).
            && self.previous_end_at.0 < m.log_size
            && m.roster == roster_root(&members)
            && committee == committee_of(&members, self.previous_end, m.size)
            && committee.len() == usize::from(m.size.decryptors)
            && m.size.check().is_ok()
            && prekeys;
        let eligible = m.eligible();
        let enrolled = eligible.iter().all(|c| members.binary_search(c).is_ok());
        let by_plan = self.plan.as_ref().is_none_or(|p| {
            m.size == p.committee
                && m.federation == p.federation
                && self.parts(p, m).is_some_and(|parts| Manifest::groups_of(p, m.round, &parts).is_ok_and(|g| g == m.groups))
                && eligible.len() >= p.fewest()
        });
        by_log && enrolled && by_plan && m.parameter_set == crate::params::PS_A
    }
}

impl super::History {
    /// Whether the decryptor `who` may reveal its number for this round now (C37).
    pub fn may_reveal(&self, who: ClientId, task: TaskId, round: RoundId) -> bool {
        self.is_active(who) && self.tasks.get(&task).is_some_and(|t| t.may_reveal(who, round))
    }

    /// Whether the log so far, and the plan, give exactly this manifest for its task and round.
    pub fn agrees_with(&self, manifest: &Manifest) -> bool {
        let world = World { members: &self.members, datasets: &self.datasets, server: self.trust.server };
        self.tasks.get(&manifest.task).is_some_and(|t| {
            manifest.federation == self.trust.federation
                && t.plan.is_some()
                && t.may_have(manifest)
                && t.manifest_agrees(manifest, manifest.round, Some(manifest.task), &world)
        })
    }
}
