//! `privacy statement`: the promise of one task as text, JSON or a page (privacy.md D68, D69). Every number comes from the ledger and the
//! plan; a ledger that does not hold, or that the log is ahead of, gives none.

mod page;

use super::answer::{Answer, Failure};
use super::ledger::{mirror, read_all, site_releases};
use super::not_joined;
use super::privacy_audit::kept;
use crate::home::Home;
use crate::identity::Identity;
use crate::mirror::Mirror;
use crate::site_log::{read_policies, releases_of};
use crate::site_policy::SitePolicy;
use clap::{Args, ValueEnum};
use privacy::coalition::Standing;
use privacy::ledger::PrivacyLedger;
use privacy::statement::{Checkpoint, Claim, Empirical, Figure, Language, Multiple, Review, Sentence, Statement, Surroundings};
use protocol::ids::{ClientId, Sha256, TaskId};
use protocol::participant::UploadAt;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(super) struct StatementArgs {
    /// The task
    #[arg(long)]
    task: TaskId,
    /// The dataset, where more than one was used in the task
    #[arg(long, value_name = "ID")]
    dataset: Option<Sha256>,
    /// Language of the text; a page has both
    #[arg(long, value_enum, default_value_t = Tongue::En)]
    language: Tongue,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tongue {
    /// English
    En,
    /// 中文
    Zh,
}

impl Tongue {
    fn language(self) -> Language {
        match self {
            Self::En => Language::English,
            Self::Zh => Language::Chinese,
        }
    }
}

pub(super) fn run(home: &Home, args: &StatementArgs) -> Result<Answer, Failure> {
    let identity = Identity::load(home).map_err(|e| not_joined(&e))?;
    let mirror = mirror(home)?.ok_or_else(|| Failure::trouble_text("no_log", "there is no copy of the log, which holds the plan"))?;
    let ledger = ledger(home, args)?;
    let statement = make(home, &mirror, &ledger, args.task, identity.institution)?;
    if statement.institution_id != identity.client {
        return Err(Failure::refused_text("other_institution", "the ledger belongs to another institution"));
    }
    let language = args.language.language();
    let (words, page) = (text(&statement, language), page::render(&statement));
    Ok(Answer::table([]).with_data(&data(&statement)).with_text(words).with_page(page))
}

/// Promises first, then every field on a line of its own, lists below their label.
fn text(statement: &Statement, language: Language) -> String {
    let sentences = statement.sentences(language).into_iter().map(|s| s.text + "\n");
    let rows = statement.rows(language).into_iter().map(|r| match r.value.as_slice() {
        [one] => format!("{}: {one}", r.label),
        many => format!("{}:\n  - {}", r.label, many.join("\n  - ")),
    });
    sentences.chain(rows).collect::<Vec<_>>().join("\n")
}

/// The ledger that registered the task. While one does not hold, none is believed to be the one.
fn ledger(home: &Home, args: &StatementArgs) -> Result<PrivacyLedger, Failure> {
    let mut found = Vec::new();
    for shown in read_all(home)? {
        let ledger = shown.loaded.map_err(|e| Failure::refused("bad_ledger", &e))?.ledger;
        let asked = args.dataset.is_none_or(|d| d == ledger.terms().dataset);
        if asked && ledger.task(args.task).is_some() {
            found.push(ledger);
        }
    }
    let more = found.len() > 1;
    match found.pop() {
        Some(ledger) if !more => Ok(ledger),
        Some(_) => Err(Failure::trouble_text("more_datasets", "the task used more than one dataset").hint("name one with --dataset")),
        None => Err(Failure::trouble_text("unknown_task", "no ledger here has registered this task")),
    }
}

fn make(home: &Home, mirror: &Mirror, ledger: &PrivacyLedger, task: TaskId, institution: String) -> Result<Statement, Failure> {
    let history = mirror.history();
    let known = history.task(task).and_then(|t| Some((t.plan()?, t.plan_digest())));
    let (plan, digest) = known.ok_or_else(|| Failure::trouble_text("unknown_task", "the copy of the log does not hold the task's plan"))?;
    let me = ledger.terms().institution;
    let spends = history.datasets().get(&(me, ledger.terms().dataset)).map(|d| d.spends.as_slice()).unwrap_or_default();
    let root = mirror.root_at(mirror.size()).map_err(|e| Failure::trouble("no_log", &e))?;
    let checkpoint = Checkpoint { size: mirror.size(), root: Sha256(root.0) };
    let audit =
        kept(home, &digest).map_err(|e| Failure::trouble("bad_audit", &e).hint("audit the plan again with --keep, or remove the file"))?;
    let around = Surroundings { institution, opened: opened(mirror, me, task), checkpoint, audit, uploads: uploads(home, task)? };
    // `Statement::of` compares with the log; scalar releases stand in the site log only.
    let lines = releases_of(&site_releases(home)?, ledger.terms().dataset);
    ledger.compare_releases(&lines).map_err(|e| Failure::refused("no_statement", &e))?;
    Statement::of(ledger, plan, digest, spends, around).map_err(|e| Failure::refused("no_statement", &e))
}

/// By the schedule (privacy.md D12) only if the site policy says so and is, byte for byte, the one under which the task was taken on each time
/// that a process began. Whoever edits the file in the middle of a task claims less for all of it.
fn uploads(home: &Home, task: TaskId) -> Result<UploadAt, Failure> {
    let taken_on = read_policies(home, task).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let Ok((policy, hash)) = SitePolicy::read(&home.site_policy()) else { return Ok(UploadAt::Ready) };
    let always = !taken_on.is_empty() && taken_on.iter().all(|h| *h == hash);
    Ok(if always { policy.upload_at } else { UploadAt::Ready })
}

/// Rounds of the task whose sum was opened with an update of this institution in it.
fn opened(mirror: &Mirror, me: ClientId, task: TaskId) -> u64 {
    let Some(known) = mirror.history().task(task) else { return 0 };
    let with_us = known.rounds().values().filter(|round| {
        round.groups.values().any(|g| {
            let ours = |h| g.accepted.get(h).is_some_and(|(who, ..)| *who == me);
            g.result.is_some() && g.members().iter().any(ours)
        })
    });
    u64::try_from(with_us.count()).unwrap_or(u64::MAX)
}

/// Every field by its name. Taken apart without a rest, so that a new field does not compile until it is told.
fn data(s: &Statement) -> Value {
    let Statement {
        institution,
        institution_id,
        federation,
        task,
        dataset,
        unit,
        promise,
        spent,
        lifetime,
        replace_one,
        rdp,
        groups,
        institutions,
        coalition,
        basis,
        executed,
        rounds_registered,
        steps_per_round,
        rounds,
        rounds_opened,
        releases,
        lemma_s,
        committee,
        accountant,
        base,
        audit,
        uploads,
        plan,
        ledger_counter,
        ledger_head,
        checkpoint,
    } = s;
    let multiple = |m: &Multiple| json!({ "k": m.k, "epsilon": figure(m.epsilon), "delta": promise.delta });
    let review = match lemma_s {
        Review::Pending => "pending review",
    };
    let sentences = sentences(s);
    let words = |key: &str| s.rows(Language::English).into_iter().find(|r| r.key == key).map(|r| r.value).unwrap_or_default();
    json!({
        "sentences": sentences,
        "institution": { "name": institution, "id": institution_id }, "federation": federation, "task": task, "dataset": dataset,
        "unit": unit, "neighbours": "add-remove", "epsilon": promise.epsilon, "delta": promise.delta, "epsilon_spent": spent,
        "lifetime": { "epsilon": lifetime.epsilon.map_or(Figure::Unbounded.to_string(), |e| e.to_string()), "epsilon_cap": lifetime.cap,
            "delta": lifetime.delta, "order": lifetime.order, "charge": if lifetime.own_cap.is_some() { "coalition" } else { "own" },
            "own_epsilon_cap": lifetime.own_cap },
        "epsilon_replace_one": figure(*replace_one), "rdp": { "epsilon": figure(rdp.epsilon), "order": rdp.order.to_string() },
        "own_epsilon": promise.epsilon,
        "coalition": { "epsilon": coalition.map(|c| figure(c.epsilon)), "shares": coalition.map(|c| c.shares),
            "colluding": coalition.map(|c| c.colluding), "standing": coalition.map(|c| standing(c.standing)),
            "cohort_min": basis.cohort_min, "lemma_s": review },
        "groups": groups.iter().map(multiple).collect::<Vec<_>>(),
        "institutions": institutions.iter().map(multiple).collect::<Vec<_>>(),
        "covers": words("covers"), "does_not_cover": words("does_not_cover"), "assumes": words("assumes"),
        "mechanism": { "mode": basis.mode.name(), "noise": basis.noise, "path": executed.clip_path(), "nu": executed.allowance(), "clip": executed.clip,
            "clip_function": executed.clip_function, "grid_bits": executed.grid_bits, "sensitivity_ratio": s.sensitivity_ratio(),
            "sigma_grid": s.sigma_grid(), "noise_multiplier": executed.noise_multiplier, "sampling_rate": executed.sampling_rate,
            "declared_units": executed.declared_units, "dimension": executed.dimension, "bits": basis.bits,
            "rounds": rounds_registered, "steps_per_round": steps_per_round, "passes": s.passes() },
        "sealing": { "parameter_set": protocol::params::PS_A, "decryptors": committee.decryptors, "corrupt": committee.corrupt },
        "accountant": accountant, "sampling": { "implemented": "poisson", "assumed": "poisson" },
        "rounds": { "registered": rounds_registered, "reserved": rounds.reserved, "lost": rounds.lost, "open": rounds.open,
            "sealed": rounds.sealed, "sent": rounds.sent, "void": rounds.void, "opened": rounds_opened },
        "releases": { "paid": releases.paid, "values": releases.values, "lost": releases.lost,
            "rho": releases.rho.map_or(Figure::Unbounded.to_string(), |r| r.to_string()) },
        "tuning": words("tuning").join(" "), "pretraining": { "base": base }, "empirical": audit.map(empirical), "plan": plan,
        "upload_at": match uploads { UploadAt::Ready => "ready", UploadAt::Scheduled => "scheduled" },
        "ledger": { "counter": ledger_counter, "head": ledger_head },
        "checkpoint": { "size": checkpoint.size, "root": checkpoint.root },
    })
}

fn sentences(s: &Statement) -> Vec<Value> {
    let both = s.sentences(Language::English).into_iter().zip(s.sentences(Language::Chinese));
    let one = |(en, zh): (Sentence, Sentence)| {
        let claim = match en.claim {
            Claim::Promise => "promise",
            Claim::PendingReview => "pending review",
        };
        json!({ "adversary": en.adversary.name(), "epsilon": figure(Figure::Epsilon(en.epsilon)), "delta": s.promise.delta, "claim": claim,
            "en": en.text, "zh": zh.text })
    };
    both.map(one).collect()
}

fn standing(s: Standing) -> &'static str {
    match s {
        Standing::PendingReview => "pending review",
        Standing::Published => "published",
    }
}

fn empirical(a: Empirical) -> Value {
    json!({ "audit": a.id, "epsilon_lower_95": a.epsilon_lower, "verdict": a.verdict.name() })
}

/// ε as text: exact decimals, `inf` where there is no bound.
fn figure(f: Figure) -> String {
    f.to_string()
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
