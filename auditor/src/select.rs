//! Which entries somebody wants: rounds, types, institution. Knows no format.

use protocol::entry::LogEntry;
use protocol::ids::ClientId;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Longest pattern; longer ones than the names in a log fit nothing.
const MAX_PATTERN: usize = 120;

/// A choice of entries. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Rounds, both ends included.
    pub rounds: Option<RangeInclusive<u64>>,
    /// Types.
    pub kind: Option<Glob>,
    /// The institution, by name or id.
    pub institution: Option<String>,
}

/// Text that is no choice of rounds or no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSelection {
    /// Rounds.
    #[error("{0:?} is no choice of rounds: expected a number, or A..B with both ends included, such as 3..7")]
    Rounds(String),
    /// A pattern.
    #[error("{0:?} is no pattern of types: expected names such as round.*, at most {MAX_PATTERN} characters of a-z, '.' and '*'")]
    Pattern(String),
    /// Nobody has this name.
    #[error("nobody of the log is called {0:?}: expected the name or the id of an institution")]
    Institution(String),
}

/// Reads `A..B` or `A`.
///
/// # Errors
/// [`BadSelection::Rounds`].
pub fn rounds(text: &str) -> Result<RangeInclusive<u64>, BadSelection> {
    let bad = || BadSelection::Rounds(text.to_owned());
    let number = |t: &str| t.parse::<u64>().map_err(|_| bad());
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to.strip_prefix('=').unwrap_or(to))?),
        None => (number(text)?, number(text)?),
    };
    if from <= to { Ok(from..=to) } else { Err(bad()) }
}

/// A pattern in which `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<String>);

impl std::str::FromStr for Glob {
    type Err = BadSelection;

    fn from_str(text: &str) -> Result<Self, BadSelection> {
        let good = |c: char| c.is_ascii_lowercase() || c == '.' || c == '*' || c == '-';
        let fits = !text.is_empty() && text.len() <= MAX_PATTERN && text.chars().all(good);
        if fits { Ok(Self(text.split('*').map(str::to_owned).collect())) } else { Err(BadSelection::Pattern(text.to_owned())) }
    }
}

impl Glob {
    /// Whether the whole of `name` fits.
    pub fn fits(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        let Some(mut left) = name.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            // The earliest place is never worse: whatever fits later fits after it too.
            let Some(at) = left.find(part.as_str()) else { return false };
            left = left.get(at + part.len()..).unwrap_or("");
        }
        left.ends_with(last.as_str())
    }
}

/// A choice with the institution found.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    rounds: Option<RangeInclusive<u64>>,
    kind: Option<Glob>,
    pub(crate) institution: Option<ClientId>,
}

impl Selection {
    /// Finds the institution among those that the log knows.
    ///
    /// # Errors
    /// [`BadSelection::Institution`].
    pub(crate) fn resolve(&self, names: &BTreeMap<ClientId, String>) -> Result<Selected, BadSelection> {
        let find = |text: &String| {
            let by_name = names.iter().find(|(_, name)| *name == text).map(|(id, _)| *id);
            by_name.or_else(|| text.parse().ok()).ok_or_else(|| BadSelection::Institution(text.clone()))
        };
        let institution = self.institution.as_ref().map(find).transpose()?;
        Ok(Selected { rounds: self.rounds.clone(), kind: self.kind.clone(), institution })
    }
}

impl Selected {
    /// Whether a round is wanted.
    pub(crate) fn has_round(&self, round: u64) -> bool {
        self.rounds.as_ref().is_none_or(|r| r.contains(&round))
    }

    /// Whether an institution is wanted.
    pub(crate) fn has_institution(&self, who: ClientId) -> bool {
        self.institution.is_none_or(|i| i == who)
    }

    /// Whether an entry is wanted; one that this version cannot read is known by its type alone, and fits no round and no institution.
    pub(crate) fn has(&self, kind: &str, entry: Option<&LogEntry>) -> bool {
        let round = match (&self.rounds, entry.and_then(|e| e.round)) {
            (None, _) => true,
            (Some(range), Some(round)) => range.contains(&round.0),
            (Some(_), None) => false,
        };
        let who = self.institution.is_none_or(|i| entry.and_then(|e| e.institution) == Some(i));
        round && who && self.kind.as_ref().is_none_or(|glob| glob.fits(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounds_are_one_number_or_a_range_with_both_ends() {
        assert_eq!(rounds("3..7"), Ok(3..=7));
        assert_eq!(rounds("3..=7"), Ok(3..=7));
        assert_eq!(rounds("4"), Ok(4..=4));
        for bad in ["", "7..3", "a", "1..", "..2", "-1", "1..2..3"] {
            assert!(rounds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_fits_the_whole_name() {
        let fits = |glob: &str, name: &str| glob.parse::<Glob>().unwrap().fits(name);
        assert!(fits("round.*", "round.closed") && fits("*", "") && fits("*.accepted", "round.update.accepted"));
        assert!(fits("round.*.accepted", "round.update.accepted") && fits("member.joined", "member.joined"));
        assert!(!fits("round", "round.closed") && !fits("*closed*x", "round.closed") && !fits("a*a", "a"));
        for bad in ["", "Round", "a b", &"a".repeat(121)] {
            assert!(bad.parse::<Glob>().is_err(), "{bad}");
        }
    }

    /// The slow and obvious rule.
    fn slow(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => slow(rest, name) || (!name.is_empty() && slow(glob, &name[1..])),
            (Some((g, rest)), Some((n, tail))) => g == n && slow(rest, tail),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_fit_as_the_slow_rule_says(glob in "[ab*]{1,6}", name in "[ab]{0,8}") {
            prop_assert_eq!(glob.parse::<Glob>().unwrap().fits(&name), slow(glob.as_bytes(), name.as_bytes()));
        }
    }
}
