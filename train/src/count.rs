//! One round of a plan that counts: from an institution's units to a private sum, and from an opened sum to what is known. Knows the laws
//! of statistics and of words in `corpus`; no model, no file, no cipher.
//!
//! What the snapshots of a training task are weights, those of a counting one are documents in JSON, named by their SHA-256 as well:
//! [`Known`] before the first round, and after each.

use corpus::columns::{Row, UnitRows};
use corpus::statistics::{Estimate, EstimateError, Figure, Layout, LayoutError, Query};
use corpus::tokenizer::{Discovery, DiscoveryError, MAX_UNIT_WORDS, Settings, WordCounts, WordRule, Words};
use privacy::bound::{NoiseError, UnitOutcome, UnitSum};
use privacy::delta::{BadLimbs, BoundError, Limbs, PrivateDelta, Quantiser, QuantiserError};
use privacy::ledger::{Paid, UnusedSteps};
use privacy::mechanism::{Mechanism, MechanismError};
use privacy::noise::{EntropyError, EntropySource, Noise, Stream};
use protocol::plan::{self, Count, Counted, Plan};
use serde::{Deserialize, Serialize};

/// Version of the document.
const VERSION: u32 = 1;
/// Bytes of a document beyond those of its numbers and words.
const DOCUMENT: u64 = 1 << 20;
/// Bytes of a number or a word with its frame, at most.
const PER_COORDINATE: u64 = 192;

/// Why nothing is counted, or nothing known. What was paid stays paid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// The plan trains.
    #[error("the plan does not count")]
    Trains,
    /// The plan's queries.
    #[error("the plan's queries cannot be asked")]
    Layout(#[from] LayoutError),
    /// The plan's sums have another length than its queries.
    #[error("{got} summed integers, the queries have {expected}")]
    Length {
        /// Of the plan's shards, or of a sum.
        got: usize,
        /// Of the queries.
        expected: usize,
    },
    /// The search for words.
    #[error("words cannot be searched for")]
    Discovery(#[from] DiscoveryError),
    /// Limbs that no slot holds.
    #[error("the plan's limbs are not possible")]
    Limbs(#[from] BadLimbs),
    /// A document that is not of this plan.
    #[error("the document of what is known is not of this plan")]
    Document,
    /// The mechanism.
    #[error("the plan's mechanism cannot be executed")]
    Mechanism(#[from] MechanismError),
    /// No randomness.
    #[error("no entropy for noise")]
    Entropy(#[from] EntropyError),
    /// The sum could not be noised.
    #[error("the sum could not be noised")]
    Noise(#[from] NoiseError),
    /// A unit's integers lie outside the vector.
    #[error("a unit's integers lie outside the vector")]
    Misplaced,
    /// The plan's values fit no slot.
    #[error("the plan's quantiser cannot be made")]
    Quantiser(#[from] QuantiserError),
    /// The noised sum is not what the plan's group carries.
    #[error("the noised sum cannot be sealed")]
    Bound(#[from] BoundError),
    /// Paid for and not taken.
    #[error("not every paid step was taken")]
    Unused(#[from] UnusedSteps),
    /// An opened sum that gives no figures.
    #[error("the opened sum gives no figures")]
    Estimate(#[from] EstimateError),
}

/// What a plan counts, checked against its sums.
enum Asked {
    Statistics(Layout),
    Words { rule: WordRule, threshold: f64, coordinates: u32 },
}

fn count_of(plan: &Plan) -> Result<&Count, CountError> {
    plan.count.as_ref().ok_or(CountError::Trains)
}

fn asked(plan: &Plan) -> Result<Asked, CountError> {
    let count = count_of(plan)?;
    let got = usize::try_from(plan.dimension()).unwrap_or(usize::MAX) / usize::from(count.limbs.max(1));
    match &count.what {
        Counted::Statistics { queries } => {
            let layout = layout(queries, plan.privacy.max_records_per_unit)?;
            let expected = layout.coordinates();
            if got == expected { Ok(Asked::Statistics(layout)) } else { Err(CountError::Length { got, expected }) }
        }
        Counted::Words { rule, threshold } => {
            let coordinates = u32::try_from(got).map_err(|_| DiscoveryError::Settings)?;
            Discovery::begin(Settings { coordinates })?;
            Ok(Asked::Words { rule: word_rule(*rule), threshold: threshold.to_f64(), coordinates })
        }
    }
}

/// The places of a plan's queries in the summed vector.
///
/// # Errors
/// [`LayoutError`].
pub fn layout(queries: &[plan::Query], max_records: u32) -> Result<Layout, LayoutError> {
    let query = |q: &plan::Query| match q {
        plan::Query::Moments { column, low, high } => Query::Moments { column: column.clone(), low: low.to_f64(), high: high.to_f64() },
        plan::Query::Thresholds { column, cuts } => {
            Query::Thresholds { column: column.clone(), cuts: cuts.iter().map(|c| c.to_f64()).collect() }
        }
        plan::Query::Labels { column, labels } => Query::Labels { column: column.clone(), labels: labels.clone() },
    };
    Layout::new(queries.iter().map(query).collect(), max_records)
}

fn word_rule(rule: plan::WordRule) -> WordRule {
    match rule {
        plan::WordRule::Pattern => WordRule::Pattern,
        plan::WordRule::Jieba => WordRule::Jieba,
    }
}

/// Columns that a plan asks for, one for each query; for words the one that holds the text.
pub fn columns(count: &Count, text_field: &str) -> Vec<String> {
    let column = |q: &plan::Query| match q {
        plan::Query::Moments { column, .. } | plan::Query::Thresholds { column, .. } | plan::Query::Labels { column, .. } => column.clone(),
    };
    match &count.what {
        Counted::Statistics { queries } => queries.iter().map(column).collect(),
        Counted::Words { .. } => vec![text_field.to_owned()],
    }
}

/// One unit's integers: coordinates ascending, each once.
type Contribution = Vec<(u32, i64)>;

/// An institution's units, ready to be counted in every round.
///
/// # Privacy
/// Raw personal data; no `Debug`.
pub struct Units(Kind);

enum Kind {
    Statistics(Vec<Contribution>),
    Words(Vec<Vec<Box<str>>>),
}

impl Units {
    /// Of the rows that [`columns`] names.
    ///
    /// # Errors
    /// [`CountError`] if the plan's queries or sums are not possible.
    pub fn of(plan: &Plan, units: &[UnitRows]) -> Result<Self, CountError> {
        Ok(Self(match asked(plan)? {
            Asked::Statistics(layout) => Kind::Statistics(units.iter().map(|u| contribution(&layout, u)).collect()),
            Asked::Words { rule, .. } => {
                let words = Words::new(rule);
                let cut = |text: &str| words.cut(text).into_iter().map(Box::from).collect::<Vec<Box<str>>>();
                // More of a unit is never looked at.
                let first = |unit: &UnitRows| unit.iter().filter_map(|row| row.text(0)).flat_map(cut).take(MAX_UNIT_WORDS).collect();
                Kind::Words(units.iter().map(first).collect())
            }
        }))
    }

    /// Units.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Statistics(units) => units.len(),
            Kind::Words(units) => units.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A unit's integers. Columns stand in the order of the queries.
fn contribution(layout: &Layout, unit: &UnitRows) -> Contribution {
    let rows: Vec<&Row> = unit.iter().collect();
    let place = |column: &str| layout.queries().iter().position(|q| q.column() == column);
    layout.contribution(&rows, |row, column| row.cell(place(column)?))
}

/// What is known of a counting task, before its first round and after each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    version: u32,
    /// Rounds that were opened.
    pub rounds: u64,
    /// Institutions in the last sum.
    pub institutions: u32,
    /// Deviation of the last sum's noise, in records or words.
    pub deviation: f64,
    /// What.
    pub what: What,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// Answers in the order of the queries; none before the round.
    Statistics {
        /// Each with its query.
        answers: Vec<Answer>,
    },
    /// Where the search for words stands.
    Words {
        /// How texts are cut.
        rule: WordRule,
        /// The search.
        search: Discovery,
    },
}

/// A query and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What was asked.
    pub query: Query,
    /// What came out, with intervals of 95 %.
    pub answer: Estimate,
}

impl Answer {
    fn show(&self, rows: &mut Vec<(String, String)>) {
        let (column, shown) = (self.query.column(), |f: &Figure| format!("{:.4} ({:.4} to {:.4})", f.value, f.low, f.high));
        match (&self.query, &self.answer) {
            (_, Estimate::Moments(m)) => {
                rows.push((format!("{column}: count"), shown(&m.count)));
                let some = |f: &Option<Figure>| f.as_ref().map_or_else(|| "too few to say".to_owned(), shown);
                rows.push((format!("{column}: mean"), some(&m.mean)));
                rows.push((format!("{column}: variance"), some(&m.variance)));
            }
            (_, Estimate::Below { cuts, counts }) => {
                let names = cuts.iter().map(|c| format!("{column}: below {c}")).chain([format!("{column}: all")]);
                rows.extend(names.zip(counts.iter().map(shown)));
            }
            (query, Estimate::Labels(counts)) => {
                let known: &[String] = if let Query::Labels { labels, .. } = query { labels } else { &[] };
                let names = known.iter().map(|l| format!("{column}: {l}")).chain([format!("{column}: others")]);
                rows.extend(names.zip(counts.iter().map(shown)));
            }
        }
    }
}

impl Known {
    /// Nothing yet.
    ///
    /// # Errors
    /// [`CountError`] if the plan's queries or sums are not possible.
    pub fn nothing(plan: &Plan) -> Result<Self, CountError> {
        let what = match asked(plan)? {
            Asked::Statistics(_) => What::Statistics { answers: Vec::new() },
            Asked::Words { rule, coordinates, .. } => What::Words { rule, search: Discovery::begin(Settings { coordinates })? },
        };
        Ok(Self { version: VERSION, rounds: 0, institutions: 0, deviation: 0.0, what })
    }

    /// The document.
    ///
    /// # Errors
    /// [`CountError::Document`], never for a document of ours.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CountError> {
        serde_json::to_vec(self).map_err(|_| CountError::Document)
    }

    /// Reads a document, of whatever plan.
    ///
    /// # Errors
    /// [`CountError::Document`]; [`CountError::Discovery`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CountError> {
        let mut this: Self = serde_json::from_slice(bytes).map_err(|_| CountError::Document)?;
        if this.version != VERSION {
            return Err(CountError::Document);
        }
        this.what = match this.what {
            What::Words { rule, search } => What::Words { rule, search: search.checked()? },
            answers @ What::Statistics { .. } => answers,
        };
        Ok(this)
    }

    /// Reads a document of this plan.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_plan(plan: &Plan, bytes: &[u8]) -> Result<Self, CountError> {
        let this = Self::parse(bytes)?;
        let fits = match (&this.what, asked(plan)?) {
            (What::Statistics { answers }, Asked::Statistics(layout)) => {
                answers.is_empty() || answers.iter().map(|a| a.query.column()).eq(layout.queries().iter().map(Query::column))
            }
            (What::Words { rule, search }, Asked::Words { rule: planned, coordinates, .. }) => {
                *rule == planned && search.settings() == (Settings { coordinates })
            }
            (What::Statistics { .. }, Asked::Words { .. }) | (What::Words { .. }, Asked::Statistics(_)) => false,
        };
        if fits { Ok(this) } else { Err(CountError::Document) }
    }

    /// Names and values for a person's eyes.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![
            ("rounds".to_owned(), self.rounds.to_string()),
            ("institutions".to_owned(), self.institutions.to_string()),
            ("deviation of the noise".to_owned(), format!("{:.1}", self.deviation)),
        ];
        match &self.what {
            What::Statistics { answers } => answers.iter().for_each(|a| a.show(&mut rows)),
            What::Words { rule, search } => {
                rows.push(("rule".to_owned(), rule.name().to_owned()));
                rows.push(("words and characters found".to_owned(), search.counts().len().to_string()));
            }
        }
        rows
    }

    /// Words with their noised counts, where words were counted.
    pub fn words(&self) -> Option<(WordRule, WordCounts)> {
        match &self.what {
            What::Words { rule, search } => Some((*rule, search.counts())),
            What::Statistics { .. } => None,
        }
    }
}

/// Longest document of a plan, in bytes.
pub fn most_bytes(plan: &Plan) -> u64 {
    plan.dimension().saturating_mul(PER_COORDINATE).saturating_add(DOCUMENT)
}

/// What a round starts from.
pub struct CountRound<'a> {
    /// The task.
    pub plan: &'a Plan,
    /// The snapshot that the manifest names.
    pub known: &'a Known,
    /// Local units.
    pub units: &'a Units,
    /// Made from the same plan.
    pub mechanism: &'a Mechanism,
}

impl CountRound<'_> {
    /// Counts every unit once, noises and cuts into limbs.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · each unit is shortened to the clip bound in integers, and the sum noised by
    /// what `paid` covers (privacy.md D15, D17, D21); what is counted depends on sums that were opened before and on nothing else.
    ///
    /// # Errors
    /// [`CountError`]; what was paid stays paid.
    pub fn sum(&self, mut paid: Paid, entropy: &mut dyn EntropySource) -> Result<PrivateDelta, CountError> {
        let (m, quantiser) = (self.mechanism, Quantiser::of_plan(self.plan)?);
        let limbs = limbs(self.plan)?;
        let mut sum = UnitSum::new(m);
        self.add(&mut sum)?;
        let payment = paid.next_step().ok_or(UnusedSteps { used: 0, paid: paid.steps() })?;
        let mut noise = Stream::<Noise>::open(entropy, &payment.context())?;
        if m.executed().joint.is_some() {
            let share = sum.clamped()?.noised(payment, m, &mut noise)?;
            return Ok(PrivateDelta::of_share(&share, &quantiser, &paid.finish()?)?);
        }
        let noised = sum.noised(payment, m, &mut noise)?; // private from here on
        Ok(PrivateDelta::of_counts(&noised, &quantiser, limbs, &paid.finish()?)?)
    }

    fn add(&self, sum: &mut UnitSum) -> Result<(), CountError> {
        let mut add = |integers: &[(u32, i64)]| match sum.add_counts(integers) {
            UnitOutcome::Added => Ok(()),
            UnitOutcome::NonFinite | UnitOutcome::TooLong | UnitOutcome::Misplaced => Err(CountError::Misplaced),
        };
        match (&self.units.0, &self.known.what) {
            (Kind::Statistics(units), What::Statistics { .. }) => units.iter().try_for_each(|unit| add(unit)),
            (Kind::Words(units), What::Words { search, .. }) => units.iter().try_for_each(|unit| {
                let places = search.contribution(unit.iter().map(AsRef::as_ref));
                add(&places.into_iter().map(|at| (at, 1)).collect::<Contribution>())
            }),
            (Kind::Statistics(_), What::Words { .. }) | (Kind::Words(_), What::Statistics { .. }) => Err(CountError::Document),
        }
    }
}

fn limbs(plan: &Plan) -> Result<Limbs, CountError> {
    let bits = plan.groups.first().map_or(0, |g| g.bits);
    Ok(Limbs::new(bits, count_of(plan)?.limbs)?)
}

/// What is known after a round whose sum over `institutions` members was opened: `sum` holds the slots of the plan's one shard.
///
/// # Privacy
/// Post-processing of a noised sum.
///
/// # Errors
/// [`CountError`].
pub fn advance(plan: &Plan, known: &Known, sum: &[i64], institutions: u32) -> Result<Known, CountError> {
    // N̂ changes neither noise nor grid.
    let mechanism = Mechanism::of_plan(plan, 1)?;
    let step = mechanism.grid_step();
    let expected = usize::try_from(plan.dimension()).unwrap_or(usize::MAX);
    let values = limbs(plan)?.join(sum).filter(|_| sum.len() == expected).ok_or(CountError::Length { got: sum.len(), expected })?;
    #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^53 grid steps")]
    let values: Vec<f64> = values.into_iter().map(|v| v as f64 * step).collect();
    let deviation = mechanism.sigma_grid() * step * f64::from(institutions).sqrt();
    let (what, whole) = match (asked(plan)?, &known.what) {
        (Asked::Statistics(layout), What::Statistics { .. }) => {
            let answers = layout.estimate(&values, deviation)?;
            let answers = layout.queries().iter().cloned().zip(answers).map(|(query, answer)| Answer { query, answer }).collect();
            (What::Statistics { answers }, corpus::statistics::WHOLE)
        }
        (Asked::Words { rule, threshold, .. }, What::Words { search, .. }) => {
            let mut search = search.clone();
            search.advance(&values, threshold * deviation)?;
            (What::Words { rule, search }, 1)
        }
        (Asked::Statistics(_), What::Words { .. }) | (Asked::Words { .. }, What::Statistics { .. }) => return Err(CountError::Document),
    };
    #[expect(clippy::cast_precision_loss, reason = "at most 2^10")]
    let deviation = deviation / whole as f64;
    Ok(Known { version: VERSION, rounds: known.rounds.saturating_add(1), institutions, deviation, what })
}

#[cfg(test)]
#[path = "count_tests.rs"]
mod tests;
