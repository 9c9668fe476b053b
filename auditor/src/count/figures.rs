//! From the numbers of a plan's questions to figures with intervals of 95 %, which say what the noise may have done. Knows no noise but its
//! deviation.

use super::CountError;
use protocol::plan::Query;
use serde::{Deserialize, Serialize};

/// Integers of one whole record: numbers inside a range are counted in 1024ths of half the range.
pub(super) const WHOLE: f64 = 1024.0;
/// Deviations of a normal law that hold 95 %.
const Z: f64 = 1.959_963_984_540_054;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    value: f64,
    low: f64,
    high: f64,
}

impl Figure {
    const NOTHING: Self = Self { value: 0.0, low: 0.0, high: 0.0 };

    fn around(value: f64, deviation: f64) -> Self {
        Self { value, low: value - Z * deviation, high: value + Z * deviation }
    }

    fn each(self, change: impl Fn(f64) -> f64) -> Self {
        Self { value: change(self.value), low: change(self.low), high: change(self.high) }
    }

    /// No count is below nothing.
    fn counted(self) -> Self {
        self.each(|x| x.clamp(0.0, f64::MAX))
    }
}

/// A question and what came out. The question is spelled with floats, as answers are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    query: Asked,
    answer: Answered,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
enum Asked {
    Moments { column: String, low: f64, high: f64 },
    Thresholds { column: String, cuts: Vec<f64> },
    Labels { column: String, labels: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Answered {
    Moments { count: Figure, mean: Option<Figure>, variance: Option<Figure> },
    Below { cuts: Vec<f64>, counts: Vec<Figure> },
    Labels(Vec<Figure>),
}

/// Numbers of the sum that answer a question.
fn width(query: &Query) -> usize {
    match query {
        Query::Moments { .. } => 3,
        Query::Thresholds { cuts, .. } => cuts.len() + 1,
        Query::Labels { labels, .. } => labels.len() + 1,
    }
}

/// Checks that the questions ask for so many numbers, and that ranges are ranges.
///
/// # Errors
/// [`CountError::Plan`], [`CountError::Length`].
pub(super) fn check(queries: &[Query], numbers: usize) -> Result<(), CountError> {
    let is_range = |q: &Query| match q {
        Query::Moments { low, high, .. } => low.to_f64() < high.to_f64(),
        Query::Thresholds { .. } | Query::Labels { .. } => true,
    };
    if !queries.iter().all(is_range) {
        return Err(CountError::Plan("ranges"));
    }
    let expected = queries.iter().map(width).sum();
    if numbers == expected { Ok(()) } else { Err(CountError::Length { got: numbers, expected }) }
}

/// Answers in the order of the questions, from summed numbers in 1024ths of a record, each with noise of this deviation.
///
/// # Errors
/// As [`check`].
pub(super) fn answers(queries: &[Query], values: &[f64], deviation: f64) -> Result<Vec<Answer>, CountError> {
    check(queries, values.len())?;
    let (mut rest, mut out, s) = (values, Vec::with_capacity(queries.len()), deviation / WHOLE);
    for query in queries {
        let (part, behind) = rest.split_at(width(query));
        let part: Vec<f64> = part.iter().map(|x| x / WHOLE).collect();
        out.push(answer(query, &part, s));
        rest = behind;
    }
    Ok(out)
}

fn answer(query: &Query, part: &[f64], s: f64) -> Answer {
    match query {
        Query::Moments { column, low, high } => {
            let (column, low, high) = (column.clone(), low.to_f64(), high.to_f64());
            Answer { answer: moments(part, low, high, s), query: Asked::Moments { column, low, high } }
        }
        Query::Thresholds { column, cuts } => {
            let (column, cuts) = (column.clone(), cuts.iter().map(|c| c.to_f64()).collect::<Vec<_>>());
            Answer { answer: Answered::Below { cuts: cuts.clone(), counts: below(part, s) }, query: Asked::Thresholds { column, cuts } }
        }
        Query::Labels { column, labels } => {
            let counts = part.iter().map(|n| Figure::around(*n, s).counted()).collect();
            Answer { answer: Answered::Labels(counts), query: Asked::Labels { column: column.clone(), labels: labels.clone() } }
        }
    }
}

/// By the delta method around n, Σy and Σy², where y is a value's place in the range: −1 at its low end, 1 at its high one.
fn moments(part: &[f64], low: f64, high: f64, s: f64) -> Answered {
    let [n, sum, squares] = [0, 1, 2].map(|i| part.get(i).copied().unwrap_or(0.0));
    let count = Figure::around(n, s).counted();
    if count.low <= 0.0 {
        return Answered::Moments { count, mean: None, variance: None };
    }
    let half = (high - low) / 2.0;
    let (place, square) = (sum / n, squares / n);
    let of_mean = s / n * (1.0 + place * place).sqrt();
    let mean = Figure::around(low + half * (1.0 + place), half * of_mean).each(|x| x.clamp(low, high));
    let by_count = 2.0 * place * place - square;
    let of_variance = s / n * (by_count * by_count + 4.0 * place * place + 1.0).sqrt();
    let area = half * half;
    let variance = Figure::around(area * (square - place * place), area * of_variance).each(|x| x.clamp(0.0, area));
    Answered::Moments { count, mean: Some(mean), variance: Some(variance) }
}

/// How many lie below each cut, and last all of them: the noise of j numbers together has deviation s·√j, and no count falls.
fn below(part: &[f64], s: f64) -> Vec<Figure> {
    let (mut total, mut numbers, mut last) = (0.0f64, 0.0f64, Figure::NOTHING);
    let one = |n: &f64| {
        total += *n;
        numbers += 1.0;
        let now = Figure::around(total, s * numbers.sqrt()).counted();
        last = Figure { value: now.value.max(last.value), low: now.low.max(last.low), high: now.high.max(last.high) };
        last
    };
    part.iter().map(one).collect()
}
