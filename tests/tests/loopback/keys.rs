//! An institution that goes on with another statement key and another witness key, on the same wire (audit.md A12, A17).

use super::standing::client_of;
use super::*;

/// Every institution is a decryptor and a witness, and every round needs all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_institution_with_new_keys_trains_opens_and_cosigns_as_the_one_that_it_was() {
    let mut f = Federation::start(4).await;
    connected(&f, 4).await;
    let home = f.dir.path().join(name(1));
    let next_witness = home.join("keys/witness-next.key");
    let running = std::mem::replace(&mut f.clients[1], tokio::spawn(async { Ok(()) }));
    running.abort();
    running.await.ok();
    let seed = std::fs::read(home.join("keys/institution.seed")).unwrap();
    until(async || (client_of(&f, 1, &["keys", "rotate", "--purpose", "statement"]).await == exit(0)).then_some(())).await;
    assert_ne!(std::fs::read(home.join("keys/institution.seed")).unwrap(), seed);
    assert!(!home.join("keys/institution-next.seed").exists());
    // As after a crash behind the log's yes, with a TLS key that has to be replaced before anything else: the next statement key speaks.
    let file = |name: &str| home.join("keys").join(name);
    std::fs::copy(file("institution.seed"), file("institution-next.seed")).unwrap();
    std::fs::write(file("institution.seed"), &seed).unwrap();
    std::fs::remove_file(file("institution.keys")).unwrap();
    assert_eq!(client_of(&f, 1, &["keys", "rotate"]).await, exit(0));
    assert_eq!(client_of(&f, 1, &["keys", "rotate", "--purpose", "statement"]).await, exit(0));
    assert_ne!(std::fs::read(file("institution.seed")).unwrap(), seed);
    assert!(!file("institution-next.seed").exists());
    until(async || (client_of(&f, 1, &["keys", "rotate", "--purpose", "witness"]).await == exit(0)).then_some(())).await;
    assert_eq!(client_of(&f, 1, &["keys", "rotate", "--purpose", "witness"]).await, exit(0), "it waits for a policy");
    assert_eq!((count(&f, "key.rotated").await, next_witness.exists()), (3, true));

    let (dir, key) = (f.server_dir(), f.dir.path().join("admin.key"));
    let texts = [dir, key].map(|path| path.to_string_lossy().into_owned());
    let activate = ["policy", "activate", "--dir", &texts[0], "--admin-key", &texts[1]].map(str::to_owned).to_vec();
    assert_eq!(administer(activate).await, exit(0));
    let (sender, _trained) = tokio::sync::mpsc::unbounded_channel();
    f.clients[1] = run_client(f.dir.path(), 1, f.integers.clone(), sender);
    connected(&f, 4).await;
    let plan = f.propose(&plan_toml(1, 120_000, 1)).await;
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(1)));
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1, 2, 3]);
    let verdict = f.verify(&f.log());
    assert!(verdict.verified && verdict.quorum.witnesses == 4, "{:?}", verdict.findings);
    assert_eq!(verdict.members.len(), 4, "nobody is new");
    assert!(!next_witness.exists(), "it has cosigned with the key that the policy names, and the one before is gone");

    // Its ledger, which the first key began and the second went on with, is the institution's own.
    assert_eq!(client_of(&f, 1, &["privacy", "ledger", "verify"]).await, exit(0));
}
