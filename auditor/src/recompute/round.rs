//! One round of the log against its chunks: what to sum, and whether what came out is what was stated. Knows no arithmetic.

use super::chunks::{ChunkFault, Store};
use super::extract::Places;
use super::group::{Job, OpenedSum, Sum};
use super::integers::{Integers, Keep, Reading, Values};
use super::kept::{Kept, KeptFault, KeptRound};
use super::report::{Figure, GroupReport, Outcome};
use super::{Progress, RecomputeError, Tick, Wanted};
use crate::dir::ReadError;
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::{Fold, SumPlace};
use crate::openings;
use crate::share::KeySum;
use crate::step::{self, Mass, Opened};
use protocol::decimal::Decimal;
use protocol::history::{GroupHistory, RoundHistory};
use protocol::ids::{Address, GroupId, LeafIndex, ManifestDigest, RoundId, TaskId};
use protocol::manifest::{Certificate, GroupSpec, Manifest, SumResult};
use protocol::params::Packing;
use protocol::plan::Plan;

const MISSING: Rule = Rule::new(Check::Sums, Severity::Incomplete, "A37: the chunks of every member of the set are there");
const NOTHING: Rule = Rule::new(Check::Sums, Severity::Incomplete, "A37: the round has an opened sum");
const FAILED: Rule = Rule::new(Check::Sums, Severity::Notice, "C58: a sum that failed is over; nothing opens it again");
const DELETED: Rule = Rule::new(
    Check::Sums,
    Severity::Notice,
    "A37: the chunks of this sum were deleted on record; without a copy it is not added up again, its openings and key sum are checked as ever",
);
const LIST: Rule = Rule::new(Check::Sums, Severity::Integrity, "C36: chunk addresses give the body root that was signed");
const CHUNK: Rule = Rule::new(Check::Sums, Severity::Integrity, "C41: a chunk hashes to its address");
const LENGTH: Rule = Rule::new(Check::Sums, Severity::Integrity, "C30: a chunk is whole polynomials of its block");
const NUMBERS: Rule = Rule::new(Check::Sums, Severity::Integrity, "C20: packing numbers are the derived ones");
const SUM_ROOT: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: the members' chunks add up to the stated sum root");
const KEY_SUM: Rule = Rule::new(Check::Sums, Severity::Integrity, "C59: the openings give the stated key sum, within its bound");
const OPENED: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: residuals, slots, padding and tally are those of the set");
const VALUES: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: the opened integers give the stated value digest");
const RATIO: Rule = Rule::new(Check::Sums, Severity::Integrity, "C60: the residual ratio is the stated one");
const WEIGHT: Rule =
    Rule::new(Check::Sums, Severity::Integrity, "C24: the opened tally is the sum of the weights that the members had declared");
const NORM: Rule = Rule::new(Check::Sums, Severity::Invariant, "C64: a group whose mean is longer than the plan allows is not published");
const KEPT: Rule = Rule::new(Check::Sums, Severity::Integrity, "A37: the kept integers give the stated value digest");
const KEPT_MISSING: Rule = Rule::new(Check::Sums, Severity::Incomplete, "A37: the kept integers of every opened sum are there");
const QUIET: Rule = Rule::new(Check::Sums, Severity::Notice, "C60: residuals are as large as the seal's noise makes them");

/// How far the stated ratio may lie from ours: it is rounded up to six places, and sums of floating-point squares depend on their order.
const RATIO_STEP: f64 = 1.5e-6;

/// What sums are made again from.
pub(super) struct Sources {
    pub(super) chunks: Option<Store>,
    pub(super) sums: Option<Kept>,
    /// Whether integers are wanted for the next snapshot.
    pub(super) keep: Keep,
}

/// What came of a round's sums.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) groups: Vec<GroupReport>,
    /// The integers that came out, if they are wanted.
    pub(super) opened: Vec<Opened>,
}

/// A round with its manifest.
pub(super) struct Round<'a> {
    fold: &'a Fold<'a>,
    pub(super) task: TaskId,
    pub(super) id: RoundId,
    pub(super) plan: Option<&'a Plan>,
    pub(super) history: &'a RoundHistory,
    pub(super) manifest: &'a Manifest,
    pub(super) digest: ManifestDigest,
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
        Self::of(fold, task, wanted.round, history).ok_or(RecomputeError::NoRound(wanted.round))
    }

    fn of(fold: &'a Fold<'a>, task: TaskId, id: RoundId, history: &'a RoundHistory) -> Option<Self> {
        let (manifest, digest) = history.manifest.as_ref()?;
        let plan = fold.history().task(task).and_then(|t| t.plan());
        Some(Self { fold, task, id, plan, history, manifest, digest: *digest })
    }

    /// Every round of the log that has a manifest, task by task in order.
    pub(super) fn all(fold: &'a Fold<'a>) -> impl Iterator<Item = Self> {
        let tasks = fold.history().tasks().iter();
        tasks.flat_map(move |(task, t)| t.rounds().iter().filter_map(move |(id, history)| Self::of(fold, *task, *id, history)))
    }

    /// The rounds of the same task before this one.
    pub(super) fn before(&self) -> impl Iterator<Item = Self> {
        let (task, id) = (self.task, self.id);
        Self::all(self.fold).filter(move |r| r.task == task && r.id < id)
    }

    /// Blocks of all opened sums: what there is to do where chunks are given.
    pub(super) fn blocks(&self) -> u64 {
        let opened = |g: &&GroupSpec| self.history.groups.get(&g.id).is_some_and(|h| h.result.is_some());
        let blocks = |g: &GroupSpec| Places::of(g).map_or(0, |p| Packing::chunks(p.polynomials()));
        self.manifest.groups.iter().filter(opened).map(blocks).sum()
    }

    /// Makes the sums of this round, or of one group of it, again.
    pub(super) fn recompute(
        &self,
        sources: &Sources,
        only: Option<GroupId>,
        findings: &mut Findings,
        progress: Progress<'_>,
    ) -> Result<Seen, RecomputeError> {
        let wanted: Vec<&GroupSpec> = self.manifest.groups.iter().filter(|g| only.is_none_or(|o| o == g.id)).collect();
        if let (Some(only), true) = (only, wanted.is_empty()) {
            return Err(RecomputeError::NoGroup(only));
        }
        let kept = sources.sums.as_ref().map(|sums| sums.round(self.task, self.id, self.manifest)).transpose()?;
        let mut seen = Seen::default();
        for spec in wanted {
            let (report, opened) = self.group(spec, sources, kept.as_ref(), findings, progress)?;
            seen.groups.push(report);
            seen.opened.extend(opened);
        }
        Ok(seen)
    }

    /// Says that there was nothing to make again, where somebody asked for this round.
    pub(super) fn check_opened(&self, seen: &Seen, findings: &mut Findings) {
        if seen.groups.iter().all(|g| matches!(g.outcome, Outcome::Failed | Outcome::NotOpened)) {
            findings.add(NOTHING, Place::Path(format!("round {}", self.id)), "an opened sum", "none: not recomputed");
        }
    }

    fn group(
        &self,
        spec: &GroupSpec,
        sources: &Sources,
        kept: Option<&KeptRound>,
        findings: &mut Findings,
        progress: Progress<'_>,
    ) -> Result<(GroupReport, Option<Opened>), ReadError> {
        let at = SumPlace { task: self.task, round: self.id, group: spec.id };
        let report = GroupReport { group: spec.id.0, ..GroupReport::default() };
        let history = self.history.groups.get(&spec.id);
        if let Some((history, certificate, stated)) = history.and_then(|h| Some((h, h.certificate.as_ref()?, h.result.as_ref()?))) {
            let place = Place::Index(self.fold.sum_index(at));
            let (weight, units) = (self.history.total_weight(spec.id), self.history.total_units(spec.id));
            let mass = Mass { members: certificate.members(), weight, units };
            return OneSum { round: self, at, place, spec, history, certificate, stated, mass, findings, report }
                .recompute(sources, kept, progress);
        }
        match self.fold.failed_index(at) {
            Some(index) => {
                findings.add(FAILED, Place::Index(index), "an opened sum", "round.sum.failed");
                Ok((GroupReport { outcome: Outcome::Failed, ..report }, None))
            }
            None => Ok((GroupReport { outcome: Outcome::NotOpened, ..report }, None)),
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
    /// What the log says that it counts by.
    mass: Mass,
    findings: &'f mut Findings,
    report: GroupReport,
}

impl OneSum<'_, '_> {
    fn find(&mut self, rule: Rule, expected: impl Into<String>, got: impl Into<String>) {
        self.findings.add(rule, self.place.clone(), expected, got);
    }

    fn recompute(
        mut self,
        sources: &Sources,
        kept: Option<&KeptRound>,
        progress: Progress<'_>,
    ) -> Result<(GroupReport, Option<Opened>), ReadError> {
        self.report.members = self.certificate.headers().len();
        let places = match Places::of(self.spec) {
            Ok(places) => places,
            Err(e) => {
                self.find(NUMBERS, "numbers that C26 gives", e.to_string());
                self.report.reason = Some(e.to_string());
                return Ok((self.report, None));
            }
        };
        self.report.polynomials = places.polynomials();
        let mut values = None;
        if let Some(store) = &sources.chunks {
            match self.sum(store, &places, sources.keep, progress) {
                Ok((sum, key_sum)) => values = self.judge(sum, key_sum.as_ref()),
                Err(ChunkFault::Read(e)) => return Err(e),
                Err(fault) => self.unusable(&fault),
            }
        }
        if let Some(kept) = kept {
            let kept = self.judge_kept(kept, sources.keep);
            values = values.or(kept);
        }
        let (group, mass) = (self.spec.id, self.mass);
        Ok((self.report, values.map(|values| Opened { group, values, mass })))
    }

    /// Adds and opens the chunks of the certified set.
    fn sum(&mut self, store: &Store, places: &Places, keep: Keep, progress: Progress<'_>) -> Result<(Sum, Option<KeySum>), ChunkFault> {
        let members = self.members(store, places)?;
        self.report.chunks = members.iter().map(|m| m.len() as u64).sum();
        let key_sum = openings::key_sum(self.round.fold, self.at);
        let coefficients = key_sum.as_ref().map_or(&[][..], KeySum::coefficients);
        let job = Job { manifest: self.round.digest, spec: self.spec, places, members: &members, key_sum: coefficients, keep };
        let tick = |done, all| progress(Tick { round: self.round.id, group: self.spec.id, done, all });
        let sum = job.run(|address, bytes| store.chunk(address, bytes), tick)?;
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
                    // What was deleted on record is told once, for the whole sum.
                    if self.deleted(&fault).is_none() {
                        self.findings.add(rule_of(&fault), Place::Index(index.0), "chunks of this update", fault.to_string());
                    }
                    first = first.or(Some(fault));
                }
            }
        }
        first.map_or(Ok(members), Err)
    }

    /// Nothing came out. What lacks at a member was found there; what shows only in its bytes is found here.
    fn unusable(&mut self, fault: &ChunkFault) {
        if let Some(at) = self.deleted(fault) {
            self.findings.add(DELETED, Place::Index(at.0), "sealed chunks", format!("none of group {}", self.spec.id));
            self.report.outcome = Outcome::Deleted;
            self.report.reason = Some(format!("by entry {at}: {fault}"));
            return;
        }
        if matches!(fault, ChunkFault::Altered(_) | ChunkFault::Length { .. }) {
            self.find(rule_of(fault), "what was sealed", fault.to_string());
        }
        let what = if matches!(fault, ChunkFault::Missing(_)) { "chunks missing" } else { "chunks are not what was signed" };
        self.report.reason = Some(format!("{what}: {fault}"));
    }

    /// Where it is on record that what is missing was deleted.
    fn deleted(&self, fault: &ChunkFault) -> Option<LeafIndex> {
        self.round.history.deleted.filter(|_| matches!(fault, ChunkFault::Missing(_)))
    }

    /// Compares what came out of the chunks; hands on the integers.
    fn judge(&mut self, sum: Sum, key_sum: Option<&KeySum>) -> Option<Values> {
        let bounded = key_sum.filter(|s| s.is_bounded(self.certificate.members()));
        let key = bounded.map(|s| s.digest().to_hex());
        self.report.sum_root = Some(self.compare(SUM_ROOT, self.stated.sum_root.to_hex(), Some(sum.sum_root.to_hex())));
        self.report.key_sum = Some(self.compare(KEY_SUM, self.stated.key_sum.to_hex(), key));
        let mut values = None;
        match (sum.opened, key_sum) {
            (Ok(opened), Some(_)) => {
                self.judge_values(&opened);
                values = opened.integers.values;
            }
            (Err(fault), Some(_)) => {
                self.find(OPENED, "a sum of valid updates under this key sum", fault.to_string());
                self.report.reason = Some(fault.to_string());
                let stated = self.stated.values.to_hex();
                self.report.values = Some(Figure { stated, recomputed: None, agrees: false });
            }
            (Ok(_) | Err(_), None) => self.report.reason = Some("the openings give no key sum".to_owned()),
        }
        let r = &self.report;
        let stated = [&r.sum_root, &r.key_sum, &r.values, &r.residual_ratio].into_iter().all(|f| f.as_ref().is_some_and(|f| f.agrees));
        let rules = [&r.weights, &r.norm].into_iter().all(|f| f.as_ref().is_none_or(|f| f.agrees));
        self.report.outcome = if stated && rules { Outcome::Agrees } else { Outcome::Differs };
        values
    }

    fn judge_values(&mut self, opened: &OpenedSum) {
        self.report.values = Some(self.compare(VALUES, self.stated.values.to_hex(), Some(opened.integers.digest.to_hex())));
        let (stated, ours) = (self.stated.residual_ratio, Decimal::ceil(opened.worst, 6).ok());
        let agrees = (stated.to_f64() - opened.worst).abs() <= RATIO_STEP;
        let recomputed = ours.map(|o| o.to_string());
        if !agrees {
            self.find(RATIO, stated.to_string(), recomputed.clone().unwrap_or_default());
        }
        self.report.residual_ratio = Some(Figure { stated: stated.to_string(), recomputed, agrees });
        self.report.quiet_polynomials = opened.quiet;
        if opened.quiet > 0 {
            self.find(QUIET, "residual ratios of at least 0.75", format!("{} polynomials below", opened.quiet));
        }
        self.judge_weight(&opened.integers);
        self.judge_norm(&opened.integers);
    }

    /// C24: what the members sealed as their weights adds up to what they had declared; a mean over anything else is somebody's invention.
    fn judge_weight(&mut self, integers: &Integers) {
        self.report.weight = integers.weight;
        if let Some(weight) = integers.weight {
            let declared = self.mass.weight.map_or_else(|| "nothing".to_owned(), |w| w.to_string());
            self.report.weights = Some(self.compare(WEIGHT, declared, Some(weight.to_string())));
        }
    }

    /// training.md M18: the mean is as short as the plan wants it. It is divided by what the log says, not by what was opened.
    fn judge_norm(&mut self, integers: &Integers) {
        let Some((plan, most)) = self.round.plan.and_then(|p| Some((p, p.robust().max_group_norm?))) else { return };
        let squares: Vec<_> = self.spec.shards.iter().map(|s| s.id).zip(integers.squares.iter().copied()).collect();
        let values = self.spec.shards.iter().map(|s| s.length).sum();
        let norm = step::norm(plan, self.mass, &squares);
        let agrees = norm.is_some_and(|n| !step::is_beyond(n, most.to_f64(), values));
        let (stated, recomputed) = (most.to_string(), norm.map(|n| format!("{n:.9}")));
        if !agrees {
            self.find(NORM, format!("a norm of at most {stated}"), recomputed.clone().unwrap_or_else(|| "no mean".to_owned()));
        }
        self.report.norm = Some(Figure { stated, recomputed, agrees });
    }

    /// Compares what the server kept with what it signed.
    fn judge_kept(&mut self, kept: &KeptRound, keep: Keep) -> Option<Values> {
        let integers = kept.group(self.spec).map(|shards| self.read_kept(shards, keep));
        let integers = match integers {
            Ok(integers) => integers,
            Err(fault) => {
                let rule = if matches!(fault, KeptFault::Missing(_)) { KEPT_MISSING } else { KEPT };
                self.find(rule, "the integers of this sum", fault.to_string());
                self.report.reason = self.report.reason.take().or_else(|| Some(fault.to_string()));
                return None;
            }
        };
        let digest = integers.as_ref().map(|i| i.digest.to_hex());
        let figure = self.compare(KEPT, self.stated.values.to_hex(), digest);
        let (agrees, summed) = (figure.agrees, self.report.values.is_some());
        self.report.kept = Some(figure);
        if let (Some(integers), true, false) = (&integers, agrees, summed) {
            self.judge_norm(integers);
        }
        let holds = agrees && self.report.norm.as_ref().is_none_or(|f| f.agrees);
        self.report.outcome = match (self.report.outcome, holds) {
            (Outcome::NotRecomputed | Outcome::Deleted, true) => Outcome::Kept,
            (Outcome::Agrees | Outcome::NotRecomputed | Outcome::Deleted, false) => Outcome::Differs,
            (other, _) => other,
        };
        integers.filter(|_| agrees)?.values
    }

    /// Kept integers as those of a sum. The limbs of a tally are not kept; they are those of the declared weights, or the digest is another.
    fn read_kept(&self, shards: Vec<Vec<i64>>, keep: Keep) -> Option<Integers> {
        let mut reading = Reading::new(self.round.digest, self.spec, keep);
        let behind = shards.len();
        shards.into_iter().enumerate().for_each(|(part, values)| reading.take(part, values));
        if let Some(tally) = self.spec.tally {
            let mut sums = vec![0i64; usize::try_from(tally.limbs()).ok()?];
            for weight in self.round.history.weights(self.spec.id)? {
                sums.iter_mut().zip(tally.split(weight)?).for_each(|(sum, limb)| *sum += i64::from(limb));
            }
            reading.take(behind, sums);
        }
        reading.finish(self.certificate.members()).ok()
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
