//! One task on the server: its plan, the round under way, what was said in it, and how long it took.

use protocol::history::{History, RoundState};
use protocol::ids::{ClientId, GroupId, PlanDigest, RoundId, SnapshotDigest, TaskId};
use protocol::manifest::{Manifest, Prekeys, committee_of};
use protocol::messages::ServerMessage;
use protocol::plan::Plan;
use protocol::round::{Phase, Round, Setup};
use protocol::time::Time;
use std::collections::BTreeMap;

/// A task that is open.
pub(crate) struct TaskRun {
    pub(crate) id: TaskId,
    pub(crate) plan: Plan,
    pub(crate) digest: PlanDigest,
    pub(crate) active: Option<Active>,
    /// Entries that must be under a quorum checkpoint before the next step (A33d).
    pub(crate) cover: u64,
    pub(crate) closed: u64,
    pub(crate) abandoned: u64,
    pub(crate) stage: Stage,
    hold_until: Option<Time>,
    /// Whether too few members are left for the plan, and that was told.
    few: bool,
}

/// Where the task stands between rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Rounds follow.
    Open,
    /// `task.ended` waits for its checkpoint.
    Ending(SnapshotDigest),
    /// Over.
    Ended(SnapshotDigest),
}

/// The round under way.
pub(crate) struct Active {
    pub(crate) id: RoundId,
    pub(crate) machine: Round,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) snapshot: SnapshotDigest,
    pub(crate) meter: Meter,
}

/// What a round took: for operators, never part of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) entered: Vec<(Phase, Time)>,
    pub(crate) sum_s: f64,
    pub(crate) open_s: f64,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) members: BTreeMap<GroupId, u16>,
}

/// One line of `rounds.jsonl`.
#[derive(serde::Serialize)]
pub(crate) struct RoundReport {
    pub(crate) task: TaskId,
    pub(crate) round: RoundId,
    pub(crate) snapshot: Option<SnapshotDigest>,
    pub(crate) cohort: BTreeMap<u32, u16>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) selecting_s: f64,
    pub(crate) reporting_s: f64,
    pub(crate) certify_s: f64,
    pub(crate) opening_s: f64,
    pub(crate) sum_s: f64,
    pub(crate) open_s: f64,
}

impl Meter {
    /// Seconds between entering `phase` and entering the next one.
    pub(crate) fn seconds(&self, phase: Phase, end: Time) -> f64 {
        let Some(at) = self.entered.iter().position(|(p, _)| *p == phase) else { return 0.0 };
        let until = self.entered.get(at + 1).map_or(end, |(_, t)| *t);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a round are far below 2^53")]
        let ms = until.ms_since(self.entered[at].1) as f64;
        ms / 1000.0
    }
}

impl Active {
    pub(crate) fn begin(now: Time, setup: Setup) -> Self {
        let (id, snapshot) = (setup.round, setup.snapshot);
        let machine = Round::begin(now, setup);
        let meter = Meter { entered: vec![(Phase::Selecting, now)], ..Meter::default() };
        Self { id, machine, manifest: None, snapshot, meter }
    }

    pub(crate) fn note_phase(&mut self, now: Time) {
        let phase = self.machine.phase();
        if self.meter.entered.last().map(|(p, _)| *p) != Some(phase) {
            self.meter.entered.push((phase, now));
        }
    }
}

impl TaskRun {
    pub(crate) fn new(id: TaskId, plan: Plan, digest: PlanDigest, cover: u64) -> Self {
        Self { id, plan, digest, active: None, cover, closed: 0, abandoned: 0, stage: Stage::Open, hold_until: None, few: false }
    }

    /// The open task of a log; without one the task that ended last, of whose end its members may not have heard.
    pub(crate) fn resume(history: &History) -> Option<Self> {
        let open = history.tasks().iter().find(|(_, t)| t.is_open());
        let last = || history.tasks().iter().filter(|(_, t)| t.ended().is_some()).max_by_key(|(_, t)| t.ended());
        let (id, task) = open.or_else(last)?;
        let mut this = Self::new(*id, task.plan()?.clone(), task.plan_digest(), history.size());
        if task.ended().is_some() {
            this.stage = Stage::Ending(task.snapshot()?);
        }
        for round in task.rounds().values() {
            match round.state {
                RoundState::Closed(_) => this.closed += 1,
                RoundState::Abandoned => this.abandoned += 1,
                RoundState::Selecting | RoundState::Reporting | RoundState::Certifying | RoundState::Opening => {}
            }
        }
        Some(this)
    }

    pub(crate) fn is_current(&self, task: TaskId, round: RoundId) -> bool {
        self.id == task && self.active.as_ref().is_some_and(|a| a.id == round)
    }

    /// A decryptor's place in the round's committee, from 0.
    pub(crate) fn committee_place(&self, who: ClientId) -> Option<usize> {
        let position = self.active.as_ref()?.manifest.as_ref()?.position(who)?;
        usize::from(position.0).checked_sub(1)
    }

    /// What a client that connects now must know of the task; the round itself says again what it still waits for.
    pub(crate) fn catch_up(&self) -> ServerMessage {
        match self.stage {
            Stage::Ended(snapshot) => ServerMessage::TaskEnded { task: self.id, snapshot },
            Stage::Open | Stage::Ending(_) => ServerMessage::TaskOpened { task: self.id, plan: self.digest },
        }
    }

    /// What the next round starts from, if it may begin now. `published` is the size of the latest checkpoint with a quorum, and it.
    pub(crate) fn next_round(
        &mut self,
        now: Time,
        history: &History,
        (published, checkpoint): (u64, &[u8]),
        connected: Vec<ClientId>,
    ) -> Option<Setup> {
        let task = history.task(self.id)?;
        let round = task.last_round().map_or(Some(RoundId::FIRST), RoundId::next)?;
        let waits = self.active.is_some() || self.stage != Stage::Open || published < self.cover || round.0 > self.plan.rounds;
        if waits || connected.len() < self.plan.fewest() {
            return None;
        }
        let members: BTreeMap<_, _> = history.active().map(|(id, m)| (*id, m.key)).collect();
        let ids: Vec<_> = members.keys().copied().collect();
        let committee = committee_of(&ids, task.previous_end(), self.plan.committee);
        // Who was suspended, revoked or has left is replaced by nobody: a smaller committee would be another promise than the plan's.
        let few = committee.len() < usize::from(self.plan.committee.decryptors) || ids.len() < self.plan.fewest();
        if few != std::mem::replace(&mut self.few, few) && few {
            tracing::error!(
                members = ids.len(),
                "no round begins: fewer members in good standing than the plan's committee or cohort needs"
            );
        }
        if few {
            return None;
        }
        // A round begins only under keys that last until its end; who has none makes new ones when the old ones have expired.
        let end = now.plus_ms(self.plan.deadlines.longest_ms());
        let lasts = |id: &ClientId| Prekeys::choose(task.prekeys(*id), round, end).is_some();
        if !committee.iter().all(lasts) {
            return None;
        }
        let covering = |id: &ClientId| task.prekeys(*id).iter().filter(|p| p.key(round).is_some()).cloned().collect();
        let prekeys: BTreeMap<ClientId, Vec<Prekeys>> = ids.iter().map(|id| (*id, covering(id))).collect();
        // The first round waits a while for members that are still starting; later ones do not wait for those that are gone.
        let everybody = connected.len() == ids.len() && ids.iter().all(lasts);
        let hold = *self.hold_until.get_or_insert(now.plus_ms(self.plan.deadlines.selecting_ms));
        if round == RoundId::FIRST && !everybody && now < hold {
            return None;
        }
        Some(Setup {
            plan: self.plan.clone(),
            plan_digest: self.digest,
            task: self.id,
            round,
            snapshot: task.snapshot()?,
            previous_end: task.previous_end(),
            log_size: published,
            checkpoint: checkpoint.to_vec(),
            members,
            connected,
            prekeys,
        })
    }
}
