//! `concordat-server log recover` on a backup that came back, ended at each of its edges in turn and run again (audit.md A31, A32, A52,
//! transport-storage.md F9): the second run ends well, and leaves what one undisturbed run leaves.

use super::federation::Federation;
use super::role::{ANY, Process};
use audit::reader::{CHECKPOINT_PATH, note_path};
use audit::tile::{TileKind, TilePath, decode_bundle};
use protocol::entry::{EntryKind, Facts, LogEntry};
use std::path::{Path, PathBuf};

/// A server's disk as it was, what an institution has followed since, and the note that it shows.
struct Case {
    dir: tempfile::TempDir,
    before: u64,
    followed: Vec<Vec<u8>>,
}

/// The entries of a server's own tree.
fn entries(server: &Path) -> Vec<Vec<u8>> {
    let audit = server.join("audit");
    let note = std::fs::read_to_string(audit.join(".state/tree")).expect("a tree");
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let path = TilePath::in_tree(TileKind::Entries, 0, size).expect("one bundle");
    let bytes = std::fs::read(audit.join(path.to_string())).unwrap();
    decode_bundle(&bytes, path.width()).unwrap().into_iter().map(<[u8]>::to_vec).collect()
}

impl Case {
    async fn make() -> Self {
        let mut f = Federation::found().await;
        let dir = tempfile::tempdir().unwrap();
        f.invite(0).await;
        f.kill_server();
        tests::files::copy_all(&f.server_dir(), &dir.path().join("backup"));
        f.serve("").await;
        f.invite(1).await;
        f.invite(2).await;
        f.kill_server();
        let case = Self { before: entries(&dir.path().join("backup")).len() as u64, followed: entries(&f.server_dir()), dir };
        assert!(case.followed.len() as u64 > case.before);
        tests::files::copy_log(&f.server_dir().join("audit"), &case.mirror());
        std::fs::copy(f.server_dir().join("audit/.state/tree"), case.note()).unwrap();
        // An institution has shown its note to the backup, and the operator keeps something beside that log.
        std::fs::create_dir_all(case.backup().join("evidence")).unwrap();
        std::fs::copy(case.note(), case.backup().join("evidence/shown.note")).unwrap();
        std::fs::create_dir_all(case.backup().join("audit/sidecar")).unwrap();
        std::fs::write(case.backup().join("audit/sidecar/0.json"), b"opened").unwrap();
        case
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup")
    }
    fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }
    fn note(&self) -> PathBuf {
        self.dir.path().join("mirrored.note")
    }

    /// Runs the command on `server`; it ends at the last edge of `script`.
    fn recover(&self, server: &Path, script: &str) -> Process {
        let text = |path: &Path| path.to_str().expect("temporary paths are text").to_owned();
        let (server, mirror, note) = (text(server), text(&self.mirror()), text(&self.note()));
        let arguments = ["concordat-server", "log", "recover", "--dir", &server, "--from", &mirror, "--note", &note];
        Process::start("server", &arguments, script, &self.dir.path().join("recover.said"), Path::new(""))
    }

    /// What a recovery leaves, however often it was begun.
    fn check(&self, server: &Path, after: &str) {
        let (log, size) = (entries(server), self.followed.len());
        assert!(log[..size] == self.followed[..], "{after}: another history");
        let said: Vec<LogEntry> = log[size..].iter().map(|e| LogEntry::parse(e).unwrap()).collect();
        let kinds: Vec<EntryKind> = said.iter().map(|e| e.facts.kind()).collect();
        assert_eq!(kinds, [EntryKind::ProcessRecovered, EntryKind::AuditAlarm], "{after}");
        let stated =
            matches!(said[0].facts, Facts::ProcessRecovered { before, size: to, .. } if (before, to) == (self.before, size as u64));
        assert!(stated, "{after}: {:?}", said[0].facts);
        assert!(!server.join("audit.recovering").exists() && !server.join("audit/.state/recovered").exists(), "{after}");
        assert!(server.join("evidence/shown.settled").exists() && !server.join("evidence/shown.note").exists(), "{after}");
        assert_eq!(std::fs::read(server.join("audit/sidecar/0.json")).ok().as_deref(), Some(b"opened".as_slice()), "{after}");
        let names = std::fs::read_dir(server).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let kept: Vec<String> = names.filter(|n| n.starts_with("audit.before-recovery-")).collect();
        assert_eq!(kept.len(), 1, "{after}: the old log is kept once: {kept:?}");
        assert_eq!(entries_of_kept(&server.join(&kept[0])), self.before, "{after}");
        self.verify(server, after);
    }

    /// As an auditor sees it: nothing is wrong, and no note covers the log yet.
    fn verify(&self, server: &Path, after: &str) {
        let copy = tempfile::tempdir().unwrap();
        tests::files::copy_log(&server.join("audit"), copy.path());
        std::fs::remove_file(copy.path().join("sidecar/0.json")).unwrap();
        // The server publishes when it runs; here its newest tree stands in for that.
        let note = server.join("audit/.state/tree");
        std::fs::copy(&note, copy.path().join(CHECKPOINT_PATH)).unwrap();
        let kept = copy.path().join(note_path(entries(server).len() as u64));
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::copy(&note, kept).unwrap();
        let with = vec![self.note()];
        let verdict = auditor::verify(copy.path(), &auditor::Options { with, ..auditor::Options::default() }).unwrap();
        let bad: Vec<_> = verdict.findings.iter().filter(|f| f.severity == auditor::Severity::Integrity).collect();
        assert!(bad.is_empty(), "{after}: {bad:?}");
        assert_eq!(verdict.entries, entries(server).len() as u64);
    }
}

/// Entries of the tree of a log that is kept.
fn entries_of_kept(audit: &Path) -> u64 {
    let note = std::fs::read_to_string(audit.join(".state/tree")).unwrap();
    note.lines().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_ends_at_any_edge_is_finished_by_the_next() {
    let case = Case::make().await;
    let mut edge = 1;
    loop {
        let server = case.dir.path().join(format!("server-{edge}"));
        tests::files::copy_all(&case.backup(), &server);
        let (mut run, at) = (case.recover(&server, &format!("{ANY} {edge}")), format!("after edge {edge}"));
        let status = run.end();
        if !Process::died(status) {
            assert!(status.success(), "edge {edge}: {status}\n{}", run.last_words());
            case.check(&server, "undisturbed");
            break;
        }
        let mut again = case.recover(&server, "");
        let status = again.end();
        assert!(status.success(), "{at}: {status}\n{}", again.last_words());
        case.check(&server, &at);
        std::fs::remove_dir_all(&server).unwrap();
        edge += 1;
    }
    assert!(edge > 50, "{edge} edges: a recovery that writes so little was not looked at");
}

/// It may end again and again: every run finishes as much as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_ends_again_and_again_comes_to_its_end() {
    let case = Case::make().await;
    let server = case.dir.path().join("server");
    tests::files::copy_all(&case.backup(), &server);
    let edges = ["renamed log-guard", "kept audit.before", "swapped audit", "renamed log-guard", "renamed .state/tree", "settled shown"];
    for edge in edges {
        let mut run = case.recover(&server, edge);
        let status = run.end();
        assert!(Process::died(status), "{edge}: {status}\n{}", run.last_words());
    }
    let mut last = case.recover(&server, "");
    let status = last.end();
    assert!(status.success(), "{status}\n{}", last.last_words());
    case.check(&server, "after six ends");
}
