//! A process of the federation: this test program again, in the role of `concordat-server` or `concordat-client`, with a script of edges at
//! whose last one it ends as if by `kill -9`.

use super::seen::Seen;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

const ROLE: &str = "CONCORDAT_TEST_ROLE";
const ARGUMENTS: &str = "CONCORDAT_TEST_ARGUMENTS";
const SCRIPT: &str = "CONCORDAT_TEST_SCRIPT";
const SEEN: &str = "CONCORDAT_TEST_SEEN";
/// Between arguments: no path of a test holds it.
const BETWEEN: &str = "\u{1f}";
/// What `abort` ends a process with on Linux.
const ABORTED: i32 = 6;

/// Edges that must be passed in this order, as `step subject`; at the last one the process ends.
static EDGES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The step of a script that means any edge; its subject is how many are passed, this one included.
pub(crate) const ANY: &str = "any";
static PASSED: AtomicUsize = AtomicUsize::new(0);

/// `step subject, step subject, ...`. A subject is a part of a path or of a fact's name.
fn read_script(script: &str) -> Vec<(String, String)> {
    let edges = script.split(',').filter(|e| !e.is_empty());
    edges.map(|e| e.trim().split_once(' ').map(|(s, on)| (s.to_owned(), on.to_owned())).expect("step and subject")).collect()
}

/// Called at every edge of this process.
pub(crate) fn reached(step: &str, on: &Path) {
    let mut edges = EDGES.lock().unwrap_or_else(PoisonError::into_inner);
    let next = edges.first().is_some_and(|(s, subject)| {
        let counted = || subject.parse::<usize>() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1);
        if s == ANY { counted() } else { s == step && on.to_string_lossy().contains(subject.as_str()) }
    });
    if next {
        edges.remove(0);
        if edges.is_empty() {
            eprintln!("ends: {step} {}", on.display());
            std::process::abort();
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("started by the tests of this file, which give it a role")
}

#[test]
#[ignore = "a process that other tests start, not a test"]
fn role() {
    *EDGES.lock().unwrap() = read_script(&variable(SCRIPT));
    let arguments: Vec<OsString> = variable(ARGUMENTS).split(BETWEEN).map(OsString::from).collect();
    let ended = match variable(ROLE).as_str() {
        "server" => {
            server::edges::watch(reached);
            server::cli::run(arguments)
        }
        _client => {
            client::edges::watch(reached);
            client::cli::run_observed(arguments, Box::new(Seen::new(Path::new(&variable(SEEN)))))
        }
    };
    assert_eq!(format!("{ended:?}"), format!("{:?}", ExitCode::SUCCESS));
}

/// A running process; ended with its owner.
pub(crate) struct Process {
    child: Child,
    pub(crate) said: PathBuf,
}

impl Process {
    /// Starts a role. What it says is added to the file `said`; what a client's observer sees, to `seen`.
    pub(crate) fn start(role: &str, arguments: &[&str], script: &str, said: &Path, seen: &Path) -> Self {
        let file = File::options().create(true).append(true).open(said).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role::role", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENTS, arguments.join(BETWEEN))
            .env(SCRIPT, script)
            .env(SEEN, seen)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("this program can be started again");
        Self { child, said: said.to_owned() }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it ended at the last edge of its script.
    pub(crate) fn died(status: ExitStatus) -> bool {
        status.signal() == Some(ABORTED)
    }

    /// The last lines that it said.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("--- {}\n{}\n", self.said.display(), lines[lines.len().saturating_sub(25)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
