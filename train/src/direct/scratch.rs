//! Memory of one worker's passes. It grows to the largest batch and is used again: asking the system for fresh pages costs as much as
//! the arithmetic of an element-wise operation.

/// What one block's backward pass reads.
#[derive(Default)]
pub(super) struct Block {
    /// x̂ before attention `(N, C)`.
    pub(super) normal: [Vec<f32>; 2],
    /// 1 / deviation of each row `(N)`, before attention and before the feed-forward part.
    pub(super) scales: [Vec<f32>; 2],
    /// Normalised rows with gain and shift `(N, C)`.
    pub(super) shown: [Vec<f32>; 2],
    /// Queries, keys and values `(N, 3C)`.
    pub(super) qkv: Vec<f32>,
    /// What attention gathered `(N, C)`.
    pub(super) mixed: Vec<f32>,
    /// Before GELU `(N, F)`.
    pub(super) wide: Vec<f32>,
    /// After it `(N, F)`.
    pub(super) gated: Vec<f32>,
}

/// What the head's backward pass reads.
#[derive(Default)]
pub(super) struct Top {
    /// x̂ of the last norm `(N, C)`.
    pub(super) normal: Vec<f32>,
    /// 1 / deviation `(N)`.
    pub(super) scales: Vec<f32>,
    /// Normalised `(N, C)`.
    pub(super) shown: Vec<f32>,
    /// Means of records `(B, C)`; classifiers only.
    pub(super) pooled: Vec<f32>,
    /// Scores, then their gradient: `(N, V)` or `(B, K)`.
    pub(super) scores: Vec<f32>,
}

/// Gradients that pass through the layers.
#[derive(Default)]
pub(super) struct Flow {
    /// Of the residual stream `(N, C)`.
    pub(super) stream: Vec<f32>,
    /// A rounded copy of it, where factors are rounded.
    pub(super) rounded: Vec<f32>,
    /// Of a part's normalised input `(N, C)`.
    pub(super) part: Vec<f32>,
    /// Of what attention gathered `(N, C)`.
    pub(super) mixed: Vec<f32>,
    /// Of the hidden layer `(N, F)`.
    pub(super) wide: Vec<f32>,
    /// Of queries, keys and values `(N, 3C)`.
    pub(super) qkv: Vec<f32>,
    /// Of pooled rows `(B, C)`.
    pub(super) pooled: Vec<f32>,
}

/// Squares of one head: who listens to whom, and the gradient of that.
#[derive(Default)]
pub(super) struct Squares {
    pub(super) heard: Vec<f32>,
    pub(super) grad: Vec<f32>,
}

/// Memory of one worker.
#[derive(Default)]
pub struct Scratch {
    /// The residual stream `(N, C)`.
    pub(super) stream: Vec<f32>,
    /// Inputs of the blocks, where only these are kept.
    pub(super) inputs: Vec<Vec<f32>>,
    pub(super) blocks: Vec<Block>,
    pub(super) top: Top,
    pub(super) flow: Flow,
    pub(super) squares: Squares,
}

impl Scratch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Row `i` of the last scores, `width` wide; empty where there are none.
    pub(crate) fn row(&self, i: usize, width: usize) -> &[f32] {
        self.top.scores.get(i * width..(i + 1) * width).unwrap_or_default()
    }
}

/// Room for `len` numbers, with whatever stood there.
pub(super) fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// A copy of `values`.
pub(super) fn copied<'a>(buffer: &'a mut Vec<f32>, values: &[f32]) -> &'a mut [f32] {
    let out = room(buffer, values.len());
    out.copy_from_slice(values);
    out
}
