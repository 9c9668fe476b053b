//! One round of the log against its chunks: what to sum, and whether what came out is what was stated. Knows no arithmetic.

use super::chunks::{ChunkFault, Store};
use super::extract::Places;
use super::group::{Job, OpenedSum, Sum};
use super::report::{Figure, GroupReport, Outcome};
use super::{Progress, RecomputeError, Wanted};
use crate::dir::ReadError;
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::{Fold, SumPlace};
use crate::openings;
use crate::share::KeySum;
use protocol::decimal::Decimal;
use protocol::history::{GroupHistory, RoundHistory};
use protocol::ids::{Address, GroupId, ManifestDigest, RoundId, TaskId};
use protocol::manifest::{Certificate, GroupSpec, Manifest, SumResult};

const MISSING: Rule = Rule::new(Check::Sums, Severity::Incomplete, "A37: the chunks of every member of the set are there");
const NOTHING: Rule = Rule::new(Check::Sums, Severity::Incomplete, "A37: the round has an opened sum");
const FAILED: Rule = Rule::new(Check::Sums, Severity::Notice, "C58: a sum that failed is over; nothing opens it again");
const LIST: Rule = Rule::new(Check::Sums, Severity::Integrity, "C36: chunk addresses give the body root that was signed");
const CHUNK: Rule = Rule::new(Check::Sums, Severity::Integrity, "C41: a chunk hashes to its address");
const LENGTH: Rule = Rule::new(Check::Sums, Severity::Integrity, "C30: a chunk is whole polynomials of its block");
const NUMBERS: Rule = Rule::new(Check::Sums, Severity::Integrity, "C20: packing numbers are the derived ones");
const SUM_ROOT: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: the members' chunks add up to the stated sum root");
const KEY_SUM: Rule = Rule::new(Check::Sums, Severity::Integrity, "C59: the openings give the stated key sum, within its bound");
const OPENED: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: residuals, slots, padding and tally are those of the set");
const VALUES: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: the opened integers give the stated value digest");
const RATIO: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: the residual ratio is the stated one");
const QUIET: Rule = Rule::new(Check::Sums, Severity::Notice, "C60: residuals are as large as the seal's noise makes them");

/// How far the stated ratio may lie from ours: it is rounded up to six places, and sums of floating-point squares depend on their order.
const RATIO_STEP: f64 = 1.5e-6;

/// What came of a round.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) task: Option<TaskId>,
    pub(super) manifest: Option<ManifestDigest>,
    pub(super) groups: Vec<GroupReport>,
}

/// A round with its manifest.
pub(super) struct Round<'a> {
    fold: &'a Fold<'a>,
    task: TaskId,
    id: RoundId,
    history: &'a RoundHistory,
    manifest: &'a Manifest,
    digest: ManifestDigest,
}

impl<'a> Round<'a> {
    /// The wanted round of the log.
    pub(super) fn find(fold: &'a Fold<'a>, wanted: Wanted) -> Result<Self, RecomputeError> {
        let tasks = fold.history().tasks();
        let task = match (wanted.task, tasks.len()) {
            (Some(task), _) => task,
            (None, 0 | 1) => *tasks.keys().next().ok_or(RecomputeError::NoTask)?,
            (None, many) => return Err(RecomputeError::ManyTasks(many)),
        };
        let rounds = tasks.get(&task).ok_or(RecomputeError::NoTask)?.rounds();
        let history = rounds.get(&wanted.round).ok_or(RecomputeError::NoRound(wanted.round))?;
        let (manifest, digest) = history.manifest.as_ref().ok_or(RecomputeError::NoRound(wanted.round))?;
        Ok(Self { fold, task, id: wanted.round, history, manifest, digest: *digest })
    }

    /// Makes the sums of this round, or of one group of it, again.
    pub(super) fn recompute(
        &self,
        store: &Store,
        only: Option<GroupId>,
        findings: &mut Findings,
        progress: Progress<'_>,
    ) -> Result<Seen, RecomputeError> {
        let wanted: Vec<&GroupSpec> = self.manifest.groups.iter().filter(|g| only.is_none_or(|o| o == g.id)).collect();
        if let (Some(only), true) = (only, wanted.is_empty()) {
            return Err(RecomputeError::NoGroup(only));
        }
        let one = |spec| self.group(spec, store, findings, progress);
        let groups = wanted.into_iter().map(one).collect::<Result<Vec<_>, ReadError>>()?;
        if groups.iter().all(|g| matches!(g.outcome, Outcome::Failed | Outcome::NotOpened)) {
            findings.add(NOTHING, Place::Path(format!("round {}", self.id)), "an opened sum", "none: not recomputed");
        }
        Ok(Seen { task: Some(self.task), manifest: Some(self.digest), groups })
    }

    fn group(&self, spec: &GroupSpec, store: &Store, findings: &mut Findings, progress: Progress<'_>) -> Result<GroupReport, ReadError> {
        let at = SumPlace { task: self.task, round: self.id, group: spec.id };
        let report = GroupReport { group: spec.id.0, ..GroupReport::default() };
        let history = self.history.groups.get(&spec.id);
        if let Some((history, certificate, stated)) = history.and_then(|h| Some((h, h.certificate.as_ref()?, h.result.as_ref()?))) {
            let place = Place::Index(self.fold.sum_index(at));
            return OneSum { round: self, at, place, spec, history, certificate, stated, findings, report }.recompute(store, progress);
        }
        match self.fold.failed_index(at) {
            Some(index) => {
                findings.add(FAILED, Place::Index(index), "an opened sum", "round.sum.failed");
                Ok(GroupReport { outcome: Outcome::Failed, ..report })
            }
            None => Ok(GroupReport { outcome: Outcome::NotOpened, ..report }),
        }
    }
}

/// One opened sum and what is found about it.
struct OneSum<'a, 'f> {
    round: &'a Round<'a>,
    at: SumPlace,
    place: Place,
    spec: &'a GroupSpec,
    history: &'a GroupHistory,
    certificate: &'a Certificate,
    stated: &'a SumResult,
    findings: &'f mut Findings,
    report: GroupReport,
}

impl OneSum<'_, '_> {
    fn find(&mut self, rule: Rule, expected: impl Into<String>, got: impl Into<String>) {
        self.findings.add(rule, self.place.clone(), expected, got);
    }

    fn recompute(mut self, store: &Store, progress: Progress<'_>) -> Result<GroupReport, ReadError> {
        self.report.members = self.certificate.headers().len();
        let places = match Places::of(self.spec) {
            Ok(places) => places,
            Err(e) => {
                self.find(NUMBERS, "numbers that C26 gives", e.to_string());
                self.report.reason = Some(e.to_string());
                return Ok(self.report);
            }
        };
        self.report.polynomials = places.polynomials();
        match self.sum(store, &places, progress) {
            Ok((sum, key_sum)) => self.judge(&sum, key_sum.as_ref()),
            Err(ChunkFault::Read(e)) => return Err(e),
            Err(fault) => self.unusable(&fault),
        }
        Ok(self.report)
    }

    /// Adds and opens the chunks of the certified set.
    fn sum(&mut self, store: &Store, places: &Places, progress: Progress<'_>) -> Result<(Sum, Option<KeySum>), ChunkFault> {
        let members = self.members(store, places)?;
        self.report.chunks = members.iter().map(|m| m.len() as u64).sum();
        let key_sum = openings::key_sum(self.round.fold, self.at);
        let coefficients = key_sum.as_ref().map_or(&[][..], KeySum::coefficients);
        let job = Job { manifest: self.round.digest, spec: self.spec, places, members: &members, key_sum: coefficients };
        let sum = job.run(|address, bytes| store.chunk(address, bytes), |done, all| progress(self.spec.id, done, all))?;
        Ok((sum, key_sum))
    }

    /// Chunk addresses of each member, all of them there. Every member that lacks something is named before anything is summed.
    fn members(&mut self, store: &Store, places: &Places) -> Result<Vec<Vec<Address>>, ChunkFault> {
        let (mut members, mut first) = (Vec::new(), None);
        for header in self.certificate.headers() {
            let Some((_, index, accepted)) = self.history.accepted.get(header) else { continue };
            let found = store.addresses(*header, &accepted.core, places.polynomials()).and_then(|all| {
                let absent = all.iter().map(|a| Ok((a, store.has(*a)?))).collect::<Result<Vec<_>, ReadError>>()?;
                let absent = absent.into_iter().find(|(_, there)| !there);
                absent.map_or(Ok(all.clone()), |(a, _)| Err(ChunkFault::Missing(a.to_hex())))
            });
            match found {
                Ok(all) => members.push(all),
                Err(ChunkFault::Read(e)) => return Err(e.into()),
                Err(fault) => {
                    self.findings.add(rule_of(&fault), Place::Index(index.0), "chunks of this update", fault.to_string());
                    first = first.or(Some(fault));
                }
            }
        }
        first.map_or(Ok(members), Err)
    }

    /// Nothing came out. What lacks at a member was found there; what shows only in its bytes is found here.
    fn unusable(&mut self, fault: &ChunkFault) {
        if matches!(fault, ChunkFault::Altered(_) | ChunkFault::Length { .. }) {
            self.find(rule_of(fault), "what was sealed", fault.to_string());
        }
        let what = if matches!(fault, ChunkFault::Missing(_)) { "chunks missing" } else { "chunks are not what was signed" };
        self.report.reason = Some(format!("{what}: {fault}"));
    }

    fn judge(&mut self, sum: &Sum, key_sum: Option<&KeySum>) {
        let bounded = key_sum.filter(|s| s.is_bounded(self.certificate.members()));
        let key = bounded.map(|s| s.digest().to_hex());
        self.report.sum_root = Some(self.compare(SUM_ROOT, self.stated.sum_root.to_hex(), Some(sum.sum_root.to_hex())));
        self.report.key_sum = Some(self.compare(KEY_SUM, self.stated.key_sum.to_hex(), key));
        match (&sum.opened, key_sum) {
            (Ok(opened), Some(_)) => self.judge_values(opened),
            (Err(fault), Some(_)) => {
                self.find(OPENED, "a sum of valid updates under this key sum", fault.to_string());
                self.report.reason = Some(fault.to_string());
                let stated = self.stated.values.to_hex();
                self.report.values = Some(Figure { stated, recomputed: None, agrees: false });
            }
            (Ok(_) | Err(_), None) => self.report.reason = Some("the openings give no key sum".to_owned()),
        }
        let figures = [&self.report.sum_root, &self.report.key_sum, &self.report.values, &self.report.residual_ratio];
        let agrees = figures.into_iter().all(|f| f.as_ref().is_some_and(|f| f.agrees));
        self.report.outcome = if agrees { Outcome::Agrees } else { Outcome::Differs };
    }

    fn judge_values(&mut self, opened: &OpenedSum) {
        self.report.values = Some(self.compare(VALUES, self.stated.values.to_hex(), Some(opened.values.to_hex())));
        let (stated, ours) = (self.stated.residual_ratio, Decimal::ceil(opened.worst, 6).ok());
        let agrees = (stated.to_f64() - opened.worst).abs() <= RATIO_STEP;
        let recomputed = ours.map(|o| o.to_string());
        if !agrees {
            self.find(RATIO, stated.to_string(), recomputed.clone().unwrap_or_default());
        }
        self.report.residual_ratio = Some(Figure { stated: stated.to_string(), recomputed, agrees });
        (self.report.quiet_polynomials, self.report.weight) = (opened.quiet, opened.weight);
        if opened.quiet > 0 {
            self.find(QUIET, "residual ratios of at least 0.75", format!("{} polynomials below", opened.quiet));
        }
    }

    fn compare(&mut self, rule: Rule, stated: String, recomputed: Option<String>) -> Figure {
        let agrees = recomputed.as_ref() == Some(&stated);
        if !agrees {
            self.find(rule, stated.clone(), recomputed.clone().unwrap_or_else(|| "nothing".to_owned()));
        }
        Figure { stated, recomputed, agrees }
    }
}

fn rule_of(fault: &ChunkFault) -> Rule {
    match fault {
        ChunkFault::Missing(_) | ChunkFault::Read(_) => MISSING,
        ChunkFault::List(_) => LIST,
        ChunkFault::Altered(_) => CHUNK,
        ChunkFault::Length { .. } => LENGTH,
    }
}
