//! `privacy epsilon` and `privacy calibrate` (privacy.md D53, D54): every accountant's figure for numbers given by hand. Knows no plan.

use super::answer::{Answer, Failure};
use clap::{Args, ValueEnum};
use privacy::accountant::task::ACCOUNTANT;
use privacy::accountant::{AccountantError, Adjacency, Phase, RdpAnswer};
use serde_json::{Value, json};

/// Which datasets are neighbours
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AdjacencyName {
    /// One has one unit more
    AddRemove,
    /// One unit's data differs
    ReplaceOne,
}

impl AdjacencyName {
    fn adjacency(self) -> Adjacency {
        match self {
            Self::AddRemove => Adjacency::AddOrRemove,
            Self::ReplaceOne => Adjacency::ReplaceOne,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct EpsilonArgs {
    /// Noise deviation over sensitivity
    #[arg(long, value_name = "S", allow_hyphen_values = true, required_unless_present = "phase", conflicts_with = "phase")]
    noise_multiplier: Option<f64>,
    /// Probability with which each unit enters each step
    #[arg(long, value_name = "Q", allow_hyphen_values = true, required_unless_present = "phase", conflicts_with = "phase")]
    sample_rate: Option<f64>,
    /// Noised steps
    #[arg(long, value_name = "T", required_unless_present = "phase", conflicts_with = "phase")]
    steps: Option<u64>,
    /// Delta of the promise
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    delta: f64,
    /// Which datasets are neighbours
    #[arg(long, value_enum, default_value_t = AdjacencyName::AddRemove)]
    adjacency: AdjacencyName,
    /// Steps that follow each other with other numbers, instead of the first three; repeat it
    #[arg(long, value_name = "S,Q,T", value_parser = phase)]
    phase: Vec<Phase>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct CalibrateArgs {
    /// Epsilon to stay within
    #[arg(long, value_name = "E", allow_hyphen_values = true)]
    target_epsilon: f64,
    /// Probability with which each unit enters each step
    #[arg(long, value_name = "Q", allow_hyphen_values = true)]
    sample_rate: f64,
    /// Noised steps
    #[arg(long, value_name = "T")]
    steps: u64,
    /// Delta of the promise
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    delta: f64,
    /// Which datasets are neighbours
    #[arg(long, value_enum, default_value_t = AdjacencyName::AddRemove)]
    adjacency: AdjacencyName,
}

/// Why a text is no phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum PhaseError {
    #[error("expected three values S,Q,T")]
    Count,
    #[error("S and Q are numbers")]
    Number(#[from] std::num::ParseFloatError),
    #[error("T is a whole number")]
    Steps(#[from] std::num::ParseIntError),
}

fn phase(text: &str) -> Result<Phase, PhaseError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [s, q, t] = parts[..] else { return Err(PhaseError::Count) };
    Ok(Phase { noise_multiplier: s.parse()?, sampling_rate: q.parse()?, steps: t.parse()? })
}

fn no_figure(error: &AccountantError) -> Failure {
    Failure::trouble(error.code(), error)
}

/// A number, or "inf": JSON has none.
fn number(x: f64) -> Value {
    if x == f64::INFINITY { Value::from("inf") } else { serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number) }
}

/// What a table shows: six places, rounded up.
fn shown(x: Option<f64>) -> String {
    x.map_or_else(|| "-".to_owned(), |x| format!("{:.6}", (x * 1e6).ceil() / 1e6))
}

/// The PLD says nothing below δ = 1e-12 (privacy.md D47); the others still do.
fn unless_delta_is_too_small(answer: Result<f64, AccountantError>) -> Result<Option<f64>, AccountantError> {
    match answer {
        Err(AccountantError::DeltaTooSmall(_)) => Ok(None),
        other => other.map(Some),
    }
}

pub(super) fn epsilon(args: &EpsilonArgs) -> Result<Answer, Failure> {
    let phases = match (args.noise_multiplier, args.sample_rate, args.steps) {
        (Some(noise_multiplier), Some(sampling_rate), Some(steps)) => vec![Phase { noise_multiplier, sampling_rate, steps }],
        (_, _, _) => args.phase.clone(),
    };
    let (adjacency, delta) = (args.adjacency.adjacency(), args.delta);
    let pld = unless_delta_is_too_small(adjacency.epsilon_pld(&phases, delta)).map_err(|e| no_figure(&e))?;
    let rdp = adjacency.epsilon_rdp(&phases, delta).map_err(|e| no_figure(&e))?;
    let exact = adjacency.epsilon_exact(&phases, delta).map_err(|e| no_figure(&e))?;
    // Without steps or without noise no order is better than another.
    let order = rdp.map(|a: RdpAnswer| a.order).filter(|o| o.is_finite());
    let rows = [
        ("epsilon", shown(pld)),
        ("epsilon by rdp", shown(rdp.map(|a| a.epsilon))),
        ("rdp order", order.map_or_else(|| "-".to_owned(), |o| o.to_string())),
        ("epsilon in closed form", shown(exact)),
        ("delta", delta.to_string()),
        ("neighbours", adjacency.name().to_owned()),
    ];
    let as_json = |p: &Phase| json!({ "noise_multiplier": p.noise_multiplier, "sample_rate": p.sampling_rate, "steps": p.steps });
    Ok(Answer::table(rows).with_data(&json!({
        "epsilon_pld": pld.map(number),
        "epsilon_rdp": rdp.map(|a| number(a.epsilon)),
        "epsilon_exact": exact.map(number),
        "rdp_order": order.map(number),
        "delta": number(delta),
        "adjacency": adjacency.name(),
        "phases": phases.iter().map(as_json).collect::<Vec<_>>(),
        "accountant": ACCOUNTANT,
    })))
}

pub(super) fn calibrate(args: CalibrateArgs) -> Result<Answer, Failure> {
    let CalibrateArgs { target_epsilon: target, sample_rate: q, steps, delta, adjacency } = args;
    let adjacency = adjacency.adjacency();
    let pld = unless_delta_is_too_small(adjacency.calibrate(target, q, steps, delta)).map_err(|e| no_figure(&e))?;
    let rdp = adjacency.calibrate_rdp(target, q, steps, delta).map_err(|e| no_figure(&e))?;
    let exact = adjacency.calibrate_exact(target, q, steps, delta).map_err(|e| no_figure(&e))?;
    let rows = [
        ("noise multiplier", shown(pld)),
        ("noise multiplier by rdp", shown(rdp)),
        ("noise multiplier in closed form", shown(exact)),
        ("target epsilon", target.to_string()),
        ("delta", delta.to_string()),
        ("neighbours", adjacency.name().to_owned()),
    ];
    Ok(Answer::table(rows).with_data(&json!({
        "noise_multiplier_pld": pld.map(number),
        "noise_multiplier_rdp": rdp.map(number),
        "noise_multiplier_exact": exact.map(number),
        "target_epsilon": number(target),
        "sample_rate": number(q),
        "steps": steps,
        "delta": number(delta),
        "adjacency": adjacency.name(),
        "accountant": ACCOUNTANT,
    })))
}
