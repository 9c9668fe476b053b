//! The pipeline of raw records on real and on large files. Runs only where the data is: the build never depends on it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of a test panic with it; its figures are for who runs it")]

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use corpus::pipeline::counts::Stage;
use corpus::pipeline::depot::{Depot, ReadAt};
use corpus::pipeline::{Inputs, Outcome, Rules, made, page, prepare};

struct Files(Vec<PathBuf>);

impl Inputs for Files {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn total_bytes(&self) -> u64 {
        self.0.iter().map(|p| std::fs::metadata(p).unwrap().len()).sum()
    }
    fn open(&self, at: usize) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(&self.0[at])?))
    }
}

struct Folder(PathBuf);
struct AnyPlace(File);

impl ReadAt for AnyPlace {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl Depot for Folder {
    fn create(&self, name: &str) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(File::create(self.0.join(name))?))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(BufReader::new(File::open(self.0.join(name))?)))
    }
    fn reach(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(AnyPlace(File::open(self.0.join(name))?)))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }
}

#[expect(clippy::disallowed_methods, reason = "settings of these tests; the library itself reads no environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn data_file(name: &str) -> Option<PathBuf> {
    let path = setting("CONCORDAT_DATA_DIR").map(|dir| PathBuf::from(dir).join(name)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIPPED: {name} is not there; set CONCORDAT_DATA_DIR to the folder that holds it");
    }
    path
}

fn prepared(rules: &str, file: &Path, dir: &Path) -> Outcome {
    let rules = Rules::parse(rules).unwrap();
    let mut outcome = prepare(&rules, &Files(vec![file.to_owned()]), &Folder(dir.to_owned()), &|_, _, _| {}).unwrap();
    outcome.quality.judge(&rules.thresholds, None);
    let quality = &outcome.quality;
    for s in &quality.stages {
        println!("{:?}: {} in, {} out, {:?}", s.stage, s.rows_in, s.rows_out, s.dropped);
    }
    println!("{:?}, units {:?}, pii {:?}, leaks {:?}", quality.rows, quality.units, quality.pii, quality.leaks);
    let dropped: u64 = Stage::ALL.iter().map(|stage| quality.dropped(*stage)).sum();
    assert_eq!(quality.rows_in(Stage::Read), quality.rows.train + quality.rows.validation + dropped);
    if let Some(folder) = setting("CONCORDAT_REPORT_DIR") {
        std::fs::write(Path::new(&folder).join(format!("{}.html", rules.about.name)), page::render(&rules.about.name, quality)).unwrap();
    }
    outcome
}

/// Zhang et al., CCS 2020: 13,673 messages, one JSON object per line.
#[test]
fn fake_base_station_messages_add_up() {
    let Some(path) = data_file("fake-base-station-sms.jsonl") else { return };
    let dir = tempfile::tempdir().unwrap();
    let outcome = prepared(include_str!("../../configs/data-sms.toml"), &path, dir.path());
    assert_eq!(outcome.quality.rows_in(Stage::Read), 13_673);
    assert!(outcome.quality.is_good(), "{:?}", outcome.quality.verdicts);
}

/// Almeida and Hidalgo's SMS Spam Collection, with a tab between label and text and quotes that close nowhere.
#[test]
fn the_spam_collection_adds_up() {
    let Some(path) = data_file("sms-spam-collection.tsv") else { return };
    let dir = tempfile::tempdir().unwrap();
    let outcome = prepared(include_str!("../../configs/data-sms-spam.toml"), &path, dir.path());
    let lines = std::fs::read(&path).unwrap().split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(outcome.quality.rows_in(Stage::Read), lines as u64);
    assert!(outcome.quality.is_good(), "{:?}", outcome.quality.verdicts);
}

/// `CONCORDAT_MEASURE_BYTES=1000000000 cargo test --release -p concordat-corpus --test prepared -- --ignored --nocapture`
#[test]
#[ignore = "writes and reads a gigabyte"]
fn a_large_file_in_bounded_memory() {
    let bytes: u64 = setting("CONCORDAT_MEASURE_BYTES").map_or(100_000_000, |b| b.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw.jsonl");
    let mut out = BufWriter::new(File::create(&raw).unwrap());
    let mut written = 0u64;
    for line in made::Lines::new(1) {
        writeln!(out, "{line}").unwrap();
        written += line.len() as u64 + 1;
        if written >= bytes {
            break;
        }
    }
    out.flush().unwrap();
    let rules = include_str!("../../configs/data-sms.toml")
        .replace("name = \"category\"", "name = \"label\"")
        .replace("values = [\"advertisement\", \"fraud\", \"illegal\", \"other\"]", "")
        .replace(
            "name = \"subcategory\"\nrole = \"feature\"\nnullable = true\nmissing = \"keep\"",
            "name = \"subscriber\"\nrole = \"unit\"",
        )
        .replace(
            "require = \"missing(subcategory) or category != 'advertisement' or len(subcategory) >= 2\"",
            "require = \"len(text) > 3\"",
        )
        .replace("private = false", "private = true");
    let before = processor_seconds();
    prepared(&rules, &raw, dir.path());
    println!("{written} bytes: {:.1} s of processor time, most memory {} MiB", processor_seconds() - before, peak_mib());
    assert!(peak_mib() < 1024);
}

/// User and system time of this process; a tick is a hundredth of a second on Linux.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}
