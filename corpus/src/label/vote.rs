//! From votes of rules to one label per text, with figures about the rules. Knows classes, no text.
//!
//! The weighted vote estimates each rule's accuracy without any truth at hand: it starts from one vote per rule, takes the winner *without
//! the rule itself* for the truth, counts how often the rule agrees with it, and repeats. A rule's vote then weighs ln((K − 1)·a ÷ (1 − a)),
//! which is the best weight for independent rules of accuracy a over K classes with evenly spread mistakes. Agreement is not accuracy:
//! rules that repeat each other look right together.

use serde::{Deserialize, Serialize};

/// How votes become a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Voting {
    /// One vote each.
    Majority,
    /// Votes weighed by estimated accuracy.
    Weighted,
}

/// What became of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// One class won.
    Label(u32),
    /// The best classes are level: nothing is said.
    Tie,
    /// Every rule abstained.
    Abstained,
}

/// About one rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleFigures {
    /// Share of the texts that it votes on.
    pub coverage: f64,
    /// Share of the texts that it votes on together with another rule.
    pub overlap: f64,
    /// Share of the texts where another rule votes for another class.
    pub conflict: f64,
    /// Estimated accuracy: agreement with the other rules' winner.
    pub accuracy: f64,
}

/// About all rules together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VoteReport {
    /// Texts.
    pub texts: usize,
    /// Texts with a label.
    pub labelled: usize,
    /// Texts whose best classes are level.
    pub tied: usize,
    /// Texts on which every rule abstained.
    pub abstained: usize,
    /// Texts on which two rules vote for different classes.
    pub conflicting: usize,
    /// Labels by class.
    pub by_class: Vec<usize>,
    /// In the rules' order.
    pub rules: Vec<RuleFigures>,
}

/// Rounds of the estimate; it settles within a few.
const ROUNDS: usize = 20;
/// Accuracies are kept inside this range, so that no rule weighs infinitely much or against its own vote.
const ACCURACY: (f64, f64) = (0.01, 0.99);

/// Labels for texts: `votes[text][rule]`, each class below `classes`, every row of one length.
pub fn vote(votes: &[Vec<Option<u32>>], classes: usize, voting: Voting) -> (Vec<Outcome>, VoteReport) {
    let rules = votes.first().map_or(0, Vec::len);
    let accuracy = accuracies(votes, rules, classes);
    let weights = match voting {
        Voting::Majority => vec![1.0; rules],
        Voting::Weighted => accuracy.iter().map(|&a| weight(a, classes)).collect(),
    };
    let outcomes: Vec<Outcome> = votes.iter().map(|row| winner(row, &weights, classes, None)).collect();
    let report = report(votes, &outcomes, classes, &accuracy);
    (outcomes, report)
}

#[expect(clippy::cast_precision_loss, reason = "a label set has at most 256 classes")]
fn weight(accuracy: f64, classes: usize) -> f64 {
    // A rule that is right less often than chance says nothing, rather than the opposite.
    ((classes.saturating_sub(1)).max(1) as f64 * accuracy / (1.0 - accuracy)).ln().max(0.0)
}

fn winner(row: &[Option<u32>], weights: &[f64], classes: usize, without: Option<usize>) -> Outcome {
    let mut score = vec![0.0f64; classes];
    let mut spoke = false;
    for (rule, class) in row.iter().enumerate().filter(|(rule, _)| Some(*rule) != without) {
        let Some(at) = class.and_then(|c| usize::try_from(c).ok()).filter(|&c| c < classes) else { continue };
        score[at] += weights[rule];
        spoke = true;
    }
    if !spoke {
        return Outcome::Abstained;
    }
    let best = score.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut level = score.iter().enumerate().filter(|(_, s)| (best - **s).abs() <= 1e-12);
    match (level.next(), level.next()) {
        (Some((class, _)), None) => u32::try_from(class).map_or(Outcome::Tie, Outcome::Label),
        (_, _) => Outcome::Tie,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^53")]
fn accuracies(votes: &[Vec<Option<u32>>], rules: usize, classes: usize) -> Vec<f64> {
    let mut weights = vec![1.0; rules];
    let mut accuracy = vec![0.5; rules];
    for _ in 0..ROUNDS {
        let next: Vec<f64> = (0..rules)
            .map(|rule| {
                let (mut agreed, mut judged) = (0u64, 0u64);
                for row in votes {
                    let (Some(said), Outcome::Label(truth)) = (row[rule], winner(row, &weights, classes, Some(rule))) else { continue };
                    judged += 1;
                    agreed += u64::from(said == truth);
                }
                // Laplace: a rule that is alone everywhere has an even chance.
                ((agreed as f64 + 1.0) / (judged as f64 + 2.0)).clamp(ACCURACY.0, ACCURACY.1)
            })
            .collect();
        let settled = next.iter().zip(&accuracy).all(|(a, b)| (a - b).abs() < 1e-9);
        accuracy = next;
        // While estimating, no rule falls silent: two rules that differ once must still be able to judge each other.
        weights = accuracy.iter().map(|&a| weight(a, classes).max(1e-3)).collect();
        if settled {
            break;
        }
    }
    accuracy
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^53")]
fn report(votes: &[Vec<Option<u32>>], outcomes: &[Outcome], classes: usize, accuracy: &[f64]) -> VoteReport {
    let differs = |row: &[Option<u32>], class: u32| row.iter().flatten().any(|&c| c != class);
    let share = |n: usize| if votes.is_empty() { 0.0 } else { n as f64 / votes.len() as f64 };
    let figures = |(rule, &accuracy): (usize, &f64)| {
        let mine = || votes.iter().filter_map(move |row| row[rule].map(|class| (row, class)));
        RuleFigures {
            coverage: share(mine().count()),
            overlap: share(mine().filter(|(row, _)| row.iter().flatten().count() > 1).count()),
            conflict: share(mine().filter(|(row, class)| differs(row, *class)).count()),
            accuracy,
        }
    };
    let count = |wanted: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|o| wanted(o)).count();
    VoteReport {
        texts: votes.len(),
        labelled: count(&|o| matches!(o, Outcome::Label(_))),
        tied: count(&|o| *o == Outcome::Tie),
        abstained: count(&|o| *o == Outcome::Abstained),
        conflicting: votes.iter().filter(|row| row.iter().flatten().next().is_some_and(|&first| differs(row, first))).count(),
        by_class: (0..classes).map(|c| count(&|o| *o == Outcome::Label(u32::try_from(c).unwrap_or(u32::MAX)))).collect(),
        rules: accuracy.iter().enumerate().map(figures).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn a_majority_wins_a_level_vote_says_nothing_and_silence_stays_silence() {
        let votes = vec![vec![Some(0), Some(0), Some(1)], vec![Some(0), Some(1), None], vec![None, None, None]];
        let (outcomes, report) = vote(&votes, 2, Voting::Majority);
        assert_eq!(outcomes, [Outcome::Label(0), Outcome::Tie, Outcome::Abstained]);
        assert_eq!((report.labelled, report.tied, report.abstained, report.conflicting), (1, 1, 1, 2));
        assert_eq!(report.by_class, [1, 0]);
        assert!((report.rules[2].coverage - 1.0 / 3.0).abs() < 1e-12 && (report.rules[2].conflict - 1.0 / 3.0).abs() < 1e-12);
    }

    /// Two careless rules against three careful ones: with independent mistakes the estimate finds out who is who. With 4,000 texts the
    /// deviation of a share is below 0.008; the agreement with a winner that is itself sometimes wrong costs at most 0.06 of the 0.93.
    #[test]
    fn the_weighted_vote_finds_out_which_rules_are_careful() {
        let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let truth: Vec<u32> = (0..4000).map(|_| dice.random_range(0..3)).collect();
        let careful = [0.93, 0.93, 0.93, 0.45, 0.45];
        let mut say = |t: u32, a: f64| Some(if dice.random::<f64>() < a { t } else { (t + dice.random_range(1..3)) % 3 });
        let votes: Vec<Vec<_>> = truth.iter().map(|&t| careful.iter().map(|&a| say(t, a)).collect()).collect();
        let right = |outcomes: &[Outcome]| outcomes.iter().zip(&truth).filter(|(o, t)| **o == Outcome::Label(**t)).count();
        let (weighted, report) = vote(&votes, 3, Voting::Weighted);
        let (majority, _) = vote(&votes, 3, Voting::Majority);
        assert!(report.rules[..3].iter().all(|r| r.accuracy > 0.87), "{:?}", report.rules);
        assert!(report.rules[3..].iter().all(|r| r.accuracy < 0.52), "{:?}", report.rules);
        assert!(right(&weighted) > right(&majority), "{} and {}", right(&weighted), right(&majority));
    }

    proptest! {
        #[test]
        fn every_text_has_one_outcome(votes in prop::collection::vec(prop::collection::vec(prop::option::of(0u32..4), 5), 0..40)) {
            for voting in [Voting::Majority, Voting::Weighted] {
                let (outcomes, r) = vote(&votes, 4, voting);
                prop_assert_eq!(outcomes.len(), votes.len());
                prop_assert_eq!(r.labelled + r.tied + r.abstained, r.texts);
                prop_assert_eq!(r.by_class.iter().sum::<usize>(), r.labelled);
                for (o, row) in outcomes.iter().zip(&votes) {
                    if let Outcome::Label(c) = o { prop_assert!(row.contains(&Some(*c))); }
                }
            }
        }
    }
}
