//! `data evaluate`: how good a model of a federation is on the records of the settings. The figures are exact and for whoever owns the records;
//! nothing of them leaves this terminal by itself.

use super::answer::{Answer, Failure};
use super::named_records;
use super::privacy_audit::read_plan;
use crate::config::Config;
use crate::data::{self, DataError, DataSource};
use crate::files::{self, Item};
use crate::foundation::Foundation;
use clap::Args;
use corpus::Record;
use protocol::plan::{Asks, Plan};
use serde_json::json;
use std::path::{Path, PathBuf};
use train::batch::Dataset;
use train::eval::{EvalError, TagEvaluation, evaluate, evaluate_tags, evaluate_texts};
use train::model::Weights;
use train::workers::Workers;

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// The plan that the model was trained by: plan.cbor of `plan prepare`, or of a release's evidence
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// The model: model.safetensors of a release, or a snapshot
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
}

pub(super) fn run(config: &Config, options: &Evaluate) -> Result<Answer, Failure> {
    let (plan, _) = read_plan(&options.plan)?;
    if plan.count.is_some() {
        let counts = Failure::trouble_text("bad_plan", "a plan that counts trains no model");
        return Err(counts.hint("concordat-client data counts shows what was counted"));
    }
    // Once and for a short while: no copy of the checkpoint on a disk is worth its writing.
    let foundation = Foundation::of_plan(&plan, config.base.as_deref(), None).map_err(|e| Failure::trouble("no_base", &e))?;
    let records = held_out(config)?;
    let source = DataSource::made_up(records, plan.privacy.unit);
    let data = source.for_plan(&plan, foundation.as_ref().map(|f| &f.base)).map_err(|e| bad_data(&e))?;
    let weights = weights(&plan, &options.weights)?;
    let weights = match foundation {
        Some(foundation) => weights.beside(foundation.outside),
        None => weights,
    };
    let workers = Workers::start(config.threads).map_err(|e| Failure::bug("no_threads", &e))?;
    judged(&plan, &weights, &data, &workers).map_err(|e| Failure::trouble("not_evaluated", &e))
}

fn bad_data(error: &DataError) -> Failure {
    Failure::refused("bad_data", error).hint("concordat-client data check says more")
}

/// Every record counts by itself: whose it is matters to training only.
fn held_out(config: &Config) -> Result<Vec<Record>, Failure> {
    let records = data::held_out(named_records(config)?).map_err(|e| bad_data(&e))?;
    Ok(records.into_iter().map(|r| Record { user: None, ..r }).collect())
}

fn weights(plan: &Plan, path: &Path) -> Result<Weights, Failure> {
    const HINT: &str = "give the weights of a model that this very plan trained";
    let most = train::snapshot::most_bytes(&plan.model).map_err(|e| Failure::trouble("bad_plan", &e))?;
    let bytes = files::read(path, most, Item::Records).map_err(|e| Failure::trouble("bad_weights", &e).hint(HINT))?;
    train::snapshot::from_bytes(&plan.model, &bytes).map_err(|e| Failure::trouble("bad_weights", &e).hint(HINT))
}

fn shown(x: f64) -> String {
    format!("{x:.4}")
}

fn judged(plan: &Plan, weights: &Weights, data: &Dataset, workers: &Workers) -> Result<Answer, EvalError> {
    Ok(match plan.model.asks() {
        Asks::Class => {
            let e = evaluate(weights, data, workers)?;
            let (loss, accuracy, macro_f1) = (e.loss(), e.accuracy(), e.macro_f1());
            let rows = [("loss per record, nats", shown(loss)), ("accuracy", shown(accuracy)), ("macro-f1", shown(macro_f1))];
            Answer::table([("records", e.records.to_string())].into_iter().chain(rows)).with_data(&json!({
                "records": e.records, "loss": loss, "accuracy": accuracy, "macro_f1": macro_f1, "confusion": e.confusion,
            }))
        }
        Asks::Tags => tagged(&evaluate_tags(weights, data, workers)?, &plan.model.classes),
        Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => {
            let e = evaluate_texts(weights, data, workers)?;
            let rows = [("loss per token, nats", shown(e.loss())), ("perplexity", shown(e.perplexity()))];
            let counts = [("records", e.records.to_string()), ("tokens", e.tokens.to_string())];
            Answer::table(counts.into_iter().chain(rows)).with_data(&json!({
                "records": e.records, "tokens": e.tokens, "loss": e.loss(), "perplexity": e.perplexity(),
            }))
        }
    })
}

/// By token, and by whole parts of each kind.
fn tagged(e: &TagEvaluation, kinds: &[String]) -> Answer {
    let (loss, accuracy, tag_f1, part_f1) = (e.tokens.loss(), e.tokens.accuracy(), e.tokens.macro_f1(), e.macro_f1());
    let rows = [
        ("records", e.records.to_string()),
        ("tokens", e.tokens.records.to_string()),
        ("loss per token, nats", shown(loss)),
        ("accuracy of tokens", shown(accuracy)),
        ("macro-f1 of tags", shown(tag_f1)),
        ("macro-f1 of whole parts", shown(part_f1)),
    ];
    let by_kind: Vec<(String, String)> =
        kinds.iter().zip(&e.parts).map(|(kind, found)| (format!("f1 of {kind}"), shown(found.f1()))).collect();
    let parts: serde_json::Map<_, _> = kinds.iter().cloned().zip(e.parts.iter().map(|found| json!(found))).collect();
    let rows = rows.into_iter().chain(by_kind.iter().map(|(name, value)| (name.as_str(), value.clone())));
    Answer::table(rows).with_data(&json!({
        "records": e.records, "tokens": e.tokens.records, "loss": loss, "accuracy": accuracy, "macro_f1": tag_f1,
        "part_macro_f1": part_f1, "parts": parts, "tags": train::tags::names(kinds), "confusion": e.tokens.confusion,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;
    use protocol::plan::Masking;
    use protocol::plan::own::OwnModel;

    /// Settings, a plan and the weights of its model; the records are those of the lines.
    fn world(dir: &Path, lines: &[&str]) -> (Config, Evaluate) {
        world_of(dir, lines, plan())
    }

    fn world_of(dir: &Path, lines: &[&str], mut plan: Plan) -> (Config, Evaluate) {
        plan.shards = train::shard::shard_table(&plan.model, 1, -16).unwrap();
        let weights = train::model::initial(&plan.model, 3).unwrap();
        let options = Evaluate { plan: dir.join("plan.cbor"), weights: dir.join("model.safetensors") };
        std::fs::write(&options.plan, protocol::codec::encode(&plan)).unwrap();
        std::fs::write(&options.weights, train::snapshot::to_bytes(&weights).unwrap()).unwrap();
        std::fs::write(dir.join("records.jsonl"), lines.join("\n")).unwrap();
        let path = dir.join("records.jsonl");
        let text = format!("threads = 1\n[data]\npath = \"{}\"\nname = \"held out\"\nuser_field = \"user\"\n", path.display());
        (Config::parse(&text).unwrap(), options)
    }

    const HAM: &str = r#"{"text":"see you at eight","label":"ham","user":"a"}"#;

    #[test]
    fn every_record_of_the_settings_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let lines = [
            HAM,
            r#"{"text":"you have won","label":"spam","user":"a"}"#,
            r#"{"text":"you have won again","label":"spam","user":"a"}"#,
            r#"{"text":"no label of the plan","label":"other","user":"a"}"#,
        ];
        let (config, options) = world(dir.path(), &lines);
        let answer = format!("{:?}", run(&config, &options).unwrap());
        assert!(answer.contains("\"records\": Number(3)") && answer.contains("macro-f1"), "{answer}");
    }

    /// Labelled parts are judged by token and as wholes; texts by what is hidden of them, the same every time.
    #[test]
    fn models_that_are_asked_token_by_token_are_judged_by_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let lines = [
            r#"{"text":"took Aspirin today","label":[{"start":5,"end":12,"label":"drug"}],"user":"a"}"#,
            r#"{"text":"nothing at all","label":[],"user":"a"}"#,
        ];
        let asking = |asks, classes: &[&str], masking| {
            let mut plan = plan();
            plan.model.own = Some(OwnModel { asks, ..OwnModel::default() });
            (plan.model.classes, plan.model.masking) = (classes.iter().map(|&kind| kind.to_owned()).collect(), masking);
            plan
        };
        let judged = |plan| {
            let (config, options) = world_of(dir.path(), &lines, plan);
            format!("{:?}", run(&config, &options).unwrap())
        };
        let tags = judged(asking(Asks::Tags, &["drug"], None));
        for expected in ["\"records\": Number(2)", "\"tokens\": Number(6)", "f1 of drug", "macro-f1 of whole parts", "B-drug"] {
            assert!(tags.contains(expected), "{expected}: {tags}");
        }
        let hidden = || judged(asking(Asks::MaskedTokens, &[], Some(Masking::usual(0))));
        assert!(hidden().contains("\"tokens\": Number(2)") && hidden() == hidden(), "{}", hidden());
    }

    #[test]
    fn weights_of_another_model_and_settings_without_records_are_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let (config, options) = world(dir.path(), &[HAM]);
        assert!(run(&config, &options).is_err(), "one class only");
        let (config, options) = world(dir.path(), &[HAM, r#"{"text":"you have won","label":"spam","user":"b"}"#]);
        assert!(run(&config, &options).is_ok());
        assert!(run(&Config::parse("").unwrap(), &options).is_err(), "no records");
        std::fs::write(&options.weights, b"weights").unwrap();
        assert!(run(&config, &options).is_err());
    }
}
