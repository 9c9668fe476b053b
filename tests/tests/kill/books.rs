//! What must hold whenever a process has ended: nothing said is gone, nothing is drawn twice or unpaid, and the log only grows.

use super::federation::{CANARY, Federation, MEMBERS, name};
use super::seen;
use audit::tile::{TileKind, TilePath, WIDTH, decode_bundle};
use privacy::ledger::PrivacyLedger;
use protocol::entry::{EntryKind, Facts, LogEntry};
use protocol::ids::{ClientId, RoundId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Exit code of a log of which not everything is under a note yet (audit.md A38).
const INCOMPLETE: u8 = 4;

/// What was true before, to compare with.
#[derive(Default)]
pub(crate) struct Books {
    /// The longest log that anybody has shown.
    log: Vec<Vec<u8>>,
    /// RDP spent, by institution.
    spent: [u64; MEMBERS],
    /// Index files of whole spools, by institution and round.
    spools: BTreeMap<(usize, u64), Vec<u8>>,
    /// Times that the server's process ended at an edge.
    ends: usize,
}

/// The only file below `dir` whose name ends so.
fn only(dir: &Path, ending: &str) -> Option<PathBuf> {
    let mut found = std::fs::read_dir(dir).ok()?.map(Result::unwrap).filter(|e| e.file_name().to_string_lossy().ends_with(ending));
    let first = found.next().map(|e| e.path());
    assert!(found.next().is_none(), "more than one {ending} in {}", dir.display());
    first
}

/// The entries of the log in `root` that the note at `note` covers; none while they are being written.
fn entries(root: &Path, note: &Path) -> Option<Vec<Vec<u8>>> {
    let text = std::fs::read(note).ok()?;
    let size: u64 = String::from_utf8_lossy(&text).lines().nth(1)?.parse().ok()?;
    let mut out = Vec::new();
    for bundle in 0..size.div_ceil(u64::from(WIDTH)) {
        let path = TilePath::in_tree(TileKind::Entries, bundle, size)?;
        let bytes = std::fs::read(root.join(path.to_string())).ok()?;
        out.extend(decode_bundle(&bytes, path.width()).ok()?.into_iter().map(<[u8]>::to_vec));
    }
    Some(out)
}

fn server_log(f: &Federation) -> Option<Vec<Vec<u8>>> {
    let audit = f.server_dir().join("audit");
    entries(&audit, &audit.join(".state/tree"))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

impl Books {
    /// What an institution owns, while its process is dead: every draw is paid, none was made twice, and what is spooled stays as it is.
    pub(crate) fn check_institution(&mut self, f: &Federation, index: usize, task: TaskId) {
        let seen = seen::read(&f.seen(index));
        for ((what, round), times) in &seen {
            assert_eq!(*times, 1, "{}: {what} twice in round {round}", name(index));
        }
        let trained = seen.keys().filter(|(what, _)| what == "trained");
        let rounds: BTreeSet<u64> = trained.map(|(_, round)| *round).collect();
        match only(&f.home(index).join("ledger"), ".ledger").map(|path| PrivacyLedger::load(&std::fs::read(path).unwrap())) {
            Some(Ok(loaded)) => self.check_ledger(&loaded.ledger, index, task, &rounds),
            None | Some(Err(_)) => assert!(rounds.is_empty() && self.spent[index] == 0, "the ledger of {} is gone", name(index)),
        }
        self.check_spools(f, index);
    }

    fn check_ledger(&mut self, ledger: &PrivacyLedger, index: usize, task: TaskId, trained: &BTreeSet<u64>) {
        for round in trained {
            assert!(ledger.reservation(task, RoundId(*round)).is_some(), "{}: round {round} was drawn and not paid", name(index));
        }
        let spent = ledger.totals().spent.0;
        assert!(spent >= self.spent[index], "{}: spending was forgotten", name(index));
        let cost = ledger.task(task).map_or(0, |t| t.schedule.cost_per_round.0);
        assert!(spent >= cost * trained.len() as u64, "{}: less is recorded than was drawn", name(index));
        self.spent[index] = spent;
    }

    fn check_spools(&mut self, f: &Federation, index: usize) {
        let Ok(dirs) = std::fs::read_dir(f.home(index).join("spool")) else { return };
        for dir in dirs.map(|d| d.unwrap().path()) {
            let Ok(bytes) = std::fs::read(dir.join("index")) else { continue };
            let round = dir.to_string_lossy().rsplit_once('-').unwrap().1.parse().unwrap();
            for part in std::fs::read_dir(dir.join("parts")).unwrap().map(|p| p.unwrap().path()) {
                let address = blake3_hex(&std::fs::read(&part).unwrap());
                assert!(part.to_string_lossy().ends_with(&address), "{} is not what its name says", part.display());
            }
            assert_eq!(*self.spools.entry((index, round)).or_insert(bytes.clone()), bytes, "the spool of round {round} has other bytes");
        }
    }

    /// The server's process has ended at an edge.
    pub(crate) fn server_ended(&mut self, f: &Federation) {
        self.ends += 1;
        // An address is only ever given to a whole part.
        let Ok(dirs) = std::fs::read_dir(f.server_dir().join("chunks")) else { return };
        for file in dirs.flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap()).map(|f| f.unwrap().path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if !name.contains('.') {
                assert_eq!(blake3_hex(&std::fs::read(&file).unwrap()), name, "a stored part is torn");
            }
        }
    }

    /// The log of the server that runs again, and every mirror, go on where the longest of them was: what was shown to anybody stays.
    pub(crate) async fn check_logs(&mut self, f: &mut Federation) {
        let mut logs = vec![f.until("the server's log is not whole", async |f| server_log(f)).await];
        for index in 0..MEMBERS {
            let home = f.home(index);
            logs.extend(entries(&home.join("mirror"), &home.join("witness/mirrored.note")));
        }
        assert!(logs[0].len() >= self.log.len(), "the server's tree went back from {} to {}", self.log.len(), logs[0].len());
        for log in logs {
            let both = log.len().min(self.log.len());
            assert!(log[..both] == self.log[..both], "two logs of one federation differ");
            if log.len() > self.log.len() {
                self.log = log;
            }
        }
        // Copied while the server writes: entries may reach beyond the newest note, and nothing else may be found.
        let verdict = verify(f);
        assert!(matches!(verdict.exit_code, 0 | INCOMPLETE), "{:?}\n{}", verdict.findings, f.story());
    }

    /// How many entries of this type the server's log has.
    pub(crate) fn count(f: &Federation, wanted: EntryKind) -> usize {
        let log = server_log(f).unwrap_or_default();
        log.iter().filter(|e| LogEntry::parse(e).is_ok_and(|e| e.facts.kind() == wanted)).count()
    }

    /// At the end of the task: the log verifies, every whole spool became exactly one acceptance of exactly its bytes, and the rounds
    /// ended as expected. Answers which institutions took part in each closed round.
    pub(crate) async fn close(&mut self, f: &mut Federation, task: TaskId) -> BTreeMap<u64, BTreeSet<usize>> {
        self.check_logs(f).await;
        (0..MEMBERS).for_each(|index| self.check_institution(f, index, task));
        let said = f.all_said();
        assert!(!said.is_empty() && !contains(&said, CANARY.as_bytes()), "a record is quoted in what a process said");
        let left = half_written(f.dir.path());
        assert!(left.is_empty(), "half-written files stay: {left:?}");
        let all: Vec<LogEntry> = self.log.iter().map(|e| LogEntry::parse(e).unwrap()).collect();
        let unclean = all.iter().filter(|e| matches!(e.facts, Facts::ProcessStarted { clean: false, .. })).count();
        assert_eq!(unclean, self.ends, "starts after an end at an edge");
        let closed: BTreeSet<u64> = rounds_with(&all, |f| matches!(f, Facts::RoundClosed { .. }));
        let accepted = accepted(&all);
        for ((index, round), spool) in self.spools.iter().filter(|((_, round), _)| closed.contains(round)) {
            let header = accepted.get(&(*round, client(f, *index)));
            assert!(header.is_some_and(|h| contains(spool, h)), "{}: round {round} has another update than the spool", name(*index));
        }
        let verdict = verify(f);
        assert!(verdict.verified, "{:?}\n{}", verdict.findings, f.story());
        assert!(!verdict.tasks[0].open);
        let member = |round: u64, index: usize| accepted.contains_key(&(round, client(f, index)));
        closed.into_iter().map(|round| (round, (0..MEMBERS).filter(|i| member(round, *i)).collect())).collect()
    }
}

/// As an auditor sees the server's log.
fn verify(f: &Federation) -> auditor::Verdict {
    let to = tempfile::tempdir().unwrap();
    tests::files::copy_log(&f.server_dir().join("audit"), to.path());
    auditor::verify(to.path(), &auditor::Options::default()).unwrap()
}

fn rounds_with(log: &[LogEntry], wanted: impl Fn(&Facts) -> bool) -> BTreeSet<u64> {
    log.iter().filter(|e| wanted(&e.facts)).filter_map(|e| Some(e.round?.0)).collect()
}

/// The headers that were accepted; two of one institution in one round are one too many.
fn accepted(log: &[LogEntry]) -> BTreeMap<(u64, ClientId), Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in log.iter().filter(|e| matches!(e.facts, Facts::UpdateAccepted { .. })) {
        let header = entry.stmt.as_ref().unwrap().payload_bytes().unwrap();
        let (round, who) = (entry.round.unwrap().0, entry.institution.unwrap());
        assert!(out.insert((round, who), header).is_none(), "two updates of one institution in round {round}");
    }
    out
}

/// Temporary files of server and institutions.
fn half_written(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(half_written(&entry.path()));
        } else if entry.file_name().to_string_lossy().ends_with(".tmp") {
            out.push(entry.path());
        }
    }
    out
}

fn client(f: &Federation, index: usize) -> ClientId {
    let identity: client::identity::Identity =
        serde_json::from_slice(&std::fs::read(f.home(index).join("identity.json")).unwrap()).unwrap();
    identity.client
}

fn blake3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
