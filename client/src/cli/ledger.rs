//! `privacy ledger`: what the ledgers hold, whether they hold, and their repair (privacy.md D65). `show` and `verify` change nothing.

use super::answer::{Answer, Failure};
use super::{alone, not_joined};
use crate::files::{self, Item};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, later_statement_keys};
use crate::ledger::{LedgerError, LedgerStore, MAX_FILE};
use crate::mirror::Mirror;
use crate::site_log::{read_releases, releases_of};
use crate::site_policy::SitePolicy;
use clap::{Args, Subcommand};
use privacy::ledger::{Entry, Event, LoadError, Loaded, PrivacyLedger, RepairError, SeenRelease, Terms, default_order};
use protocol::history::DatasetHistory;
use protocol::ids::{ClientId, Sha256};
use protocol::plan::Unit;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct LedgerArgs {
    #[command(subcommand)]
    verb: Option<LedgerVerb>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum LedgerVerb {
    /// Entries and totals
    Show,
    /// Whether every hash, signature and rule holds, and whether the log shows a spend that a ledger lacks
    Verify,
    /// Raise ledgers that were rolled back, copied or lost to what the log shows; `run` then tells the log
    Repair,
}

pub(super) fn run(home: &Home, args: &LedgerArgs) -> Result<Answer, Failure> {
    match args.verb.unwrap_or(LedgerVerb::Show) {
        LedgerVerb::Show => show(home),
        LedgerVerb::Verify => verify(home),
        LedgerVerb::Repair => repair(home),
    }
}

/// A ledger's file as it was read.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) loaded: Result<Loaded, LoadError>,
}

/// All ledgers in the directory.
pub(super) fn read_all(home: &Home) -> Result<Vec<Shown>, Failure> {
    let trouble = |e| Failure::trouble("bad_directory", &e);
    let names = files::names(&home.ledger_dir(), Item::Ledger).map_err(trouble)?;
    let ledgers = names.iter().filter_map(|n| n.strip_suffix(".ledger"));
    let later = later_statement_keys(home).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let read = |name: &str| {
        let bytes = files::read(&home.ledger_dir().join(format!("{name}.ledger")), MAX_FILE, Item::Ledger).map_err(trouble)?;
        Ok(Shown { name: name.to_owned(), loaded: PrivacyLedger::load_signed(&bytes, &later) })
    };
    ledgers.map(read).collect()
}

fn show(home: &Home) -> Result<Answer, Failure> {
    let (mut rows, mut data, mut sound) = (Vec::new(), Vec::new(), true);
    for ledger in read_all(home)? {
        sound &= ledger.loaded.is_ok();
        rows.push((ledger.name.clone(), sentence(&ledger.loaded)));
        let mut value = totals(&ledger.loaded);
        if let Ok(loaded) = &ledger.loaded {
            rows.extend(loaded.entries.iter().map(|e| (e.counter.to_string(), kind(&e.event).to_owned())));
            value["list"] = loaded.entries.iter().map(entry).collect();
        }
        data.push(value);
    }
    Ok(answer(&rows, &json!({ "ledgers": data, "chains_hold": sound }), sound))
}

fn verify(home: &Home) -> Result<Answer, Failure> {
    let me = identity(home)?;
    let mirror = mirror(home)?;
    let (mut rows, mut data, mut sound) = (Vec::new(), Vec::new(), true);
    let ledgers = read_all(home)?;
    let seen = site_releases(home)?;
    for ledger in &ledgers {
        let (verdict, holds) = judge(&ledger.loaded, me, mirror.as_ref(), &seen);
        sound &= holds;
        let mut value = totals(&ledger.loaded);
        value["verified"] = holds.into();
        value["verdict"] = verdict.clone().into();
        value["compared_with_log"] = mirror.is_some().into();
        rows.push((ledger.name.clone(), verdict));
        data.push(value);
    }
    for dataset in lost(&ledgers, me, mirror.as_ref(), &seen) {
        sound = false;
        rows.push((dataset.to_string(), "gone: the log, or the site log, shows spends from this dataset".to_owned()));
        data.push(json!({ "dataset": dataset, "verified": false, "verdict": "gone" }));
    }
    Ok(answer(&rows, &json!({ "ledgers": data, "verified": sound }), sound))
}

/// Scalar releases that the site log shows, with their datasets.
pub(super) fn site_releases(home: &Home) -> Result<Vec<(Sha256, SeenRelease)>, Failure> {
    read_releases(home).map_err(|e| Failure::trouble("bad_directory", &e))
}

/// Whether a ledger is whole, ours, and not behind the log or the site log.
fn judge(
    loaded: &Result<Loaded, LoadError>,
    me: Option<ClientId>,
    mirror: Option<&Mirror>,
    seen: &[(Sha256, SeenRelease)],
) -> (String, bool) {
    let ledger = match loaded {
        Err(error) => return (format!("does not hold: {error}"), false),
        Ok(loaded) => &loaded.ledger,
    };
    let terms = ledger.terms();
    if me.is_some_and(|me| me != terms.institution) {
        return ("belongs to another institution".to_owned(), false);
    }
    if let Err(alarm) = ledger.compare_releases(&releases_of(seen, terms.dataset)) {
        return (alarm.to_string(), false);
    }
    let shown = mirror.and_then(|m| m.history().datasets().get(&(terms.institution, terms.dataset)));
    match ledger.compare(shown.map(|d| d.spends.as_slice()).unwrap_or_default()) {
        Err(alarm) => (alarm.to_string(), false),
        Ok(_) if mirror.is_none() => ("holds; there is no copy of the log to compare with".to_owned(), true),
        Ok(_) => ("holds, and has every spend that the log shows".to_owned(), true),
    }
}

/// Datasets that were spent from, by the log or the site log.
pub(super) fn spent_from(me: Option<ClientId>, mirror: Option<&Mirror>, seen: &[(Sha256, SeenRelease)]) -> BTreeSet<Sha256> {
    let shown = mirror.iter().flat_map(|m| m.history().datasets());
    let spent = shown.filter(|((who, _), d)| Some(*who) == me && !d.spends.is_empty()).map(|((_, dataset), _)| *dataset);
    spent.chain(seen.iter().map(|(dataset, _)| *dataset)).collect()
}

/// Those of them that have no ledger here.
fn lost(ledgers: &[Shown], me: Option<ClientId>, mirror: Option<&Mirror>, seen: &[(Sha256, SeenRelease)]) -> Vec<Sha256> {
    spent_from(me, mirror, seen).into_iter().filter(|d| ledgers.iter().all(|l| l.name != d.to_string())).collect()
}

fn repair(home: &Home) -> Result<Answer, Failure> {
    let _lock = alone(home)?;
    let keys = Arc::new(Keys::load(home).map_err(|e| not_joined(&e))?);
    let mirror =
        Mirror::open(home).map_err(|e| Failure::trouble("no_log", &e).hint("a repair goes by this institution's copy of the log"))?;
    let (mut rows, mut data, seen, me) = (Vec::new(), Vec::new(), site_releases(home)?, keys.client());
    for dataset in spent_from(Some(me), Some(&mirror), &seen) {
        let shown = mirror.history().datasets().get(&(me, dataset));
        let lines = releases_of(&seen, dataset);
        let unit = shown.map(|d| d.declaration.unit).or(lines.first().map(|l| l.unit));
        let terms = terms(home, &keys, dataset, shown, unit.unwrap_or(Unit::User))?;
        let mut store = LedgerStore::open(home, terms, Arc::clone(&keys)).map_err(|e| failure(&e))?;
        let before = store.ledger().totals().epsilon;
        let repaired = match store.repair(shown, &lines, mirror.history()) {
            Ok(()) => true,
            Err(LedgerError::Repair(RepairError::NothingToRepair)) => false,
            Err(e) => return Err(failure(&e)),
        };
        let after = store.ledger().totals().epsilon;
        let words = |e: Option<protocol::decimal::Decimal>| e.map_or_else(|| "unbounded".to_owned(), |e| e.to_string());
        let row =
            if repaired { format!("raised from epsilon {} to {}", words(before), words(after)) } else { "needs no repair".to_owned() };
        rows.push((dataset.to_string(), row));
        data.push(json!({ "dataset": dataset, "repaired": repaired, "epsilon_before": words(before), "epsilon_after": words(after) }));
    }
    if data.iter().any(|d| d["repaired"] == true) {
        rows.push(("next".to_owned(), "concordat-client run tells the log and goes on".to_owned()));
    }
    Ok(answer(&rows, &json!({ "ledgers": data, "log_size": mirror.history().size() }), true))
}

/// The terms of a ledger: its own, or, where it has to be begun anew, what the institution declared. A dataset that only the site log knows and
/// whose ledger is gone was never declared: the site policy's cap is all there is.
fn terms(home: &Home, keys: &Keys, dataset: Sha256, shown: Option<&DatasetHistory>, unit: Unit) -> Result<Terms, Failure> {
    let institution = keys.client();
    let kept = files::read_if_there(&home.ledger(&dataset), MAX_FILE, Item::Ledger).map_err(|e| Failure::trouble("bad_directory", &e))?;
    if let Some(Ok(loaded)) = kept.map(|bytes| PrivacyLedger::load_signed(&bytes, keys.later())) {
        return Ok(loaded.ledger.terms().clone());
    }
    let nothing = || Failure::trouble_text("no_cap", "neither the log nor the site policy holds a cap for this dataset");
    let declared = shown.and_then(|d| d.cap.as_ref().map(|cap| (cap.epsilon_cap, cap.delta, cap.own_epsilon_cap)));
    let stated = || SitePolicy::load(&home.site_policy()).ok().map(|p| (p.max_eps_total, p.max_delta, p.own_cap_beside_coalition()));
    let (epsilon_cap, delta, own_epsilon_cap) = declared.or_else(stated).ok_or_else(nothing)?;
    let order = default_order(epsilon_cap, delta).ok_or_else(nothing)?;
    Ok(Terms { institution, dataset, unit, epsilon_cap, delta, order, own_epsilon_cap })
}

fn failure(error: &LedgerError) -> Failure {
    if error.is_fatal() { Failure::trouble("bad_ledger", error) } else { Failure::refused("not_repaired", error) }
}

/// Who this institution is; none before it joined.
fn identity(home: &Home) -> Result<Option<ClientId>, Failure> {
    match Identity::load(home) {
        Ok(identity) => Ok(Some(identity.client)),
        Err(e) if e.is_absent() => Ok(None),
        Err(e) => Err(Failure::trouble("bad_directory", &e)),
    }
}

/// The copy of the log; none before this institution joined.
pub(super) fn mirror(home: &Home) -> Result<Option<Mirror>, Failure> {
    if !home.mirror().join("trust.json").exists() {
        return Ok(None);
    }
    Mirror::open(home).map(Some).map_err(|e| Failure::trouble("no_log", &e))
}

fn answer(rows: &[(String, String)], data: &Value, sound: bool) -> Answer {
    let answer = Answer::table(rows.iter().map(|(k, v)| (k.as_str(), v.clone()))).with_data(data);
    if sound { answer } else { answer.failed() }
}

fn sentence(loaded: &Result<Loaded, LoadError>) -> String {
    match loaded {
        Err(error) => format!("does not hold: {error}"),
        Ok(Loaded { ledger, .. }) => {
            let t = ledger.totals();
            let spent = t.epsilon.map_or_else(|| "unbounded".to_owned(), |e| e.to_string());
            // By which account tasks are added up, where it is not own cost (privacy.md D61).
            let account = ledger.terms().own_epsilon_cap.map_or_else(String::new, |own| {
                format!("; of what shares of noise leave to a coalition, own epsilon of each task at most {own}")
            });
            format!("{} entries, epsilon {spent} of {} at order {}{account}", ledger.entries(), t.epsilon_cap, t.order)
        }
    }
}

fn totals(loaded: &Result<Loaded, LoadError>) -> Value {
    match loaded {
        Err(error) => json!({ "holds": false, "error": error.to_string() }),
        Ok(Loaded { ledger, torn, .. }) => {
            let t = ledger.totals();
            json!({
                "holds": true, "torn": torn, "institution": ledger.terms().institution, "dataset": ledger.terms().dataset,
                "entries": ledger.entries(), "counter": ledger.counter(), "head": ledger.head(),
                "epsilon": t.epsilon.map_or_else(|| "unbounded".to_owned(), |e| e.to_string()), "epsilon_cap": t.epsilon_cap,
                "delta": ledger.terms().delta, "own_epsilon_cap": ledger.terms().own_epsilon_cap, "order": t.order, "rdp_spent": t.spent.decimal(), "rdp_held": t.held.decimal(),
                "rdp_budget": t.budget.decimal(), "unsealed": ledger.unsealed(), "releases": ledger.releases().count(), "lost_releases": ledger.lost_releases(),
            })
        }
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Created(_) => "created",
        Event::CapDeclared { .. } => "cap declared",
        Event::Registered(_) => "registered",
        Event::Reserved(_) => "reserved",
        Event::Sealed { .. } => "sealed",
        Event::Sent { .. } => "sent",
        Event::Void { .. } => "void",
        Event::Ended { .. } => "ended",
        Event::Repaired(_) => "repaired",
        Event::ReleaseReserved(_) => "release reserved",
        Event::Released { .. } => "released",
    }
}

fn entry(e: &Entry) -> Value {
    let mut value = event(&e.event);
    value["counter"] = e.counter.into();
    value["previous"] = json!(e.previous);
    value["at_ms"] = e.at.0.into();
    value["state"] = kind(&e.event).into();
    value
}

fn event(event: &Event) -> Value {
    match event {
        Event::Created(t) => {
            json!({ "institution": t.institution, "dataset": t.dataset, "unit": t.unit, "epsilon_cap": t.epsilon_cap, "delta": t.delta, "order": t.order,
                "own_epsilon_cap": t.own_epsilon_cap })
        }
        Event::CapDeclared { epsilon_cap } => json!({ "epsilon_cap": epsilon_cap }),
        Event::Registered(s) => json!({
            "task": s.task, "plan": s.plan, "rounds": s.rounds, "steps_per_round": s.steps_per_round, "epsilon_cap": s.epsilon_cap,
            "rdp_per_round": s.cost_per_round.decimal(), "basis": s.basis.hash(), "mode": s.basis.mode, "path": s.executed.clip_path(), "cohort_min": s.basis.cohort_min,
            "colluding": s.basis.joint.as_ref().map(|j| j.colluding), "shares": s.basis.joint.as_ref().map(|j| j.shares),
            "bits": s.basis.bits, "dimension": s.executed.dimension, "grid_bits": s.executed.grid_bits,
            "sigma_grid_1024": s.executed.sigma_grid_1024, "clip": s.executed.clip, "sampling_rate": s.executed.sampling_rate,
            "noise_multiplier": s.executed.noise_multiplier, "delta": s.executed.delta, "unit": s.executed.unit,
        }),
        Event::Reserved(r) => json!({
            "task": r.task, "plan": r.plan, "round": r.round, "manifest": r.manifest, "basis": r.basis, "steps": r.steps,
            "rdp": r.cost.decimal(), "epsilon_before": r.epsilon_before, "epsilon_after": r.epsilon_after, "slack": r.slack,
            "accountant": r.accountant, "noise_multiplier": r.executed.noise_multiplier, "sampling_rate": r.executed.sampling_rate,
        }),
        Event::Sealed { reservation, update } => json!({ "reservation": reservation, "update": update }),
        Event::Sent { reservation } | Event::Void { reservation } => json!({ "reservation": reservation }),
        Event::ReleaseReserved(r) => json!({
            "release": r.id, "question": r.question, "values": r.values, "sensitivity": r.sensitivity, "scale": r.scale(),
            "rho": r.rho(), "rdp": r.cost.decimal(),
        }),
        Event::Released { reservation, result } => json!({ "reservation": reservation, "result": result }),
        Event::Ended { task } => json!({ "task": task }),
        Event::Repaired(r) => {
            let tasks: Vec<Value> = r
                .tasks
                .iter()
                .map(|t| json!({ "task": t.task, "plan": t.plan, "steps": t.steps, "rounds": t.rounds, "rdp": t.cost.decimal(), "epsilon": t.epsilon }))
                .collect();
            let lost = r.releases.iter().flatten().map(|l| json!({ "release": l.id, "entry": l.head, "rdp": l.cost.decimal() }));
            json!({ "log_size": r.log_size, "tasks": tasks, "releases": lost.collect::<Vec<_>>() })
        }
    }
}
