//! Two administrators who must agree, on the same wire: nothing that one of them says has effect, and what both say has it once (audit.md A14).

use super::*;
use protocol::ids::{PublicKey, TaskId};
use server::init::Administrators;
use std::path::PathBuf;

fn done() -> String {
    format!("{:?}", std::process::ExitCode::SUCCESS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_administrators_admit_open_release_and_withdraw_together() {
    // `with_administrators` has both admit, activate and approve, and asserts that the first word alone did nothing.
    let mut f = Federation::with_administrators(&[60; 3], 2).await;
    f.propose(&plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 3")).await;
    f.ended().await;
    assert_eq!((count(&f, "member.joined").await, count(&f, "policy.activated").await, count(&f, "task.approved").await), (6, 2, 2));
    assert_eq!(count(&f, "task.opened").await, 1);

    let (root, server_dir) = (f.dir.path().to_owned(), f.server_dir());
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let dir = server_dir.to_string_lossy().into_owned();
    assert_eq!(administer(words(&["release-key", "--out", &at("release.key")])).await, done());
    let (first_key, second_key, out) = (at("admin.key"), at("admin-1.key"), at("released"));
    let partial = format!("{out}.partial");
    let first =
        ["release", "--dir", &dir, "--admin-key", &first_key, "--release-key", &at("release.key"), "--out", &out, "--timeout-s", "0"];
    let second = ["release", "--dir", &dir, "--admin-key", &second_key, "--approve", &partial, "--timeout-s", "200"];
    assert_eq!(
        administer(words(&["release", "--dir", &dir, "--admin-key", &second_key, "--approve", &at("nothing.partial")])).await,
        exit(2)
    );
    // One word is no release, and said again it is the same word.
    assert_eq!(administer(words(&first)).await, exit(3));
    let signature = std::fs::read(Path::new(&partial).join("model/model.sig")).unwrap();
    assert_eq!(administer(words(&first)).await, exit(3));
    assert_eq!(std::fs::read(Path::new(&partial).join("model/model.sig")).unwrap(), signature, "the model is signed once");
    assert_eq!(count(&f, "model.released").await, 1);
    assert!(!Path::new(&out).exists());
    assert!(f.verify(&f.log()).releases.is_empty());

    // Whoever trained has left with the task; as witnesses they come back.
    for client in std::mem::take(&mut f.clients) {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().unwrap();
    }
    f.come_back(3);
    assert_eq!(administer(words(&second)).await, done());
    assert_eq!(count(&f, "model.released").await, 2);
    let released = Path::new(&out);
    assert_eq!(std::fs::read(released.join("model/model.sig")).unwrap(), signature);
    let evidence = std::fs::read_dir(released.join("evidence")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let approvals = evidence.filter(|n| n.starts_with("approval-") && n.ends_with(".tlog-proof")).count();
    assert!(approvals == 1 && released.join("evidence/release.tlog-proof").exists());

    // The auditor finds both words behind it, and the model that was signed.
    let log = f.log();
    let verdict = f.verify(&log);
    assert!(verdict.verified, "{:?}", verdict.findings);
    assert_eq!((verdict.releases.len(), verdict.releases[0].approvals, verdict.releases[0].needed), (1, 2, 2));
    let given = auditor::model::Given { log: Some(log), ..auditor::model::Given::default() };
    let model = auditor::model::verify_model(released, &given).unwrap();
    assert!(model.verified && model.release.is_some(), "{:?}", model.findings);
    let alone = auditor::model::verify_model(released, &auditor::model::Given::default()).unwrap();
    assert!(alone.verified && alone.in_evidence, "the evidence proves both words: {:?}", alone.findings);

    // A withdrawal takes both as well.
    let (snapshot, task) = (model.snapshot.clone().unwrap(), TaskId([7; 16]).to_hex());
    let withdraw = |key: &str| {
        words(&["withdraw", "--dir", &dir, "--admin-key", key, "--snapshot", &snapshot, "--task", &task, "--reason", "superseded"])
    };
    for _ in 0..2 {
        assert_eq!(administer(withdraw(&first_key)).await, done());
        assert_eq!(count(&f, "model.withdrawn").await, 1);
    }
    assert!(f.verify(&f.published().await).releases[0].withdrawn.is_none());
    assert_eq!(administer(withdraw(&second_key)).await, done());
    assert_eq!(administer(withdraw(&second_key)).await, done(), "said again, it is done already");
    assert_eq!(count(&f, "model.withdrawn").await, 2);
    let verdict = f.verify(&f.published().await);
    assert!(verdict.verified && verdict.releases[0].withdrawn.is_some(), "{:?}", verdict.findings);
}

impl Federation {
    /// A federation of which `threshold` administrators must agree; the keys lie as `admin.key`, `admin-1.key` and so on.
    pub(super) async fn with_administrators(units: &[usize], threshold: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = |n: u16| server::init::make_admin_key(&dir.path().join(format!("admin-{n}.key"))).unwrap();
        let others: Vec<PublicKey> = (1..threshold).map(key).collect();
        Self::made_by(dir, units, &Administrators { others, threshold }).await
    }

    /// The institutions' programs run again, and stay.
    pub(super) fn come_back(&mut self, members: usize) {
        for index in 0..members {
            let settings = self.dir.path().join(name(index)).join("client.toml");
            let config = std::fs::read_to_string(&settings).unwrap().replace("exit_when_task_ends = true", "exit_when_task_ends = false");
            std::fs::write(&settings, config).unwrap();
            let (sender, _) = tokio::sync::mpsc::unbounded_channel();
            self.clients.push(run_client(self.dir.path(), index, self.integers.clone(), sender));
        }
    }

    /// A copy of the log once everything in it is under a checkpoint.
    pub(super) async fn published(&self) -> PathBuf {
        until(async || {
            let status = self.status().await;
            (status.published == status.log_size).then_some(())
        })
        .await;
        let to = self.dir.path().join("log");
        std::fs::remove_dir_all(&to).ok();
        self.log()
    }
}
