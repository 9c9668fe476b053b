//! From an institution's raw records to shards that training reads, by a rule file, with counts that add up. Must not know models,
//! privacy mechanisms or the network; opens no file by itself: inputs and the place of its output are handed in.

pub mod cells;
pub mod counts;
pub mod depot;
pub mod expr;
pub mod fit;
pub mod made;
pub mod manifest;
pub mod near;
pub mod page;
mod parse;
pub mod prepared;
pub mod quality;
pub mod rules;
mod run;
pub mod scrub;
pub mod source;
pub mod text;
pub mod value;

pub use manifest::{Manifest, Nonce};
pub use parse::RowFault;
pub use quality::Quality;
pub use rules::{Rules, RulesError};
pub use run::{Inputs, MAX_LABELS, MAX_ROWS, Outcome, PrepareError, Progress, Step, prepare};
