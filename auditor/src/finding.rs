//! What a check can find, and how bad it is (audit.md A38). Knows nothing of how it is found.

use serde::{Serialize, Serializer};

/// Findings kept in full; the rest is counted. A broken log of any size still makes a report that fits in memory.
pub const MAX_FINDINGS: usize = 10_000;

/// How bad a finding is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing fails.
    Notice,
    /// Something is not there, not covered or not cosigned enough, but nothing contradicts anything.
    Incomplete,
    /// An invariant of the federation does not hold (A36).
    Invariant,
    /// Bytes contradict what was signed (checks 1 to 5, 7 to 9).
    Integrity,
}

impl Severity {
    /// The exit code of a verdict whose worst finding this is (A38).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Notice => 0,
            Self::Incomplete => 4,
            Self::Invariant => 3,
            Self::Integrity => 1,
        }
    }
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Incomplete => "incomplete",
            Self::Invariant => "invariant",
            Self::Integrity => "integrity",
        }
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident = $clause:literal, $name:literal;)*) => {
        /// A check of A35.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Check { $($(#[$doc])* $variant,)* }
        impl Check {
            /// All checks, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// What is checked, for people.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The clause that asks for it.
            pub fn clause(self) -> &'static str { match self { $(Self::$variant => $clause,)* } }
        }
    };
}

checks! {
    /// Trust document and policies.
    Trust = "A35.1", "trust document and witness policies";
    /// Notes.
    Notes = "A35.2", "checkpoint notes, signatures and quorum";
    /// Tiles and bundles.
    Tiles = "A35.3", "entries, tiles and root";
    /// Prefixes.
    Prefixes = "A35.4", "every older note is a prefix";
    /// Entries.
    Entries = "A35.5", "entries: schema, order, signatures";
    /// Invariants.
    Invariants = "A36", "invariants of members, tasks and rounds";
    /// Budgets.
    Budgets = "A36 I8", "privacy spends recomputed";
    /// Notes from elsewhere.
    Others = "A35.7", "notes from elsewhere agree";
    /// Artefacts.
    Artefacts = "A35.8", "artefacts and files";
    /// Openings.
    Openings = "A37", "openings give the stated key sums";
    /// Sums made again from chunks; only where chunks are given.
    Sums = "A37", "sums made again from the members' chunks";
    /// Snapshots made again from sums; only where snapshots are given.
    Snapshots = "A37", "snapshots made again from the opened sums";
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

/// Where a finding is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// An entry, by its leaf index.
    Index(u64),
    /// A file or directory.
    Path(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "entry {index}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: Check,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The rule, with its clause.
    pub clause: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub got: String,
    /// Leaf hash of the entry, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_hash: Option<String>,
}

/// Findings so far, bounded.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    counts: std::collections::BTreeMap<Check, u64>,
    omitted: u64,
    worst: Option<Severity>,
}

impl Findings {
    /// Takes in a finding.
    pub fn push(&mut self, finding: Finding) {
        self.worst = self.worst.max(Some(finding.severity));
        if finding.severity > Severity::Notice {
            *self.counts.entry(finding.check).or_default() += 1;
        }
        if self.list.len() < MAX_FINDINGS {
            self.list.push(finding);
        } else {
            self.omitted += 1;
        }
    }

    /// Takes in a finding by its parts.
    pub fn add(&mut self, rule: Rule, place: Place, expected: impl Into<String>, got: impl Into<String>) {
        let Rule { check, severity, clause } = rule;
        self.push(Finding { check, place, clause, severity, expected: expected.into(), got: got.into(), entry_hash: None });
    }

    /// Takes over everything from another list.
    pub fn absorb(&mut self, other: Self) {
        self.worst = self.worst.max(other.worst);
        self.omitted += other.omitted;
        for (check, count) in other.counts {
            *self.counts.entry(check).or_default() += count;
        }
        for finding in other.list {
            if self.list.len() < MAX_FINDINGS {
                self.list.push(finding);
            } else {
                self.omitted += 1;
            }
        }
    }

    /// All that were kept.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }
    /// Those that were only counted.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }
    /// The worst so far.
    pub fn worst(&self) -> Option<Severity> {
        self.worst
    }
    /// Failures (not notices) of one check.
    pub fn count(&self, check: Check) -> u64 {
        self.counts.get(&check).copied().unwrap_or(0)
    }
}

/// A rule that can be broken: who checks it, how bad that is, and the clause.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The check.
    pub check: Check,
    /// How bad.
    pub severity: Severity,
    /// Clause and what it asks.
    pub clause: &'static str,
}

impl Rule {
    /// A rule.
    pub const fn new(check: Check, severity: Severity, clause: &'static str) -> Self {
        Self { check, severity, clause }
    }
}
