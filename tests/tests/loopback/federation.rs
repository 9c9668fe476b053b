//! A federation of real programs in one process: server and institutions on loopback, with directories, tokens, keys and records of their own.
//! Knows no test.

use client::config::Config as ClientConfig;
use client::observer::{Observer, Phase};
use ed25519_dalek::SigningKey;
use protocol::ids::{GroupId, RoundId, ShardId, SnapshotDigest, TaskId};
use protocol::plan::PlanApproval;
use protocol::statement::{Payload, Statement};
use protocol::trust::{JoinRequest, Membership, PolicyApproval};
use server::admin::{self, AdminReply, AdminRequest, Status};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Far more than a loaded machine needs; reached only if something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);
/// Stands in every text, person, path and name of an institution's data: found anywhere outside of its own directory, it is a leak.
pub(super) const CANARY: &str = "kanarienvogel";

pub(super) type Integers = Arc<Mutex<BTreeMap<(u64, u32, usize), Vec<i32>>>>;

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

pub(super) struct Federation {
    _alone: tokio::sync::MutexGuard<'static, ()>,
    pub(super) dir: tempfile::TempDir,
    pub(super) server: JoinHandle<anyhow::Result<()>>,
    pub(super) clients: Vec<JoinHandle<Result<(), client::agent::AgentError>>>,
    pub(super) integers: Integers,
    pub(super) trained: tokio::sync::mpsc::UnboundedReceiver<(usize, u64)>,
}

pub(super) fn name(index: usize) -> String {
    format!("bank-{index}")
}

pub(super) fn records(units: usize) -> String {
    let line = |i: usize| {
        let (text, label) = if usize::is_multiple_of(i, 2) { ("win a prize now", "bad") } else { ("see you at noon", "good") };
        format!("{{\"text\":\"{text} {CANARY} {i}\",\"label\":\"{label}\",\"user\":\"{CANARY}-{i}\",\"amount\":{i}}}\n")
    };
    (0..units).map(line).collect()
}

pub(super) fn plan_toml(rounds: u64, reporting_ms: u64, shards: u32) -> String {
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

pub(super) async fn call(dir: &Path, request: AdminRequest) -> AdminReply {
    admin::call(dir, &request).await.expect("the server answers")
}

/// Polls until `ready` gives something; the interval only paces the asking.
pub(super) async fn until<T>(mut ready: impl AsyncFnMut() -> Option<T>) -> T {
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
    pub(super) fn server_dir(&self) -> PathBuf {
        self.dir.path().join("server")
    }
    pub(super) fn audit(&self) -> PathBuf {
        self.server_dir().join("audit")
    }

    pub(super) async fn start(members: usize) -> Self {
        Self::of_sizes(&vec![60; members]).await
    }

    /// One institution for each number of units.
    pub(super) async fn of_sizes(units: &[usize]) -> Self {
        Self::made_by(tempfile::tempdir().unwrap(), units, &server::init::Administrators::default()).await
    }

    /// With these lines more in everybody's site policy.
    pub(super) async fn under(policy: &str, units: &[usize]) -> Self {
        Self::made_under(policy, tempfile::tempdir().unwrap(), units, &server::init::Administrators::default()).await
    }

    /// As many administrators as must agree: the first one's key is made here, the others' lie in `dir`.
    pub(super) async fn made_by(dir: tempfile::TempDir, units: &[usize], administrators: &server::init::Administrators) -> Self {
        Self::made_under("", dir, units, administrators).await
    }

    async fn made_under(policy: &str, dir: tempfile::TempDir, units: &[usize], administrators: &server::init::Administrators) -> Self {
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
            let path = dir.path().join(name(index)).join("site_policy.toml");
            let whole = std::fs::read_to_string(&path).unwrap() + policy;
            std::fs::write(path, whole).unwrap();
        }
        let AdminReply::Policy { text, replaces } = call(&server_dir, AdminRequest::ComposePolicy {}).await else { panic!("a policy") };
        let policy = protocol::ids::Sha256(protocol::hash::sha256(&[text.as_bytes()]));
        agree(&server_dir, &admins, &PolicyApproval { policy, replaces }, |statement| AdminRequest::ActivatePolicy {
            text: text.clone(),
            statement,
        })
        .await;
        let (sender, trained) = tokio::sync::mpsc::unbounded_channel();
        let integers: Integers = Arc::default();
        let clients = (0..members).map(|i| run_client(dir.path(), i, integers.clone(), sender.clone())).collect();
        Self { _alone: alone, dir, server, clients, integers, trained }
    }

    pub(super) async fn propose(&self, plan: &str) -> protocol::plan::Plan {
        self.propose_prepared(server::plan_file::PlanFile::parse(plan).unwrap().prepare(TaskId([7; 16])).unwrap()).await
    }

    pub(super) async fn propose_prepared(&self, prepared: server::plan_file::Prepared) -> protocol::plan::Plan {
        let base = self.dir.path().join(format!("base.{}", prepared.plan.snapshot_ending()));
        std::fs::write(&base, &prepared.base).unwrap();
        let digest = protocol::plan::Plan::digest(&prepared.bytes);
        let said = PlanApproval { task: prepared.plan.task, plan: digest };
        let (plan, snapshot_path) = (prepared.bytes, base.to_string_lossy().into_owned());
        let request = |statement| AdminRequest::Propose { plan: plan.clone().into(), statement, snapshot_path: snapshot_path.clone() };
        agree(&self.server_dir(), &admins(self.dir.path()), &said, request).await;
        prepared.plan
    }

    pub(super) async fn status(&self) -> Status {
        let reply = call(&self.server_dir(), AdminRequest::Status {}).await;
        let AdminReply::Status { status } = reply else { panic!("{reply:?}") };
        status
    }

    pub(super) async fn ended(&mut self) -> Status {
        until(async || {
            assert!(!self.server.is_finished(), "the server ended");
            self.clients_are_well().await;
            let status = self.status().await;
            (status.ended && status.published == status.log_size).then_some(status)
        })
        .await
    }

    /// A client that ended with an error says so at once; without this the others would only wait for it.
    pub(super) async fn clients_are_well(&mut self) {
        for (index, client) in self.clients.iter_mut().enumerate().filter(|(_, c)| c.is_finished()) {
            let ended = std::mem::replace(client, tokio::spawn(async { Ok(()) })).await;
            let aborted = ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled);
            assert!(aborted || matches!(ended, Ok(Ok(()))), "institution {index} ended: {ended:?}");
        }
    }

    pub(super) fn verify(&self, log: &Path) -> auditor::Verdict {
        auditor::verify(log, &auditor::Options::default()).unwrap()
    }

    /// Whether the server has a file that is named by this snapshot.
    pub(super) fn has_published(&self, snapshot: SnapshotDigest) -> bool {
        let name = snapshot.to_hex();
        files(&self.server_dir()).iter().any(|path| path.to_string_lossy().contains(&name))
    }

    /// A copy of the log as an auditor gets it.
    pub(super) fn log(&self) -> PathBuf {
        let to = self.dir.path().join("log");
        tests::files::copy_log(&self.audit(), &to);
        to
    }
}

/// Keys of the administrators, the first one's first.
pub(super) fn admins(dir: &Path) -> Vec<SigningKey> {
    let names = std::iter::once("admin.key".to_owned()).chain((1..).map(|n| format!("admin-{n}.key")));
    let there = names.map(|name| dir.join(name)).take_while(|path| path.exists());
    there.map(|path| server::init::read_admin_key(&path).unwrap()).collect()
}

/// Every administrator says the same, twice: only with the last one it is done, and nobody's second word adds anything.
pub(super) async fn agree<P: Payload>(dir: &Path, admins: &[SigningKey], said: &P, request: impl Fn(Statement) -> AdminRequest) {
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

pub(super) async fn enrol(dir: &Path, server: &Path, index: usize, units: usize, admins: &[SigningKey]) {
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
    std::fs::write(home.join(format!("{CANARY}.jsonl")), records(units)).unwrap();
    let policy =
        "max_eps_total = \"12\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"0.01\"\ncohort_min = 2\nallow_record_unit = false\n";
    std::fs::write(home.join("site_policy.toml"), policy).unwrap();
    // `base` is read by plans that begin from a checkpoint only.
    let settings = format!(
        "base = \"../checkpoint\"\nexit_when_task_ends = true\nthreads = 1\n\
         [data]\npath = \"{CANARY}.jsonl\"\nname = \"{CANARY} of 2024\"\nuser_field = \"user\"\n"
    );
    std::fs::write(home.join("client.toml"), settings).unwrap();
}

pub(super) fn run_client(
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
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
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

pub(super) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.len() >= 8 && haystack.windows(needle.len()).any(|w| w == needle)
}

/// Secret files of the institutions: key bytes that must stand nowhere else.
pub(super) fn secrets(dir: &Path, members: usize) -> Vec<Vec<u8>> {
    let keys = (0..members).flat_map(|i| files(&dir.join(name(i)))).filter(|p| p.components().any(|c| c.as_os_str() == "keys"));
    keys.map(|p| std::fs::read(p).unwrap()).filter(|b| b.len() >= 16).collect()
}

/// What the command line of the server answers, run beside the server as an administrator would.
pub(super) async fn administer(args: Vec<String>) -> String {
    let all = std::iter::once("concordat-server".to_owned()).chain(args).map(std::ffi::OsString::from).collect::<Vec<_>>();
    let ran = tokio::task::spawn_blocking(move || server::cli::run(all));
    format!("{:?}", tokio::time::timeout(PATIENCE, ran).await.unwrap().unwrap())
}

/// What a command that ends with this code answers.
pub(super) fn exit(code: u8) -> String {
    format!("{:?}", std::process::ExitCode::from(code))
}

/// Waits until so many institutions are connected.
pub(super) async fn connected(f: &Federation, wanted: usize) {
    until(async || (f.status().await.connected.len() == wanted).then_some(())).await;
}

/// Entries of a type in the server's own log.
pub(super) async fn count(f: &Federation, kind: &str) -> usize {
    let size = usize::try_from(f.status().await.log_size).unwrap();
    all_entries(&f.audit(), size).matches(&format!("\"type\":\"{kind}\"")).count()
}

/// The value of the first such field of an entry, without its quotes.
pub(super) fn field<'a>(entry: &'a str, name: &str) -> &'a str {
    let rest = entry.split_once(&format!("\"{name}\":")).unwrap().1;
    rest.split([',', '}']).next().unwrap().trim_matches('"')
}

/// The text of all bundles below `size`, for counting.
pub(super) fn all_entries(log: &Path, size: usize) -> String {
    let path = |bundle| audit::tile::TilePath::in_tree(audit::tile::TileKind::Entries, bundle, size as u64);
    let bundles = (0..(size as u64).div_ceil(256)).filter_map(path).filter_map(|p| std::fs::read(log.join(p.to_string())).ok());
    bundles.map(|b| String::from_utf8_lossy(&b).into_owned()).collect()
}
