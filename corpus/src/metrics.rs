//! Counts of right and wrong answers, and what follows from them. Must not know how the answers were made.

/// A confusion matrix: how often each class was taken for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row-major, truth by prediction.
    counts: Vec<u64>,
}

/// A class that the matrix does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("class {got} is not one of {classes}")]
pub struct NoSuchClass {
    /// The class given.
    pub got: u32,
    /// Classes of the matrix.
    pub classes: usize,
}

impl Confusion {
    /// All zero.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes.saturating_mul(classes)] }
    }

    /// Counts one answer.
    ///
    /// # Errors
    /// [`NoSuchClass`]; nothing is counted then.
    pub fn record(&mut self, truth: u32, prediction: u32) -> Result<(), NoSuchClass> {
        let (row, column) = (self.index(truth)?, self.index(prediction)?);
        self.counts[row * self.classes + column] += 1;
        Ok(())
    }

    fn index(&self, class: u32) -> Result<usize, NoSuchClass> {
        usize::try_from(class).ok().filter(|&index| index < self.classes).ok_or(NoSuchClass { got: class, classes: self.classes })
    }

    /// How often `truth` was taken for `prediction`; 0 for a class that is not there.
    pub fn count(&self, truth: u32, prediction: u32) -> u64 {
        match (self.index(truth), self.index(prediction)) {
            (Ok(row), Ok(column)) => self.at(row, column),
            (Err(_), _) | (_, Err(_)) => 0,
        }
    }

    fn at(&self, row: usize, column: usize) -> u64 {
        self.counts[row * self.classes + column]
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// All answers.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Right answers over all answers, or `None` when there are none.
    pub fn accuracy(&self) -> Option<f64> {
        ratio((0..self.classes).map(|c| self.at(c, c)).sum(), self.total())
    }

    /// 2 TP / (2 TP + FP + FN) of one class, or `None` when it stands neither in the truth nor in the predictions.
    pub fn f1(&self, class: u32) -> Option<f64> {
        let c = self.index(class).ok()?;
        let truth: u64 = (0..self.classes).map(|other| self.at(c, other)).sum();
        let predicted: u64 = (0..self.classes).map(|other| self.at(other, c)).sum();
        ratio(2 * self.at(c, c), truth + predicted)
    }

    /// The mean of [`Self::f1`] over the classes that have one, or `None` when none has. A class that stands neither in the truth
    /// nor in the predictions is left out: neither 0 nor 1 would say anything about it.
    pub fn macro_f1(&self) -> Option<f64> {
        let all: Vec<f64> = (0..self.classes).filter_map(|c| self.f1(u32::try_from(c).ok()?)).collect();
        if all.is_empty() { None } else { Some(all.iter().sum::<f64>() / all.len() as f64) }
    }

    /// The matrix of always answering the most frequent true class of this one: the floor below which nothing was learnt.
    pub fn majority_floor(&self) -> Self {
        let truths: Vec<u64> = (0..self.classes).map(|row| (0..self.classes).map(|column| self.at(row, column)).sum()).collect();
        // The first of equals, so that the floor does not depend on iteration order.
        let majority = (0..self.classes).rev().max_by_key(|&c| truths[c]).unwrap_or(0);
        let mut floor = Self::new(self.classes);
        for (row, count) in truths.into_iter().enumerate() {
            floor.counts[row * self.classes + majority] = count;
        }
        floor
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    if whole == 0 { None } else { Some(part as f64 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(answers: &[(u32, u32)]) -> Confusion {
        let mut out = Confusion::new(3);
        for &(truth, prediction) in answers {
            out.record(truth, prediction).unwrap();
        }
        out
    }

    #[test]
    fn figures_worked_out_by_hand() {
        let m = matrix(&[(0, 0), (0, 0), (0, 1), (1, 1)]);
        assert_eq!(m.accuracy(), Some(0.75));
        assert_eq!((m.f1(0), m.f1(1), m.f1(2)), (Some(0.8), Some(2.0 / 3.0), None));
        // The third class is absent and left out.
        assert!((m.macro_f1().unwrap() - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        let floor = m.majority_floor();
        assert_eq!((floor.accuracy(), floor.count(1, 0)), (Some(0.75), 1));
    }

    #[test]
    fn an_empty_matrix_has_no_figures_and_a_foreign_class_is_refused() {
        let mut m = matrix(&[]);
        assert_eq!((m.accuracy(), m.macro_f1(), m.majority_floor().accuracy()), (None, None, None));
        assert_eq!(m.record(0, 3), Err(NoSuchClass { got: 3, classes: 3 }));
        assert_eq!((m.total(), m.count(9, 0)), (0, 0));
    }

    #[test]
    fn a_class_that_is_only_predicted_counts_as_zero() {
        assert_eq!(matrix(&[(0, 2)]).macro_f1(), Some(0.0));
    }
}
