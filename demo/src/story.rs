//! The story: data, enrolment, rounds, end, verification, reports.

use crate::chunks;
use crate::data::{self, World};
use crate::federation::Federation;
use crate::html;
use crate::options::{Format, Options};
use crate::report::{Coalition, Mixed, Report, RoundRow, Score, Seconds, Tier};
use crate::score::{self, Scorer};
use crate::watch::{self, Seen};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::decimal::Decimal;
use protocol::history::History;
use protocol::plan::Plan;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// One line of the server's `rounds.jsonl`.
#[derive(Clone, Debug, Deserialize)]
struct ServerRound {
    round: u64,
    snapshot: Option<String>,
    cohort: BTreeMap<String, u64>,
    bytes_up: u64,
    bytes_down: u64,
    certify_s: f64,
    sum_s: f64,
    open_s: f64,
}

/// A task that makes no progress for so long has failed: longer than all deadlines of one round together.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the whole demo and leaves its reports.
pub(crate) fn tell(options: &Options) -> anyhow::Result<Report> {
    let started = Instant::now();
    let out = &options.cli.out;
    // Found out before any work is done: a full disk or a file in the way.
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let bar = bar("data", 2);
    let mut world = data::make(options)?;
    bar.inc(1);
    let floor = world.naive_bayes()?;
    bar.inc(1);
    bar.finish_with_message("records are split; nobody sees the held-out part");
    let (mut report, plan) = federate(options, &world, &floor, started)?;
    if let Some(tiers) = options.tiers {
        let rest = options.without_small(tiers);
        std::fs::create_dir_all(&rest.cli.out).with_context(|| format!("{} cannot be made", rest.cli.out.display()))?;
        bar.println("  now the same without the institutions that train only a part");
        // What is held out stays the same, so that scores can be compared; what was left out stands in the first report.
        world.institutions.truncate(tiers.full);
        world.report = corpus::Report::default();
        let (without, _) = federate(&rest, &world, &floor, Instant::now())?;
        write(&rest.cli.out, &without)?;
        report.mixed = Some(mixed(&plan, &report, &without));
        report.total_seconds = started.elapsed().as_secs_f64();
    }
    write(out, &report)?;
    print(options, &report, out);
    Ok(report)
}

/// One federation, from enrolment to verified log.
fn federate(options: &Options, world: &World, floor: &corpus::Confusion, started: Instant) -> anyhow::Result<(Report, Plan)> {
    let out = &options.cli.out;
    let mut federation = Federation::found(options)?;
    let bar = self::bar("enrol", u64::from(options.cli.institutions));
    federation.enrol(options, world, |_| bar.inc(1))?;
    bar.finish_with_message("members, keys and witnesses are in the log");
    let plan = federation.open_task(options, world)?;
    let scorer = Scorer::new(&plan, world)?;
    let before = scorer.score(&federation.base_snapshot())?;
    let scores = follow(&mut federation, &plan, &scorer)?;
    keep(&federation, options, &scores)
        .with_context(|| format!("log and snapshots cannot be kept in {}: is there space left?", out.display()))?;
    federation.wait_for_clients(Duration::from_secs(15))?;
    let report = conclude(&federation, &Gathered { options, world, plan: &plan, floor, before, scores }, started)?;
    federation.stop()?;
    Ok((report, plan))
}

fn bar(phase: &'static str, length: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix:>8} {bar:30} {pos}/{len} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_prefix(phase)
}

fn server_rounds(federation: &Federation) -> Vec<ServerRound> {
    let text = std::fs::read_to_string(federation.server_dir().join("rounds.jsonl")).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

fn snapshot_path(federation: &Federation, digest: &str) -> std::path::PathBuf {
    federation.server_dir().join("models").join(format!("{digest}.safetensors"))
}

/// Watches the rounds until the task ends; scores each new snapshot while the next round trains.
fn follow(federation: &mut Federation, plan: &Plan, scorer: &Scorer) -> anyhow::Result<Vec<(ServerRound, Option<Score>)>> {
    let bar = bar("rounds", plan.rounds);
    let (mut rows, mut last, mut since): (Vec<(ServerRound, Option<Score>)>, String, Instant) = (Vec::new(), String::new(), Instant::now());
    loop {
        let status = federation.status()?;
        let now = format!("{} {}", status.round.map_or(0, |r| r.0), status.phase);
        if now != last {
            bar.set_message(format!("round {now}"));
            (last, since) = (now, Instant::now());
        }
        for round in server_rounds(federation).into_iter().skip(rows.len()) {
            let score = round.snapshot.as_ref().map(|d| scorer.score(&snapshot_path(federation, d))).transpose()?;
            if let Some(s) = &score {
                bar.println(format!("  round {}: evaluation loss {:.3}, macro-F1 {:.3}", round.round, s.eval_loss, s.macro_f1));
            }
            rows.push((round, score));
            bar.inc(1);
        }
        // The log that auditors get ends under a checkpoint of its witnesses.
        if status.ended && status.published == status.log_size {
            bar.finish_with_message("the task has ended under a quorum checkpoint");
            return Ok(rows);
        }
        let fallen = federation.fallen()?;
        anyhow::ensure!(fallen.len() < federation.institutions(), "every client has ended: {}", last_words(federation, &fallen));
        anyhow::ensure!(since.elapsed() < PATIENCE, "nothing happens in `{last}`; {}", last_words(federation, &["server".to_owned()]));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn last_words(federation: &Federation, names: &[String]) -> String {
    let last = |n: &String| {
        let text = std::fs::read_to_string(federation.log_of(n)).unwrap_or_default();
        format!("{n}: {}", text.lines().last().unwrap_or("said nothing"))
    };
    names.iter().map(last).collect::<Vec<_>>().join("; ")
}

/// Copies what an auditor and a user of the model get.
fn keep(federation: &Federation, options: &Options, scores: &[(ServerRound, Option<Score>)]) -> anyhow::Result<()> {
    let place = |name: &str| options.cli.out.join(name);
    let (log, snapshots, chunks) = (place("log"), place("snapshots"), place("chunks"));
    for dir in [&log, &snapshots, &chunks] {
        // Left by an earlier run of the demo; its own names only.
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
    }
    std::fs::create_dir_all(&log)?;
    std::fs::create_dir_all(&snapshots)?;
    if options.cli.keep_chunks {
        chunks::keep(&federation.server_dir().join("chunks"), &chunks)?;
    }
    copy_tree(&federation.server_dir().join("audit"), &log)?;
    std::fs::copy(federation.base_snapshot(), snapshots.join("round-0000.safetensors"))?;
    for (round, digest) in scores.iter().filter_map(|(r, _)| Some((r.round, r.snapshot.as_ref()?))) {
        std::fs::copy(snapshot_path(federation, digest), snapshots.join(format!("round-{round:04}.safetensors")))?;
    }
    Ok(())
}

/// Copies a directory, leaving out the server's own state.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == ".state" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Everything that the report is made of.
struct Gathered<'a> {
    options: &'a Options,
    world: &'a World,
    plan: &'a Plan,
    floor: &'a corpus::Confusion,
    before: Score,
    scores: Vec<(ServerRound, Option<Score>)>,
}

/// Verifies the log that was kept, compares sums, and makes the report.
fn conclude(federation: &Federation, g: &Gathered<'_>, started: Instant) -> anyhow::Result<Report> {
    let log = g.options.cli.out.join("log");
    let bar = bar("verify", 2);
    let verdict = auditor::verify(&log, &auditor::Options::default())?;
    bar.inc(1);
    let history = score::history(&log)?;
    let exact = score::exact_sums(federation, &history, g.plan)?;
    bar.inc(1);
    bar.finish_with_message(verdict.sentence());
    let rounds = rows(federation, g, &history, &exact)?;
    let majority = g.floor.majority_floor();
    let closed = rounds.iter().filter(|r| r.closed).count() as u64;
    let packing = protocol::params::Packing::derive(g.plan.n_max, g.plan.groups.first().map_or(16, |x| x.bits))?;
    let committee = g.plan.committee;
    Ok(Report {
        mixed: None,
        schema_version: 1,
        verified: verdict.verified,
        exact_sum_check: !rounds.is_empty() && rounds.iter().all(|r| r.exact_sum || !r.closed),
        finished: closed == g.plan.rounds,
        data: if g.options.cli.data.is_some() { "file".to_owned() } else { "built-in".to_owned() },
        institutions: g.world.institutions.len(),
        records: g.world.institutions.iter().map(Vec::len).collect(),
        held_out: g.world.held_out.len(),
        left_out: g.world.report.to_string(),
        classes: g.plan.model.classes.clone(),
        parameters: g.plan.dimension(),
        shards: g.plan.shards.len(),
        epsilon_target: g.options.epsilon.to_string(),
        mode: g.plan.privacy.mode.name().to_owned(),
        epsilon_cap: g.plan.privacy.epsilon_cap.to_string(),
        coalition: coalition(g.plan)?,
        steps: g.plan.total_steps(),
        executed_noise_multiplier: executed(&history, g.plan),
        delta: g.plan.privacy.delta.to_string(),
        noise_multiplier: g.plan.privacy.noise_multiplier.to_string(),
        sampling_rate: g.plan.privacy.sampling_rate.to_string(),
        local_steps: g.plan.local.steps,
        committee: [usize::from(committee.decryptors), usize::from(committee.corrupt), committee.quorum()],
        wire_bits_per_parameter: packing.bits_per_parameter(),
        before: g.before,
        rounds,
        naive_bayes_macro_f1: g.floor.macro_f1().unwrap_or(0.0),
        naive_bayes_accuracy: g.floor.accuracy().unwrap_or(0.0),
        majority_macro_f1: majority.macro_f1().unwrap_or(0.0),
        majority_accuracy: majority.accuracy().unwrap_or(0.0),
        verdict: verdict.sentence().to_owned(),
        log_entries: verdict.entries,
        findings: verdict.findings.len() as u64,
        total_seconds: started.elapsed().as_secs_f64(),
    })
}

fn rows(federation: &Federation, g: &Gathered<'_>, history: &History, exact: &BTreeMap<u64, bool>) -> anyhow::Result<Vec<RoundRow>> {
    let seconds = slowest(federation)?;
    let mut score = g.before;
    let mut out = Vec::new();
    for (round, new) in &g.scores {
        score = new.unwrap_or(score);
        let local = seconds.get(&round.round).copied().unwrap_or_default();
        out.push(RoundRow {
            round: round.round,
            closed: round.snapshot.is_some(),
            snapshot: round.snapshot.clone(),
            score,
            epsilon: epsilon_after(history, g.plan, round.round),
            bytes_up: round.bytes_up,
            bytes_down: round.bytes_down,
            seconds: Seconds { sum: round.sum_s, certify: round.certify_s, open: round.open_s, ..local },
            cohort: round.cohort.clone(),
            exact_sum: exact.get(&round.round).copied().unwrap_or(false),
        });
    }
    Ok(out)
}

/// A mixed federation beside the one of its full institutions; the first tier is theirs.
fn mixed(plan: &Plan, with: &Report, without: &Report) -> Mixed {
    let tiers = plan.tiers.as_deref().unwrap_or_default();
    let parameters =
        |t: &protocol::plan::Tier| t.shards.iter().filter_map(|a| plan.shard(a.shard)).map(protocol::plan::ShardSpec::len).sum();
    let row = |t: &protocol::plan::Tier| Tier { name: t.name.clone(), institutions: t.institutions.len(), parameters: parameters(t) };
    let small = tiers.iter().skip(1).map(|t| t.institutions.len()).sum();
    let tiers = tiers.iter().map(row).collect();
    Mixed { tiers, small, with_small: with.last(), without_small: without.last(), without_small_sound: without.is_sound() }
}

/// What the guaranteed shares are worth together, where institutions add noise together. Not a promise while its lemma waits for review.
fn coalition(plan: &Plan) -> anyhow::Result<Option<Coalition>> {
    let Some(joint) = plan.privacy.mode.joint() else { return Ok(None) };
    let mechanism = privacy::mechanism::Mechanism::of_plan(plan, 1)?;
    let shares = privacy::coalition::Coalition::of(mechanism.executed()).context("a mode with shares has a coalition")?;
    let epsilon = shares.epsilon(plan.privacy.epsilon_cap.to_f64(), plan.total_steps())?;
    let review = match shares.standing() {
        privacy::coalition::Standing::PendingReview => "pending review",
        privacy::coalition::Standing::Published => "published",
    };
    let epsilon = Decimal::ceil(epsilon, 6)?.to_string();
    Ok(Some(Coalition { colluding: joint.colluding, shares: shares.shares().get(), epsilon, standing: review.to_owned() }))
}

/// The noise multipliers that headers state, as they were executed, by institution.
fn executed(history: &History, plan: &Plan) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for ((client, _), dataset) in history.datasets() {
        let spent = dataset.spends.iter().rfind(|s| s.task == plan.task);
        if let (Some(member), Some(spend)) = (history.members().get(client), spent) {
            out.insert(member.name.clone(), spend.spend.noise_multiplier.to_string());
        }
    }
    out
}

/// ε that each institution's headers state up to a round.
fn epsilon_after(history: &History, plan: &Plan, round: u64) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for ((client, _), dataset) in history.datasets() {
        let spent = dataset.spends.iter().rfind(|s| s.task == plan.task && s.round.0 <= round);
        if let (Some(member), Some(spend)) = (history.members().get(client), spent) {
            out.insert(member.name.clone(), spend.spend.epsilon_after.to_string());
        }
    }
    out
}

fn slowest(federation: &Federation) -> anyhow::Result<BTreeMap<u64, Seconds>> {
    let mut all: BTreeMap<u64, Seconds> = BTreeMap::new();
    for index in 0..federation.institutions() {
        for seen in watch::read(&federation.side(index))? {
            let Seen::Phase { round, phase, seconds } = seen else { continue };
            let row = all.entry(round).or_default();
            let field = match phase.as_str() {
                "train" => &mut row.train,
                "seal" => &mut row.seal,
                _upload => &mut row.upload,
            };
            *field = field.max(seconds);
        }
    }
    Ok(all)
}

fn write(out: &Path, report: &Report) -> anyhow::Result<()> {
    std::fs::write(out.join("report.json"), serde_json::to_vec_pretty(report)?).context("the report cannot be written")?;
    std::fs::write(out.join("report.html"), html::page(report)?).context("the report cannot be written")?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
fn print(options: &Options, report: &Report, out: &Path) {
    if options.cli.format == Format::Json {
        println!("{}", serde_json::json!({ "schema_version": 1, "status": "ok", "data": report }));
        return;
    }
    println!("{}", table(report));
    println!("{}", closing(report, out));
}

fn table(report: &Report) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "round",
        "train loss",
        "eval loss",
        "accuracy",
        "macro-F1",
        "epsilon",
        "KB up",
        "KB down",
        "train s",
        "seal s",
        "upload s",
        "sum s",
        "certify s",
        "open s",
        "cohort",
        "exact",
    ]);
    let b = &report.before;
    table.add_row([
        "0".to_owned(),
        format!("{:.3}", b.train_loss),
        format!("{:.3}", b.eval_loss),
        format!("{:.3}", b.accuracy),
        format!("{:.3}", b.macro_f1),
    ]);
    for r in &report.rounds {
        let most = r.epsilon.values().max_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b))).cloned().unwrap_or_default();
        let cohort = r.cohort.values().map(u64::to_string).collect::<Vec<_>>().join("+");
        let s = &r.seconds;
        let [train, seal, upload, sum, certify, open] = [s.train, s.seal, s.upload, s.sum, s.certify, s.open].map(|x| format!("{x:.2}"));
        table.add_row([
            r.round.to_string(),
            format!("{:.3}", r.score.train_loss),
            format!("{:.3}", r.score.eval_loss),
            format!("{:.3}", r.score.accuracy),
            format!("{:.3}", r.score.macro_f1),
            most,
            (r.bytes_up / 1000).to_string(),
            (r.bytes_down / 1000).to_string(),
            train,
            seal,
            upload,
            sum,
            certify,
            open,
            if r.closed { cohort } else { "abandoned".to_owned() },
            if r.exact_sum { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

/// The mixed federation beside the one without its small institutions.
fn compared(m: &Mixed) -> String {
    let tiers = m.tiers.iter().map(|t| format!("{} of `{}` with {} parameters", t.institutions, t.name, t.parameters)).collect::<Vec<_>>();
    let (with, without) = (m.with_small, m.without_small);
    format!(
        "Mixed: {}.\nWith the {} that train a part: evaluation loss {:.3}, accuracy {:.3}, macro-F1 {:.3}. Without them: {:.3}, {:.3}, {:.3}{}.\n",
        tiers.join(", "),
        m.small,
        with.eval_loss,
        with.accuracy,
        with.macro_f1,
        without.eval_loss,
        without.accuracy,
        without.macro_f1,
        if m.without_small_sound { "" } else { " (THAT FEDERATION DID NOT END WELL)" },
    )
}

fn closing(r: &Report, out: &Path) -> String {
    let last = r.last();
    let compared = r.mixed.as_ref().map_or_else(String::new, compared);
    let shares = r.coalition.as_ref().map_or_else(String::new, |c| {
        format!(
            "Against up to {} institutions that work together the other {} shares of noise are computed to be worth epsilon {}: {}.\n",
            c.colluding + 1,
            c.shares,
            c.epsilon,
            if c.standing == "published" { "published bound" } else { "pending review, no promise" }
        )
    });
    let spent = &r.epsilon_cap;
    format!(
        "Naive Bayes over all records together, without privacy: accuracy {:.3}, macro-F1 {:.3}. Most frequent class: {:.3}, {:.3}.\n\
         The federation: accuracy {:.3}, macro-F1 {:.3}, at epsilon {} and delta {} per {} institutions' data, from each institution's own noise.\n\
         {compared}{shares}{} entries in the log, {} findings. {}\n\
         {}\nLog, snapshots and report are in {}; open report.html in a browser. Verify again: concordat-audit verify {}",
        r.naive_bayes_accuracy,
        r.naive_bayes_macro_f1,
        r.majority_accuracy,
        r.majority_macro_f1,
        last.accuracy,
        last.macro_f1,
        spent,
        r.delta,
        r.institutions,
        r.log_entries,
        r.findings,
        r.verdict,
        if r.exact_sum_check {
            "Every opened sum equals the institutions' integers added in the clear."
        } else {
            "AN OPENED SUM DIFFERS from the institutions' integers."
        },
        out.display(),
        out.join("log").display(),
    )
}
