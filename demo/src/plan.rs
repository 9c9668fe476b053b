//! The plan of the demo's task, as an administrator would write it.

use crate::data::World;
use crate::options::Options;

/// Probability with which each unit enters each step. From about here on, larger samples no longer buy less noise per step.
const SAMPLING_RATE: &str = "0.3";
/// Noised steps of one round.
const LOCAL_STEPS: u32 = 10;
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

/// The plan file's text.
pub(crate) fn toml(options: &Options, world: &World) -> String {
    let classes: Vec<String> = world.labels.names().iter().map(|n| format!("{n:?}")).collect();
    let unit = if world.users { "user" } else { "record" };
    let cli = &options.cli;
    format!(
        "# The demo's task. `concordat-server plan check` explains it.\n\
         federation = \"{FEDERATION}\"\nrounds = {}\nshards = {}\nbits = 16\ncohort_min = 2\nn_max = {}\ninitial_seed = {}\n\n\
         [committee]\ndecryptors = {}\ncorrupt = {}\n\n\
         [model]\nvocab = {VOCABULARY}\nmax_tokens = {MAX_TOKENS}\nwidth = 32\nheads = 4\nlayers = 1\nhidden = 64\nclasses = [{}]\n\n\
         [privacy]\nunit = \"{unit}\"\nepsilon = \"{}\"\ndelta = \"0.00001\"\nsampling_rate = \"{SAMPLING_RATE}\"\n\n\
         [local]\nsteps = {LOCAL_STEPS}\nmicro_batch = 8\nlearning_rate = \"0.03\"\nwarmup_steps = 5\nweight_decay = \"0\"\n\n\
         [strategy.fed-avg]\nrate = \"1\"\n\n\
         [deadlines]\nselecting_ms = 10000\nreporting_ms = 180000\ncertifying_ms = 30000\nopening_ms = 30000\n",
        cli.rounds,
        cli.shards,
        cli.institutions,
        cli.seed,
        options.committee.decryptors,
        options.committee.corrupt,
        classes.join(", "),
        options.epsilon,
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
/// one task, so it lies above the task's budget.
pub(crate) fn site_policy(options: &Options, world: &World) -> String {
    let lifetime = protocol::decimal::Decimal::ceil(options.epsilon.to_f64() * 1.5, 6).unwrap_or(options.epsilon);
    format!(
        "max_eps_total = \"{}\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"0.01\"\ncohort_min = 2\nallow_record_unit = {}\n",
        lifetime, !world.users
    )
}
