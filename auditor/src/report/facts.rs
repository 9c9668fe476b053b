//! What a report is made of: things that the fold knows, and entries worth naming. Knows no language and no HTML.

use crate::fold::Fold;
use crate::notes;
use audit::hash::leaf_hash;
use audit::note::MAX_NOTE_BYTES;
use audit::reader::{LogReader as _, note_path};
use protocol::entry::{Facts as EntryFacts, LogEntry, Outcome, Right, Rule, Ruling};
use protocol::history::{DatasetHistory, History, TaskHistory};
use protocol::ids::{ClientId, Sha256, TaskId};
use protocol::trust::TrustDocument;
use std::collections::{BTreeMap, BTreeSet};

/// Entries of one type that are kept by name; beyond this the page would be too long to read, and says how many it left out. Of each type, so that
/// no long log hides what is rare in it.
const MAX_KEPT: u64 = 1_000;

/// Rows of decisions; a server has few reasons, and whoever invents more of them makes no page longer.
const MAX_REASONS: usize = 100;

/// A witness policy in force from some size on.
#[derive(Clone, Debug)]
pub(super) struct PolicyFact {
    pub(super) from: u64,
    pub(super) witnesses: Vec<String>,
    /// Cosignatures that are needed; none before the first policy.
    pub(super) needed: Option<usize>,
}

/// A published checkpoint.
#[derive(Clone, Debug)]
pub(super) struct NoteFact {
    pub(super) size: u64,
    pub(super) cosigners: usize,
}

/// A task as far as its plan tells.
#[derive(Clone, Debug)]
pub(super) struct TaskFact {
    pub(super) id: TaskId,
    pub(super) history: TaskHistory,
}

/// What the fold knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) trust: Option<TrustDocument>,
    pub(super) names: BTreeMap<ClientId, String>,
    pub(super) datasets: BTreeMap<(ClientId, Sha256), DatasetHistory>,
    pub(super) tasks: Vec<TaskFact>,
    pub(super) policies: Vec<PolicyFact>,
    pub(super) notes: Vec<NoteFact>,
}

impl Facts {
    pub(super) fn of(fold: &Fold<'_>) -> Self {
        let history: &History = fold.history();
        let policy = |(from, p): (&u64, &audit::policy::Policy)| PolicyFact {
            from: *from,
            witnesses: p.witnesses().iter().map(|w| w.name.clone()).collect(),
            needed: needed(p),
        };
        Self {
            trust: Some(history.trust().clone()),
            names: crate::export::names(history),
            datasets: history.datasets().clone(),
            tasks: history.tasks().iter().map(|(id, t)| TaskFact { id: *id, history: t.clone() }).collect(),
            policies: fold.policies().by_size().iter().map(policy).collect(),
            notes: notes(fold),
        }
    }

    /// An institution's name, or the beginning of its id.
    pub(super) fn name(&self, who: ClientId) -> String {
        self.names.get(&who).cloned().unwrap_or_else(|| who.short())
    }
}

/// The fewest witnesses, in their order, that meet a policy: exact where any of them weigh alike, as `policy activate` makes them.
fn needed(policy: &audit::policy::Policy) -> Option<usize> {
    let keys: Vec<[u8; 32]> = policy.witnesses().iter().map(|w| w.key.public()).collect();
    policy.demands_witnesses().then(|| (1..=keys.len()).find(|k| policy.is_met(&keys.iter().take(*k).copied().collect()))).flatten()
}

/// Notes drawn; of more, every so many, and the last.
const MAX_NOTES: usize = 200;

/// The retained notes by size, with their cosigners under the policy of their size.
fn notes(fold: &Fold<'_>) -> Vec<NoteFact> {
    let sizes = notes::sizes(fold.log()).unwrap_or_default();
    let step = sizes.len().div_ceil(MAX_NOTES).max(1);
    let drawn = sizes.iter().rev().step_by(step).rev();
    let open = |size: &u64| {
        let bytes = fold.log().read(&note_path(*size), MAX_NOTE_BYTES).ok()??;
        let opened = fold.policies().at(*size)?.1.open(&bytes).ok()?;
        Some(NoteFact { size: *size, cosigners: opened.cosigners().len() })
    };
    drawn.filter_map(open).collect()
}

/// An entry that the page may name.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) ts: String,
    pub(super) kind: String,
    pub(super) leaf: String,
    pub(super) institution: Option<ClientId>,
    pub(super) task: Option<TaskId>,
    pub(super) round: Option<u64>,
    pub(super) code: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) facts: Option<EntryFacts>,
}

/// How often the same was decided about a right, and where first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) count: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Entries in order, as a second reading of a verified log meets them.
#[derive(Clone, Debug, Default)]
pub(super) struct Chronicle {
    pub(super) kept: BTreeMap<u64, Kept>,
    /// Entries by type, all of them.
    pub(super) counts: BTreeMap<String, u64>,
    /// Decisions about rights, all of them: by right, rule, ruling and reason.
    pub(super) decisions: BTreeMap<(Right, Rule, Ruling, String), Decided>,
    /// Acts that change the federation, and those of them that stand right behind the permission for them.
    pub(super) acts: u64,
    pub(super) permitted: u64,
    /// The right that the entry before allowed.
    allowed: Option<Right>,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    pub(super) left_out: u64,
}

/// Types that come by the thousand, of which a few are enough to show; the counts tell the rest.
const MANY: [&str; 1] = ["authz.denied"];
/// As many of them.
const FEW: u64 = 20;

impl Chronicle {
    pub(super) fn entry(&mut self, index: u64, bytes: &[u8]) {
        let Ok(e) = LogEntry::parse(bytes) else {
            *self.counts.entry("unknown".to_owned()).or_default() += 1;
            // What follows does not stand right behind a permission any more.
            self.allowed = None;
            return;
        };
        let kind = e.kind().name().to_owned();
        let count = self.counts.entry(kind.clone()).or_default();
        *count += 1;
        let beyond = *count > if MANY.contains(&kind.as_str()) { FEW } else { MAX_KEPT };
        self.first.get_or_insert_with(|| e.stamp.ts.clone());
        self.last = Some(e.stamp.ts.clone());
        self.decision(index, &e);
        if beyond {
            self.left_out += 1;
            return;
        }
        let kept = Kept {
            ts: e.stamp.ts,
            kind,
            leaf: leaf_hash(bytes).to_string(),
            institution: e.institution,
            task: e.task,
            round: e.round.map(|r| r.0),
            code: e.code,
            outcome: e.outcome,
            facts: Some(e.facts),
        };
        self.kept.insert(index, kept);
    }

    /// Counts a decision about a right, and the use of one.
    fn decision(&mut self, index: u64, e: &LogEntry) {
        let used = e.facts.right();
        self.acts += u64::from(used.is_some());
        self.permitted += u64::from(used.is_some() && used == self.allowed);
        self.allowed = e.decision.filter(|d| d.ruling == Ruling::Allow).map(|d| d.right);
        let Some(d) = e.decision else { return };
        let mut key = (d.right, d.rule, d.ruling, e.code.clone().unwrap_or_default());
        if self.decisions.len() >= MAX_REASONS && !self.decisions.contains_key(&key) {
            "…".clone_into(&mut key.3);
        }
        let decided = self.decisions.entry(key).or_insert(Decided { count: 0, first: index, last: index });
        (decided.count, decided.last) = (decided.count + 1, index);
    }

    /// Kept entries of these types.
    pub(super) fn of<'a>(&'a self, kinds: &'a [&'a str]) -> impl Iterator<Item = (u64, &'a Kept)> {
        self.kept.iter().filter(|(_, k)| kinds.contains(&k.kind.as_str())).map(|(i, k)| (*i, k))
    }

    /// Kept entries of a round.
    pub(super) fn of_round(&self, task: TaskId, round: u64) -> impl Iterator<Item = (u64, &Kept)> {
        self.kept.iter().filter(move |(_, k)| k.task == Some(task) && k.round == Some(round)).map(|(i, k)| (*i, k))
    }

    /// Entries that tell of something that did not go as it should: refusals, failures, drops, alarms, ends without a result.
    pub(super) fn anomalies(&self) -> Vec<(u64, &Kept)> {
        let odd: BTreeSet<&str> = [
            "audit.alarm",
            "authz.denied",
            "round.abandoned",
            "round.declined",
            "round.sum.failed",
            "round.update.dropped",
            "round.update.rejected",
            "budget.exhausted",
            "budget.repaired",
            "member.suspended",
            "member.revoked",
            "key.revoked",
            "process.recovered",
            "process.clock.skew",
            "process.storage.low",
            "audit.witness.missing",
        ]
        .into();
        let unclean = |k: &Kept| matches!(k.facts, Some(EntryFacts::ProcessStarted { clean: false, .. }));
        let is_odd = |k: &Kept| odd.contains(k.kind.as_str()) || k.outcome != Outcome::Ok || unclean(k);
        self.kept.iter().filter(|(_, k)| is_odd(k)).map(|(i, k)| (*i, k)).collect()
    }
}
