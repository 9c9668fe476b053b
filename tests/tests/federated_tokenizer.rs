//! A tokenizer that no institution could have made alone: byte pairs learnt from counts of words that were bounded per unit, paid in ledgers,
//! noised, sealed and opened as sums only. How good it is beside one that was learnt from everybody's texts in one place.
//!
//! Measure: bits per character, and so perplexity per character, of an interpolated bigram model over the tokens of texts that were held
//! out. The model is learnt from all training texts with either tokenizer, so that the tokenizer alone makes the difference.
//!
//! `cargo test -p concordat-tests --test federated_tokenizer -- --nocapture` prints one line of JSON per data set. Real data are read from
//! the folder that CONCORDAT_DATA_DIR names.

mod release;

use corpus::sms::generate;
use corpus::tokenizer::{ByteTokenizer, Discovery, Settings, Subword, SubwordKind, TextTokenizer, WordCounts, WordRule, Words, special};
use protocol::ids::RoundId;
use release::{Contribution, SITES, Task, Wanted};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Perplexity over that of the pooled tokenizer that we want at most.
const MOST: f64 = 1.01;
/// What twenty thousand messages are held to: a guard against mistakes. How near they come moves by a hundredth with the noise.
const MOST_SMALL: f64 = 1.03;

/// What is run.
struct Experiment {
    name: &'static str,
    rule: WordRule,
    vocab: u32,
    rounds: u64,
    coordinates: u32,
    /// Training texts of each institution; one text is one unit.
    sites: Vec<Vec<String>>,
    held_out: Vec<String>,
}

/// What came out.
struct Outcome {
    words: usize,
    epsilon: f64,
    pooled: f64,
    federated: f64,
    ratio: f64,
}

/// Bound on a unit's L2 norm: sixteen different words.
const BOUND: u64 = 4;
/// Noise deviation ÷ bound at each institution, for six rounds at epsilon 8.
const SIGMA: &str = "1.57";

fn count_federated(e: &Experiment, words: &Words) -> (WordCounts, f64) {
    let declared_units = e.sites.iter().map(Vec::len).min().unwrap() as u64 / 100 * 100;
    // A longer vector needs a finer grid, and that wider slots.
    let (grid_bits, bits) = if e.coordinates > 1 << 20 { (12, 28) } else { (10, 24) };
    let wanted = Wanted {
        values: e.coordinates,
        bits,
        limbs: 1,
        rounds: e.rounds,
        bound: BOUND,
        grid_bits,
        noise_multiplier: SIGMA,
        epsilon_cap: "8",
        declared_units,
        seed: 17,
    };
    let mut task = Task::begin(&wanted).unwrap();
    // Of a million empty coordinates about 30 are above by chance. With 3 deviations it is 1,350, and that many made-up words, each learnt as
    // if it were common, cost more than the words that 4 deviations leave out.
    let threshold = 4.0 * task.deviation() * f64::from(SITES).sqrt();
    let mut discovery = Discovery::begin(Settings { coordinates: e.coordinates }).unwrap();
    let cut: Vec<Vec<Vec<&str>>> = e.sites.iter().map(|s| s.iter().map(|text| words.cut(text)).collect()).collect();
    for round in 1..=e.rounds {
        let unit =
            |text: &Vec<&str>| -> Contribution { discovery.contribution(text.iter().copied()).into_iter().map(|at| (at, 1)).collect() };
        let units: Vec<Vec<Contribution>> = cut.iter().map(|s| s.iter().map(unit).collect()).collect();
        let sum = task.round(RoundId(round), &units).unwrap();
        discovery.advance(&sum, threshold).unwrap();
    }
    let spent = task.spent();
    (discovery.counts(), spent.iter().map(|s| s.to_f64()).fold(0.0, f64::max))
}

/// Token, then what follows it, with counts.
#[derive(Default)]
struct Bigrams {
    after: BTreeMap<u32, (f64, BTreeMap<u32, f64>)>,
    alone: BTreeMap<u32, f64>,
    total: f64,
    vocab: f64,
}

impl Bigrams {
    fn learn(t: &impl TextTokenizer, texts: &[&String]) -> Self {
        let mut this = Self { vocab: f64::from(t.vocab()), ..Self::default() };
        for text in texts {
            let mut before = special::START;
            for token in t.encode(text).into_iter().chain([special::END]) {
                let (n, next) = this.after.entry(before).or_default();
                *n += 1.0;
                *next.entry(token).or_default() += 1.0;
                *this.alone.entry(token).or_default() += 1.0;
                this.total += 1.0;
                before = token;
            }
        }
        this
    }

    /// Witten and Bell's weights: what was seen with many followers trusts the shorter history more.
    fn probability(&self, before: u32, token: u32) -> f64 {
        let kinds = self.alone.len() as f64;
        let one = (self.alone.get(&token).unwrap_or(&0.0) + kinds / self.vocab) / (self.total + kinds);
        let Some((n, next)) = self.after.get(&before) else { return one };
        let followers = next.len() as f64;
        (next.get(&token).unwrap_or(&0.0) + followers * one) / (n + followers)
    }

    fn bits_per_character(&self, t: &impl TextTokenizer, texts: &[String]) -> f64 {
        let (mut bits, mut characters) = (0.0, 0usize);
        for text in texts {
            characters += text.chars().count();
            let mut before = special::START;
            for token in t.encode(text).into_iter().chain([special::END]) {
                bits -= self.probability(before, token).log2();
                before = token;
            }
        }
        bits / characters as f64
    }
}

fn score(t: &impl TextTokenizer, e: &Experiment) -> f64 {
    let texts: Vec<&String> = e.sites.iter().flatten().collect();
    Bigrams::learn(t, &texts).bits_per_character(t, &e.held_out)
}

fn run(e: &Experiment) -> Outcome {
    let words = Words::new(e.rule);
    let (counts, epsilon) = count_federated(e, &words);
    let exact = words.count(e.sites.iter().flatten().map(String::as_str));
    let learn = |counts: &WordCounts| Subword::learn(SubwordKind::Bpe, counts, e.rule, e.vocab).unwrap();
    let (pooled, federated) = (score(&learn(&exact), e), score(&learn(&counts), e));
    let alone = score(&learn(&words.count(e.sites[0].iter().map(String::as_str))), e);
    let ratio = (federated - pooled).exp2();
    let line = serde_json::json!({
        "data": e.name, "units": e.sites.iter().map(Vec::len).sum::<usize>(), "institutions": SITES, "vocab": e.vocab, "rounds": e.rounds,
        "epsilon": epsilon, "delta": 1e-5, "words_exact": exact.len(), "words_found": counts.len(),
        "bits_per_character_pooled": pooled, "bits_per_character_federated": federated, "bits_per_character_one_institution": alone,
        "bits_per_character_bytes": score(&ByteTokenizer, e), "perplexity_ratio": ratio,
    });
    eprintln!("{line}");
    Outcome { words: counts.len(), epsilon, pooled, federated, ratio }
}

/// Every tenth text is held out; the others go to the institutions in turn.
fn deal(name: &'static str, rule: WordRule, vocab: u32, rounds: u64, texts: Vec<String>) -> Experiment {
    let mut sites = vec![Vec::new(); usize::from(SITES)];
    let mut held_out = Vec::new();
    for (i, text) in texts.into_iter().enumerate() {
        if i % 10 == 0 { held_out.push(text) } else { sites[i % usize::from(SITES)].push(text) }
    }
    Experiment { name, rule, vocab, rounds, coordinates: 1 << 20, sites, held_out }
}

fn generated(units: usize, coordinates: u32) -> Experiment {
    let of = |site, seed, n| -> Vec<String> { generate(seed, site, u32::from(SITES), n).unwrap().into_iter().map(|r| r.text).collect() };
    Experiment {
        name: "generated messages, Chinese and English",
        rule: WordRule::Jieba,
        vocab: 1500,
        rounds: 6,
        coordinates,
        sites: (0..u32::from(SITES)).map(|s| of(s, 1, units)).collect(),
        held_out: (0..u32::from(SITES)).flat_map(|s| of(s, 2, 500)).collect(),
    }
}

#[test]
fn a_tokenizer_from_noised_sums_comes_near_one_from_pooled_texts() {
    let e = generated(5000, 1 << 20);
    let got = run(&e);
    assert!(got.words > 300 && (1.0..=8.0).contains(&got.epsilon), "{} words, epsilon {}", got.words, got.epsilon);
    assert!(got.ratio <= MOST_SMALL, "perplexity {} times that of the pooled tokenizer", got.ratio);
    // The measure sees what a vocabulary is worth: without one the same model is far worse.
    assert!(score(&ByteTokenizer, &e) > got.pooled * 1.05 && got.federated > 0.5);
}

/// Minutes of processor time; run by hand. With four million coordinates words of ten letters come to their end within the six rounds; with one
/// million beginnings get one letter a round, and perplexity is 1.019 times.
#[test]
#[ignore = "a hundred and twenty thousand messages"]
fn with_enough_units_a_tokenizer_from_noised_sums_is_within_one_percent() {
    let got = run(&generated(30_000, 1 << 22));
    assert!(got.epsilon <= 8.0 && got.ratio <= MOST, "perplexity {} times that of the pooled tokenizer", got.ratio);
}

fn data_file(name: &str) -> Option<PathBuf> {
    let path = std::env::var("CONCORDAT_DATA_DIR").ok().map(|dir| PathBuf::from(dir).join(name)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIPPED: {name} is not there; set CONCORDAT_DATA_DIR to the folder that holds it");
    }
    path
}

fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    texts.filter(|t| !t.trim().is_empty() && seen.insert(t.clone())).collect()
}

/// Measured, not judged, where the data are: a few thousand units may be too few for the noise that they ask for.
#[test]
fn real_texts_where_they_are() {
    if let Some(path) = data_file("fake-base-station-sms.jsonl") {
        let text = std::fs::read_to_string(path).unwrap();
        let field = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["text"].as_str().map(str::to_owned);
        run(&deal("fake base station SMS", WordRule::Jieba, 1500, 6, distinct(text.lines().filter_map(field))));
    }
    if let Some(path) = data_file("sms-spam-collection.tsv") {
        let text = std::fs::read_to_string(path).unwrap();
        let field = |line: &str| line.split_once('\t').map(|(_, text)| text.to_owned());
        run(&deal("SMS spam collection", WordRule::Pattern, 500, 6, distinct(text.lines().filter_map(field))));
    }
    if let Some(path) = data_file("tinyshakespeare.txt") {
        let text = std::fs::read_to_string(path).unwrap();
        run(&deal("tinyshakespeare, a speech per unit", WordRule::Pattern, 500, 6, distinct(text.split("\n\n").map(str::to_owned))));
    }
}
