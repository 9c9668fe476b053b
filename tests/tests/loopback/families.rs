//! Models that tell tokens, from random weights: a decoder, an encoder-decoder and an encoder go the whole way from a plan file to snapshots that an
//! auditor recomputes.

use super::mixed::stepped_by_shard;
use super::*;
use std::collections::BTreeMap;
use train::batch::{Dataset, Record, UNASKED, UnitExamples};

/// Three institutions train a model with these lines in its section for two rounds. Its loss on this record before and after.
async fn taught(lines: &str, record: Record) -> [f64; 2] {
    let mut f = Federation::start(3).await;
    let classes = "classes = [\"bad\", \"good\"]\n";
    let text = plan_toml(2, 120_000, 1).replace("decryptors = 4", "decryptors = 3");
    assert!(text.contains(classes));
    let plan = f.propose(&text.replace(classes, lines)).await;
    assert_eq!(f.ended().await.round, Some(RoundId(2)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified && verdict.findings.is_empty(), "{:?}", verdict.findings);
    opened_sums_are_exact(&f, &plan, 1, &[0, 1, 2]);

    let first = std::fs::read(f.dir.path().join("base.safetensors")).unwrap();
    let cohorts = BTreeMap::from([(0, 3)]);
    let one = stepped_by_shard(&f, &plan, 1, &first, &cohorts);
    let two = stepped_by_shard(&f, &plan, 2, &one, &cohorts);
    assert!(f.has_published(train::snapshot::digest(&two)), "the next weights are not the mean of what was trained");
    let data = Dataset { units: vec![UnitExamples { records: vec![record] }] };
    let workers = train::workers::Workers::start(std::num::NonZeroUsize::MIN).unwrap();
    [&first, &two].map(|bytes| {
        let weights = train::snapshot::from_bytes(&plan.model, bytes).unwrap();
        train::eval::evaluate_texts(&weights, &data, &workers).unwrap().loss()
    })
}

fn is_another_loss([before, after]: [f64; 2]) {
    assert!(before.is_finite() && after.is_finite() && before.to_bits() != after.to_bits(), "{before} {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_decoder_from_random_weights_learns_from_texts_that_nobody_labelled() {
    let record = Record { tokens: vec![1, 12, 33, 44, 5], class: 0, labels: Vec::new() };
    let lines = "family = \"decoder\"\npositions = { rotary = { theta = 10000 } }\nnorm = \"root-mean-square\"\nfeed_forward = \"swiglu\"\n\
                 groups = 1\nwindow = { reach = 3, global = 1 }\ndropout = \"0.1\"\n";
    is_another_loss(taught(lines, record).await);
}

/// What was hidden from it follows from the task and the step.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_encoder_from_random_weights_learns_what_was_hidden_from_it() {
    let record = Record { tokens: vec![1, 12, 33, 44, 5], class: 0, labels: vec![UNASKED, 12, 33, 44, 5] };
    is_another_loss(taught("asks = \"masked-tokens\"\nmasking = { share = \"0.5\" }\n", record).await);
}

/// The labels are the answers, token by token.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_encoder_decoder_from_random_weights_learns_what_to_reply() {
    let record = Record { tokens: vec![1, 12, 33, 44], class: 0, labels: vec![5, 20] };
    is_another_loss(taught("family = \"encoder-decoder\"\npositions = \"sinusoidal\"\nstem = 3\n", record).await);
}
