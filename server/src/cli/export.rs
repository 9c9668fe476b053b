//! `export`: a released model, written as other programs load it. Needs the release and, if the model began from one, the published checkpoint; no
//! server and no key: what it writes follows from them.

use super::output::{Failure, Output};
use crate::cli::release::stage::{EVIDENCE, LINEAGE, MODEL, PLAN, WEIGHTS};
use crate::durable;
use anyhow::Context as _;
use clap::Args;
use protocol::codec;
use protocol::ids::{PlanDigest, Sha256, SnapshotDigest};
use protocol::plan::Plan;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use train::hf::base::Base;
use train::hf::export::{Exported, export};
use train::hf::own;
use train::model::Weights;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Directory that `release` made; `concordat-audit verify-model` says whether its signature holds
    released: PathBuf,
    /// Directory of the published checkpoint that the model began from; left out for a decoder from random weights, which goes out as GPT-2's or
    /// Llama's kind where its parts are theirs
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
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
    /// A checkpoint for a model that began from none.
    #[error("the plan names no base checkpoint: leave --base out")]
    NoBase,
    /// No checkpoint for a model that began from one.
    #[error("the model began from a published checkpoint: give its directory with --base (weights with SHA-256 {0})")]
    BaseNeeded(Sha256),
}

pub(super) fn run(args: &ExportArgs, output: &Output) -> Result<(), Failure> {
    let (plan, weights, lineage) = released(&args.released).map_err(Failure::input)?;
    let base = match (&plan.model.base, &args.base) {
        (Some(_), Some(dir)) => Some(Base::open(dir).map_err(Failure::trouble)?),
        (Some(named), None) => return Err(Failure::trouble(ExportError::BaseNeeded(named.weights))),
        (None, Some(_)) => return Err(Failure::trouble(ExportError::NoBase)),
        (None, None) => {
            // Before a directory is made.
            own::check(&plan.model).map_err(Failure::trouble)?;
            None
        }
    };
    let weights = train::snapshot::from_bytes(&plan.model, &weights).map_err(Failure::trouble)?;
    let made = write((&plan, base.as_ref()), &weights, &lineage, &args.out).map_err(Failure::input)?;
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
fn write((plan, base): (&Plan, Option<&Base>), weights: &Weights, lineage: &[u8], out: &Path) -> anyhow::Result<Exported> {
    std::fs::create_dir(out).with_context(|| format!("{} cannot be made; it must not exist yet", out.display()))?;
    let (model, adapter) = (out.join("model"), out.join("adapter"));
    std::fs::create_dir(&model)?;
    let made = match base {
        Some(base) => export(base, weights, &model, || std::fs::create_dir(&adapter).map(|()| adapter.clone()))?,
        None => own::export(weights, plan.tokenizer, &model).map(|()| Exported::Model)?,
    };
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
        exported(released, Some(base), out).is_ok()
    }

    fn exported(released: &Path, base: Option<&Path>, out: &Path) -> Result<(), Failure> {
        let args = ExportArgs { released: released.to_owned(), base: base.map(Path::to_owned), out: out.to_owned() };
        run(&args, &Output::new(super::super::Format::Json))
    }

    /// A decoder from random weights becomes a checkpoint where other programs have its parts; a classifier of Concordat's own has no other name.
    #[test]
    fn a_model_that_began_from_no_checkpoint_goes_out_under_published_names() {
        let (dir, base) = checkpoint();
        let own = release(&PLAN_FILE.replace("classes = [\"a\", \"b\"]\n", "family = \"decoder\"\n"), None);
        let out = own.path().join("out");
        assert!(exported(own.path(), Some(dir.path()), &out).is_err() && !out.exists(), "no checkpoint is named");
        assert!(exported(own.path(), None, &out).is_ok());
        let made = train::hf::load(&out.join("model")).unwrap();
        assert!(made.unused.is_empty() && made.tokenizer.is_none() && !out.join("adapter").exists() && out.join(LINEAGE).exists());
        let classifier = release(PLAN_FILE, None);
        assert!(exported(classifier.path(), None, &classifier.path().join("out")).is_err());
        assert!(!classifier.path().join("out").exists());
        let on_base = release(&plan_on(&base, ""), Some(&base));
        assert!(exported(on_base.path(), None, &on_base.path().join("out")).is_err(), "its checkpoint is needed");
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
