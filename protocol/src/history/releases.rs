//! Releases and site anchors against the log so far (I10, I14).

use super::rules::{Clause, Report};
use super::{Approval, Effect, History, RoundState, TaskHistory};
use crate::codec;
use crate::decimal::Decimal;
use crate::entry::{Facts, LogEntry};
use crate::ids::{ClientId, LeafIndex, RoundId, SnapshotDigest, TaskId};
use crate::plan::GateCode;
use crate::release::{Release, Review, SiteAnchor, Withdrawal};
use crate::site_policy::SitePolicyDeclaration;
use crate::statement::{Checked, Payload, Statement, StatementKind};

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
    /// Whether the plan trains: a task that counts ends with figures, which are no model. A plan that was not shown is another rule's matter.
    pub fn gives_models(&self) -> bool {
        self.plan().is_none_or(|p| p.count.is_none())
    }

    /// The lineage of the model that `last` closed with, or of the newest model; nothing where no round closed, a link is missing, or the
    /// task gives no models.
    pub fn lineage(&self, last: Option<RoundId>) -> Option<Lineage> {
        if !self.gives_models() {
            return None;
        }
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
        // Signed before a withdrawal: void, whoever brings it again.
        if said.after != self.withdrawn_last(said.task, said.snapshot) {
            return out.add(Clause::ReleaseAfter);
        }
        let same = matches!(&entry.facts, Facts::ModelReleased { snapshot, signature, substantial, gates, overridden }
            if (*snapshot, *signature, *substantial, gates, *overridden)
                == (said.snapshot, said.signature, said.substantial, &said.gates, said.overridden));
        out.require(same && entry.task == Some(said.task), Clause::FieldsDiffer);
        let Some(task) = self.tasks.get(&said.task) else { return out.add(Clause::UnknownTask) };
        let expected = Lineage { base: said.base, first: said.first, last: said.last, snapshot: said.snapshot };
        out.require(task.plan_digest() == said.plan && task.lineage(Some(said.last)) == Some(expected), Clause::Release);
        out.require(self.gates_hold(&said), Clause::Gates);
        if !self.proposed.iter().any(|(_, r)| *r == said) {
            self.proposed.push((index, said.clone()));
        }
        if self.effect(statement, index) == Effect::Now {
            self.releases.push((index, said));
        }
    }

    /// Whether a release states exactly the gates of its plan, the figures that the log has as the log has them, and a reason where the
    /// model did not pass. A plan that was not shown is another rule's matter.
    fn gates_hold(&self, said: &Release) -> bool {
        let Some(plan) = self.tasks.get(&said.task).and_then(TaskHistory::plan) else { return true };
        let gates = plan.gates();
        let of_plan = said.gates.len() == gates.len() && said.gates.iter().zip(gates).all(|(r, g)| r.is_of(*g));
        let of_log = said.gates.iter().all(|r| !r.code.is_in_the_log() || self.figure(said.task, said.last, r.code) == Some(r.figure));
        let stated = gates.iter().any(|g| !g.code.is_in_the_log());
        of_plan && of_log && said.evaluation.is_some() == stated && said.passed() == said.overridden.is_none()
    }

    /// The figure of a gate for the model that `last` closed with, as far as the log has it.
    pub fn figure(&self, task: TaskId, last: RoundId, code: GateCode) -> Option<Decimal> {
        let of = self.tasks.get(&task)?;
        let closed = || of.rounds().iter().filter(|(id, r)| **id <= last && matches!(r.state, RoundState::Closed(_)));
        let whole = |n: usize| u64::try_from(n).ok().and_then(|n| Decimal::new(n, 0).ok());
        match code {
            GateCode::Epsilon => {
                let spends = self.datasets.values().flat_map(|d| &d.spends).filter(|s| s.task == task && s.round <= last);
                Some(spends.map(|s| s.spend.epsilon_after).max().unwrap_or(Decimal::ZERO))
            }
            GateCode::Rounds => whole(closed().count()),
            GateCode::Cohort => {
                let opened = closed().flat_map(|(_, r)| r.groups.values()).filter(|g| g.result.is_some());
                opened.filter_map(|g| g.certificate.as_ref()).map(|c| c.headers().len()).min().and_then(whole)
            }
            GateCode::Loss | GateCode::Accuracy | GateCode::MacroF1 => None,
        }
    }

    /// Only what was released, and was not withdrawn since, can be withdrawn.
    pub(super) fn withdrawn(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some(said) = self.administrator::<Withdrawal>(statement, out) else { return };
        let same =
            matches!(&entry.facts, Facts::ModelWithdrawn { snapshot, reason } if (*snapshot, *reason) == (said.snapshot, said.reason));
        out.require(same && entry.task == Some(said.task), Clause::FieldsDiffer);
        let (released, withdrawn) = (self.released_last(said.task, said.snapshot), self.withdrawn_last(said.task, said.snapshot));
        // A place in the log is above none: what was never released is not, and what was withdrawn last is no more. Words about an earlier
        // release are void.
        if released <= withdrawn || released != Some(said.release) {
            return out.add(Clause::Withdrawal);
        }
        if self.effect(statement, index) == Effect::Now {
            self.withdrawals.push((index, said));
        }
    }

    /// Where this model was released last.
    pub fn released_last(&self, task: TaskId, snapshot: SnapshotDigest) -> Option<LeafIndex> {
        self.releases.iter().rev().find(|(_, r)| (r.task, r.snapshot) == (task, snapshot)).map(|(at, _)| *at)
    }

    /// Where this model was withdrawn last.
    pub fn withdrawn_last(&self, task: TaskId, snapshot: SnapshotDigest) -> Option<LeafIndex> {
        self.withdrawals.iter().rev().find(|(_, w)| (w.task, w.snapshot) == (task, snapshot)).map(|(at, _)| *at)
    }

    /// A review is signed by an administrator or a member, and speaks about entries that stood when it was written.
    pub(super) fn reviewed(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let who = statement.signer();
        let member = entry.institution == Some(who) && self.is_active(who);
        out.require(member || self.trust.administrators.contains(&statement.key), Clause::NotMember);
        let Ok(said) = statement.read::<Review>() else { return out.add(Clause::Signature) };
        let same = matches!(&entry.facts, Facts::AuditReviewed { first, last, size, root, findings }
            if (*first, *last, *size, *root, *findings) == (said.first, said.last, said.size, said.root, said.findings));
        out.require(same, Clause::FieldsDiffer);
        out.require(said.first <= said.last && said.last < said.size && said.size <= index.0, Clause::Review);
        self.reviews.push((index, said));
    }

    /// Who approved exactly this act; the trust document says how many must (A14). Policies are known until one of them takes effect.
    pub fn approval<P: Payload>(&self, said: &P) -> Option<&Approval> {
        self.approvals.of(P::KIND, &codec::encode(said))
    }

    /// Who approved what this statement says.
    pub fn approval_of(&self, statement: &Statement) -> Option<&Approval> {
        self.approvals.of(statement.kind, &statement.payload)
    }

    /// Whether an act takes effect with this word: it is the m-th administrator's first.
    pub fn takes_effect(&self, statement: &Statement) -> bool {
        let (have, effective, new) = match self.approval_of(statement) {
            Some(a) => (a.have(), a.effective().is_some(), a.by(statement.signer()).is_none()),
            None => (0, false, true),
        };
        !effective && have + usize::from(new) >= usize::from(self.trust.threshold)
    }

    /// Acts of administrators that wait for more of them: where the newest word stands, what it is about, who said it.
    pub fn waiting(&self) -> Vec<(LeafIndex, StatementKind, &Approval)> {
        self.approvals.waiting()
    }

    /// Releases that administrators signed, whether or not enough of them did, with where the first of them stands.
    pub fn proposed_releases(&self) -> &[(LeafIndex, Release)] {
        &self.proposed
    }

    /// Withdrawals that took effect in order, each with where the last word that it took stands.
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

    /// What an institution declares of its own policy follows what it declared before, and is no older than the log that it has seen.
    pub(super) fn site_policy_declared(&mut self, index: LeafIndex, entry: &LogEntry, statement: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<SitePolicyDeclaration>(entry, statement, out) else { return };
        out.require(entry.facts == said.facts(), Clause::FieldsDiffer);
        let declared = self.site_policies.entry(who).or_default();
        let last = declared.last().map(|(_, before)| *before);
        let grows = last.is_none_or(|before| said.from >= before.from) && said.from <= index.0;
        out.require(said.follows(last.map(|before| before.new)) && grows, Clause::SitePolicy);
        declared.push((index, said));
    }

    /// Declarations of an institution's site policy in order, with where they stand.
    pub fn site_policies(&self, who: ClientId) -> &[(LeafIndex, SitePolicyDeclaration)] {
        self.site_policies.get(&who).map_or(&[], Vec::as_slice)
    }

    /// Releases that took effect in order, each with where the last word that it took stands.
    pub fn releases(&self) -> &[(LeafIndex, Release)] {
        &self.releases
    }

    /// An institution's anchors in order, with where they stand.
    pub fn anchors(&self, who: ClientId) -> &[(LeafIndex, SiteAnchor)] {
        self.anchors.get(&who).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::RoundHistory;
    use crate::ids::{ManifestDigest, PlanDigest, Sha256};
    use crate::manifest::Manifest;
    use crate::params::{CommitteeSize, PS_A};
    use crate::plan::{Count, Counted, Plan, WordRule};
    use crate::time::Time;

    fn plan() -> Plan {
        serde_json::from_value(serde_json::json!({
            "federation": "demo", "task": TaskId([7; 16]),
            "model": {"vocab": 64, "max_tokens": 16, "width": 8, "heads": 2, "layers": 1, "hidden": 16, "classes": ["no", "yes"]},
            "tokenizer": "hashed-characters", "base": SnapshotDigest([5; 32]), "rounds": 2,
            "shards": [], "groups": [], "cohort_min": 2, "n_max": 10, "committee": {"decryptors": 3, "corrupt": 1},
            "privacy": {"unit": "record", "mode": "local", "clip_function": "auto-s", "clip": "1", "grid_bits": 16,
                "noise_multiplier": "2", "sampling_rate": "0.01", "delta": "0.000001", "epsilon_cap": "6", "max_records_per_unit": 1},
            "local": {"steps": 3, "micro_batch": 4, "learning_rate": "0.001", "warmup_steps": 1, "weight_decay": "0.01"},
            "weighting": "uniform", "strategy": {"fed-avg": {"rate": "1"}},
            "deadlines": {"selecting_ms": 1000, "reporting_ms": 1000, "certifying_ms": 1000, "opening_ms": 1000}
        }))
        .unwrap()
    }

    /// A round that started from these weights and closed with those.
    fn closed(round: RoundId, from: u8, to: u8) -> RoundHistory {
        let manifest = Manifest {
            federation: "demo".into(),
            task: TaskId([7; 16]),
            round,
            plan: PlanDigest([1; 32]),
            snapshot: SnapshotDigest([from; 32]),
            parameter_set: PS_A,
            groups: Vec::new(),
            roster: Sha256([0; 32]),
            committee: Vec::new(),
            size: CommitteeSize { decryptors: 3, corrupt: 1 },
            reporting_until: Time(1),
            certifying_until: Time(2),
            opening_until: Time(3),
            log_size: 1,
            previous_end: Sha256([0; 32]),
        };
        RoundHistory {
            state: RoundState::Closed(SnapshotDigest([to; 32])),
            manifest: Some((manifest, ManifestDigest([2; 32]))),
            ..RoundHistory::opened()
        }
    }

    fn task(plan: Plan) -> TaskHistory {
        let mut task = TaskHistory::approved(PlanDigest([1; 32]));
        task.learn_plan(plan);
        task.with_rounds([closed(RoundId(1), 5, 6), closed(RoundId(2), 6, 7)])
    }

    #[test]
    fn a_task_that_counts_gives_nothing_to_release() {
        let trained = task(plan());
        let line = trained.lineage(None).unwrap();
        assert_eq!(
            (line.base, line.first, line.last, line.snapshot),
            (SnapshotDigest([5; 32]), RoundId(1), RoundId(2), SnapshotDigest([7; 32]))
        );
        assert_eq!(trained.lineage(Some(RoundId(1))).unwrap().snapshot, SnapshotDigest([6; 32]));
        let count = Count { limbs: 1, what: Counted::Words { rule: WordRule::Jieba, threshold: "4.5".parse().unwrap() } };
        let counted = task(Plan { count: Some(count), ..plan() });
        assert!(!counted.gives_models());
        assert_eq!((counted.lineage(None), counted.lineage(Some(RoundId(1)))), (None, None));
    }
}
