//! What the institution says about its prepared records: made of the manifest that `data prepare` wrote, kept as a draft, signed and declared
//! by the agent (audit.md A18, A19). Nothing of a record, no name and no exact count has a place in it.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use protocol::codec;
use protocol::data_manifest::{CountClass, DataManifest, LegalBasis, Licence, Period, Purpose};
use protocol::hash::sha256;
use protocol::history::Described;
use protocol::ids::Sha256;
use protocol::plan::Unit;
use protocol::statement::Payload as _;
use serde_json::Value;
use std::path::Path;

/// Longest manifest of a preparation.
const MAX_MANIFEST: usize = 16 << 20;

/// What a person adds to the figures.
pub(crate) struct Said {
    pub(crate) licence: Licence,
    pub(crate) purpose: Purpose,
    pub(crate) basis: LegalBasis,
    pub(crate) period: Option<Period>,
    pub(crate) tokenizer: Option<Sha256>,
}

/// Why there is no draft.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    /// A file.
    #[error("a file could not be read or written")]
    Store(#[from] StoreError),
    /// Not what `data prepare` writes.
    #[error("manifest.json has no field {0} of the expected kind")]
    Field(&'static str),
    /// Figures that no manifest may have.
    #[error("the manifest's numbers are outside the limits: a retention of 1 to 36525 days and a period that rises")]
    Unsound,
}

/// The draft of a prepared directory.
pub(crate) fn describe(prepared: &Path, dataset: Sha256, said: &Said) -> Result<DataManifest, DescribeError> {
    parse(&files::read(&prepared.join("manifest.json"), MAX_MANIFEST, Item::DataManifest)?, dataset, said)
}

/// The draft out of the manifest of a preparation.
pub(crate) fn parse(bytes: &[u8], dataset: Sha256, said: &Said) -> Result<DataManifest, DescribeError> {
    let json: Value = serde_json::from_slice(bytes).map_err(|_| DescribeError::Field("(JSON)"))?;
    let unit = match field(&json, "/unit")?.as_str() {
        Some("user") => Unit::User,
        Some("record") => Unit::Record,
        Some(_) | None => return Err(DescribeError::Field("/unit")),
    };
    let rules = field(&json, "/treatment/rules_sha256")?.as_str().and_then(|t| t.parse().ok());
    let retention = field(&json, "/retention_days")?.as_u64().and_then(|d| u32::try_from(d).ok());
    let schema = field(&json, "/schema")?.to_string();
    let manifest = DataManifest {
        dataset,
        previous: None,
        manifest: Sha256(sha256(&[bytes])),
        rules: rules.ok_or(DescribeError::Field("/treatment/rules_sha256"))?,
        schema: Sha256(sha256(&[b"concordat/schema/v1\0", schema.as_bytes()])),
        tokenizer: said.tokenizer,
        unit,
        records: class(&json, "/counts/train")?,
        units: class(&json, "/counts/train_units")?,
        licence: said.licence,
        purpose: said.purpose,
        basis: said.basis,
        retention_days: retention.ok_or(DescribeError::Field("/retention_days"))?,
        period: said.period,
        quality_holds: field(&json, "/quality_holds")?.as_bool().ok_or(DescribeError::Field("/quality_holds"))?,
    };
    if manifest.is_sound() { Ok(manifest) } else { Err(DescribeError::Unsound) }
}

fn field<'a>(json: &'a Value, pointer: &'static str) -> Result<&'a Value, DescribeError> {
    json.pointer(pointer).ok_or(DescribeError::Field(pointer))
}

/// A class as `data prepare` writes it, `10-19` or `0-9`, of which the lower end is the class here too.
fn class(json: &Value, pointer: &'static str) -> Result<CountClass, DescribeError> {
    let text = field(json, pointer)?.as_str().ok_or(DescribeError::Field(pointer))?;
    let low = text.split(['-', '+']).next().and_then(|low| low.parse().ok());
    low.map(CountClass::of).ok_or(DescribeError::Field(pointer))
}

/// Keeps the draft until the agent has declared it, and after that as what was said last.
pub(crate) fn keep(home: &Home, manifest: &DataManifest) -> Result<(), StoreError> {
    files::replace(&home.data_manifest(), &codec::encode(manifest), Item::DataManifest)
}

/// The draft, where there is one.
pub(crate) fn kept(home: &Home) -> Result<Option<DataManifest>, StoreError> {
    let Some(bytes) = files::read_if_there(&home.data_manifest(), DataManifest::LIMIT, Item::DataManifest)? else { return Ok(None) };
    codec::decode(&bytes, DataManifest::LIMIT).map(Some).map_err(|_| StoreError::Damaged(Item::DataManifest))
}

/// What is to be signed next: the draft behind the last manifest in the log, or nothing where that says the same already.
pub(crate) fn next(draft: DataManifest, dataset: Sha256, said: &[Described]) -> Option<DataManifest> {
    let last = said.last();
    let same = last.is_some_and(|d| DataManifest { previous: None, ..d.manifest } == draft);
    (draft.dataset == dataset && !same).then(|| DataManifest { previous: last.map(|d| d.hash), ..draft })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use protocol::ids::LeafIndex;
    use protocol::statement::Statement;

    fn said() -> Said {
        Said { licence: Licence::Internal, purpose: Purpose::Training, basis: LegalBasis::Research, period: None, tokenizer: None }
    }

    fn prepared(dir: &Path, change: impl Fn(&mut Value)) {
        let mut json = serde_json::json!({
            "version": 1, "name": "CANARY-name", "licence": "CANARY-licence", "purpose": "CANARY-purpose", "retention_days": 365,
            "unit": "user",
            "schema": [{ "name": "CANARY-column", "type": "text", "role": "text", "pii": "direct", "nullable": false }],
            "treatment": { "rules_sha256": "03".repeat(32) },
            "inputs_commitment": "04".repeat(32), "prepared_commitment": "05".repeat(32),
            "counts": { "train": "10000-19999", "train_units": "5000-9999", "labels": { "CANARY-label": "0-9" } },
            "quality_holds": true,
        });
        change(&mut json);
        std::fs::write(dir.join("manifest.json"), json.to_string()).unwrap();
    }

    /// A22: whatever a preparation says in words stays here.
    #[test]
    fn no_word_of_a_preparation_is_in_what_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        prepared(dir.path(), |_| ());
        let manifest = describe(dir.path(), Sha256([1; 32]), &said()).unwrap();
        assert_eq!((manifest.records, manifest.units), (CountClass::of(13_673), CountClass::of(9_999)));
        assert_eq!((manifest.rules, manifest.unit, manifest.retention_days), (Sha256([3; 32]), Unit::User, 365));
        let statement = Statement::sign(&manifest, &SigningKey::from_bytes(&[7; 32]));
        let shown = format!("{manifest:?} {statement:?} {}", String::from_utf8_lossy(&codec::encode(&statement)));
        assert!(!shown.contains("CANARY"), "{shown}");
        prepared(dir.path(), |json| json["unit"] = "CANARY-unit".into());
        let error = describe(dir.path(), Sha256([1; 32]), &said()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    }

    #[test]
    fn broken_manifests_are_errors_that_name_the_field() {
        let dir = tempfile::tempdir().unwrap();
        let with = |change: &dyn Fn(&mut Value)| {
            prepared(dir.path(), change);
            describe(dir.path(), Sha256([1; 32]), &said()).unwrap_err()
        };
        assert!(matches!(with(&|j| j["counts"]["train"] = 5.into()), DescribeError::Field("/counts/train")));
        assert!(matches!(with(&|j| j["counts"]["train"] = "many".into()), DescribeError::Field("/counts/train")));
        assert!(matches!(with(&|j| j["treatment"]["rules_sha256"] = "xyz".into()), DescribeError::Field("/treatment/rules_sha256")));
        assert!(matches!(with(&|j| j["retention_days"] = 0.into()), DescribeError::Unsound));
        assert!(matches!(with(&|j| *j = Value::Null), DescribeError::Field("/unit")));
    }

    #[test]
    fn the_same_is_said_once_and_a_change_names_what_was_said_before() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        prepared(dir.path(), |_| ());
        let draft = describe(dir.path(), Sha256([1; 32]), &said()).unwrap();
        assert_eq!(kept(&home).unwrap(), None);
        keep(&home, &draft).unwrap();
        assert_eq!(kept(&home).unwrap(), Some(draft));
        let first = next(draft, draft.dataset, &[]).unwrap();
        let hash = Sha256([9; 32]);
        let log = [Described { index: LeafIndex(7), hash, manifest: first }];
        assert_eq!(next(draft, draft.dataset, &log), None);
        let changed = DataManifest { retention_days: 30, ..draft };
        assert_eq!(next(changed, draft.dataset, &log), Some(DataManifest { previous: Some(hash), ..changed }));
        assert_eq!(next(draft, Sha256([2; 32]), &[]), None, "of another dataset");
    }
}
