//! The declared label set: names in order, and the class each one is. Must not learn labels from data.

/// Most labels of one task: a confusion matrix of 256 x 256 is the largest that evaluation sums.
pub const MAX_LABELS: usize = 256;

/// Longest name of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;

/// Why a list of names is not a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelSetError {
    /// Fewer than two labels leave nothing to learn; more than [`MAX_LABELS`] are not supported.
    #[error("a label set has 2 to {MAX_LABELS} labels, got {got}")]
    Count {
        /// Labels given.
        got: usize,
    },
    /// A name is empty or too long.
    #[error("label {index} has {bytes} bytes, expected 1 to {MAX_LABEL_BYTES}")]
    NameLength {
        /// Zero-based position.
        index: usize,
        /// Its length.
        bytes: usize,
    },
    /// A name stands twice.
    #[error("label {index} is the same as label {first}")]
    Duplicate {
        /// Zero-based position of the second one.
        index: usize,
        /// Zero-based position of the first one.
        first: usize,
    },
}

/// What a label is that was not declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undeclared {
    /// No label of this task.
    Foreign,
    /// A text of its own, of the one class 0.
    Text,
}

/// The labels of a task in their declared order. The class of a label is its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSet {
    names: Vec<String>,
    undeclared: Undeclared,
}

impl LabelSet {
    /// A set of the given names, in the given order.
    ///
    /// # Errors
    /// [`LabelSetError`] when there are too few or too many names, or one is empty, too long or repeated.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self, LabelSetError> {
        if !(2..=MAX_LABELS).contains(&names.len()) {
            return Err(LabelSetError::Count { got: names.len() });
        }
        for (index, name) in names.iter().map(AsRef::as_ref).enumerate() {
            if !(1..=MAX_LABEL_BYTES).contains(&name.len()) {
                return Err(LabelSetError::NameLength { index, bytes: name.len() });
            }
            if let Some(first) = names[..index].iter().position(|other| other.as_ref() == name) {
                return Err(LabelSetError::Duplicate { index, first });
            }
        }
        Ok(Self { names: names.iter().map(|name| name.as_ref().to_owned()).collect(), undeclared: Undeclared::Foreign })
    }

    /// Labels that are texts: every one is taken, and none is a class of its own.
    pub fn of_texts() -> Self {
        Self { names: Vec::new(), undeclared: Undeclared::Text }
    }

    /// The class of a label, or `None` when it is not declared.
    pub fn class_of(&self, label: &str) -> Option<u32> {
        match self.undeclared {
            Undeclared::Foreign => u32::try_from(self.names.iter().position(|name| name == label)?).ok(),
            Undeclared::Text => Some(0),
        }
    }

    /// The name of a class, or `None` when there is no such class.
    pub fn name(&self, class: u32) -> Option<&str> {
        self.names.get(usize::try_from(class).ok()?).map(String::as_str)
    }

    /// All names in class order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of classes: at least two, or none of texts.
    pub fn classes(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_label_is_its_position() {
        let set = LabelSet::new(&["ham", "spam"]).unwrap();
        assert_eq!((set.class_of("ham"), set.class_of("spam"), set.class_of("eggs")), (Some(0), Some(1), None));
        assert_eq!((set.name(1), set.name(2)), (Some("spam"), None));
        let texts = LabelSet::of_texts();
        assert_eq!((texts.class_of("a whole sentence"), texts.name(0), texts.classes()), (Some(0), None, 0));
    }

    #[test]
    fn a_set_with_one_label_or_a_repeated_or_empty_one_does_not_exist() {
        assert_eq!(LabelSet::new(&["a"]), Err(LabelSetError::Count { got: 1 }));
        assert_eq!(LabelSet::new(&["a", ""]), Err(LabelSetError::NameLength { index: 1, bytes: 0 }));
        assert_eq!(LabelSet::new(&["a", "b", "a"]), Err(LabelSetError::Duplicate { index: 2, first: 0 }));
    }
}
