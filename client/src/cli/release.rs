//! `privacy release`: a count of this institution's own records with noise, paid from its ledger (privacy.md D28; bug class B27). A count leaves
//! no other way. Asking again for the same id shows the same values.

use super::answer::{Answer, Failure};
use super::ledger::spent_from;
use super::{alone, named_records, not_joined};
use crate::agent::{AgentError, open_ledger};
use crate::config::Config;
use crate::data::DataSource;
use crate::home::Home;
use crate::keys::Keys;
use crate::ledger::{LedgerError, LedgerStore, is_gone};
use crate::mirror::Mirror;
use crate::release::count::{What, counts, sensitivity};
use crate::release::{Asked, Disk, Name, ReleaseFailure, Shown, Stored, release, settle, shown};
use crate::site_log::{SiteLog, releases_of};
use crate::site_policy::SitePolicy;
use crate::withdrawal;
use clap::{ArgGroup, Args};
use privacy::accountant::rho_for;
use privacy::ledger::{MAX_SENSITIVITY, MAX_VALUES, SeenRelease, scale_1024_for};
use privacy::noise::giant::gaussian_release;
use protocol::decimal::Decimal;
use protocol::ids::Sha256;
use protocol::plan::Unit;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a person does about a ledger that is behind, or gone.
const REPAIR: &str = "concordat-client privacy ledger repair counts what the logs show";

/// What a noised count costs is paid first, from the ledger of the records, and is never given back. Values are whole numbers and may be below
/// 0. Labels are named here and not found in the records: which ones occur is itself something that records say.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("asked").args(["what", "show"]).required(true), group = ArgGroup::new("cost").args(["epsilon", "rho"]))]
pub(super) struct ReleaseArgs {
    /// What is counted
    #[arg(long, value_enum, requires = "cost")]
    what: Option<What>,
    /// Most epsilon that the release may be worth by itself, at delta
    #[arg(long, value_name = "E", requires = "what")]
    epsilon: Option<Decimal>,
    /// The same in zero-concentrated divergence
    #[arg(long, value_name = "R", requires = "what")]
    rho: Option<Decimal>,
    /// Delta; the ledger's unless given, and never above the site policy's
    #[arg(long, value_name = "D", requires = "what")]
    delta: Option<Decimal>,
    /// Most records of one person that count; more noise the more there may be
    #[arg(long, value_name = "N", requires = "what")]
    max_records_per_unit: Option<u64>,
    /// A label to count, for --what labels; may be repeated
    #[arg(long = "label", value_name = "NAME", requires = "what")]
    labels: Vec<String>,
    /// A name for the release: whoever asks again under it is shown the same values and pays nothing
    #[arg(long, value_name = "ID", requires = "what")]
    id: Option<String>,
    /// Show what was released under an id; pays nothing
    #[arg(long, value_name = "ID", conflicts_with = "what")]
    show: Option<String>,
}

/// A question whose numbers are within the limits.
struct Question {
    what: What,
    cap: u64,
    labels: Vec<String>,
    scale_1024: u64,
    delta: Decimal,
}

pub(super) fn run(home: &Home, args: &ReleaseArgs, config: &Config) -> Result<Answer, Failure> {
    let _lock = alone(home)?;
    let keys = Arc::new(Keys::load(home).map_err(|e| not_joined(&e))?);
    let policy = SitePolicy::load(&home.site_policy())
        .map_err(|e| Failure::trouble("bad_site_policy", &e).hint("without a site policy nothing leaves this institution"))?;
    let data = DataSource::load(home, named_records(config)?).map_err(|e| Failure::refused("bad_data", &e))?;
    let mut store = open_ledger(home, &keys, &data, &policy).map_err(|e| opening(&e))?;
    let shelf = Disk(home, data.dataset());
    settle(&mut store, &shelf).map_err(|e| Failure::storage("storage_failed", &e))?;
    if let Some(id) = &args.show {
        return show(&shelf, &store, &data, id);
    }
    let question = question(args, &policy, data.unit(), store.ledger().terms().delta)?;
    let mut site = SiteLog::open(home).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let asked = asked(home, args, question, &store, &data, site.releases())?;
    store.ledger().compare_releases(&releases_of(site.releases(), data.dataset())).map_err(|e| rolled_back(&e))?;
    let exact = counts(data.records(), data.unit(), asked.what, asked.max_records_per_unit, &asked.labels, data.cap_seed());
    let released = release(&mut store, &shelf, &asked, &mut |facts| site.append(facts), |paid| gaussian_release(paid, &exact));
    let (stored, how) = released.map_err(|e| failure(&e))?;
    Ok(answer(&stored, how, &store))
}

fn opening(e: &AgentError) -> Failure {
    if e.is_storage() { Failure::storage("storage_failed", e) } else { Failure::trouble("bad_ledger", e) }
}

fn rolled_back(e: &privacy::ledger::Alarm) -> Failure {
    Failure::refused("ledger_rolled_back", e).hint(REPAIR)
}

/// The id of a release as ledger and site log have it: it does not tell the name.
fn release_id(data: &DataSource, name: &Name) -> Sha256 {
    data.blinded("concordat/release-id/v1", name.as_str().as_bytes())
}

fn bad(code: &'static str, text: &str) -> Failure {
    Failure::trouble_text(code, text)
}

fn question(args: &ReleaseArgs, policy: &SitePolicy, unit: Unit, delta: Decimal) -> Result<Question, Failure> {
    let what = args.what.ok_or_else(|| bad("bad_question", "nothing is asked"))?;
    if unit == Unit::Record && !policy.allow_record_unit {
        return Err(Failure::refused_text("record_unit", "the records name no person, and the site policy protects persons only")
            .hint("name a user_field in client.toml, or allow_record_unit in site_policy.toml"));
    }
    let (cap, labels) = (cap(args, what, unit)?, labels(args, what)?);
    let delta = args.delta.unwrap_or(delta);
    if !(delta.to_f64() > 0.0 && delta.to_f64() < 1.0) {
        return Err(bad("bad_delta", "delta must be between 0 and 1"));
    }
    if delta.to_f64() > policy.max_delta.to_f64() {
        return Err(Failure::refused_text("max_delta", "delta is above the site policy's max_delta"));
    }
    let rho = match (args.epsilon, args.rho) {
        (Some(epsilon), _) => rho_for(epsilon.to_f64(), delta.to_f64()).map_err(|e| Failure::trouble(e.code(), &e))?,
        (None, Some(rho)) => rho.to_f64(),
        (None, None) => return Err(bad("bad_question", "name what it may cost: --epsilon or --rho")),
    };
    let scale = scale_1024_for(rho, sensitivity(what, cap));
    let scale_1024 = scale.ok_or_else(|| bad("bad_cost", "the cost must be above 0, and large enough for noise below 2^40"))?;
    Ok(Question { what, cap, labels, scale_1024, delta })
}

/// Records of a person that may count. The number bounds what one person does to the answer, so it is stated, never found in the records.
fn cap(args: &ReleaseArgs, what: What, unit: Unit) -> Result<u64, Failure> {
    match (what, unit, args.max_records_per_unit) {
        (What::Units, _, None) => Ok(1),
        (What::Units, _, Some(_)) => Err(bad("bad_cap", "--max-records-per-unit is for records and labels")),
        (What::Records | What::Labels, Unit::Record, None | Some(1)) => Ok(1),
        (What::Records | What::Labels, Unit::Record, Some(_)) => Err(bad("bad_cap", "a record is the unit: one record of it counts")),
        (What::Records | What::Labels, Unit::User, None) => {
            Err(bad("no_cap", "a person may have many records").hint("say how many count: --max-records-per-unit"))
        }
        (What::Records | What::Labels, Unit::User, Some(cap)) if (1..=MAX_SENSITIVITY).contains(&cap) => Ok(cap),
        (What::Records | What::Labels, Unit::User, Some(_)) => Err(bad("bad_cap", "--max-records-per-unit is 1 to 1000000")),
    }
}

fn labels(args: &ReleaseArgs, what: What) -> Result<Vec<String>, Failure> {
    let (named, different) = (args.labels.len(), args.labels.iter().collect::<BTreeSet<_>>().len());
    match what {
        What::Units | What::Records if named > 0 => Err(bad("bad_labels", "--label is for --what labels")),
        What::Labels if named == 0 => Err(bad("bad_labels", "name the labels to count with --label; they are not found in the records")),
        What::Labels if named != different => Err(bad("bad_labels", "a label is named twice")),
        What::Labels if u64::try_from(named).is_ok_and(|n| n > MAX_VALUES) => Err(bad("bad_labels", "at most 10000 labels")),
        What::Units | What::Records | What::Labels => Ok(args.labels.clone()),
    }
}

fn asked(
    home: &Home,
    args: &ReleaseArgs,
    q: Question,
    store: &LedgerStore,
    data: &DataSource,
    seen: &[(Sha256, SeenRelease)],
) -> Result<Asked, Failure> {
    let name = match &args.id {
        Some(id) => Name::chosen(id).map_err(|e| Failure::trouble("bad_id", &e))?,
        None => Name::generated(store.ledger().counter()),
    };
    let mirror = Mirror::open(home)
        .map_err(|e| Failure::trouble("no_log", &e).hint("the ledger is compared with this institution's copy of the log"))?;
    let me = store.ledger().terms().institution;
    if !withdrawal::in_use(home, mirror.history(), me, data.dataset()).map_err(|e| Failure::trouble("bad_directory", &e))? {
        return Err(Failure::refused_text("withdrawn", "these records were withdrawn: nothing is counted in them any more"));
    }
    if spent_from(Some(me), Some(&mirror), seen).iter().any(|dataset| is_gone(home, dataset, data.dataset())) {
        return Err(Failure::refused_text("ledger_lost", "another dataset was spent from and its ledger is gone").hint(REPAIR));
    }
    let spends = mirror.history().datasets().get(&(me, data.dataset())).map(|d| d.spends.as_slice()).unwrap_or_default();
    let compared = store.ledger().compare(spends).map_err(|e| rolled_back(&e))?;
    let (id, unit, dataset) = (release_id(data, &name), data.unit(), data.dataset());
    // The scale is beside it in the ledger. The unit is the ledger's; δ is only how the cost is told.
    let asked = json!([q.what.name(), q.cap, q.labels]).to_string();
    let question = data.blinded("concordat/release-question/v1", asked.as_bytes());
    let Question { what, cap, labels, scale_1024, delta } = q;
    Ok(Asked { name, id, question, dataset, unit, what, max_records_per_unit: cap, labels, scale_1024, delta, compared })
}

fn show(shelf: &Disk<'_>, store: &LedgerStore, data: &DataSource, id: &str) -> Result<Answer, Failure> {
    let name = Name::known(id).map_err(|e| Failure::trouble("bad_id", &e))?;
    let (counter, state) = store.ledger().release(&release_id(data, &name)).ok_or_else(|| failure(&ReleaseFailure::Unknown))?;
    let state = state.ok_or_else(|| failure(&ReleaseFailure::Lost { counter }))?;
    let stored = shown(shelf, name.as_str(), counter, state.stage).map_err(|e| failure(&e))?;
    Ok(answer(&stored, Shown::Again, store))
}

fn failure(e: &ReleaseFailure) -> Failure {
    match e {
        ReleaseFailure::Ledger(error) if error.is_exhausted() => Failure::refused("budget_exhausted", e),
        ReleaseFailure::Ledger(error) if error.is_fatal() => Failure::storage("storage_failed", e),
        ReleaseFailure::Ledger(LedgerError::Store(_)) | ReleaseFailure::Store(_) => Failure::storage("storage_failed", e),
        ReleaseFailure::Ledger(_) => Failure::refused("not_paid", e),
        ReleaseFailure::Draw(_) => Failure::bug("not_drawn", e),
        ReleaseFailure::Accountant(_) | ReleaseFailure::TooLarge(_) => Failure::trouble("bad_cost", e),
        ReleaseFailure::OtherQuestion { .. } => {
            Failure::refused("id_in_use", e).hint("choose another --id; --show tells what stands under this one")
        }
        ReleaseFailure::Lost { .. } => Failure::refused("release_lost", e).hint("choose another --id; a new release is a new payment"),
        ReleaseFailure::Unknown => Failure::trouble("unknown_release", e).hint("privacy ledger show lists what was paid"),
        ReleaseFailure::Altered { .. } => {
            Failure::refused("release_altered", e).hint("bring the file back from a backup; it is not drawn again")
        }
    }
}

fn answer(s: &Stored, how: Shown, store: &LedgerStore) -> Answer {
    let t = store.ledger().totals();
    let lifetime = t.epsilon.map_or_else(|| "unbounded".to_owned(), |e| e.to_string());
    let free = t.free().decimal();
    let unit = match s.unit {
        Unit::Record => "record",
        Unit::User => "user",
    };
    let counted = match s.what {
        What::Units => format!("units ({unit})"),
        What::Records | What::Labels => format!("{}, at most {} of each {unit}", s.what.name(), s.max_records_per_unit),
    };
    let mut rows = vec![("id", s.id.clone()), ("counted", counted)];
    match s.labels.as_slice() {
        [] => rows.extend(s.values.iter().map(|v| ("value", v.to_string()))),
        labels => rows.extend(labels.iter().zip(&s.values).map(|(label, v)| ("value", format!("{label}: {v}")))),
    }
    rows.extend([
        ("scale", format!("{} (standard deviation of the noise on each value; discrete Gaussian)", s.scale())),
        ("cost", format!("epsilon {} at delta {} (rho {}), for adding or removing one {unit}", s.epsilon, s.delta, s.rho)),
        ("ledger", format!("entry {}; epsilon {lifetime} of {} over all tasks and releases", s.ledger_counter, t.epsilon_cap)),
        ("remaining", format!("{free} nats at order {}", t.order)),
        ("paid", if how == Shown::New { "now" } else { "before: shown again, nothing was paid" }.to_owned()),
    ]);
    Answer::table(rows).with_data(&json!({
        "id": s.id, "dataset": s.dataset, "what": s.what.name(), "unit": unit, "max_records_per_unit": s.max_records_per_unit,
        "labels": s.labels, "values": s.values, "noise": "discrete-gaussian", "scale": s.scale(), "sensitivity": s.sensitivity,
        "rho": s.rho, "epsilon": s.epsilon, "delta": s.delta, "ledger_counter": s.ledger_counter, "ledger_head": s.ledger_head,
        "at_ms": s.at_ms, "shown_again": how == Shown::Again,
        "lifetime": { "epsilon": lifetime, "epsilon_cap": t.epsilon_cap, "order": t.order, "rdp_spent": t.spent.decimal(),
            "rdp_held": t.held.decimal(), "rdp_remaining": free },
    }))
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
