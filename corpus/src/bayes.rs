//! Multinomial naive Bayes on character 1-3-grams: the floor a Transformer has to beat. Must not know tokens or models.

use std::collections::HashMap;

use crate::clean::normal_form;
use crate::metrics::{Confusion, NoSuchClass};

/// Up to three characters; shorter ones are filled with the character 0, which no normal form contains.
type Gram = [char; 3];

/// Why no classifier could be trained.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BayesError {
    /// There is nothing to learn from.
    #[error("there are no examples")]
    NoExamples,
    /// A class that the task does not have.
    #[error("an example has a class of its own making")]
    Class(#[from] NoSuchClass),
    /// Smoothing must be a positive finite number.
    #[error("smoothing is {alpha}, expected a positive finite number")]
    Alpha {
        /// As given.
        alpha: f64,
    },
}

/// A trained classifier.
///
/// # Privacy
/// Holds the n-grams of its texts and their exact counts: a baseline for the institution itself, never published.
pub struct NaiveBayes {
    classes: usize,
    /// ln P(class), in class order; minus infinity for a class without examples.
    log_prior: Vec<f64>,
    /// Row of each n-gram. Only looked up, never walked, so that its order touches no result.
    rows: HashMap<Gram, usize>,
    /// ln P(n-gram | class), row-major, n-gram by class.
    log_likelihood: Vec<f64>,
}

impl NaiveBayes {
    /// Additive smoothing that suits short texts.
    pub const DEFAULT_ALPHA: f64 = 0.1;

    /// Trains on texts with their classes: P(n-gram | class) = (count + alpha) / (all counts of the class + alpha * n-grams).
    ///
    /// # Errors
    /// [`BayesError`]: no examples, a class out of range, or a bad alpha.
    ///
    /// # Source
    /// Manning, Raghavan, Schütze, *Introduction to Information Retrieval*, section 13.2.
    pub fn train(examples: &[(&str, u32)], classes: usize, alpha: f64) -> Result<Self, BayesError> {
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(BayesError::Alpha { alpha });
        }
        if examples.is_empty() {
            return Err(BayesError::NoExamples);
        }
        let mut rows = HashMap::new();
        let mut counts: Vec<f64> = Vec::new();
        let mut of_class = vec![0.0; classes];
        for &(text, class) in examples {
            let column = usize::try_from(class).ok().filter(|&c| c < classes).ok_or(NoSuchClass { got: class, classes })?;
            of_class[column] += 1.0;
            for_each_gram(text, |gram| {
                let next = rows.len();
                let row = *rows.entry(gram).or_insert(next);
                counts.resize(counts.len().max((row + 1) * classes), 0.0);
                counts[row * classes + column] += 1.0;
            });
        }
        let log_prior = of_class.iter().map(|count: &f64| (count / examples.len() as f64).ln()).collect();
        smooth(&mut counts, classes, alpha);
        Ok(Self { classes, log_prior, rows, log_likelihood: counts })
    }

    /// The most likely class of a text; the first of equals. N-grams never seen in training are passed over.
    pub fn predict(&self, text: &str) -> u32 {
        let mut score = self.log_prior.clone();
        for_each_gram(text, |gram| {
            if let Some(&row) = self.rows.get(&gram) {
                let likelihood = &self.log_likelihood[row * self.classes..(row + 1) * self.classes];
                score.iter_mut().zip(likelihood).for_each(|(sum, term)| *sum += term);
            }
        });
        let mut best = (0u32, f64::NEG_INFINITY);
        for (class, &score) in (0u32..).zip(&score) {
            if score > best.1 {
                best = (class, score);
            }
        }
        best.0
    }

    /// The confusion matrix on texts with their classes.
    ///
    /// # Errors
    /// [`NoSuchClass`] when an example has a class that training did not know of.
    pub fn evaluate(&self, examples: &[(&str, u32)]) -> Result<Confusion, NoSuchClass> {
        let mut out = Confusion::new(self.classes);
        for &(text, class) in examples {
            out.record(class, self.predict(text))?;
        }
        Ok(out)
    }
}

/// Turns counts into ln of smoothed relative frequencies, class by class.
fn smooth(counts: &mut [f64], classes: usize, alpha: f64) {
    let grams = counts.len().checked_div(classes).unwrap_or(0) as f64;
    for class in 0..classes {
        let total: f64 = counts.iter().skip(class).step_by(classes).sum();
        let denominator = alpha.mul_add(grams, total);
        counts.iter_mut().skip(class).step_by(classes).for_each(|count| *count = ((*count + alpha) / denominator).ln());
    }
}

/// Every run of one, two and three characters of the normal form in lower case.
fn for_each_gram(text: &str, mut take: impl FnMut(Gram)) {
    let (mut before, mut last) = ('\0', '\0');
    for c in normal_form(text).chars().flat_map(char::to_lowercase) {
        take([c, '\0', '\0']);
        if last != '\0' {
            take([last, c, '\0']);
        }
        if before != '\0' {
            take([before, last, c]);
        }
        (before, last) = (last, c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_worked_out_by_hand() {
        // Single characters only, so that each text is one 1-gram. Class 0: x x y; class 1: y.
        let model = NaiveBayes::train(&[("x", 0), ("x", 0), ("y", 0), ("y", 1)], 2, 1.0).unwrap();
        let x = model.rows[&['x', '\0', '\0']];
        assert!((model.log_likelihood[x * 2] - (3.0f64 / 5.0).ln()).abs() < 1e-12);
        assert!((model.log_likelihood[x * 2 + 1] - (1.0f64 / 3.0).ln()).abs() < 1e-12);
        assert!((model.log_prior[1] - 0.25f64.ln()).abs() < 1e-12);
        assert_eq!((model.predict("x"), model.predict("yyy"), model.predict("never seen")), (0, 1, 0));
    }

    #[test]
    fn a_class_without_examples_is_never_the_answer() {
        let model = NaiveBayes::train(&[("a", 0), ("b", 2)], 3, 0.1).unwrap();
        let confusion = model.evaluate(&[("a", 0), ("b", 2), ("zz", 1)]).unwrap();
        assert_eq!((confusion.count(0, 0), confusion.count(2, 2), confusion.count(1, 1)), (1, 1, 0));
    }

    #[test]
    fn nothing_can_be_trained_from_nothing_or_with_a_bad_number() {
        assert_eq!(NaiveBayes::train(&[], 2, 1.0).err(), Some(BayesError::NoExamples));
        assert_eq!(NaiveBayes::train(&[("a", 2)], 2, 1.0).err(), Some(BayesError::Class(NoSuchClass { got: 2, classes: 2 })));
        assert!(matches!(NaiveBayes::train(&[("a", 0)], 2, f64::NAN).err(), Some(BayesError::Alpha { .. })));
    }
}
