//! The gradient of a whole batch at once, as training without privacy makes it. Only for measuring what privacy costs.

use super::add_scaled;
use crate::capture::Capture;
use crate::ops::{View, product, with_floats};
use candle_core::Result;

/// Adds one layer's gradient over all records.
pub(crate) fn add(flat: &mut [f32], capture: &Capture) -> Result<()> {
    match capture {
        Capture::Product { at, input, grad, .. } => {
            let ((n, d), p) = (input.dims2()?, grad.dims2()?.1);
            let weight = with_floats(grad, |g| with_floats(input, |a| product(g, View::matrix(0, n, p).t(), a, View::matrix(0, n, d))))?;
            add_scaled(&mut flat[*at..], &weight, 1.0); // (P, N) · (N, D) -> (P, D)
        }
        Capture::Vector { at, width, values } => {
            values.chunks_exact(*width).for_each(|v| add_scaled(&mut flat[*at..*at + width], v, 1.0));
        }
        Capture::Rows { lookup, grad, .. } => {
            let c = grad.dims2()?.1;
            with_floats(grad, |g| {
                lookup.ids.iter().zip(g.chunks_exact(c)).for_each(|(id, g)| add_scaled(&mut flat[lookup.at + id * c..][..c], g, 1.0));
                Ok(())
            })?;
        }
    }
    Ok(())
}
