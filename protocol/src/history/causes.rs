//! Which entry led to which (audit.md A16): found again from the log alone, so that nobody has to believe whoever wrote it. Knows no signature.

use crate::entry::{EntryKind, Facts, LogEntry, Right, Ruling};
use crate::ids::{GroupId, LeafIndex, RoundId, Sha256, TaskId, TokenId};
use std::collections::BTreeMap;

/// What an entry is placed in; the widest place is none.
pub(super) type Place = (Option<TaskId>, Option<RoundId>, Option<GroupId>);

/// Where the entries stand that may yet lead to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Causes {
    /// The newest entry of each type, in each place and in all that hold it. Places of a round go with its end.
    newest: BTreeMap<(Place, EntryKind), LeafIndex>,
    /// The newest entry of a type about one thing.
    named: BTreeMap<(EntryKind, Sha256), LeafIndex>,
    /// A right that was allowed in the entry before.
    allowed: Option<(LeafIndex, Right)>,
}

impl Causes {
    /// Takes in an entry.
    pub(super) fn note(&mut self, index: LeafIndex, entry: &LogEntry) {
        self.allowed = entry.decision.filter(|d| d.ruling == Ruling::Allow).map(|d| (index, d.right));
        let (task, round, group, kind) = (entry.task, entry.round, entry.group, entry.kind());
        self.newest.insert(((None, None, None), kind), index);
        if task.is_some() {
            self.newest.insert(((task, None, None), kind), index);
        }
        if round.is_some() {
            self.newest.insert(((task, round, None), kind), index);
        }
        if group.is_some() {
            self.newest.insert(((task, round, group), kind), index);
        }
        if let Some(name) = name(&entry.facts) {
            self.named.insert((kind, name), index);
        }
        if matches!(kind, EntryKind::RoundClosed | EntryKind::RoundAbandoned) {
            // Of a round that is over only the end may lead to another entry.
            let ends = |kind: &EntryKind| matches!(kind, EntryKind::RoundClosed | EntryKind::RoundAbandoned);
            self.newest.retain(|((of, round, _), kind), _| *of != task || round.is_none() || ends(kind));
            self.named.retain(|(kind, _), _| !matches!(kind, EntryKind::UpdateBegun | EntryKind::UpdateAccepted));
        }
    }

    /// The newest of these types in a place.
    fn last(&self, place: Place, kinds: &[EntryKind]) -> Option<LeafIndex> {
        kinds.iter().filter_map(|kind| self.newest.get(&(place, *kind))).max().copied()
    }

    fn about(&self, kind: EntryKind, name: Sha256) -> Option<LeafIndex> {
        self.named.get(&(kind, name)).copied()
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
            Facts::RoundDeclined {} => self.last(in_round, &[K::RoundOpened, K::ManifestPublished]),
            // An update may be refused because no round is open.
            Facts::UpdateRejected {} => round.and_then(|_| self.last(in_round, &[K::ManifestPublished])),
            Facts::ManifestEndorsed { .. } | Facts::UpdateBegun { .. } => self.last(in_round, &[K::ManifestPublished]),
            Facts::UpdateAccepted { header, .. } => {
                self.about(K::UpdateBegun, Sha256(header.0)).or_else(|| self.last(in_round, &[K::ManifestPublished]))
            }
            Facts::UpdateDropped { header } => self.about(K::UpdateAccepted, Sha256(header.0)),
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
            Facts::BudgetSpent { .. } => self.last(in_round, &[K::RoundClosed, K::RoundAbandoned]),
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
        Facts::UpdateBegun { header } | Facts::UpdateAccepted { header, .. } => Some(Sha256(header.0)),
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
    use crate::ids::SnapshotDigest;

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
        assert_eq!(next.newest.keys().filter(|((_, round, _), _)| round.is_some()).count(), 1, "what is over is forgotten but for its end");
        let spent = Facts::BudgetSpent { dataset: Sha256([5; 32]), ledger_counter: 1 };
        assert_eq!((next.of(&spent, place(1)), next.of(&spent, place(2))), (Some(LeafIndex(2)), None));
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
