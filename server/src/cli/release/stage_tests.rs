//! What was made ready stays what it is: one signature, one word of each administrator, whatever happens in between.

use super::*;
use protocol::ids::{RoundId, SnapshotDigest, TaskId};
use protocol::plan::{AdapterConfig, EncoderConfig};

fn config(adapter: Option<AdapterConfig>) -> EncoderConfig {
    let classes = vec!["no".into(), "yes".into()];
    EncoderConfig { vocab: 64, max_tokens: 8, width: 8, heads: 2, layers: 1, hidden: 8, classes, adapter, ..EncoderConfig::none() }
}

/// A server's directory with a plan and the weights of a model, and the release of it.
struct World {
    dir: tempfile::TempDir,
    layout: Layout,
    release: Release,
    key: ReleaseKey,
}

impl World {
    fn server() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("server"));
        crate::init::init(&dir.path().join("server"), "demo", &dir.path().join("admin.key")).unwrap();
        (dir, layout)
    }
    fn new(adapter: Option<AdapterConfig>) -> Self {
        let (dir, layout) = Self::server();
        let plan = Plan { model: config(adapter), ..crate::testing::plan("") };
        let weights = train::model::initial(&plan.model, 3).unwrap();
        Self::of(dir, layout, &plan, &weights)
    }
    /// Of a plan with these weights.
    fn of(dir: tempfile::TempDir, layout: Layout, plan: &Plan, weights: &train::model::Weights) -> Self {
        let bytes = codec::encode(plan);
        let (digest, weights) = (Plan::digest(&bytes), train::snapshot::to_bytes(weights).unwrap());
        let snapshot = train::snapshot::digest(&weights);
        durable::write_new(&layout.artefact(&Sha256(digest.0)), &bytes).unwrap();
        durable::write_new(&layout.snapshot(&snapshot, Plan::WEIGHTS), &weights).unwrap();
        let (none, base) = (Sha256([0; 32]), SnapshotDigest([5; 32]));
        let (first, last, task) = (RoundId(1), RoundId(2), TaskId([7; 16]));
        let release = Release { task, plan: digest, snapshot, base, first, last, key: none, signature: none, ..plain() };
        let key = ReleaseKey::make(&dir.path().join("release.key")).unwrap();
        Self { dir, layout, release, key }
    }
    fn stage(&self) -> Stage {
        Stage::of(&self.dir.path().join("out"))
    }
    fn lineage(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.stage().model().join(LINEAGE)).unwrap()).unwrap()
    }
}

/// A release of nothing.
fn plain() -> Release {
    let (none, zero) = (Sha256([0; 32]), SnapshotDigest([0; 32]));
    Release {
        task: TaskId([0; 16]),
        plan: PlanDigest([0; 32]),
        snapshot: zero,
        base: zero,
        first: RoundId(1),
        last: RoundId(1),
        key: none,
        signature: none,
        substantial: false,
        gates: Vec::new(),
        evaluation: None,
        overridden: None,
        after: None,
    }
}

fn admin(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A crash anywhere after the release was written, the server's answer included: the same bytes go out again.
#[test]
fn a_release_that_was_made_ready_is_sent_again_word_for_word() {
    let w = World::new(None);
    assert!(w.stage().release(&w.layout).unwrap().is_none());
    let made = w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    let said = w.stage().word(&made, &admin(1)).unwrap();
    let signature = std::fs::read(w.stage().model().join(SIGNATURE)).unwrap();
    let again = w.stage().release(&w.layout).unwrap().unwrap();
    assert_eq!((&again, w.stage().word(&again, &admin(1)).unwrap()), (&made, said.clone()));
    assert_eq!(std::fs::read(w.stage().model().join(SIGNATURE)).unwrap(), signature);
    assert_ne!(w.stage().word(&again, &admin(2)).unwrap().key, said.key, "each administrator has a word of his own");
    // Another administrator finds it by the path that he was told.
    let (stage, out) = Stage::at(w.stage().path()).unwrap();
    assert_eq!((stage.release(&w.layout).unwrap(), out), (Some(again), w.dir.path().join("out")));
    assert!(Stage::at(Path::new("out")).is_none() && Stage::at(Path::new(".partial")).is_none());
    assert_eq!(made.signature.0, protocol::hash::sha256(&[&signature]));
    assert_eq!(made.key, w.key.hint());
}

#[test]
fn what_was_changed_in_a_stage_is_not_sent() {
    let w = World::new(None);
    let made = w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    for name in [WEIGHTS, LINEAGE, SIGNATURE] {
        let path = w.stage().model().join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut altered = whole.clone();
        *altered.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &altered).unwrap();
        assert!(matches!(w.stage().release(&w.layout), Err(StageError::OtherModel(_))), "{name}");
        std::fs::write(&path, &whole).unwrap();
    }
    let word = w.stage().word(&made, &admin(1)).unwrap();
    let path = w.stage().words().join(format!("{}.statement", word.signer()));
    let other = Statement::sign(&Release { substantial: true, ..made.clone() }, &admin(1));
    std::fs::write(path, codec::encode(&other)).unwrap();
    assert!(matches!(w.stage().word(&made, &admin(1)), Err(StageError::Damaged(_))));
}

#[test]
fn the_evaluation_is_kept_with_the_evidence_and_named_by_its_hash() {
    let w = World::new(None);
    let made = w.stage().make(&w.layout, w.release.clone(), Some(b"measured so"), &w.key).unwrap();
    assert_eq!(made.evaluation, Some(Sha256(protocol::hash::sha256(&[b"measured so"]))));
    assert_eq!(w.stage().release(&w.layout).unwrap(), Some(made));
    std::fs::write(w.stage().evaluation(), b"measured otherwise").unwrap();
    assert!(matches!(w.stage().release(&w.layout), Err(StageError::OtherModel(_))));
}

#[test]
fn a_stage_becomes_what_was_asked_for_without_anybodys_word() {
    let w = World::new(None);
    let made = w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    w.stage().word(&made, &admin(1)).unwrap();
    let out = w.dir.path().join("out");
    w.stage().publish(&out).unwrap();
    assert!(out.join("model/model.sig").exists() && out.join("evidence/release-key.pub").exists());
    assert!(!out.join("words").exists() && !w.stage().path().exists());
}

#[test]
fn a_model_with_adapters_is_named_in_its_two_parts() {
    let w = World::new(None);
    w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    assert_eq!(w.lineage().get("adapter"), None);
    let w = World::new(Some(AdapterConfig { rank: 2, alpha: 4, targets: Some(vec!["qkv".into()]), nested: None }));
    w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    let (lineage, weights) = (w.lineage(), std::fs::read(w.stage().model().join(WEIGHTS)).unwrap());
    let parts = train::snapshot::parts(&plan(&w.layout, w.release.plan).unwrap().model, &weights).unwrap().unwrap();
    let expected =
        json!({ "digest": parts.adapters, "without_it": parts.without, "rank": 2, "alpha": 4, "targets": ["qkv"], "nested": null });
    assert_eq!(lineage["adapter"], expected);
    assert_eq!(lineage["snapshot"], json!(w.release.snapshot));
    let w = World::new(Some(AdapterConfig { rank: 4, alpha: 4, targets: Some(vec!["qkv".into()]), nested: Some(vec![1, 2]) }));
    w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    assert_eq!((&w.lineage()["adapter"]["rank"], &w.lineage()["adapter"]["nested"]), (&json!(4), &json!([1, 2])));
}

#[test]
fn a_model_on_a_published_checkpoint_names_it_and_brings_its_plan() {
    let (_checkpoint, base) = crate::testing::checkpoint();
    let file = crate::testing::plan_on(&base, "");
    let prepared = crate::plan_file::PlanFile::parse(&file).unwrap().prepare_on(TaskId([7; 16]), Some(&base)).unwrap();
    let weights = train::snapshot::from_bytes(&prepared.plan.model, &prepared.base).unwrap();
    let (dir, layout) = World::server();
    let w = World::of(dir, layout, &prepared.plan, &weights);
    w.stage().make(&w.layout, w.release.clone(), None, &w.key).unwrap();
    let digests = base.digests();
    let expected = json!({ "config": digests.config, "weights": digests.weights, "tokenizer": digests.tokenizer });
    assert_eq!(w.lineage()["base_model"], expected);
    assert_eq!(std::fs::read(w.stage().evidence().join(PLAN)).unwrap(), prepared.bytes);
}
