//! What the gates of a plan make of a model (training.md M20): figures of the log as the server has them, the others as they are stated here.
//! Knows no file and no server.

use crate::admin::GateAsked;
use protocol::decimal::Decimal;
use protocol::plan::{GateCode, GateResult};

/// Why the gates were not judged, or not passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GateError {
    /// Nobody said.
    #[error(
        "the plan asks for {0}, which no log shows: measure it on records kept apart and give --figure {0}=NUMBER with --evaluation FILE"
    )]
    NoFigure(&'static str),
    /// Said by two.
    #[error("{0} is taken from the log; leave --figure {0}=... out")]
    InTheLog(&'static str),
    /// Asked for by none.
    #[error("the plan has no gate for {0}; leave --figure {0}=... out")]
    NoGate(&'static str),
    /// A figure without its source.
    #[error("a stated figure needs its source: give --evaluation FILE, whose hash goes into the log")]
    NoEvaluation,
    /// A source without a figure.
    #[error("no gate of the plan needs a stated figure; leave --evaluation out")]
    NoNeed,
    /// Below a floor or above a ceiling.
    #[error("the model does not pass: {0}; train on, or release it all the same with --override CODE, which is logged")]
    NotPassed(String),
    /// An override of nothing.
    #[error("the model passes every gate; leave --override out")]
    NothingToOverride,
}

/// What is given beside the log's figures.
pub(super) struct Stated<'a> {
    /// Figures by code.
    pub(super) figures: &'a [(GateCode, Decimal)],
    /// Whether there is a file that says how they were measured.
    pub(super) evaluated: bool,
    /// Whether a model that does not pass shall be released.
    pub(super) overridden: bool,
}

/// Judges every gate, in the plan's order.
///
/// # Errors
/// [`GateError`]; without an override a gate that was not passed is one.
pub(super) fn judge(asked: &[GateAsked], stated: &Stated<'_>) -> Result<Vec<GateResult>, GateError> {
    if let Some((code, _)) = stated.figures.iter().find(|(code, _)| asked.iter().all(|a| a.gate.code != *code)) {
        return Err(GateError::NoGate(code.name()));
    }
    let figure = |asked: &GateAsked| {
        let name = asked.gate.code.name();
        let said = stated.figures.iter().find(|(code, _)| *code == asked.gate.code).map(|(_, figure)| *figure);
        match (asked.figure, said) {
            (Some(_), Some(_)) => Err(GateError::InTheLog(name)),
            (None, None) => Err(GateError::NoFigure(name)),
            (Some(figure), None) | (None, Some(figure)) => Ok(asked.gate.judge(figure)),
        }
    };
    let results = asked.iter().map(figure).collect::<Result<Vec<_>, _>>()?;
    let needs_source = asked.iter().any(|a| !a.gate.code.is_in_the_log());
    match (needs_source, stated.evaluated) {
        (true, false) => return Err(GateError::NoEvaluation),
        (false, true) => return Err(GateError::NoNeed),
        (true, true) | (false, false) => {}
    }
    let failed: Vec<String> = results.iter().filter(|r| !r.passed).map(ToString::to_string).collect();
    match (failed.is_empty(), stated.overridden) {
        (false, false) => Err(GateError::NotPassed(failed.join("; "))),
        (true, true) => Err(GateError::NothingToOverride),
        (true, false) | (false, true) => Ok(results),
    }
}

/// Reads `CODE=NUMBER`.
pub(super) fn figure(text: &str) -> Result<(GateCode, Decimal), String> {
    let (code, number) = text.split_once('=').ok_or("expected CODE=NUMBER, for example accuracy=0.93")?;
    Ok((code.parse().map_err(|e| format!("{e}"))?, number.parse().map_err(|e| format!("{e}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::Gate;

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }
    fn asked(code: GateCode, threshold: &str, figure: Option<&str>) -> GateAsked {
        GateAsked { gate: Gate { code, threshold: dec(threshold) }, figure: figure.map(dec) }
    }

    #[test]
    fn a_model_passes_with_the_logs_figures_and_the_stated_ones() {
        let gates = [asked(GateCode::Epsilon, "3", Some("2.5")), asked(GateCode::Accuracy, "0.9", None)];
        let with = |figures: &[&str], evaluated, overridden| {
            let figures: Vec<_> = figures.iter().map(|f| figure(f).unwrap()).collect();
            judge(&gates, &Stated { figures: &figures, evaluated, overridden })
        };
        let good = with(&["accuracy=0.93"], true, false).unwrap();
        assert!(good.iter().all(|r| r.passed) && good.len() == 2);
        assert_eq!((good[0].figure, good[1].figure), (dec("2.5"), dec("0.93")));
        assert_eq!(with(&[], true, false), Err(GateError::NoFigure("accuracy")));
        assert_eq!(with(&["accuracy=0.93"], false, false), Err(GateError::NoEvaluation));
        assert_eq!(with(&["accuracy=0.93", "epsilon=1"], true, false), Err(GateError::InTheLog("epsilon")));
        assert_eq!(with(&["accuracy=0.93", "loss=1"], true, false), Err(GateError::NoGate("loss")));
        assert_eq!(with(&["accuracy=0.93"], true, true), Err(GateError::NothingToOverride));
        let Err(GateError::NotPassed(which)) = with(&["accuracy=0.89"], true, false) else { panic!("a floor that holds nobody") };
        assert_eq!(which, "accuracy 0.89, at least 0.9: NOT PASSED");
        let all_the_same = with(&["accuracy=0.89"], true, true).unwrap();
        assert!(all_the_same[0].passed && !all_the_same[1].passed, "an override changes no figure");
    }

    #[test]
    fn a_plan_without_gates_asks_for_nothing() {
        let nothing = Stated { figures: &[], evaluated: false, overridden: false };
        assert_eq!(judge(&[], &nothing), Ok(Vec::new()));
        assert_eq!(judge(&[], &Stated { evaluated: true, ..nothing }), Err(GateError::NoNeed));
        assert!(figure("accuracy").is_err() && figure("speed=1").is_err() && figure("loss=-1").is_err());
    }
}
