//! Reads what annotation tools export. Untrusted bytes: limits on everything, one item in memory at a time, errors name items and fields.

mod doccano;
mod label_studio;
mod lines;
mod prodigy;
mod value;

use super::{Annotation, Counting, OffsetError};
use crate::read::BadLines;
use std::io::{self, BufRead};

/// Longest item, in bytes: a task of Label Studio with many annotators, predictions and regions.
pub const MAX_ITEM_BYTES: usize = 16 << 20;
/// Most items of one file; as many records as a file may have.
pub const MAX_ITEMS: u64 = 5_000_000;
/// Most annotations, spans or labels of one item: what people mark in one text, many times over.
const MAX_PARTS: usize = 10_000;

/// Which tool wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Label Studio's JSON: one array of tasks.
    LabelStudio,
    /// doccano's JSON Lines: classification, sequence labels, or entities with relations. Versions differ in what offsets count, and the
    /// file does not say: code points, or UTF-16 units where the browser's numbers were kept.
    Doccano(Counting),
    /// Prodigy's JSON Lines.
    Prodigy,
}

/// Why an item is no annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// Not JSON, or not an object.
    #[error("the item is not a JSON object")]
    NotAnObject,
    /// Longer than [`MAX_ITEM_BYTES`].
    #[error("the item is longer than {MAX_ITEM_BYTES} bytes")]
    TooLong,
    /// A field is not there.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A field of another type than the format says.
    #[error("field {0} has another type than the format says")]
    WrongType(&'static str),
    /// More parts than 10,000.
    #[error("field {0} has more than {MAX_PARTS} parts")]
    TooMany(&'static str),
    /// A span outside its text, or of other words.
    #[error("a span does not fit its text")]
    Offsets(#[from] OffsetError),
    /// Words and characters of a span contradict each other, or there is no such word.
    #[error("the tokens of a span do not fit its characters")]
    Tokens,
}

/// Why an item gave nothing, without being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The item is wrong and bad items are skipped.
    Bad,
    /// The annotator rejected, ignored or cancelled it.
    Rejected,
    /// Nobody has annotated it.
    Unlabelled,
}

/// An item that gave no annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number, from 1.
    pub item: u64,
    /// Why.
    pub reason: SkipReason,
    /// What was wrong with it, where something was.
    pub error: Option<ItemError>,
}

/// What a file held. Every item gave annotations or stands in `skipped`.
#[derive(Debug, Default)]
pub struct Imported {
    /// In the file's order; an item with several annotators gives several.
    pub annotations: Vec<Annotation>,
    /// Items without one.
    pub skipped: Vec<Skipped>,
    /// Items read.
    pub items: u64,
}

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source failed.
    #[error("the source cannot be read behind item {item}")]
    Io {
        /// Items read so far.
        item: u64,
        /// The cause.
        source: io::Error,
    },
    /// The file is not one JSON array of tasks; what follows the item cannot be read either.
    #[error("the file is not a JSON array of tasks: broken behind item {item}, line {line}")]
    NotAnArray {
        /// Items read so far.
        item: u64,
        /// Where the parser stopped.
        line: usize,
    },
    /// A bad item, where bad ones are fatal.
    #[error("item {item} is not an annotation")]
    Item {
        /// From 1.
        item: u64,
        /// Why.
        source: ItemError,
    },
    /// More than [`MAX_ITEMS`].
    #[error("there are more than {MAX_ITEMS} items")]
    TooMany,
}

/// What one item gave.
enum Item {
    Annotations(Vec<Annotation>),
    Nothing(SkipReason),
}

impl Imported {
    /// Takes in what item `item` gave.
    fn take(&mut self, item: u64, found: Result<Item, ItemError>, bad: BadLines) -> Result<(), ImportError> {
        if item > MAX_ITEMS {
            return Err(ImportError::TooMany);
        }
        self.items = item;
        match found {
            Ok(Item::Annotations(found)) if found.is_empty() => self.skip(item, SkipReason::Unlabelled, None),
            Ok(Item::Annotations(found)) => self.annotations.extend(found),
            Ok(Item::Nothing(reason)) => self.skip(item, reason, None),
            Err(source) if bad == BadLines::Fatal => return Err(ImportError::Item { item, source }),
            Err(error) => self.skip(item, SkipReason::Bad, Some(error)),
        }
        Ok(())
    }

    fn skip(&mut self, item: u64, reason: SkipReason, error: Option<ItemError>) {
        self.skipped.push(Skipped { item, reason, error });
    }

    /// Items that were skipped for this reason.
    pub fn count(&self, reason: SkipReason) -> usize {
        self.skipped.iter().filter(|s| s.reason == reason).count()
    }
}

/// Reads a file that a tool exported.
///
/// # Errors
/// [`ImportError`]; of a bad item only where `bad` is fatal.
///
/// # Security
/// Works on untrusted bytes; of JSON Lines never more than one item is held beside the annotations.
pub fn import(source: impl BufRead, format: Format, bad: BadLines) -> Result<Imported, ImportError> {
    match format {
        Format::LabelStudio => label_studio::import(source, bad),
        Format::Doccano(counting) => lines::import(source, bad, |number, o| doccano::item(number, o, counting)),
        Format::Prodigy => lines::import(source, bad, prodigy::item),
    }
}
