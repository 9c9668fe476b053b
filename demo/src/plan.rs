//! The plan of the demo's task, as an administrator would write it.

use crate::data::World;
use crate::options::{ModeName, Options, PathName, Shards};
use protocol::decimal::Decimal;
use protocol::ids::ClientId;

/// Probability with which each unit enters each step. From about here on, larger samples no longer buy less noise per step.
const SAMPLING_RATE: &str = "0.3";
/// Rows of the token embedding; hashed characters collide rarely at this size.
const VOCABULARY: u32 = 2048;
/// Longest message, in tokens; longer ones are cut.
const MAX_TOKENS: u32 = 48;

/// Name of the demo's federation.
pub(crate) const FEDERATION: &str = "demo";

/// Name of an institution.
pub(crate) fn institution(index: usize) -> String {
    format!("operator-{}", index + 1)
}

/// What a mode asks of the rest of the plan.
struct Shape {
    mode: String,
    bits: u8,
    grid_bits: u8,
    cohort_min: u16,
    local: String,
    strategy: &'static str,
}

impl Shape {
    fn of(options: &Options) -> Self {
        let colluding = options.cli.colluding;
        let joint = |mode| Self {
            mode,
            // Room for 512 clip bounds in a coordinate beside the noise (privacy.md D20).
            bits: 24,
            grid_bits: 14,
            // Noise is calibrated for everybody: with an institution fewer a round does not open.
            cohort_min: options.cli.institutions,
            local: "steps = 1\nmicro_batch = 8\nlearning_rate = \"0\"\nwarmup_steps = 0\nweight_decay = \"0\"\n".to_owned(),
            strategy: "[strategy.fed-adam]\nrate = \"0.02\"\nmomentum = \"0.9\"\ndecay = \"0.99\"\nfloor = \"0.0001\"\n",
        };
        match options.cli.mode {
            ModeName::Local => Self {
                mode: "\"local\"".to_owned(),
                bits: 16,
                grid_bits: 16,
                cohort_min: 2,
                local: format!(
                    "steps = {}\nmicro_batch = 8\nlearning_rate = \"0.03\"\nwarmup_steps = 5\nweight_decay = \"0\"\n",
                    options.cli.local_steps
                ),
                strategy: "[strategy.fed-avg]\nrate = \"1\"\n",
            },
            ModeName::Distributed => joint(format!("{{ distributed = {{ colluding = {colluding} }} }}")),
            ModeName::Hybrid => {
                let floor = options.epsilon_floor;
                joint(format!("{{ hybrid = {{ colluding = {colluding}, epsilon_floor = \"{floor}\" }} }}"))
            }
        }
    }
}

/// Blocks, and adapters where a tier trains them. The federation without its small institutions has the same model as the mixed one. Adam
/// takes steps of full size in coordinates that are mostly noise, and an adapter carries them into every layer: it is scaled down.
fn depth(options: &Options) -> &'static str {
    match options.tiers {
        None => "layers = 1",
        Some(_) => "layers = 2\nadapter = { rank = 4, alpha = 1 }",
    }
}

/// The tiers of a mixed federation: the first institutions train everything, the others what the plan says.
fn tiers(options: &Options, ids: &[ClientId]) -> String {
    let Some(tiers) = options.tiers else { return String::new() };
    let (top, low) = (tiers.full, tiers.full + tiers.top);
    let tier = |name: &str, trains: &str, who: &[ClientId]| {
        let ids: Vec<_> = who.iter().map(|id| format!("\"{id}\"")).collect();
        format!("\n[[tiers]]\nname = \"{name}\"\ntrains = [{trains}]\ninstitutions = [{}]\n", ids.join(", "))
    };
    let mut out = tier("full", "\"full\"", &ids[..top]);
    if tiers.top > 0 {
        out.push_str(&tier("top-layers", "{ layers = { from = 1, to = 2 } }", &ids[top..low]));
    }
    if tiers.low > 0 {
        out.push_str(&tier("adapters", "\"lora-b\", \"heads-and-biases\"", &ids[low..]));
    }
    out
}

/// The plan file's text, for institutions of these ids in order.
pub(crate) fn toml(options: &Options, world: &World, ids: &[ClientId]) -> String {
    let classes: Vec<String> = world.labels.names().iter().map(|n| format!("{n:?}")).collect();
    let unit = if world.users { "user" } else { "record" };
    let (cli, shape) = (&options.cli, Shape::of(options));
    let path = match cli.clip_path {
        PathName::Exact => "\"exact\"",
        PathName::BookKeeping => "{ book-keeping = {} }",
    };
    format!(
        "# The demo's task. `concordat-server plan check` explains it.\n\
         federation = \"{FEDERATION}\"\nrounds = {}\nshards = {}\nbits = {}\ncohort_min = {}\nn_max = {}\ninitial_seed = {}\n\n\
         [committee]\ndecryptors = {}\ncorrupt = {}\n\n\
         [model]\nvocab = {VOCABULARY}\nmax_tokens = {MAX_TOKENS}\nwidth = 32\nheads = 4\n{}\nhidden = 64\nclasses = [{}]\n\n\
         [privacy]\nunit = \"{unit}\"\nmode = {}\nepsilon = \"{}\"\ndelta = \"0.00001\"\nsampling_rate = \"{SAMPLING_RATE}\"\n\
         grid_bits = {}\npath = {path}\n\n\
         [local]\n{}\n\
         {}\n\
         [deadlines]\nselecting_ms = 10000\nreporting_ms = 180000\ncertifying_ms = 30000\nopening_ms = 30000\n{}",
        options.rounds,
        match cli.shards {
            Shards::Count(count) => count,
            Shards::Mixed => 1,
        },
        shape.bits,
        shape.cohort_min,
        cli.institutions,
        cli.seed,
        options.committee.decryptors,
        options.committee.corrupt,
        depth(options),
        classes.join(", "),
        shape.mode,
        options.epsilon,
        shape.grid_bits,
        shape.local,
        shape.strategy,
        tiers(options, ids),
    )
}

/// The settings of an institution's client.
pub(crate) fn client_settings(world: &World) -> String {
    let user = if world.users { "user_field = \"user\"\n" } else { "" };
    format!(
        "exit_when_task_ends = true\nthreads = 1\nreconnect_max_s = 5\n\n[data]\npath = \"records.jsonl\"\nname = \"sms\"\ntext_field = \"text\"\nlabel_field = \"label\"\n{user}"
    )
}

/// The institution's own limits. The lifetime cap is charged by the filter over all tasks, whose bound is looser than the figure of
/// one task, so it lies above the task's budget. In mode distributed own noise is only a share, so what it is worth alone has no cap that
/// could be named beforehand (privacy.md D10).
pub(crate) fn site_policy(options: &Options, world: &World) -> String {
    let most = |epsilon: Decimal| Decimal::ceil(epsilon.to_f64() * 1.5, 6).unwrap_or(epsilon).to_string();
    let (lifetime, own) = match options.cli.mode {
        ModeName::Local => (most(options.epsilon), String::new()),
        ModeName::Hybrid => (most(options.epsilon_floor), format!("own_epsilon_cap = \"{}\"\n", options.epsilon_floor)),
        ModeName::Distributed => ("1000".to_owned(), "own_epsilon_cap = \"none\"\n".to_owned()),
    };
    format!(
        "max_eps_total = \"{lifetime}\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"0.01\"\ncohort_min = 2\nallow_record_unit = {}\n{own}",
        !world.users
    )
}
