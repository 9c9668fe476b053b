//! Administrators hand over to others on the same wire: the federation goes on under the new ones and another key of the server, whoever was invited
//! before still joins, and nobody's old word counts (audit.md A14). Then the log itself goes over to another key.

use super::released::institution;
use super::*;
use protocol::trust::{JoinRequest, Membership, TrustDocument};

/// What a command of the server comes to.
async fn runs(args: &[&str]) -> String {
    administer(args.iter().map(|a| (*a).to_owned()).collect()).await
}

/// The institution's pack, verified under the trust document of this hash.
async fn has_evidence(home: &Path, out: &Path, trust: protocol::ids::Sha256) {
    institution(&["concordat-client", "--dir", home.to_str().unwrap(), "evidence", "export", "--out", out.to_str().unwrap()]).await;
    let v = auditor::evidence::verify_evidence(out, Some(trust)).unwrap();
    assert!(v.verified && v.trust_pinned, "{:?}", v.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn administrators_hand_over_and_the_federation_goes_on_under_the_new_ones() {
    let mut f = Federation::start(3).await;
    let (root, server_dir) = (f.dir.path().to_owned(), f.server_dir());
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    let invited = call(&server_dir, AdminRequest::Invite { institution: "late".into(), ttl_s: 3600 }).await;
    let AdminReply::Token { line } = invited else { panic!("{invited:?}") };
    let first = admins(&root).pop().unwrap().verifying_key().to_bytes();
    let second = server::init::make_admin_key(&root.join("second.key")).unwrap().to_hex();

    let (dir, first, file) = (at("server"), hex::encode(first), at("new-trust.json"));
    let prepare = ["trust", "prepare", "--dir", &dir, "--add", &second, "--remove", &first, "--new-server-key", "--out", &file];
    assert_eq!(runs(&prepare).await, exit(0));
    assert_eq!(runs(&prepare).await, exit(2), "a prepared document is not taken away from whoever signs it");
    assert_eq!(runs(&["trust", "check", "--dir", &dir, &file]).await, exit(0));
    let approve = ["trust", "approve", "--dir", &dir, "--admin-key"];
    let by = |key: &str| -> Vec<String> { approve.iter().copied().chain([at(key).as_str(), file.as_str()]).map(str::to_owned).collect() };
    assert_eq!(administer(by("second.key")).await, exit(1), "one no administrator yet");
    assert_eq!(administer(by("admin.key")).await, exit(0));
    assert_eq!(administer(by("admin.key")).await, exit(0), "said again, it is done already");
    let suspend = ["member", "suspend", "--dir", &dir, "--institution", "bank-0", "--reason", "incident", "--admin-key"];
    let old: Vec<String> = suspend.iter().copied().chain([at("admin.key").as_str()]).map(str::to_owned).collect();
    assert_eq!(administer(old).await, exit(1), "whoever handed over has no word");
    std::fs::rename(root.join("admin.key"), root.join("old.key")).unwrap();
    std::fs::rename(root.join("second.key"), root.join("admin.key")).unwrap();

    // A task under the new administrator, with manifests and sums under the server's new key.
    f.propose(&plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 3")).await;
    f.ended().await;
    let (log, new) = (f.log(), TrustDocument::hash(&std::fs::read(&file).unwrap()));
    let begun = TrustDocument::hash(&std::fs::read(log.join("trust.json")).unwrap());
    for trust_hash in [begun, new] {
        let v = auditor::verify(&log, &auditor::Options { trust_hash: Some(trust_hash), ..auditor::Options::default() }).unwrap();
        assert!(v.verified && v.trust_pinned, "{:?}", v.findings);
        assert_eq!(
            (v.trust_changes.len(), v.trust_changes[0].hash.clone(), v.trust_changes[0].server_key_changed),
            (1, new.to_hex(), true)
        );
    }
    for client in std::mem::take(&mut f.clients) {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().unwrap();
    }
    has_evidence(&root.join(name(0)), &root.join("pack"), new).await;

    // An invitation that names the document of before leads in by the word of the new administrator.
    let home = root.join("late");
    let joining = {
        let home = home.clone();
        tokio::spawn(async move { client::join::join(&home, &line, PATIENCE, &mut |_| {}).await })
    };
    let request: JoinRequest = until(async || {
        let AdminReply::Pending { joins } = call(&server_dir, AdminRequest::Pending {}).await else { return None };
        joins.iter().find_map(|j| protocol::codec::decode::<JoinRequest>(&j.request, 1 << 16).ok())
    })
    .await;
    assert_eq!((request.name.as_str(), request.trust), ("late", begun));
    agree(&server_dir, &admins(&root), &Membership::of(&request), |statement| AdminRequest::Approve { statement }).await;
    joining.await.unwrap().expect("joined");
    assert_eq!(TrustDocument::hash(&std::fs::read(home.join("mirror/trust.json")).unwrap()), begun, "a copy of the log begins with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_is_handed_over_to_another_key_and_whoever_was_away_follows() {
    let mut f = Federation::start(3).await;
    let (root, server_dir) = (f.dir.path().to_owned(), f.server_dir());
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    connected(&f, 3).await;
    let away = f.clients.pop().unwrap();
    away.abort();
    assert!(away.await.is_err_and(|e| e.is_cancelled()), "a client ended by itself");

    let (dir, file, key) = (at("server"), at("new-trust.json"), at("admin.key"));
    assert_eq!(runs(&["trust", "prepare", "--dir", &dir, "--new-log-key", "--out", &file]).await, exit(0));
    assert_eq!(runs(&["trust", "approve", "--dir", &dir, "--admin-key", &key, &file]).await, exit(0));
    // Two of three are a quorum: they followed the log to its new key, and the old one is gone.
    until(async || {
        assert!(!f.server.is_finished(), "the server ended");
        (!server_dir.join("keys/log").exists()).then_some(())
    })
    .await;

    // Whoever was away knows the old key only, and takes part in a task under the new one.
    let (sender, _) = tokio::sync::mpsc::unbounded_channel();
    f.clients.push(run_client(&root, 2, f.integers.clone(), sender));
    connected(&f, 3).await;
    f.propose(&plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 3")).await;
    f.ended().await;
    let log = f.log();
    let v = f.verify(&log);
    let change = &v.trust_changes[0];
    let next = TrustDocument::parse(&std::fs::read(&file).unwrap()).unwrap();
    assert!(v.verified && change.log_key.as_ref() == Some(&next.log_vkey), "{:?}", v.findings);
    for client in std::mem::take(&mut f.clients) {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().unwrap();
    }
    // Each copy of the log holds the note that both keys signed, for whoever knows the old one only.
    let note = audit::reader::handover_path(change.entry + 1);
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap().lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    for index in 0..3 {
        assert_eq!(text(root.join(name(index)).join("mirror").join(&note)), text(log.join(&note)), "{}", name(index));
    }
    has_evidence(&root.join(name(2)), &root.join("pack"), TrustDocument::hash(&next.to_bytes())).await;
}
