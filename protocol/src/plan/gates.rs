//! Gates of a release: what a model must have reached before it may leave (training.md M20). Some figures are in the log and are taken from
//! there; how good a model is, nobody but whoever evaluated it can say. Knows no model and no log.

use super::{PlanError, range};
use crate::decimal::Decimal;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// Most gates of a plan: each code once, with room.
const MOST: usize = 16;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum GateCode {
    /// Largest ε that an institution had spent on the task when the model's round had closed; from the log.
    #[n(0)]
    Epsilon,
    /// Closed rounds that the model comes from; from the log.
    #[n(1)]
    Rounds,
    /// Fewest institutions in a sum that was opened for the model; from the log.
    #[n(2)]
    Cohort,
    /// Mean loss on records kept apart; stated.
    #[n(3)]
    Loss,
    /// Share of records kept apart that are labelled rightly; stated.
    #[n(4)]
    Accuracy,
    /// Mean over classes of F1 on records kept apart; stated.
    #[n(5)]
    MacroF1,
}

impl GateCode {
    /// All codes.
    pub const ALL: [Self; 6] = [Self::Epsilon, Self::Rounds, Self::Cohort, Self::Loss, Self::Accuracy, Self::MacroF1];

    /// As plans and entries spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Rounds => "rounds",
            Self::Cohort => "cohort",
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro-f1",
        }
    }

    /// Whether the log has the figure; the others are the administrators' word.
    pub fn is_in_the_log(self) -> bool {
        match self {
            Self::Epsilon | Self::Rounds | Self::Cohort => true,
            Self::Loss | Self::Accuracy | Self::MacroF1 => false,
        }
    }

    /// Whether the figure must not exceed the threshold; otherwise it must reach it.
    pub fn is_a_ceiling(self) -> bool {
        match self {
            Self::Epsilon | Self::Loss => true,
            Self::Rounds | Self::Cohort | Self::Accuracy | Self::MacroF1 => false,
        }
    }
}

impl std::str::FromStr for GateCode {
    type Err = BadGate;
    fn from_str(text: &str) -> Result<Self, BadGate> {
        Self::ALL.into_iter().find(|c| c.name() == text).ok_or(BadGate)
    }
}

/// A text that names no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of epsilon, rounds, cohort, loss, accuracy, macro-f1")]
pub struct BadGate;

/// One gate of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// What is looked at.
    #[n(0)]
    pub code: GateCode,
    /// What it may be at most, or must be at least.
    #[n(1)]
    pub threshold: Decimal,
}

/// What a gate came to, as a release states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// What was looked at.
    #[n(0)]
    pub code: GateCode,
    /// The plan's threshold.
    #[n(1)]
    pub threshold: Decimal,
    /// The model's figure.
    #[n(2)]
    pub figure: Decimal,
    /// Whether the model passed.
    #[n(3)]
    pub passed: bool,
}

impl Gate {
    /// What the gate makes of this figure.
    pub fn judge(self, figure: Decimal) -> GateResult {
        let Self { code, threshold } = self;
        let passed = if code.is_a_ceiling() { figure <= threshold } else { figure >= threshold };
        GateResult { code, threshold, figure, passed }
    }
}

impl GateResult {
    /// Whether this is what the gate makes of the stated figure.
    pub fn is_of(self, gate: Gate) -> bool {
        gate.judge(self.figure) == self
    }
}

impl std::fmt::Display for GateResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let must = if self.code.is_a_ceiling() { "at most" } else { "at least" };
        let passed = if self.passed { "passed" } else { "NOT PASSED" };
        write!(f, "{} {}, {must} {}: {passed}", self.code.name(), self.figure, self.threshold)
    }
}

/// Each code once, with a threshold that a model can reach.
pub(super) fn check(gates: &[Gate], rounds: u64, counts: bool) -> Result<(), PlanError> {
    let number = gates.len().to_string();
    range((1..=MOST).contains(&gates.len()), "gates", number.clone(), "1 to 16, or no gates at all")?;
    range(!counts, "gates", number.clone(), "none in a plan that counts: it gives no model")?;
    for (at, gate) in gates.iter().enumerate() {
        let again = gates[..at].iter().any(|g| g.code == gate.code);
        range(!again, "gates", gate.code.name().to_owned(), "each code once")?;
        let (t, text) = (gate.threshold.to_f64(), gate.threshold.to_string());
        #[expect(clippy::cast_precision_loss, reason = "at most 100000 rounds")]
        let most = rounds as f64;
        match gate.code {
            GateCode::Accuracy | GateCode::MacroF1 => range(t <= 1.0, "gates.threshold", text, "a share of at most 1")?,
            GateCode::Rounds => range((1.0..=most).contains(&t), "gates.threshold", text, "1 to the rounds of the plan")?,
            GateCode::Cohort => range((2.0..=1000.0).contains(&t), "gates.threshold", text, "2 to 1000")?,
            GateCode::Epsilon | GateCode::Loss => range(t > 0.0, "gates.threshold", text, "above 0")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use proptest::prelude::*;

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }
    fn gate(code: GateCode, threshold: &str) -> Gate {
        Gate { code, threshold: dec(threshold) }
    }

    #[test]
    fn a_ceiling_is_not_passed_above_and_a_floor_not_below() {
        let passes = |code, figure: &str| gate(code, "0.8").judge(dec(figure)).passed;
        for code in GateCode::ALL {
            assert!(passes(code, "0.8"), "{code:?}: reaching it exactly is enough");
            assert_eq!((passes(code, "0.79999"), passes(code, "0.80001")), (code.is_a_ceiling(), !code.is_a_ceiling()), "{code:?}");
            assert_eq!(code.name().parse(), Ok(code));
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.name()));
        }
    }

    #[test]
    fn a_result_is_of_one_gate_only() {
        let result = gate(GateCode::Loss, "1.5").judge(dec("2"));
        assert!(result.is_of(gate(GateCode::Loss, "1.5")) && !result.passed);
        assert!(!result.is_of(gate(GateCode::Loss, "2")) && !result.is_of(gate(GateCode::Epsilon, "1.5")));
        assert!(!GateResult { passed: true, ..result }.is_of(gate(GateCode::Loss, "1.5")), "a claim that contradicts its own figure");
    }

    #[test]
    fn thresholds_that_no_model_reaches_and_codes_twice_are_refused() {
        let good = [gate(GateCode::Epsilon, "3"), gate(GateCode::Rounds, "5"), gate(GateCode::MacroF1, "0.9")];
        assert!(check(&good, 5, false).is_ok());
        assert!(check(&good, 4, false).is_err() && check(&good, 5, true).is_err() && check(&[], 5, false).is_err());
        for bad in [gate(GateCode::Accuracy, "1.1"), gate(GateCode::Cohort, "1"), gate(GateCode::Loss, "0"), gate(GateCode::Epsilon, "2")] {
            assert!(check(&[good.as_slice(), &[bad]].concat(), 5, false).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_result_comes_back_from_both_spellings(at in 0usize..6, t in 0u64..1_000_000, f in 0u64..1_000_000, scale in 0u8..7) {
            let gate = Gate { code: GateCode::ALL[at], threshold: Decimal::new(t, scale).unwrap() };
            let result = gate.judge(Decimal::new(f, scale).unwrap());
            prop_assert_eq!(codec::decode::<GateResult>(&codec::encode(&result), 256), Ok(result));
            prop_assert_eq!(serde_json::from_str::<GateResult>(&serde_json::to_string(&result).unwrap()).unwrap(), result);
        }
    }
}
