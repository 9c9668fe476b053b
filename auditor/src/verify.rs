//! The one command: all checks of A35 in order, over one directory, in one pass over its entries. Reads no clock and no network.

use crate::ahead::Judges;
use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::Fold;
use crate::handovers;
use crate::others::{self, NoSuchNote, OtherNote};
use crate::policies::Policies;
use crate::trust::{self, Trusted};
use crate::verdict::{QuorumSummary, Verdict};
use crate::{artefacts, budget, openings, releases, sidecars, summary, witnesses};
use audit::fsck;
use audit::note::MAX_NOTE_BYTES;
use audit::reader::{CHECKPOINT_PATH, LogReader};
use protocol::ids::Sha256;
use protocol::trust::fingerprint;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

const OWN_QUORUM: Rule = Rule::new(Check::Notes, Severity::Incomplete, "A11: as many cosigners as the auditor asks for");

const OMITTED: Rule = Rule::new(Check::Tiles, Severity::Integrity, "A38: every finding is listed");

/// What the auditor brings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The trust document's hash, known from elsewhere.
    pub trust_hash: Option<Sha256>,
    /// Cosigners that the newest checkpoint must have, whatever its policy asks for. It covers every entry, so one note is enough.
    pub quorum: Option<usize>,
    /// Notes, or directories with notes, to compare with.
    pub with: Vec<PathBuf>,
    /// Whether notices fail.
    pub strict: bool,
    /// Threads that parse entries and judge signatures; as many as there are processors, unless given. No verdict depends on it.
    pub threads: Option<NonZeroUsize>,
}

/// Why there is no verdict. Whatever is wrong with the log itself is a finding, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The directory cannot be read.
    #[error("the directory cannot be read")]
    Read(#[from] ReadError),
    /// A note to compare with is not there.
    #[error("a note given to compare with cannot be read")]
    With(#[from] NoSuchNote),
}

/// Verifies the log in `dir`.
///
/// # Errors
/// [`VerifyError`] if something cannot be read at all.
///
/// # Security
/// Every byte below `dir` may be an attacker's: it is read with limits and streamed; links, pipes and devices are refused. Without
/// [`Options::trust_hash`] the verdict speaks about the federation whose fingerprint it prints, whichever that is.
pub fn verify(dir: &Path, options: &Options) -> Result<Verdict, VerifyError> {
    verify_with(dir, options, |_, _| ()).map(|(verdict, _)| verdict)
}

/// Verifies the log in `dir` and lets `look` see what it says before the verdict falls. Without a trust document there is nothing to see.
pub(crate) fn verify_with<T>(
    dir: &Path,
    options: &Options,
    look: impl FnOnce(&Fold<'_>, &mut Findings) -> T,
) -> Result<(Verdict, Option<T>), VerifyError> {
    let log = Directory::open(dir)?;
    let others = others::read(&options.with)??;
    let mut findings = Findings::default();
    match trust::check(&log, &mut findings)? {
        Some(trusted) => {
            let (verdict, seen) = verify_trusted(&log, &trusted, options, &others, findings, look)?;
            Ok((verdict, Some(seen)))
        }
        None => Ok((Verdict::of(&findings, options.strict, false), None)),
    }
}

fn verify_trusted<T>(
    log: &Directory,
    trusted: &Trusted,
    options: &Options,
    others: &[OtherNote],
    mut findings: Findings,
    look: impl FnOnce(&Fold<'_>, &mut Findings) -> T,
) -> Result<(Verdict, T), VerifyError> {
    let policies = Policies::load(log, &trusted.log, &mut findings)?;
    let mut wanted = others::sizes(others);
    wanted.extend(handovers::sizes(log)?);
    let mut fold = Fold::new(log, &policies, (trusted.document.clone(), trusted.hash), wanted, options.threads);
    let given = fsck::Trust { policies: policies.by_size().clone(), min_cosigners: 0, tip: None };
    let report = fsck::check_judged(log, &given, &mut Judges::new(options.threads), |index, bytes| fold.entry(index, bytes))?;
    report.findings.iter().for_each(|f| take_in(f, &mut findings));
    if report.omitted > 0 {
        // Among what was not kept there may be the worst.
        findings.add(OMITTED, Place::Path(".".to_owned()), "every finding listed", format!("{} more", report.omitted));
    }
    let (quorum, ours) = quorum(log, &policies, options, &mut findings)?;
    fold.finish(&mut findings)?;
    let trust_pinned = trust::check_pinned(fold.history(), options.trust_hash, &mut findings);
    fold.stated().roots(log, report.computed.size, fold.history(), &mut findings);
    let keys = handovers::keys(&fold, &trusted.log.clone().into(), &mut findings);
    policies.reconcile(fold.activated(), &keys, fold.history().size(), &mut findings);
    handovers::check(log, &fold, &keys, &mut findings)?;
    witnesses::check(log, &policies, fold.history(), &mut findings)?;
    let equivocations = others::check(others, &fold, (&policies, &keys), &ours, &mut findings);
    artefacts::sweep(log, fold.named(), &mut findings)?;
    let sidecars = sidecars::sweep(log, fold.hidden(), &mut findings)?;
    budget::check(fold.history(), &mut findings);
    releases::check(fold.history(), &mut findings);
    let confirmed = openings::check(&fold, &mut findings);
    let seen = look(&fold, &mut findings);
    let mut verdict = Verdict {
        federation: Some(trusted.document.federation.clone()),
        trust_hash: Some(trusted.hash.to_hex()),
        trust_fingerprint: Some(fingerprint(&trusted.hash)),
        trust_pinned,
        trust_changes: summary::trust_changes(fold.history()),
        entries: report.entries,
        tree_size: report.checkpoint.map_or(0, |head| head.size),
        root: Some(report.computed.root.to_string()),
        notes: report.notes,
        quorum,
        members: summary::members(fold.history()),
        tasks: summary::tasks(&fold, &confirmed),
        equivocations,
        sidecars,
        ..Verdict::of(&findings, options.strict, true)
    };
    verdict.add_releases(releases::summary(fold.history()));
    Ok((verdict, seen))
}

/// A finding of the tree's own check in the words of this crate.
fn take_in(finding: &fsck::Finding, findings: &mut Findings) {
    // What is gone contradicts nothing: absence is incompleteness, alteration is not (A38).
    let severity = match (&finding.fault, finding.severity()) {
        (fsck::Fault::Missing | fsck::Fault::Unreachable { .. }, _) | (_, fsck::Severity::Incomplete) => Severity::Incomplete,
        (_, fsck::Severity::Integrity) => Severity::Integrity,
    };
    let (check, clause) = match (finding.check, &finding.place) {
        (fsck::Check::Notes, _) => (Check::Notes, "A35.2: every retained note is signed, cosigned and in order"),
        (fsck::Check::Tiles, _) => (Check::Tiles, "A35.3: entries hash to level-0 tiles, tiles to the tiles above them"),
        (fsck::Check::Roots, fsck::Place::Path(p)) if p != CHECKPOINT_PATH => (Check::Prefixes, "A35.4: every older note is a prefix"),
        (fsck::Check::Roots, _) => (Check::Tiles, "A35.3: the root is the checkpoint's"),
    };
    let place = match &finding.place {
        fsck::Place::Entry(index) => Place::Index(*index),
        fsck::Place::Path(path) => Place::Path(path.clone()),
    };
    findings.add(Rule::new(check, severity, clause), place, "what was signed", chain(&finding.fault));
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The newest checkpoint's witnesses, and its text.
fn quorum(log: &Directory, policies: &Policies, options: &Options, findings: &mut Findings) -> Result<(QuorumSummary, String), ReadError> {
    let bytes = log.read(CHECKPOINT_PATH, MAX_NOTE_BYTES)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A policy that holds only from a later size refuses or knows fewer witnesses; the tree's own check has judged by the right one.
    let size = text.lines().nth(1).and_then(|l| l.parse().ok()).unwrap_or(0);
    let Some((from, policy)) = policies.at(size) else { return Ok((QuorumSummary::default(), text)) };
    let Ok(opened) = policy.open(&bytes) else { return Ok((QuorumSummary::default(), text)) };
    let signed = |w: &&audit::policy::Witness| opened.cosigners().contains_key(&w.key.public());
    let cosigners: Vec<String> = policy.witnesses().iter().filter(signed).map(|w| w.name.clone()).collect();
    let wanted = options.quorum.unwrap_or(0);
    if cosigners.len() < wanted {
        findings.add(OWN_QUORUM, Place::Path(CHECKPOINT_PATH.to_owned()), format!("{wanted} cosigners"), cosigners.len().to_string());
    }
    let met = opened.has_quorum() && cosigners.len() >= wanted;
    Ok((QuorumSummary { cosigners, witnesses: policy.witnesses().len(), policy_from: from, met }, text))
}
