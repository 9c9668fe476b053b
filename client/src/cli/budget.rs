//! `privacy`: figures for planning, and the ledger as it stands on disk (privacy.md D54, D65). Changes nothing.

use super::answer::{Answer, Failure};
use crate::home::Home;
use clap::Subcommand;
use privacy::accountant::{Phase, calibrate, epsilon_pld, epsilon_rdp};
use privacy::ledger::{LoadError, PrivacyLedger};
use serde_json::json;

/// Longest ledger that is shown.
const MAX_LEDGER: usize = 512 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum PrivacyVerb {
    /// Epsilon of a number of noised steps
    Epsilon {
        /// Noise deviation over sensitivity
        #[arg(long)]
        noise_multiplier: f64,
        /// Probability with which each unit enters each step
        #[arg(long)]
        sampling_rate: f64,
        /// Noised steps
        #[arg(long)]
        steps: u64,
        /// Delta of the promise
        #[arg(long)]
        delta: f64,
    },
    /// Noise multiplier that keeps a number of steps within an epsilon
    Calibrate {
        /// Epsilon to stay within
        #[arg(long)]
        target_epsilon: f64,
        /// Probability with which each unit enters each step
        #[arg(long)]
        sampling_rate: f64,
        /// Noised steps
        #[arg(long)]
        steps: u64,
        /// Delta of the promise
        #[arg(long)]
        delta: f64,
    },
    /// Totals and hash chain of the ledgers in the directory
    Ledger,
}

pub(super) fn run(home: &Home, verb: &PrivacyVerb) -> Result<Answer, Failure> {
    match *verb {
        PrivacyVerb::Epsilon { noise_multiplier, sampling_rate, steps, delta } => epsilon(noise_multiplier, sampling_rate, steps, delta),
        PrivacyVerb::Calibrate { target_epsilon, sampling_rate, steps, delta } => {
            let sigma = calibrate(target_epsilon, sampling_rate, steps, delta).map_err(|e| Failure::trouble("no_figure", &e))?;
            // Rounded up: less noise than the answer would miss the target.
            let shown = format!("{:.4}", (sigma * 1e4).ceil() / 1e4);
            Ok(Answer::table([("noise multiplier", shown.clone())]).with_data(&json!({ "noise_multiplier": shown })))
        }
        PrivacyVerb::Ledger => ledgers(home),
    }
}

fn epsilon(noise_multiplier: f64, sampling_rate: f64, steps: u64, delta: f64) -> Result<Answer, Failure> {
    let phase = [Phase { noise_multiplier, sampling_rate, steps }];
    let pld = epsilon_pld(&phase, delta).map_err(|e| Failure::trouble("no_figure", &e))?;
    let rdp = epsilon_rdp(&phase, delta).map_err(|e| Failure::trouble("no_figure", &e))?;
    let up = |x: f64| format!("{:.6}", (x * 1e6).ceil() / 1e6);
    let rows = [("epsilon", up(pld)), ("epsilon by rdp", up(rdp.epsilon)), ("rdp order", rdp.order.to_string())];
    Ok(Answer::table(rows).with_data(&json!({ "epsilon": up(pld), "epsilon_rdp": up(rdp.epsilon), "rdp_order": rdp.order.to_string() })))
}

fn ledgers(home: &Home) -> Result<Answer, Failure> {
    let names = crate::files::names(&home.ledger_dir(), crate::files::Item::Ledger).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let (mut rows, mut data, mut sound) = (Vec::new(), Vec::new(), true);
    for name in names.iter().filter(|n| n.ends_with(".ledger")) {
        let path = home.ledger_dir().join(name);
        let bytes = crate::files::read(&path, MAX_LEDGER, crate::files::Item::Ledger).map_err(|e| Failure::trouble("bad_directory", &e))?;
        let loaded = PrivacyLedger::load(&bytes);
        sound &= loaded.is_ok();
        let (row, value) = describe(&loaded.map(|l| l.ledger));
        rows.push((name.trim_end_matches(".ledger").to_owned(), row));
        data.push(value);
    }
    let answer =
        Answer::table(rows.iter().map(|(k, v)| (k.as_str(), v.clone()))).with_data(&json!({ "ledgers": data, "chains_hold": sound }));
    Ok(if sound { answer } else { answer.failed() })
}

fn describe(ledger: &Result<PrivacyLedger, LoadError>) -> (String, serde_json::Value) {
    match ledger {
        Err(error) => (format!("does not hold: {error}"), json!({ "holds": false, "error": error.to_string() })),
        Ok(ledger) => {
            let t = ledger.totals();
            let spent = t.epsilon.map_or_else(|| "unbounded".to_owned(), |e| e.to_string());
            let row = format!("{} entries, epsilon {spent} of {} at order {}", ledger.counter(), t.epsilon_cap, t.order);
            let value = json!({
                "holds": true, "dataset": ledger.terms().dataset, "entries": ledger.counter(), "head": ledger.head(), "epsilon": spent,
                "epsilon_cap": t.epsilon_cap, "order": t.order, "rdp_spent": t.spent.decimal(), "rdp_held": t.held.decimal(),
                "rdp_budget": t.budget.decimal(), "unsealed": ledger.unsealed(),
            });
            (row, value)
        }
    }
}
