//! Releases and site anchors against the log so far (I10, I14).

use super::rules::{Clause, Report};
use super::{History, RoundState, TaskHistory};
use crate::entry::{Facts, LogEntry};
use crate::ids::{ClientId, LeafIndex, RoundId, SnapshotDigest};
use crate::release::{Release, SiteAnchor};
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
        self.releases.push((index, said));
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
