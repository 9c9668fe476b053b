//! `privacy`: figures for planning (privacy.md D54). Changes nothing.

use super::answer::{Answer, Failure};
use super::ledger::{self, LedgerArgs};
use super::privacy_audit::{self, AuditArgs};
use crate::home::Home;
use clap::Subcommand;
use privacy::accountant::{Phase, calibrate, epsilon_pld, epsilon_rdp};
use serde_json::json;

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
    /// The institution's privacy ledgers
    Ledger(LedgerArgs),
    /// Look for less privacy than is claimed: statistics of the noise, and an attack on the mechanism
    Audit(AuditArgs),
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
        PrivacyVerb::Ledger(ref args) => ledger::run(home, args),
        PrivacyVerb::Audit(args) => privacy_audit::run(args),
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
