//! Scores of snapshots, and the comparison of opened sums with plain ones.

use crate::data::World;
use crate::federation::Federation;
use crate::report::Score;
use crate::watch::{self, Seen};
use anyhow::Context as _;
use audit::tile::{TileKind, TilePath, decode_bundle};
use protocol::history::{History, RoundHistory};
use protocol::ids::{GroupId, RoundId, ShardId};
use protocol::plan::Plan;
use protocol::trust::TrustDocument;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use train::workers::Workers;

/// Records of the institutions on which the training loss is computed: enough for three digits.
const TRAIN_SAMPLE: usize = 1000;

/// Scores snapshots of one plan.
pub(crate) struct Scorer {
    plan: Plan,
    train: train::batch::Dataset,
    held_out: train::batch::Dataset,
    workers: Workers,
}

impl Scorer {
    pub(crate) fn new(plan: &Plan, world: &World) -> anyhow::Result<Self> {
        let tokenizer = corpus::Tokenizer::new(plan.model.vocab, plan.model.max_tokens)?;
        let total: usize = world.institutions.iter().map(Vec::len).sum();
        let every = (total / TRAIN_SAMPLE).max(1);
        let train = world.encode(world.institutions.iter().flatten().step_by(every), &tokenizer);
        let held_out = world.encode(&world.held_out, &tokenizer);
        Ok(Self { plan: plan.clone(), train, held_out, workers: Workers::start(NonZeroUsize::MIN)? })
    }

    pub(crate) fn score(&self, snapshot: &Path) -> anyhow::Result<Score> {
        let bytes = std::fs::read(snapshot).with_context(|| "a snapshot is missing")?;
        let weights = train::snapshot::from_bytes(&self.plan.model, &bytes)?;
        let train = train::eval::evaluate(&weights, &self.train, &self.workers)?;
        let eval = train::eval::evaluate(&weights, &self.held_out, &self.workers)?;
        Ok(Score { train_loss: train.loss(), eval_loss: eval.loss(), accuracy: eval.accuracy(), macro_f1: eval.macro_f1() })
    }
}

/// Folds the log that the demo leaves.
pub(crate) fn history(log: &Path) -> anyhow::Result<History> {
    let trust = TrustDocument::parse(&std::fs::read(log.join("trust.json"))?)?;
    let note = audit::note::Note::parse(&std::fs::read(log.join("checkpoint"))?)?;
    let size = note.text().parse::<audit::checkpoint::Checkpoint>()?.head.size;
    let mut history = History::new(trust);
    for bundle in 0..size.div_ceil(256) {
        let path = TilePath::in_tree(TileKind::Entries, bundle, size).context("a bundle is missing")?;
        let bytes = std::fs::read(log.join(path.to_string()))?;
        for entry in decode_bundle(&bytes, path.width())? {
            history.apply(entry);
        }
    }
    Ok(history)
}

/// Integers of every institution: by round, group, institution, shard.
type Plain = BTreeMap<(u64, u32), BTreeMap<String, BTreeMap<u32, Vec<i32>>>>;

fn plain(federation: &Federation) -> anyhow::Result<Plain> {
    let mut all = Plain::new();
    for index in 0..federation.institutions() {
        for seen in watch::read(&federation.side(index))? {
            if let Seen::Integers { round, group, shards } = seen {
                all.entry((round, group)).or_default().insert(crate::plan::institution(index), shards);
            }
        }
    }
    Ok(all)
}

/// For each closed round: whether every opened sum equals the sum of its certified members' integers, and hashes to what the log says.
pub(crate) fn exact_sums(federation: &Federation, history: &History, plan: &Plan) -> anyhow::Result<BTreeMap<u64, bool>> {
    let plain = plain(federation)?;
    let task = history.task(plan.task).context("the log has no such task")?;
    let mut out = BTreeMap::new();
    for (id, round) in task.rounds() {
        let opened: Vec<_> = round.groups.iter().filter(|(_, g)| g.result.is_some()).collect();
        if opened.is_empty() {
            continue;
        }
        let file = federation.server_dir().join("sums").join(plan.task.to_hex()).join(format!("{:08}.json", id.0));
        let sums: BTreeMap<u32, BTreeMap<u32, Vec<i64>>> = serde_json::from_slice(&std::fs::read(file)?)?;
        let exact = opened.iter().all(|(group, _)| group_is_exact(history, *id, round, **group, &sums, &plain).unwrap_or(false));
        out.insert(id.0, exact);
    }
    Ok(out)
}

fn group_is_exact(
    history: &History,
    number: RoundId,
    round: &RoundHistory,
    id: GroupId,
    sums: &BTreeMap<u32, BTreeMap<u32, Vec<i64>>>,
    plain: &Plain,
) -> Option<bool> {
    let group = round.groups.get(&id)?;
    let (certificate, result) = (group.certificate.as_ref()?, group.result.as_ref()?);
    let opened = sums.get(&id.0)?;
    let integers = plain.get(&(number.0, id.0))?;
    let mut expected: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for header in certificate.headers() {
        let (client, ..) = group.accepted.get(header)?;
        let name = &history.members().get(client)?.name;
        for (shard, values) in integers.get(name)? {
            let sum = expected.entry(*shard).or_insert_with(|| vec![0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(s, v)| *s += i64::from(*v));
        }
    }
    let values: Vec<(ShardId, Vec<i64>)> = opened.iter().map(|(s, v)| (ShardId(*s), v.clone())).collect();
    let digest = crypto::open::value_digest(result.manifest, id, &values, &limb_sums(round, id)?);
    Some(&expected == opened && digest == result.values)
}

/// What the tally of a group must have opened to: the limbs of its members' declared weights, summed. Nothing where nobody is weighed.
fn limb_sums(round: &RoundHistory, id: GroupId) -> Option<Vec<i64>> {
    let Some(tally) = round.manifest.as_ref()?.0.group(id)?.tally else { return Some(Vec::new()) };
    let mut sums = vec![0i64; usize::try_from(tally.limbs()).ok()?];
    for weight in round.weights(id)? {
        sums.iter_mut().zip(tally.split(weight)?).for_each(|(sum, limb)| *sum += i64::from(limb));
    }
    Some(sums)
}
