//! `privacy audit`: less privacy than is claimed, looked for at four depths (privacy.md D70). L0 to L2 make their data up; L3 may be shown the
//! institution's own records, and its figures are for the institution's own eyes. Writes nothing but a report that is to be kept.

mod kept;
mod trained;

pub(super) use kept::kept;
#[cfg(feature = "test-doors")]
pub(crate) use kept::parse as parse_kept;
pub(super) use trained::read_plan;

use super::answer::{Answer, Failure};
use crate::clock::OsEntropy;
use crate::config::Config;
use crate::home::Home;
use clap::Args;
use privacy::audit::membership::{Point, Rate};
use privacy::audit::{AuditError, Check, MOST_RUNS, RUNS, Report, Subject, Verdict, audit_mechanism, audit_statistics};
use privacy::noise::EntropySource;
use protocol::decimal::Decimal;
use protocol::ids::PlanDigest;
use protocol::plan::Plan;
use serde_json::{Value, json};
use std::path::PathBuf;
use train::audit::Exposed;

#[derive(Clone, Debug, Args)]
pub(super) struct AuditArgs {
    /// How deep to look
    #[arg(long, value_enum)]
    level: Depth,
    /// A prepared plan (plan.cbor), whose noise, schedule and model are audited instead of built-in ones
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Noise multiplier that is executed; the plan's unless given, without a plan 1, at level l2 2
    #[arg(long)]
    noise_multiplier: Option<Decimal>,
    /// Noise multiplier that the account is made for; the executed one unless given, with a plan the plan's
    #[arg(long)]
    claimed_noise_multiplier: Option<Decimal>,
    /// Level l1: runs with the unit, and as many without it; more runs see smaller differences
    #[arg(long, default_value_t = RUNS, value_parser = clap::value_parser!(u32).range(40..=i64::from(MOST_RUNS)))]
    runs: u32,
    /// Level l2: canaries, each in the run by a secret coin
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(40..=100_000))]
    canaries: u32,
    /// Units with records: at level l2 beside the canaries (32 unless given), at level l3 whose membership is told (2000 unless given)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    units: Option<u32>,
    /// Level l3: models to compare with, an even number
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(4..=64))]
    shadows: u32,
    /// Level l3: strings of random tokens that are planted
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=1000))]
    planted: u32,
    /// Levels l2 and l3: train on the records that the settings name instead of generated messages
    #[arg(long, requires = "plan")]
    own_data: bool,
    /// Level l2: keep the report in the directory, for the statements of tasks with this plan
    #[arg(long, requires = "plan")]
    keep: bool,
}

/// Levels as D70 names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Depth {
    /// Statistics of noise and sampling
    L0,
    /// The mechanism, with and without one unit
    L1,
    /// One training run with canaries
    L2,
    /// Membership of records in a trained model
    L3,
}

/// What was looked at, as the answer shows it.
struct Found {
    report: Report,
    subject: Subject,
    plan: Option<PlanDigest>,
    more: More,
}

/// What a level shows beyond the report.
enum More {
    Nothing,
    /// What opens the commitment to the coins, and the run in the configuration in which an attack has power (D70).
    OneRun {
        opening: ([u8; 32], String),
        beside: Option<Box<Found>>,
    },
    Membership {
        points: Vec<Point>,
        exposed: Vec<Exposed>,
    },
}

pub(super) fn run(home: &Home, args: &AuditArgs, settings: &dyn Fn() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    run_with(home, args, settings, &mut OsEntropy)
}

fn run_with(
    home: &Home,
    args: &AuditArgs,
    settings: &dyn Fn() -> Result<Config, Failure>,
    entropy: &mut dyn EntropySource,
) -> Result<Answer, Failure> {
    if args.keep && args.level != Depth::L2 {
        // The figures of l3 are about records and have no noise: a statement would publish them.
        return Err(Failure::trouble_text("not_kept", "only level l2 is kept: its figures are about the noise, not about records"));
    }
    let found = find(home, args, settings, entropy)?;
    if let (true, Some(plan)) = (args.keep, &found.plan) {
        kept::keep(home, plan, &data(&found))?;
    }
    let answer = answer(&found);
    Ok(if violates(&found) { answer.failed() } else { answer })
}

fn find(
    home: &Home,
    args: &AuditArgs,
    settings: &dyn Fn() -> Result<Config, Failure>,
    entropy: &mut dyn EntropySource,
) -> Result<Found, Failure> {
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    let refused = |e: AuditError| Failure::trouble("not_audited", &e);
    let subject = subject(args, plan.as_ref().map(|(plan, _)| plan)).map_err(refused)?;
    let shallow = |report| Found { report, subject: subject.clone(), plan: plan.as_ref().map(|(_, digest)| *digest), more: More::Nothing };
    match args.level {
        Depth::L0 => audit_statistics(&subject, entropy).map(shallow).map_err(refused),
        Depth::L1 => audit_mechanism(&subject, args.runs, entropy).map(shallow).map_err(refused),
        Depth::L2 => trained::one_run(home, args, (subject, plan), settings, entropy),
        Depth::L3 => trained::membership(home, args, (subject, plan), settings, entropy),
    }
}

/// What is executed and what is claimed: the plan's noise, or what was asked for; with the plan's grid, clipping, law and path.
fn subject(args: &AuditArgs, planned: Option<&Plan>) -> Result<Subject, AuditError> {
    let built_in = if args.level == Depth::L2 { trained::POWERFUL_NOISE } else { "1" };
    let built_in = built_in.parse().unwrap_or(Decimal::ONE);
    let stated = planned.map(|plan| plan.privacy.noise_multiplier);
    let noise_multiplier = args.noise_multiplier.or(stated).unwrap_or(built_in);
    let claimed = args.claimed_noise_multiplier.or(stated).unwrap_or(noise_multiplier);
    match planned {
        Some(plan) => Ok(Subject::of_plan(plan, noise_multiplier, claimed)),
        None => Subject::built_in(noise_multiplier, claimed),
    }
}

/// A run beside a plan's counts as much as the plan's own.
fn violates(found: &Found) -> bool {
    let beside = match &found.more {
        More::OneRun { beside: Some(beside), .. } => violates(beside),
        More::OneRun { beside: None, .. } | More::Nothing | More::Membership { .. } => false,
    };
    found.report.verdict == Verdict::Violation || beside
}

fn verdict(found: &Found) -> &'static str {
    if violates(found) { Verdict::Violation.name() } else { Verdict::Consistent.name() }
}

fn answer(found: &Found) -> Answer {
    let mut rows = vec![("verdict".to_owned(), verdict(found).to_owned())];
    rows.extend(rows_of(found));
    Answer::table(rows.iter().map(|(k, v)| (k.as_str(), v.clone()))).with_data(&data(found))
}

fn rows_of(found: &Found) -> Vec<(String, String)> {
    let (report, figure) = (&found.report, |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}")));
    let mut rows = vec![
        ("level".to_owned(), report.level.name().to_owned()),
        ("epsilon claimed".to_owned(), format!("{:.4} at delta {:e}", report.epsilon_claimed, report.delta)),
        ("epsilon proved (95 %)".to_owned(), figure(report.epsilon_lower_95)),
        ("epsilon estimated".to_owned(), figure(report.epsilon_estimate)),
        ("trials".to_owned(), report.trials.to_string()),
        ("false alarm".to_owned(), format!("{:.1e}", report.false_alarm)),
    ];
    if let Some(g) = report.guessed {
        rows.push(("guesses".to_owned(), format!("{} right of {}, {} canaries or units", g.correct, g.guesses, g.canaries)));
    }
    rows.extend(report.checks.iter().map(|c| (c.name.to_owned(), shown(c))));
    match &found.more {
        More::Nothing | More::OneRun { beside: None, .. } => {}
        More::OneRun { beside: Some(beside), .. } => {
            let own = rows_of(beside).into_iter().skip(1);
            rows.extend(own.map(|(name, value)| (format!("audit configuration: {name}"), value)));
        }
        More::Membership { points, exposed } => {
            rows.extend(points.iter().map(|p| (format!("found at {} % false positives", 100.0 * p.wanted), shown_point(p))));
            let bits = |inside: bool| mean(exposed, inside).map_or_else(|| "-".to_owned(), |b| format!("{b:.2} bits"));
            rows.push(("exposure of planted strings".to_owned(), format!("{} where trained on, {} where not", bits(true), bits(false))));
        }
    }
    rows
}

fn shown_point(p: &Point) -> String {
    let t = p.true_positives;
    format!("{:.4} ({:.4} to {:.4}), ceiling {:.4}", t.value, t.low, t.high, p.ceiling)
}

/// Mean exposure of the planted strings that the model saw, or did not see.
fn mean(exposed: &[Exposed], inside: bool) -> Option<f64> {
    let bits: Vec<f64> = exposed.iter().filter(|e| e.inside == inside).map(|e| e.bits).collect();
    #[expect(clippy::cast_precision_loss, reason = "at most a thousand strings")]
    let count = bits.len() as f64;
    (!bits.is_empty()).then(|| bits.iter().sum::<f64>() / count)
}

fn data(found: &Found) -> Value {
    let (report, subject, g) = (&found.report, &found.subject, found.report.guessed);
    let mut data = json!({
        "level": report.level.name(),
        "noise_multiplier": subject.noise_multiplier.to_string(),
        "claimed_noise_multiplier": subject.claimed.to_string(),
        "epsilon_claimed": number(report.epsilon_claimed),
        "delta": report.delta,
        "epsilon_lower_95": report.epsilon_lower_95.map(number),
        "epsilon_estimate": report.epsilon_estimate.map(number),
        "method": report.method,
        "trials": report.trials,
        "canaries": g.map(|g| g.canaries),
        "guesses": g.map(|g| g.guesses),
        "correct": g.map(|g| g.correct),
        "seed_commitment": report.seed_commitment.map(|c| c.to_string()),
        "plan_digest": found.plan.map(|d| d.to_string()),
        "checks": report.checks.iter().map(check).collect::<Vec<_>>(),
        "false_alarm": report.false_alarm,
        "verdict": verdict(found),
    });
    match &found.more {
        More::Nothing => {}
        More::OneRun { opening: (nonce, coins), beside } => {
            data["seed_opening"] = json!({ "nonce": protocol::ids::Sha256(*nonce).to_string(), "coins": coins });
            data["audit_configuration"] = beside.as_deref().map_or(Value::Null, self::data);
        }
        More::Membership { points, exposed } => {
            data["points"] = points.iter().map(point).collect();
            data["exposure"] = json!({
                "strings": exposed.iter().map(|e| json!({ "trained_on": e.inside, "bits": e.bits })).collect::<Vec<_>>(),
                "mean_bits_trained_on": mean(exposed, true),
                "mean_bits_not_trained_on": mean(exposed, false),
            });
        }
    }
    data
}

/// A number, or "inf": JSON has none.
fn number(x: f64) -> Value {
    if x == f64::INFINITY { Value::from("inf") } else { serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number) }
}

fn point(p: &Point) -> Value {
    let rate = |r: Rate| json!({ "value": r.value, "low": r.low, "high": r.high });
    json!({
        "false_positive_rate": p.wanted,
        "false_positives": rate(p.false_positives),
        "true_positives": rate(p.true_positives),
        "ceiling": p.ceiling,
    })
}

fn shown(c: &Check) -> String {
    let mark = if c.fails() { "OUTSIDE" } else { "within" };
    format!("{:.4}, {mark} {:.4} to {:.4}", c.value, c.least, c.most)
}

fn check(c: &Check) -> Value {
    json!({ "name": c.name, "value": c.value, "least": c.least, "most": c.most, "consistent": !c.fails() })
}

#[cfg(test)]
#[path = "privacy_audit/tests.rs"]
mod tests;
