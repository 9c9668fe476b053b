//! The tamper matrix (audit.md A49): thieves who repair nothing, the tiles, or the log's own signature too.

use super::fixture::{Draft, Files, Signers, head_of, put, write};
use super::story::tell;
use super::twist::Twist;
use crate::{Options, Severity, Verdict, verify};
use audit::reader::{CHECKPOINT_PATH, note_path};
use protocol::ids::Sha256;
use protocol::trust::TrustDocument;
use std::path::Path;

/// Positions flipped in one file, spread evenly, the last byte besides. Every bit has its turn over the files.
const POSITIONS: usize = 12;

fn check(dir: &Path) -> Verdict {
    verify(dir, &Options::default()).unwrap()
}
fn exit_of(files: &Files) -> u8 {
    check(write(files).path()).exit_code
}

/// Where the signature lines of a note begin; a flip there may turn a witness into an unknown one, which is "below quorum".
fn body_end(path: &str, bytes: &[u8]) -> usize {
    let is_note = path == CHECKPOINT_PATH || path.ends_with(".note");
    let end = bytes.windows(2).position(|w| w == b"\n\n").map(|at| at + 2);
    end.filter(|_| is_note).unwrap_or(bytes.len())
}

#[test]
fn a_flipped_byte_in_any_file_is_found() {
    let files = tell(Twist::None).files();
    let dir = write(&files);
    for (path, bytes) in &files {
        let step = bytes.len().div_ceil(POSITIONS);
        for at in (0..bytes.len()).step_by(step.max(1)).chain([bytes.len() - 1]) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            put(dir.path(), path, &altered);
            let v = check(dir.path());
            let in_body = at < body_end(path, bytes);
            assert!(v.exit_code == 1 || (!in_body && v.exit_code == 4), "{path} at {at}: exit {} {:?}", v.exit_code, v.findings.first());
        }
        put(dir.path(), path, bytes);
    }
    assert_eq!(check(dir.path()).exit_code, 0);
}

#[test]
fn a_missing_file_is_incomplete_and_an_extra_one_is_reported() {
    let files = tell(Twist::None).files();
    // Older partial tiles may go once the full one is there (A3), and a retained note of the checkpoint's size repeats it.
    let size = tell(Twist::None).entries.len();
    let newest = |p: &str| !p.contains(".p/") || p.ends_with(&format!(".p/{}", size % 256)) || p == "tile/1/000.p/1";
    for path in files.keys().filter(|p| newest(p) && !p.starts_with("checkpoints/")) {
        let rest: Files = files.iter().filter(|(p, _)| *p != path).map(|(p, b)| (p.clone(), b.clone())).collect();
        assert_eq!(exit_of(&rest), 4, "without {path}");
    }
    for path in ["stray", "artefacts/stray", "artefacts/00/stray", "policy/stray"] {
        let mut more = files.clone();
        more.insert(path.to_owned(), b"x".to_vec());
        assert_eq!(exit_of(&more), 4, "with {path}");
    }
    let mut more = files.clone();
    more.insert("policy/00000000000000000002.txt".to_owned(), Signers::new().policy().text().as_bytes().to_vec());
    assert_eq!(exit_of(&more), 1, "a policy that nobody activated");
}

#[test]
fn truncated_and_lengthened_files_are_found() {
    let files = tell(Twist::None).files();
    let dir = write(&files);
    for (path, bytes) in &files {
        for altered in [&bytes[..bytes.len() / 2], &bytes[..bytes.len() - 1], &[], &[bytes.as_slice(), b"x"].concat()] {
            put(dir.path(), path, altered);
            assert_eq!(check(dir.path()).exit_code, 1, "{path} with {} of {} bytes", altered.len(), bytes.len());
        }
        put(dir.path(), path, bytes);
    }
}

/// Edits of history that a thief would make.
fn edits(draft: &Draft) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let honest = &draft.entries;
    let last = honest.len() - 1;
    let mut edited = honest.clone();
    edited[100] = String::from_utf8(edited[100].clone()).unwrap().replacen("status.read", "update.submit", 1).into_bytes();
    let mut deleted = honest.clone();
    deleted.remove(240);
    deleted.push(honest[100].clone());
    let mut inserted = honest.clone();
    inserted.insert(150, honest[100].clone());
    inserted.truncate(honest.len());
    let mut swapped = honest.clone();
    swapped.swap(10, last - 3);
    vec![("edited", edited), ("deleted", deleted), ("inserted", inserted), ("swapped", swapped)]
}

#[test]
fn edits_are_found_although_all_tiles_were_repaired() {
    let draft = tell(Twist::None);
    for (name, entries) in edits(&draft) {
        let mut files = draft.files();
        files.extend(Draft { entries, ..draft.clone() }.tiles());
        assert_eq!(exit_of(&files), 1, "{name}");
    }
}

#[test]
fn edits_are_found_although_the_log_signed_them_again() {
    let (draft, signers) = (tell(Twist::None), Signers::new());
    for (name, entries) in edits(&draft) {
        let forged = Draft { entries, ..draft.clone() };
        // The older notes stay, because mirrors have them: their roots no longer follow.
        let mut files = draft.files();
        files.extend(forged.tiles());
        files.insert(CHECKPOINT_PATH.to_owned(), signers.note(head_of(&forged.entries), 2));
        files.insert(note_path(forged.entries.len() as u64), signers.note(head_of(&forged.entries), 2));
        assert_eq!(exit_of(&files), 1, "{name}");
        // All notes replaced and nobody cosigns: a sequence that does not add up, or a quorum that is not there.
        let mut alone = forged.files();
        alone.insert(CHECKPOINT_PATH.to_owned(), signers.note(head_of(&forged.entries), 0));
        assert_ne!(exit_of(&alone), 0, "{name} alone");
    }
}

#[test]
fn a_truncation_signed_again_is_caught_by_a_note_from_elsewhere() {
    let draft = tell(Twist::None);
    let honest = write(&draft.files());
    let size = draft.published[2];
    let mut short = draft.clone();
    short.entries.truncate(usize::try_from(size).unwrap());
    short.published.truncate(3);
    let dir = write(&short.files());
    // Nothing in the directory itself can tell: the witnesses cosigned this size, too.
    assert_eq!(check(dir.path()).exit_code, 0);
    for with in [honest.path().join(CHECKPOINT_PATH), honest.path().to_owned()] {
        let v = verify(dir.path(), &Options { with: vec![with], ..Options::default() }).unwrap();
        assert_eq!(v.exit_code, 1, "{:?}", v.findings);
    }
    // The other way round the note is a prefix, which is as it should be.
    let v = verify(honest.path(), &Options { with: vec![dir.path().join(CHECKPOINT_PATH)], ..Options::default() }).unwrap();
    assert_eq!(v.exit_code, 0, "{:?}", v.findings);
}

#[test]
fn a_fork_with_colluding_witnesses_gives_a_proof() {
    let draft = tell(Twist::None);
    let (_, entries) = edits(&draft).swap_remove(0);
    let fork = Draft { entries, ..draft.clone() };
    let (honest, other) = (write(&draft.files()), write(&fork.files()));
    let v = verify(honest.path(), &Options { with: vec![other.path().join(CHECKPOINT_PATH)], ..Options::default() }).unwrap();
    assert_eq!((v.exit_code, v.equivocations.len()), (1, 1));
    assert_ne!(v.equivocations[0].ours, v.equivocations[0].theirs);
    assert!(crate::table::render(&v).contains("PROOF OF A FORK"));
    proves(&v);
}

/// Whether a verdict's one conflict is proved to somebody who has the log's key and nothing else.
#[track_caller]
fn proves(v: &Verdict) {
    let proof = v.equivocations[0].proof.as_ref().unwrap();
    let again = audit::fork::ForkProof::parse(&proof.to_bytes()).unwrap();
    let fork = again.check(Signers::new().log.verifier(), None).unwrap();
    assert_eq!(fork.size, v.equivocations[0].size);
}

#[test]
fn a_fork_between_notes_of_different_sizes_is_proved_where_the_files_give_it_and_called_a_conflict_where_not() {
    let draft = tell(Twist::None);
    let (_, entries) = edits(&draft).swap_remove(0);
    let mut short = Draft { entries, ..draft.clone() };
    short.entries.truncate(usize::try_from(draft.published[2]).unwrap());
    short.published.truncate(3);
    let (long, short) = (write(&draft.files()), write(&short.files()));
    let with = |dir: &Path, with: &Path| verify(dir, &Options { with: vec![with.to_owned()], ..Options::default() }).unwrap();
    // The note from elsewhere is the smaller one: our own tiles prove it.
    let v = with(long.path(), &short.path().join(CHECKPOINT_PATH));
    assert!(v.exit_code == 1 && !v.equivocations[0].proof.as_ref().unwrap().consistency.is_empty());
    proves(&v);
    // It is the larger one and comes alone: nobody can say yet, and the auditor is told how.
    let v = with(short.path(), &long.path().join(CHECKPOINT_PATH));
    assert!(v.exit_code == 1 && v.equivocations.is_empty());
    assert!(v.findings.iter().any(|f| f.got.contains("give the directory of the note with --with")), "{:?}", v.findings);
    assert!(!crate::table::render(&v).contains("PROOF"));
    // With its directory: its tiles prove it.
    let v = with(short.path(), long.path());
    assert_eq!(v.exit_code, 1);
    assert!(v.equivocations.iter().all(|e| e.proof.is_some()));
    proves(&v);
    // The checkpoint of this directory is gone: a conflict, and no proof is claimed.
    let mut bare = draft.files();
    bare.remove(CHECKPOINT_PATH);
    let v = with(write(&bare).path(), &short.path().join(CHECKPOINT_PATH));
    let text = crate::table::render(&v);
    assert!(v.equivocations.len() == 1 && v.equivocations[0].proof.is_none(), "{text}");
    assert!(text.contains("CONFLICT at size") && !text.contains("PROOF"), "{text}");
}

#[test]
fn the_auditors_own_demands_are_kept() {
    let draft = tell(Twist::None);
    let dir = write(&draft.files());
    let with = |o: Options| verify(dir.path(), &o).unwrap();
    let right = TrustDocument::hash(&draft.trust);
    let v = with(Options { trust_hash: Some(right), quorum: Some(2), ..Options::default() });
    assert!(v.verified && v.trust_pinned);
    assert_eq!(with(Options { trust_hash: Some(Sha256([0; 32])), ..Options::default() }).exit_code, 1);
    let more = with(Options { quorum: Some(3), ..Options::default() });
    assert!(more.exit_code == 4 && !more.quorum.met && more.findings.iter().all(|f| f.severity == Severity::Incomplete));
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_verdict() {
    let draft = tell(Twist::None);
    let dir = write(&draft.files());
    assert!(verify(&dir.path().join("nowhere"), &Options::default()).is_err());
    assert!(verify(dir.path(), &Options { with: vec![dir.path().join("no-note")], ..Options::default() }).is_err());
    assert_eq!(check(tempfile::tempdir().unwrap().path()).exit_code, 4, "an empty directory is an incomplete log");
}

#[test]
fn an_entry_is_shown_with_a_proof_that_holds() {
    let draft = tell(Twist::None);
    let dir = write(&draft.files());
    for index in [0, 17, 255, 256, draft.entries.len() as u64 - 1] {
        let shown = crate::show::show(dir.path(), index, true).unwrap();
        assert_eq!(shown.entry, draft.entries[usize::try_from(index).unwrap()]);
        assert!(shown.proof.is_some());
    }
    assert!(crate::show::show(dir.path(), draft.entries.len() as u64, false).is_err());
}
