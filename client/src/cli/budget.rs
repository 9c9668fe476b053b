//! `privacy`: figures for planning, the empirical audit, and the ledger as it stands on disk (privacy.md D54, D65, D70). Changes nothing.

use super::answer::{Answer, Failure};
use super::privacy_figures::{self, CalibrateArgs, EpsilonArgs};
use crate::home::Home;
use clap::Subcommand;
use privacy::ledger::{LoadError, PrivacyLedger};
use serde_json::json;

/// Longest ledger that is shown.
const MAX_LEDGER: usize = 512 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum PrivacyVerb {
    /// Epsilon of a number of noised steps
    Epsilon(EpsilonArgs),
    /// Noise multiplier that keeps a number of steps within an epsilon
    Calibrate(CalibrateArgs),
    /// Totals and hash chain of the ledgers in the directory
    Ledger,
}

pub(super) fn run(home: &Home, verb: &PrivacyVerb) -> Result<Answer, Failure> {
    match verb {
        PrivacyVerb::Epsilon(args) => privacy_figures::epsilon(args),
        PrivacyVerb::Calibrate(args) => privacy_figures::calibrate(*args),
        PrivacyVerb::Ledger => ledgers(home),
    }
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
