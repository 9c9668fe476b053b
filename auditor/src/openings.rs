//! A37, log only: the openings of every opened sum give the key sum that the server stated, without any key. Knows no ciphertext.

use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::{Fold, SumPlace};
use crate::share::{Answer, CheckMatrix, Doubt, KeySum, candidates, doubts};
use protocol::history::GroupHistory;
use protocol::ids::HeaderDigest;
use protocol::manifest::{Certificate, SumResult};
use protocol::params::{CBD_BOUND, CommitteeSize};
use std::collections::BTreeSet;

const LYING: Rule = Rule::new(Check::Openings, Severity::Invariant, "I5: check values add up to the summed share (C55)");
const FORM: Rule = Rule::new(Check::Openings, Severity::Invariant, "I5: an opening is shares and check values of the set (C33, C55)");
const MEMBER: Rule = Rule::new(
    Check::Openings,
    Severity::Invariant,
    "I5: a member's check values lie on one polynomial for all but at most d answers (C56)",
);
const DISPUTED: Rule =
    Rule::new(Check::Openings, Severity::Invariant, "I5: check values of a member and of a decryptor fit; else the two dispute (C56)");
const AGREE: Rule = Rule::new(Check::Openings, Severity::Invariant, "I5: openings are Reed-Solomon consistent (C56)");
const BOUND: Rule = Rule::new(Check::Openings, Severity::Invariant, "I5: the key sum is within its bound (C59)");
const DIGEST: Rule = Rule::new(Check::Openings, Severity::Invariant, "A37: openings give the stated key sum");
const FEW: Rule = Rule::new(Check::Openings, Severity::Invariant, "I5: at least d + 1 openings");

/// Recomputes every key sum that the log states; returns the places of those that came out as stated.
pub(crate) fn check(fold: &Fold<'_>, findings: &mut Findings) -> BTreeSet<SumPlace> {
    let mut confirmed = BTreeSet::new();
    for (&task, history) in fold.history().tasks() {
        for (&round, r) in history.rounds() {
            for &group in r.groups.keys() {
                let at = SumPlace { task, round, group };
                if Sum::find(fold, at).is_some_and(|sum| sum.check(findings)) {
                    confirmed.insert(at);
                }
            }
        }
    }
    confirmed
}

/// The key sum that the openings of an opened sum give: the stated one if it is among the candidates, else the one that most of them
/// agree on. What is wrong with them is [`check`]'s to say.
pub(crate) fn key_sum(fold: &Fold<'_>, at: SumPlace) -> Option<KeySum> {
    let sum = Sum::find(fold, at)?;
    let answers = sum.answers(&mut Findings::default());
    if answers.len() < sum.size.threshold() { None } else { sum.best(&answers) }
}

/// One opened sum.
struct Sum<'a> {
    fold: &'a Fold<'a>,
    at: SumPlace,
    size: CommitteeSize,
    certificate: &'a Certificate,
    result: &'a SumResult,
    group: &'a GroupHistory,
}

impl<'a> Sum<'a> {
    /// The opened sum at this place, if the log has one.
    fn find(fold: &'a Fold<'a>, at: SumPlace) -> Option<Self> {
        let round = fold.history().task(at.task)?.rounds().get(&at.round)?;
        let (manifest, _) = round.manifest.as_ref()?;
        let group = round.groups.get(&at.group)?;
        let (certificate, result) = (group.certificate.as_ref()?, group.result.as_ref()?);
        Some(Self { fold, at, size: manifest.size, certificate, result, group })
    }

    fn place(&self) -> Place {
        Place::Index(self.fold.sum_index(self.at))
    }

    fn check(&self, findings: &mut Findings) -> bool {
        let answers = self.answers(findings);
        let degree = usize::from(self.size.corrupt);
        if answers.len() < self.size.threshold() {
            findings.add(FEW, self.place(), format!("at least {}", self.size.threshold()), answers.len().to_string());
            return false;
        }
        for (member, doubt) in doubts(&answers, degree, self.certificate.headers().len()) {
            let header = self.certificate.headers().get(member).copied().unwrap_or(HeaderDigest([0; 32]));
            self.doubt(header, &doubt, findings);
        }
        self.best(&answers).is_some_and(|best| self.judge(&best, &answers, findings))
    }

    /// Who is at fault, or who disputes with whom. A dispute is found at the decryptor's opening and proves neither of the two wrong.
    fn doubt(&self, header: HeaderDigest, doubt: &Doubt, findings: &mut Findings) {
        let degree = self.size.corrupt;
        match doubt {
            Doubt::AtFault => {
                let expected = format!("one polynomial of degree {degree} for all but at most {degree} answers");
                findings.add(MEMBER, self.place(), expected, format!("none for header {header}"));
            }
            Doubt::Disputed(with) => {
                for position in with {
                    let place = Place::Index(self.fold.opening_index(self.at, *position));
                    let got = format!("disputed between header {header} and decryptor {position}; neither is proven wrong");
                    findings.add(DISPUTED, place, "check values on one polynomial", got);
                }
            }
        }
    }

    fn best(&self, answers: &[Answer]) -> Option<KeySum> {
        let mut sums = candidates(answers, usize::from(self.size.corrupt));
        let stated = sums.iter().position(|s| s.digest() == self.result.key_sum);
        (!sums.is_empty()).then(|| sums.swap_remove(stated.unwrap_or(0)))
    }

    /// Openings that can be read and do not contradict themselves.
    fn answers(&self, findings: &mut Findings) -> Vec<Answer> {
        let matrix = CheckMatrix::of(self.certificate.digest());
        let mut answers = Vec::new();
        for (&position, opening) in &self.group.openings {
            let place = Place::Index(self.fold.opening_index(self.at, position));
            match Answer::parse(opening, self.certificate.headers().len()) {
                Ok(answer) if matrix.is_consistent(&answer) => answers.push(answer),
                Ok(_) => findings.add(LYING, place, "check values of the shares", format!("others, by decryptor {position}")),
                Err(e) => findings.add(FORM, place, "an opening of this set", e.to_string()),
            }
        }
        answers
    }

    fn judge(&self, sum: &KeySum, answers: &[Answer], findings: &mut Findings) -> bool {
        let members = self.certificate.members();
        for answer in answers.iter().filter(|a| !sum.agreeing.contains(&a.position)) {
            let place = Place::Index(self.fold.opening_index(self.at, answer.position));
            findings.add(AGREE, place, "a point of the same polynomials", format!("another, by decryptor {}", answer.position));
        }
        if !sum.is_bounded(members) {
            let most = CBD_BOUND * i64::from(members);
            findings.add(BOUND, self.place(), format!("coefficients of at most {most}"), sum.largest().to_string());
        }
        let (stated, got) = (self.result.key_sum, sum.digest());
        if stated != got {
            findings.add(DIGEST, self.place(), stated.to_hex(), got.to_hex());
        }
        stated == got && sum.is_bounded(members)
    }
}
