//! Which records a step reads: a function of the seed and the step's number, so that a restart changes nothing (training.md M13). Not for
//! private training, whose samples nobody may foresee (privacy.md D30).

use super::{FitError, Recipe};
use crate::batch::{Batch, Record};
use crate::direct::Reading;
use crate::mask::{Masks, below};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What is learnt from. Has no `Debug`: nothing prints a record by accident.
pub enum Material {
    /// One long text, of which each step reads pieces from random places.
    Text(Vec<u32>),
    /// Labelled records, each read once per pass over the data.
    Records(Vec<Record>),
}

/// One record of a batch.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    /// A piece of text, one token longer than it is read.
    Piece(&'a [u32]),
    Record(&'a Record),
}

impl Item<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Piece(piece) => piece.len(),
            Self::Record(record) => record.tokens.len(),
        }
    }

    /// How many tokens of it a model reads: nothing comes after the last one of a piece.
    pub(super) fn rows(&self, max_tokens: usize) -> usize {
        match self {
            Self::Piece(piece) => piece.len().saturating_sub(1),
            Self::Record(record) => record.tokens.len().min(max_tokens),
        }
    }
}

/// The records among items, in their order.
pub(super) fn records<'a>(items: &'a [Item<'a>]) -> impl Iterator<Item = &'a Record> {
    items.iter().filter_map(|item| match item {
        Item::Record(record) => Some(*record),
        Item::Piece(_) => None,
    })
}

/// Several records as one pass reads them. All items of a batch are of one kind.
pub(super) fn reading(items: &[Item<'_>], max_tokens: usize) -> Reading {
    let pieces = items.iter().filter_map(|item| match item {
        Item::Piece(piece) => Some(*piece),
        Item::Record(_) => None,
    });
    match items.first() {
        Some(Item::Record(_)) => Reading::of_batch(&Batch::pack(records(items), max_tokens)),
        Some(Item::Piece(_)) | None => Reading::of_pieces(pieces),
    }
}

/// Sets the order of the data apart from the initial weights, which may come from the same seed.
const ORDER: u64 = 0x6f72_6465_7200_0000;
/// Sets what is dropped apart from the order.
const THINNING: u64 = 0x7468_696e_0000_0000;

/// Numbers for one purpose at one point of the run.
fn numbers(seed: u64, stream: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ ORDER);
    rng.set_stream(stream);
    rng
}

fn shuffle<T>(rng: &mut ChaCha20Rng, values: &mut [T]) {
    for i in (1..values.len()).rev() {
        values.swap(i, below(rng, i + 1));
    }
}

/// The records of one step.
pub(super) fn batch<'a>(material: &'a Material, recipe: &Recipe, step: u64, max_tokens: usize) -> Result<Vec<Item<'a>>, FitError> {
    match material {
        Material::Text(tokens) => {
            let places = tokens.len().checked_sub(max_tokens).filter(|&p| p > 0).ok_or(FitError::Nothing)?;
            let mut rng = numbers(recipe.seed, step);
            let mut piece = || Item::Piece(&tokens[below(&mut rng, places)..][..=max_tokens]);
            Ok((0..recipe.batch).map(|_| piece()).collect())
        }
        Material::Records(records) => of_records(records, recipe, step),
    }
}

/// Copies of the labelled records of a batch without some of their tokens; none if nothing is dropped.
///
/// A small set is soon known by heart; a record that never looks the same twice is not.
pub(super) fn thinned(items: &[Item<'_>], recipe: &Recipe, step: u64) -> Vec<Record> {
    if recipe.drop_tokens <= 0.0 {
        return Vec::new();
    }
    let mut rng = numbers(recipe.seed ^ THINNING, step);
    let mut thin = |record: &Record| {
        let mut first = true;
        let mut keep = |_: &u32| std::mem::take(&mut first) || f64::from(rng.next_u32()) >= recipe.drop_tokens * 4_294_967_296.0;
        let kept: Vec<bool> = record.tokens.iter().map(&mut keep).collect();
        let only = |all: &[u32]| all.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(&one, _)| one).collect();
        // Labels of tokens go with their tokens.
        let each = record.labels.len() == record.tokens.len();
        Record {
            tokens: only(&record.tokens),
            class: record.class,
            labels: if each { only(&record.labels) } else { record.labels.clone() },
        }
    };
    records(items).map(&mut thin).collect()
}

/// Copies of the records of a batch as a model reads them that shall say what is hidden; none if nothing is.
pub(super) fn hidden(items: &[Item<'_>], masks: Option<&Masks>) -> Vec<Record> {
    masks.map_or_else(Vec::new, |masks| records(items).map(|record| masks.hide(record)).collect())
}

/// The copies in place of the items that they were made of, where there are any.
pub(super) fn or_copies<'a>(items: Vec<Item<'a>>, copies: &'a [Record]) -> Vec<Item<'a>> {
    if copies.is_empty() { items } else { copies.iter().map(Item::Record).collect() }
}

/// All of the material: a text in pieces of the model's length side by side, every token but the first to be foretold once.
pub(super) fn all(material: &Material, max_tokens: usize) -> Vec<Item<'_>> {
    match material {
        // Each piece ends with the token that the next one begins with.
        Material::Text(tokens) => (0..tokens.len().saturating_sub(1))
            .step_by(max_tokens)
            .map(|at| Item::Piece(&tokens[at..tokens.len().min(at + max_tokens + 1)]))
            .collect(),
        Material::Records(records) => records.iter().map(Item::Record).collect(),
    }
}

fn of_records<'a>(records: &'a [Record], recipe: &Recipe, step: u64) -> Result<Vec<Item<'a>>, FitError> {
    if records.is_empty() {
        return Err(FitError::Nothing);
    }
    let per_pass = u64::try_from(records.len().div_ceil(recipe.batch)).unwrap_or(u64::MAX);
    let (pass, at) = (step / per_pass, usize::try_from(step % per_pass).unwrap_or(0));
    let mut rng = numbers(recipe.seed, pass);
    let mut order: Vec<usize> = (0..records.len()).collect();
    shuffle(&mut rng, &mut order);
    if recipe.bucket > 1 {
        // Records of like length come together, within some batches only, so that a batch still is a random one.
        order.chunks_mut(recipe.batch * recipe.bucket).for_each(|pool| pool.sort_by_key(|&i| records[i].tokens.len()));
    }
    let mut batches: Vec<&[usize]> = order.chunks(recipe.batch).collect();
    shuffle(&mut rng, &mut batches);
    let mut items: Vec<Item<'_>> = batches[at].iter().map(|&i| Item::Record(&records[i])).collect();
    // The longest and the shortest go to different workers.
    items.sort_by_key(Item::len);
    Ok(items)
}
