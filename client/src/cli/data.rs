//! `concordat-client data`: the institution's records before training. Parses, calls, prints; knows no connection.
//! Names of the user's own files and line numbers may stand on this terminal; the text of a record never does.

mod depot;

use super::answer::{Answer, Failure, say};
use super::bar::{self, Bar};
use super::bench::peak_memory;
use crate::clock::OsEntropy;
use crate::files::{self, Item};
use clap::{Args, Subcommand};
use corpus::pipeline::prepared::{INDEX, Unit};
use corpus::pipeline::{Manifest, Nonce, Outcome, PrepareError, Quality, Rules, Step, manifest, page, prepare, quality, rules};
use depot::{Files, Folder};
use privacy::noise::EntropySource as _;
use serde_json::json;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest report of a preparation before that is compared with.
const MAX_REPORT: usize = 16 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum DataVerb {
    /// Read the records as training would and say what is wrong
    Check,
    /// Clean, scrub, de-duplicate and split raw records by a rule file
    ///
    /// --config names the rule file, for example configs/data-sms.toml. Training reads the directory that comes out: set data.path of
    /// client.toml to it.
    Prepare(Prepare),
    /// Write made-up records with planted personal data and repeats
    Make(Make),
    /// Labels from annotation tools and from rules
    #[command(subcommand)]
    Label(super::label::LabelVerb),
    /// Cut the records into shards of tokens
    Tokenize(super::tokens::Tokenize),
    /// Show what institutions have counted together: statistics, or words
    ///
    /// Figures of opened sums with intervals of 95 %, as this institution kept them when the task ended.
    Counts(super::counts::Counts),
    /// Judge a federation's model by the records of the settings
    ///
    /// Of a prepared directory the held-out side, of a file all records. A model of classes is judged by loss, accuracy and macro-F1, one that writes
    /// tokens by its loss per token, each given the true ones before it: nothing is generated. The figures are exact: of records that are not
    /// public they must not leave the institution.
    Evaluate(super::evaluate::Evaluate),
    /// Say what may be said in the log about the prepared records
    ///
    /// Hashes, classes of counts and codes; no text, no name, no exact count. Signed and declared by concordat-client run.
    Describe(super::describe::Describe),
    /// Withdraw the records, for good: no round and no count uses them any more
    ///
    /// Counts at once on this machine, also while concordat-client run goes on, which signs and declares it. What was trained before stays in
    /// the sums that are opened already, and what was spent stays spent. The records themselves are the institution's to delete.
    Withdraw(super::withdraw::Withdraw),
}

#[derive(Debug, Args)]
pub(super) struct Prepare {
    /// Raw records; several files are read in order as one
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Directory for the prepared shards, the reports and the manifest
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Directory of the preparation before, to measure drift against
    #[arg(long, value_name = "DIR")]
    previous: Option<PathBuf>,
    /// Threads, 0 for all processors; the number changes no bit of the result
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
}

#[derive(Debug, Args)]
pub(super) struct Make {
    /// File to make, JSON Lines
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Bytes after which it ends
    #[arg(long, default_value_t = 10_000_000, value_name = "BYTES")]
    bytes: u64,
    /// The same seed makes the same records
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// Writes made-up records.
pub(super) fn make(options: &Make) -> Result<Answer, Failure> {
    let failed = |e: std::io::Error| Failure::trouble("not_written", &e).hint("--out names a file that does not exist yet");
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create_new(&options.out).map_err(failed)?);
    let (mut bytes, mut lines) = (0u64, 0u64);
    for line in corpus::pipeline::made::Lines::new(options.seed) {
        if bytes >= options.bytes {
            break;
        }
        out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        bytes += u64::try_from(line.len()).unwrap_or(0) + 1;
        lines += 1;
    }
    out.flush().map_err(failed)?;
    Ok(Answer::table([("lines", lines.to_string()), ("bytes", bytes.to_string())]).with_data(&json!({ "lines": lines, "bytes": bytes })))
}

/// Prepares records.
pub(super) fn run(options: &Prepare, config: Option<&Path>) -> Result<Answer, Failure> {
    let started = Instant::now();
    let config = config.ok_or_else(|| {
        Failure::trouble_text("no_rules", "data prepare needs a rule file")
            .hint("--config configs/data-sms.toml is an example to begin from")
    })?;
    let rules = read_rules(config)?;
    let before = options.previous.as_deref().map(read_report).transpose()?;
    let folder = Folder::begin(&options.out)
        .map_err(|e| Failure::trouble("bad_output", &e).hint("--out must be a new or empty directory, or one that data prepare wrote"))?;
    let inputs = Files::of(&options.input);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build().map_err(|e| Failure::bug("no_threads", &e))?;
    let bar = Bar::default();
    let done = pool.install(|| prepare(&rules, &inputs, &folder, &|step, by, of| bar.tell(shown(step), by, of)));
    bar.end();
    let mut outcome = match done {
        Ok(outcome) => outcome,
        Err(error) => {
            folder.clear().map_err(|e| Failure::trouble("bad_output", &e))?;
            return Err(failure(&error));
        }
    };
    outcome.quality.judge(&rules.thresholds, before.as_ref());
    let good = outcome.quality.is_good();
    write_down(&options.out, &rules, &outcome, good).map_err(|e| Failure::trouble("not_written", &e))?;
    if !good {
        folder.drop_shards().map_err(|e| Failure::trouble("bad_output", &e))?;
    }
    for (encoding, n) in outcome.quality.encodings.iter().zip(1..) {
        say(&format!("input {n}: read as {encoding}"));
    }
    let answer = answer(&rules, &outcome, started.elapsed());
    Ok(if good { answer } else { answer.failed() })
}

fn read_rules(path: &Path) -> Result<Rules, Failure> {
    let bytes = files::read(path, rules::MAX_RULE_BYTES, Item::DataRules).map_err(|e| Failure::trouble("bad_rules", &e))?;
    let text = std::str::from_utf8(&bytes).map_err(|e| Failure::trouble("bad_rules", &e))?;
    Rules::parse(text).map_err(|e| Failure::trouble("bad_rules", &e))
}

fn read_report(dir: &Path) -> Result<Quality, Failure> {
    let bytes = files::read(&dir.join("quality.json"), MAX_REPORT, Item::Prepared).map_err(|e| Failure::trouble("no_previous", &e))?;
    let wrong = || Failure::trouble_text("no_previous", "quality.json of the preparation before is not a report of this version");
    serde_json::from_slice(&bytes).ok().filter(|q: &Quality| q.version == quality::VERSION).ok_or_else(wrong)
}

fn failure(error: &PrepareError) -> Failure {
    match error {
        PrepareError::BadRow { .. } => Failure::refused("bad_row", error).hint("mend the row, or set input.bad_rows = \"skip\""),
        PrepareError::Imbalance(_) | PrepareError::Damaged => Failure::bug("counters", error),
        PrepareError::Depot(_) => Failure::trouble("not_written", error),
        PrepareError::Open { .. }
        | PrepareError::Source { .. }
        | PrepareError::Fit(_)
        | PrepareError::TooManyRows
        | PrepareError::TooManyLabels => Failure::trouble("bad_data", error),
        // A reason that this version of the pipeline does not know yet is the input's too.
        _ => Failure::trouble("bad_data", error),
    }
}

/// Reports and manifest; the index last, and only if everything holds: without it nothing trains on the directory.
fn write_down(dir: &Path, rules: &Rules, outcome: &Outcome, good: bool) -> Result<(), files::StoreError> {
    let private = |name: &str, bytes: &[u8]| files::replace_secret(&dir.join(name), bytes, Item::Prepared);
    let text = |value: serde_json::Value| format!("{value:#}\n").into_bytes();
    let report = serde_json::to_value(&outcome.quality).unwrap_or_default();
    private("quality.json", &text(report))?;
    private("quality.html", page::render(&rules.about.name, &outcome.quality).as_bytes())?;
    let manifest = Manifest::new(rules, outcome, &nonce(dir)?);
    private("manifest.json", &manifest.to_bytes())?;
    private("croissant.jsonld", &text(manifest.to_croissant()))?;
    if good {
        private(INDEX, &text(serde_json::to_value(&outcome.index).unwrap_or_default()))?;
    }
    Ok(())
}

/// The nonce of the manifest's commitments; made once per directory, and never part of the manifest.
fn nonce(dir: &Path) -> Result<Nonce, files::StoreError> {
    let path = dir.join(depot::NONCE);
    if !path.exists() {
        let mut fresh = [0u8; 16];
        let failed = |_| files::StoreError::Write(Item::Nonce, std::io::ErrorKind::Other.into());
        OsEntropy.fill(&mut fresh).map_err(failed)?;
        files::replace_secret(&path, &fresh, Item::Nonce)?;
    }
    let bytes = files::read_secret(&path, 16, Item::Nonce)?;
    Ok(Nonce(bytes.as_slice().try_into().map_err(|_| files::StoreError::Damaged(Item::Nonce))?))
}

fn answer(rules: &Rules, outcome: &Outcome, time: Duration) -> Answer {
    let quality = &outcome.quality;
    let mut rows = vec![
        ("dataset".to_owned(), rules.about.name.clone()),
        ("unit of privacy".to_owned(), if quality.unit == Unit::User { "person" } else { "record" }.to_owned()),
    ];
    for stage in &quality.stages {
        let dropped: Vec<String> = stage.dropped.iter().map(|(reason, n)| format!("{} {n}", reason.name())).collect();
        let why = if dropped.is_empty() { "nothing dropped".to_owned() } else { dropped.join(", ") };
        rows.push((format!("{:?}", stage.stage).to_lowercase(), format!("{} in, {} out; {why}", stage.rows_in, stage.rows_out)));
    }
    rows.push(("training".to_owned(), format!("{} rows, {} units", quality.rows.train, quality.units.train)));
    rows.push(("validation".to_owned(), format!("{} rows, {} units", quality.rows.validation, quality.units.validation)));
    rows.extend(quality.bad_rows.iter().take(10).map(|b| (format!("input {}, line {}", b.input, b.line), b.what.clone())));
    for v in quality.verdicts.iter().filter(|v| !v.holds) {
        rows.push(("blocked".to_owned(), format!("{} allows {}, found {}", v.threshold, v.limit, v.got)));
    }
    rows.push(("reports".to_owned(), "quality.html, quality.json and manifest.json in the output directory".to_owned()));
    let data = json!({
        "dataset": rules.about.name,
        "blocked": !quality.is_good(),
        "seconds": time.as_secs_f64(),
        "peak_bytes": peak_memory(),
        "quality": quality,
        "manifest_version": manifest::VERSION,
    });
    Answer::table(rows.iter().map(|(k, v)| (k.as_str(), v.clone()))).with_data(&data)
}

fn shown(step: Step) -> bar::Step {
    match step {
        Step::Fit => bar::Step::of_bytes("fitting constants"),
        Step::Clean => bar::Step::of_bytes("reading and cleaning"),
        Step::Duplicates => bar::Step::of("looking for duplicates"),
        Step::Write => bar::Step::of("writing shards"),
    }
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
