//! The command line of `concordat-server` (operations.md section 1).

mod bench;
mod chunks;
mod counts;
mod export;
mod log;
mod member;
mod output;
mod release;
mod trust;

use crate::admin::{self, AdminReply, AdminRequest};
use crate::config::Config;
use crate::init::{self, Administrators};
use crate::plan_file::{AnyPlanFile, Prepared};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use output::{Failure, Output};
use protocol::codec;
use protocol::ids::{PublicKey, Sha256, TaskId};
use protocol::plan::{Plan, PlanApproval, guaranteed_shares};
use protocol::statement::Statement;
use protocol::trust::{PolicyApproval, TrustDocument, fingerprint};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use train::hf::base::Base;

/// The aggregator of a Concordat federation, and its administration
#[derive(Debug, Parser)]
#[command(name = "concordat-server", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// The server's directory.
#[derive(Debug, Args)]
struct Dir {
    /// Directory of the server
    #[arg(long)]
    dir: PathBuf,
}

/// An administrator's key.
#[derive(Debug, Args)]
struct Admin {
    #[command(flatten)]
    dir: Dir,
    /// File with the administrator's key; it is read here and never sent
    #[arg(long)]
    admin_key: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new federation
    Init {
        #[command(flatten)]
        dir: Dir,
        /// Name of the federation: a-z, 0-9 and '-'
        #[arg(long)]
        federation: String,
        /// Where the first administrator's key goes; keep it off this host afterwards
        #[arg(long)]
        admin_key: PathBuf,
        /// Public keys of the other administrators, as `admin-key` prints them, separated by commas
        #[arg(long, value_name = "HEX", value_delimiter = ',')]
        administrators: Vec<PublicKey>,
        /// How many administrators must say the same before it has effect
        #[arg(long, value_name = "M", default_value_t = 1)]
        threshold: u16,
    },
    /// Make an administrator's key, on that administrator's own machine
    AdminKey {
        /// Where the secret key goes; its public half is printed
        #[arg(long)]
        out: PathBuf,
    },
    /// Run the server
    Serve {
        #[command(flatten)]
        dir: Dir,
        /// Configuration file; every key has a default
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Make an enrolment token for an institution
    Invite {
        #[command(flatten)]
        dir: Dir,
        /// Name of the institution: a-z, 0-9 and '-'
        #[arg(long)]
        institution: String,
        /// Hours until the token expires
        #[arg(long, default_value_t = 24)]
        ttl_h: u64,
    },
    /// See and admit institutions, suspend and revoke them
    #[command(subcommand)]
    Member(member::MemberVerb),
    /// Witness policies
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Who administers, and with which key the server speaks
    #[command(subcommand)]
    Trust(trust::TrustVerb),
    /// Plans of tasks
    #[command(subcommand)]
    Plan(PlanVerb),
    /// How things stand
    Status {
        #[command(flatten)]
        dir: Dir,
    },
    /// What a task that counts has found
    ///
    /// Opened sums with their noise: figures with intervals of 95 %, or words. The document is that of the last round, as every institution
    /// has it.
    Counts(counts::CountsArgs),
    /// Sign a model and write its release into the log
    Release(release::ReleaseArgs),
    /// Write a released model as a checkpoint that other programs load, and its adapter
    Export(export::ExportArgs),
    /// Write into the log that a released model shall no longer be used
    Withdraw(release::WithdrawArgs),
    /// Write a review that `concordat-audit review` signed into the log
    Review {
        #[command(flatten)]
        dir: Dir,
        /// The signed review
        file: PathBuf,
    },
    /// Sealed updates of rounds that are over
    #[command(subcommand)]
    Chunks(chunks::ChunksVerb),
    /// The log's own files
    #[command(subcommand)]
    Log(log::LogVerb),
    /// Make the key that signs models
    ReleaseKey {
        /// Where the secret key goes; its public half goes beside it, with the extension `pub`
        #[arg(long)]
        out: PathBuf,
    },
    /// What this machine does
    #[command(subcommand)]
    Bench(bench::BenchVerb),
    /// End the server in order
    Stop {
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    /// Make all present members witnesses, with the usual quorum
    Activate {
        #[command(flatten)]
        admin: Admin,
    },
}

#[derive(Debug, Subcommand)]
enum PlanVerb {
    /// Check a plan file and say what it means
    Check {
        /// The plan file
        file: PathBuf,
        /// Directory of the published checkpoint that the plan file names
        #[arg(long, value_name = "DIR")]
        base: Option<PathBuf>,
    },
    /// Make the signed plan's bytes and the base snapshot from a plan file
    Prepare {
        /// The plan file
        file: PathBuf,
        /// Directory of the published checkpoint that the plan file names: config.json, model.safetensors, tokenizer.json
        #[arg(long, value_name = "DIR")]
        base: Option<PathBuf>,
        /// Directory for `plan.cbor`, `plan.json` and `base.safetensors`, or `base.json` of a plan that counts
        #[arg(long)]
        out: PathBuf,
    },
    /// Sign a prepared plan and open its task
    Propose {
        #[command(flatten)]
        admin: Admin,
        /// Directory that `plan prepare` wrote
        prepared: PathBuf,
    },
}

/// Runs the command line; `args` begins with the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; clap knows which stream and code.
            e.print().ok();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.format);
    match dispatch(cli.verb, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn dispatch(verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Init { dir, federation, admin_key, administrators, threshold } => {
            init_federation(&dir.dir, &federation, &admin_key, &Administrators { others: administrators, threshold }, output)
        }
        Verb::AdminKey { out } => admin_key(&out, output),
        Verb::Serve { dir, config } => serve(&dir.dir, config.as_deref()),
        Verb::Invite { dir, institution, ttl_h } => invite(&dir.dir, institution, ttl_h, output),
        Verb::Member(verb) => member::run(&verb, output),
        Verb::Policy(PolicyVerb::Activate { admin }) => activate(&admin, output),
        Verb::Trust(verb) => trust::run(&verb, output),
        Verb::Plan(PlanVerb::Check { file, base }) => check(&file, base.as_deref(), output),
        Verb::Plan(PlanVerb::Prepare { file, base, out }) => prepare((&file, base.as_deref()), &out, output),
        Verb::Plan(PlanVerb::Propose { admin, prepared }) => propose(&admin, &prepared, output),
        Verb::Status { dir } => status(&dir.dir, output),
        Verb::Counts(args) => counts::run(&args, output),
        Verb::Release(args) => release::run(&args, output),
        Verb::Export(args) => export::run(&args, output),
        Verb::Withdraw(args) => release::withdraw(&args, output),
        Verb::Review { dir, file } => release::review(&dir.dir, &file, output),
        Verb::Chunks(verb) => chunks::run(&verb, output),
        Verb::Log(verb) => log::run(&verb, output),
        Verb::ReleaseKey { out } => release::make_key(&out, output),
        Verb::Bench(verb) => bench::run(&verb, output),
        Verb::Stop { dir } => call(&dir.dir, &AdminRequest::Stop {}).map(|_| output.done("stopped")),
    }
}

fn admin_key(out: &Path, output: &Output) -> Result<(), Failure> {
    let key = init::make_admin_key(out).map_err(Failure::trouble)?;
    let text = format!("the key is made; keep it to yourself\ngive out its public half, {}, before the federation is made", key.to_hex());
    output.value(&serde_json::json!({ "public": key }), &text);
    Ok(())
}

fn init_federation(
    dir: &Path,
    federation: &str,
    admin_key: &Path,
    administrators: &Administrators,
    output: &Output,
) -> Result<(), Failure> {
    let trust = init::init_with(dir, federation, admin_key, administrators).map_err(Failure::trouble)?;
    let hash = TrustDocument::hash(&trust);
    output.value(
        &serde_json::json!({ "federation": federation, "trust": hash, "words": fingerprint(&hash) }),
        &format!("federation {federation} is made; trust document {}\nread these words out when somebody joins", fingerprint(&hash)),
    );
    Ok(())
}

fn serve(dir: &Path, config: Option<&Path>) -> Result<(), Failure> {
    let config = match config {
        Some(path) => Config::read(path),
        None => Config::parse("", Path::new("(defaults)")),
    };
    let config = config.map_err(Failure::trouble)?;
    output::start_logging();
    // A machine that computes other bytes than everybody else must not open sums (crypto.md C68).
    crypto::reference::self_check(&mut bench::OsEntropy).map_err(|e| Failure::daemon(e.into()))?;
    if !crypto::reference::stock_generator_runs() {
        tracing::warn!("no AES instructions: opening takes the slower software path, and the stock library's masks are not compared");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::trouble)?;
    runtime.block_on(crate::serve::run(dir, &config)).map_err(Failure::daemon)
}

fn call(dir: &Path, request: &AdminRequest) -> Result<AdminReply, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::trouble)?;
    let reply = runtime.block_on(admin::call(dir, request)).map_err(Failure::unreachable)?;
    if let AdminReply::Refused { reason } = reply { Err(Failure::refused(reason)) } else { Ok(reply) }
}

fn unexpected() -> Failure {
    Failure::trouble(admin::AdminError::Malformed)
}

/// What came of an administrator's word: done, or what it waits for.
struct Heard {
    /// The entry, where it is known.
    index: Option<u64>,
    have: usize,
    need: u16,
}

impl Heard {
    fn of(reply: &AdminReply) -> Option<Self> {
        match reply {
            AdminReply::Done {} => Some(Self { index: None, have: 1, need: 1 }),
            AdminReply::Logged { index, approvals, need } => Some(Self { index: Some(index.0), have: approvals.len(), need: *need }),
            AdminReply::Token { .. } | AdminReply::Pending { .. } | AdminReply::Policy { .. } | AdminReply::Status { .. } => None,
            AdminReply::Releasable { .. } | AdminReply::Members { .. } | AdminReply::Trust { .. } | AdminReply::Refused { .. } => None,
            AdminReply::Deleted { .. } | AdminReply::Exported { .. } => None,
        }
    }

    fn is_effective(&self) -> bool {
        self.have >= usize::from(self.need)
    }

    /// Says that it is done, or how many others must say the same with the same command.
    fn tell(&self, mut data: serde_json::Value, done: &str, output: &Output) {
        data["effective"] = self.is_effective().into();
        let text = if self.is_effective() {
            done.to_owned()
        } else {
            (data["approvals"], data["needed"]) = (self.have.into(), self.need.into());
            format!(
                "recorded: {} of {} administrators have said so; another one runs the same command with a key of his own",
                self.have, self.need
            )
        };
        output.value(&data, &text);
    }
}

fn heard(dir: &Path, request: &AdminRequest) -> Result<Heard, Failure> {
    Heard::of(&call(dir, request)?).ok_or_else(unexpected)
}

fn invite(dir: &Path, institution: String, ttl_h: u64, output: &Output) -> Result<(), Failure> {
    let request = AdminRequest::Invite { institution: institution.clone(), ttl_s: ttl_h.saturating_mul(3600) };
    let AdminReply::Token { line } = call(dir, &request)? else { return Err(unexpected()) };
    output.value(
        &serde_json::json!({ "institution": institution, "token": line }),
        &format!("send this line to {institution} by a channel that you trust; it works once\n{line}"),
    );
    Ok(())
}

fn activate(admin: &Admin, output: &Output) -> Result<(), Failure> {
    let key = init::read_admin_key(&admin.admin_key).map_err(Failure::trouble)?;
    let AdminReply::Policy { text, replaces } = call(&admin.dir.dir, &AdminRequest::ComposePolicy {})? else { return Err(unexpected()) };
    let hash = Sha256(protocol::hash::sha256(&[text.as_bytes()]));
    let statement = Statement::sign(&PolicyApproval { policy: hash, replaces }, &key);
    let heard = heard(&admin.dir.dir, &AdminRequest::ActivatePolicy { text: text.clone(), statement })?;
    heard.tell(serde_json::json!({ "policy": hash, "text": text }), &format!("in force:\n{text}"), output);
    Ok(())
}

/// Longest plan file: some pages of numbers and what people write beside them.
const MAX_PLAN_FILE: u64 = 1 << 20;

fn read_plan_file(file: &Path) -> Result<AnyPlanFile, Failure> {
    let text = crate::durable::read_text(file, MAX_PLAN_FILE)
        .with_context(|| format!("the plan file {} cannot be read", file.display()))
        .map_err(Failure::input)?;
    AnyPlanFile::parse(&text).map_err(Failure::trouble)
}

fn fresh_task() -> Result<TaskId, Failure> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|_| Failure::trouble(init::InitError::Entropy))?;
    Ok(TaskId(id))
}

fn summary(plan: &Plan) -> serde_json::Value {
    let group = |g: &protocol::plan::GroupPlan| {
        let packing = protocol::params::Packing::derive(plan.part_n_max(), g.bits).ok();
        serde_json::json!({ "group": g.id, "shards": g.shards, "wire_bits_per_parameter": packing.map(|p| p.bits_per_parameter()),
            "information_bound_bits": packing.map(|p| p.slot_bits) })
    };
    serde_json::json!({
        "task": plan.task, "parameters": plan.dimension(), "rounds": plan.rounds, "local_steps": plan.local.steps,
        "optimiser": plan.local.optimiser(), "schedule": plan.local.schedule.unwrap_or_default(), "keep": plan.local.keep.unwrap_or_default(),
        "noise_multiplier": plan.privacy.noise_multiplier, "sampling_rate": plan.privacy.sampling_rate, "epsilon": plan.privacy.epsilon_cap,
        "delta": plan.privacy.delta, "cohort_min": plan.cohort_min, "committee": plan.committee, "quorum": plan.committee.quorum(),
        "mode": plan.privacy.mode, "guaranteed_shares": plan.privacy.mode.joint().and_then(|j| guaranteed_shares(plan.cohort_min, j.colluding)),
        "path": plan.privacy.path, "counts": plan.count, "weighting": plan.weighting, "robustness": plan.robust(),
        "gates": plan.gates(), "base": plan.model.base.as_ref().map(base), "model": plan.model.own,
        "groups": plan.groups.iter().map(group).collect::<Vec<_>>(),
        "tiers": plan.tiers.as_ref().map(|all| all.iter().map(|t| tier(plan, t)).collect::<Vec<_>>()),
    })
}

/// The checkpoint that everybody must have, and how much of the model stays in it.
fn base(b: &protocol::plan::BaseModel) -> serde_json::Value {
    let frozen = b.frozen.len();
    serde_json::json!({
        "config": b.config_digest(), "weights": b.weights, "tokenizer": b.tokenizer, "asks": b.asks, "frozen_tensors": frozen,
    })
}

/// Who trains how much; the noise of a step is over exactly these coordinates.
fn tier(plan: &Plan, t: &protocol::plan::Tier) -> serde_json::Value {
    let parameters: u64 = t.shards.iter().filter_map(|a| plan.shard(a.shard)).map(protocol::plan::ShardSpec::len).sum();
    serde_json::json!({ "tier": t.name, "shards": t.shards, "parameters": parameters, "institutions": t.institutions })
}

/// A plan file's plan, on the checkpoint in this directory if there is one.
fn prepared(file: &Path, base: Option<&Path>, task: TaskId) -> Result<Prepared, Failure> {
    let base = base.map(Base::open).transpose().map_err(Failure::trouble)?;
    read_plan_file(file)?.prepare_on(task, base.as_ref()).map_err(Failure::trouble)
}

fn check(file: &Path, base: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let prepared = prepared(file, base, TaskId([0; 16]))?;
    let value = summary(&prepared.plan);
    output.value(&value, &format!("the plan is valid\n{value:#}"));
    Ok(())
}

fn prepare((file, base): (&Path, Option<&Path>), out: &Path, output: &Output) -> Result<(), Failure> {
    // Administrators sign a prepared plan one after the other: nobody takes it away from under them.
    if out.join("plan.cbor").exists() {
        return Err(Failure::input(anyhow::anyhow!("{} holds a prepared plan already; give another --out", out.display())));
    }
    let prepared = prepared(file, base, fresh_task()?)?;
    let json = serde_json::to_vec_pretty(&prepared.plan).map_err(Failure::trouble)?;
    let base = base_name(&prepared.plan);
    for (name, bytes) in [("plan.cbor", &prepared.bytes), ("plan.json", &json), (base.as_str(), &prepared.base)] {
        crate::durable::replace(&out.join(name), bytes).map_err(Failure::trouble)?;
    }
    let value = summary(&prepared.plan);
    output.value(&value, &format!("written to {}\n{value:#}", out.display()));
    Ok(())
}

/// What the first round starts from, in the directory of a prepared plan.
fn base_name(plan: &Plan) -> String {
    format!("base.{}", plan.snapshot_ending())
}

fn propose(admin: &Admin, prepared: &Path, output: &Output) -> Result<(), Failure> {
    let key = init::read_admin_key(&admin.admin_key).map_err(Failure::trouble)?;
    let plan = crate::durable::read_limited(&prepared.join("plan.cbor"), Plan::MAX_BYTES as u64)
        .with_context(|| format!("{} holds no prepared plan; run `plan prepare` first", prepared.display()))
        .map_err(Failure::input)?;
    let decoded: Plan = codec::decode(&plan, Plan::MAX_BYTES).map_err(Failure::trouble)?;
    let digest = Plan::digest(&plan);
    let statement = Statement::sign(&PlanApproval { task: decoded.task, plan: digest }, &key);
    let snapshot = prepared.join(base_name(&decoded)).canonicalize().map_err(Failure::trouble)?;
    let snapshot_path = snapshot.to_string_lossy().into_owned();
    let heard = heard(&admin.dir.dir, &AdminRequest::Propose { plan: plan.into(), statement, snapshot_path })?;
    heard.tell(serde_json::json!({ "task": decoded.task, "plan": digest }), &format!("task {} is open", decoded.task), output);
    Ok(())
}

fn status(dir: &Path, output: &Output) -> Result<(), Failure> {
    let AdminReply::Status { status } = call(dir, &AdminRequest::Status {})? else { return Err(unexpected()) };
    let text = format!(
        "federation {}\nlog {} entries, {} under a quorum checkpoint\nmembers {}\nconnected {}\ntask {}\nround {} of {}, {}\nnot connected {}",
        status.federation,
        status.log_size,
        status.published,
        status.members.join(" "),
        status.connected.join(" "),
        status.task.map_or("none".to_owned(), |t| t.to_string()),
        status.round.map_or(0, |r| r.0),
        status.rounds,
        status.phase,
        if status.waiting_for.is_empty() { "nobody".to_owned() } else { status.waiting_for.join(" ") },
    );
    let revoked = status.revoked_witnesses.join(" ");
    let text = if revoked.is_empty() {
        text
    } else {
        format!(
            "{text}\nwitness keys that were revoked and that the policy in force names: {revoked}; run `concordat-server policy activate`"
        )
    };
    output.value(&status, &text);
    Ok(())
}
