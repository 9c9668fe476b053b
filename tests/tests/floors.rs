//! Do the rooms keep to their floors? Reads manifests and sources, runs nothing of them.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms and the rooms that they may use: only lower floors, never a neighbour. The auditor reads logs and sums, so it has no
/// business with training or with records.
const MAY_USE: &[(&str, &[&str])] = &[
    ("concordat-protocol", &[]),
    ("concordat-audit-log", &[]),
    ("concordat-corpus", &[]),
    ("concordat-privacy", &["concordat-protocol", "concordat-audit-log", "concordat-corpus"]),
    ("concordat-crypto", &["concordat-protocol", "concordat-audit-log", "concordat-corpus", "concordat-privacy"]),
    ("concordat-train", &["concordat-protocol", "concordat-audit-log", "concordat-corpus", "concordat-privacy"]),
    ("concordat-server", CRAFTS),
    ("concordat-client", CRAFTS),
    ("concordat-auditor", &["concordat-protocol", "concordat-audit-log", "concordat-privacy", "concordat-crypto"]),
    ("concordat-demo", EVERYTHING),
    ("concordat-tests", EVERYTHING),
    ("concordat-benches", &["concordat-protocol", "concordat-privacy", "concordat-crypto"]),
];

const CRAFTS: &[&str] =
    &["concordat-protocol", "concordat-audit-log", "concordat-corpus", "concordat-privacy", "concordat-crypto", "concordat-train"];

const EVERYTHING: &[&str] = &[
    "concordat-protocol",
    "concordat-audit-log",
    "concordat-corpus",
    "concordat-privacy",
    "concordat-crypto",
    "concordat-train",
    "concordat-server",
    "concordat-client",
    "concordat-auditor",
];

/// The foreign giants by the beginning of their names, and the only rooms whose manifest may name them.
const NAMED_ONLY_BY: &[(&str, &[&str])] = &[
    ("tfhe", &["concordat-crypto"]),
    ("pulp", &["concordat-audit-log", "concordat-corpus", "concordat-crypto", "concordat-train"]),
    ("curve25519", &["concordat-audit-log"]),
    // The server signs models with the library that its TLS keys need; whoever verifies one has neither TLS nor a key.
    ("p256", &["concordat-auditor"]),
    ("candle", &["concordat-train"]),
    ("opendp", &["concordat-privacy"]),
    ("tokenizers", &["concordat-corpus"]),
    ("jieba", &["concordat-corpus"]),
    ("sled", &["concordat-server", "concordat-client"]),
    ("quinn", &["concordat-server", "concordat-client", "concordat-tests"]),
];

/// Where a giant may be written out in source: path prefixes from the root.
const WRITTEN_ONLY_IN: &[(&str, &[&str])] = &[
    ("tfhe", &["crypto/src/reference.rs", "crypto/src/ring/"]),
    ("curve25519_dalek", &["audit/src/strict.rs", "audit/src/strict_tests.rs"]),
    ("p256", &["auditor/src/model_sig.rs"]),
    ("opendp", &["privacy/src/noise/giant.rs", "privacy/src/noise/giant_tests.rs"]),
    ("tokenizers", &["corpus/src/tokenizer/published.rs", "corpus/src/tokenizer/subword.rs"]),
    ("jieba_rs", &["corpus/src/tokenizer/words.rs"]),
    ("candle_core", &["train/"]),
    ("candle_nn", &["train/"]),
    ("sled", &["server/src/", "client/src/"]),
    ("quinn", &["server/src/", "client/src/", "tests/"]),
];

/// What checking a log must not need, not even through somebody else.
const NOT_IN_THE_AUDITOR: &[&str] = &["candle-core", "candle-nn", "opendp", "quinn", "sled", "tfhe", "tokio"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

fn rooms(metadata: &Metadata) -> BTreeMap<&str, &Package> {
    metadata.packages.iter().map(|p| (p.name.as_str(), p)).collect()
}

#[test]
fn every_room_has_a_place_in_the_table() {
    let metadata = metadata();
    let have: BTreeSet<_> = rooms(&metadata).into_keys().collect();
    let known: BTreeSet<_> = MAY_USE.iter().map(|(room, _)| *room).collect();
    assert_eq!(have, known);
}

#[test]
fn arrows_point_down_only() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    for (room, may_use) in MAY_USE {
        let uses = rooms[room].dependencies.iter().map(|d| d.name.as_str()).filter(|n| rooms.contains_key(n));
        let forbidden: Vec<_> = uses.filter(|n| !may_use.contains(n)).collect();
        assert!(forbidden.is_empty(), "{room} must not know {forbidden:?}");
    }
}

#[test]
fn the_table_itself_has_no_way_up() {
    let place = |name: &str| MAY_USE.iter().position(|(room, _)| *room == name).unwrap();
    for (room, may_use) in MAY_USE {
        assert!(may_use.iter().all(|used| place(used) < place(room)), "{room}");
    }
}

#[test]
fn each_giant_is_named_in_its_own_room() {
    let metadata = metadata();
    for package in &metadata.packages {
        for (giant, at_home) in NAMED_ONLY_BY {
            let named = package.dependencies.iter().find(|d| d.name.starts_with(giant) && d.kind != DependencyKind::Build);
            let allowed = at_home.contains(&package.name.as_str());
            assert!(named.is_none() || allowed, "{} names {:?}", package.name, named.map(|d| &d.name));
        }
    }
}

/// Rust sources of a folder, without build outputs.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The source with its comments cut off: prose may speak of anybody.
fn code(text: &str) -> String {
    text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Whether `code` writes the crate's path: `name::` that is not the end of a longer word.
fn writes(code: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&format!("{name}::")).any(|(at, _)| !code[..at].ends_with(word)) || code.contains(&format!("use {name};"))
}

/// Every source of every room, with its path from the root. This file names the giants only in order to forbid them.
fn all_sources() -> Vec<(String, String)> {
    let (root, metadata) = (root(), metadata());
    let mut files = Vec::new();
    for package in &metadata.packages {
        let home = package.manifest_path.parent().unwrap().as_std_path();
        for part in ["src", "tests", "benches", "examples"] {
            sources(&home.join(part), &mut files);
        }
    }
    let name = |f: &PathBuf| f.canonicalize().unwrap().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    let read = |f: &PathBuf| (name(f), code(&std::fs::read_to_string(f).unwrap()));
    files.iter().map(read).filter(|(name, _)| name != "tests/tests/floors.rs").collect()
}

#[test]
fn each_giant_is_written_out_only_at_home() {
    let sources = all_sources();
    assert!(sources.len() > 50, "the scan found the rooms");
    for (giant, homes) in WRITTEN_ONLY_IN {
        let abroad: Vec<_> = sources
            .iter()
            .filter(|(name, code)| writes(code, giant) && !homes.iter().any(|h| name.starts_with(h)))
            .map(|(n, _)| n)
            .collect();
        assert!(abroad.is_empty(), "{giant} is written in {abroad:?}");
    }
}

#[test]
fn each_edge_has_one_file_that_knows_its_database() {
    let sources = all_sources();
    for edge in ["server/src/", "client/src/"] {
        let files: Vec<_> = sources.iter().filter(|(name, code)| name.starts_with(edge) && writes(code, "sled")).map(|(n, _)| n).collect();
        assert!(files.len() <= 1, "{edge}: {files:?}");
    }
}

/// As cargo resolves it for the auditor alone, on this platform.
#[test]
fn checking_a_log_needs_no_giant_of_training_network_or_store() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--package", "concordat-auditor", "--edges", "normal", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<_> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(names.contains("concordat-protocol"), "the tree was read");
    let found: Vec<_> = NOT_IN_THE_AUDITOR.iter().filter(|n| names.contains(*n)).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Noise in floats and generators that may be seeded or weak (privacy.md D25, D27): not one of these words in the rooms that noise.
const NO_SUCH_NOISE: &[&str] = &[
    "rand_distr",
    "statrs",
    "Normal",
    "StandardNormal",
    "randn",
    "randn_f64_unary",
    "rand_normal",
    "BoxMuller",
    "box_muller",
    "Ziggurat",
    "ziggurat",
    "thread_rng",
    "ThreadRng",
    "StdRng",
    "SmallRng",
    "OsRng",
    "fastrand",
];

/// Whether `code` has the word, not as a part of a longer one.
fn says(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// B20.
#[test]
fn no_float_noise_is_named_where_noise_is_added() {
    let (sources, metadata) = (all_sources(), metadata());
    for room in ["privacy/", "train/"] {
        let inside: Vec<_> = sources.iter().filter(|(name, _)| name.starts_with(room)).collect();
        assert!(inside.len() > 10, "the scan found {room}");
        for word in NO_SUCH_NOISE {
            let found: Vec<_> = inside.iter().filter(|(_, code)| says(code, word)).map(|(name, _)| name).collect();
            assert!(found.is_empty(), "{word} is written in {found:?}");
        }
    }
    for package in metadata.packages.iter().filter(|p| ["concordat-privacy", "concordat-train"].contains(&p.name.as_str())) {
        let named: Vec<_> = package.dependencies.iter().map(|d| &d.name).filter(|n| NO_SUCH_NOISE.contains(&n.as_str())).collect();
        assert!(named.is_empty(), "{} depends on {named:?}", package.name);
    }
    assert!(says("let x = Tensor::randn(0f32)", "randn") && !says("Normalise(StandardNormals)", "Normal"));
}

/// B1: nobody who trains privately is asked for a batch size.
#[test]
fn no_interface_asks_for_a_batch_size() {
    let asked: Vec<_> = all_sources().into_iter().filter(|(_, code)| says(code, "batch_size")).map(|(name, _)| name).collect();
    assert!(asked.is_empty(), "{asked:?}");
}

/// What ships of a source: tests stand at its foot or in files of their own.
fn shipped(name: &str, code: &str) -> Option<String> {
    let test = ["tests.rs", "testing.rs"].iter().any(|end| name.ends_with(end)) || !name.contains("/src/");
    let part = code.split("#[cfg(test)]\nmod tests").next().unwrap_or(code);
    (!test).then(|| part.to_owned())
}

/// B17: what a seed decides is public. Generators that can be seeded stand where data is made up, where first weights are drawn from the
/// seed in the plan, where training without privacy shuffles records, where training leaves numbers out (dropout) and hides tokens, and behind the
/// door of tests; entropy comes from the operating system, in one file of each edge.
#[test]
fn seeds_reach_nothing_that_is_secret() {
    let at_home = |name: &str, homes: &[&str]| homes.iter().any(|h| name.starts_with(h));
    let seeded = [
        "corpus/src/",
        "train/src/model/initial.rs",
        "train/src/ops/dropout.rs",
        "train/src/mask.rs",
        "train/src/fit/order.rs",
        "train/src/measure.rs",
        "privacy/src/noise/seeded.rs",
        "privacy/src/noise/mod.rs",
        "crypto/src/doors.rs",
    ];
    let entropy = ["client/src/clock.rs", "server/src/cli/bench.rs", "benches/src/lib.rs", "privacy/src/noise/seeded.rs"];
    let mut sources_of_entropy = 0;
    for (name, code) in all_sources() {
        let Some(code) = shipped(&name, &code).filter(|_| !name.starts_with("tests/")) else { continue };
        for word in ["seed_from_u64", "from_seed", "SeededEntropy", "ChaCha20Rng"] {
            assert!(!says(&code, word) || at_home(&name, &seeded), "{word} is written in {name}");
        }
        if code.contains("EntropySource for ") {
            assert!(at_home(&name, &entropy), "{name} is a source of entropy");
            assert!(name.ends_with("seeded.rs") || says(&code, "getrandom"), "{name} does not ask the operating system");
            sources_of_entropy += 1;
        }
    }
    assert!(sources_of_entropy >= 3, "the scan found the edges");
}

/// B17: a build for release refuses the doors of tests, and no product opens them.
#[test]
fn no_product_opens_the_doors_of_tests() {
    let (mut named, mut refusing) = (0, 0);
    for package in &metadata().packages {
        if package.features.contains_key("test-doors") {
            let sources = package.manifest_path.parent().unwrap().join("src");
            // Beside the doors, or in a file that is nothing without the feature.
            let whole = std::fs::read_to_string(sources.join("lib.rs")).unwrap();
            let refuses = whole.contains("#[cfg(all(feature = \"test-doors\", not(debug_assertions)))]\ncompile_error!(");
            let doors = std::fs::read_to_string(sources.join("doors.rs")).unwrap_or_default();
            let apart = whole.contains("#[cfg(feature = \"test-doors\")]\npub mod doors;");
            let refuses_there = doors.contains("#[cfg(not(debug_assertions))]\ncompile_error!(");
            assert!(refuses || (apart && refuses_there), "{} would open its doors in a release build", package.name);
            refusing += 1;
        }
        for dependency in package.dependencies.iter().filter(|d| d.features.iter().any(|f| f == "test-doors")) {
            assert_eq!(dependency.kind, DependencyKind::Development, "{}", package.name);
            named += 1;
        }
        let default = package.features.get("default").into_iter().flatten().any(|f| f.contains("test-doors"));
        assert!(!default, "{}", package.name);
    }
    assert!(named > 0 && refusing >= 5, "the scan found who tests with it, and who has doors");
}

/// What an institution's program may say about itself in diagnostics, by the names of the fields: numbers of rounds, groups, tasks and steps, codes,
/// errors without contents, sizes on the wire, what it computes on. No loss, norm, sample, count of units or label (privacy.md D12, audit.md A22).
const MAY_BE_LOGGED: &[&str] = &[
    "alarm",
    "barred",
    "bytes",
    "clause",
    "client",
    "code",
    "dataset",
    "error",
    "forbidden",
    "group",
    "index",
    "kind",
    "on",
    "round",
    "skew_ms",
    "step",
    "steps",
    "task",
];
/// Words of what is computed from records without noise.
const NOT_BEYOND_TRAINING: &[&str] = &["Tally", "mean_loss", "non_finite", "loss_sum"];
/// What no value of a diagnostic may be read from, whatever its field is called.
const NOT_IN_A_VALUE: &[&str] = &["tally", "units", "tokens", "records", "labels", "sample", "loss", "norm", "non_finite"];
/// The macros that diagnostics are written with, always by their whole path.
const MACROS: &[&str] = &["error!(", "warn!(", "info!(", "debug!(", "trace!("];

/// The arguments of each call of a macro of `tracing`; an error where it is named in any other way, under which a call would hide.
fn logged(code: &str) -> Result<Vec<&str>, String> {
    if says(code, "use tracing") || says(code, "extern crate tracing") {
        return Err("tracing is brought into scope".to_owned());
    }
    let named = code.match_indices("tracing::").filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    let call = |(at, path): (usize, &str)| {
        let rest = &code[at + path.len()..];
        let name = MACROS.iter().find(|name| rest.starts_with(**name)).ok_or_else(|| format!("tracing::{rest:.30}"))?;
        arguments(&code[at + path.len() + name.len()..]).ok_or_else(|| format!("no end of tracing::{rest:.30}"))
    };
    named.map(call).collect()
}

/// Up to the parenthesis that closes the call; parentheses inside strings do not count.
fn arguments(code: &str) -> Option<&str> {
    let (mut depth, mut at) = (1, 0);
    while depth > 0 {
        let rest = &code[at..];
        let next = rest.chars().next()?;
        match next {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        at += if next == '"' { string(rest)?.len() } else { next.len_utf8() };
    }
    Some(&code[..at - 1])
}

/// The string literal that the text starts with, with its quotes.
fn string(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(&text[..=at]),
            _ => {}
        }
    }
    None
}

/// Arguments of one call, cut at the commas between them; commas in strings and brackets cut nothing.
fn parts(call: &str) -> Vec<&str> {
    let (mut depth, mut start, mut at, mut parts) = (0, 0, 0, Vec::new());
    while let Some(c) = call[at..].chars().next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(call[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        at += if c == '"' { string(&call[at..]).map_or(1, str::len) } else { c.len_utf8() };
    }
    parts.push(call[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// What is wrong with the arguments of one call; each is `name = value`, `%name`, `?name`, `name`, or the words.
fn unlisted(call: &str) -> Vec<String> {
    let fault = |part: &str| {
        if part.starts_with('"') {
            // Words that take values in: `{loss}`, or `{}` and an argument after them.
            return part.contains('{').then(|| part.to_owned());
        }
        let (name, value) = part.split_once('=').unwrap_or((part, part));
        let name = name.trim().trim_start_matches(['%', '?']);
        let read = NOT_IN_A_VALUE.iter().any(|word| says(value, word)) || value.contains(['"', '{']);
        (read || !MAY_BE_LOGGED.contains(&name)).then(|| part.to_owned())
    };
    parts(call).into_iter().filter_map(fault).collect()
}

/// B27: telemetry is a list. The rooms that see records have no word for it, and the edge says nothing that is computed from records.
#[test]
fn an_institution_logs_only_what_is_on_the_list() {
    let mut calls = 0;
    for (name, code) in all_sources() {
        let Some(code) = shipped(&name, &code) else { continue };
        if ["privacy/src/", "train/src/", "corpus/src/", "crypto/src/"].iter().any(|room| name.starts_with(room)) {
            for word in ["tracing::", "log::", "println!", "eprintln!", "dbg!"] {
                assert!(!code.contains(word), "{name} says {word}");
            }
        }
        if name.starts_with("client/src/") {
            for call in logged(&code).unwrap_or_else(|e| panic!("{name}: {e}")) {
                let unknown = unlisted(call);
                assert!(unknown.is_empty(), "{name} logs {unknown:?}");
                calls += 1;
            }
            // Training in one place has no federation and shows its people their own losses; it has no word for diagnostics.
            let in_one_place = name.starts_with("client/src/central/") || name == "client/src/cli/train.rs";
            assert!(!in_one_place || !code.contains("tracing::"), "{name}");
            for word in NOT_BEYOND_TRAINING.iter().filter(|_| !in_one_place) {
                assert!(!says(&code, word), "{name} reads {word}");
            }
        }
    }
    assert!(calls > 20, "{calls} calls: were they found?");
}

/// The check above, on what it must see: whatever gets a number of records into a line.
#[test]
fn the_list_of_what_may_be_logged_cannot_be_got_round() {
    let one = |code: &str| logged(code).unwrap().into_iter().flat_map(unlisted).count();
    for fine in [
        r#"tracing::warn!(round = p.round(1, 2), %error, ?kind, step = p.step + 1, "words, and = more (of them)");"#,
        r#"tracing::error!(index = v.index.0, clause = v.clause.text(), "an entry \"breaks\" a rule")"#,
        r#"tracing_subscriber::fmt().init()"#,
    ] {
        assert_eq!(one(fine), 0, "{fine}");
    }
    for caught in [
        r#"tracing::info!(round = 1, loss = l, "words");"#,
        r#"tracing::info!("words", loss = l);"#,
        r#"tracing::info!("words {}", step);"#,
        r#"tracing::info!("words {loss}");"#,
        r#"tracing::info!("a string with ); in it", steps = p.tally.units);"#,
        r#"tracing::info!(steps = p.tally.units, "words");"#,
        r#"tracing::info!(bytes = data.tokens, "words");"#,
        r#"tracing::info!(code = format!("{l}"), "words");"#,
        r#"tracing::info!(?tally, "words");"#,
        r#"tracing::info!(error.tally, "words");"#,
        r#"tracing::info!(target: "x", round, "words");"#,
    ] {
        assert!(one(caught) > 0, "{caught}");
    }
    for hidden in [
        "use tracing::{info, warn};",
        "use tracing as t;",
        "tracing::event!(Level::INFO, loss);",
        "#[tracing::instrument] fn f(loss: f64) {}",
        "tracing::info! { loss }",
    ] {
        assert!(logged(hidden).is_err(), "{hidden}");
    }
}
