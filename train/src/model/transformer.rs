//! The whole model, in any of its three families.
//!
//! ```text
//! encoder          tokens -> tables -> blocks, everybody hears everybody -> a class, a label per token, or the masked tokens
//! decoder          tokens -> tables -> blocks, nobody hears the future   -> a score for every possible next token
//! encoder-decoder  tokens -> tables -> blocks -----------------\
//!                  answer -> tables -> blocks, which also ask --+       -> a score for every possible next token of the answer
//! ```

use super::Objective;
use super::block::{BlockShape, Scene};
use super::config::{Choices, Config, Family, MaskKind, Scores, Task};
use super::decoder::Head;
use super::embedding::{self, Embedding, Reading};
use super::entrance::Entrance;
use super::heads::{self, Heads};
use super::initial;
use super::names::Side;
use super::outside::Outside;
use super::parameters::{Access, Listing, MAX_COORDINATES, ModelError, Parameter, ParameterTable, Trained, Values, Weights, size};
use super::stack::{Stack, StackPlan};
use crate::batch::{Batch, Spans, UNASKED};
use crate::capture::{CaptureError, Tape};
use crate::device::Site;
use crate::ops::loss::cross_entropy;
use crate::ops::rows::pick;
use crate::ops::token_loss::token_loss;
use candle_core::{Result, Tensor, bail};
use protocol::plan::Keep;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Blocks of an encoder or decoder, or of both.
enum Stacks {
    One(Box<Stack>),
    Two(Box<[Stack; 2]>),
}

/// A Transformer.
pub struct Transformer {
    config: Config,
    embedding: Embedding,
    entrances: Option<Box<[Entrance; 2]>>,
    stacks: Stacks,
    heads: Heads,
    /// What dropout is drawn from, whatever the tape says.
    dropping: Option<u64>,
}

fn shape(choices: &Choices, mask: MaskKind, layers: u32) -> BlockShape {
    let [width, heads, hidden, layers] = [choices.width, choices.heads, choices.hidden, layers].map(size);
    let shape = BlockShape {
        groups: size(choices.groups),
        head_width: size(choices.head_width),
        mask,
        window: choices.window,
        positions: choices.positions,
        norm: choices.norm,
        epsilon: choices.epsilon,
        place: choices.place,
        feed_forward: choices.feed_forward,
        shifts: choices.shifts,
        dropout: choices.dropout,
        adapter: choices.adapter.clone(),
        ..BlockShape::plain(width, heads, hidden, layers)
    };
    let scale = match choices.scores {
        Scores::Scaled => shape.usual_scale(),
        Scores::Plain => 1.0,
    };
    BlockShape { scale, ..shape }
}

fn plans(choices: &Choices) -> Vec<StackPlan<'_>> {
    let plan = |side, mask, layers: std::ops::Range<u32>, asks| {
        let shape = shape(choices, mask, layers.end - layers.start);
        StackPlan { choices, shape, side, layers, asks }
    };
    match choices.family {
        Family::Encoder(_) => vec![plan(Side::Encoder, choices.mask, 0..choices.layers, false)],
        Family::Decoder => vec![plan(Side::Decoder, choices.mask, 0..choices.layers, false)],
        Family::EncoderDecoder { .. } => {
            let encoder = plan(Side::Encoder, MaskKind::Full, 0..choices.layers, false);
            vec![encoder, plan(Side::Decoder, MaskKind::Causal, choices.layers..choices.all_layers(), true)]
        }
    }
}

/// Lists all tensors of a model.
fn list(config: &Config) -> Listing {
    let mut listing = Listing::new(config.trained.clone(), size(config.all_layers())).leaving_out(config.outside.clone());
    let over_tokens = !matches!(config.family, Family::Encoder(Task::Classify { .. } | Task::Tag { .. }));
    let access = if over_tokens && config.head == Head::Tied { Access::RowsAndWhole } else { Access::Rows };
    embedding::declare_all(config, access, &mut listing);
    plans(config).iter().for_each(|plan| plan.declare(&mut listing));
    heads::declare(config, &mut listing);
    listing
}

/// What a batch asks of a model: scores `(rows, K)` and what they should have said.
struct Asked {
    scores: Tensor,
    spans: Spans,
    answers: Vec<Option<usize>>,
}

impl Transformer {
    /// Copies the weights into tensors.
    ///
    /// # Errors
    /// The tensor engine's.
    pub fn load(weights: &TransformerWeights) -> Result<Self> {
        Self::of(weights.config().clone(), weights.values())
    }

    /// The same, to live where a worker's models do.
    pub(crate) fn load_at(weights: &TransformerWeights, site: &Site) -> Result<Self> {
        Self::of(weights.config().clone(), Values { site: Some(site), ..weights.values() })
    }

    /// The same from wherever the tensors are.
    pub(crate) fn of(config: Config, values: Values<'_>) -> Result<Self> {
        let plans = plans(&config);
        let writes = !matches!(config.family, Family::Encoder(_));
        let embedding = Embedding::load_all(&config, &plans[0].shape, writes, values)?;
        let stacks = match &plans[..] {
            [encoder, decoder] => Stacks::Two(Box::new([Stack::load(encoder, values)?, Stack::load(decoder, values)?])),
            [one, ..] => Stacks::One(Box::new(Stack::load(one, values)?)),
            [] => bail!("a model without a stack"),
        };
        let entrances = Entrance::load_both(&config, &plans[0].shape, values)?;
        let heads = Heads::load(&config, &plans[0].shape, values)?;
        Ok(Self { embedding, entrances, stacks, heads, config, dropping: None })
    }

    /// Keeps this much of the blocks between the forward and the backward pass; the results are the same.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        let stacks = match self.stacks {
            Stacks::One(stack) => Stacks::One(Box::new(stack.keeping(keep))),
            Stacks::Two(both) => Stacks::Two(Box::new((*both).map(|stack| stack.keeping(keep)))),
        };
        Self { stacks, ..self }
    }

    /// Leaves numbers out at the model's rate, drawn from this seed; nothing without one.
    #[must_use]
    pub fn dropping(self, seed: Option<u64>) -> Self {
        Self { dropping: seed, ..self }
    }

    /// Scores (logits).
    ///
    /// # Shape
    /// in N tokens of B records; out `(B, K)` of a classifier, `(N, K)` of a tagger, `(N, V)` of a model of tokens, `(M, V)` of an
    /// encoder-decoder, with M the starts and labels of all records.
    ///
    /// # Errors
    /// The tensor engine's, for tokens outside the tables or labels that do not fit.
    pub fn forward(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        Ok(self.ask(batch, tape)?.scores)
    }

    fn ask(&self, batch: &Batch, tape: &Tape) -> Result<Asked> {
        let tape = &self.dropping.into_iter().fold(tape.clone(), Tape::dropping).of_batch(batch);
        match (&self.stacks, self.config.family) {
            (Stacks::One(stack), Family::Encoder(task)) => self.encode(stack, task, batch, tape),
            (Stacks::One(stack), Family::Decoder) => self.decode(stack, batch, tape),
            (Stacks::Two(stacks), Family::EncoderDecoder { start, end, .. }) => self.translate(stacks, (start, end), batch, tape),
            (Stacks::One(_), Family::EncoderDecoder { .. }) | (Stacks::Two(_), Family::Encoder(_) | Family::Decoder) => {
                bail!("the stacks are of another family")
            }
        }
    }

    fn encode(&self, stack: &Stack, task: Task, batch: &Batch, tape: &Tape) -> Result<Asked> {
        let spans = batch.spans.clone();
        let x = self.embedding.forward(batch, tape)?; // (N) -> (N, C)
        let x = stack.forward(x, Scene::of(&spans, tape))?;
        let scores = self.heads.forward(x, &spans, tape)?; // (N, C) -> (B, K) or (N, K)
        let answers = match task {
            Task::Classify { .. } => batch.classes.iter().map(|&class| Some(size(class))).collect(),
            Task::Tag { .. } | Task::MaskedTokens if batch.labels.is_empty() => vec![None; batch.tokens.len()],
            Task::Tag { .. } | Task::MaskedTokens if batch.label_spans == spans => batch.labels.iter().map(|&l| asked(l)).collect(),
            Task::Tag { .. } | Task::MaskedTokens => bail!("a record has another number of labels than of tokens"),
        };
        let spans = match task {
            Task::Classify { .. } => Spans::single_rows(spans.records()),
            Task::Tag { .. } | Task::MaskedTokens => spans,
        };
        Ok(Asked { scores, spans, answers })
    }

    /// The question, then the answer, in one sequence. Without an answer every token is asked for but the first.
    fn decode(&self, stack: &Stack, batch: &Batch, tape: &Tape) -> Result<Asked> {
        let most = size(self.config.max_tokens);
        let (mut tokens, mut lengths, mut answers, mut prefix) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (rows, labels) in batch.spans.iter().zip(batch.label_spans.iter()) {
            let question = rows.len();
            let all = batch.tokens[rows].iter().chain(&batch.labels[labels.clone()]);
            let sequence: Vec<u32> = all.copied().take(most).collect();
            let first = if labels.is_empty() && self.config.mask != MaskKind::Prefix { 1 } else { question.max(1) };
            answers.extend((1..=sequence.len()).map(|next| sequence.get(next).filter(|_| next >= first).map(|&t| size(t))));
            prefix.push(question.min(sequence.len()));
            lengths.push(sequence.len());
            tokens.extend(sequence);
        }
        let (spans, prefix): (Spans, Arc<[usize]>) = (Spans::of(lengths), prefix.into());
        let reading = Reading { tokens, spans: spans.clone(), parts: spans.clone() };
        let x = self.embedding.read(&reading, tape)?; // (N) -> (N, C)
        let x = stack.forward(x, Scene { prefix: Some(&prefix), ..Scene::of(&spans, tape) })?;
        Ok(Asked { scores: self.heads.forward(x, &spans, tape)?, spans, answers }) // (N, C) -> (N, V)
    }

    /// What the encoder (0) or the decoder (1) does to rows of the shared tables before its blocks: `(N, C)` to `(N, C)`.
    fn enter(&self, side: usize, x: Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        match &self.entrances {
            Some(both) => both[side].forward(x, spans, tape),
            None => Ok(x),
        }
    }

    /// Source and answer are read from the tables at once, so that a shared table has one gradient; then their ways part.
    fn translate(&self, stacks: &[Stack; 2], (start, end): (u32, u32), batch: &Batch, tape: &Tape) -> Result<Asked> {
        let most = size(self.config.max_tokens).saturating_sub(1);
        let (mut tokens, mut parts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for (rows, labels) in batch.spans.iter().zip(batch.label_spans.iter()) {
            let labels = &batch.labels[labels][..];
            let labels = &labels[..labels.len().min(most)];
            parts.extend([rows.len(), labels.len() + 1]);
            tokens.extend_from_slice(&batch.tokens[rows]);
            tokens.push(start);
            tokens.extend(labels.iter().map(|&l| if l == UNASKED { end } else { l }));
            answers.extend(labels.iter().chain([&end]).map(|&l| asked(l)));
        }
        let records = Spans::of(parts.chunks_exact(2).map(|part| part[0] + part[1]));
        let parts = Spans::of(parts);
        let rows = |side: usize| -> (Vec<Option<usize>>, Spans) {
            let mine: Vec<_> = parts.iter().skip(side).step_by(2).collect();
            (mine.iter().cloned().flatten().map(Some).collect(), Spans::of(mine.iter().map(ExactSizeIterator::len)))
        };
        let ((sources, source_spans), (targets, target_spans)) = (rows(0), rows(1));
        let x = self.embedding.read(&Reading { tokens, spans: records, parts: parts.clone() }, tape)?; // (N) -> (N, C)
        let [encoder, decoder] = stacks;
        let source = self.enter(0, pick(&x, sources)?, &source_spans, tape)?;
        let read = encoder.forward(source, Scene::of(&source_spans, tape))?; // (sources, C)
        let scene = Scene { memory: Some((&read, &source_spans)), ..Scene::of(&target_spans, tape) };
        let target = self.enter(1, pick(&x, targets)?, &target_spans, tape)?;
        let written = decoder.forward(target, scene)?; // (targets, C)
        let scores = self.heads.forward(written, &target_spans, tape)?; // (targets, C) -> (targets, V)
        Ok(Asked { scores, spans: target_spans, answers })
    }
}

fn asked(label: u32) -> Option<usize> {
    (label != UNASKED).then(|| size(label))
}

impl Objective for Transformer {
    fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        let asked = self.ask(batch, tape)?;
        match self.config.family {
            Family::Encoder(Task::Classify { .. }) => cross_entropy(&asked.scores, &batch.classes), // (B, K) -> (B)
            Family::Encoder(Task::Tag { .. } | Task::MaskedTokens) | Family::Decoder | Family::EncoderDecoder { .. } => {
                token_loss(&asked.scores, &asked.spans, asked.answers) // (rows, K) -> (B)
            }
        }
    }
}

/// One version of a model: its configuration, its trained numbers and its frozen ones, and what stays in a checkpoint.
#[derive(Clone, PartialEq)]
pub struct TransformerWeights {
    config: Arc<Config>,
    tables: Arc<(ParameterTable, ParameterTable)>,
    flat: Vec<f32>,
    frozen: Arc<[f32]>,
    outside: Option<Arc<Outside>>,
}

/// Losses of a batch in nats `(B)`, and the gradient of their sum in the order of the trained numbers.
pub type LossesAndGradient = (Vec<f32>, Vec<f32>);

impl TransformerWeights {
    /// Flat vectors as a model.
    ///
    /// # Errors
    /// [`ModelError`] for a wrong length or a number that is not finite.
    pub fn new(config: &Config, flat: Vec<f32>, frozen: impl Into<Arc<[f32]>>) -> std::result::Result<Self, ModelError> {
        let (listing, frozen) = (list(config), frozen.into());
        listing.trained.check(&flat)?;
        listing.frozen.check(&frozen)?;
        Ok(Self { config: Arc::new(config.clone()), tables: Arc::new((listing.trained, listing.frozen)), flat, frozen, outside: None })
    }

    /// The model's first weights. Everybody who knows the seed gets the same bits.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn initial(config: &Config, seed: u64) -> std::result::Result<Self, ModelError> {
        let listing = list(config);
        if listing.trained.len() + listing.frozen.len() > MAX_COORDINATES {
            return Err(ModelError::TooLarge);
        }
        // Streams of the frozen tables begin where no trained table can reach.
        let (flat, frozen) = (initial::values(&listing.trained, seed, 0), initial::values(&listing.frozen, seed, 1 << 32));
        Self::new(config, flat, frozen)
    }

    /// Names and places of a model's trained and frozen numbers, without any number.
    pub fn tables(config: &Config) -> (ParameterTable, ParameterTable) {
        let listing = list(config);
        (listing.trained, listing.frozen)
    }

    /// Names and shapes of the tensors that lie in a model's checkpoint.
    pub(crate) fn outside_table(config: &Config) -> ParameterTable {
        list(config).outside
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// Names and places of the trained numbers.
    pub fn table(&self) -> &ParameterTable {
        &self.tables.0
    }
    /// Names and places of the frozen numbers.
    pub fn frozen_table(&self) -> &ParameterTable {
        &self.tables.1
    }
    /// All trained numbers in the table's order.
    pub fn flat(&self) -> &[f32] {
        &self.flat
    }
    /// All trained numbers, to be changed by an optimiser.
    pub fn flat_mut(&mut self) -> &mut [f32] {
        &mut self.flat
    }
    /// All frozen numbers in their table's order.
    pub fn frozen(&self) -> &[f32] {
        &self.frozen
    }
    /// One tensor, trained or frozen.
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        let trained = self.table().find(name).map(|p| &self.flat[p.range()]);
        trained.or_else(|| self.frozen_table().find(name).map(|p| &self.frozen[p.range()]))
    }

    /// The same numbers with other parts trained. Tensors that this model does not have, those of an adapter, get first values from `seed`.
    ///
    /// # Errors
    /// As [`Self::new`]; [`ModelError::Length`] for a tensor of another size.
    pub fn retraining(&self, config: &Config, seed: u64) -> std::result::Result<Self, ModelError> {
        let mut fresh = Self::initial(config, seed)?;
        let mut frozen = fresh.frozen.to_vec();
        for (table, flat) in [(&fresh.tables.0, &mut fresh.flat), (&fresh.tables.1, &mut frozen)] {
            for p in table.iter() {
                let Some(old) = self.tensor(&p.name) else { continue };
                let new = &mut flat[p.range()];
                if new.len() != old.len() {
                    return Err(ModelError::Length { got: old.len(), expected: new.len() });
                }
                new.copy_from_slice(old);
            }
        }
        fresh.frozen = frozen.into();
        fresh.outside.clone_from(&self.outside);
        Ok(fresh)
    }

    /// A plan's weights of which the tensors of these names are trained and the rest is frozen.
    ///
    /// # Errors
    /// [`ModelError`] for a model that cannot be built, or one whose checkpoint is not beside the weights.
    pub fn part_of(weights: &Weights, names: BTreeSet<String>) -> std::result::Result<Self, ModelError> {
        let config = Config::of_plan(weights.config(), Trained::Named(names.into()))?;
        let listing = list(&config);
        let values = |table: &ParameterTable| -> Vec<f32> {
            let there = table.iter().filter_map(|p| weights.table().find(&p.name)).map(Parameter::range);
            there.flat_map(|range| &weights.flat()[range]).copied().collect()
        };
        let (flat, frozen) = (values(&listing.trained), values(&listing.frozen));
        let (expected, given) = (listing.outside.iter().count(), weights.outside().map_or(0, |outside| outside.len()));
        if given < expected {
            return Err(ModelError::NoBase(expected));
        }
        Ok(Self { outside: weights.outside().cloned(), ..Self::new(&config, flat, frozen)? })
    }

    /// The plan's weights with what is trained here in place of theirs.
    ///
    /// # Errors
    /// [`ModelError`] for numbers that are not finite.
    pub fn within(&self, weights: &Weights) -> std::result::Result<Weights, ModelError> {
        let mut flat = weights.flat().to_vec();
        for p in self.table().iter() {
            if let Some(there) = weights.table().find(&p.name) {
                flat[there.range()].copy_from_slice(&self.flat[p.range()]);
            }
        }
        let next = Weights::new(weights.config(), flat)?;
        Ok(match weights.outside() {
            Some(outside) => next.beside(Arc::clone(outside)),
            None => next,
        })
    }

    pub(crate) fn values(&self) -> Values<'_> {
        let frozen = Some((&self.tables.1, &self.frozen));
        Values { trained: (&self.tables.0, &self.flat), frozen, outside: self.outside.as_deref(), site: None }
    }

    /// Losses and the gradient of their sum; with a seed, numbers are dropped at the configuration's rate.
    ///
    /// # Privacy
    /// No unit is clipped and no noise is added: for public data, and for comparison with other programs.
    ///
    /// # Errors
    /// [`CaptureError`] for a batch without tokens, labels that do not fit, or a parameter without a gradient.
    pub fn gradient(&self, batch: &Batch, dropout_seed: Option<u64>) -> std::result::Result<LossesAndGradient, CaptureError> {
        self.gradient_keeping(batch, dropout_seed, Keep::Everything)
    }

    /// The same, keeping this much of the blocks between the passes: for less memory, or to compare.
    ///
    /// # Errors
    /// As [`Self::gradient`].
    pub fn gradient_keeping(
        &self,
        batch: &Batch,
        dropout_seed: Option<u64>,
        keep: Keep,
    ) -> std::result::Result<LossesAndGradient, CaptureError> {
        let tape = Tape::total(self.flat.len());
        let tape = dropout_seed.into_iter().fold(tape, Tape::dropping);
        let losses = Transformer::load(self)?.keeping(keep).losses(batch, &tape)?;
        let gradient = tape.finish_total(&losses.sum_all()?.backward()?, self.table())?;
        Ok((losses.to_vec1()?, gradient))
    }
}

impl std::fmt::Debug for TransformerWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TransformerWeights({} numbers, {} frozen)", self.flat.len(), self.frozen.len())
    }
}

#[cfg(test)]
#[path = "transformer_tests.rs"]
mod tests;
