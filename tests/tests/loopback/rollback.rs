//! An old backup of the server comes back among institutions that have seen more (audit.md A32): it ends, does not begin again, and goes on
//! when it was recovered from one of their mirrors.

use super::*;
use tests::files::copy_all;
use tokio::task::JoinHandle;

/// Starts the server again on its directory, at the address where its institutions look for it.
fn serve(f: &Federation, address: &str) -> JoinHandle<anyhow::Result<()>> {
    let (dir, config) = (f.server_dir(), format!("listen = \"{address}\""));
    let config = server::config::Config::parse(&config, Path::new("test")).unwrap();
    tokio::spawn(async move { server::serve::run(&dir, &config).await })
}

async fn stop(f: &mut Federation) {
    call(&f.server_dir(), AdminRequest::Stop {}).await;
    let old = std::mem::replace(&mut f.server, tokio::spawn(async { Ok(()) }));
    tokio::time::timeout(PATIENCE, old).await.unwrap().unwrap().unwrap();
}

/// The size in a note; 0 where there is none yet.
fn size_in(note: &Path) -> u64 {
    let text = std::fs::read_to_string(note).unwrap_or_default();
    text.lines().nth(1).map_or(0, |line| line.parse().unwrap())
}

/// Until everybody is connected and has mirrored a tree of more than `size` entries that a quorum has seen.
async fn all_beyond(f: &Federation, size: u64) {
    until(async || {
        assert!(!f.server.is_finished(), "the server ended");
        if !f.server_dir().join("address").exists() {
            return None;
        }
        let status = f.status().await;
        let seen = |i: usize| size_in(&f.dir.path().join(name(i)).join("witness/mirrored.note"));
        (status.connected.len() == 3 && status.published > size && (0..3).all(|i| seen(i) > size)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_that_came_back_ends_and_goes_on_only_after_a_recovery() {
    let mut f = Federation::start(3).await;
    let done = format!("{:?}", std::process::ExitCode::SUCCESS);
    all_beyond(&f, 1).await;
    let address = std::fs::read_to_string(f.server_dir().join("address")).unwrap();
    let (backup, tree) = (f.dir.path().join("backup"), f.audit().join(".state/tree"));
    stop(&mut f).await;
    copy_all(&f.server_dir(), &backup);
    let old = size_in(&tree);
    f.server = serve(&f, &address);
    all_beyond(&f, old).await;
    stop(&mut f).await;
    std::fs::remove_dir_all(f.server_dir()).unwrap();
    std::fs::rename(&backup, f.server_dir()).unwrap();

    // The first institution that comes shows more than there is.
    let ended = tokio::time::timeout(PATIENCE, serve(&f, &address)).await.expect("nobody noticed").unwrap().unwrap_err();
    assert!(format!("{ended:#}").contains("lost history"), "{ended:#}");
    // Whoever starts it again: it appends nothing, and waits for nobody.
    let size = size_in(&tree);
    let ended = tokio::time::timeout(PATIENCE, serve(&f, &address)).await.unwrap().unwrap().unwrap_err();
    assert!(format!("{ended:#}").contains("lost history"), "{ended:#}");
    assert_eq!(size_in(&tree), size);

    let text = |p: &Path| p.to_string_lossy().into_owned();
    let note = |i: &usize| f.dir.path().join(name(*i)).join("witness/mirrored.note");
    let newest = (0..3).max_by_key(|i| size_in(&note(i))).unwrap();
    let mirror = f.dir.path().join("mirror-copy");
    copy_all(&f.dir.path().join(name(newest)).join("mirror"), &mirror);
    let args = ["log", "recover", "--dir", &text(&f.server_dir()), "--from", &text(&mirror), "--note", &text(&note(&newest)), "--proof"];
    let args: Vec<_> = args.into_iter().map(str::to_owned).chain([text(&f.dir.path().join("fork.json"))]).collect();
    // What the backup began when it was started is another history; it is given up by a word of its own.
    assert_ne!(administer(args.clone()).await, done);
    assert_eq!(administer([args, vec!["--give-up-own".to_owned()]].concat()).await, done);
    let recovered = size_in(&tree);
    assert!(recovered > size_in(&note(&newest)));

    f.server = serve(&f, &address);
    all_beyond(&f, recovered).await;
    f.clients_are_well().await;
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    assert!(verdict.findings.iter().any(|found| found.got.starts_with("rollback")), "the log tells of it: {:?}", verdict.findings);
}
