//! What one pass reads: rows of tokens, and what is to be foretold of them.

use super::DirectError;
use crate::batch::{Batch, Spans};
use crate::model::parameters::size;

/// What each row or record is to foretell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aims {
    /// The token after each row (N).
    Next(Vec<u32>),
    /// The class of each record (B).
    Classes(Vec<u32>),
}

/// Records of a batch end to end, without the last token of each where the next one is to be foretold: nothing comes after it.
pub struct Reading {
    pub(super) tokens: Vec<u32>,
    pub(super) spans: Spans,
    pub(super) aims: Aims,
}

impl Reading {
    /// Pieces of text, each to be foretold from its second token on. A piece of n tokens is read as n - 1 rows.
    pub fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut tokens, mut next, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            let rows = piece.len().saturating_sub(1);
            tokens.extend_from_slice(&piece[..rows]);
            next.extend(piece.iter().skip(1));
            lengths.push(rows);
        }
        Self { tokens, spans: Spans::of(lengths), aims: Aims::Next(next) }
    }

    /// Labelled records.
    pub fn of_batch(batch: &Batch) -> Self {
        Self { tokens: batch.tokens.clone(), spans: batch.spans.clone(), aims: Aims::Classes(batch.classes.clone()) }
    }

    /// All tokens, N of them.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    /// Where each record lies.
    pub(crate) fn spans(&self) -> &Spans {
        &self.spans
    }
    /// What is to be foretold.
    pub(crate) fn aims(&self) -> &Aims {
        &self.aims
    }
    /// Rows N.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
    /// Records B.
    pub fn records(&self) -> usize {
        self.spans.records()
    }

    /// Refuses what does not fit a model of these sizes. `aims` is how many tokens or classes it tells apart.
    pub(super) fn check(&self, vocab: usize, max_tokens: usize, aims: usize) -> Result<(), DirectError> {
        if self.tokens.iter().any(|&t| size(t) >= vocab) {
            return Err(DirectError::Token { vocab });
        }
        if let Some(got) = self.spans.iter().map(|r| r.len()).find(|&n| n > max_tokens) {
            return Err(DirectError::Long { got, most: max_tokens });
        }
        let (values, expected) = match &self.aims {
            Aims::Next(next) => (next, self.rows()),
            Aims::Classes(classes) => (classes, self.records()),
        };
        if values.len() != expected || values.iter().any(|&v| size(v) >= aims) {
            return Err(DirectError::Aims { known: aims });
        }
        Ok(())
    }
}
