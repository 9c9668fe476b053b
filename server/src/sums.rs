//! The summing worker: adds accepted updates, opens certified sums, takes the server's step. A thread of its own, off the async ones. Sums
//! and opened integers lie on disk; a block and a chunk are in memory, whatever the model and the cohort (transport-storage.md S11).

mod blocks;
mod values;

use crate::durable;
use crate::layout::Layout;
use crate::uploads::Uploads;
use blocks::{BlockFile, SumError};
use crypto::open::{OpenError, OpenedSum, Opener};
use crypto::share::{DecodeKeySumError, KeySum, decode_key_sum};
use protocol::decimal::Decimal;
use protocol::ids::{Address, GroupId, HeaderDigest, ManifestDigest, ShardId, SnapshotDigest};
use protocol::manifest::{Certificate, GroupSpec, Manifest, OpeningPayload, SumResult};
use protocol::plan::{Plan, Weighting};
use protocol::reject::Rejection;
use protocol::round::Blamed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use train::combine::{self, GroupSum, Mass};
use train::count::Known;
use train::strategy::StrategyState;
use values::ValueFile;

/// Updates that are added together when they wait: each block is then read and written once for all of them.
const TOGETHER: usize = 64;
/// Longest memory of a strategy: text of two floats per coordinate of the largest model.
const MAX_MEMORY: u64 = 8 << 30;

/// Something to do.
pub(crate) enum Job {
    /// A round's manifest: start empty sums.
    Begin(Box<Manifest>, ManifestDigest),
    /// Add accepted updates.
    Add(GroupId, Vec<HeaderDigest>),
    /// Open a certified sum.
    Open(Box<Opening>),
    /// Take the server's step from the opened groups.
    Advance(Box<Step>),
}

/// What [`Job::Open`] needs.
pub(crate) struct Opening {
    pub(crate) plan: Plan,
    pub(crate) group: GroupId,
    pub(crate) certificate: Certificate,
    pub(crate) openings: Vec<OpeningPayload>,
    /// Σ W of the certified members as the log has it; nothing where the group carries no weights.
    pub(crate) weight: Option<u64>,
    /// Σ N̂ of the certified members as they had declared it before the manifest.
    pub(crate) units: Option<u64>,
}

/// What [`Job::Advance`] needs.
pub(crate) struct Step {
    pub(crate) plan: Plan,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) snapshot: SnapshotDigest,
}

/// What came of it.
pub(crate) enum Done {
    /// An opened sum, or why there is none.
    Opened(Box<Opened>),
    /// The next weights.
    Advanced(Result<SnapshotDigest, WorkError>),
}

/// What came of [`Job::Open`].
pub(crate) struct Opened {
    pub(crate) group: GroupId,
    pub(crate) result: Result<SumResult, Rejection>,
    pub(crate) blame: Blamed,
    pub(crate) seconds: Seconds,
}

/// Time spent on one group, for the round's report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seconds {
    pub(crate) sum: f64,
    pub(crate) open: f64,
}

/// Why a step could not be taken: ours, or the disk's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WorkError {
    /// The disk.
    #[error("a file of the step could not be read or written at {path}")]
    Storage {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The strategy's memory.
    #[error("what the strategy remembers cannot be read or written at {path}: restore the file, or end the task")]
    Memory {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Not a model.
    #[error("the snapshot is not of the plan's model")]
    Snapshot(#[from] train::snapshot::SnapshotError),
    /// The strategy refuses.
    #[error("the strategy could not be applied")]
    Strategy(#[from] train::strategy::StrategyError),
    /// The sum gives no counts.
    #[error("the opened sum gives no counts")]
    Count(#[from] train::count::CountError),
    /// The sums give no mean.
    #[error("the opened sums give no mean")]
    Combine(#[from] train::combine::CombineError),
}

/// Sum of one group so far.
struct RunningSum {
    sum: BlockFile,
    holds: BTreeSet<HeaderDigest>,
    seconds: Seconds,
}

/// The worker's state.
pub(crate) struct Worker {
    layout: Layout,
    uploads: Uploads,
    round: Option<(Manifest, ManifestDigest)>,
    sums: BTreeMap<GroupId, RunningSum>,
    opened: BTreeMap<GroupId, (ValueFile, Mass)>,
}

impl Worker {
    /// Starts the thread. Results come back through `done`.
    pub(crate) fn start(layout: Layout, uploads: Uploads, done: impl Fn(Done) + Send + 'static) -> std::io::Result<Sender<Job>> {
        let (sender, jobs) = channel();
        let mut worker = Self::new(layout, uploads);
        std::thread::Builder::new().name("sums".to_owned()).spawn(move || {
            let mut next = None;
            while let Some(mut job) = next.take().or_else(|| jobs.recv().ok()) {
                if let Job::Add(group, headers) = &mut job {
                    next = more_of(*group, &jobs, headers);
                }
                if let Some(result) = worker.work(job) {
                    done(result);
                }
            }
        })?;
        Ok(sender)
    }

    fn new(layout: Layout, uploads: Uploads) -> Self {
        Self { layout, uploads, round: None, sums: BTreeMap::new(), opened: BTreeMap::new() }
    }

    fn work(&mut self, job: Job) -> Option<Done> {
        match job {
            Job::Begin(manifest, digest) => {
                (self.sums, self.opened) = (BTreeMap::new(), BTreeMap::new());
                self.round = Some((*manifest, digest));
                None
            }
            Job::Add(group, headers) => {
                self.add(group, &headers);
                None
            }
            Job::Open(opening) => {
                let mut blame = Blamed::default();
                let result = self.open(&opening, &mut blame);
                let seconds = self.sums.get(&opening.group).map(|s| s.seconds).unwrap_or_default();
                Some(Done::Opened(Box::new(Opened { group: opening.group, result, blame, seconds })))
            }
            Job::Advance(step) => Some(Done::Advanced(self.advance(&step))),
        }
    }

    /// Adds updates to their group's running sum, each once. A sum is scratch: one that cannot be added to is dropped and made again when
    /// opened.
    fn add(&mut self, id: GroupId, headers: &[HeaderDigest]) {
        let started = Instant::now();
        let Some(mut group) = self.sums.remove(&id).or_else(|| self.empty(id)) else { return };
        let fresh: BTreeSet<HeaderDigest> = headers.iter().copied().filter(|h| !group.holds.contains(h)).collect();
        if !fresh.is_empty()
            && let Err(e) = self.add_chunks(&mut group.sum, &fresh)
        {
            return tracing::warn!(
                group = id.0,
                error = &e as &dyn std::error::Error,
                "a running sum is dropped; it is made again when it is opened"
            );
        }
        group.holds.extend(fresh);
        group.seconds.sum += started.elapsed().as_secs_f64();
        self.sums.insert(id, group);
    }

    fn empty(&self, id: GroupId) -> Option<RunningSum> {
        let spec = self.round.as_ref()?.0.group(id)?;
        let sum = BlockFile::new(spec, &self.layout.sums());
        let sum = sum.inspect_err(|e| tracing::warn!(group = id.0, error = e as &dyn std::error::Error, "no room for a sum")).ok()?;
        Some(RunningSum { sum, holds: BTreeSet::new(), seconds: Seconds::default() })
    }

    fn add_chunks(&self, sum: &mut BlockFile, headers: &BTreeSet<HeaderDigest>) -> Result<(), SumError> {
        let lists = headers.iter().map(|h| self.uploads.chunks_of(*h).ok_or(SumError::Unknown)).collect::<Result<Vec<_>, _>>()?;
        sum.add(lists.len(), |update, index| {
            let list = lists.get(update).ok_or(SumError::Unknown)?;
            let address = usize::try_from(index).ok().and_then(|at| list.get(at)).ok_or(SumError::Unknown)?;
            Ok(self.uploads.read(address)?)
        })?;
        headers.iter().zip(&lists).for_each(|(header, chunks)| self.keep_list(*header, chunks));
        Ok(())
    }

    /// Keeps the order of an update's chunks beside them: the header signs only a root over it, and whoever makes the sum again needs it
    /// (crypto.md C61). Nothing of the round rests on it.
    fn keep_list(&self, header: HeaderDigest, chunks: &[Address]) {
        let lines: String = chunks.iter().map(|a| format!("{a}\n")).collect();
        if let Err(e) = durable::write_new(&self.layout.chunk_list(&header), lines.as_bytes()) {
            tracing::warn!(header = %header, error = %e, "the list of an update's chunks is not kept");
        }
    }

    /// The sum over exactly the certified set: the running one if it holds that set, else made again from the stored chunks (S10).
    fn certified_sum(&mut self, id: GroupId, certificate: &Certificate) -> Option<()> {
        // Both ascend.
        let holds = |worker: &Self| worker.sums.get(&id).is_some_and(|s| s.holds.iter().eq(certificate.headers()));
        if !holds(self) {
            self.sums.remove(&id);
            self.add(id, certificate.headers());
        }
        holds(self).then_some(())
    }

    fn open(&mut self, job: &Opening, blamed: &mut Blamed) -> Result<SumResult, Rejection> {
        let (id, certificate) = (job.group, &job.certificate);
        self.certified_sum(id, certificate).ok_or(Rejection::BadSum)?;
        let started = Instant::now();
        let (manifest, digest) = self.round.clone().ok_or(Rejection::WrongRound)?;
        let spec = manifest.group(id).ok_or(Rejection::WrongGroup)?;
        let decoded = decode_key_sum(manifest.size, certificate, &job.openings);
        let blame = decoded.as_ref().map_or_else(DecodeKeySumError::blame, |d| &d.blame);
        blamed.decryptors = blame.decryptors.iter().map(|(position, _)| *position).collect();
        blamed.updates.clone_from(&blame.clients);
        blamed.disputed = blame.disputed.iter().map(|d| (d.header, d.position)).collect();
        let decoded =
            decoded.inspect_err(|e| tracing::warn!(group = id.0, error = %e, "openings give no key sum")).map_err(|_| Rejection::BadSum)?;
        let opened = self
            .open_sum((digest, spec), certificate, &decoded.candidates)
            .inspect_err(|e| tracing::warn!(group = id.0, error = e as &dyn std::error::Error, "the sum does not open"))
            .map_err(|_| Rejection::BadSum)?;
        if opened.weight != job.weight {
            tracing::warn!(group = id.0, "the opened weights are not those that the log declares");
            return Err(Rejection::BadWeight);
        }
        let mass = mass(&job.plan, opened.weight, certificate.members(), job.units).ok_or(Rejection::BadWeight)?;
        within_norm(&job.plan, &opened.values, mass)
            .inspect_err(|_| tracing::warn!(group = id.0, "the mean of the group is longer than the plan allows"))?;
        let result = SumResult {
            manifest: digest,
            group: id,
            set: certificate.payload().set,
            sum_root: opened.sum_root,
            key_sum: opened.key_sum_digest,
            values: opened.value_digest,
            residual_ratio: Decimal::ceil(opened.residual_ratio, 6).map_err(|_| Rejection::BadSum)?,
        };
        if let Some(group) = self.sums.get_mut(&id) {
            group.seconds.open += started.elapsed().as_secs_f64();
        }
        self.opened.insert(id, (opened.values, mass));
        Ok(result)
    }

    /// Opens a group with the first candidate that passes every check over all blocks (crypto.md C56, C59, C60). A false one does not get
    /// beyond the first block: its residuals are uniform in every polynomial. Blocks that cannot be read are made again, once.
    fn open_sum(
        &mut self,
        (digest, spec): (ManifestDigest, &GroupSpec),
        certificate: &Certificate,
        candidates: &[KeySum],
    ) -> Result<OpenedSum<ValueFile>, NotOpened> {
        let mut first = None;
        for key_sum in candidates {
            let mut opened = self.open_with((digest, spec), certificate, key_sum);
            if let Err(NotOpened::Sum(_)) = opened {
                self.sums.remove(&spec.id);
                self.certified_sum(spec.id, certificate).ok_or(NotOpened::Gone)?;
                opened = self.open_with((digest, spec), certificate, key_sum);
            }
            match opened {
                Err(NotOpened::Refused(e)) => first = first.or(Some(e)),
                settled => return settled,
            }
        }
        Err(first.unwrap_or(OpenError::WrongKeySum).into())
    }

    fn open_with(
        &self,
        (digest, spec): (ManifestDigest, &GroupSpec),
        certificate: &Certificate,
        key_sum: &KeySum,
    ) -> Result<OpenedSum<ValueFile>, NotOpened> {
        let sum = &self.sums.get(&spec.id).ok_or(NotOpened::Gone)?.sum;
        let values = ValueFile::new(spec, &self.layout.sums()).map_err(SumError::from)?;
        let mut opener = Opener::into_sink(digest, spec, certificate, key_sum, values)?;
        for index in 0..sum.blocks() {
            opener.open_block(&sum.block(index)?)?;
        }
        Ok(opener.finish()?)
    }

    fn advance(&self, step: &Step) -> Result<SnapshotDigest, WorkError> {
        let path = self.layout.snapshot(&step.snapshot, step.plan.snapshot_ending());
        let bytes = std::fs::read(&path).map_err(storage(&path))?;
        let digest = match &step.plan.count {
            Some(_) => self.count(step, &bytes)?,
            None => self.train(step, &bytes)?,
        };
        if let Some((manifest, _)) = &self.round {
            let path = self.layout.opened(&step.plan.task, manifest.round);
            self.write_opened(&path).map_err(storage(&path))?;
        }
        Ok(digest)
    }

    /// The next weights.
    fn train(&self, step: &Step, bytes: &[u8]) -> Result<SnapshotDigest, WorkError> {
        let weights = train::snapshot::from_bytes(&step.plan.model, bytes)?;
        let mean = self.mean(step)?;
        let state = self.strategy_state(step)?;
        let (state, next) = train::strategy::advance(&step.plan.strategy, &step.plan.shards, &state, &weights, &mean)?;
        let bytes = train::snapshot::to_bytes(&next)?;
        let digest = train::snapshot::digest(&bytes);
        if step.plan.strategy.remembers() {
            let path = self.layout.strategy(&step.plan.task, &digest);
            let json = serde_json::to_vec(&state).map_err(memory(&path))?;
            durable::replace(&path, &json).map_err(storage(&path))?;
        }
        let path = self.layout.snapshot(&digest, step.plan.snapshot_ending());
        durable::write_new(&path, &bytes).map_err(storage(&path))?;
        Ok(digest)
    }

    /// What is known after the round.
    fn count(&self, step: &Step, bytes: &[u8]) -> Result<SnapshotDigest, WorkError> {
        let known = Known::of_plan(&step.plan, bytes)?;
        let mut sum = Vec::new();
        let mut institutions = 0;
        if let Some((values, mass)) = step.groups.iter().find_map(|id| self.opened.get(id)) {
            institutions = if let Mass::Members(members) = mass { *members } else { 0 };
            for (shard, _) in values.shards() {
                for window in values.windows(shard) {
                    sum.extend(window.map_err(storage(&self.layout.sums()))?);
                }
            }
        }
        let known = train::count::advance(&step.plan, &known, &sum, institutions)?;
        let bytes = known.to_bytes()?;
        let digest = train::snapshot::digest(&bytes);
        let path = self.layout.snapshot(&digest, step.plan.snapshot_ending());
        durable::write_new(&path, &bytes).map_err(storage(&path))?;
        if let Some((manifest, _)) = &self.round {
            let path = self.layout.counted(&step.plan.task, manifest.round);
            durable::replace(&path, &bytes).map_err(storage(&path))?;
        }
        Ok(digest)
    }

    /// Opened integers by group and shard: what the log's value digests are over.
    fn write_opened(&self, path: &Path) -> std::io::Result<()> {
        durable::replace_by(path, |out| values::write_json(self.opened.iter().map(|(id, (values, _))| (*id, values)), out))
    }

    /// The combined mean of every planned sum of which groups take part in the step.
    fn mean(&self, step: &Step) -> Result<Vec<(ShardId, Vec<f32>)>, WorkError> {
        let mut sums: BTreeMap<GroupId, Vec<(&ValueFile, Mass)>> = BTreeMap::new();
        for id in &step.groups {
            if let (Some((values, mass)), Some(planned)) = (self.opened.get(id), step.plan.sum_of_part(*id)) {
                sums.entry(planned.id).or_default().push((values, *mass));
            }
        }
        let means = sums.values().map(|groups| self.mean_of(&step.plan, groups));
        let mean = means.collect::<Result<Vec<_>, _>>()?.concat();
        // In `local` institutions send changes, in the other modes gradients.
        Ok(if step.plan.privacy.mode.joint().is_some() { combine::descent(mean) } else { mean })
    }

    /// The combined mean of the groups of one planned sum, shard by shard and a window of coordinates at a time.
    fn mean_of(&self, plan: &Plan, groups: &[(&ValueFile, Mass)]) -> Result<Vec<(ShardId, Vec<f32>)>, WorkError> {
        let shape = |values: &ValueFile| values.shards().collect::<Vec<_>>();
        let Some(first) = groups.first().map(|(values, _)| shape(values)) else { return Ok(Vec::new()) };
        if groups.iter().any(|(values, _)| shape(values) != first) {
            return Err(combine::CombineError::Unlike.into());
        }
        let mut out = Vec::with_capacity(first.len());
        for (shard, len) in first {
            let mut mean = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
            let mut windows: Vec<_> = groups.iter().map(|(values, mass)| (values.windows(shard), *mass)).collect();
            while let Some(parts) = next_of_each(&mut windows).transpose().map_err(storage(&self.layout.sums()))? {
                let parts: Vec<_> = parts.into_iter().map(|(window, mass)| ([(shard, window)], mass)).collect();
                let sums: Vec<_> = parts.iter().map(|(shards, mass)| GroupSum { shards, mass: *mass }).collect();
                let combined = combine::combine(&plan.shards, plan.robust().combine, &sums)?;
                mean.extend(combined.into_iter().flat_map(|(_, values)| values));
            }
            out.push((shard, mean));
        }
        Ok(out)
    }

    /// Momentum of the snapshot that this round started from; none before the first step. A memory that is lost is never taken for an empty
    /// one: the step would be another than the plan's.
    fn strategy_state(&self, step: &Step) -> Result<StrategyState, WorkError> {
        if !step.plan.strategy.remembers() || step.snapshot == step.plan.base {
            return Ok(StrategyState::default());
        }
        let path = self.layout.strategy(&step.plan.task, &step.snapshot);
        let bytes = durable::read_limited(&path, MAX_MEMORY).map_err(storage(&path))?;
        serde_json::from_slice(&bytes).map_err(memory(&path))
    }
}

/// Why a certified sum does not open.
#[derive(Debug, thiserror::Error)]
enum NotOpened {
    /// What is in the blocks is not what the set's members may have sealed, or the key sum is not theirs.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// The disk.
    #[error(transparent)]
    Sum(#[from] SumError),
    /// The sum cannot be made again.
    #[error("the sum of the set is not there and cannot be made again")]
    Gone,
}

/// Takes the updates of the same group that wait next; whatever else waits behind them comes back.
fn more_of(group: GroupId, jobs: &Receiver<Job>, headers: &mut Vec<HeaderDigest>) -> Option<Job> {
    while headers.len() < TOGETHER {
        match jobs.try_recv().ok()? {
            Job::Add(same, more) if same == group => headers.extend(more),
            other @ (Job::Begin(..) | Job::Add(..) | Job::Open(_) | Job::Advance(_)) => return Some(other),
        }
    }
    None
}

/// The next window of every group, or nothing after the last one: they have the same shape.
type Windows<T> = Option<std::io::Result<Vec<(Vec<i64>, T)>>>;

fn next_of_each<T: Copy>(windows: &mut [(impl Iterator<Item = std::io::Result<Vec<i64>>>, T)]) -> Windows<T> {
    windows.iter_mut().map(|(windows, mass)| Some(windows.next()?.map(|w| (w, *mass)))).collect()
}

fn storage(path: &Path) -> impl FnOnce(std::io::Error) -> WorkError {
    let path = path.to_owned();
    move |source| WorkError::Storage { path, source }
}

fn memory(path: &Path) -> impl FnOnce(serde_json::Error) -> WorkError {
    let path = path.to_owned();
    move |source| WorkError::Memory { path, source }
}

/// What a group's integers are divided by (crypto.md C24, privacy.md D15). Nothing where it would be a size that nobody declared.
fn mass(plan: &Plan, weight: Option<u64>, members: u16, units: Option<u64>) -> Option<Mass> {
    if plan.privacy.mode.joint().is_some() && plan.count.is_none() {
        return units.map(|units| Mass::Gradient { units, rate: plan.privacy.sampling_rate, clip: plan.privacy.clip });
    }
    Some(match (plan.weighting, weight) {
        (Weighting::Declared { max_weight }, Some(sum)) => Mass::Weights { sum, most: max_weight },
        (Weighting::Uniform, _) | (Weighting::Declared { .. }, None) => Mass::Members(u32::from(members)),
    })
}

/// Whether a group's mean is as short as the plan wants it (training.md M18).
fn within_norm(plan: &Plan, opened: &ValueFile, mass: Mass) -> Result<(), Rejection> {
    let Some(most) = plan.robust().max_group_norm else { return Ok(()) };
    let mut square = 0.0;
    for (shard, _) in opened.shards() {
        for window in opened.windows(shard) {
            let shards = [(shard, window.map_err(|_| Rejection::BadSum)?)];
            square += combine::square(&plan.shards, &GroupSum { shards: &shards, mass }).map_err(|_| Rejection::BadSum)?;
        }
    }
    if square.sqrt() <= most.to_f64() { Ok(()) } else { Err(Rejection::NormBound) }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;
