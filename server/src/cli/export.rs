//! `export`: a released model on a published checkpoint, written as other programs load it. Needs the release and the checkpoint, no server and
//! no key: what it writes follows from them.

use super::output::{Failure, Output};
use crate::cli::release::stage::{EVIDENCE, LINEAGE, MODEL, PLAN, WEIGHTS};
use crate::durable;
use anyhow::Context as _;
use clap::Args;
use protocol::codec;
use protocol::ids::{PlanDigest, SnapshotDigest};
use protocol::plan::Plan;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use train::hf::base::Base;
use train::hf::export::{Exported, export};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Directory that `release` made; `concordat-audit verify-model` says whether its signature holds
    released: PathBuf,
    /// Directory of the published checkpoint that the model began from
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// Directory to make: `model`, a checkpoint with everything worked in, and `adapter` where nothing but adapters and a head were trained
    #[arg(long)]
    out: PathBuf,
}

/// What the lineage says about the files beside it; the rest is for people.
#[derive(Deserialize)]
struct Lineage {
    plan: PlanDigest,
    snapshot: SnapshotDigest,
}

/// Why there is nothing to export. The caller's to mend.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    /// Files of different releases.
    #[error("{0} is not the one that {LINEAGE} names; take the whole directory that `release` made")]
    Another(&'static str),
    /// Concordat's own architecture.
    #[error("the plan names no base checkpoint: Concordat's own model has no published architecture, its weights are in {MODEL}/{WEIGHTS}")]
    NoBase,
}

pub(super) fn run(args: &ExportArgs, output: &Output) -> Result<(), Failure> {
    let (plan, weights, lineage) = released(&args.released).map_err(Failure::input)?;
    if plan.model.base.is_none() {
        return Err(Failure::trouble(ExportError::NoBase));
    }
    let base = Base::open(&args.base).map_err(Failure::trouble)?;
    let weights = train::snapshot::from_bytes(&plan.model, &weights).map_err(Failure::trouble)?;
    let made = write(&base, &weights, &lineage, &args.out).map_err(Failure::input)?;
    let adapter = made == Exported::ModelAndAdapter;
    let text = if adapter { "model and adapter are in" } else { "the model is in" };
    output.value(&json!({ "out": args.out, "adapter": adapter }), &format!("{text} {}", args.out.display()));
    Ok(())
}

/// Plan, weights and lineage of a release, which name each other.
fn released(dir: &Path) -> anyhow::Result<(Plan, Vec<u8>, Vec<u8>)> {
    let unreadable = |path: &Path| format!("{} cannot be read", path.display());
    let path = dir.join(MODEL).join(LINEAGE);
    let lineage = durable::read_limited(&path, 1 << 20).with_context(|| unreadable(&path))?;
    let named: Lineage = serde_json::from_slice(&lineage)?;
    let path = dir.join(EVIDENCE).join(PLAN);
    let plan = durable::read_limited(&path, Plan::MAX_BYTES as u64).with_context(|| unreadable(&path))?;
    anyhow::ensure!(Plan::digest(&plan) == named.plan, ExportError::Another(PLAN));
    let path = dir.join(MODEL).join(WEIGHTS);
    let weights = std::fs::read(&path).with_context(|| unreadable(&path))?;
    anyhow::ensure!(train::snapshot::digest(&weights) == named.snapshot, ExportError::Another(WEIGHTS));
    Ok((codec::decode(&plan, Plan::MAX_BYTES)?, weights, lineage))
}

/// The lineage comes last: where it is, the export is whole.
fn write(base: &Base, weights: &train::model::Weights, lineage: &[u8], out: &Path) -> anyhow::Result<Exported> {
    std::fs::create_dir(out).with_context(|| format!("{} cannot be made; it must not exist yet", out.display()))?;
    let (model, adapter) = (out.join("model"), out.join("adapter"));
    std::fs::create_dir(&model)?;
    let made = export(base, weights, &model, || std::fs::create_dir(&adapter).map(|()| adapter.clone()))?;
    durable::replace(&out.join(LINEAGE), lineage)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan_file::PlanFile;
    use crate::testing::{PLAN as PLAN_FILE, checkpoint, plan_on};
    use protocol::ids::TaskId;

    /// What `release` leaves of a plan and its first weights, signature and proof aside.
    fn release(file: &str, base: Option<&Base>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let prepared = PlanFile::parse(file).unwrap().prepare_on(TaskId([7; 16]), base).unwrap();
        let lineage = json!({ "plan": Plan::digest(&prepared.bytes), "snapshot": prepared.plan.base, "federation": "demo" });
        durable::replace(&dir.path().join(EVIDENCE).join(PLAN), &prepared.bytes).unwrap();
        durable::replace(&dir.path().join(MODEL).join(WEIGHTS), &prepared.base).unwrap();
        durable::replace(&dir.path().join(MODEL).join(LINEAGE), lineage.to_string().as_bytes()).unwrap();
        dir
    }

    fn export_to(released: &Path, base: &Path, out: &Path) -> bool {
        let args = ExportArgs { released: released.to_owned(), base: base.to_owned(), out: out.to_owned() };
        run(&args, &Output::new(super::super::Format::Json)).is_ok()
    }

    #[test]
    fn a_release_becomes_a_checkpoint_and_an_adapter() {
        let (dir, base) = checkpoint();
        let file = plan_on(&base, "adapter = { rank = 2, alpha = 4, targets = [\"query\"] }\n")
            + "[[tiers]]\nname = \"all\"\ntrains = [\"lora-b\", \"head\"]\n";
        let released = release(&file, Some(&base));
        let out = released.path().join("out");
        assert!(export_to(released.path(), dir.path(), &out));
        let made = train::hf::load(&out.join("model")).unwrap();
        assert!(made.unused.is_empty() && made.tokenizer.is_some());
        assert!(out.join("adapter/adapter_model.safetensors").exists() && out.join(LINEAGE).exists());
        assert!(!export_to(released.path(), dir.path(), &out), "what is there is not overwritten");
    }

    #[test]
    fn files_of_two_releases_and_models_without_a_checkpoint_are_refused() {
        let (dir, base) = checkpoint();
        let released = release(&plan_on(&base, ""), Some(&base));
        let out = released.path().join("out");
        let weights = released.path().join(MODEL).join(WEIGHTS);
        let whole = std::fs::read(&weights).unwrap();
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&weights, other).unwrap();
        assert!(!export_to(released.path(), dir.path(), &out) && !out.exists());
        std::fs::write(&weights, whole).unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
        assert!(!export_to(released.path(), dir.path(), &out), "another checkpoint");
        let own = release(PLAN_FILE, None);
        assert!(!export_to(own.path(), dir.path(), &own.path().join("out")));
        std::fs::remove_file(&weights).unwrap();
        let error = super::released(released.path()).err().unwrap().to_string();
        assert!(error.contains(WEIGHTS), "it is named: {error}");
    }
}
