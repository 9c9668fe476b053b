//! `release`: the model's files, its signature, the administrators' word, and the proof that it stands in the log. Nothing reaches the
//! directory asked for before a quorum of witnesses has cosigned the entry (audit.md A33 d).

mod gates;
mod proof;
pub(super) mod stage;

use super::output::{Failure, Output};
use super::{Admin, call, heard, unexpected};
use crate::admin::{AdminReply, AdminRequest};
use crate::layout::Layout;
use crate::model_signing::ReleaseKey;
use crate::{durable, init};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use gates::{GateError, Stated};
use protocol::decimal::Decimal;
use protocol::ids::{LeafIndex, RoundId, Sha256, SnapshotDigest, TaskId};
use protocol::plan::GateCode;
use protocol::release::{OverrideReason, Release, Withdrawal, WithdrawalReason};
use protocol::statement::Statement;
use serde_json::json;
use stage::{Stage, StageError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the published checkpoint is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Largest evaluation: a report, not its records.
const MAX_EVALUATION: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    admin: Admin,
    /// File with the release key, made by `release-key`
    #[arg(long, required_unless_present = "approve")]
    release_key: Option<PathBuf>,
    /// Directory to make: `model` is given out, `evidence` proves its history
    #[arg(long, required_unless_present = "approve")]
    out: Option<PathBuf>,
    /// Say so too, as another administrator: the directory `OUT.partial` that the first one's command made
    #[arg(long, value_name = "OUT.partial", conflicts_with_all = ["release_key", "out", "task", "round", "substantial_modification", "figures", "evaluation", "overridden"])]
    approve: Option<PathBuf>,
    /// The task; the newest one unless given
    #[arg(long)]
    task: Option<TaskId>,
    /// The round whose model it is; the last closed one unless given
    #[arg(long)]
    round: Option<u64>,
    /// Say that it is a substantial modification of a model that was released before
    #[arg(long)]
    substantial_modification: bool,
    /// A figure that no log shows, for a gate of the plan: loss, accuracy or macro-f1; repeatable
    #[arg(long = "figure", value_name = "CODE=NUMBER", value_parser = gates::figure)]
    figures: Vec<(GateCode, Decimal)>,
    /// File that says how these figures were measured; its hash goes into the log, and it into the evidence
    #[arg(long, value_name = "FILE")]
    evaluation: Option<PathBuf>,
    /// Release the model although it does not pass every gate; the reason is logged
    #[arg(long = "override", value_enum, value_name = "CODE")]
    overridden: Option<Override>,
    /// Seconds to wait for the witnesses
    #[arg(long, default_value_t = 900)]
    timeout_s: u64,
}

#[derive(Debug, Args)]
pub(super) struct WithdrawArgs {
    #[command(flatten)]
    admin: Admin,
    /// Digest of the released weights
    #[arg(long, value_name = "DIGEST")]
    snapshot: SnapshotDigest,
    /// The task that gave it
    #[arg(long)]
    task: TaskId,
    /// Why
    #[arg(long, value_enum)]
    reason: Reason,
}

/// Why a model is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// A better one was released
    Superseded,
    /// It harms, or may
    Harmful,
    /// It does less than was measured
    Performance,
    /// The promise of privacy does not hold
    Privacy,
    /// Data or a legal basis is gone
    LegalBasis,
}

impl From<Reason> for WithdrawalReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Superseded => Self::Superseded,
            Reason::Harmful => Self::Harmful,
            Reason::Performance => Self::Performance,
            Reason::Privacy => Self::Privacy,
            Reason::LegalBasis => Self::LegalBasis,
        }
    }
}

/// Why gates are overridden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Override {
    /// It goes to those who study it, and into no use
    Research,
    /// It replaces a released model that is worse
    Correction,
    /// An authority asked for it
    Authority,
    /// The gate is judged to be wrong
    Judgement,
}

impl From<Override> for OverrideReason {
    fn from(reason: Override) -> Self {
        match reason {
            Override::Research => Self::Research,
            Override::Correction => Self::Correction,
            Override::Authority => Self::Authority,
            Override::Judgement => Self::Judgement,
        }
    }
}

/// Signs the withdrawal here, where the administrator's key is, and sends it.
pub(super) fn withdraw(args: &WithdrawArgs, output: &Output) -> Result<(), Failure> {
    let key = init::read_admin_key(&args.admin.admin_key).map_err(Failure::trouble)?;
    let asked = AdminRequest::Released { task: args.task, snapshot: args.snapshot };
    let AdminReply::Logged { index: release, .. } = call(&args.admin.dir.dir, &asked)? else { return Err(unexpected()) };
    let said = Withdrawal { task: args.task, snapshot: args.snapshot, reason: args.reason.into(), release };
    let statement = Statement::sign(&said, &key);
    let heard = heard(&args.admin.dir.dir, &AdminRequest::Withdraw { statement })?;
    let index = heard.index.ok_or_else(unexpected)?;
    heard.tell(json!({ "index": index, "snapshot": args.snapshot }), &format!("entry {index} withdraws {}", args.snapshot), output);
    Ok(())
}

/// Sends a review that was signed elsewhere.
pub(super) fn review(dir: &Path, file: &Path, output: &Output) -> Result<(), Failure> {
    let bytes = durable::read_limited(file, protocol::statement::MAX_PAYLOAD as u64).map_err(Failure::trouble)?;
    let statement: Statement = protocol::codec::decode(&bytes, protocol::statement::MAX_PAYLOAD).map_err(Failure::trouble)?;
    let AdminReply::Logged { index, .. } = call(dir, &AdminRequest::Review { statement })? else { return Err(unexpected()) };
    output.value(&json!({ "index": index }), &format!("entry {index} records the review"));
    Ok(())
}

/// Why a release is not complete.
#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error("the log's files do not prove the release entry")]
    Unproved,
    #[error("{0} already exists; a release is never written over")]
    Exists(PathBuf),
    #[error("entry {0} awaits its witnesses; run the same command again to go on")]
    Awaiting(u64),
    #[error("{have} of {need} administrators have signed this release; another one runs `concordat-server release --approve {}`", stage.display())]
    Approvals { have: usize, need: u16, stage: PathBuf },
    #[error("{0} holds no release that was made ready; give the directory OUT.partial of the first administrator's command")]
    NoStage(PathBuf),
}

pub(super) fn make_key(out: &Path, output: &Output) -> Result<(), Failure> {
    let key = ReleaseKey::make(out).map_err(Failure::trouble)?;
    let hint = key.hint();
    let text = format!(
        "the release key is made; keep it apart from every other key\ngive out its public half, {}\n{hint}",
        out.with_extension("pub").display()
    );
    output.value(&json!({ "key": hint, "public": key.public_pem() }), &text);
    Ok(())
}

pub(super) fn run(args: &ReleaseArgs, output: &Output) -> Result<(), Failure> {
    let layout = Layout::new(&args.admin.dir.dir);
    let (stage, out, release) = match (&args.approve, &args.out, &args.release_key) {
        (Some(partial), ..) => {
            let (stage, out) = Stage::at(partial).ok_or_else(|| Failure::trouble(ReleaseError::NoStage(partial.clone())))?;
            let made = stage.release(&layout).map_err(Failure::trouble)?;
            (stage, out, made.ok_or_else(|| Failure::trouble(ReleaseError::NoStage(partial.clone())))?)
        }
        (None, Some(out), Some(key)) => {
            let stage = Stage::of(out);
            let release = make_ready(args, &layout, out, &stage, key)?;
            (stage, out.clone(), release)
        }
        (None, ..) => return Err(Failure::trouble(ReleaseError::NoStage(PathBuf::new()))),
    };
    let places = say(args, &stage, &release)?;
    let index = places.last().copied().ok_or_else(unexpected)?;
    wait(args, index)?;
    let AdminReply::Trust { words, .. } = call(&args.admin.dir.dir, &AdminRequest::Trust {})? else { return Err(unexpected()) };
    proof::prove(&layout, &places, &words, &stage.evidence()).map_err(Failure::trouble)?;
    stage.publish(&out).map_err(Failure::trouble)?;
    let gates: Vec<String> = release.gates.iter().map(|g| format!("\n{g}")).collect();
    let text = format!("entry {index} is under a quorum of witnesses\nthe model is in {}{}", out.display(), gates.concat());
    output.value(&json!({ "index": index, "out": out, "approvals": places, "gates": release.gates }), &text);
    Ok(())
}

/// Makes files and signature ready, if an earlier call has not.
fn make_ready(args: &ReleaseArgs, layout: &Layout, out: &Path, stage: &Stage, key: &Path) -> Result<Release, Failure> {
    if out.exists() {
        return Err(Failure::trouble(ReleaseError::Exists(out.to_owned())));
    }
    let key = ReleaseKey::read(key).map_err(Failure::trouble)?;
    let evaluation = args.evaluation.as_deref().map(read_evaluation).transpose().map_err(Failure::input)?;
    match stage.release(layout).map_err(Failure::trouble)? {
        Some(made) => match difference(args, evaluation.as_deref(), &key, &made) {
            None => Ok(made),
            Some(what) => Err(Failure::trouble(StageError::Another(stage.path().to_owned(), what))),
        },
        None => stage.make(layout, asked_for(args, &key)?, evaluation.as_deref(), &key).map_err(Failure::input),
    }
}

/// Sends the administrator's word; a repeated call sends the same bytes, and the server answers with the same entry. Answers the entries of as
/// many administrators as must say so, the last of which makes it a release.
fn say(args: &ReleaseArgs, stage: &Stage, release: &Release) -> Result<Vec<LeafIndex>, Failure> {
    let admin_key = init::read_admin_key(&args.admin.admin_key).map_err(Failure::trouble)?;
    let statement = stage.word(release, &admin_key).map_err(Failure::trouble)?;
    let reply = call(&args.admin.dir.dir, &AdminRequest::Release { statement })?;
    let AdminReply::Logged { mut approvals, need, .. } = reply else { return Err(unexpected()) };
    let have = approvals.len();
    if have < usize::from(need) {
        return Err(Failure::unfinished(ReleaseError::Approvals { have, need, stage: stage.path().to_owned() }));
    }
    approvals.truncate(usize::from(need));
    Ok(approvals)
}

/// Where a release that was made ready is not the one that these arguments ask for: what is signed already is not changed by asking again, and
/// nobody shall believe that it was.
fn difference(args: &ReleaseArgs, evaluation: Option<&[u8]>, key: &ReleaseKey, made: &Release) -> Option<&'static str> {
    let stated: Vec<_> = made.gates.iter().filter(|g| !g.code.is_in_the_log()).map(|g| (g.code, g.figure)).collect();
    let figures = stated.iter().all(|f| args.figures.contains(f)) && args.figures.iter().all(|f| stated.contains(f));
    let checks = [
        (args.task.is_none_or(|t| t == made.task), "--task"),
        (args.round.is_none_or(|r| RoundId(r) == made.last), "--round"),
        (made.key == key.hint(), "--release-key"),
        (figures, "--figure"),
        (made.evaluation == evaluation.map(|bytes| Sha256(protocol::hash::sha256(&[bytes]))), "--evaluation"),
        (made.overridden == args.overridden.map(Into::into), "--override"),
        (made.substantial == args.substantial_modification, "--substantial-modification"),
    ];
    checks.into_iter().find(|(same, _)| !same).map(|(_, name)| name)
}

fn read_evaluation(path: &Path) -> anyhow::Result<Vec<u8>> {
    durable::read_limited(path, MAX_EVALUATION).with_context(|| format!("the evaluation {} cannot be read", path.display()))
}

/// The release as the server's log gives it; its signature is not made yet.
fn asked_for(args: &ReleaseArgs, key: &ReleaseKey) -> Result<Release, Failure> {
    let asked = AdminRequest::Releasable { task: args.task, round: args.round.map(RoundId) };
    let AdminReply::Releasable { model } = call(&args.admin.dir.dir, &asked)? else { return Err(unexpected()) };
    let stated = Stated { figures: &args.figures, evaluated: args.evaluation.is_some(), overridden: args.overridden.is_some() };
    let failed = |e: GateError| if matches!(e, GateError::NotPassed(_)) { Failure::checked("gates", e) } else { Failure::trouble(e) };
    let gates = gates::judge(&model.gates, &stated).map_err(failed)?;
    Ok(Release {
        task: model.task,
        plan: model.plan,
        snapshot: model.snapshot,
        base: model.base,
        first: model.first,
        last: model.last,
        key: key.hint(),
        signature: Sha256([0; 32]),
        substantial: args.substantial_modification,
        gates,
        evaluation: None,
        overridden: args.overridden.map(Into::into),
        after: model.after,
    })
}

/// Until the entry is under a published checkpoint; that one has its quorum.
fn wait(args: &ReleaseArgs, index: LeafIndex) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(args.timeout_s);
    loop {
        let AdminReply::Status { status } = call(&args.admin.dir.dir, &AdminRequest::Status {})? else { return Err(unexpected()) };
        if status.published > index.0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Failure::unfinished(ReleaseError::Awaiting(index.0)));
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use protocol::ids::PlanDigest;
    use protocol::plan::Gate;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: ReleaseArgs,
    }

    fn asked(more: &[&str]) -> ReleaseArgs {
        let fixed = ["release", "--dir", "srv", "--admin-key", "admin.key", "--release-key", "release.key", "--out", "out"];
        Only::try_parse_from([&fixed[..], more].concat()).map(|only| only.args).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn another_call_goes_on_with_what_was_signed_only_if_it_asks_for_just_that() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| ReleaseKey::make(&dir.path().join(name)).unwrap();
        let (own, other) = (key("own.key"), key("other.key"));
        let gate =
            |code, threshold: &str, figure: &str| Gate { code, threshold: threshold.parse().unwrap() }.judge(figure.parse().unwrap());
        let made = Release {
            task: TaskId([7; 16]),
            plan: PlanDigest([1; 32]),
            snapshot: SnapshotDigest([2; 32]),
            base: SnapshotDigest([3; 32]),
            first: RoundId(1),
            last: RoundId(4),
            key: own.hint(),
            signature: Sha256([4; 32]),
            substantial: false,
            gates: vec![gate(GateCode::Epsilon, "3", "2.5"), gate(GateCode::Accuracy, "0.9", "0.93")],
            evaluation: Some(Sha256(protocol::hash::sha256(&[b"measured so"]))),
            overridden: None,
            after: None,
        };
        let (so, figure) = (Some(&b"measured so"[..]), ["--figure", "accuracy=0.93", "--evaluation", "report.json"]);
        let task = made.task.to_hex();
        let with = |more: &[&str], evaluation, key| difference(&asked(&[&figure[..], more].concat()), evaluation, key, &made);
        assert_eq!(with(&[], so, &own), None);
        assert_eq!(with(&["--task", &task, "--round", "4", "--timeout-s", "0"], so, &own), None);
        assert_eq!(with(&[], Some(&b"measured otherwise"[..]), &own), Some("--evaluation"));
        assert_eq!(with(&[], None, &own), Some("--evaluation"), "the first call named one");
        assert_eq!(with(&["--round", "3"], so, &own), Some("--round"));
        assert_eq!(with(&["--task", &"08".repeat(16)], so, &own), Some("--task"));
        assert_eq!(with(&["--substantial-modification"], so, &own), Some("--substantial-modification"));
        assert_eq!(with(&["--override", "research"], so, &own), Some("--override"));
        assert_eq!(with(&["--figure", "loss=1"], so, &own), Some("--figure"));
        assert_eq!(with(&[], so, &other), Some("--release-key"));
        assert_eq!(difference(&asked(&[]), so, &own, &made), Some("--figure"), "the first call named one");
        let plain = Release { gates: Vec::new(), evaluation: None, ..made.clone() };
        assert_eq!(difference(&asked(&[]), None, &own, &plain), None);
        assert_eq!(difference(&asked(&[]), so, &own, &plain), Some("--evaluation"));
    }
}
