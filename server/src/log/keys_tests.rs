//! The log hands over to another key, and the process may end at every step of it: what a directory then holds is made here, and opened.

use super::super::{Directory, Pending, PendingFile};
use super::*;
use crate::init;
use crate::layout::Layout;
use crate::testing::copy_all;
use audit::writer::LogWriter;
use protocol::entry::{Actor, Draft, Facts};
use protocol::ids::TokenId;
use protocol::statement::Statement;
use protocol::trust::{TrustChange, TrustDocument};

/// A server's directory with a federation, and a key that its log may be handed over to.
struct Host {
    dir: tempfile::TempDir,
    next: VerifierKey,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        init::init(dir.path(), "demo", &dir.path().join("admin.key")).unwrap();
        let next = KeyRing::new(&Layout::new(dir.path())).make("demo").unwrap();
        Self { dir, next }
    }

    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_all(self.dir.path(), dir.path());
        Self { dir, next: self.next.clone() }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path())
    }

    fn ring(&self) -> KeyRing {
        KeyRing::new(&self.layout())
    }

    fn open(&self) -> Result<Log, String> {
        init::open(&self.layout()).map(|(_, log, _)| log).map_err(|e| e.to_string())
    }

    /// The administrator's word for the next key.
    fn word(&self, log: &Log) -> Draft {
        let (old, key) = (log.history().trust_hash(), init::read_admin_key(&self.dir.path().join("admin.key")).unwrap());
        let document = TrustDocument { log_vkey: self.next.to_string(), previous: Some(old), ..log.history().trust().clone() };
        let said = TrustChange { document: document.to_bytes() };
        let facts = Facts::TrustChanged { old, new: said.hash() };
        Draft::said(Actor::Administrator, None, Statement::sign(&said, &key), facts)
    }

    /// The log with the next key in force, and one entry more.
    fn handed_over(&self) -> (Log, u64) {
        let mut log = self.open().unwrap();
        let word = self.word(&log);
        log.append(&[word]).unwrap();
        let at = log.size();
        log.append(&[nothing()]).unwrap();
        (log, at)
    }
}

fn nothing() -> Draft {
    Draft::server(Facts::MemberInvited { token: TokenId([1; 16]) })
}

/// Whose signatures a note has: the old key's, the new one's.
fn by(log: &Log, note: &[u8]) -> [bool; 2] {
    let note = Note::parse(note).unwrap();
    let mut keys = log.keys().all();
    [keys.next(), keys.next()].map(|key| key.is_some_and(|k| note.verify([k]).is_ok_and(|v| !v.is_empty())))
}

#[test]
fn the_old_key_signs_up_to_the_handover_both_at_it_and_the_new_one_after_it() {
    let host = Host::new();
    let mut log = host.open().unwrap();
    assert_eq!(by(&log, log.note()), [true, false]);
    let word = host.word(&log);
    log.append(&[word]).unwrap();
    let (at, handover) = (log.size(), log.note().to_vec());
    assert_eq!(by(&log, &handover), [true, true]);
    assert_eq!(log.handover(at - 1).unwrap(), Some(handover.clone()));
    assert_eq!(log.handover(at).unwrap(), None);
    for _ in 0..2 {
        log.append(&[nothing()]).unwrap();
        assert_eq!(by(&log, log.note()), [false, true]);
        drop(log);
        log = host.open().unwrap();
    }
    assert_eq!((log.key().verifier(), log.keys().handovers().count()), (&host.next, 1));
    assert_eq!(log.handover(0).unwrap(), Some(handover));
}

#[test]
fn a_key_that_takes_over_in_the_middle_of_a_batch_or_is_not_here_is_no_entry() {
    let host = Host::new();
    let mut log = host.open().unwrap();
    let word = host.word(&log);
    let size = log.size();
    assert!(matches!(log.append(&[word, nothing()]), Err(LogError::Inconsistent(_))));
    drop(log);
    let mut log = host.open().unwrap();
    assert_eq!(log.size(), size, "nothing was written");
    host.ring().erase(&host.next).unwrap();
    let word = host.word(&log);
    assert!(matches!(log.append(&[word]), Err(LogError::Key(_))));
    drop(log);
    assert_eq!(host.open().unwrap().size(), size);
}

/// What is on the disk when the process ends after each step of A30 for the batch that hands over: its files and note are pending, the guard has
/// moved, the tree is replaced, its files are applied, the note of the handover is kept. An older program left the old key's signature alone.
#[test]
fn a_handover_that_a_kill_cut_off_is_finished_or_never_was() {
    let host = Host::new();
    let before = host.copy();
    let (log, at) = host.handed_over();
    let entries = log.entries(0, at).unwrap();
    let whole = log.handover(0).unwrap().unwrap();
    let checkpoint = Note::parse(&whole).unwrap().text().parse::<Checkpoint>().unwrap();
    let first = log.keys().at(0).clone();
    let old = checkpoint.sign(&host.ring().find(&first).unwrap().unwrap()).unwrap().encode();
    let new = checkpoint.sign(&host.ring().find(&host.next).unwrap().unwrap()).unwrap().encode();
    for note in [&old, &new, &whole] {
        for step in ["pending", "guard", "tree", "applied"] {
            let host = before.copy();
            let root = host.layout().audit();
            let size = usize::try_from(at).unwrap() - 1;
            let files = LogWriter::resume(at - 1, &Directory(root.clone())).unwrap().append(&entries[size..]).unwrap();
            let files = files.into_iter().map(|f| PendingFile { path: f.path.to_string(), bytes: f.bytes.into() }).collect::<Vec<_>>();
            let applied = files.iter().map(|f| (root.join(&f.path), f.bytes.to_vec())).collect::<Vec<_>>();
            let pending = Pending { files, note: note.clone().into() };
            durable::replace(&root.join(format!(".state/pending-{at}")), &protocol::codec::encode(&pending)).unwrap();
            let steps = ["pending", "guard", "tree", "applied"].iter().position(|s| *s == step).unwrap();
            if steps >= 1 {
                durable::replace_secret(&host.layout().key("log-guard"), checkpoint.head.to_string().as_bytes()).unwrap();
            }
            if steps >= 2 {
                durable::replace(&root.join(".state/tree"), note).unwrap();
            }
            if steps >= 3 {
                applied.iter().for_each(|(path, bytes)| durable::write_new(path, bytes).unwrap());
            }
            let mut log = host.open().unwrap();
            if steps == 0 {
                assert_eq!((log.size(), log.keys().handovers().count()), (at - 1, 0), "never signed, never was");
                let word = host.word(&log);
                log.append(&[word]).unwrap();
                assert_eq!(by(&log, log.note()), [true, true]);
                continue;
            }
            assert_eq!((log.size(), by(&log, log.note())), (at, [true, true]), "{step}");
            assert_eq!(log.handover(0).unwrap().as_deref(), Some(log.note()));
            log.append(&[nothing()]).unwrap();
            assert_eq!(by(&log, log.note()), [false, true]);
        }
    }
}

#[test]
fn the_note_of_a_handover_is_made_again_while_the_old_key_is_here_and_missed_after_it() {
    let host = Host::new();
    let (log, at) = host.handed_over();
    let path = host.layout().audit().join(handover_path(at));
    let kept = std::fs::read(&path).unwrap();
    drop(log);
    for lost in [None, Some(&b"half a no"[..])] {
        std::fs::remove_file(&path).unwrap();
        lost.map_or(Ok(()), |bytes| std::fs::write(&path, bytes)).unwrap();
        drop(host.open().unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), kept, "the same signatures of the same tree");
    }
    // The old key is erased once a quorum covers the handover, and not before.
    let log = host.open().unwrap();
    let first = log.keys().at(0).clone();
    log.retire(at - 1).unwrap();
    assert!(host.ring().find(&first).unwrap().is_some());
    log.retire(at).unwrap();
    assert!(host.ring().find(&first).unwrap().is_none() && !host.layout().key("log").exists());
    log.retire(at + 5).unwrap();
    drop(log);
    let mut log = host.open().unwrap();
    log.append(&[nothing()]).unwrap();
    assert_eq!((by(&log, log.note()), std::fs::read(&path).unwrap()), ([false, true], kept));
    drop(log);
    std::fs::remove_file(&path).unwrap();
    assert!(host.open().is_err(), "nobody can make it again; a mirror has it");
}
