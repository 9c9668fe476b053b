//! `train`: training in one place (training.md M8 to M16). What it prints is computed from records without noise: it is for the people of
//! the institution that runs it.

use super::answer::{Answer, Failure, Format, line, say};
use super::bench::{peak_memory, processor_seconds};
use crate::central::{self, Begun, CentralPlan, Event, FromError, Loaded, Means, Outcome, RunError};
use crate::files::{self, Item};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::ids::Sha256;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use train::device::Wanted;
use train::fit::{Judgement, Taken};
use train::hf::base::Base;

/// Longest plan.
const MAX_PLAN: usize = 1 << 20;
/// Cure for a file that a run cannot begin from.
const FROM_HINT: &str = "its sizes must be those of the plan that wrote the file, as in configs/train-sms-masked.toml and train-sms.toml";

#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// What is trained and how; configs/train-characters.toml explains every key
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// A text, or records as JSON Lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Directory of the published checkpoint that the plan names: config.json, model.safetensors, tokenizer.json
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// best.safetensors or state.safetensors of an earlier run, whose tensors of equal name and shape are begun with
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Directory that keeps the state and the best snapshot; a run that stands there is gone on with
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Threads; all processors unless given
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What computes: cpu, cuda (all GPUs of the machine), cuda:N, or auto (GPUs if there are any)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Wanted,
}

pub(super) fn run(args: &TrainArgs, format: Format) -> Result<Answer, Failure> {
    let bytes = files::read(&args.plan, MAX_PLAN, Item::Records).map_err(|e| Failure::trouble("bad_plan", &e))?;
    let text = String::from_utf8(bytes).map_err(|e| Failure::trouble("bad_plan", &e))?;
    let plan =
        CentralPlan::parse(&text).map_err(|e| Failure::trouble("bad_plan", &e).hint("configs/train-characters.toml explains every key"))?;
    let base = args.base.as_deref().map(Base::open).transpose().map_err(|e| Failure::trouble("no_base", &e))?;
    let mut loaded = Loaded::read(&plan, &args.data, base).map_err(|e| Failure::trouble("bad_data", &e))?;
    if let Some(path) = &args.from {
        loaded.begin_from(&plan, path).map_err(|e| unfit(&e))?;
    }
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    if let Some(report) = &loaded.report {
        say(&format!("records: {report}"));
    }
    say(&format!("{} to learn from, {} to judge by", loaded.sizes.0, loaded.sizes.1));
    if let Some(begun) = &loaded.begun {
        say(&told(begun));
    }
    let (sizes, digest, from) = (loaded.sizes, loaded.data_digest, loaded.begun.as_ref().map(described));
    let mut show = Show::new(format, plan.total_steps());
    let means = Means { device: args.device, threads, dir: args.state.as_deref() };
    let outcome = central::run(&plan, &text, loaded, means, &mut |event| show.event(&event));
    show.bar.finish_and_clear();
    let outcome = outcome.map_err(|e| failure(&e))?;
    Ok(answer(&outcome, (show.on.as_str(), threads), (sizes, digest, from)))
}

fn unfit(error: &FromError) -> Failure {
    let failure = Failure::trouble("bad_from", error);
    match error {
        FromError::Earlier(_) => failure.hint(FROM_HINT),
        FromError::Store(_) | FromError::Characters | FromError::Checkpoint => failure,
    }
}

fn failure(error: &RunError) -> Failure {
    match error {
        RunError::Store(_) => Failure::storage("storage_failed", error),
        RunError::State(_) => Failure::trouble("bad_state", error).hint("name another directory, or remove the state"),
        RunError::Machine(_) => Failure::trouble("no_device", error).hint("--device auto falls back on the processor"),
        RunError::Fit(_) | RunError::Snapshot(_) | RunError::Export(_) | RunError::Model(_) => Failure::trouble("not_trained", error),
    }
}

/// Tells people on a terminal by a bar, programs by lines.
struct Show {
    format: Format,
    bar: ProgressBar,
    /// What it computes on.
    on: String,
}

impl Show {
    fn new(format: Format, steps: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { format, bar: ProgressBar::new(steps).with_style(style), on: String::new() }
    }

    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { on } => {
                (*on).clone_into(&mut self.on);
                self.bar.suspend(|| say(&format!("computing on {on}")));
            }
            Event::Resumed { step } => {
                self.line(|| json!({ "event": "resumed", "step": step }));
                self.bar.set_position(*step);
            }
            Event::Step { step, tokens_per_s, left_s } => {
                self.bar.set_position(step.step + 1);
                let loss = step.loss.map_or_else(|| "-".to_owned(), |l| format!("{l:.4}"));
                self.bar.set_message(format!("loss {loss}, {tokens_per_s:.0} tokens/s, {left_s:.0} s left"));
                self.line(|| {
                    json!({
                        "event": "step", "step": step.step + 1, "loss": step.loss, "learning_rate": step.rate, "tokens": step.tokens,
                        "gradient_norm": step.gradient_norm, "non_finite": step.non_finite, "tokens_per_s": tokens_per_s, "left_s": left_s,
                    })
                });
            }
            Event::Judged { steps, judgement, best } => {
                let mut data = judged(judgement);
                data["event"] = "evaluation".into();
                data["step"] = (*steps).into();
                data["best"] = (*best).into();
                self.line(|| data);
                let f1 = judgement.evaluation.as_ref().map_or_else(String::new, |e| format!(", macro-F1 {:.4}", e.macro_f1()));
                self.bar.suspend(|| {
                    say(&format!("step {steps}: validation loss {:.4}{f1}{}", judgement.loss, if *best { ", best" } else { "" }))
                });
            }
        }
    }

    fn line(&self, data: impl FnOnce() -> Value) {
        match self.format {
            Format::Jsonl => line(&data()),
            Format::Json | Format::Table | Format::Html => {}
        }
    }
}

fn judged(judgement: &Judgement) -> Value {
    let mut data = json!({ "validation_loss": judgement.loss, "foretold": judgement.foretold });
    if let Some(e) = &judgement.evaluation {
        data["accuracy"] = e.accuracy().into();
        data["macro_f1"] = e.macro_f1().into();
        data["confusion"] = json!(e.confusion);
    }
    if let Some(parts) = &judgement.parts {
        data["parts"] = json!(parts);
    }
    data
}

/// What a run took of an earlier one, for people. Names in a file are whatever its writer chose.
fn told(begun: &Begun) -> String {
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.iter().map(|name| name.escape_debug().to_string()).collect::<Vec<_>>().join(", "),
    };
    let Taken { taken, fresh, unused } = &begun.taken;
    format!(
        "begins with {} tensors of the earlier run: {}\n{} begin from the seed: {}\n{} of the earlier run are not used: {}",
        taken.len(),
        list(taken),
        fresh.len(),
        list(fresh),
        unused.len(),
        list(unused),
    )
}

/// The same for programs.
fn described(begun: &Begun) -> Value {
    let list = |names: &[String]| json!({ "count": names.len(), "tensors": names });
    let Taken { taken, fresh, unused } = &begun.taken;
    json!({ "sha256": begun.digest, "taken": list(taken), "fresh": list(fresh), "unused": list(unused) })
}

/// `origin`: records or tokens on either side, SHA-256 of the data, and what the run began from.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn answer(outcome: &Outcome, (on, threads): (&str, NonZeroUsize), origin: ((usize, usize), Sha256, Option<Value>)) -> Answer {
    let (sizes, digest, from) = origin;
    let best = outcome.best.as_ref().unwrap_or(&outcome.last);
    let rate = outcome.tokens as f64 / outcome.seconds.max(1e-9);
    let mut rows = vec![
        ("steps", outcome.steps.to_string()),
        ("validation loss", format!("{:.4} nats", outcome.last.loss)),
        ("best validation loss", format!("{:.4} nats", best.loss)),
        ("tokens per second", format!("{rate:.0}")),
        ("computed on", on.to_owned()),
        ("parameters", outcome.parameters.to_string()),
        ("records dropped", outcome.non_finite.to_string()),
    ];
    if let Some(e) = &best.evaluation {
        rows.push(("macro-F1 of the best", format!("{:.4}", e.macro_f1())));
        rows.push(("accuracy of the best", format!("{:.4}", e.accuracy())));
    }
    Answer::table(rows).with_data(&json!({
        "steps": outcome.steps,
        "last": judged(&outcome.last),
        "best": outcome.best.as_ref().map(judged),
        "learnt_from": sizes.0,
        "judged_by": sizes.1,
        "data_sha256": digest,
        "from": from,
        "parameters": outcome.parameters,
        "non_finite": outcome.non_finite,
        "computed_on": on,
        "threads": threads,
        "tokens": outcome.tokens,
        "tokens_per_s": rate,
        "wall_s": outcome.seconds,
        "processor_s": processor_seconds(),
        "peak_bytes": peak_memory(),
    }))
}
