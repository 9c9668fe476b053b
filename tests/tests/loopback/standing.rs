//! Members that are suspended and resumed, that withdraw their records and that leave, on the same wire (audit.md A19, transport-storage.md F30).

use super::*;
use client::agent::AgentError;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What `concordat-client` answers for an institution.
pub(super) async fn client_of(f: &Federation, index: usize, args: &[&str]) -> String {
    let home = text(&f.dir.path().join(name(index)));
    let all = ["concordat-client", "--dir", &home].iter().chain(args).map(std::ffi::OsString::from).collect::<Vec<_>>();
    let ran = tokio::task::spawn_blocking(move || client::cli::run(all));
    format!("{:?}", tokio::time::timeout(PATIENCE, ran).await.unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_is_cut_off_and_comes_back_another_withdraws_its_records_and_a_third_leaves_under_a_new_key() {
    let mut f = Federation::start(3).await;
    connected(&f, 3).await;
    let (dir, key) = (text(&f.server_dir()), text(&f.dir.path().join("admin.key")));
    let order = |verb: &str, reason: &str| {
        ["member", verb, "--dir", &dir, "--admin-key", &key, "--institution", &name(0), "--reason", reason].map(str::to_owned).to_vec()
    };
    assert_eq!(administer(order("suspend", "incident")).await, exit(0));
    assert_eq!(administer(order("suspend", "incident")).await, exit(1), "it is suspended");
    // Its own people read why, and where it stands; its program goes on trying.
    let status = f.dir.path().join(name(0)).join("status.json");
    until(async || std::fs::read_to_string(&status).unwrap_or_default().contains("suspended (incident) by entry").then_some(())).await;
    let left = f.status().await;
    assert_eq!((left.connected.len(), left.members.len(), left.waiting_for.len()), (2, 2, 0));
    assert!(count(&f, "authz.denied").await > 0, "a refused connection is an entry");
    assert_eq!(administer(order("resume", "resolved")).await, exit(0));
    connected(&f, 3).await;

    // The order counts at once; the running program signs and declares it.
    until(async || (client_of(&f, 1, &["data", "withdraw", "--reason", "consent"]).await == exit(0)).then_some(())).await;
    until(async || (count(&f, "dataset.withdrawn").await == 1).then_some(())).await;
    assert_eq!(client_of(&f, 1, &["data", "withdraw", "--reason", "quality"]).await, exit(0), "it is withdrawn already");

    let running = std::mem::replace(&mut f.clients[2], tokio::spawn(async { Ok(()) }));
    running.abort();
    running.await.ok();
    // With another TLS key, which the log knows from then on, it is let in as before.
    until(async || (client_of(&f, 2, &["keys", "rotate"]).await == exit(0)).then_some(())).await;
    assert_eq!((count(&f, "key.rotated").await, count(&f, "member.renewed").await), (1, 1));
    assert_eq!(client_of(&f, 2, &["leave"]).await, exit(2), "not without --yes");
    until(async || (client_of(&f, 2, &["leave", "--yes"]).await == exit(0)).then_some(())).await;
    assert_eq!(client_of(&f, 2, &["leave", "--yes"]).await, exit(0), "whoever has left is told where");
    assert_eq!((count(&f, "member.left").await, count(&f, "dataset.withdrawn").await), (1, 1));
    let (sender, _trained) = tokio::sync::mpsc::unbounded_channel();
    let again = tokio::time::timeout(PATIENCE, run_client(f.dir.path(), 2, f.integers.clone(), sender)).await.unwrap().unwrap();
    assert!(matches!(again, Err(AgentError::Barred(b)) if b.standing.is_final()), "{again:?}");

    // Two witnesses of three are a quorum of the old policy, and both of the new one.
    let verdict = f.verify(&f.published().await);
    assert!(verdict.verified, "{:?}", verdict.findings);
    let standing = |index: usize| verdict.members.iter().find(|m| m.name == name(index)).map(|m| m.standing);
    assert_eq!([standing(0), standing(1), standing(2)], [Some("active"), Some("active"), Some("left")]);
    let activate = ["policy", "activate", "--dir", &dir, "--admin-key", &key].map(str::to_owned).to_vec();
    assert_eq!(administer(activate).await, exit(0));
    let verdict = f.verify(&f.published().await);
    assert!(verdict.verified && verdict.quorum.witnesses == 2, "{:?}", verdict.findings);
}
