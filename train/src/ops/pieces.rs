//! One operation over rows that is computed piece by piece with the engine's own operations: each piece by itself, forward, and again in the
//! backward pass, so that nothing of its inside is kept and no piece has a say in another one.

use super::ready::{Gradients, back_again, recorded};
use candle_core::{DType, Result, Tensor, bail};
use std::ops::Range;

/// One piece: the rows of each input that it reads, and how many rows come out.
pub(crate) struct Piece {
    pub(crate) reads: Vec<Range<usize>>,
    pub(crate) makes: usize,
    /// Whether there is anything to compute; else zeros come out, and no input has a gradient.
    pub(crate) speaks: bool,
}

/// What comes out of a piece, by its number and the rows that it reads.
type Run = Box<dyn Fn(usize, &[Tensor]) -> Result<Tensor> + Send + Sync>;

struct Pieces {
    pieces: Vec<Piece>,
    /// Columns that come out.
    width: usize,
    run: Run,
}

/// Runs all pieces; recorded if one of the one to three inputs is tracked. The pieces must read all rows of each input, in order.
pub(crate) fn in_pieces(inputs: &[&Tensor], pieces: Vec<Piece>, width: usize, run: Run) -> Result<Tensor> {
    let op = Pieces { pieces, width, run };
    let untracked: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
    let first = op.forward(&untracked)?;
    recorded("pieces", inputs, first, move |inputs, grad| op.back(inputs, grad))
}

/// Parts one below the other, as wide as `width` where there is none.
fn stacked(parts: &[Tensor], width: usize, like: &Tensor) -> Result<Tensor> {
    if parts.is_empty() { Tensor::zeros((0, width), DType::F32, like.device()) } else { Tensor::cat(parts, 0) }
}

impl Pieces {
    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let Some(any) = inputs.first() else { bail!("got no input") };
        let mut parts = Vec::with_capacity(self.pieces.len());
        for (number, piece) in self.pieces.iter().enumerate().filter(|(_, piece)| piece.makes > 0) {
            parts.push(if piece.speaks {
                (self.run)(number, &piece.cut(inputs)?)?
            } else {
                Tensor::zeros((piece.makes, self.width), DType::F32, any.device())?
            });
        }
        stacked(&parts, self.width, any)
    }

    /// Gradients of all inputs that are tracked.
    fn back(&self, inputs: &[Tensor], grad: &Tensor) -> Result<Gradients> {
        let mut parts: Vec<Vec<Tensor>> = inputs.iter().map(|_| Vec::new()).collect();
        let mut made = 0;
        for (number, piece) in self.pieces.iter().enumerate() {
            let gradients = if piece.speaks { self.back_of(number, inputs, &grad.narrow(0, made, piece.makes)?)? } else { Vec::new() };
            made += piece.makes;
            for (at, ((parts, input), rows)) in parts.iter_mut().zip(inputs).zip(&piece.reads).enumerate() {
                if rows.is_empty() || !input.track_op() {
                    continue;
                }
                let zeros = || Tensor::zeros((rows.len(), input.dims2()?.1), DType::F32, input.device());
                parts.push(gradients.get(at).cloned().flatten().map_or_else(zeros, Ok)?);
            }
        }
        let whole = |(input, parts): (&Tensor, Vec<Tensor>)| -> Result<Option<Tensor>> {
            if input.track_op() { stacked(&parts, input.dims2()?.1, input).map(Some) } else { Ok(None) }
        };
        inputs.iter().zip(parts).map(whole).collect()
    }

    /// One piece again. A piece that speaks reads rows of every input.
    fn back_of(&self, number: usize, inputs: &[Tensor], grad: &Tensor) -> Result<Gradients> {
        let Some(piece) = self.pieces.get(number) else { bail!("no piece {number}") };
        back_again(&piece.cut(inputs)?, grad, |read| (self.run)(number, read))
    }
}

impl Piece {
    fn cut(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        inputs.iter().zip(&self.reads).map(|(x, rows)| x.narrow(0, rows.start, rows.len())).collect()
    }
}
