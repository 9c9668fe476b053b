//! Which entry led to which (audit.md A16): found again from the log alone, so that nobody has to believe whoever wrote it. Knows no signature.

use crate::entry::{EntryKind, Facts, LogEntry, Right, Ruling};
use crate::ids::{ClientId, GroupId, HeaderDigest, LeafIndex, RoundId, Sha256, TaskId, TokenId};
use crate::reject::Rejection;
use std::collections::BTreeMap;

/// What an entry is placed in; the widest place is none.
pub(super) type Place = (Option<TaskId>, Option<RoundId>, Option<GroupId>);

/// The newest entry of each type.
type Newest = BTreeMap<EntryKind, LeafIndex>;

/// Where the entries stand that may yet lead to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Causes {
    /// Anywhere.
    newest: Newest,
    tasks: BTreeMap<TaskId, InTask>,
    /// The newest entry of a type about one thing that no round ends.
    named: BTreeMap<(EntryKind, Sha256), LeafIndex>,
    /// A right that was allowed in the entry before.
    allowed: Option<(LeafIndex, Right)>,
}

/// The same of one task. What stands in its rounds goes with the end of a round; only where rounds ended is kept.
#[derive(Clone, Debug, Default)]
struct InTask {
    newest: Newest,
    /// In each round, whatever the group, and in each group of it.
    open: BTreeMap<(RoundId, Option<GroupId>), Newest>,
    /// Updates, by their headers.
    updates: BTreeMap<(EntryKind, HeaderDigest), LeafIndex>,
    ends: BTreeMap<RoundId, LeafIndex>,
    /// Where institutions said last that a budget cannot pay for the task.
    exhausted: BTreeMap<ClientId, LeafIndex>,
}

impl InTask {
    fn note(&mut self, index: LeafIndex, entry: &LogEntry) {
        let (round, group, kind) = (entry.round, entry.group, entry.kind());
        self.newest.insert(kind, index);
        if matches!(kind, EntryKind::RoundClosed | EntryKind::RoundAbandoned) {
            self.open.clear();
            self.updates.clear();
            self.ends.extend(round.map(|round| (round, index)));
            return;
        }
        if let Some(round) = round {
            self.open.entry((round, None)).or_default().insert(kind, index);
            if group.is_some() {
                self.open.entry((round, group)).or_default().insert(kind, index);
            }
        }
        if let (Facts::BudgetExhausted { .. }, Some(who)) = (&entry.facts, entry.institution) {
            self.exhausted.insert(who, index);
        }
        if let Facts::UpdateBegun { header } | Facts::UpdateAccepted { header, .. } = &entry.facts {
            self.updates.insert((kind, *header), index);
        }
    }
}

impl Causes {
    /// Takes in an entry. Costs the same however long the log is.
    pub(super) fn note(&mut self, index: LeafIndex, entry: &LogEntry) {
        self.allowed = entry.decision.filter(|d| d.ruling == Ruling::Allow).map(|d| (index, d.right));
        self.newest.insert(entry.kind(), index);
        if let Some(task) = entry.task {
            self.tasks.entry(task).or_default().note(index, entry);
        }
        if let Some(name) = name(&entry.facts) {
            self.named.insert((entry.kind(), name), index);
        }
    }

    /// Takes in an entry that cannot be read: what follows does not stand right behind a permission any more.
    pub(super) fn note_unread(&mut self) {
        self.allowed = None;
    }

    /// As much of it as leads to an accepted update.
    pub(super) fn around(&self, task: TaskId, round: RoundId, header: HeaderDigest) -> Self {
        let of_task = |t: &InTask| {
            let (whole, begun) = ((round, None), (EntryKind::UpdateBegun, header));
            let open = t.open.get(&whole).map(|newest| (whole, newest.clone())).into_iter().collect();
            let updates = t.updates.get(&begun).map(|index| (begun, *index)).into_iter().collect();
            InTask { open, updates, ..InTask::default() }
        };
        let tasks = self.tasks.get(&task).map(|t| (task, of_task(t))).into_iter().collect();
        Self { allowed: self.allowed, tasks, ..Self::default() }
    }

    /// The newest of these types in a place.
    fn last(&self, (task, round, group): Place, kinds: &[EntryKind]) -> Option<LeafIndex> {
        let newest = match (task, round) {
            (None, _) => &self.newest,
            (Some(task), None) => &self.tasks.get(&task)?.newest,
            (Some(task), Some(round)) => self.tasks.get(&task)?.open.get(&(round, group))?,
        };
        kinds.iter().filter_map(|kind| newest.get(kind)).max().copied()
    }

    fn about(&self, kind: EntryKind, name: Sha256) -> Option<LeafIndex> {
        self.named.get(&(kind, name)).copied()
    }

    fn of_update(&self, task: Option<TaskId>, kind: EntryKind, header: HeaderDigest) -> Option<LeafIndex> {
        self.tasks.get(&task?)?.updates.get(&(kind, header)).copied()
    }

    /// Where a round ended.
    fn end_of(&self, (task, round, _): Place) -> Option<LeafIndex> {
        self.tasks.get(&task?)?.ends.get(&round?).copied()
    }

    /// The entry that leads to one with these facts in this place about this institution, for this reason, if it were the next: to a decline for want
    /// of budget what the institution said of that budget, else as [`Self::of`].
    pub(super) fn of_whom(&self, facts: &Facts, place: Place, who: Option<ClientId>, code: Option<&str>) -> Option<LeafIndex> {
        let unpaid = matches!(facts, Facts::RoundDeclined {}) && code == Some(Rejection::BudgetExhausted.name());
        let said = || self.tasks.get(&place.0?)?.exhausted.get(&who?).copied();
        unpaid.then(said).flatten().or_else(|| self.of(facts, place))
    }

    /// The entry that leads to one with these facts in this place, if it were the next.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other types begin something of their own accord")]
    pub(super) fn of(&self, facts: &Facts, place: Place) -> Option<LeafIndex> {
        use EntryKind as K;
        if let Some((index, right)) = self.allowed
            && facts.right() == Some(right)
        {
            return Some(index);
        }
        let (task, round, _) = place;
        let (in_task, in_round) = ((task, None, None), (task, round, None));
        match facts {
            Facts::MemberJoinRequested { token, .. } => self.about(K::MemberInvited, padded(*token)),
            Facts::MemberJoined { request } => self.about(K::MemberJoinRequested, *request),
            Facts::ProcessStopped {} | Facts::ProcessUpgraded { .. } | Facts::ProcessConfigChanged { .. } => {
                self.last((None, None, None), &[K::ProcessStarted])
            }
            Facts::TaskOpened { .. } => self.last(in_task, &[K::TaskApproved]),
            Facts::RoundOpened { .. } | Facts::TaskEnded { .. } => self.last(in_task, &[K::TaskOpened, K::RoundClosed, K::RoundAbandoned]),
            Facts::RoundJoined { .. } => self.last(in_round, &[K::RoundOpened]),
            Facts::NonceRevealed {} => self.last(in_round, &[K::RoundJoined]),
            Facts::ManifestPublished { .. } => self.last(in_round, &[K::RoundOpened, K::RoundJoined]),
            Facts::RoundDeclined {} | Facts::BudgetExhausted { .. } => self.last(in_round, &[K::RoundOpened, K::ManifestPublished]),
            // An update may be refused because no round is open.
            Facts::UpdateRejected {} => round.and_then(|_| self.last(in_round, &[K::ManifestPublished])),
            Facts::ManifestEndorsed { .. } | Facts::UpdateBegun { .. } => self.last(in_round, &[K::ManifestPublished]),
            Facts::UpdateAccepted { header, .. } => {
                self.of_update(task, K::UpdateBegun, *header).or_else(|| self.last(in_round, &[K::ManifestPublished]))
            }
            Facts::UpdateDropped { header } => self.of_update(task, K::UpdateAccepted, *header),
            Facts::SetProposed { .. } => self.last(place, &[K::UpdateAccepted, K::UpdateDropped]),
            Facts::SetSigned { .. } => self.last(place, &[K::SetProposed]),
            Facts::SetCertified { .. } => self.last(place, &[K::SetSigned]),
            Facts::OpeningPosted { .. } => self.last(place, &[K::SetCertified]),
            Facts::SumOpened { .. } => self.last(place, &[K::OpeningPosted]),
            Facts::SumFailed {} => self
                .last(place, &[K::UpdateDropped, K::SetProposed, K::SetCertified, K::OpeningPosted])
                .or_else(|| self.last(in_round, &[K::ManifestPublished])),
            Facts::RoundClosed { .. } => self.last(in_round, &[K::SumOpened]),
            Facts::RoundAbandoned {} => self.last(in_round, &[K::SumFailed]).or_else(|| self.restarted(in_round)),
            Facts::BudgetSpent { .. } => self.end_of(place),
            Facts::ModelWithdrawn { snapshot, .. } => self.about(K::ModelReleased, Sha256(snapshot.0)),
            Facts::WitnessReturned { witness, .. } => self.about(K::WitnessMissing, *witness),
            _of_its_own_accord => None,
        }
    }

    /// The start of a process that found a round open.
    fn restarted(&self, round: Place) -> Option<LeafIndex> {
        let opened = self.last(round, &[EntryKind::RoundOpened])?;
        self.last((None, None, None), &[EntryKind::ProcessStarted]).filter(|started| *started > opened)
    }
}

/// What an entry is looked up by later, where it is.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other types are looked up by their place")]
fn name(facts: &Facts) -> Option<Sha256> {
    match facts {
        Facts::MemberInvited { token } => Some(padded(*token)),
        Facts::MemberJoinRequested { request, .. } => Some(*request),
        Facts::ModelReleased { snapshot, .. } => Some(Sha256(snapshot.0)),
        Facts::WitnessMissing { witness, .. } => Some(*witness),
        _by_place => None,
    }
}

/// A token's id as a name; no hash is followed by sixteen zeros.
fn padded(token: TokenId) -> Sha256 {
    let mut name = [0; 32];
    name[..16].copy_from_slice(&token.0);
    Sha256(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Draft, Identity, Origin, Stamp};
    use crate::ids::{BodyRoot, SnapshotDigest};

    fn entry(seq: u64, draft: &Draft) -> LogEntry {
        let origin = Origin { name: String::new(), version: String::new(), build: String::new(), boot_ms: 0 };
        let (id, ts, federation) = (String::new(), String::new(), String::new());
        LogEntry::new(Stamp { seq, id, ts, who: Identity::default(), origin, federation, cause: None }, draft)
    }

    fn causes(drafts: &[Draft]) -> Causes {
        let mut causes = Causes::default();
        (0..).zip(drafts).for_each(|(seq, draft)| causes.note(LeafIndex(seq), &entry(seq, draft)));
        causes
    }

    const TASK: TaskId = TaskId([1; 16]);

    #[test]
    fn a_round_that_ended_leads_to_the_next_one_and_a_start_to_the_end_of_an_open_one() {
        let place = |n| (Some(TASK), Some(RoundId(n)), None);
        let opened = |n| Draft::server(Facts::RoundOpened { previous_end: Sha256([0; 32]) }).in_round(TASK, RoundId(n));
        let started = Draft::server(Facts::ProcessStarted { build: Sha256([0; 32]), clean: true, config: Sha256([0; 32]) });
        let failed = Draft::server(Facts::SumFailed {}).in_round(TASK, RoundId(1)).in_group(GroupId(0));
        let closed = Draft::server(Facts::RoundClosed { snapshot: SnapshotDigest([0; 32]) }).in_round(TASK, RoundId(1));
        let ends = |drafts: &[Draft], n| causes(drafts).of(&Facts::RoundAbandoned {}, place(n));
        assert_eq!(ends(&[started.clone(), opened(1)], 1), None, "a deadline passed");
        assert_eq!(ends(&[opened(1), started.clone()], 1), Some(LeafIndex(1)));
        assert_eq!(ends(&[opened(1), failed.clone(), started], 1), Some(LeafIndex(1)));
        let next = causes(&[opened(1), failed, closed]);
        assert_eq!(next.of(&Facts::RoundOpened { previous_end: Sha256([0; 32]) }, place(2)), Some(LeafIndex(2)));
        let kept = &next.tasks[&TASK];
        assert_eq!((kept.open.len(), kept.ends.len()), (0, 1), "what is over is forgotten but for its end");
        let spent = Facts::BudgetSpent { dataset: Sha256([5; 32]), ledger_counter: 1 };
        assert_eq!((next.of(&spent, place(1)), next.of(&spent, place(2))), (Some(LeafIndex(2)), None));
    }

    /// What an institution says of its budget leads to its declines for that reason, in this round and later ones, and to nobody else's.
    #[test]
    fn a_budget_that_is_exhausted_leads_to_the_declines_of_its_institution() {
        use crate::exhausted::BudgetAccount;
        let (one, other) = (ClientId([1; 32]), ClientId([2; 32]));
        let place = |n| (Some(TASK), Some(RoundId(n)), None);
        let opened = |n| Draft::server(Facts::RoundOpened { previous_end: Sha256([0; 32]) }).in_round(TASK, RoundId(n));
        let (needed, remaining) = ("2".parse().unwrap(), "1".parse().unwrap());
        let facts = Facts::BudgetExhausted { dataset: Sha256([5; 32]), account: BudgetAccount::Task, needed, remaining, ledger_counter: 3 };
        let said = Draft { institution: Some(one), ..Draft::server(facts.clone()) }.in_round(TASK, RoundId(1));
        let closed = Draft::server(Facts::RoundAbandoned {}).in_round(TASK, RoundId(1));
        let causes = causes(&[opened(1), said, closed, opened(2)]);
        let (unpaid, policy) = (Some("budget_exhausted"), Some("policy"));
        let of = |who, code| causes.of_whom(&Facts::RoundDeclined {}, place(2), Some(who), code);
        assert_eq!([of(one, unpaid), of(one, policy), of(other, unpaid)], [1, 3, 3].map(|at| Some(LeafIndex(at))));
        assert_eq!(causes.of_whom(&facts, place(2), Some(one), None), Some(LeafIndex(3)));
    }

    /// A log of many rounds costs memory for their ends alone, and the end of a round in one task forgets nothing of another task's.
    #[test]
    fn a_round_that_ends_takes_its_updates_along_and_no_other_tasks() {
        let other = TaskId([2; 16]);
        let header = |n: u8| HeaderDigest([n; 32]);
        let begun = |task, n| Draft::server(Facts::UpdateBegun { header: header(n) }).in_round(task, RoundId(1)).in_group(GroupId(0));
        let closed = Draft::server(Facts::RoundClosed { snapshot: SnapshotDigest([0; 32]) }).in_round(TASK, RoundId(1));
        let drafts = [begun(TASK, 1), begun(TASK, 2), begun(other, 1), begun(other, 3), closed];
        let (open, over) = (causes(&drafts[..4]), causes(&drafts));
        let accepted = |n| Facts::UpdateAccepted { header: header(n), body_root: BodyRoot([0; 32]), body_bytes: 0 };
        let place = |task| (Some(task), Some(RoundId(1)), Some(GroupId(0)));
        assert_eq!(open.of(&accepted(1), place(TASK)), Some(LeafIndex(0)));
        assert_eq!(open.of(&accepted(3), place(TASK)), None, "begun in another task");
        assert_eq!(over.of(&accepted(1), place(TASK)), None);
        assert_eq!([1, 3].map(|n| over.of(&accepted(n), place(other))), [Some(LeafIndex(2)), Some(LeafIndex(3))]);
        assert!(over.tasks[&TASK].updates.is_empty() && over.named.is_empty());
    }

    #[test]
    fn a_permission_leads_to_the_very_next_entry_only_and_only_to_its_use() {
        use crate::entry::{Actor, Decision};
        let allowed = Draft::decided(Actor::Administrator, Decision::new(Ruling::Allow, Right::MemberInvite));
        let (invited, anywhere) = (Facts::MemberInvited { token: TokenId([2; 16]) }, (None, None, None));
        assert_eq!(causes(std::slice::from_ref(&allowed)).of(&invited, anywhere), Some(LeafIndex(0)));
        let later = causes(&[allowed.clone(), Draft::server(Facts::ProcessStopped {})]);
        assert_eq!(later.of(&invited, anywhere), None);
        let policy = Facts::PolicyActivated { old: None, policy: Sha256([3; 32]) };
        assert_eq!(causes(&[allowed]).of(&policy, anywhere), None);
        let asked = Facts::MemberJoinRequested { token: TokenId([2; 16]), request: Sha256([4; 32]) };
        assert_eq!(causes(&[Draft::server(invited)]).of(&asked, anywhere), Some(LeafIndex(0)));
    }
}
