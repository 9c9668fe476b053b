//! Loops over plain numbers, written so that the compiler runs them on whole vectors. Know no tensor, no layer and no privacy.
//!
//! Every loop is compiled several times, for the vector instructions of several generations of processors, and the widest that this
//! processor has is taken at run time. Sums run over [`LANES`] partial sums in a fixed order, and no multiplication is fused with an
//! addition, so all of them give the same bits.

pub(crate) mod exp;
pub(crate) mod gelu;
pub(crate) mod norm;
pub(crate) mod softmax;
pub(crate) mod sums;

/// Partial sums of one reduction: as many as the widest registers hold.
pub(crate) const LANES: usize = 16;

/// A loop and what it works on.
struct Wide<F, A>(F, A);

impl<F: FnOnce(A) -> R, A, R> pulp::NullaryFnOnce for Wide<F, A> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        (self.0)(self.1)
    }
}

/// Runs `body` with the widest vector instructions of this processor. `body` must be a function that is always inlined: only what is
/// inlined here is compiled for them.
#[inline]
pub(crate) fn wide<A, R>(body: impl FnOnce(A) -> R, args: A) -> R {
    pulp::Arch::new().dispatch(Wide(body, args))
}

#[expect(clippy::cast_precision_loss, reason = "a row is far shorter than 2^24")]
#[inline(always)]
pub(crate) fn count(row: &[f32]) -> f32 {
    row.len() as f32
}
