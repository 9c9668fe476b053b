//! `data withdraw`: nothing is trained on the institution's records any more. Parses, keeps the order, prints; `run` declares it.

use super::answer::{Answer, Failure};
use super::{named_records, not_joined};
use crate::config::Config;
use crate::data::dataset_id;
use crate::home::Home;
use crate::keys::Keys;
use crate::mirror::Mirror;
use crate::withdrawal;
use clap::Args;
use protocol::membership::{DatasetReason, DatasetWithdrawal};

#[derive(Debug, Args)]
pub(super) struct Withdraw {
    /// Why: consent, legal-basis, retention, quality, request
    #[arg(long, value_name = "CODE", value_parser = reason)]
    reason: DatasetReason,
}

fn reason(text: &str) -> Result<DatasetReason, &'static str> {
    DatasetReason::from_name(text).ok_or("not one of the codes")
}

pub(super) fn run(home: &Home, config: &Config, options: &Withdraw) -> Result<Answer, Failure> {
    let data = named_records(config)?;
    let keys = Keys::load(home).map_err(|e| not_joined(&e))?;
    let mirror = Mirror::open(home).map_err(|e| Failure::trouble("bad_mirror", &e))?;
    let dataset = dataset_id(home, data).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let known = mirror.history().datasets().get(&(keys.client(), dataset));
    let Some(known) = known else {
        return Err(Failure::refused_text("not_declared", "the log does not show that these records were ever declared")
            .hint("data.name of client.toml says which dataset is meant; concordat-client run declares it"));
    };
    if let Some(withdrawn) = known.withdrawn {
        return Ok(Answer::table([("dataset", dataset.to_string()), ("withdrawn by entry", withdrawn.index.0.to_string())]));
    }
    withdrawal::keep(home, &DatasetWithdrawal { dataset, reason: options.reason }).map_err(|e| Failure::storage("storage_failed", &e))?;
    Ok(Answer::table([
        ("dataset", dataset.to_string()),
        ("reason", options.reason.name().to_owned()),
        ("next", "concordat-client run declares it; nothing is trained on these records from now on".to_owned()),
    ]))
}
