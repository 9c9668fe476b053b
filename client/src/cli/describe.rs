//! `data describe`: says what may be said about prepared records; the agent signs and declares it when it runs.

use super::answer::{Answer, Failure};
use super::named_records;
use crate::config::Config;
use crate::data::DataSource;
use crate::data_manifest::{self, Said};
use crate::home::Home;
use clap::Args;
use corpus::tokenizer::{MAX_TOKENIZER_BYTES, Subword, TextTokenizer as _, WordRule};
use protocol::data_manifest::{LegalBasis, Licence, Month, Period, Purpose};
use protocol::ids::Sha256;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// Directory that data prepare wrote; data.path of the settings unless given
    #[arg(long, value_name = "DIR")]
    prepared: Option<PathBuf>,
    /// Terms of the records: internal, contract, public-domain, CC-BY-4.0, CC-BY-SA-4.0, CC-BY-NC-4.0, ODC-By-1.0, ODbL-1.0, other
    #[arg(long, default_value = "internal", value_name = "CODE", value_parser = licence)]
    licence: Licence,
    /// Use: training, evaluation, training-and-evaluation, statistics
    #[arg(long, default_value = "training", value_name = "CODE", value_parser = purpose)]
    purpose: Purpose,
    /// Ground: consent, contract, legal-obligation, vital-interests, public-task, legitimate-interests, research, not-personal
    #[arg(long, value_name = "CODE", value_parser = basis)]
    basis: LegalBasis,
    /// First and last month that the records are from, YYYY-MM..YYYY-MM
    #[arg(long, value_name = "MONTHS", value_parser = period)]
    period: Option<Period>,
    /// Tokenizer that cut the records, a tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// How the tokenizer's words are cut: pattern or jieba
    #[arg(long, default_value = "pattern", value_name = "RULE", value_parser = super::tokens::rule)]
    words: WordRule,
}

fn licence(text: &str) -> Result<Licence, &'static str> {
    Licence::from_name(text).ok_or("not one of the codes")
}
fn purpose(text: &str) -> Result<Purpose, &'static str> {
    Purpose::from_name(text).ok_or("not one of the codes")
}
fn basis(text: &str) -> Result<LegalBasis, &'static str> {
    LegalBasis::from_name(text).ok_or("not one of the codes")
}
fn period(text: &str) -> Result<Period, &'static str> {
    let months = text.split_once("..").and_then(|(a, b)| Some(Period { from: Month::parse(a)?, to: Month::parse(b)? }));
    months.filter(|p| p.from <= p.to).ok_or("expected two months that rise, as in 2026-01..2026-06")
}

pub(super) fn run(home: &Home, config: &Config, o: &Describe) -> Result<Answer, Failure> {
    let data = named_records(config)?;
    let source = DataSource::load(home, data).map_err(|e| Failure::refused("bad_data", &e))?;
    let prepared = o.prepared.as_deref().unwrap_or(&data.path);
    let tokenizer = o.tokenizer.as_deref().map(|path| digest(path, o.words)).transpose()?;
    let said = Said { licence: o.licence, purpose: o.purpose, basis: o.basis, period: o.period, tokenizer };
    let manifest = data_manifest::describe(prepared, source.dataset(), &said).map_err(|e| Failure::refused("not_described", &e))?;
    if manifest.unit != source.unit() {
        return Err(Failure::refused_text("other_unit", "the prepared records have another unit of privacy than the settings"));
    }
    data_manifest::keep(home, &manifest).map_err(|e| Failure::trouble("bad_directory", &e))?;
    Ok(Answer::table([
        ("dataset", manifest.dataset.to_string()),
        ("records from", manifest.records.low().to_string()),
        ("units from", manifest.units.low().to_string()),
        ("licence", manifest.licence.name().to_owned()),
        ("purpose", manifest.purpose.name().to_owned()),
        ("basis", manifest.basis.name().to_owned()),
        ("retention days", manifest.retention_days.to_string()),
        ("quality holds", manifest.quality_holds.to_string()),
        ("rules", manifest.rules.to_string()),
        ("tokenizer", manifest.tokenizer.map_or("-".to_owned(), |t| t.to_string())),
        ("next", "concordat-client run signs and declares it".to_owned()),
    ]))
}

fn digest(path: &Path, rule: WordRule) -> Result<Sha256, Failure> {
    let bytes =
        crate::files::read(path, MAX_TOKENIZER_BYTES, crate::files::Item::Prepared).map_err(|e| Failure::trouble("no_tokenizer", &e))?;
    let tokenizer = Subword::load(&bytes, rule).map_err(|e| Failure::trouble("bad_tokenizer", &e))?;
    Ok(Sha256(tokenizer.digest()))
}
