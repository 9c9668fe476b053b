//! The summing worker: adds accepted updates, opens certified sums, takes the server's step. A thread of its own, off the async ones.

use crate::durable;
use crate::layout::Layout;
use crate::uploads::Uploads;
use crypto::open::{OpenedSum, open_group};
use crypto::share::{DecodeKeySumError, decode_key_sum};
use crypto::sum::AggregateSum;
use protocol::decimal::Decimal;
use protocol::ids::{Address, GroupId, HeaderDigest, ManifestDigest, ShardId, SnapshotDigest};
use protocol::manifest::{Certificate, Manifest, OpeningPayload, SumResult};
use protocol::plan::{Plan, Weighting};
use protocol::reject::Rejection;
use protocol::round::Blamed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;
use train::combine::{self, GroupSum, Mass};
use train::count::Known;
use train::strategy::StrategyState;

/// Something to do.
pub(crate) enum Job {
    /// A round's manifest: start empty sums.
    Begin(Box<Manifest>, ManifestDigest),
    /// Add one accepted update.
    Add(GroupId, HeaderDigest),
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
    #[error("a snapshot could not be read or written at {path}")]
    Storage {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
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
    sum: AggregateSum,
    holds: BTreeSet<HeaderDigest>,
    seconds: Seconds,
}

/// The worker's state.
pub(crate) struct Worker {
    layout: Layout,
    uploads: Uploads,
    round: Option<(Manifest, ManifestDigest)>,
    sums: BTreeMap<GroupId, RunningSum>,
    opened: BTreeMap<GroupId, (OpenedSum, Mass)>,
}

impl Worker {
    /// Starts the thread. Results come back through `done`.
    pub(crate) fn start(
        layout: Layout,
        uploads: Uploads,
        done: impl Fn(Done) + Send + 'static,
    ) -> std::io::Result<std::sync::mpsc::Sender<Job>> {
        let (sender, jobs) = std::sync::mpsc::channel();
        let mut worker = Self { layout, uploads, round: None, sums: BTreeMap::new(), opened: BTreeMap::new() };
        std::thread::Builder::new().name("sums".to_owned()).spawn(move || {
            for job in jobs {
                if let Some(result) = worker.work(job) {
                    done(result);
                }
            }
        })?;
        Ok(sender)
    }

    fn work(&mut self, job: Job) -> Option<Done> {
        match job {
            Job::Begin(manifest, digest) => {
                (self.sums, self.opened) = (BTreeMap::new(), BTreeMap::new());
                self.round = Some((*manifest, digest));
                None
            }
            Job::Add(group, header) => {
                self.add(group, header);
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

    /// Adds an update to its group's running sum. A sum is scratch: one that cannot be added to is dropped and made again when opened.
    fn add(&mut self, id: GroupId, header: HeaderDigest) {
        let started = Instant::now();
        let Some(mut group) = self.sums.remove(&id).or_else(|| self.empty(id)) else { return };
        if self.add_chunks(&mut group.sum, header).is_some() && group.holds.insert(header) {
            group.seconds.sum += started.elapsed().as_secs_f64();
            self.sums.insert(id, group);
        }
    }

    fn empty(&self, id: GroupId) -> Option<RunningSum> {
        let spec = self.round.as_ref()?.0.group(id)?;
        Some(RunningSum { sum: AggregateSum::new(spec).ok()?, holds: BTreeSet::new(), seconds: Seconds::default() })
    }

    fn add_chunks(&self, sum: &mut AggregateSum, header: HeaderDigest) -> Option<()> {
        let chunks = self.uploads.chunks_of(header)?;
        for (index, address) in chunks.iter().enumerate() {
            let bytes = self.uploads.read(address).ok()?;
            sum.add_chunk(index as u64, &bytes).ok()?;
        }
        self.keep_list(header, &chunks);
        Some(())
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
        let members: BTreeSet<_> = certificate.headers().iter().copied().collect();
        if self.sums.get(&id).is_some_and(|s| s.holds == members) {
            return Some(());
        }
        self.sums.remove(&id);
        members.into_iter().for_each(|h| self.add(id, h));
        let whole = self.sums.get(&id).is_some_and(|s| s.holds.iter().eq(certificate.headers()));
        whole.then_some(())
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
        let decoded =
            decoded.inspect_err(|e| tracing::warn!(group = id.0, error = %e, "openings give no key sum")).map_err(|_| Rejection::BadSum)?;
        let group = self.sums.get_mut(&id).ok_or(Rejection::BadSum)?;
        let opened = open_group(digest, spec, certificate, &decoded.candidates, &group.sum)
            .inspect_err(|e| tracing::warn!(group = id.0, error = %e, "the sum does not open"))
            .map_err(|_| Rejection::BadSum)?;
        if opened.weight != job.weight {
            tracing::warn!(group = id.0, "the opened weights are not those that the log declares");
            return Err(Rejection::BadWeight);
        }
        let mass = mass(&job.plan, &opened, certificate.members(), job.units).ok_or(Rejection::BadWeight)?;
        within_norm(&job.plan, &opened, mass)
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
        group.seconds.open += started.elapsed().as_secs_f64();
        self.opened.insert(id, (opened, mass));
        Ok(result)
    }

    fn advance(&self, step: &Step) -> Result<SnapshotDigest, WorkError> {
        let path = self.layout.snapshot(&step.snapshot);
        let bytes = std::fs::read(&path).map_err(storage(&path))?;
        let digest = match &step.plan.count {
            Some(_) => self.count(step, &bytes)?,
            None => self.train(step, &bytes)?,
        };
        if let Some((manifest, _)) = &self.round {
            let path = self.layout.opened(&step.plan.task, manifest.round);
            durable::replace(&path, &self.opened_json()).map_err(storage(&path))?;
        }
        Ok(digest)
    }

    /// The next weights.
    fn train(&self, step: &Step, bytes: &[u8]) -> Result<SnapshotDigest, WorkError> {
        let weights = train::snapshot::from_bytes(&step.plan.model, bytes)?;
        let mean = self.mean(step)?;
        let state = self.strategy_state(step);
        let (state, next) = train::strategy::advance(&step.plan.strategy, &step.plan.shards, &state, &weights, &mean)?;
        let bytes = train::snapshot::to_bytes(&next)?;
        let digest = train::snapshot::digest(&bytes);
        let path = self.layout.strategy(&step.plan.task, &digest);
        let json = serde_json::to_vec(&state).unwrap_or_default();
        durable::replace(&path, &json).map_err(storage(&path))?;
        let path = self.layout.snapshot(&digest);
        durable::write_new(&path, &bytes).map_err(storage(&path))?;
        Ok(digest)
    }

    /// What is known after the round.
    fn count(&self, step: &Step, bytes: &[u8]) -> Result<SnapshotDigest, WorkError> {
        let known = Known::of_plan(&step.plan, bytes)?;
        let opened = step.groups.iter().find_map(|id| self.opened.get(id));
        let (sum, institutions) = opened.map_or((Vec::new(), 0), |(opened, mass)| {
            let members = if let Mass::Members(members) = mass { *members } else { 0 };
            (opened.values.iter().flat_map(|(_, v)| v.iter().copied()).collect(), members)
        });
        let known = train::count::advance(&step.plan, &known, &sum, institutions)?;
        let bytes = known.to_bytes()?;
        let digest = train::snapshot::digest(&bytes);
        let path = self.layout.snapshot(&digest);
        durable::write_new(&path, &bytes).map_err(storage(&path))?;
        if let Some((manifest, _)) = &self.round {
            let path = self.layout.counted(&step.plan.task, manifest.round);
            durable::replace(&path, &bytes).map_err(storage(&path))?;
        }
        Ok(digest)
    }

    /// Opened integers by group and shard: what the log's value digests are over.
    fn opened_json(&self) -> Vec<u8> {
        let groups: BTreeMap<u32, BTreeMap<u32, &Vec<i64>>> =
            self.opened.iter().map(|(g, (o, _))| (g.0, o.values.iter().map(|(s, v)| (s.0, v)).collect())).collect();
        serde_json::to_vec(&groups).unwrap_or_default()
    }

    /// The combined mean of every planned sum of which groups take part in the step.
    fn mean(&self, step: &Step) -> Result<Vec<(ShardId, Vec<f32>)>, WorkError> {
        let mut sums: BTreeMap<GroupId, Vec<GroupSum<'_>>> = BTreeMap::new();
        for id in &step.groups {
            if let (Some((opened, mass)), Some(planned)) = (self.opened.get(id), step.plan.sum_of_part(*id)) {
                sums.entry(planned.id).or_default().push(GroupSum { shards: &opened.values, mass: *mass });
            }
        }
        let how = step.plan.robust().combine;
        let means = sums.values().map(|groups| combine::combine(&step.plan.shards, how, groups));
        let mean = means.collect::<Result<Vec<_>, _>>()?.concat();
        // In `local` institutions send changes, in the other modes gradients.
        Ok(if step.plan.privacy.mode.joint().is_some() { combine::descent(mean) } else { mean })
    }

    /// Momentum of the snapshot that this round started from; none before the first step.
    fn strategy_state(&self, step: &Step) -> StrategyState {
        let path = self.layout.strategy(&step.plan.task, &step.snapshot);
        std::fs::read(path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
    }
}

fn storage(path: &Path) -> impl FnOnce(std::io::Error) -> WorkError {
    let path = path.to_owned();
    move |source| WorkError::Storage { path, source }
}

/// What a group's integers are divided by (crypto.md C24, privacy.md D15). Nothing where it would be a size that nobody declared.
fn mass(plan: &Plan, opened: &OpenedSum, members: u16, units: Option<u64>) -> Option<Mass> {
    if plan.privacy.mode.joint().is_some() && plan.count.is_none() {
        return units.map(|units| Mass::Gradient { units, rate: plan.privacy.sampling_rate, clip: plan.privacy.clip });
    }
    Some(match (plan.weighting, opened.weight) {
        (Weighting::Declared { max_weight }, Some(sum)) => Mass::Weights { sum, most: max_weight },
        (Weighting::Uniform, _) | (Weighting::Declared { .. }, None) => Mass::Members(u32::from(members)),
    })
}

/// Whether a group's mean is as short as the plan wants it (training.md M18).
fn within_norm(plan: &Plan, opened: &OpenedSum, mass: Mass) -> Result<(), Rejection> {
    let Some(most) = plan.robust().max_group_norm else { return Ok(()) };
    let sum = GroupSum { shards: &opened.values, mass };
    let norm = combine::norm(&plan.shards, &sum).map_err(|_| Rejection::BadSum)?;
    if norm <= most.to_f64() { Ok(()) } else { Err(Rejection::NormBound) }
}

#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;
