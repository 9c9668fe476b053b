//! Do the papers tell the truth? Commands that they show are taken by the programs, tests that they cite exist, links lead somewhere.
//! Runs no command: a program that meets `--help` at the end has read everything before it and does nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const README: &str = include_str!("../../README.md");
const README_ZH: &str = include_str!("../../README.zh.md");
const GUIDE: &str = include_str!("../../docs/user-guide.md");
const STATEMENT: &str = include_str!("../../docs/privacy-statement.md");
const COMPLIANCE: &str = include_str!("../../docs/compliance.md");
const DATA: &str = include_str!("../../docs/data.md");
const CI: &str = include_str!("../../.ci/run");
const JUSTFILE: &str = include_str!("../../justfile");

/// Papers that show commands.
const WITH_COMMANDS: &[(&str, &str)] = &[
    ("README.md", README),
    ("README.zh.md", README_ZH),
    ("docs/user-guide.md", GUIDE),
    ("docs/privacy-statement.md", STATEMENT),
    ("docs/compliance.md", COMPLIANCE),
    ("docs/data.md", DATA),
];

/// Papers that cite tests or link to files, from the root.
const PAPERS: &[&str] = &[
    "README.md",
    "README.zh.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/user-guide.md",
    "docs/protocol.md",
    "docs/threat-model.md",
    "docs/hazards.md",
    "docs/privacy-statement.md",
    "docs/models.md",
    "docs/compliance.md",
    "docs/data.md",
    "docs/fuzzing.md",
    "docs/privacy-tests.md",
    "docs/sealing-tests.md",
    "docs/labels-tokens-statistics.md",
    "docs/training.md",
    "docs/benchmarks.md",
];

/// The two commands that a newcomer runs.
const TRY: &str = "cargo run --release --bin concordat-demo";
const TEST: &str = "cargo test --workspace";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Lines of the ```sh blocks, continued lines joined, comments left out.
fn shell_lines(paper: &str) -> Vec<String> {
    let blocks = paper.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(""));
    let joined = blocks.map(|b| b.replace("\\\n", " ")).collect::<Vec<_>>().join("\n");
    joined.lines().map(|l| l.split(" #").next().unwrap_or("").trim().to_owned()).filter(|l| !l.is_empty() && !l.starts_with('#')).collect()
}

/// A command of ours and its arguments; None for somebody else's (`export`, `sudo`, ...).
fn our_command(line: &str) -> Option<(String, Vec<String>)> {
    let mut words: Vec<String> = line.split_whitespace().map(|w| w.trim_matches(['"', '\'']).to_owned()).collect();
    if words.first().is_some_and(|w| w == "sudo") {
        words.remove(0);
    }
    if words.first()? == "cargo" {
        let at = words.iter().position(|w| w == "--bin")?;
        let rest = words.iter().skip_while(|w| *w != "--").skip(1).cloned().collect();
        return Some((words.get(at + 1)?.clone(), rest));
    }
    let name = words.remove(0);
    name.starts_with("concordat-").then_some((name, words))
}

/// Whether an edge takes the arguments.
fn takes(run: impl FnOnce(Vec<OsString>) -> ExitCode, program: &str, args: &[String]) -> bool {
    let all = std::iter::once(program).chain(args.iter().map(String::as_str)).chain(["--help"]).map(OsString::from).collect();
    format!("{:?}", run(all)) == format!("{:?}", ExitCode::SUCCESS)
}

/// For programs whose arguments cannot be reached from here: each flag is a field of the arguments in the source.
fn names_every_flag(source: &str, args: &[String]) -> bool {
    let flags = args.iter().filter_map(|a| a.strip_prefix("--")).map(|f| f.split('=').next().unwrap_or(f));
    flags.into_iter().all(|f| source.contains(&format!("{}:", f.replace('-', "_"))) || f == "help" || f == "version")
}

#[test]
fn every_command_shown_is_taken_by_its_program() {
    let demo = read("demo/src/options.rs");
    let mut seen = 0;
    for (paper, text) in WITH_COMMANDS {
        for (program, args) in shell_lines(text).iter().filter_map(|l| our_command(l)) {
            let good = match program.as_str() {
                "concordat-server" => takes(server::cli::run, &program, &args),
                "concordat-client" => takes(client::cli::run, &program, &args),
                // A hash that the reader fills in.
                "concordat-audit" => {
                    let filled: Vec<String> = args.iter().map(|a| a.replace("HASH", &"0".repeat(64))).collect();
                    takes(auditor::cli::run, &program, &filled)
                }
                "concordat-demo" => names_every_flag(&demo, &args),
                other => panic!("{paper}: there is no program {other}"),
            };
            assert!(good, "{paper}: {program} {}", args.join(" "));
            seen += 1;
        }
    }
    assert!(seen > 15, "the papers show {seen} commands: were they found?");
}

#[test]
fn a_flag_that_does_not_exist_is_noticed() {
    let (name, args) = our_command("concordat-server status --dir srv --no-such-flag").unwrap();
    assert!(!takes(server::cli::run, &name, &args));
    assert!(!takes(auditor::cli::run, "concordat-audit", &["verify".to_owned(), "--no-such-flag".to_owned()]));
    assert!(!names_every_flag(&read("demo/src/options.rs"), &["--no-such-flag".to_owned()]));
    assert!(our_command("export PATH=x").is_none());
}

#[test]
fn the_newcomers_two_commands_are_the_same_everywhere() {
    for (paper, text) in [("README.md", README), ("README.zh.md", README_ZH)] {
        let lines = shell_lines(text);
        for command in [TRY, TEST] {
            assert!(lines.iter().any(|l| l == command), "{paper} does not show `{command}` on a line of its own");
        }
    }
    assert!(CI.lines().any(|l| l.trim().trim_start_matches("step ") == TEST), ".ci/run does not run `{TEST}`");
    assert!(JUSTFILE.lines().any(|l| l.trim() == TEST), "the justfile does not run `{TEST}`");
    assert!(JUSTFILE.lines().any(|l| l.trim().starts_with(TRY)), "the justfile does not run the demo");
}

/// What stands between single backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| !l.starts_with("```")).flat_map(|l| l.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_a_paper_cites_exists() {
    let mut seen = 0;
    for paper in PAPERS {
        let text = read(paper);
        for (path, name) in quoted(&text).filter_map(|q| q.split_once(".rs::")) {
            let source = read(&format!("{path}.rs"));
            assert!(source.contains(&format!("fn {name}(")), "{paper} cites `{path}.rs::{name}`");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} citations: were they found?");
}

#[test]
fn every_file_that_a_paper_names_exists() {
    for paper in PAPERS {
        let text = read(paper);
        let here = root().join(paper).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|t| !t.contains("://")) {
            let file = target.split('#').next().unwrap_or("");
            assert!(file.is_empty() || here.join(file).exists(), "{paper} links to {target}");
        }
        for path in quoted(&text).filter(|q| q.ends_with(".rs") && q.contains('/')) {
            assert!(root().join(path).exists(), "{paper} names {path}");
        }
    }
}

/// The catalogues of privacy.md section 9 and crypto.md section 9 are whole: thirty and ten rows, each with a test.
#[test]
fn every_row_of_the_bug_catalogues_has_a_test() {
    for (paper, letter, rows) in [("docs/privacy-tests.md", 'B', 30), ("docs/sealing-tests.md", 'S', 10)] {
        let text = read(paper);
        for row in 1..=rows {
            let line = text.lines().find(|l| l.starts_with(&format!("| {letter}{row} |")));
            let line = line.unwrap_or_else(|| panic!("{paper}: no row {letter}{row}"));
            assert!(quoted(line).any(|q| q.contains(".rs::")), "{paper}: {letter}{row} cites no test");
        }
    }
}

/// Names in backquotes that have dots, as types of entries do.
fn dotted(paper: &str) -> impl Iterator<Item = &str> {
    let names = paper.split('`').skip(1).step_by(2);
    names.filter(|n| n.contains('.') && n.chars().all(|c| c.is_ascii_lowercase() || c == '.') && !n.ends_with('.'))
}

/// Each type of entry speaks to some duty or is said to; none is named that no log has, but where that is said.
#[test]
fn duties_name_every_type_of_entry_and_no_other() {
    use protocol::entry::EntryKind;
    use std::collections::BTreeSet;
    let (table, rest) = COMPLIANCE.split_once("## Missing in this version").expect("the paper says what is missing");
    let missing = rest.split("\n## ").next().unwrap_or_default();
    let all: BTreeSet<&str> = EntryKind::ALL.iter().map(|kind| kind.name()).collect();
    let named: BTreeSet<&str> = dotted(table).collect();
    assert_eq!(all.difference(&named).collect::<Vec<_>>(), Vec::<&&str>::new(), "no duty names these");
    let groups: BTreeSet<&str> = all.iter().filter_map(|name| name.split('.').next()).collect();
    let of_a_group = |name: &&str| name.split('.').next().is_some_and(|group| groups.contains(group));
    let invented: Vec<&str> = named.iter().copied().filter(of_a_group).filter(|name| !all.contains(name)).collect();
    assert!(invented.is_empty(), "no log has these: {invented:?}");
    let absent: Vec<&str> = dotted(missing).filter(of_a_group).filter(|name| all.contains(name)).collect();
    assert_eq!(absent, ["key.revoked"], "these are there, and said to be missing");
}
