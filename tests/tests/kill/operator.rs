//! What an operator does once in years, by a server that ends in the middle of it: the log is handed over to another key (audit.md A14), sealed
//! updates are deleted (A19).

use super::books::Books;
use super::federation::{Federation, MEMBERS};
use protocol::entry::EntryKind;
use std::path::{Path, PathBuf};

/// Where the server ends while its log is handed over, and whether the process has told the log by then that it started.
const HANDOVER: &[(&str, bool)] = &[
    // Both keys have signed, and no tree says so.
    ("appending federation.trust.changed, renamed log-guard", true),
    // At the next start: the note that both signed lies beside the log.
    ("handed-over handovers/", false),
    // A quorum has followed: the old key's bytes are gone, and its name is not.
    ("emptied keys/log", true),
    // At the next start: the name too, in a directory that may not have heard of it.
    ("erased keys/log", false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_handed_over_by_a_server_that_ends_at_any_edge_of_it() {
    let (mut f, mut books) = (Federation::with_witnesses([""; MEMBERS]).await, Books::default());
    books.check_logs(&mut f).await;
    let said = f.prepare_log_key();
    f.kill_server();
    books.server_ended(&f);
    for (at, (edge, started)) in HANDOVER.iter().enumerate() {
        f.serve(edge).await;
        if at == 0 {
            f.try_change_trust(&said).await;
        }
        f.until_dead(edge, |f| f.server.as_mut().expect("a server")).await;
        if *started {
            books.server_ended(&f);
        }
    }
    f.serve("").await;
    assert!(!f.server_dir().join("keys/log").exists(), "the old key stays");
    assert_eq!(Books::count(&f, EntryKind::TrustChanged), 1);
    // The federation goes on under the new key, and everybody's copy of the log is one log.
    let plan = f.propose(1).await;
    f.ended().await;
    let members = books.close(&mut f, plan.task).await;
    assert!(members.get(&1).is_some_and(|m| m.len() >= 2), "{members:?}");
}

/// Where the server ends while it deletes: nothing is gone yet, something is, everything but the lists of what was there.
const DELETING: &[&str] = &["appended round.chunks.deleted", "removed chunks/", "removed .list"];
/// Rounds of that task.
const ROUNDS: u64 = 2;

/// The lists of sealed updates below `chunks`, and every part that they name.
fn sealed(chunks: &Path) -> Vec<PathBuf> {
    let dirs = std::fs::read_dir(chunks).unwrap().map(|d| d.unwrap().path());
    let files = dirs.flat_map(|d| std::fs::read_dir(d).unwrap()).map(|f| f.unwrap().path());
    let lists: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "list")).collect();
    let part = |line: &str| chunks.join(&line[..2]).join(line);
    let parts: Vec<PathBuf> =
        lists.iter().flat_map(|l| std::fs::read_to_string(l).unwrap().lines().map(part).collect::<Vec<_>>()).collect();
    lists.into_iter().chain(parts).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_updates_are_deleted_by_a_server_that_ends_in_the_middle_of_it() {
    let (mut f, plan) = Federation::with_task(ROUNDS, [""; MEMBERS]).await;
    let mut books = Books::default();
    f.ended().await;
    books.close(&mut f, plan.task).await;
    let all = sealed(&f.server_dir().join("chunks"));
    assert!(all.len() > 4 && all.iter().all(|file| file.exists()), "{all:?}");
    f.kill_server();
    for (at, edge) in DELETING.iter().enumerate() {
        f.serve(edge).await;
        if at == 0 {
            f.try_delete_chunks().await;
        }
        f.until_dead(edge, |f| f.server.as_mut().expect("a server")).await;
        let left = all.iter().filter(|file| file.exists()).count();
        assert!(if at == 0 { left == all.len() } else { (1..all.len()).contains(&left) }, "{edge}: {left} of {}", all.len());
    }
    f.serve("").await;
    assert!(all.iter().all(|file| !file.exists()), "the next start deletes what the log says is deleted");
    assert_eq!(Books::count(&f, EntryKind::RoundChunksDeleted) as u64, ROUNDS);
    books.check_logs(&mut f).await;
}
