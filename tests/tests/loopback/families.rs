//! Models that tell tokens, from random weights: a decoder, an encoder-decoder and an encoder go the whole way from a plan file to snapshots that an
//! auditor recomputes.

use super::mixed::stepped_by_shard;
use super::*;
use protocol::plan::Plan;
use std::collections::BTreeMap;
use train::batch::{Dataset, Record, UNASKED, UnitExamples};
use train::model::Weights;

/// Two rounds of three institutions that all train one shard, verified and stepped again: the weights before and after.
pub(super) async fn two_rounds(f: &mut Federation, plan: &Plan) -> [Vec<u8>; 2] {
    assert_eq!(f.ended().await.round, Some(RoundId(2)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified && verdict.findings.is_empty(), "{:?}", verdict.findings);
    opened_sums_are_exact(f, plan, 1, &[0, 1, 2]);
    let first = std::fs::read(f.dir.path().join("base.safetensors")).unwrap();
    let mut weights = first.clone();
    for round in [1, 2] {
        weights = stepped_by_shard(f, plan, round, &weights, &BTreeMap::from([(0, 3)]));
        let published = f.has_published(train::snapshot::digest(&weights));
        assert!(published, "round {round}: the next weights are not the mean of what was trained");
    }
    [first, weights]
}

/// Training has moved the loss on this record.
pub(super) fn is_another_loss(record: Record, weights: [Weights; 2]) {
    let data = Dataset { units: vec![UnitExamples { records: vec![record] }] };
    let workers = train::workers::Workers::start(std::num::NonZeroUsize::MIN).unwrap();
    let [before, after] = weights.map(|weights| train::eval::evaluate_texts(&weights, &data, &workers).unwrap().loss());
    assert!(before.is_finite() && after.is_finite() && before.to_bits() != after.to_bits(), "{before} {after}");
}

/// Three institutions train a model with these lines in its section for two rounds, and it learns from them about this record.
async fn taught(lines: &str, record: Record) {
    let mut f = Federation::start(3).await;
    let classes = "classes = [\"bad\", \"good\"]\n";
    let text = plan_toml(2, 120_000, 1).replace("decryptors = 4", "decryptors = 3");
    assert!(text.contains(classes));
    let plan = f.propose(&text.replace(classes, lines)).await;
    let weights = two_rounds(&mut f, &plan).await;
    is_another_loss(record, weights.map(|bytes| train::snapshot::from_bytes(&plan.model, &bytes).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_decoder_from_random_weights_learns_from_texts_that_nobody_labelled() {
    let record = Record { tokens: vec![1, 12, 33, 44, 5], class: 0, labels: Vec::new() };
    let lines = "family = \"decoder\"\npositions = { rotary = { theta = 10000 } }\nnorm = \"root-mean-square\"\nfeed_forward = \"swiglu\"\n\
                 groups = 1\nwindow = { reach = 3, global = 1 }\ndropout = \"0.1\"\n";
    taught(lines, record).await;
}

/// What was hidden from it follows from the task and the step.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_encoder_from_random_weights_learns_what_was_hidden_from_it() {
    let record = Record { tokens: vec![1, 12, 33, 44, 5], class: 0, labels: vec![UNASKED, 12, 33, 44, 5] };
    taught("asks = \"masked-tokens\"\nmasking = { share = \"0.5\" }\n", record).await;
}

/// The labels are the answers, token by token.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_encoder_decoder_from_random_weights_learns_what_to_reply() {
    let record = Record { tokens: vec![1, 12, 33, 44], class: 0, labels: vec![5, 20] };
    taught("family = \"encoder-decoder\"\npositions = \"sinusoidal\"\nstem = 3\n", record).await;
}
