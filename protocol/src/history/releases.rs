//! Releases and site anchors against the log so far (I10, I14).

use super::rules::{Clause, Report};
use super::{History, RoundState, TaskHistory};
use crate::entry::{Facts, LogEntry};
use crate::ids::{ClientId, LeafIndex, RoundId, SnapshotDigest};
use crate::release::{Release, Review, SiteAnchor, Withdrawal};
use crate::statement::Checked;

/// Where a model comes from within its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Weights that the first round started from.
    pub base: SnapshotDigest,
    /// First closed round.
    pub first: RoundId,
    /// The round that gave the model.
    pub last: RoundId,
    /// The model.
    pub snapshot: SnapshotDigest,
}

impl TaskHistory {
    /// The lineage of the model that `last` closed with, or of the newest model; nothing where no round closed, or a link is missing.
    pub fn lineage(&self, last: Option<RoundId>) -> Option<Lineage> {
        let closed = |(id, r): (&RoundId, &super::RoundHistory)| match r.state {
            RoundState::Closed(end) => Some((*id, r.manifest.as_ref()?.0.snapshot, end)),
            RoundState::Selecting | RoundState::Reporting | RoundState::Certifying | RoundState::Opening | RoundState::Abandoned => None,
        };
        let mut line: Option<Lineage> = None;
        for (id, start, end) in self.rounds().iter().filter_map(closed).take_while(|(id, ..)| last.is_none_or(|l| *id <= l)) {
            line = match line {
                None => Some(Lineage { base: start, first: id, last: id, snapshot: end }),
                Some(l) if l.snapshot == start => Some(Lineage { last: id, snapshot: end, ..l }),
                Some(_) => return None,
            };
        }
        line.filter(|l| last.is_none_or(|wanted| l.last == wanted))
    }
}

impl History {
    pub(super) fn released(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<Release>(statement, out) else { return };
        let same = matches!(&entry.facts, Facts::ModelReleased { snapshot, signature, substantial }
            if (*snapshot, *signature, *substantial) == (said.snapshot, said.signature, said.substantial));
        out.require(same && entry.task == Some(said.task), Clause::FieldsDiffer);
        let Some(task) = self.tasks.get(&said.task) else { return out.add(Clause::UnknownTask) };
        let expected = Lineage { base: said.base, first: said.first, last: said.last, snapshot: said.snapshot };
        out.require(task.plan_digest() == said.plan && task.lineage(Some(said.last)) == Some(expected), Clause::Release);
        let approval = (said, statement.key);
        if !self.approvals.contains(&approval) {
            self.approvals.push(approval);
        }
        self.releases.push((index, said));
    }

    /// Only what was released, and was not withdrawn since, can be withdrawn.
    pub(super) fn withdrawn(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<Withdrawal>(statement, out) else { return };
        let same =
            matches!(&entry.facts, Facts::ModelWithdrawn { snapshot, reason } if (*snapshot, *reason) == (said.snapshot, said.reason));
        out.require(same && entry.task == Some(said.task), Clause::FieldsDiffer);
        let this = |task, snapshot| (task, snapshot) == (said.task, said.snapshot);
        let released = self.releases.iter().rev().find(|(_, r)| this(r.task, r.snapshot)).map(|(at, _)| *at);
        let withdrawn = self.withdrawals.iter().rev().find(|(_, w)| this(w.task, w.snapshot)).map(|(at, _)| *at);
        // A place in the log is above none: what was never released is not, and what was withdrawn last is no more.
        out.require(released > withdrawn, Clause::Withdrawal);
        self.withdrawals.push((index, said));
    }

    /// A review is signed by an administrator or a member, and speaks about entries that stood when it was written.
    pub(super) fn reviewed(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let who = statement.signer();
        let member = entry.institution == Some(who) && self.members.contains_key(&who);
        out.require(member || self.trust.administrators.contains(&statement.key), Clause::NotMember);
        let Ok(said) = statement.read::<Review>() else { return out.add(Clause::Signature) };
        let same = matches!(&entry.facts, Facts::AuditReviewed { first, last, size, root, findings }
            if (*first, *last, *size, *root, *findings) == (said.first, said.last, said.size, said.root, said.findings));
        out.require(same, Clause::FieldsDiffer);
        out.require(said.first <= said.last && said.last < said.size && said.size <= index.0, Clause::Review);
        self.reviews.push((index, said));
    }

    /// Administrators who approved exactly this release; the trust document says how many must (A14).
    pub fn approvals(&self, release: &Release) -> usize {
        self.approvals.iter().filter(|(said, _)| said == release).count()
    }

    /// Withdrawals in order, with where they stand.
    pub fn withdrawals(&self) -> &[(LeafIndex, Withdrawal)] {
        &self.withdrawals
    }

    /// Reviews in order, with where they stand.
    pub fn reviews(&self) -> &[(LeafIndex, Review)] {
        &self.reviews
    }

    pub(super) fn anchored(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<SiteAnchor>(entry, statement, out) else { return };
        let same = matches!(&entry.facts, Facts::SiteAnchored { size, root } if (*size, *root) == (said.size, said.root));
        out.require(same, Clause::FieldsDiffer);
        let anchors = self.anchors.entry(who).or_default();
        let grows = anchors.last().is_none_or(|(_, a)| said.size > a.size);
        out.require(grows, Clause::SiteAnchor);
        anchors.push((index, said));
    }

    /// Releases in order, with where they stand.
    pub fn releases(&self) -> &[(LeafIndex, Release)] {
        &self.releases
    }

    /// An institution's anchors in order, with where they stand.
    pub fn anchors(&self, who: ClientId) -> &[(LeafIndex, SiteAnchor)] {
        self.anchors.get(&who).map_or(&[], Vec::as_slice)
    }
}
