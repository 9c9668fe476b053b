//! `bench fit`: how many records each thread may read at once so that a plan's training fits into memory, found by trial (training.md M9).
//! Made-up records of the plan's longest; touches no key and none of the institution's files.
//!
//! Each size is tried in a process of its own: what one trial leaves to the allocator would else be counted for the next, and a system that
//! ends a process for its memory ends the trial and not the search.

use super::answer::{Answer, Failure, say};
use super::bench::{answered_apart, kernel_bytes, peak_memory};
use super::privacy_audit::read_plan;
use clap::Args;
use privacy::mechanism::Mechanism;
use protocol::plan::{ClipPath, Plan};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use train::rehearsal::Rehearsal;
use train::workers::Workers;

#[derive(Clone, Debug, Args)]
pub(super) struct FitArgs {
    /// The plan: plan.cbor of `plan prepare`, or of a release's evidence
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Tier of the plan that this machine is for; without it everything that the plan trains
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Threads that compute gradients; all processors unless given
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Memory that training may take, in MiB; four fifths of what is there now unless given
    #[arg(long)]
    memory_mib: Option<NonZeroU64>,
    /// Try this many records at once and say how much memory it took
    #[arg(long, hide = true)]
    records: Option<NonZeroU32>,
}

/// Declared size that the mechanism is made for: none of what is tried depends on it.
const DECLARED: u64 = 1;

pub(super) fn run(args: &FitArgs) -> Result<Answer, Failure> {
    let (plan, _) = read_plan(&args.plan)?;
    if plan.count.is_some() {
        return Err(Failure::trouble_text("bad_plan", "a plan that counts trains no model"));
    }
    let plan = match &args.tier {
        Some(name) => Cow::Owned(plan.seen_by_tier(name).ok_or_else(|| no_tier(&plan, name))?),
        None => Cow::Borrowed(&plan),
    };
    match args.records {
        Some(records) => one(args, &plan, records),
        None => search(args, &plan),
    }
}

fn no_tier(plan: &Plan, name: &str) -> Failure {
    let names: Vec<_> = plan.tiers.iter().flatten().map(|t| t.name.as_str()).collect();
    Failure::trouble_text("no_tier", &format!("the plan has no tier {name:?}, its tiers are {names:?}"))
}

fn threads(args: &FitArgs) -> NonZeroUsize {
    args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// The trial itself, in a process of its own.
fn one(args: &FitArgs, plan: &Plan, records: NonZeroU32) -> Result<Answer, Failure> {
    let mechanism = Mechanism::of_plan(plan, DECLARED).map_err(|e| Failure::trouble("bad_plan", &e))?;
    let workers = Workers::start(threads(args)).map_err(|e| Failure::trouble("no_threads", &e))?;
    let rehearsal = Rehearsal::of(plan, &mechanism).map_err(|e| Failure::trouble("not_tried", &e))?;
    let finite = rehearsal.pass(records, &workers).map_err(|e| Failure::trouble("not_tried", &e))?;
    if !finite {
        return Err(Failure::trouble_text("not_tried", "a made-up unit had no finite gradient"));
    }
    let data = json!({ "records": records, "peak_bytes": peak_memory() });
    Ok(Answer::table([("peak bytes", data["peak_bytes"].to_string())]).with_data(&data))
}

/// The same command for one size.
fn command_line(args: &FitArgs, records: NonZeroU32) -> Vec<OsString> {
    let mut line = ["bench", "fit", "--format", "json", "--plan"].map(OsString::from).to_vec();
    line.push(args.plan.clone().into_os_string());
    if let Some(tier) = &args.tier {
        line.extend(["--tier", tier].map(OsString::from));
    }
    line.extend(["--threads", &threads(args).to_string(), "--records", &records.to_string()].map(OsString::from));
    line
}

/// Most memory that the trial's process held; none if the system ended it, or does not tell.
fn trial(args: &FitArgs, records: NonZeroU32) -> Result<Option<u64>, Failure> {
    let answer = answered_apart(command_line(args, records)).map_err(|e| Failure::trouble("not_tried", &e))?;
    match (answer["data"]["peak_bytes"].as_u64(), answer["error"]["message"].as_str()) {
        (_, Some(message)) => Err(Failure::trouble_text("not_tried", message)),
        (peak, None) => Ok(peak),
    }
}

/// One size that was tried: records, and the most bytes held.
type Tried = (u32, Option<u64>);

/// The largest of the sizes 1, 2, 4, ... and `most` that stays within the limit. A trial of twice as many takes at most twice as much, so a
/// size that must fit by the one before is taken without trying the next.
fn largest(
    most: u32,
    limit: u64,
    tried: &mut Vec<Tried>,
    mut trial: impl FnMut(NonZeroU32) -> Result<Option<u64>, Failure>,
) -> Result<Option<u32>, Failure> {
    let (mut fits, mut next) = (None, NonZeroU32::MIN);
    loop {
        let peak = trial(next)?;
        tried.push((next.get(), peak));
        let Some(peak) = peak.filter(|&peak| peak <= limit) else { return Ok(fits) };
        fits = Some(next.get());
        if next.get() >= most {
            return Ok(fits);
        }
        if peak.saturating_mul(u64::from(most.div_ceil(next.get()))) <= limit {
            return Ok(Some(most));
        }
        next = next.saturating_mul(TWO).min(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN));
    }
}

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

fn search(args: &FitArgs, plan: &Plan) -> Result<Answer, Failure> {
    let there = args.memory_mib.map(|mib| mib.get().saturating_mul(1 << 20)).or_else(|| available().map(|bytes| bytes / 5 * 4));
    let limit =
        there.ok_or_else(|| Failure::trouble_text("no_limit", "the system does not say how much memory there is: give --memory-mib"))?;
    let planned = plan.local.micro_batch;
    let mut tried = Vec::new();
    let fits = largest(planned, limit, &mut tried, |records| {
        say(&format!("trying {records} of {planned} records at once"));
        trial(args, records)
    })?;
    let fits = match (fits, plan.privacy.path) {
        (None, _) => None,
        // What is accounted for is what must be executed.
        (Some(fits), ClipPath::BookKeeping { .. }) => Some(fits).filter(|&fits| fits == planned),
        (fits, ClipPath::Exact) => fits,
    };
    match fits {
        Some(fits) => Ok(answer(args, (fits, planned), limit, &tried)),
        None => Err(too_small(plan, limit, &tried)),
    }
}

fn too_small(plan: &Plan, limit: u64, tried: &[Tried]) -> Failure {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let (what, kept) = match plan.privacy.path {
        ClipPath::Exact => ("records", String::new()),
        ClipPath::BookKeeping { .. } => ("units", format!(" and the plan's privacy is accounted with {}", plan.local.micro_batch)),
    };
    let taken = match tried.last() {
        Some((number, Some(peak))) => format!("{number} {what} at once take {} MiB", mib(*peak)),
        Some((number, None)) => format!("{number} {what} at once were ended by the system"),
        None => format!("no {what} were tried"),
    };
    let message = format!("the batch does not fit: {taken}, {} MiB may be taken{kept}", mib(limit));
    Failure::refused_text("does_not_fit", &message)
        .hint("fewer --threads, a plan with keep = \"inputs\", a smaller micro_batch, or a tier that trains less take less memory")
}

fn answer(args: &FitArgs, (fits, planned): (u32, u32), limit: u64, tried: &[Tried]) -> Answer {
    let setting = if fits < planned { format!("max_pass_records = {fits}") } else { "max_pass_records = 0".to_owned() };
    let rows = [
        ("records at once", format!("{fits} (the plan has {planned})")),
        ("in client.toml", setting),
        ("threads", threads(args).to_string()),
        ("memory that may be taken", format!("{} MiB", limit >> 20)),
    ];
    let sizes: Vec<Value> = tried.iter().map(|(records, peak)| json!({ "records": records, "peak_bytes": peak })).collect();
    Answer::table(rows).with_data(&json!({
        "max_pass_records": if fits < planned { fits } else { 0 },
        "fits": fits,
        "planned": planned,
        "threads": threads(args),
        "limit_bytes": limit,
        "tried": sizes,
    }))
}

/// Bytes that a new process could take without others being pushed out, where the system tells.
fn available() -> Option<u64> {
    kernel_bytes("/proc/meminfo", "MemAvailable:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: FitArgs,
    }

    /// A machine that needs `first` bytes for anything and `each` for a record, and ends whoever wants more than `ends`.
    fn found(most: u32, limit: u64, (first, each, ends): (u64, u64, u64)) -> (Option<u32>, Vec<u32>) {
        let mut tried = Vec::new();
        let fits = largest(most, limit, &mut tried, |records| {
            let peak = first + each * u64::from(records.get());
            Ok(Some(peak).filter(|&peak| peak <= ends))
        });
        (fits.unwrap_or_else(|_| panic!("no trial fails here")), tried.into_iter().map(|(records, _)| records).collect())
    }

    #[test]
    fn the_largest_size_that_fits_is_found_and_no_larger_one_is_tried_than_needed() {
        let machine = (100, 10, u64::MAX);
        assert_eq!(found(8, 10_000, machine), (Some(8), vec![1]), "sure to fit");
        assert_eq!(found(8, 185, machine), (Some(8), vec![1, 2, 4, 8]));
        assert_eq!(found(8, 150, machine), (Some(4), vec![1, 2, 4, 8]));
        assert_eq!(found(6, 165, machine), (Some(6), vec![1, 2, 4, 6]), "not only powers of two");
        assert_eq!(found(1, 110, machine), (Some(1), vec![1]));
        assert_eq!(found(8, 109, machine), (None, vec![1]));
    }

    #[test]
    fn a_trial_that_the_system_ended_does_not_fit() {
        assert_eq!(found(8, 1000, (100, 100, 450)), (Some(2), vec![1, 2, 4]));
        assert_eq!(found(8, 1000, (100, 100, 150)), (None, vec![1]));
    }

    #[test]
    fn a_process_of_its_own_is_asked_for_the_same_work() {
        let args = Line::parse_from("x --plan some/plan.cbor --tier small --threads 3".split(' ')).args;
        let line = command_line(&args, NonZeroU32::new(4).unwrap());
        let again = Line::parse_from(std::iter::once(OsString::from("x")).chain(line.into_iter().skip(4))).args;
        assert_eq!((again.plan, again.tier, again.threads), (args.plan, args.tier, args.threads));
        assert_eq!(again.records.map(NonZeroU32::get), Some(4));
    }
}
