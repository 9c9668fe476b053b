//! Weak labelling: a rule is a pattern and the label that it votes for; where it does not match it abstains. Patterns run in time linear in
//! the text. Knows no record.

use crate::labels::LabelSet;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// Most rules of a set: a person cannot judge more.
pub const MAX_RULES: usize = 1000;
/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;
/// Longest file of rules, in bytes.
pub const MAX_RULE_FILE: usize = 4 << 20;
/// Most memory of one compiled pattern: counted repetitions grow fast.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A file of rules, word for word.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRules {
    /// Labels that rules may vote for, in order.
    pub labels: Vec<String>,
    /// The rules.
    #[serde(rename = "rule")]
    pub rules: Vec<RawRule>,
}

/// One rule, word for word.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// A name for reports.
    pub name: String,
    /// A regular expression, found anywhere in the text.
    pub pattern: String,
    /// The label voted for.
    pub label: String,
    /// A second expression: where it is found, the rule abstains all the same.
    #[serde(default)]
    pub unless: Option<String>,
}

/// Why a file is no set of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Longer than [`MAX_RULE_FILE`].
    #[error("the file has {0} bytes, expected at most {MAX_RULE_FILE}")]
    TooLong(usize),
    /// Not TOML of the expected keys.
    #[error("the file does not parse")]
    Parse(#[source] Box<toml::de::Error>),
    /// Labels that are no label set.
    #[error("the labels are not a label set")]
    Labels(#[from] crate::labels::LabelSetError),
    /// No rule, or too many.
    #[error("{0} rules, expected 1 to {MAX_RULES}")]
    Count(usize),
    /// A label that the set does not declare.
    #[error("rule {0} votes for a label that is not declared")]
    UnknownLabel(usize),
    /// A name that stands twice or is empty or longer than 64 bytes.
    #[error("rule {0} needs a name of its own of 1 to 64 bytes")]
    Name(usize),
    /// A pattern that does not compile within the limits.
    #[error("the pattern of rule {0} is longer than {MAX_PATTERN_BYTES} bytes, too large, or no regular expression")]
    Pattern(usize),
}

struct Rule {
    name: String,
    pattern: Regex,
    unless: Option<Regex>,
    class: u32,
}

/// Checked rules over one label set.
pub struct RuleSet {
    labels: LabelSet,
    rules: Vec<Rule>,
}

impl TryFrom<RawRules> for RuleSet {
    type Error = RuleError;

    fn try_from(raw: RawRules) -> Result<Self, RuleError> {
        let labels = LabelSet::new(&raw.labels)?;
        if !(1..=MAX_RULES).contains(&raw.rules.len()) {
            return Err(RuleError::Count(raw.rules.len()));
        }
        let mut rules: Vec<Rule> = Vec::new();
        for (i, r) in raw.rules.into_iter().enumerate() {
            if !(1..=64).contains(&r.name.len()) || rules.iter().any(|other| other.name == r.name) {
                return Err(RuleError::Name(i));
            }
            let class = labels.class_of(&r.label).ok_or(RuleError::UnknownLabel(i))?;
            let pattern = compile(&r.pattern).ok_or(RuleError::Pattern(i))?;
            let unless = r.unless.map(|p| compile(&p).ok_or(RuleError::Pattern(i))).transpose()?;
            rules.push(Rule { name: r.name, pattern, unless, class });
        }
        Ok(Self { labels, rules })
    }
}

fn compile(pattern: &str) -> Option<Regex> {
    let fits = pattern.len() <= MAX_PATTERN_BYTES;
    fits.then(|| RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().ok()).flatten()
}

impl RuleSet {
    /// Reads a file of rules.
    ///
    /// # Errors
    /// [`RuleError`], the first rule broken.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        if text.len() > MAX_RULE_FILE {
            return Err(RuleError::TooLong(text.len()));
        }
        toml::from_str::<RawRules>(text).map_err(|e| RuleError::Parse(Box::new(e)))?.try_into()
    }

    /// Labels that are voted for.
    pub fn labels(&self) -> &LabelSet {
        &self.labels
    }

    /// Names of the rules, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.iter().map(|r| r.name.as_str())
    }

    /// The class that each rule votes for on this text, or that it abstains; in the rules' order.
    pub fn votes(&self, text: &str) -> Vec<Option<u32>> {
        let vote = |r: &Rule| {
            let speaks = r.pattern.is_match(text) && !r.unless.as_ref().is_some_and(|u| u.is_match(text));
            speaks.then_some(r.class)
        };
        self.rules.iter().map(vote).collect()
    }
}
