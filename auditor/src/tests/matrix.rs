//! The tamper matrix by name (audit.md A49): what a thief does, the exit code, and where the finding points. Flips of single bytes in every
//! file are in `tamper`; here each kind of theft stands once, with the place that an auditor is told.

use super::fixture::{Draft, Files, Signers, head_of, write};
use super::story::tell;
use super::twist::Twist;
use crate::{Options, Place, Verdict, verify};
use audit::reader::{CHECKPOINT_PATH, note_path};
use protocol::entry::{Facts, LogEntry};

fn check(files: &Files) -> Verdict {
    verify(write(files).path(), &Options::default()).unwrap()
}

/// The first entry that a finding above a notice points at.
fn first_index(v: &Verdict) -> Option<u64> {
    let index = |f: &crate::Finding| match f.place {
        Place::Index(i) if f.severity > crate::Severity::Notice => Some(i),
        Place::Index(_) | Place::Path(_) => None,
    };
    v.findings.iter().filter_map(index).min()
}

fn points_at(v: &Verdict, path: &str) -> bool {
    v.findings.iter().any(|f| f.place == Place::Path(path.to_owned()))
}

/// The honest story with other entries: all tiles repaired, and the newest note signed and cosigned again; older notes stay, as mirrors have
/// them.
fn repaired(draft: &Draft, entries: Vec<Vec<u8>>) -> Files {
    let (signers, forged) = (Signers::new(), Draft { entries, ..draft.clone() });
    let mut files = draft.files();
    files.extend(forged.tiles());
    let note = signers.note(head_of(&forged.entries), 2);
    files.insert(CHECKPOINT_PATH.to_owned(), note.clone());
    files.insert(note_path(forged.entries.len() as u64), note);
    files
}

#[test]
fn an_edited_entry_is_found_at_its_index_without_and_with_repair() {
    let draft = tell(Twist::None);
    let edited = String::from_utf8(draft.entries[100].clone()).unwrap().replacen("status.read", "member.join", 1).into_bytes();
    assert!(edited != draft.entries[100] && edited.len() == draft.entries[100].len());
    let mut raw = draft.files();
    let bundle = raw.get_mut("tile/entries/000").unwrap();
    let at = bundle.windows(draft.entries[100].len()).position(|w| w == draft.entries[100]).unwrap();
    bundle[at..at + edited.len()].copy_from_slice(&edited);
    let v = check(&raw);
    assert_eq!((v.exit_code, first_index(&v)), (1, Some(100)), "nothing repaired");
    let mut entries = draft.entries.clone();
    entries[100] = edited;
    let v = check(&repaired(&draft, entries));
    let older = note_path(draft.published[1]);
    assert!(v.exit_code == 1 && points_at(&v, &older), "all repaired: the older note of size {} speaks", draft.published[1]);
}

/// How much a thief repairs.
#[derive(Clone, Copy, Debug)]
enum Thief {
    Nothing,
    LowestTiles,
    AllTiles,
    Signature,
}

/// The honest story with other entries, repaired as far as this thief goes.
fn stolen(draft: &Draft, entries: &[Vec<u8>], thief: Thief) -> Files {
    let of_thief = |path: &str| match thief {
        Thief::Nothing => path.starts_with("tile/entries/"),
        Thief::LowestTiles => path.starts_with("tile/entries/") || path.starts_with("tile/0/"),
        Thief::AllTiles | Thief::Signature => true,
    };
    if matches!(thief, Thief::Signature) {
        return repaired(draft, entries.to_vec());
    }
    let mut files = draft.files();
    let forged = Draft { entries: entries.to_vec(), ..draft.clone() }.tiles();
    files.extend(forged.into_iter().filter(|(path, _)| of_thief(path)));
    files
}

#[test]
fn every_theft_is_found_at_its_first_entry_whatever_the_thief_repairs() {
    let draft = tell(Twist::None);
    for (name, entries, index) in thefts(&draft) {
        for thief in [Thief::Nothing, Thief::LowestTiles, Thief::AllTiles, Thief::Signature] {
            let v = check(&stolen(&draft, &entries, thief));
            assert_eq!((v.exit_code, first_index(&v)), (1, Some(index)), "{name}, {thief:?}");
        }
    }
}

/// Crimes against the honest story: other entries, as many as before, and the first that is not the one that stood there.
fn thefts(draft: &Draft) -> Vec<(&'static str, Vec<Vec<u8>>, u64)> {
    let last = draft.entries.len() - 1;
    let mut deleted = draft.entries.clone();
    deleted.remove(240);
    deleted.push(draft.entries[100].clone());
    let mut inserted = draft.entries.clone();
    inserted.insert(150, draft.entries[100].clone());
    inserted.truncate(draft.entries.len());
    let mut swapped = draft.entries.clone();
    swapped.swap(10, last - 3);
    let mut sequence = draft.entries.clone();
    sequence[120] = String::from_utf8(sequence[120].clone()).unwrap().replacen("\"seq\":120,", "\"seq\":121,", 1).into_bytes();
    assert_ne!(sequence[120], draft.entries[120]);
    vec![("deleted", deleted, 240), ("inserted", inserted, 150), ("swapped", swapped, 10), ("another sequence number", sequence, 120)]
}

#[test]
fn a_cut_tail_is_found_by_the_note_that_it_leaves_and_a_stale_backup_by_its_checkpoint() {
    let draft = tell(Twist::None);
    let mut short = draft.clone();
    short.entries.truncate(usize::try_from(draft.published[2]).unwrap());
    short.published.truncate(3);
    // The tail is gone, a later note stayed behind.
    let mut cut = short.files();
    let newest = note_path(draft.published[3]);
    cut.insert(newest.clone(), draft.files()[&newest].clone());
    let v = check(&cut);
    assert!(v.exit_code == 1 && points_at(&v, CHECKPOINT_PATH), "{:?}", v.findings);
    // Everything is there, but the checkpoint is that of an older backup.
    let mut stale = draft.files();
    stale.insert(CHECKPOINT_PATH.to_owned(), short.files()[CHECKPOINT_PATH].clone());
    let v = check(&stale);
    assert!(v.exit_code == 1 && points_at(&v, CHECKPOINT_PATH), "{:?}", v.findings);
}

#[test]
fn swapped_bundles_are_found_at_the_first_entry() {
    let mut files = tell(Twist::None).files();
    // Both hold as many entries as their tree needs, so only hashes can tell.
    let (first, second) = ("tile/entries/000".to_owned(), files.keys().rfind(|k| k.starts_with("tile/entries/001")).unwrap().clone());
    let (a, b) = (files[&first].clone(), files[&second].clone());
    files.insert(first, b);
    files.insert(second, a);
    let v = check(&files);
    assert_eq!((v.exit_code, first_index(&v)), (1, Some(0)));
}

#[test]
fn a_dropped_note_hides_nothing_that_another_note_covers() {
    let draft = tell(Twist::None);
    let mut entries = draft.entries.clone();
    entries[100] = String::from_utf8(entries[100].clone()).unwrap().replacen("status.read", "member.join", 1).into_bytes();
    let middle = &draft.published[1..draft.published.len() - 1];
    assert!(middle.len() >= 2 && middle.iter().all(|size| *size > 100));
    for dropped in middle {
        let mut honest = draft.files();
        honest.remove(&note_path(*dropped)).unwrap();
        assert_eq!(check(&honest).exit_code, 0, "notes are no entries: without the one of size {dropped} everything else still holds");
        let mut forged = repaired(&draft, entries.clone());
        forged.remove(&note_path(*dropped)).unwrap();
        let other = middle.iter().find(|size| *size != dropped).unwrap();
        let v = check(&forged);
        assert!(v.exit_code == 1 && points_at(&v, &note_path(*other)), "{dropped}: {:?}", v.findings);
    }
}

/// A note whose line of witness `w1` is replaced.
fn with_line(note: &[u8], line: &str) -> Vec<u8> {
    let text = String::from_utf8(note.to_vec()).unwrap();
    text.lines().map(|l| if l.starts_with("— w1 ") { line.to_owned() } else { l.to_owned() } + "\n").collect::<String>().into_bytes()
}

fn line_of(note: &[u8]) -> String {
    String::from_utf8(note.to_vec()).unwrap().lines().find(|l| l.starts_with("— w1 ")).unwrap().to_owned()
}

#[test]
fn a_forged_cosignature_and_a_forged_time_reject_the_note() {
    let draft = tell(Twist::None);
    let (files, newest) = (draft.files(), note_path(draft.published[3]));
    // A cosignature that the witness made, but over another tree.
    let other = line_of(&files[&note_path(draft.published[2])]);
    // The right one with another time: bytes 4 to 11 of the blob, which begin at the sixth character.
    let mut time: Vec<char> = line_of(&files[&newest]).chars().collect();
    let at = "— w1 ".chars().count() + 12;
    time[at] = if time[at] == 'A' { 'B' } else { 'A' };
    for line in [other, time.into_iter().collect()] {
        let mut forged = files.clone();
        forged.insert(CHECKPOINT_PATH.to_owned(), with_line(&files[CHECKPOINT_PATH], &line));
        let v = check(&forged);
        assert!(v.exit_code == 1 && points_at(&v, CHECKPOINT_PATH), "{:?}", v.findings);
    }
}

#[test]
fn a_note_by_an_unknown_key_is_no_note_of_this_log() {
    use audit::key::{KeyType, SignerKey};
    let draft = tell(Twist::None);
    let mut signers = Signers::new();
    signers.log = SignerKey::new("demo/log", KeyType::Note, &[99; 32]).unwrap();
    let mut files = draft.files();
    files.insert(CHECKPOINT_PATH.to_owned(), signers.note(head_of(&draft.entries), 2));
    let v = check(&files);
    assert!(v.exit_code == 1 && points_at(&v, CHECKPOINT_PATH), "{:?}", v.findings);
    // A witness that the policy does not know adds nothing, so the quorum is missed.
    let mut stranger = Signers::new();
    stranger.witnesses[1] = SignerKey::new("w2", KeyType::Cosignature, &[98; 32]).unwrap();
    let mut files = draft.files();
    files.insert(CHECKPOINT_PATH.to_owned(), stranger.note(head_of(&draft.entries), 2));
    assert_eq!(check(&files).exit_code, 4);
}

#[test]
fn anothers_valid_statement_and_a_statement_of_another_round_are_found_where_they_stand() {
    let index = |twist| {
        let entries = tell(twist).entries;
        let accepted = |e: &&(u64, LogEntry)| matches!(e.1.facts, Facts::UpdateAccepted { .. });
        let parsed: Vec<_> = (0u64..).zip(entries.iter().map(|e| LogEntry::parse(e).unwrap())).collect();
        parsed.iter().filter(accepted).nth(4).unwrap().0
    };
    let v = check(&tell(Twist::OthersStatement).files());
    assert_eq!((v.exit_code, first_index(&v)), (1, Some(index(Twist::OthersStatement))));
    let v = check(&tell(Twist::StatementReplayed).files());
    assert!(v.exit_code == 3 && first_index(&v) == Some(index(Twist::StatementReplayed)), "{:?}", v.findings.first());
    assert!(v.findings[0].clause.starts_with("I6: statement names another manifest"), "I13: a header belongs to one manifest for ever");
}
