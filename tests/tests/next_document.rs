//! What a task that counts knows, by the auditor and by the federation's own rooms: two programs that share no line write the same document,
//! byte for byte, for figures and for words, in every mode, over all rounds (audit.md A37, A53).

use auditor::count;
use auditor::step::{Mass, Opened};
use proptest::prelude::*;
use protocol::ids::{GroupId, ShardId, TaskId};
use protocol::plan::{Counted, Plan};
use server::plan_file::AnyPlanFile;
use std::sync::OnceLock;
use train::count::Known;

const HEAD: &str = "federation = \"loop\"\ncohort_min = 3\nn_max = 8\n[committee]\ndecryptors = 4\ncorrupt = 1\n[deadlines]\nselecting_ms = 1000\n\
                    reporting_ms = 1000\ncertifying_ms = 1000\nopening_ms = 1000\n[privacy]\nunit = \"user\"\ndelta = \"0.00001\"\n";
const FIGURES: &str = "[[count.statistics.queries]]\nkind = \"moments\"\ncolumn = \"amount\"\nlow = \"-20.5\"\nhigh = \"100\"\n\
                       [[count.statistics.queries]]\nkind = \"thresholds\"\ncolumn = \"characters(text)\"\ncuts = [\"-5\", \"0.1\", \"40\"]\n\
                       [[count.statistics.queries]]\nkind = \"labels\"\ncolumn = \"label\"\nlabels = [\"bad\", \"größer\", \"\\\"quoted\\\"\"]\n";
const WORDS: &str = "[count.words]\nrule = \"pattern\"\ncoordinates = 65536\nrounds = 4\nbound = 4\nthreshold = \"4.5\"\n";
const CHINESE: &str = "[count.words]\nrule = \"jieba\"\ncoordinates = 32768\nrounds = 5\nbound = 7\nthreshold = \"3\"\n";

/// Plans as their files give them, with their bases; calibrated once.
fn plans() -> &'static [(Plan, Vec<u8>)] {
    static PLANS: OnceLock<Vec<(Plan, Vec<u8>)>> = OnceLock::new();
    let local = "epsilon = \"8\"\n";
    let discrete = "epsilon = \"2.5\"\nnoise = \"discrete-gaussian\"\ngrid_bits = 12\nmax_records_per_unit = 3\n";
    let hybrid = "epsilon = \"8\"\nmode = { hybrid = { colluding = 0, epsilon_floor = \"11\" } }\n";
    let distributed = "epsilon = \"4\"\nmode = { distributed = { colluding = 0 } }\n";
    let made = |(privacy, count): (&str, &str)| {
        let prepared = AnyPlanFile::parse(&format!("{HEAD}{privacy}{count}")).unwrap().prepare(TaskId([7; 16])).unwrap();
        (prepared.plan, prepared.base)
    };
    PLANS.get_or_init(|| {
        let all = [(local, FIGURES), (discrete, FIGURES), (hybrid, FIGURES), (local, WORDS), (distributed, WORDS), (discrete, CHINESE)];
        all.into_iter().map(made).collect()
    })
}

/// Not random, and need not be.
struct Pseudo(u64);

impl Pseudo {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    /// One of a few sizes, so that some are equal, of either sign.
    fn number(&mut self, sizes: &[i64]) -> i64 {
        let n = sizes[self.below(sizes.len())] + i64::try_from(self.below(3)).unwrap();
        if self.below(8) == 0 { -n } else { n }
    }
}

/// Numbers as summed limbs, all lowest ones first. The highest limb takes what is left.
fn cut(plan: &Plan, numbers: &[i64]) -> Vec<i64> {
    let (limbs, bits) = (plan.count.as_ref().unwrap().limbs, plan.groups[0].bits - 1);
    let limb = |n: i64, t: u8| {
        let rest = n >> (bits * t);
        if t + 1 == limbs { rest } else { rest & ((1 << bits) - 1) }
    };
    (0..limbs).flat_map(|t| numbers.iter().map(move |n| limb(*n, t))).collect()
}

/// What might be opened: figures of some hundred or of no records, or common words among many that are not.
fn sum(plan: &Plan, round: u64, random: &mut Pseudo) -> Vec<i64> {
    let counted = plan.count.as_ref().unwrap();
    let length = usize::try_from(plan.dimension()).unwrap() / usize::from(counted.limbs);
    // A record or a word in grid steps.
    let whole = 2f64.powi(plan.privacy.grid_bits.into()) / plan.privacy.clip.to_f64();
    #[expect(clippy::cast_possible_truncation, reason = "some millions")]
    let steps = |records: f64| (records * whole) as i64;
    if let Counted::Statistics { .. } = &counted.what {
        let sizes = [0.0, 3.0, 1024.0 * 50.0, 1024.0 * 900.0].map(steps);
        return cut(plan, &(0..length).map(|_| random.number(&sizes)).collect::<Vec<_>>());
    }
    let mut numbers: Vec<i64> = (0..length).map(|_| i64::try_from(random.below(3)).unwrap() - 1).collect();
    // Letters and signs in round 1; anything in later rounds.
    let letters = (97..103).chain([32, 44]).chain(0x4e00..0x4e08).filter(|_| round == 1);
    let others: Vec<usize> = (0..3000).filter(|_| round > 1).map(|_| random.below(length)).collect();
    let sizes = [20.0, 400.0, 401.5, 5000.0].map(steps);
    for at in letters.chain(others) {
        numbers[at] = random.number(&sizes);
    }
    cut(plan, &numbers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_auditors_document_is_the_federations_byte_for_byte(which in 0usize..6, members in 3u16..9, seed in any::<u64>()) {
        let (plan, base) = &plans()[which];
        let (mut random, mut bytes) = (Pseudo(seed), count::nothing(plan).unwrap());
        prop_assert!(bytes == *base, "another beginning");
        for round in 1..=plan.rounds {
            let sum = sum(plan, round, &mut random);
            let theirs = train::count::advance(plan, &Known::of_plan(plan, &bytes).unwrap(), &sum, members.into()).unwrap();
            let mass = Mass { members, weight: None, units: None };
            let ours = count::advance(plan, &bytes, &[Opened { group: GroupId(0), values: vec![(ShardId(0), sum)], mass }]).unwrap();
            let theirs = theirs.to_bytes().unwrap();
            let parted = count::first_difference(&theirs, &ours).map(|d| d.to_string());
            prop_assert!(theirs == ours, "round {}: {:?}", round, parted);
            bytes = ours;
        }
    }
}

/// Some digits and letters altered into others: almost everything can still be read.
fn altered(document: &[u8], random: &mut Pseudo) -> Vec<u8> {
    let places: Vec<usize> = (0..document.len()).filter(|&at| document[at].is_ascii_digit() || document[at].is_ascii_lowercase()).collect();
    let mut bytes = document.to_vec();
    for _ in 0..=random.below(2) {
        let at = places[random.below(places.len())];
        let others: &[u8] = if bytes[at].is_ascii_digit() { b"0123456789" } else { b"abcdefgh" };
        bytes[at] = others[random.below(others.len())];
    }
    bytes
}

/// A server may hand out any document: where the federation would go on from it, the auditor goes on alike, and it never falls.
#[test]
fn from_an_altered_document_both_go_on_alike() {
    let (mut random, mut went_on) = (Pseudo(11), 0);
    for (plan, base) in plans() {
        let after = |before: &[u8], sum: &[i64]| {
            let mass = Mass { members: 4, weight: None, units: None };
            count::advance(plan, before, &[Opened { group: GroupId(0), values: vec![(ShardId(0), sum.to_vec())], mass }])
        };
        let [first, second, next] = [1, 2, 3].map(|round| sum(plan, round, &mut random));
        let honest = after(&after(base, &first).unwrap(), &second).unwrap();
        for _ in 0..40 {
            let before = altered(&honest, &mut random);
            let ours = after(&before, &next);
            let Ok(known) = Known::of_plan(plan, &before) else { continue };
            let Ok(theirs) = train::count::advance(plan, &known, &next, 4) else { continue };
            assert!(ours.unwrap() == theirs.to_bytes().unwrap(), "{:.300}", String::from_utf8_lossy(&before));
            went_on += usize::from(before != honest);
        }
    }
    assert!(went_on > 20, "{went_on} of 240 altered documents were read");
}

/// The comparison above is of searches that find something, and of figures that there are.
#[test]
fn what_is_compared_is_not_nothing() {
    let text = |which: usize, seed: u64| {
        let (plan, base) = &plans()[which];
        let (mut random, mut bytes) = (Pseudo(seed), base.clone());
        for round in 1..=plan.rounds {
            let mass = Mass { members: 4, weight: None, units: None };
            let opened = [Opened { group: GroupId(0), values: vec![(ShardId(0), sum(plan, round, &mut random))], mass }];
            bytes = count::advance(plan, &bytes, &opened).unwrap();
        }
        String::from_utf8(bytes).unwrap()
    };
    let lacks = |text: &String| text.contains("\"found\":{}") || text.contains("\"characters\":{}");
    assert!((3..6).all(|which| !lacks(&text(which, 5))), "no words");
    let mut figures = (0..3).flat_map(|which| (0..8).map(move |seed| (which, seed)));
    assert!(figures.any(|(which, seed)| text(which, seed).contains("\"variance\":{")), "no figures");
}
