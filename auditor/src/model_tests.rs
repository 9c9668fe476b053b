//! A model as somebody receives it: whole, altered, incomplete, of another release, withdrawn.

use super::*;
use crate::show::show;
use crate::tests::fixture::{Draft, Signers, write};
use crate::tests::story::{real::Model, tell};
use crate::tests::twist::Twist;
use tempfile::TempDir;

fn received() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Model::new().write(dir.path());
    dir
}

fn verdict(dir: &Path, log: Option<&Path>) -> ModelVerdict {
    verify_model(dir, &Given { log: log.map(Path::to_owned), ..Given::default() }).unwrap()
}

#[track_caller]
fn expect(v: &ModelVerdict, exit_code: u8, clause: &str) {
    let hit = v.findings.iter().any(|f| f.clause.contains(clause) && f.severity.exit_code() == exit_code);
    assert!(hit && v.exit_code == exit_code && v.verified == (exit_code == 0), "exit {}: {:#?}", v.exit_code, v.findings);
}

#[test]
fn a_whole_model_holds_and_says_what_it_does_not_show() {
    let dir = received();
    let v = verdict(dir.path(), None);
    assert!(v.verified && v.findings.is_empty() && v.files == 2 && !v.key_given, "{:?}", v.findings);
    assert_eq!(v.not_verified.len(), 3);
    assert!(render(&v).contains("COMPARE: it lay beside the model"));
    // The directory `model` alone, with a key from elsewhere.
    let key = dir.path().join("evidence/release-key.pub");
    let alone = verify_model(&dir.path().join("model"), &Given { public_key: Some(key), ..Given::default() }).unwrap();
    assert!(alone.verified && alone.key_given && alone.not_verified.len() == 2);
}

#[test]
fn what_is_altered_missing_or_added_is_named() {
    for name in ["model.safetensors", "lineage.json"] {
        let dir = received();
        let path = dir.path().join("model").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        expect(&verdict(dir.path(), None), 1, "A44: the model's files are exactly those");
        std::fs::remove_file(&path).unwrap();
        expect(&verdict(dir.path(), None), 4, "A44: every file that was signed is there");
    }
    let dir = received();
    std::fs::create_dir(dir.path().join("model/extra")).unwrap();
    std::fs::write(dir.path().join("model/extra/run.py"), b"import os").unwrap();
    expect(&verdict(dir.path(), None), 1, "A44: the model's files are exactly those");
    let dir = received();
    let weights = dir.path().join("model/model.safetensors");
    std::fs::rename(&weights, dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", &weights).unwrap();
    expect(&verdict(dir.path(), None), 1, "A44: the model's files are exactly those");
}

#[test]
fn another_signature_or_key_is_named_and_their_absence_is_no_verdict() {
    let dir = received();
    let bundle = dir.path().join("model/model.sig");
    let whole = std::fs::read_to_string(&bundle).unwrap();
    std::fs::write(&bundle, whole.replacen("\"payload\":\"", "\"payload\":\"AAAA", 1)).unwrap();
    expect(&verdict(dir.path(), None), 1, "A44: the model's signature is whole");
    std::fs::write(dir.path().join("evidence/release-key.pub"), b"no key").unwrap();
    expect(&verdict(dir.path(), None), 1, "A44: the model's signature is whole");
    std::fs::remove_file(dir.path().join("evidence/release-key.pub")).unwrap();
    assert!(matches!(verify_model(dir.path(), &Given::default()), Err(ModelError::NoKey)));
    std::fs::remove_file(&bundle).unwrap();
    assert!(matches!(verify_model(dir.path(), &Given::default()), Err(ModelError::NoSignature(_))));
}

#[test]
fn a_release_stands_in_the_log_with_its_signature_and_its_key() {
    let dir = received();
    let log = |twist| write(&tell(twist).files());
    let good = log(Twist::RealModel);
    let v = verdict(dir.path(), Some(good.path()));
    assert!(v.verified && v.findings.is_empty(), "{:#?}", v.findings);
    let release = v.release.clone().unwrap();
    assert_eq!((release.last_round, release.approvals, Some(release.snapshot.clone())), (2, 1, v.snapshot.clone()));
    assert!(render(&v).contains("1 of 1 administrators"));
    // The log says whose key it is; which log that is, nobody has said yet.
    assert!(v.key_in_log && !v.key_given && render(&v).contains("(the log names it)"));
    let unknown = |v: &ModelVerdict| v.not_verified.iter().filter(|n| n.contains("the release key")).count();
    assert_eq!((unknown(&v), v.not_verified.len()), (0, 2), "{:?}", v.not_verified);
    let options = Options { trust_hash: v.trust_hash.as_ref().map(|h| h.parse().unwrap()), ..Options::default() };
    let pinned = verify_model(dir.path(), &Given { log: Some(good.path().to_owned()), options, public_key: None }).unwrap();
    assert!(pinned.verified && pinned.key_in_log && pinned.not_verified.len() == 1, "{:?}", pinned.not_verified);

    expect(&verdict(dir.path(), Some(log(Twist::RealModelWithdrawn).path())), 3, "A19: a model in use is not withdrawn");
    let again = verdict(dir.path(), Some(log(Twist::RealModelReleasedAgain).path()));
    assert!(again.verified && again.release.as_ref().is_some_and(|r| r.withdrawn.is_none()), "{:#?}", again.findings);
    let other = verdict(dir.path(), Some(log(Twist::RealModelUnderAnotherKey).path()));
    expect(&other, 1, "A44: the log records the release of exactly these weights");
    assert!(other.findings[0].got.contains("releases them with signature") && other.release.is_none());
    assert!(!other.key_in_log && unknown(&other) == 1 && render(&other).contains("COMPARE"));
    let none = verdict(dir.path(), Some(log(Twist::Released).path()));
    expect(&none, 1, "A44: the log records the release of exactly these weights");
    assert_eq!(none.findings[0].got, "no release of these weights");
}

#[test]
fn a_release_that_waits_for_another_administrator_is_incomplete() {
    let (dir, log) = (received(), write(&tell(Twist::RealModelByOneOfTwo).files()));
    expect(&verdict(dir.path(), Some(log.path())), 4, "A14: a release has effect where as many administrators signed it");
}

/// A release in a log that does not verify is worth what the log is worth.
#[test]
fn a_log_that_fails_fails_the_model() {
    let dir = received();
    let log = write(&tell(Twist::RealModel).files());
    std::fs::remove_file(log.path().join("checkpoint")).unwrap();
    let v = verdict(dir.path(), Some(log.path()));
    assert!(!v.verified && v.findings.iter().any(|f| f.clause == LOG), "{:#?}", v.findings);
    assert!(!v.key_in_log, "a log that does not verify names no key");
}

/// What a release leaves beside the model, from the log of a story: every entry of an administrator's word for the model or a trust document.
fn leave_evidence(draft: &Draft, dir: &Path) {
    let (log, evidence) = (write(&draft.files()), dir.join("evidence"));
    for (index, entry) in (0u64..).zip(&draft.entries) {
        let is = |kind: &str| entry.windows(kind.len()).any(|w| w == kind.as_bytes());
        let name = match (is("\"federation.trust.changed\""), is("\"model.released\"")) {
            (true, _) => format!("trust-{index}"),
            (_, true) => "release".to_owned(),
            _other => continue,
        };
        let shown = show(log.path(), index, true).unwrap();
        std::fs::write(evidence.join(format!("{name}.tlog-proof")), shown.proof.unwrap().encode()).unwrap();
        std::fs::write(evidence.join(format!("{name}.entry")), shown.entry).unwrap();
    }
    std::fs::write(evidence.join("policy.txt"), Signers::new().policy().text()).unwrap();
    std::fs::write(evidence.join("trust.json"), &draft.trust).unwrap();
}

fn pinned(dir: &Path, trust_hash: Sha256) -> ModelVerdict {
    let options = Options { trust_hash: Some(trust_hash), ..Options::default() };
    verify_model(dir, &Given { options, ..Given::default() }).unwrap()
}

#[test]
fn evidence_beside_a_model_shows_its_release_under_every_trust_document() {
    for twist in [Twist::RealModel, Twist::RealModelUnderAnotherTrust] {
        let (dir, draft) = (received(), tell(twist));
        leave_evidence(&draft, dir.path());
        let v = verdict(dir.path(), None);
        assert!(v.verified && v.in_evidence && !v.trust_pinned && v.findings.is_empty(), "{:#?}", v.findings);
        assert_eq!(v.not_verified.len(), 4, "{:?}", v.not_verified);
        assert!(render(&v).contains("as the evidence beside it proves"));
        let first = Sha256(protocol::hash::sha256(&[&draft.trust]));
        let known = pinned(dir.path(), first);
        assert!(known.verified && known.trust_pinned && known.not_verified.len() == 2, "{:?}", known.not_verified);
        expect(&pinned(dir.path(), Sha256([9; 32])), 1, "A35.1");
    }
}

/// A release before the trust document's words were among its evidence: what it proves is no more, and no less, than it was.
#[test]
fn evidence_that_does_not_lead_to_its_administrators_stays_readable_and_shows_nothing() {
    let (dir, draft) = (received(), tell(Twist::RealModelUnderAnotherTrust));
    leave_evidence(&draft, dir.path());
    for file in std::fs::read_dir(dir.path().join("evidence")).unwrap().map(|e| e.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().starts_with("trust-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    expect(&pinned(received().path(), Sha256([9; 32])), 4, "A35.1: a trust document is there to compare");
    let v = verdict(dir.path(), None);
    assert!(v.verified && !v.in_evidence && v.not_verified.len() == 3, "{:#?} {:?}", v.findings, v.not_verified);
    assert!(v.not_verified.iter().any(|n| n.contains("leads to the words of its administrators")));
}

#[test]
fn evidence_of_another_model_or_with_a_broken_proof_is_named() {
    let (dir, draft) = (received(), tell(Twist::RealModelUnderAnotherKey));
    leave_evidence(&draft, dir.path());
    expect(&verdict(dir.path(), None), 1, "A44: the evidence beside the model is of the release");
    let (dir, draft) = (received(), tell(Twist::RealModel));
    leave_evidence(&draft, dir.path());
    let entry = dir.path().join("evidence/release.entry");
    let mut bytes = std::fs::read(&entry).unwrap();
    bytes[9] ^= 1;
    std::fs::write(&entry, bytes).unwrap();
    expect(&verdict(dir.path(), None), 1, "A13: an entry of the evidence");
    std::fs::remove_file(dir.path().join("evidence/policy.txt")).unwrap();
    expect(&verdict(dir.path(), None), 1, "A44: evidence beside a model has its policy");
}
