//! Do the samples tell the truth? Every file under `configs/` is read by the parser that reads it in earnest. Knows no running process.

#[path = "configs/units.rs"]
mod units;

use client::central::CentralPlan;
use client::config::{Config as ClientConfig, ConfigError as ClientError};
use client::site_policy::SitePolicy;
use corpus::pipeline::Rules;
use privacy::accountant::{Phase, epsilon_noise_rdp, epsilon_pld, epsilon_rdp};
use protocol::ids::TaskId;
use protocol::params::MAX_WEIGHT;
use protocol::plan::{Asks, Combine, Keep, NoiseKind, Plan, PlanError, Robustness, Schedule, Weighting};
use server::config::{Config as ServerConfig, ConfigError as ServerError};
use server::plan_file::{AnyPlanFile, CountFile, PlanFile, Prepared};
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use train::optim::OptimiserState;

const SERVER: &str = include_str!("../../configs/server.toml");
const CLIENT: &str = include_str!("../../configs/client.toml");
const SITE_POLICY: &str = include_str!("../../configs/site-policy.toml");
const PLAN: &str = include_str!("../../configs/plan-example.toml");
const PLAN_DECODER: &str = include_str!("../../configs/plan-decoder.toml");
const PLAN_PAIR: &str = include_str!("../../configs/plan-encoder-decoder.toml");
const PLAN_TAGS: &str = include_str!("../../configs/plan-tags.toml");
const PLAN_MASKED: &str = include_str!("../../configs/plan-masked-tokens.toml");
const STATISTICS: &str = include_str!("../../configs/plan-statistics.toml");
const WORDS: &str = include_str!("../../configs/plan-words.toml");
const TRAIN_CHARACTERS: &str = include_str!("../../configs/train-characters.toml");
const TRAIN_GPU: &str = include_str!("../../configs/train-characters-gpu.toml");
const TRAIN_LONG: &str = include_str!("../../configs/train-characters-long.toml");
const TRAIN_MASKED: &str = include_str!("../../configs/train-masked-tokens.toml");
const TRAIN_TAGS: &str = include_str!("../../configs/train-tags.toml");
const TRAIN_SMS: &str = include_str!("../../configs/train-sms.toml");
const TRAIN_SMS_MASKED: &str = include_str!("../../configs/train-sms-masked.toml");
const DATA_SMS: &str = include_str!("../../configs/data-sms.toml");
const DATA_SMS_SPAM: &str = include_str!("../../configs/data-sms-spam.toml");

/// All samples by their path below `configs/`.
const SAMPLES: &[&str] = &[
    "client.toml",
    "data-sms-spam.toml",
    "data-sms.toml",
    "plan-decoder.toml",
    "plan-encoder-decoder.toml",
    "plan-example.toml",
    "plan-masked-tokens.toml",
    "plan-statistics.toml",
    "plan-tags.toml",
    "plan-words.toml",
    "server.toml",
    "site-policy.toml",
    "systemd/concordat-client.service",
    "systemd/concordat-server.service",
    "train-characters-gpu.toml",
    "train-characters-long.toml",
    "train-characters.toml",
    "train-masked-tokens.toml",
    "train-sms-masked.toml",
    "train-sms.toml",
    "train-tags.toml",
];

/// Numbers of privacy and sealing that somebody might look for in a configuration (operations.md O9).
const NOT_SETTINGS: &[&str] = &["epsilon", "delta", "sigma", "noise_multiplier", "clip", "cohort_min", "modulus", "sampling_rate"];

fn server(text: &str) -> Result<ServerConfig, ServerError> {
    ServerConfig::parse(text, Path::new("server.toml"))
}

/// The whole chain of an error, as a person reads it.
fn chain(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", chain(cause)))
}

/// The keys that a parser takes, from its own complaint about one that does not exist.
fn keys_named_in(complaint: &str) -> Vec<String> {
    let expected = complaint.rsplit_once("expected").expect("a complaint about an unknown key names the known ones").1;
    let keys: Vec<_> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!keys.is_empty(), "{complaint}");
    keys
}

/// Whether the sample states a key, set or commented out, or has a section of that name.
fn states(sample: &str, key: &str) -> bool {
    let line = |l: &str| {
        let l = l.trim_start_matches("# ");
        let section = l.trim_start_matches('[');
        let heads = section.len() < l.len() && (section.starts_with(&format!("{key}]")) || section.starts_with(&format!("{key}.")));
        l.starts_with(&format!("{key} = ")) || heads
    };
    sample.lines().any(line)
}

fn assert_states_every_key(sample: &str, complaint: &str) {
    for key in keys_named_in(complaint) {
        assert!(states(sample, &key), "the sample does not state `{key}`");
    }
}

fn files_below(folder: &Path, prefix: &str, out: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files_below(&entry.path(), &format!("{name}/"), out);
        } else {
            out.insert(name);
        }
    }
}

#[test]
fn every_sample_has_its_test() {
    let mut found = BTreeSet::new();
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"), "", &mut found);
    assert_eq!(found, SAMPLES.iter().map(|&s| s.to_owned()).collect());
}

#[test]
fn the_servers_sample_states_every_key_with_its_default() {
    let (sample, default) = (server(SERVER).unwrap(), server("").unwrap());
    assert_eq!(sample.listen, default.listen);
    assert_eq!(sample.max_connections, default.max_connections);
    assert_eq!(sample.receive_memory_bytes, default.receive_memory_bytes);
    assert!(default.public_address.is_none() && sample.public_address.is_some());
    assert_states_every_key(SERVER, &chain(&server("no_such_key = 1").unwrap_err()));
}

#[test]
fn the_clients_sample_states_every_key_with_its_default() {
    let sample = ClientConfig::parse(CLIENT).unwrap();
    let data = sample.data.clone().unwrap();
    let least = ClientConfig::parse("[data]\npath = 'records.jsonl'\nname = 'messages'\nuser_field = 'subscriber'").unwrap();
    assert_eq!(sample, least);
    assert_eq!(data.user_field.as_deref(), Some("subscriber"));
    for text in ["no_such_key = 1", "[data]\npath = 'p'\nname = 'n'\nno_such_key = 1"] {
        assert_states_every_key(CLIENT, &chain(&ClientConfig::parse(text).unwrap_err()));
    }
}

#[test]
fn the_sample_of_central_training_states_every_key() {
    let encoders = [TRAIN_SMS, TRAIN_TAGS, TRAIN_MASKED, TRAIN_SMS_MASKED];
    for sample in [TRAIN_CHARACTERS, TRAIN_GPU, TRAIN_LONG].iter().chain(&encoders) {
        CentralPlan::parse(sample).unwrap();
    }
    for section in ["", "[model]\n", "[data]\n", "[local]\n", "[evaluation]\n"] {
        let text = TRAIN_CHARACTERS.replacen(section, &format!("{section}no_such_key = 1\n"), 1);
        let complaint = chain(&CentralPlan::parse(&text).unwrap_err());
        for key in keys_named_in(&complaint) {
            // An encoder's keys stand in its own samples.
            let stated = states(TRAIN_CHARACTERS, &key) || encoders.iter().any(|sample| states(sample, &key));
            assert!(stated, "no sample states `{key}`");
        }
    }
}

#[test]
fn the_site_policys_sample_states_every_limit_and_no_limit_has_a_default() {
    SitePolicy::parse(SITE_POLICY).unwrap();
    let complaint = chain(&SitePolicy::parse("no_such_key = 1").unwrap_err());
    assert_states_every_key(SITE_POLICY, &complaint);
    // Without these keys the policy is as strict as it can be in what they are about, or as wide as the limits beside them, or promises least.
    let may_be_absent = ["plans", "own_epsilon_cap", "charge", "upload_at"];
    for key in keys_named_in(&complaint).iter().filter(|k| !may_be_absent.contains(&k.as_str())) {
        let without: String = SITE_POLICY.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\n")).collect();
        assert!(SitePolicy::parse(&without).is_err(), "{key}");
    }
}

#[test]
fn the_site_policys_sample_has_the_values_that_join_writes() {
    let written = include_str!("../../client/src/site_policy.rs").replace("\\\"", "\"");
    for line in SITE_POLICY.lines().filter(|l| !l.is_empty() && !l.starts_with("# ") || l.starts_with("# plans = ")) {
        assert!(written.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn the_samples_for_records_parse_and_state_every_key() {
    let (sms, spam) = (Rules::parse(DATA_SMS).unwrap(), Rules::parse(DATA_SMS_SPAM).unwrap());
    assert_eq!((sms.names(), spam.names()), (vec!["text", "category", "subcategory"], vec!["label", "text"]));
    assert_eq!(sms.scrub.len(), corpus::pipeline::scrub::Kind::ALL.len(), "the sample names every kind");
    let unknown = |section: &str| {
        let text = match section {
            "" => format!("no_such_key = 1\n{DATA_SMS}"),
            // Into the first section of that name.
            _ => DATA_SMS.replacen(&format!("\n{section}\n"), &format!("\n{section}\nno_such_key = 1\n"), 1),
        };
        chain(&Rules::parse(&text).err().unwrap())
    };
    for section in
        ["", "[dataset]", "[input]", "[[columns]]", "[text]", "[[checks]]", "[scrub]", "[dedup]", "[split]", "[training]", "[thresholds]"]
    {
        for key in keys_named_in(&unknown(section)) {
            // Sections of lists have double brackets; keys for columns of other types stand in a comment.
            let stated = states(DATA_SMS, &key) || DATA_SMS.contains(&format!("[[{key}]]")) || DATA_SMS.contains(&format!("{key} = "));
            assert!(stated || key == "constant" && DATA_SMS.contains("`constant = VALUE`"), "{section}: the sample does not state `{key}`");
        }
    }
}

fn example() -> Prepared {
    PlanFile::parse(PLAN).unwrap().prepare(TaskId([7; 16])).unwrap()
}

#[test]
fn the_example_plan_is_one_that_can_be_run() {
    let prepared = example();
    let plan = &prepared.plan;
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(protocol::codec::decode::<Plan>(&prepared.bytes, Plan::MAX_BYTES).as_ref(), Ok(plan));
    assert_eq!(plan.committee.quorum(), 3);
    assert!(plan.model.classes.iter().map(String::as_str).eq(corpus::sms::LABELS), "the example fits the built-in generator");
}

/// training.md M1: one for each family that writes tokens, and for each question that is answered token by token; each states what it is built of, and is trained from the weights that it names.
#[test]
fn the_samples_of_other_families_are_plans_that_can_be_run() {
    for (sample, asks, layers) in [
        (PLAN_DECODER, Asks::NextToken, None),
        (PLAN_PAIR, Asks::Translate, Some(1)),
        (PLAN_TAGS, Asks::Tags, None),
        (PLAN_MASKED, Asks::MaskedTokens, None),
    ] {
        let prepared = PlanFile::parse(sample).unwrap().prepare(TaskId([7; 16])).unwrap();
        let plan = &prepared.plan;
        assert_eq!((plan.check(), plan.model.asks(), plan.model.built().decoder_layers), (Ok(()), asks, layers));
        assert_eq!(protocol::codec::decode::<Plan>(&prepared.bytes, Plan::MAX_BYTES).as_ref(), Ok(plan));
        let weights = train::snapshot::from_bytes(&plan.model, &prepared.base).unwrap();
        assert_eq!((weights.flat().len() as u64, train::snapshot::digest(&prepared.base)), (plan.dimension(), plan.base));
        assert_eq!(SitePolicy::parse(SITE_POLICY).unwrap().allows(Plan::digest(&prepared.bytes), plan), Ok(()));
    }
}

/// What stands in the sample is what a plan without it has, and the example says the same, commented out.
#[test]
fn the_sample_of_masked_tokens_states_its_defaults() {
    let bytes = |text: &str| PlanFile::parse(text).unwrap().prepare(TaskId([7; 16])).unwrap().bytes;
    let numbers = PLAN_MASKED.lines().find(|l| l.starts_with("masking = ")).unwrap();
    assert_eq!(bytes(PLAN_MASKED), bytes(&PLAN_MASKED.replacen(numbers, "", 1)));
    assert!(PLAN.contains(&format!("\n# {numbers}\n")));
    let complaint = chain(&PlanFile::parse(&PLAN_MASKED.replacen("share = ", "part = ", 1)).err().unwrap());
    for key in keys_named_in(&complaint) {
        assert!(numbers.contains(&format!("{key} = ")), "the sample does not state `{key}`");
    }
}

/// What the example says about a model's parts, commented out, is what a plan without a word about them has.
#[test]
fn the_example_plans_model_states_its_defaults() {
    let keys = ["tokenizer", "family", "asks", "positions", "norm", "norm_place", "feed_forward", "groups", "head", "mask"]
        .map(|key| format!("\n# {key} = "));
    let stated = keys.iter().fold(PLAN.to_owned(), |text, key| {
        assert!(text.contains(key), "{key}");
        text.replacen(key, &key.replacen("# ", "", 1), 1)
    });
    assert_eq!(PlanFile::parse(&stated).unwrap().prepare(TaskId([7; 16])).unwrap().bytes, example().bytes);
    for key in ["window", "stem", "dropout"] {
        let asked = PLAN.replacen(&format!("\n# {key} = "), &format!("\n{key} = "), 1);
        let plan = PlanFile::parse(&asked).unwrap().prepare(TaskId([7; 16])).unwrap().plan;
        assert!(plan.model.own.is_some(), "{key}");
    }
}

/// What stands there commented out is what a plan without it has.
#[test]
fn the_example_plans_local_loop_states_its_defaults() {
    let keys = ["schedule = ", "optimiser = ", "keep = "];
    let stated = keys.iter().fold(PLAN.to_owned(), |text, key| text.replacen(&format!("# {key}"), key, 1));
    let local = |text: &str| PlanFile::parse(text).unwrap().local;
    let (stated, silent) = (local(&stated), local(PLAN));
    assert_eq!((silent.schedule, silent.optimiser, silent.keep), (None, None, None));
    assert_eq!((stated.schedule, stated.keep), (Some(Schedule::default()), Some(Keep::default())));
    assert!(stated.optimiser.is_some());
    assert_eq!(OptimiserState::of_plan(&stated, 2), OptimiserState::of_plan(&silent, 2));
}

/// Plans that count: calibrated like others, bounded by what is asked, and their samples state every key.
#[test]
fn the_samples_that_count_are_plans_that_can_be_run() {
    for (sample, epsilon, values) in [(STATISTICS, 0.5, 3 + 6 + 7), (WORDS, 4.0, 1 << 20)] {
        let file = AnyPlanFile::parse(sample).unwrap();
        assert!(matches!(file, AnyPlanFile::Count(_)));
        let prepared = file.prepare(TaskId([7; 16])).unwrap();
        let plan = &prepared.plan;
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(protocol::codec::decode::<Plan>(&prepared.bytes, Plan::MAX_BYTES).as_ref(), Ok(plan));
        assert_eq!(plan.dimension(), values * u64::from(plan.count.as_ref().unwrap().limbs));
        let p = &plan.privacy;
        let spent =
            epsilon_rdp(&[Phase { noise_multiplier: p.noise_multiplier.to_f64(), sampling_rate: 1.0, steps: plan.total_steps() }], 1e-5);
        let spent = spent.unwrap().epsilon;
        assert!(spent <= epsilon && spent > 0.9 * epsilon, "{spent} of {epsilon}");
        let complaint = chain(&CountFile::parse(&format!("no_such_key = 1\n{sample}")).err().unwrap());
        assert_states_every_key(sample, &complaint);
        for section in ["committee", "privacy", "deadlines"] {
            let text = sample.replacen(&format!("\n[{section}]\n"), &format!("\n[{section}]\nno_such_key = 1\n"), 1);
            assert_states_every_key(sample, &chain(&CountFile::parse(&text).err().unwrap()));
        }
    }
    assert!(matches!(AnyPlanFile::parse(PLAN), Ok(AnyPlanFile::Train(_))));
}

/// C64, C65: what a plan may say against hostile institutions.
#[test]
fn a_plan_has_room_for_its_random_groups_and_enough_of_them() {
    let plan = example().plan;
    let with = |random_groups, combine, norm: Option<&str>| {
        let max_group_norm = norm.map(|n| n.parse().unwrap());
        Plan { n_max: 12, robustness: Some(Robustness { random_groups, combine, max_group_norm }), ..plan.clone() }.check()
    };
    let trimmed = |trim| Combine::TrimmedMean { trim };
    for (groups, combine) in [(1, Combine::Mean), (3, Combine::Mean), (3, Combine::Median), (4, Combine::Median), (3, trimmed(1))] {
        assert_eq!(with(groups, combine, Some("0.5")), Ok(()), "{groups} {combine:?}");
    }
    let field = |e: Result<(), PlanError>| match e {
        Err(PlanError::OutOfRange { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    // None, two, more than 12 institutions have room for with three in each.
    for groups in [0, 2, 5] {
        assert_eq!(field(with(groups, Combine::Mean, None)), "robustness.random_groups", "{groups}");
    }
    for (groups, combine) in [(1, Combine::Median), (4, trimmed(2)), (3, trimmed(0)), (1, trimmed(1))] {
        assert_eq!(field(with(groups, combine, None)), "robustness.combine", "{groups} {combine:?}");
    }
    assert_eq!(field(with(1, Combine::Mean, Some("0"))), "robustness.max_group_norm");
    let weighed = |max_weight| Plan { weighting: Weighting::Declared { max_weight }, ..plan.clone() }.check();
    assert_eq!((weighed(1), weighed(MAX_WEIGHT)), (Ok(()), Ok(())));
    assert_eq!([0, MAX_WEIGHT + 1].map(|w| field(weighed(w))), ["weighting.declared.max_weight"; 2]);
}

/// A plan file may spell the section in every way, and a plan without it has the bytes that plans have always had.
#[test]
fn the_words_against_hostile_institutions_are_read() {
    let robust = |combine: &str| PLAN.replacen("combine = \"mean\"", combine, 1).replacen("random_groups = 1", "random_groups = 3", 1);
    for (text, combine) in [
        ("combine = \"mean\"", Combine::Mean),
        ("combine = \"median\"\nmax_group_norm = \"0.5\"", Combine::Median),
        ("combine = { trimmed-mean = { trim = 1 } }", Combine::TrimmedMean { trim: 1 }),
    ] {
        assert_eq!(PlanFile::parse(&robust(text)).unwrap().robustness.unwrap().combine, combine);
    }
    let mut plan = example().plan;
    (plan.robustness, plan.gates) = (None, None);
    let bytes = protocol::codec::encode(&plan);
    assert_eq!(bytes[0], 0x90, "sixteen fields");
    assert_eq!(protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES), Ok(plan));
    let weighed = PLAN.replacen("weighting = \"uniform\"", "weighting = { declared = { max_weight = 5000 } }", 1);
    assert_eq!(PlanFile::parse(&weighed).unwrap().weighting, Weighting::Declared { max_weight: 5000 });
}

#[test]
fn the_example_plan_keeps_its_epsilon() {
    let plan = example().plan;
    let p = &plan.privacy;
    let all = Phase { noise_multiplier: p.noise_multiplier.to_f64(), sampling_rate: p.sampling_rate.to_f64(), steps: plan.total_steps() };
    let epsilon = epsilon_pld(&[all], p.delta.to_f64()).unwrap();
    assert!(epsilon <= p.epsilon_cap.to_f64(), "{epsilon}");
    assert!(epsilon > 0.99 * p.epsilon_cap.to_f64(), "more noise than asked for: {epsilon}");
}

/// D23: with sampling and without, discrete Gaussian noise is calibrated by its own accountant, and with sampling needs more than the Gaussian.
#[test]
fn discrete_gaussian_noise_is_calibrated_by_its_own_accountant() {
    let discrete = PLAN.replacen("noise = \"rounded-gaussian\"", "noise = \"discrete-gaussian\"", 1);
    let prepared = |text: &str| PlanFile::parse(text).unwrap().prepare(TaskId([7; 16])).unwrap().plan;
    for rate in ["0.05", "1"] {
        let plan = prepared(&discrete.replacen("sampling_rate = \"0.05\"", &format!("sampling_rate = \"{rate}\""), 1));
        assert_eq!((plan.privacy.noise, plan.check()), (NoiseKind::DiscreteGaussian, Ok(())));
        let p = &plan.privacy;
        let all = Phase { noise_multiplier: p.noise_multiplier.to_f64(), sampling_rate: rate.parse().unwrap(), steps: plan.total_steps() };
        let epsilon = epsilon_noise_rdp(&[(p.noise, all)], p.delta.to_f64()).unwrap().epsilon;
        assert!(epsilon <= p.epsilon_cap.to_f64() && epsilon > 0.99 * p.epsilon_cap.to_f64(), "{rate}: {epsilon}");
    }
    let (rounded, sampled) = (prepared(PLAN).privacy.noise_multiplier.to_f64(), prepared(&discrete).privacy.noise_multiplier.to_f64());
    assert!(sampled > rounded, "{sampled} {rounded}");
}

/// The example, without its comments, as a plan in which institutions add noise together.
fn joint(mode: &str) -> String {
    let plain: String = PLAN.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    let mut text = plain.replacen("mode = \"local\"", &format!("mode = {mode}"), 1);
    for (from, to) in [
        ("bits = 16\n", "bits = 24\n"),
        ("cohort_min = 3", "cohort_min = 4"),
        ("steps = 10", "steps = 1"),
        ("learning_rate = \"0.002\"", "learning_rate = \"0\""),
        ("warmup_steps = 5", "warmup_steps = 0"),
        ("weight_decay = \"0.01\"", "weight_decay = \"0\""),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

/// privacy.md D7: shares follow from the target and the guaranteed institutions; the floor is kept by own noise alone.
#[test]
fn shares_of_noise_are_calibrated_from_the_target_and_the_floor() {
    let spent = |plan: &Plan, sigma: f64| {
        let p = &plan.privacy;
        let all = Phase { noise_multiplier: sigma, sampling_rate: p.sampling_rate.to_f64(), steps: plan.total_steps() };
        epsilon_pld(&[all], p.delta.to_f64()).unwrap()
    };
    let prepare = |mode: &str| PlanFile::parse(&joint(mode)).unwrap().prepare(TaskId([7; 16])).unwrap().plan;
    // Four at least, one looks, one helps: two shares are certain. A floor of 20 asks for less than they give.
    for mode in ["{ distributed = { colluding = 1 } }", "{ hybrid = { colluding = 1, epsilon_floor = \"20\" } }"] {
        let plan = prepare(mode);
        let sigma = plan.privacy.noise_multiplier.to_f64();
        let together = spent(&plan, sigma * 2f64.sqrt());
        assert!(together <= 3.0 && together > 2.99, "{mode}: {together}");
        let (own, cap) = (spent(&plan, sigma), plan.privacy.epsilon_cap.to_f64());
        assert!(own > together && own <= cap, "{mode}: {own} under {cap}");
        assert!(mode.contains("hybrid") || own > 0.98 * cap, "distributed states what own noise is worth: {own} under {cap}");
    }
    // A floor of 3.2 asks for more than two shares of a coalition's 3 need.
    let plan = prepare("{ hybrid = { colluding = 1, epsilon_floor = \"3.2\" } }");
    let own = spent(&plan, plan.privacy.noise_multiplier.to_f64());
    assert!(own <= 3.2 && own > 3.19 && plan.privacy.epsilon_cap.to_string() == "3.2", "{own}");
}

/// D7, D20, D22, D23: every rule of these modes refuses by its own name.
#[test]
fn plans_in_which_institutions_cannot_noise_a_sum_together_are_refused_by_name() {
    let hybrid = joint("{ hybrid = { colluding = 0, epsilon_floor = \"8\" } }");
    let cases = [
        ("colluding = 0", "colluding = 3", "no guaranteed share"),
        ("colluding = 0", "colluding = 65535", "no guaranteed share"),
        ("steps = 1", "steps = 2", "exactly one noised sum"),
        ("weighting = \"uniform\"", "weighting = { declared = { max_weight = 5000 } }", "weighting must be"),
        ("learning_rate = \"0\"", "learning_rate = \"0.1\"", "only the server takes steps"),
        ("warmup_steps = 0", "warmup_steps = 1", "only the server takes steps"),
        ("weight_decay = \"0\"", "weight_decay = \"0.1\"", "only the server takes steps"),
        ("weight_decay = \"0\"\n", "weight_decay = \"0\"\nschedule = \"wsd\"\n", "only the server takes steps"),
        ("weight_decay = \"0\"\n", "weight_decay = \"0\"\noptimiser = { adam-w = {} }\n", "only the server takes steps"),
        ("bits = 24\n", "bits = 16\n", "no room"),
        ("epsilon_floor = \"8\"", "epsilon_floor = \"0\"", "privacy.epsilon_cap is 0"),
        ("epsilon = \"3\"", "epsilon = \"0\"", "coalition_epsilon is 0"),
        ("colluding = 0, ", "", "missing field `colluding`"),
    ];
    for (from, to, words) in cases {
        assert!(hybrid.contains(from), "{from}");
        let file = PlanFile::parse(&hybrid.replacen(from, to, 1));
        let refused = file.and_then(|f| f.prepare(TaskId([7; 16])).map(|_| ())).err().unwrap_or_else(|| panic!("{to} is taken"));
        assert!(chain(&refused).contains(words), "{to}: {}", chain(&refused));
    }
    // Shares that are worth so little alone that not even the sampler's distance is small beside it.
    let lonely = joint("{ distributed = { colluding = 0 } }");
    let lonely = lonely.replacen("cohort_min = 4", "cohort_min = 8", 1).replacen("epsilon = \"3\"", "epsilon = \"40\"", 1);
    let refused = PlanFile::parse(&lonely).unwrap().prepare(TaskId([7; 16])).err().unwrap();
    assert!(chain(&refused).contains("cannot be stated"), "{}", chain(&refused));
}

/// D18: on the sum path the noise is measured by the sensitivity that sums of floats have.
#[test]
fn a_plan_may_ask_for_book_keeping_in_every_mode() {
    let hybrid = joint("{ hybrid = { colluding = 0, epsilon_floor = \"8\" } }");
    for text in [PLAN, &hybrid] {
        for path in ["{ book-keeping = {} }", "{ book-keeping = { accumulate = \"f64\", rounding = \"nearest\" } }"] {
            let text = text.replacen("path = \"exact\"", &format!("path = {path}"), 1);
            let plan = PlanFile::parse(&text).unwrap().prepare(TaskId([7; 16])).unwrap().plan;
            let m = privacy::mechanism::Mechanism::of_plan(&plan, 1000).unwrap();
            assert!(m.delta_grid() > 65_536.0 && m.sigma_grid() >= plan.privacy.noise_multiplier.to_f64() * m.delta_grid());
        }
    }
    let bad = PLAN.replacen("path = \"exact\"", "path = { book-keeping = { accumulate = \"bf16\" } }", 1);
    assert!(PlanFile::parse(&bad).is_err());
}

/// training.md M4, M6: tiers as the sample describes them; what does not exist is named with what was expected.
#[test]
fn a_plan_may_say_who_trains_what() {
    let two = PLAN.replacen("layers = 1", "layers = 2\nadapter = { rank = 2, alpha = 4, targets = [\"qkv\"], nested = [1] }", 1);
    let id = |n: u8| format!("{n:02x}").repeat(32);
    let with = |trains: &str, who: &str| {
        format!("{two}\n[[tiers]]\nname = \"large\"\ntrains = [\"full\"]\n[[tiers]]\nname = \"small\"\ntrains = [{trains}]\n{who}\n")
    };
    let three = format!("institutions = [\"{}\", \"{}\", \"{}\"]", id(3), id(1), id(2));
    let prepare = |text: &str| PlanFile::parse(text).and_then(|f| f.prepare(TaskId([7; 16])).map(|p| p.plan));
    let parts = [
        ("\"heads-and-biases\"", 2),
        ("{ layers = { from = 1, to = 2 } }", 2),
        ("\"lora-b\", \"heads-and-biases\"", 3),
        ("{ lora-b-first = { rank = 1 } }", 2),
        ("\"lora-alternating\"", 3),
        ("{ rolling = { window = 1 } }", 3),
    ];
    for (trains, shards) in parts {
        let plan = prepare(&with(trains, &three)).unwrap();
        assert_eq!((plan.shards.len(), plan.groups.len()), (shards, shards), "{trains}");
        let small = plan.seen_by(protocol::ids::ClientId([2; 32])).unwrap();
        assert!(small.dimension() < plan.seen_by(protocol::ids::ClientId([9; 32])).unwrap().dimension() / 3, "{trains}");
        assert_eq!(plan.tiers.as_ref().unwrap()[1].institutions[0], protocol::ids::ClientId([1; 32]), "ascending");
    }
    let refused = |text: &str| chain(&prepare(text).err().unwrap());
    let cases = [
        (with("{ layers = { from = 1, to = 3 } }", &three), "got 1..3, expected a range of the model's blocks"),
        (with("{ rolling = { window = 3 } }", &three), "rolls over 3 blocks at once, expected 1 to 2"),
        (with("\"lora-b\"", &three).replacen("adapter = {", "# adapter = {", 1), "has no adapters: expected [model.adapter]"),
        (with("{ lora-b-first = { rank = 3 } }", &three), "trains the first 3 columns of B, expected one of [1, 2]"),
        (with("\"lora-b\"", &three).replacen("nested = [1]", "nested = [2]", 1), "model.adapter.nested: got [2], expected ranks from 1 on"),
        (with("\"no-such-part\"", &three), "unknown variant `no-such-part`, expected one of `full`, `layers`"),
        (with("\"heads-and-biases\"", ""), "only one tier is for all others"),
        (with("\"lora-b\"", &format!("institutions = [\"{}\"]", id(1))), "trained by at most 1 institutions in a round"),
        (with("\"heads-and-biases\"", "institutions = [\"abc\"]"), "expected 64 lower-case hex digits"),
        (with("\"heads-and-biases\"", &three).replacen("shards = 1", "shards = 2", 1), "expected 1 in a plan with tiers"),
        (with("\"heads-and-biases\"", &three).replacen("rank = 2", "rank = 0", 1), "rank 0"),
    ];
    for (text, words) in cases {
        assert!(refused(&text).contains(words), "{words}: {}", refused(&text));
    }
    let joint = joint("{ hybrid = { colluding = 0, epsilon_floor = \"8\" } }");
    let text = format!("{joint}\n[[tiers]]\nname = \"all\"\ntrains = [\"full\"]\n");
    assert!(refused(&text).contains("tiers need privacy.mode \"local\", got \"hybrid\""), "{}", refused(&text));
}

#[test]
fn the_sample_policy_allows_the_example_plan_and_nothing_weaker() {
    let (policy, prepared) = (SitePolicy::parse(SITE_POLICY).unwrap(), example());
    let digest = Plan::digest(&prepared.bytes);
    assert_eq!(policy.allows(digest, &prepared.plan), Ok(()));
    for (from, to) in
        [("epsilon = \"3\"", "epsilon = \"4\""), ("unit = \"user\"", "unit = \"record\""), ("cohort_min = 3", "cohort_min = 2")]
    {
        assert!(PLAN.contains(from), "{from}");
        let weaker = PlanFile::parse(&PLAN.replacen(from, to, 1)).unwrap().prepare(TaskId([7; 16])).unwrap();
        assert!(policy.allows(digest, &weaker.plan).is_err(), "{to}");
    }
}

#[test]
fn the_example_plan_states_every_key() {
    for text in [
        "no_such_key = 1",
        "[privacy]\nno_such_key = 1",
        "[model]\nno_such_key = 1",
        "[local]\nno_such_key = 1",
        "[deadlines]\nno_such_key = 1",
        "[robustness]\nno_such_key = 1",
        "[[tiers]]\nno_such_key = 1",
        "[[gates]]\nno_such_key = 1",
    ] {
        let complaint = chain(&PlanFile::parse(text).err().unwrap());
        assert_states_every_key(PLAN, &complaint);
    }
}

#[test]
fn numbers_of_privacy_and_sealing_are_refused_with_a_hint() {
    for key in NOT_SETTINGS {
        let text = format!("{key} = 1");
        let at_server = server(&text).unwrap_err();
        assert!(matches!(&at_server, ServerError::BelongsIntoPlan(k) if k == key), "{key}: {at_server:?}");
        assert!(at_server.to_string().contains("signed plan"), "{at_server}");
        let at_client = ClientConfig::parse(&text);
        assert!(matches!(&at_client, Err(ClientError::PrivacyKey { key: k }) if k == key), "{key}: {at_client:?}");
        assert!(at_client.unwrap_err().to_string().contains("signed plan"));
        assert!(server(&format!("[section]\n{text}")).is_err(), "{key} in a section of the server's file");
        assert!(ClientConfig::parse(&format!("{CLIENT}\n{text}")).is_err(), "{key} in a section of the client's file");
    }
}

#[test]
fn an_unknown_key_is_refused_everywhere() {
    let line = "no_such_key = 1\n";
    assert!(server(&format!("{line}{SERVER}")).is_err());
    assert!(ClientConfig::parse(&format!("{line}{CLIENT}")).is_err());
    assert!(SitePolicy::parse(&format!("{line}{SITE_POLICY}")).is_err());
    assert!(PlanFile::parse(&format!("{line}{PLAN}")).is_err());
}
