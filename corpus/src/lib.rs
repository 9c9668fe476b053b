//! From records to tokens. Knows text, labels and users; must not know a tensor, a cipher, a socket or the protocol.
//!
//! The usual way of a file of records:
//!
//! ```text
//! load_jsonl -> Loaded -> prepare (clean, de-duplicate, labels) -> split -> Dataset::from_records -> Examples
//! ```
//!
//! The text of a record never leaves through an error, a report or a `Debug` line of this crate.

pub mod bayes;
pub mod clean;
pub mod columns;
pub mod dataset;
pub mod dedup;
pub mod foreign;
pub mod label;
pub mod labels;
pub mod metrics;
pub mod pack;
pub mod pipeline;
pub mod prepare;
pub mod read;
pub mod record;
pub mod report;
pub mod sms;
pub mod spans;
pub mod split;
pub mod statistics;
pub mod tokenize;
pub mod tokenizer;

pub use bayes::NaiveBayes;
pub use dataset::{Dataset, Example, UnitCap};
pub use labels::LabelSet;
pub use metrics::Confusion;
pub use prepare::{Uniqueness, prepare, prepare_within};
pub use read::{BadLines, Loaded, ReadError, ReadOptions, load_jsonl, read_jsonl};
pub use record::{Language, Record};
pub use report::{RejectReason, Report};
pub use tokenize::Tokenizer;
