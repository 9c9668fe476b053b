//! Which way to a unit's norm in a linear layer costs less (privacy.md D36).

use super::gram::BLOCK;

/// How a unit's squared norm in one layer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the Gram matrices of inputs and gradients, without the gradient itself.
    Gram,
    /// From the gradient itself.
    Instance,
}

/// Writing a number of the gradient and reading it again for its square, in multiplications and additions.
const TOUCH: usize = 16;

/// The cheaper way for a unit of `n` rows, `d` inputs and `p` outputs.
///
/// # Units
/// Multiplications and additions: n² (d + p) for half of both Gram matrices and one block more on the diagonal; 2 n d p for the gradient.
pub(crate) fn way(n: usize, d: usize, p: usize) -> Way {
    let gram = n * (n + BLOCK.min(n)) * (d + p);
    let instance = 2 * n * d * p + TOUCH * d * p;
    if gram < instance { Way::Gram } else { Way::Instance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_units_take_gram_matrices_and_narrow_layers_the_gradient_itself() {
        assert_eq!(way(128, 256, 1024), Way::Gram);
        assert_eq!(way(128, 256, 4096), Way::Gram);
        assert_eq!(way(1024, 256, 256), Way::Instance);
        assert_eq!(way(128, 8, 768), Way::Instance); // the factor of an adapter
        assert_eq!(way(1, 8, 3), Way::Gram);
    }
}
