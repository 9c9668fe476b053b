//! Recovery from mirrors that are whole, behind, forked, damaged and foreign, on the disk of a server that lost some or all of its log.

use super::handout::hand_out;
use super::*;
use crate::testing::copy_all;
use audit::cosign::cosign;
use audit::key::{KeyType, SignerKey, VerifierKey};
use audit::policy::Witness;
use audit::reader::policy_path;
use audit::writer::LogWriter;
use protocol::entry::{Actor, Draft, Facts};
use protocol::ids::TokenId;
use protocol::statement::Statement;
use protocol::trust::{PolicyApproval, TrustChange};

/// A server of its own with a federation and some entries, as files.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new(federation: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        init::init(dir.path(), federation, &dir.path().join("admin.key")).unwrap();
        Self { dir }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path())
    }

    /// The same host as a copy of its disk made elsewhere, keys and all: a restored backup, or a second machine.
    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_all(self.dir.path(), dir.path());
        Self { dir }
    }

    /// Appends entries in batches, and says the note of the tree they end in.
    fn append(&self, mark: u8, count: u64) -> Vec<u8> {
        let (_, mut log, _) = init::open(&self.layout()).unwrap();
        for n in 0..count {
            let mut token = [mark; 16];
            token[8..].copy_from_slice(&n.to_be_bytes());
            log.append(&[Draft::server(Facts::MemberInvited { token: TokenId(token) })]).unwrap();
        }
        log.note().to_vec()
    }

    /// Activates a policy of two witnesses, one of whom is a quorum; says the size from which it holds, and that tree's note, cosigned
    /// by the first.
    fn witnessed(&self) -> (u64, Note) {
        let (_, mut log, _) = init::open(&self.layout()).unwrap();
        let named = [1, 2].map(|n| Witness { name: format!("w{n}"), key: witness(n).verifier().clone() });
        let policy = Policy::compose(log.key().verifier(), &named, Some(1)).unwrap();
        let hash = Sha256(protocol::hash::sha256(&[policy.text().as_bytes()]));
        let admin = init::read_admin_key(&self.dir.path().join("admin.key")).unwrap();
        let replaces = log.history().policy_in_force();
        let statement = Statement::sign(&PolicyApproval { policy: hash, replaces }, &admin);
        let facts = Facts::PolicyActivated { old: replaces.map(|r| r.policy), policy: hash };
        log.append(&[Draft::said(Actor::Administrator, None, statement, facts)]).unwrap();
        durable::write_new(&self.layout().audit().join(policy_path(log.size())), policy.text().as_bytes()).unwrap();
        let mut note = Note::parse(log.note()).unwrap();
        let line = cosign(&witness(1), 1_000, note.text()).unwrap();
        note.add(&[line]).unwrap();
        (log.size(), note)
    }

    /// Puts another key of the log in force; says which, the size of the tree that both keys signed, and its note.
    fn hand_over(&self) -> (VerifierKey, u64, Vec<u8>) {
        let next = KeyRing::new(&self.layout()).make("demo").unwrap();
        let (_, mut log, _) = init::open(&self.layout()).unwrap();
        let admin = init::read_admin_key(&self.dir.path().join("admin.key")).unwrap();
        let old = log.history().trust_hash();
        let document = TrustDocument { log_vkey: next.to_string(), previous: Some(old), ..log.history().trust().clone() };
        let said = TrustChange { document: document.to_bytes() };
        let facts = Facts::TrustChanged { old, new: said.hash() };
        log.append(&[Draft::said(Actor::Administrator, None, Statement::sign(&said, &admin), facts)]).unwrap();
        (next, log.size(), log.handover(0).unwrap().unwrap())
    }

    /// What an institution has when it has followed so far: the log without the server's own state, and its last log-signed note.
    fn mirror(&self) -> Mirrored {
        let dir = tempfile::tempdir().unwrap();
        copy_all(&self.layout().audit(), dir.path());
        let note = std::fs::read(dir.path().join(".state/tree")).unwrap();
        std::fs::remove_dir_all(dir.path().join(".state")).unwrap();
        let path = dir.path().join("mirrored.note");
        std::fs::write(&path, note).unwrap();
        Mirrored { dir, note: path }
    }

    fn recover(&self, from: &Mirrored) -> Result<Recovered, RecoverError> {
        recover(&self.layout(), from.dir.path(), std::slice::from_ref(&from.note), OwnTail::Binds)
    }

    fn size(&self) -> u64 {
        init::open(&self.layout()).unwrap().1.size()
    }

    fn lose_log(&self) {
        std::fs::remove_dir_all(self.layout().audit()).unwrap();
    }

    fn state(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut out = BTreeMap::new();
        files(self.dir.path(), &mut out);
        out.remove(&self.layout().lock());
        out
    }
}

struct Mirrored {
    dir: tempfile::TempDir,
    note: PathBuf,
}

fn witness(n: u8) -> SignerKey {
    SignerKey::new(&format!("w{n}.example"), KeyType::Cosignature, &[n; 32]).ok().unwrap()
}

fn files(dir: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), out);
        } else {
            out.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn a_lost_log_comes_back_whole_and_says_so() {
    let host = Host::new("demo");
    host.append(1, 300);
    let (mirror, before) = (host.mirror(), host.size());
    host.lose_log();
    assert!(matches!(init::open(&host.layout()), Err(init::InitError::Lost(_))), "a server without its log does not start");
    let done = host.recover(&mirror).unwrap();
    assert_eq!((done.before, done.size, done.kept), (0, before, None));
    // One entry more: that it was recovered, and from where on.
    let (_, log, _) = init::open(&host.layout()).unwrap();
    assert_eq!(log.size(), before + 1);
    let last = protocol::entry::LogEntry::parse(&log.entries(before, before + 1).unwrap()[0]).unwrap();
    assert_eq!(last.facts, Facts::ProcessRecovered { before: 0, size: before, root: done.root });
    host.append(2, 3);
}

#[test]
fn an_old_backup_goes_on_where_the_log_had_been_and_is_kept() {
    let host = Host::new("demo");
    host.append(1, 20);
    let backup = host.copy();
    host.append(2, 280);
    let mirror = host.mirror();
    // The whole disk is as it was, guard too: alone it would fork the log unseen.
    let done = backup.recover(&mirror).unwrap();
    assert_eq!((done.before, done.size, backup.size()), (21, 301, 302));
    let kept = done.kept.unwrap();
    assert!(kept.join("trust.json").exists() && kept.starts_with(backup.dir.path()));
}

#[test]
fn a_backup_that_was_started_gives_its_own_beginning_up_only_when_it_is_told_to_and_only_that() {
    let host = Host::new("demo");
    host.append(1, 5);
    for own in [1, 3, 300] {
        let backup = host.copy();
        let twin = host.copy();
        twin.append(2, 4);
        // It says that it started, and more: a history of its own, which no quorum has seen.
        backup.append(3, own);
        let (mirror, state) = (twin.mirror(), backup.state());
        let again = |tail| recover(&backup.layout(), mirror.dir.path(), std::slice::from_ref(&mirror.note), tail);
        let refused = again(OwnTail::Binds);
        assert!(matches!(&refused, Err(e) if e.is_refusal()), "{own}: {refused:?}");
        assert_eq!(backup.state(), state);
        let done = again(OwnTail::GivenUp).unwrap();
        assert_eq!((done.size, backup.size()), (10, 11));
        assert!(done.kept.unwrap().join(".state/tree").exists(), "what was given up is kept");
    }
    // What goes on from the mirror was acknowledged to somebody: no word gives it up.
    let mirror = host.mirror();
    host.append(4, 2);
    let refused = recover(&host.layout(), mirror.dir.path(), std::slice::from_ref(&mirror.note), OwnTail::GivenUp);
    assert!(matches!(refused, Err(RecoverError::Older { have: 6, signed: 8, .. })), "{refused:?}");
}

#[test]
fn a_guard_ahead_of_a_lost_tree_is_reached() {
    let host = Host::new("demo");
    host.append(1, 5);
    let old = host.copy();
    host.append(2, 5);
    let mirror = host.mirror();
    // The log's directory is old, the guard of the key is not.
    host.lose_log();
    copy_all(&old.layout().audit(), &host.layout().audit());
    assert!(init::open(&host.layout()).is_err());
    assert_eq!(host.recover(&mirror).unwrap().size, 11);
}

#[test]
fn a_mirror_behind_what_was_acknowledged_is_refused_and_nothing_changes() {
    let host = Host::new("demo");
    host.append(1, 5);
    let mirror = host.mirror();
    host.append(2, 5);
    let newer = host.mirror();
    // By our own notes; by the guard alone; by another institution's note alone.
    for lose in [false, true] {
        if lose {
            host.lose_log();
        }
        let state = host.state();
        let refused = host.recover(&mirror);
        assert!(matches!(refused, Err(RecoverError::Older { have: 6, signed: 11, .. })), "{refused:?}");
        assert_eq!(host.state(), state);
    }
    let backup = host.copy();
    std::fs::remove_file(backup.layout().key("log-guard")).unwrap();
    let notes = [mirror.note.clone(), newer.note.clone()];
    let refused = recover(&backup.layout(), mirror.dir.path(), &notes, OwnTail::Binds);
    assert!(matches!(&refused, Err(e @ RecoverError::Older { signed: 11, .. }) if e.is_refusal()), "{refused:?}");
    assert!(!backup.layout().audit().exists());
}

#[test]
fn a_mirror_of_another_history_is_refused_with_a_proof_that_stands_alone() {
    let host = Host::new("demo");
    host.append(1, 5);
    let twin = host.copy();
    let ours = host.append(2, 7);
    for more in [3, 7, 300] {
        let other = twin.copy();
        let theirs = other.append(3, more);
        let (mirror, state) = (other.mirror(), host.state());
        let Err(RecoverError::Forked { size, proof, .. }) = host.recover(&mirror) else { panic!("{more}: not refused") };
        assert!(size > 6 && size <= 13);
        assert_eq!(host.state(), state);
        assert_eq!(ForkProof::parse(&proof.to_bytes()), Ok(*proof.clone()), "in the one spelling that everybody reads");
        let proof: serde_json::Value = serde_json::from_slice(&proof.to_bytes()).unwrap();
        let notes = [ours.clone(), theirs].map(|n| String::from_utf8(n).unwrap());
        assert!(["first", "second"].into_iter().all(|side| notes.contains(&proof[side].as_str().unwrap().to_owned())), "{proof:#}");
        assert_ne!(proof["first"], proof["second"]);
    }
}

#[test]
fn a_mirror_whose_entries_were_altered_is_refused() {
    let host = Host::new("demo");
    host.append(1, 5);
    let mirror = host.mirror();
    let mut files_of = BTreeMap::new();
    files(mirror.dir.path(), &mut files_of);
    let bundles: Vec<_> = files_of.iter().filter(|(path, _)| path.to_string_lossy().contains("entries")).collect();
    let mut count = 0;
    for (path, bytes) in &bundles {
        let mut altered = (*bytes).clone();
        // The narrowest partial bundle holds the first entry alone, which names no token.
        let Some(at) = altered.windows(8).position(|w| w == b"01010101") else { continue };
        altered[at + 1] = b'2';
        std::fs::write(path, altered).unwrap();
        count += 1;
    }
    assert_eq!(count + 1, bundles.len(), "every bundle with a token was to be altered");
    host.lose_log();
    let state = host.state();
    let refused = host.recover(&mirror);
    assert!(matches!(&refused, Err(e @ (RecoverError::Contradicted { .. } | RecoverError::Rule { .. })) if e.is_refusal()), "{refused:?}");
    assert_eq!(host.state(), state);
}

#[test]
fn an_entry_unknown_to_this_version_is_refused_before_anything_changes() {
    let host = Host::new("demo");
    host.append(1, 2);
    let (mirror, size) = (host.mirror(), host.size());
    let mut writer = LogWriter::resume(size, &Directory(mirror.dir.path().to_owned())).unwrap();
    for file in writer.append(&[br#"{"type":"of.tomorrow"}"#]).unwrap() {
        durable::write_new(&mirror.dir.path().join(file.path.to_string()), &file.bytes).unwrap();
    }
    let trust = TrustDocument::parse(&std::fs::read(host.layout().trust()).unwrap()).unwrap();
    let key = init::log_key(&host.layout(), &trust).unwrap();
    let note = Checkpoint { origin: key.verifier().name().to_owned(), head: writer.head() }.sign(&key).unwrap();
    std::fs::write(&mirror.note, note.encode()).unwrap();
    let state = host.state();
    let refused = host.recover(&mirror);
    assert!(matches!(&refused, Err(e @ RecoverError::Rule { index, .. }) if *index == size && e.is_refusal()), "{refused:?}");
    assert_eq!(host.state(), state);
}

#[test]
fn a_mirror_cannot_spoil_a_note_that_a_quorum_cosigned() {
    let host = Host::new("demo");
    let (size, good) = host.witnessed();
    let kept = host.layout().audit().join(note_path(size));
    durable::write_new(&kept, &good.encode()).unwrap();
    let mirror = host.mirror();
    // One line more, by a witness of the policy, over another text: nothing in this copy is believed any more.
    let mut spoilt = good.clone();
    spoilt.add(&[cosign(&witness(2), 1_000, "another text\n").unwrap()]).unwrap();
    std::fs::write(mirror.dir.path().join(note_path(size)), spoilt.encode()).unwrap();
    host.recover(&mirror).unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), good.encode());
    assert_eq!(std::fs::read(host.layout().audit().join(CHECKPOINT_PATH)).unwrap(), good.encode());
    // Of two good ones, the one with more cosigners.
    let (mirror, mut more) = (host.mirror(), good.clone());
    more.add(&[cosign(&witness(2), 1_000, good.text()).unwrap()]).unwrap();
    std::fs::write(mirror.dir.path().join(note_path(size)), more.encode()).unwrap();
    host.recover(&mirror).unwrap();
    assert_eq!(std::fs::read(host.layout().audit().join(note_path(size))).unwrap(), more.encode());
}

#[test]
fn sidecars_are_ours_alone() {
    let host = Host::new("demo");
    host.append(1, 2);
    let mirror = host.mirror();
    let (ours, theirs) = (host.layout().audit().join("sidecar"), mirror.dir.path().join("sidecar"));
    std::fs::create_dir(&ours).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(ours.join("opening"), b"ours").unwrap();
    std::fs::write(theirs.join("opening"), b"theirs").unwrap();
    std::os::unix::fs::symlink(host.layout().key("log"), theirs.join("link")).unwrap();
    host.recover(&mirror).unwrap();
    assert_eq!(std::fs::read(ours.join("opening")).unwrap(), b"ours");
    assert_eq!(std::fs::read_dir(&ours).unwrap().count(), 1);
}

#[test]
fn a_foreign_mirror_a_foreign_note_and_a_running_server_are_refused() {
    let (host, other) = (Host::new("demo"), Host::new("demo"));
    host.append(1, 2);
    let mirror = host.mirror();
    assert!(matches!(host.recover(&other.mirror()), Err(RecoverError::OtherFederation)));
    let refused = recover(&host.layout(), mirror.dir.path(), &[other.mirror().note], OwnTail::Binds);
    assert!(matches!(refused, Err(RecoverError::NotANote(_))), "{refused:?}");
    let lock = std::fs::File::create(host.layout().lock()).unwrap();
    lock.try_lock().unwrap();
    assert!(matches!(host.recover(&mirror), Err(RecoverError::Running(_))));
}

#[test]
fn a_server_that_starts_before_the_last_word_of_a_recovery_says_it_first() {
    let host = Host::new("demo");
    host.append(1, 5);
    let (layout, size) = (host.layout(), host.size());
    let (_, mut log, _) = init::open(&layout).unwrap();
    let root = Sha256(log.root_at(size).unwrap().unwrap().0);
    // As a process leaves it that ends between the change of places and the last word: somebody had shown more than there was.
    let mark = layout.audit().join(".state/recovered");
    std::fs::write(&mark, format!("{{\"before\":3,\"size\":{size},\"root\":\"{root}\",\"kept\":null}}")).unwrap();
    durable::write_new(&layout.evidence().join("shown.note"), log.note()).unwrap();
    evidence::check(&layout, &log).unwrap();
    last_word(&layout, &mut log).unwrap();
    let said: Vec<_> = log.entries(size, size + 2).unwrap().iter().map(|e| protocol::entry::LogEntry::parse(e).unwrap().facts).collect();
    assert_eq!(said[0], Facts::ProcessRecovered { before: 3, size, root });
    assert!(matches!(said[1], Facts::AuditAlarm { .. }) && log.size() == size + 2);
    assert!(!mark.exists() && evidence::kept(&layout).unwrap().is_empty());
    // It is said once, whatever the mark says.
    last_word(&layout, &mut log).unwrap();
    std::fs::write(&mark, format!("{{\"before\":3,\"size\":{size},\"root\":\"{root}\",\"kept\":null}}")).unwrap();
    last_word(&layout, &mut log).unwrap();
    assert!(log.size() == size + 2 && !mark.exists());
}

#[test]
fn a_recovery_that_a_crash_cut_short_is_run_again() {
    let host = Host::new("demo");
    host.append(1, 30);
    let old = host.copy();
    host.append(2, 30);
    let (mirror, size) = (host.mirror(), host.size());
    // What lies there after a crash between the guard and the change of places: half a new directory, the old one, a guard ahead.
    let backup = old.copy();
    std::fs::create_dir_all(backup.layout().recovering().join("tile")).unwrap();
    std::fs::write(backup.layout().recovering().join("tile/rest"), b"half").unwrap();
    std::fs::copy(host.layout().key("log-guard"), backup.layout().key("log-guard")).unwrap();
    assert_eq!(backup.recover(&mirror).unwrap().size, size);
    assert!(!backup.layout().recovering().exists());
    // And between the two changes of names: no log at all.
    let backup = old.copy();
    std::fs::rename(backup.layout().audit(), backup.layout().kept_log(31)).unwrap();
    assert_eq!(backup.recover(&mirror).unwrap().size, size);
}

#[test]
fn a_log_that_handed_over_is_recovered_with_the_note_that_both_keys_signed() {
    let host = Host::new("demo");
    host.append(1, 2);
    let (next, at, handover) = host.hand_over();
    host.append(2, 3);

    // While the older key is here, no copy needs to have the note.
    let bare = |host: &Host| {
        let mirror = host.mirror();
        std::fs::remove_dir_all(mirror.dir.path().join(HANDOVERS)).unwrap();
        mirror
    };
    let mirror = bare(&host);
    host.lose_log();
    host.recover(&mirror).unwrap();
    let (_, log, _) = init::open(&host.layout()).unwrap();
    assert_eq!((log.handover(0).unwrap(), log.key().verifier()), (Some(handover.clone()), &next));
    log.retire(at).unwrap();
    drop(log);

    // After that only who has it is of use.
    let (mirror, whole) = (bare(&host), host.mirror());
    host.lose_log();
    let refused = host.recover(&mirror);
    assert!(matches!(&refused, Err(e @ RecoverError::NoHandover(size)) if *size == at && e.is_refusal()), "{refused:?}");
    host.recover(&whole).unwrap();
    let (_, log, _) = init::open(&host.layout()).unwrap();
    assert_eq!(log.handover(0).unwrap(), Some(handover));
}

#[test]
fn a_copy_for_an_auditor_has_the_notes_by_which_keys_handed_over() {
    let (host, out) = (Host::new("demo"), tempfile::tempdir().unwrap());
    let first = host.append(1, 2);
    let before = host.size();
    let (_, at, handover) = host.hand_over();
    let last = host.append(2, 3);
    for (size, note) in [(before, first), (host.size(), last)] {
        durable::write_new(&host.layout().audit().join(note_path(size)), &note).unwrap();
        hand_out(&host.layout(), size, &out.path().join(size.to_string())).unwrap();
    }
    let kept = |size: u64| std::fs::read(out.path().join(size.to_string()).join(handover_path(at))).ok();
    assert_eq!((kept(before), kept(host.size())), (None, Some(handover)), "and none that its entries do not know of");
}
