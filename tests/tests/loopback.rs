//! The story on a real wire: real quinn, real TLS, real files, four institutions, a tiny model. What is failure here: a round that does not
//! close, a log that does not verify, a byte that can be changed unnoticed, a secret or a record in the wrong place. What is not: slowness.

use client::config::Config as ClientConfig;
use client::observer::{Observer, Phase};
use ed25519_dalek::SigningKey;
use protocol::ids::{GroupId, RoundId, ShardId, TaskId};
use protocol::plan::PlanApproval;
use protocol::statement::{Payload, Statement};
use protocol::trust::{JoinRequest, Membership, PolicyApproval};
use server::admin::{self, AdminReply, AdminRequest, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

#[path = "loopback/administrators.rs"]
mod administrators;
#[path = "loopback/checkpoint.rs"]
mod checkpoint;
#[path = "loopback/counting.rs"]
mod counting;
#[path = "loopback/mixed.rs"]
mod mixed;
#[path = "loopback/reviews.rs"]
mod reviews;
#[path = "loopback/rollback.rs"]
mod rollback;
#[path = "loopback/sums.rs"]
mod sums;

use sums::{opened_sums_are_exact, stepped};

/// Far more than a loaded machine needs; reached only if something hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// Stands in every record: found anywhere outside the institutions' own directories, it is a leak.
const CANARY: &str = "kanarienvogel";

type Integers = Arc<Mutex<BTreeMap<(u64, u32, usize), Vec<i32>>>>;

/// Notes integers; tells when an institution has trained.
struct Eye {
    index: usize,
    integers: Integers,
    trained: tokio::sync::mpsc::UnboundedSender<(usize, u64)>,
}

impl Observer for Eye {
    fn phase(&mut self, round: RoundId, phase: Phase, _seconds: f64) {
        if phase == Phase::Train {
            self.trained.send((self.index, round.0)).ok();
        }
    }
    fn integers(&mut self, round: RoundId, group: GroupId, shards: &[(ShardId, &[i32])]) {
        let all: Vec<i32> = shards.iter().flat_map(|(_, v)| v.iter().copied()).collect();
        self.integers.lock().unwrap().insert((round.0, group.0, self.index), all);
    }
}

/// Federations run one after another: each trains for real, and on two cores several at once only wait for each other.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Federation {
    _alone: tokio::sync::MutexGuard<'static, ()>,
    dir: tempfile::TempDir,
    server: JoinHandle<anyhow::Result<()>>,
    clients: Vec<JoinHandle<Result<(), client::agent::AgentError>>>,
    integers: Integers,
    trained: tokio::sync::mpsc::UnboundedReceiver<(usize, u64)>,
}

fn name(index: usize) -> String {
    format!("bank-{index}")
}

fn records(units: usize) -> String {
    let line = |i: usize| {
        let (text, label) = if usize::is_multiple_of(i, 2) { ("win a prize now", "bad") } else { ("see you at noon", "good") };
        format!("{{\"text\":\"{text} {CANARY} {i}\",\"label\":\"{label}\",\"user\":\"{CANARY}-{i}\",\"amount\":{i}}}\n")
    };
    (0..units).map(line).collect()
}

fn plan_toml(rounds: u64, reporting_ms: u64, shards: u32) -> String {
    format!(
        "federation = \"loop\"\nrounds = {rounds}\nshards = {shards}\nbits = 16\ncohort_min = 2\nn_max = 4\ninitial_seed = 1\n\
         [committee]\ndecryptors = 4\ncorrupt = 1\n\
         [model]\nvocab = 64\nmax_tokens = 8\nwidth = 8\nheads = 2\nlayers = 1\nhidden = 8\nclasses = [\"bad\", \"good\"]\n\
         [privacy]\nunit = \"user\"\nepsilon = \"8\"\ndelta = \"0.00001\"\nsampling_rate = \"0.25\"\n\
         [local]\nsteps = 2\nmicro_batch = 8\nlearning_rate = \"0.01\"\nwarmup_steps = 1\nweight_decay = \"0\"\n\
         [strategy.fed-avg]\nrate = \"1\"\n\
         [deadlines]\nselecting_ms = 20000\nreporting_ms = {reporting_ms}\ncertifying_ms = 20000\nopening_ms = 20000\n"
    )
}

async fn call(dir: &Path, request: AdminRequest) -> AdminReply {
    admin::call(dir, &request).await.expect("the server answers")
}

/// Polls until `ready` gives something; the interval only paces the asking.
async fn until<T>(mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let ask = async {
        loop {
            pace.tick().await;
            if let Some(value) = ready().await {
                return value;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.expect("the federation hangs")
}

impl Federation {
    fn server_dir(&self) -> PathBuf {
        self.dir.path().join("server")
    }
    fn audit(&self) -> PathBuf {
        self.server_dir().join("audit")
    }

    async fn start(members: usize) -> Self {
        Self::of_sizes(&vec![60; members]).await
    }

    /// One institution for each number of units.
    async fn of_sizes(units: &[usize]) -> Self {
        Self::made_by(tempfile::tempdir().unwrap(), units, &server::init::Administrators::default()).await
    }

    /// As many administrators as must agree: the first one's key is made here, the others' lie in `dir`.
    async fn made_by(dir: tempfile::TempDir, units: &[usize], administrators: &server::init::Administrators) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        // Diagnostics of all parties when somebody looks for a fault: RUST_LOG=debug. Only the first call of a process counts.
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_test_writer().try_init().ok();
        let members = units.len();
        let (server_dir, key) = (dir.path().join("server"), dir.path().join("admin.key"));
        server::init::init_with(&server_dir, "loop", &key, administrators).unwrap();
        let config = server::config::Config::parse("listen = \"127.0.0.1:0\"", Path::new("test")).unwrap();
        let serving = server_dir.clone();
        let server = tokio::spawn(async move { server::serve::run(&serving, &config).await });
        until(async || server_dir.join("address").exists().then_some(())).await;
        let admins = admins(dir.path());
        for (index, units) in units.iter().enumerate() {
            enrol(dir.path(), &server_dir, index, *units, &admins).await;
        }
        let AdminReply::Policy { text } = call(&server_dir, AdminRequest::ComposePolicy {}).await else { panic!("a policy") };
        let policy = protocol::ids::Sha256(protocol::hash::sha256(&[text.as_bytes()]));
        agree(&server_dir, &admins, &PolicyApproval { policy }, |statement| AdminRequest::ActivatePolicy { text: text.clone(), statement })
            .await;
        let (sender, trained) = tokio::sync::mpsc::unbounded_channel();
        let integers: Integers = Arc::default();
        let clients = (0..members).map(|i| run_client(dir.path(), i, integers.clone(), sender.clone())).collect();
        Self { _alone: alone, dir, server, clients, integers, trained }
    }

    async fn propose(&self, plan: &str) -> protocol::plan::Plan {
        self.propose_prepared(server::plan_file::PlanFile::parse(plan).unwrap().prepare(TaskId([7; 16])).unwrap()).await
    }

    async fn propose_prepared(&self, prepared: server::plan_file::Prepared) -> protocol::plan::Plan {
        let base = self.dir.path().join("base.safetensors");
        std::fs::write(&base, &prepared.base).unwrap();
        let digest = protocol::plan::Plan::digest(&prepared.bytes);
        let said = PlanApproval { task: prepared.plan.task, plan: digest };
        let (plan, snapshot_path) = (prepared.bytes, base.to_string_lossy().into_owned());
        let request = |statement| AdminRequest::Propose { plan: plan.clone().into(), statement, snapshot_path: snapshot_path.clone() };
        agree(&self.server_dir(), &admins(self.dir.path()), &said, request).await;
        prepared.plan
    }

    async fn status(&self) -> Status {
        match call(&self.server_dir(), AdminRequest::Status {}).await {
            AdminReply::Status { status } => status,
            other @ (AdminReply::Done {} | AdminReply::Token { .. } | AdminReply::Pending { .. }) => panic!("{other:?}"),
            other @ (AdminReply::Policy { .. } | AdminReply::Refused { .. }) => panic!("{other:?}"),
            other @ (AdminReply::Releasable { .. } | AdminReply::Logged { .. }) => panic!("{other:?}"),
        }
    }

    async fn ended(&mut self) -> Status {
        until(async || {
            assert!(!self.server.is_finished(), "the server ended");
            self.clients_are_well().await;
            let status = self.status().await;
            (status.ended && status.published == status.log_size).then_some(status)
        })
        .await
    }

    /// A client that ended with an error says so at once; without this the others would only wait for it.
    async fn clients_are_well(&mut self) {
        for (index, client) in self.clients.iter_mut().enumerate().filter(|(_, c)| c.is_finished()) {
            let ended = std::mem::replace(client, tokio::spawn(async { Ok(()) })).await;
            let aborted = ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled);
            assert!(aborted || matches!(ended, Ok(Ok(()))), "institution {index} ended: {ended:?}");
        }
    }

    fn verify(&self, log: &Path) -> auditor::Verdict {
        auditor::verify(log, &auditor::Options::default()).unwrap()
    }

    /// A copy of the log as an auditor gets it.
    fn log(&self) -> PathBuf {
        let to = self.dir.path().join("log");
        copy(&self.audit(), &to);
        to
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name() == ".state" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Keys of the administrators, the first one's first.
fn admins(dir: &Path) -> Vec<SigningKey> {
    let names = std::iter::once("admin.key".to_owned()).chain((1..).map(|n| format!("admin-{n}.key")));
    let there = names.map(|name| dir.join(name)).take_while(|path| path.exists());
    there.map(|path| server::init::read_admin_key(&path).unwrap()).collect()
}

/// Every administrator says the same, twice: only with the last one it is done, and nobody's second word adds anything.
async fn agree<P: Payload>(dir: &Path, admins: &[SigningKey], said: &P, request: impl Fn(Statement) -> AdminRequest) {
    for (at, key) in admins.iter().enumerate() {
        for _ in 0..2 {
            let reply = call(dir, request(Statement::sign(said, key))).await;
            let last = at + 1 == admins.len();
            let waits = matches!(&reply, AdminReply::Logged { approvals, need, .. }
                if approvals.len() == at + 1 && usize::from(*need) == admins.len());
            assert!(if last { matches!(reply, AdminReply::Done {}) } else { waits }, "{reply:?}");
        }
    }
}

async fn enrol(dir: &Path, server: &Path, index: usize, units: usize, admins: &[SigningKey]) {
    let invited = call(server, AdminRequest::Invite { institution: name(index), ttl_s: 600 }).await;
    let AdminReply::Token { line } = invited else { panic!("{invited:?}") };
    let home = dir.join(name(index));
    let joining = {
        let home = home.clone();
        tokio::spawn(async move { client::join::join(&home, &line, PATIENCE, &mut |_| {}).await })
    };
    let request: JoinRequest = until(async || {
        let AdminReply::Pending { joins } = call(server, AdminRequest::Pending {}).await else { return None };
        joins.iter().filter_map(|j| protocol::codec::decode::<JoinRequest>(&j.request, 1 << 16).ok()).find(|r| r.name == name(index))
    })
    .await;
    agree(server, admins, &Membership::of(&request), |statement| AdminRequest::Approve { statement }).await;
    joining.await.unwrap().expect("joined");
    std::fs::write(home.join("records.jsonl"), records(units)).unwrap();
    let policy =
        "max_eps_total = \"12\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"0.01\"\ncohort_min = 2\nallow_record_unit = false\n";
    std::fs::write(home.join("site_policy.toml"), policy).unwrap();
    // Read by plans that begin from a checkpoint only.
    let settings = "base = \"../checkpoint\"\nexit_when_task_ends = true\nthreads = 1\n[data]\npath = \"records.jsonl\"\nname = \"r\"\nuser_field = \"user\"\n";
    std::fs::write(home.join("client.toml"), settings).unwrap();
}

fn run_client(
    dir: &Path,
    index: usize,
    integers: Integers,
    trained: tokio::sync::mpsc::UnboundedSender<(usize, u64)>,
) -> JoinHandle<Result<(), client::agent::AgentError>> {
    let home = dir.join(name(index));
    let config = ClientConfig::load(&home.join("client.toml")).unwrap();
    tokio::spawn(async move { client::agent::run(&home, config, Box::new(Eye { index, integers, trained })).await })
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(files(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            out.push(entry.path());
        }
    }
    out.sort();
    out
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.len() >= 8 && haystack.windows(needle.len()).any(|w| w == needle)
}

/// Secret files of the institutions: key bytes that must stand nowhere else.
fn secrets(dir: &Path, members: usize) -> Vec<Vec<u8>> {
    let keys = (0..members).flat_map(|i| files(&dir.join(name(i)))).filter(|p| p.components().any(|c| c.as_os_str() == "keys"));
    keys.map(|p| std::fs::read(p).unwrap()).filter(|b| b.len() >= 16).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_institutions_train_open_only_sums_and_leave_a_log_that_verifies() {
    let mut f = Federation::start(4).await;
    let plan = f.propose(&plan_toml(2, 120_000, 2)).await;
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(2)));
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1, 2, 3]);

    let log = f.log();
    let verdict = f.verify(&log);
    assert!(verdict.verified, "{:?}", verdict.findings);

    // No record, key or path of an institution has reached the server or the log.
    let secrets = secrets(f.dir.path(), 4);
    assert!(secrets.len() >= 4, "the test must know the keys it looks for");
    let updates: Vec<Vec<u8>> =
        f.integers.lock().unwrap().values().map(|v| v.iter().take(16).flat_map(|x| x.to_le_bytes()).collect()).collect();
    for file in files(&f.server_dir()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!updates.iter().any(|u| contains(&bytes, u)), "an unsealed update is in {}", file.display());
        assert!(!contains(&bytes, CANARY.as_bytes()), "a record's text is in {}", file.display());
        assert!(!secrets.iter().any(|s| contains(&bytes, s)), "a key is in {}", file.display());
    }
    every_flipped_byte_is_found(&f, &log);
}

/// Flips one byte in each file of the log, each time at another place of the file (the auditor's own tests flip many in each); signature lines of notes are left out: an unknown signature is ignored by rule.
fn every_flipped_byte_is_found(f: &Federation, log: &Path) {
    for (turn, file) in files(log).into_iter().enumerate() {
        let whole = std::fs::read(&file).unwrap();
        let is_note = file.file_name().is_some_and(|n| n == "checkpoint") || file.extension().is_some_and(|e| e == "note");
        let body = if is_note { whole.windows(2).position(|w| w == b"\n\n").unwrap() } else { whole.len() };
        let at = [0, body / 3, body / 2, body - 1][turn % 4];
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(f.verify(log).exit_code, 1, "byte {at} of {}: an altered file is an integrity failure", file.display());
        std::fs::write(&file, &whole).unwrap();
    }
    assert_eq!(f.verify(log).exit_code, 0);
}

/// What the command line of the server answers, run beside the server as an administrator would.
async fn administer(args: Vec<String>) -> String {
    let all = std::iter::once("concordat-server".to_owned()).chain(args).map(std::ffi::OsString::from).collect::<Vec<_>>();
    let ran = tokio::task::spawn_blocking(move || server::cli::run(all));
    format!("{:?}", tokio::time::timeout(PATIENCE, ran).await.unwrap().unwrap())
}

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

/// The value of the first such field of an entry, without its quotes.
fn field<'a>(entry: &'a str, name: &str) -> &'a str {
    let rest = entry.split_once(&format!("\"{name}\":")).unwrap().1;
    rest.split([',', '}']).next().unwrap().trim_matches('"')
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

/// The text of all bundles below `size`, for counting.
fn all_entries(log: &Path, size: usize) -> String {
    let path = |bundle| audit::tile::TilePath::in_tree(audit::tile::TileKind::Entries, bundle, size as u64);
    let bundles = (0..(size as u64).div_ceil(256)).filter_map(path).filter_map(|p| std::fs::read(log.join(p.to_string())).ok());
    bundles.map(|b| String::from_utf8_lossy(&b).into_owned()).collect()
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
        let args: Vec<_> = args.iter().map(std::ffi::OsString::from).collect();
        let code = tokio::task::spawn_blocking(move || client::cli::run(args)).await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_of_different_sizes_are_averaged_by_their_declared_weight() {
    let mut f = Federation::of_sizes(&[40, 90]).await;
    let plan = plan_toml(1, 120_000, 1).replace("decryptors = 4", "decryptors = 2");
    // 90 units count as 80, so the mean is divided by (40 + 80) ÷ 80.
    let plan = format!("weighting = {{ declared = {{ max_weight = 80 }} }}\n{plan}");
    let plan = f.propose(&plan).await;
    f.ended().await;
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1]);
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let there = |divisor| files(&f.server_dir()).iter().any(|p| p.to_string_lossy().contains(&stepped(&f, &plan, divisor).to_string()));
    assert!(there(120.0 / 80.0) && !there(2.0), "the next weights are not the weighted mean");
}

/// A plan in which institutions noise one sum per round together.
fn joint_toml(mode: &str, rounds: u64) -> String {
    let plan = plan_toml(rounds, 120_000, 1).replace("steps = 2", "steps = 1").replace("bits = 16", "bits = 24");
    let plan = plan.replace("cohort_min = 2", "cohort_min = 3").replace("decryptors = 4", "decryptors = 3");
    let plan = plan.replace("epsilon = \"8\"", "epsilon = \"4\"");
    let plan = plan.replace("learning_rate = \"0.01\"", "learning_rate = \"0\"").replace("warmup_steps = 1", "warmup_steps = 0");
    plan.replace("[privacy]\n", &format!("[privacy]\nmode = {mode}\ngrid_bits = 14\n"))
}

/// privacy.md D7, D15: the opened integers over what the set was expected to sample are a gradient, and the server steps against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_that_share_noise_open_a_sum_of_gradients_that_the_server_steps_against() {
    let mut f = Federation::of_sizes(&[40, 60, 90]).await;
    let plan = f.propose(&joint_toml("{ hybrid = { colluding = 0, epsilon_floor = \"8\" } }", 2)).await;
    f.ended().await;
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1, 2]);
    let verdict = f.verify(&f.log());
    assert!(verdict.verified && verdict.findings.is_empty(), "{:?}", verdict.findings);
    // Descent: minus the sum over q·(40 + 60 + 90) expected units, in steps of C·2^-14.
    let there = |divisor| files(&f.server_dir()).iter().any(|p| p.to_string_lossy().contains(&stepped(&f, &plan, divisor).to_string()));
    assert!(there(-0.25 * 190.0) && !there(0.25 * 190.0) && !there(3.0), "the next weights are not one step of descent");
}

/// D10: a share that is worth little alone is not given unless the site policy says "none".
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_decline_to_rely_on_others_unless_they_said_so() {
    let mut f = Federation::start(3).await;
    f.propose(&joint_toml("{ distributed = { colluding = 0 } }", 1)).await;
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(1)));
    let verdict = f.verify(&f.log());
    assert_eq!(verdict.tasks[0].rounds[0].state, "abandoned");
    assert!(f.integers.lock().unwrap().is_empty(), "somebody trained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_vanishes_mid_round_does_not_stop_the_others() {
    let mut f = Federation::start(4).await;
    let plan = f.propose(&plan_toml(2, 15_000, 1)).await;
    // Gone when it has trained but sent nothing, or little, of its first update.
    loop {
        let seen = tokio::time::timeout(PATIENCE, f.trained.recv()).await.expect("nobody trains");
        if let Some((0, _)) = seen {
            break;
        }
    }
    f.clients[0].abort();
    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(2)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let last = verdict.tasks[0].rounds.last().unwrap();
    assert_eq!((last.state, last.groups[0].cohort), ("closed", 3));
    // Round 2 certainly ran without it.
    let integers = f.integers.lock().unwrap();
    assert!(!integers.contains_key(&(plan.rounds, 0, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_stops_mid_round_goes_on_where_its_log_ends() {
    let mut f = Federation::start(3).await;
    // A client that was in the middle of the abandoned round may be waited for until the deadline; it must not hold the test up.
    let plan = plan_toml(3, 30_000, 1).replace("decryptors = 4", "decryptors = 3");
    f.propose(&plan).await;
    // Somebody has trained, so a round is under way.
    tokio::time::timeout(PATIENCE, f.trained.recv()).await.expect("nobody trains");
    let address = std::fs::read_to_string(f.server_dir().join("address")).unwrap();
    call(&f.server_dir(), AdminRequest::Stop {}).await;
    let (dir, config) = (f.server_dir(), format!("listen = \"{address}\""));
    let old = std::mem::replace(&mut f.server, tokio::spawn(async { Ok(()) }));
    tokio::time::timeout(PATIENCE, old).await.unwrap().unwrap().unwrap();
    let config = server::config::Config::parse(&config, Path::new("test")).unwrap();
    let started = tokio::spawn(async move { server::serve::run(&dir, &config).await });
    until(async || {
        assert!(!started.is_finished(), "the server does not start again");
        f.server_dir().join("address").exists().then_some(())
    })
    .await;
    f.server = started;

    let status = f.ended().await;
    assert_eq!(status.round, Some(RoundId(3)));
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    let states: Vec<_> = verdict.tasks[0].rounds.iter().map(|r| r.state).collect();
    assert_eq!(states.len(), 3);
    assert_eq!(states.last(), Some(&"closed"), "{states:?}");
    assert!(states.iter().filter(|s| **s == "abandoned").count() <= 1, "{states:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_works_once_and_a_stranger_is_denied() {
    let dir = tempfile::tempdir().unwrap();
    let (server_dir, key) = (dir.path().join("server"), dir.path().join("admin.key"));
    server::init::init(&server_dir, "loop", &key).unwrap();
    assert!(server::init::init(&server_dir, "loop", &key).is_err(), "a federation is never overwritten");
    let config = server::config::Config::parse("listen = \"127.0.0.1:0\"", Path::new("test")).unwrap();
    let serving = server_dir.clone();
    let server = tokio::spawn(async move { server::serve::run(&serving, &config).await });
    until(async || server_dir.join("address").exists().then_some(())).await;
    let AdminReply::Token { line } = call(&server_dir, AdminRequest::Invite { institution: "a".into(), ttl_s: 600 }).await else {
        panic!()
    };
    let first = dir.path().join("first");
    let waits = client::join::join(&first, &line, Duration::from_secs(2), &mut |_| {}).await;
    assert!(matches!(waits, Err(client::join::JoinError::StillPending)), "nobody has approved yet");
    let thief = client::join::join(&dir.path().join("thief"), &line, Duration::from_secs(5), &mut |_| {}).await;
    assert!(matches!(thief, Err(client::join::JoinError::Rejected(_))), "the token is used up");
    // A second server on the same directory would fork the log.
    let second = server::config::Config::parse("listen = \"127.0.0.1:0\"", Path::new("test")).unwrap();
    assert!(server::serve::run(&server_dir, &second).await.is_err());
    call(&server_dir, AdminRequest::Stop {}).await;
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}
