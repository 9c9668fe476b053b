//! A model that leaves, and what each institution has to show afterwards (audit.md A27, A33 d, A44).

use super::*;
use std::collections::BTreeSet;
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_model_leaves_only_under_its_witnesses_and_each_institution_has_its_evidence() {
    let done = format!("{:?}", std::process::ExitCode::SUCCESS);
    let mut f = Federation::start(3).await;
    let plan = plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 3");
    f.propose(&plan).await;
    f.ended().await;
    let text = |p: PathBuf| p.to_string_lossy().into_owned();
    let (root, server_dir) = (f.dir.path().to_owned(), f.server_dir());
    let at = |name: &str| text(root.join(name));
    assert_eq!(administer(vec!["release-key".into(), "--out".into(), at("release.key")]).await, done);
    let release = |timeout: &str| {
        let (dir, keys) = (text(server_dir.clone()), [at("admin.key"), at("release.key")]);
        let keys = ["--admin-key".to_owned(), keys[0].clone(), "--release-key".to_owned(), keys[1].clone()];
        let rest = ["--out".to_owned(), at("released"), "--timeout-s".to_owned(), timeout.to_owned()];
        [vec!["release".to_owned(), "--dir".to_owned(), dir], keys.to_vec(), rest.to_vec()].concat()
    };
    // The institutions' programs have ended with the task: nobody cosigns, so nothing leaves.
    for client in std::mem::take(&mut f.clients) {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(administer(release("0")).await, format!("{:?}", std::process::ExitCode::from(3)));
    assert!(!f.dir.path().join("released").exists());
    // They come back as witnesses; the same command goes on where it stopped, with the same signature and the same entry.
    let signature = std::fs::read(f.dir.path().join("released.partial/model/model.sig")).unwrap();
    f.come_back(3);
    assert_eq!(administer(release("200")).await, done);
    assert_eq!(std::fs::read(f.dir.path().join("released/model/model.sig")).unwrap(), signature);
    let size = usize::try_from(f.status().await.log_size).unwrap();
    assert_eq!(all_entries(&f.audit(), size).matches("\"type\":\"model.released\"").count(), 1, "said twice, it stands there once");
    // Each of them has anchored its site log on coming back, and again on every link that broke; witnesses cover that too.
    until(async || {
        let log = std::fs::read_to_string(f.audit().join("checkpoint")).ok()?;
        let size: usize = log.lines().nth(1)?.parse().ok()?;
        let entries = all_entries(&f.audit(), size);
        let anchored = anchors(&entries).map(|(id, _)| id).collect::<BTreeSet<_>>();
        (anchored.len() == 3).then_some(())
    })
    .await;

    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let log = std::fs::read_to_string(f.dir.path().join("released/evidence/release.entry")).unwrap();
    let signature = std::fs::read(f.dir.path().join("released/model/model.sig")).unwrap();
    let hash = protocol::ids::Sha256(protocol::hash::sha256(&[&signature])).to_hex();
    assert!(log.contains("\"type\":\"model.released\"") && log.contains(&hash), "{log}");
    let proof = ["proof", "check", &at("released/evidence/release.tlog-proof"), "--policy", &at("released/evidence/policy.txt")];
    let args = std::iter::once("concordat-audit").chain(proof).map(std::ffi::OsString::from);
    assert_eq!(format!("{:?}", auditor::cli::run(args)), done);
    each_institution_has_its_evidence(&f, &verdict).await;
}

/// Each anchor of a site log: the institution's identity, and the entry from its type on.
fn anchors(entries: &str) -> impl Iterator<Item = (&str, &str)> {
    let rests = entries.match_indices("\"type\":\"site.anchored\"").map(|(at, _)| &entries[at..]);
    rests.map(|rest| (field(rest, "institution"), rest))
}

/// The root that the log has for an institution's site log is the root of its first lines.
fn site_log_is_anchored(f: &Federation, verdict: &auditor::Verdict, index: usize) {
    let size = usize::try_from(verdict.tree_size).unwrap();
    let id = &verdict.members.iter().find(|m| m.name == name(index)).unwrap().id;
    let text = all_entries(&f.log(), size);
    let (_, entry) = anchors(&text).find(|(who, _)| who == id).unwrap();
    let lines = std::fs::read_to_string(f.dir.path().join(name(index)).join("site/log.jsonl")).unwrap();
    let mut range = audit::tree::CompactRange::new();
    lines.lines().take(field(entry, "size").parse().unwrap()).for_each(|l| range.push(audit::hash::leaf_hash(l.as_bytes())));
    assert_eq!(range.root().to_string(), field(entry, "root"), "{}", name(index));
}

/// What the command line of an institution does, beside its running program; it must be done.
pub(super) async fn institution(args: &[&str]) {
    let args: Vec<_> = args.iter().map(std::ffi::OsString::from).collect();
    let code = tokio::task::spawn_blocking(move || client::cli::run(args)).await.unwrap();
    assert_eq!(format!("{code:?}"), exit(0));
}

/// The name of the dataset is told by a pack and by a mirror where the institution says so, and erased again (A18).
async fn a_name_is_told_and_erased(home: &Path, pack: &Path) {
    let (dir, out) = (home.to_str().unwrap(), pack.to_str().unwrap());
    let told = |list: &[auditor::Told]| list.iter().map(|t| t.value.clone()).collect::<Vec<_>>();
    institution(&["concordat-client", "--dir", dir, "evidence", "export", "--with-name", "--with-policy", "--out", out]).await;
    let v = auditor::evidence::verify_evidence(pack, None).unwrap();
    // The policy is declared before the records are.
    let policy = hex::encode(protocol::hash::sha256(&[&std::fs::read(home.join("site_policy.toml")).unwrap()]));
    assert!(v.verified && told(&v.sidecars) == [policy, format!("{CANARY} of 2024")], "{:?}", v.findings);
    let nonce = hex::encode(std::fs::read(home.join("ledger/nonce")).unwrap());
    assert!(files(pack).iter().all(|f| !contains(&std::fs::read(f).unwrap(), nonce.as_bytes())), "the dataset's own nonce stays");
    // As an auditor gets the mirror of a program that runs: it may be ahead of its newest note, and nothing else may be found.
    let mirror = || {
        let copy = tempfile::tempdir().unwrap();
        tests::files::copy_log(&home.join("mirror"), copy.path());
        let v = auditor::verify(copy.path(), &auditor::Options::default()).unwrap();
        assert!(matches!(v.exit_code, 0 | 4), "{:?}", v.findings);
        told(&v.sidecars)
    };
    assert!(mirror().is_empty());
    institution(&["concordat-client", "--dir", dir, "evidence", "sidecar"]).await;
    assert_eq!(mirror(), [format!("{CANARY} of 2024")]);
    institution(&["concordat-client", "--dir", dir, "evidence", "sidecar", "--erase"]).await;
    assert!(mirror().is_empty());
}

/// Exported by the institution's own command, verified without the rest of the log, and free of records and keys.
async fn each_institution_has_its_evidence(f: &Federation, verdict: &auditor::Verdict) {
    let trust = verdict.trust_hash.as_deref().unwrap().parse().ok();
    let secrets = secrets(f.dir.path(), 3);
    for index in 0..3 {
        let (home, out) = (f.dir.path().join(name(index)), f.dir.path().join(format!("pack-{index}")));
        let args = [
            "concordat-client",
            "--dir",
            home.to_str().unwrap(),
            "evidence",
            "export",
            "--with-ledger",
            "--with-site-log",
            "--out",
            out.to_str().unwrap(),
        ];
        institution(&args).await;
        let v = auditor::evidence::verify_evidence(&out, trust).unwrap();
        assert!(v.verified && v.trust_pinned && v.name == name(index), "{:?}", v.findings);
        assert_eq!((v.datasets.len(), v.datasets[0].spends, v.datasets[0].ledger_agrees), (1, 1, Some(true)));
        // Judged once, trained once; anchored when it came back. Whether its own mirror is under that checkpoint yet is a matter of time.
        assert!(v.site_entries.is_some_and(|n| n >= 2), "{} anchors, {:?}", v.anchors, v.site_entries);
        site_log_is_anchored(f, verdict, index);
        for file in files(&out) {
            let bytes = std::fs::read(&file).unwrap();
            let clean = !contains(&bytes, CANARY.as_bytes()) && !secrets.iter().any(|s| contains(&bytes, s));
            assert!(clean, "a record or a key is in {}", file.display());
        }
    }
    a_name_is_told_and_erased(&f.dir.path().join(name(0)), &f.dir.path().join("pack-named")).await;
}
