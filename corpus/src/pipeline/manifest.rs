//! The data manifest: what may leave the institution about a dataset. Must not hold a text, a file name or an exact count (audit.md A22).
//!
//! Its signature and its declaration in the log are the client's, and come later; [`Manifest::to_bytes`] is what they will sign.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::counts::{Dropped, Stage};
use super::prepared::Unit;
use super::quality::{Quality, hex};
use super::rules::{ColumnType, OnBoundary, PiiClass, Role, Rules};
use super::run::Outcome;
use super::scrub::Kind;

/// Version of the manifest.
pub const VERSION: u32 = 1;

/// A count as a class of the series 10, 20, 50, 100 and so on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(String);

impl Bucket {
    /// The class of a count; fewer than ten are one class, with none.
    pub fn of(count: u64) -> Self {
        let (mut low, mut steps) = (10u64, [2u64, 5, 10].into_iter().cycle());
        if count < low {
            return Self("0-9".to_owned());
        }
        let mut ten = 10u64;
        loop {
            let step = steps.next().unwrap_or(10);
            let Some(high) = ten.checked_mul(step) else { return Self(format!("{low}+")) };
            if count < high {
                return Self(format!("{low}-{}", high - 1));
            }
            low = high;
            if step == 10 {
                ten = high;
            }
        }
    }
}

/// A column, without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaColumn {
    /// Its name.
    pub name: String,
    /// Type of its values.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// What it is for.
    pub role: Role,
    /// How much it says about a person.
    pub pii: PiiClass,
    /// Whether values may be missing.
    pub nullable: bool,
}

impl SchemaColumn {
    /// Of a column of the rules.
    pub(super) fn of(column: &super::rules::Column) -> Self {
        Self { name: column.name.clone(), kind: column.kind, role: column.role, pii: column.pii, nullable: column.nullable }
    }
}

/// How the rows were treated, in words that an auditor can compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treatment {
    /// SHA-256 of the rule file.
    pub rules_sha256: String,
    /// Kinds of personal data that are replaced.
    pub scrubbed: Vec<Kind>,
    /// Whether training is declared to be private: duplicates are then looked for within one person only.
    pub private_training: bool,
    /// Whether equal texts were dropped.
    pub exact_duplicates: bool,
    /// Whether nearly equal texts were dropped.
    pub near_duplicates: bool,
    /// Least Jaccard similarity of near duplicates, in thousandths.
    pub jaccard_permille: u32,
    /// Whether validation rows that resemble training rows were dropped.
    pub boundary_cleared: bool,
    /// Share of units held out, in thousandths.
    pub validation_permille: u32,
    /// Columns whose constants were fitted on the records, without privacy accounting.
    pub fitted_columns: Vec<String>,
}

/// Counts in classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// Rows read.
    pub rows_read: Bucket,
    /// Rows for training.
    pub train: Bucket,
    /// Rows for validation.
    pub validation: Bucket,
    /// Units of privacy for training.
    pub train_units: Bucket,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<Dropped, Bucket>,
    /// Personal data replaced, by kind.
    pub pii: BTreeMap<Kind, Bucket>,
    /// Training rows by label; only labels that the rule file declares, never words found in the data.
    pub labels: BTreeMap<String, Bucket>,
}

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the dataset, as the rule file gives it.
    pub name: String,
    /// Licence.
    pub licence: String,
    /// What the records may be used for.
    pub purpose: String,
    /// Days after which prepared records are to be deleted.
    pub retention_days: u32,
    /// Whose data a unit of privacy is (privacy.md D1).
    pub unit: Unit,
    /// The schema.
    pub schema: Vec<SchemaColumn>,
    /// What was done.
    pub treatment: Treatment,
    /// Hash of the inputs, in their order, with a nonce that stays at the institution: whoever has the files and the nonce can check it,
    /// and nobody can guess the files from it.
    pub inputs_commitment: String,
    /// The same over the prepared shards.
    pub prepared_commitment: String,
    /// Counts in classes.
    pub counts: Buckets,
    /// Whether every limit of the rule file holds.
    pub quality_holds: bool,
}

/// Secret beside the manifest that keeps its commitments from being guessed. No `Debug`, no `Serialize`.
pub struct Nonce(pub [u8; 16]);

impl Manifest {
    /// The manifest of a preparation.
    pub fn new(rules: &Rules, outcome: &Outcome, nonce: &Nonce) -> Self {
        let shards = outcome.index.shards.iter().map(|s| s.sha256.as_bytes());
        Self {
            version: VERSION,
            name: rules.about.name.clone(),
            licence: rules.about.licence.clone(),
            purpose: rules.about.purpose.clone(),
            retention_days: rules.about.retention_days,
            unit: outcome.index.unit,
            schema: rules.columns.iter().map(SchemaColumn::of).collect(),
            treatment: treatment(rules),
            inputs_commitment: commitment(nonce, b"inputs", outcome.inputs.iter().map(<[u8; 32]>::as_slice)),
            prepared_commitment: commitment(nonce, b"prepared", shards),
            counts: buckets(rules, &outcome.quality),
            quality_holds: outcome.quality.is_good(),
        }
    }

    /// The manifest as JSON with sorted members and a line end: the same bytes for the same manifest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).unwrap_or_default();
        let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The same as JSON-LD in the vocabulary of Croissant 1.0, which catalogues of data sets read. Members of our own stand under a prefix.
    pub fn to_croissant(&self) -> serde_json::Value {
        let fields: Vec<serde_json::Value> = self.schema.iter().filter(|c| c.role != Role::Ignore).map(croissant_field).collect();
        serde_json::json!({
            "@context": {
                "@language": "en",
                "@vocab": "https://schema.org/",
                "sc": "https://schema.org/",
                "cr": "http://mlcommons.org/croissant/",
                "dct": "http://purl.org/dc/terms/",
                "conformsTo": "dct:conformsTo",
                "recordSet": "cr:recordSet",
                "field": "cr:field",
                "dataType": { "@id": "cr:dataType", "@type": "@vocab" },
                "source": "cr:source",
                "extract": "cr:extract",
                "jsonPath": "cr:jsonPath",
                "fileSet": "cr:fileSet",
                "includes": "cr:includes",
                "concordat": "urn:concordat:data-manifest:1#",
            },
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": self.name,
            "description": self.purpose,
            "license": self.licence,
            "isLiveDataset": false,
            "distribution": [{
                "@type": "cr:FileSet",
                "@id": "train",
                "name": "train",
                "description": "Rows for training; they stay at the institution",
                "encodingFormat": "application/jsonlines",
                "includes": "train-*.jsonl",
            }],
            "recordSet": [{ "@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields }],
            "concordat:manifest": serde_json::to_value(self).unwrap_or_default(),
        })
    }
}

fn croissant_field(column: &SchemaColumn) -> serde_json::Value {
    let name = match column.role {
        Role::Text => "text",
        Role::Label => "label",
        Role::Unit => "user",
        Role::Feature | Role::Ignore => &column.name,
    };
    let kind = match column.kind {
        ColumnType::Text => "sc:Text",
        ColumnType::Integer => "sc:Integer",
        ColumnType::Number => "sc:Float",
        ColumnType::Boolean => "sc:Boolean",
        ColumnType::Date => "sc:DateTime",
    };
    serde_json::json!({
        "@type": "cr:Field",
        "@id": format!("records/{name}"),
        "name": name,
        "dataType": kind,
        "source": { "fileSet": { "@id": "train" }, "extract": { "jsonPath": format!("$.{name}") } },
    })
}

fn treatment(rules: &Rules) -> Treatment {
    Treatment {
        rules_sha256: hex(&rules.digest),
        scrubbed: rules.scrub.iter().copied().collect(),
        private_training: rules.private,
        exact_duplicates: rules.dedup.exact,
        near_duplicates: rules.dedup.near,
        jaccard_permille: rules.dedup.jaccard_permille,
        boundary_cleared: rules.dedup.boundary == OnBoundary::DropFromValidation,
        validation_permille: rules.split.validation_permille,
        fitted_columns: rules.columns.iter().filter(|c| c.needs_fit()).map(|c| c.name.clone()).collect(),
    }
}

fn buckets(rules: &Rules, quality: &Quality) -> Buckets {
    let declared = rules.columns[rules.label].values.as_ref();
    let labels = quality.labels.iter().filter(|l| declared.is_some_and(|d| d.contains(&l.label)));
    let dropped = quality.stages.iter().flat_map(|s| &s.dropped);
    Buckets {
        rows_read: Bucket::of(quality.rows_in(Stage::Read)),
        train: Bucket::of(quality.rows.train),
        validation: Bucket::of(quality.rows.validation),
        train_units: Bucket::of(quality.units.train),
        dropped: dropped.map(|(reason, count)| (*reason, Bucket::of(*count))).collect(),
        pii: quality.pii.iter().map(|(kind, count)| (*kind, Bucket::of(*count))).collect(),
        labels: labels.map(|l| (l.label.clone(), Bucket::of(l.rows.train))).collect(),
    }
}

fn commitment<'a>(nonce: &Nonce, what: &[u8], parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"concordat/corpus/data-manifest/v1\0");
    hash.update(nonce.0);
    hash.update(what);
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_series_of_one_two_five() {
        for (count, class) in [
            (0, "0-9"),
            (9, "0-9"),
            (10, "10-19"),
            (19, "10-19"),
            (20, "20-49"),
            (50, "50-99"),
            (99, "50-99"),
            (100, "100-199"),
            (13_673, "10000-19999"),
            (499, "200-499"),
            (500, "500-999"),
        ] {
            assert_eq!(Bucket::of(count), Bucket(class.into()), "{count}");
        }
        assert!(Bucket::of(u64::MAX).0.ends_with('+'));
    }

    #[test]
    fn a_commitment_needs_its_nonce() {
        let of = |nonce: u8, part: &'static [u8]| commitment(&Nonce([nonce; 16]), b"inputs", [part].into_iter());
        assert_ne!(of(1, b"file"), of(2, b"file"));
        assert_ne!(of(1, b"file"), of(1, b"filf"));
        assert_eq!(of(1, b"file"), of(1, b"file"));
    }
}
