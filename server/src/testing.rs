//! What tests of several rooms of this crate begin with: a small plan, and a copy of a server's disk, which is a backup that comes back or a
//! second machine.

use crate::plan_file::PlanFile;
use protocol::ids::TaskId;
use protocol::plan::Plan;
use std::path::Path;
use train::hf::base::{Base, Digests};

/// The file of a plan that a test can run.
pub(crate) const PLAN: &str = "federation = \"test\"\nrounds = 1\nshards = 1\nbits = 16\ncohort_min = 2\nn_max = 4\ninitial_seed = 1\n\
     [committee]\ndecryptors = 4\ncorrupt = 1\n\
     [model]\nvocab = 16\nmax_tokens = 4\nwidth = 4\nheads = 1\nlayers = 1\nhidden = 4\nclasses = [\"a\", \"b\"]\n\
     [privacy]\nunit = \"user\"\nepsilon = \"8\"\ndelta = \"0.00001\"\nsampling_rate = \"0.25\"\n\
     [local]\nsteps = 1\nmicro_batch = 8\nlearning_rate = \"0.01\"\nwarmup_steps = 1\nweight_decay = \"0\"\n\
     [strategy.fed-avg]\nrate = \"1\"\n\
     [deadlines]\nselecting_ms = 20000\nreporting_ms = 20000\ncertifying_ms = 20000\nopening_ms = 20000\n";

/// It, with these lines besides, prepared for a task.
pub(crate) fn plan(more: &str) -> Plan {
    PlanFile::parse(&format!("{PLAN}{more}")).unwrap().prepare(TaskId([7; 16])).unwrap().plan
}

/// Copies everything below `from`.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A tiny encoder for three classes, as its publisher's program wrote it.
pub(crate) fn checkpoint() -> (tempfile::TempDir, Base) {
    published("bert-classify")
}

/// A tiny published model with a tokenizer beside it.
pub(crate) fn published(name: &str) -> (tempfile::TempDir, Base) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/tests/vectors/hf").join(name);
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer.json"), r#"{"model":{"vocab":{"a":0,"b":59}}}"#).unwrap();
    let base = Base::open(dir.path()).unwrap();
    (dir, base)
}

/// The file of a plan that begins from it, with these lines in its section `model`.
pub(crate) fn plan_on(base: &Base, more: &str) -> String {
    let sizes = "vocab = 16\nmax_tokens = 4\nwidth = 4\nheads = 1\nlayers = 1\nhidden = 4\n";
    let Digests { config, weights, tokenizer } = base.digests();
    let named = format!("base = {{ config = \"{config}\", weights = \"{weights}\", tokenizer = \"{tokenizer}\" }}\n{more}");
    assert!(PLAN.contains(sizes));
    PLAN.replace(sizes, &named)
}
