//! `bench fit`: how many records each thread may read at once so that a plan's training fits into memory, found by trial (training.md M9).
//! Made-up records of the plan's longest; touches no key, and of the institution's files none but its settings, where they name the checkpoint.
//!
//! Each size is tried in a process of its own: what one trial leaves to the allocator would else be counted for the next, and a system that
//! ends a process for its memory ends the trial and not the search.

use super::answer::{Answer, Failure, say};
use super::bench::{answered_apart, kernel_bytes, peak_memory};
use super::privacy_audit::read_plan;
use crate::config::Config;
use crate::foundation::{Foundation, NoFoundation};
use clap::Args;
use privacy::mechanism::Mechanism;
use protocol::plan::{ClipPath, Plan};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use train::rehearsal::{self, Rehearsal};
use train::slots::SlotsError;
use train::workers::Workers;

#[derive(Clone, Debug, Args)]
pub(super) struct FitArgs {
    /// The plan: plan.cbor of `plan prepare`, or of a release's evidence
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Tier of the plan that this machine is for; without it everything that the plan trains
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Directory of the checkpoint that the plan's model begins from; that of the settings unless given
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
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

/// How often a process's memory is looked at: a thread is given some tens of MiB in that time, and a fifth of what is there is left free.
const LOOK: Duration = Duration::from_millis(2);
/// Code of a trial that a device had no room for.
const DOES_NOT_FIT: &str = "does_not_fit";

pub(super) fn run(args: &FitArgs, settings: &dyn Fn() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    let (plan, _) = read_plan(&args.plan)?;
    if plan.count.is_some() {
        return Err(Failure::trouble_text("bad_plan", "a plan that counts trains no model"));
    }
    let plan = match &args.tier {
        Some(name) => Cow::Owned(plan.seen_by_tier(name).ok_or_else(|| no_tier(&plan, name))?),
        None => Cow::Borrowed(&plan),
    };
    let args = &FitArgs { base: checkpoint(args, &plan, settings)?, ..args.clone() };
    match args.records {
        Some(records) => one(args, &plan, records),
        None => search(args, &plan),
    }
}

/// Directory of what the plan leaves to its checkpoint; none where it leaves nothing.
fn checkpoint(args: &FitArgs, plan: &Plan, settings: &dyn Fn() -> Result<Config, Failure>) -> Result<Option<PathBuf>, Failure> {
    let Some(named) = plan.model.base.as_ref().filter(|base| !base.frozen.is_empty()) else { return Ok(None) };
    let directory = match &args.base {
        Some(base) => Some(base.clone()),
        None => settings()?.base,
    };
    let not_set = || Failure::trouble("no_base", &NoFoundation::NotSet(named.weights)).hint("or give its directory with --base");
    directory.map(Some).ok_or_else(not_set)
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
    let (tried, own) = watched(|| passed(args, (plan, &mechanism), records, &workers));
    match tried? {
        rehearsal::Tried::Passed => {}
        rehearsal::Tried::NotFinite => return Err(Failure::trouble_text("not_tried", "a made-up unit had no finite gradient")),
        rehearsal::Tried::NoRoom => return Err(Failure::refused_text(DOES_NOT_FIT, "a device has no room for so many records at once")),
    }
    // What is read where it lies on the disk is let go again when the room is needed.
    let peak = if args.base.is_some() { own } else { peak_memory() };
    let data = json!({ "records": records, "peak_bytes": peak });
    Ok(Answer::table([("peak bytes", data["peak_bytes"].to_string())]).with_data(&data))
}

/// One pass, with what the plan leaves to its checkpoint held as rounds hold it.
fn passed(
    args: &FitArgs,
    (plan, mechanism): (&Plan, &Mechanism),
    records: NonZeroU32,
    workers: &Workers,
) -> Result<rehearsal::Tried, Failure> {
    let foundation = match &args.base {
        Some(base) => Foundation::to_try(plan, Some(base)).map_err(|e| Failure::trouble("no_base", &e))?,
        None => None,
    };
    let not_tried = |e: SlotsError| Failure::trouble("not_tried", &e);
    let rehearsal = Rehearsal::of((plan, foundation.as_ref().map(|f| &f.outside)), mechanism).map_err(not_tried)?;
    rehearsal.pass(records, workers).map_err(not_tried)
}

/// What the work gives, and the most bytes of its own that this process was seen to hold: all but the pages of files. Where the system tells.
fn watched<T>(work: impl FnOnce() -> T) -> (T, Option<u64>) {
    let own = || kernel_bytes("/proc/self/status", "RssAnon:");
    let (working, end) = channel::<()>();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut most = own();
            while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                most = most.max(own());
            }
            // Once more, with what the work gives still there.
            most.max(own())
        });
        let done = work();
        drop(working);
        (done, watcher.join().ok().flatten())
    })
}

/// The same command for one size.
fn command_line(args: &FitArgs, records: NonZeroU32) -> Vec<OsString> {
    let mut line = ["bench", "fit", "--format", "json", "--plan"].map(OsString::from).to_vec();
    line.push(args.plan.clone().into_os_string());
    if let Some(tier) = &args.tier {
        line.extend(["--tier", tier].map(OsString::from));
    }
    if let Some(base) = &args.base {
        line.extend([OsString::from("--base"), base.clone().into_os_string()]);
    }
    line.extend(["--threads", &threads(args).to_string(), "--records", &records.to_string()].map(OsString::from));
    line
}

/// Most memory that the trial's process held; none if the system ended it, or does not tell, or a device had no room.
fn trial(args: &FitArgs, records: NonZeroU32) -> Result<Option<u64>, Failure> {
    answered(&answered_apart(command_line(args, records)).map_err(|e| Failure::trouble("not_tried", &e))?)
}

fn answered(answer: &Value) -> Result<Option<u64>, Failure> {
    match (answer["error"]["code"].as_str(), answer["error"]["message"].as_str()) {
        (Some(DOES_NOT_FIT), _) => Ok(None),
        (_, Some(message)) => Err(Failure::trouble_text("not_tried", message)),
        (_, None) => Ok(answer["data"]["peak_bytes"].as_u64()),
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
        Some((number, None)) => format!("{number} {what} at once were ended by the system, or found no room on a device"),
        None => format!("no {what} were tried"),
    };
    let message = format!("the batch does not fit: {taken}, {} MiB may be taken{kept}", mib(limit));
    Failure::refused_text(DOES_NOT_FIT, &message)
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
    use protocol::ids::Sha256;
    use protocol::plan::{Asks, BaseModel};

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
        let args = Line::parse_from("x --plan some/plan.cbor --tier small --base a/checkpoint --threads 3".split(' ')).args;
        let line = command_line(&args, NonZeroU32::new(4).unwrap());
        let again = Line::parse_from(std::iter::once(OsString::from("x")).chain(line.into_iter().skip(4))).args;
        assert_eq!((again.plan, again.tier, again.base, again.threads), (args.plan, args.tier, args.base, args.threads));
        assert_eq!(again.records.map(NonZeroU32::get), Some(4));
    }

    /// The checkpoint is asked for where a plan leaves something to one, by the command line or by the settings.
    #[test]
    fn a_plan_on_a_checkpoint_is_tried_on_it() {
        let line = |text: &str| Line::parse_from(text.split(' ')).args;
        let mut plan = crate::testing::plan();
        let (plain, given) = (line("x --plan p"), line("x --plan p --base here"));
        let with = |text: &str| -> Result<Config, Failure> { Ok(Config::parse(text).unwrap()) };
        let found = |args: &FitArgs, plan: &Plan, text: &str| {
            checkpoint(args, plan, &|| with(text)).unwrap_or_else(|_| panic!("the checkpoint is named"))
        };
        assert_eq!(found(&given, &plan, ""), None, "random weights");
        let (weights, tokenizer) = (Sha256([7; 32]), Sha256([8; 32]));
        let frozen = vec!["a.weight".to_owned()];
        plan.model.base = Some(BaseModel { config: "{}".into(), weights, tokenizer, frozen, asks: Asks::Class });
        assert_eq!(found(&given, &plan, "base = \"there\""), Some("here".into()));
        assert_eq!(found(&plain, &plan, "base = \"there\""), Some("there".into()));
        assert!(checkpoint(&plain, &plan, &|| with("")).is_err());
    }

    #[test]
    fn only_a_trial_that_did_not_fit_is_told_from_one_that_failed() {
        let peak = |answer: Value| answered(&answer).map_err(drop);
        assert_eq!(peak(json!({ "data": { "peak_bytes": 7 } })), Ok(Some(7)));
        assert_eq!(peak(Value::Null), Ok(None), "ended by the system");
        assert_eq!(peak(json!({ "error": { "code": "does_not_fit", "message": "no room" } })), Ok(None));
        assert_eq!(peak(json!({ "error": { "code": "not_tried", "message": "no plan" } })), Err(()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_work_holds_is_seen() {
        const HELD: usize = 64 << 20;
        let (held, seen) = watched(|| vec![1u8; HELD]);
        assert!(seen.unwrap() >= u64::try_from(held.len()).unwrap());
    }
}
