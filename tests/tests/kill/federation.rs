//! Three institutions and a server as processes of their own, on loopback, with a tiny model.

use super::role::Process;
use protocol::ids::TaskId;
use protocol::plan::{Plan, PlanApproval};
use protocol::statement::Statement;
use protocol::trust::{JoinRequest, Membership, PolicyApproval, TrustChange};
use server::admin::{self, AdminReply, AdminRequest, Status};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Far more than a loaded machine needs; reached only if something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Institutions: the smallest committee that bears one hostile member, and all of them are needed for its quorum.
pub(crate) const MEMBERS: usize = 3;
/// In every text, person and name of an institution's data; in nothing that a process says (audit.md A22, F41).
pub(crate) const CANARY: &str = "kanarienvogel";

/// A federation; its processes end with it.
pub(crate) struct Federation {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Option<Process>,
    pub(crate) clients: Vec<Process>,
    address: String,
    key: ed25519_dalek::SigningKey,
}

pub(crate) fn name(index: usize) -> String {
    format!("bank-{index}")
}

fn records() -> String {
    let line = |i: usize| {
        let (text, label) = if i.is_multiple_of(2) { ("win a prize now", "bad") } else { ("see you at noon", "good") };
        format!("{{\"text\":\"{text} {CANARY} {i}\",\"label\":\"{label}\",\"user\":\"{CANARY}-{i}\"}}\n")
    };
    (0..60).map(line).collect()
}

fn plan_toml(rounds: u64) -> String {
    format!(
        "federation = \"loop\"\nrounds = {rounds}\nshards = 1\nbits = 16\ncohort_min = 2\nn_max = 4\ninitial_seed = 1\n\
         [committee]\ndecryptors = {MEMBERS}\ncorrupt = 1\n\
         [model]\nvocab = 64\nmax_tokens = 8\nwidth = 8\nheads = 2\nlayers = 1\nhidden = 8\nclasses = [\"bad\", \"good\"]\n\
         [privacy]\nunit = \"user\"\nepsilon = \"8\"\ndelta = \"0.00001\"\nsampling_rate = \"0.25\"\n\
         [local]\nsteps = 2\nmicro_batch = 8\nlearning_rate = \"0.01\"\nwarmup_steps = 1\nweight_decay = \"0\"\n\
         [strategy.fed-avg]\nrate = \"1\"\n\
         [deadlines]\nselecting_ms = 60000\nreporting_ms = 60000\ncertifying_ms = 60000\nopening_ms = 60000\n"
    )
}

impl Federation {
    /// Makes a federation whose server runs; nobody has joined.
    pub(crate) async fn found() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.key");
        server::init::init(&dir.path().join("server"), "loop", &path).unwrap();
        let key = server::init::read_admin_key(&path).unwrap();
        let mut this = Self { dir, server: None, clients: Vec::new(), address: "127.0.0.1:0".to_owned(), key };
        this.serve("").await;
        this.address = std::fs::read_to_string(this.server_dir().join("address")).unwrap();
        this
    }

    /// A federation with its members, a policy and an open task; clients run by the scripts given, the server without one.
    pub(crate) async fn with_task(rounds: u64, scripts: [&str; MEMBERS]) -> (Self, Plan) {
        let this = Self::with_witnesses(scripts).await;
        let plan = this.propose(rounds).await;
        (this, plan)
    }

    /// A federation with its members and a policy, and no task yet; clients run by the scripts given, the server without one.
    pub(crate) async fn with_witnesses(scripts: [&str; MEMBERS]) -> Self {
        let mut this = Self::found().await;
        for index in 0..MEMBERS {
            this.enrol(index).await;
        }
        this.activate().await;
        for (index, script) in scripts.iter().enumerate() {
            let client = this.client(index, script);
            this.clients.push(client);
        }
        this
    }

    pub(crate) fn server_dir(&self) -> PathBuf {
        self.dir.path().join("server")
    }
    pub(crate) fn home(&self, index: usize) -> PathBuf {
        self.dir.path().join(name(index))
    }
    /// What an institution's processes did.
    pub(crate) fn seen(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("{}.seen", name(index)))
    }

    /// Starts the server, which ends at the last edge of `script`, and waits until it answers.
    pub(crate) async fn serve(&mut self, script: &str) {
        let (dir, config) = (self.server_dir(), self.dir.path().join("server.toml"));
        std::fs::write(&config, format!("listen = \"{}\"\n", self.address)).unwrap();
        std::fs::remove_file(dir.join("address")).unwrap_or(());
        let arguments = ["concordat-server", "serve", "--dir", text(&dir), "--config", text(&config)];
        let said = self.dir.path().join("server.said");
        self.server = Some(Process::start("server", &arguments, script, &said, Path::new("")));
        self.until("the server does not listen", async |f| {
            let ended = f.server.as_mut().and_then(Process::ended);
            assert!(ended.is_none_or(Process::died), "the server does not start: {}", f.story());
            (dir.join("address").exists() || ended.is_some()).then_some(())
        })
        .await;
    }

    /// Starts an institution, which ends at the last edge of `script`.
    pub(crate) fn client(&self, index: usize, script: &str) -> Process {
        let home = self.home(index);
        let said = self.dir.path().join(format!("{}.said", name(index)));
        Process::start("client", &["concordat-client", "run", "--dir", text(&home)], script, &said, &self.seen(index))
    }

    /// Starts somebody who joins with a token, and ends at the last edge of `script`.
    pub(crate) fn joiner(&self, index: usize, token: &str, script: &str) -> Process {
        let home = self.home(index);
        let said = self.dir.path().join(format!("{}.said", name(index)));
        Process::start("client", &["concordat-client", "join", token, "--dir", text(&home)], script, &said, &self.seen(index))
    }

    /// Waits until a process has ended at the last edge of its script.
    pub(crate) async fn until_dead(&mut self, edge: &str, mut who: impl FnMut(&mut Self) -> &mut Process) {
        let status = self.until(edge, async |f| who(f).ended()).await;
        assert!(Process::died(status), "{edge} was never reached: {status}\n{}", self.story());
    }

    /// Polls until `ready` gives something; the interval only paces the asking.
    pub(crate) async fn until<T>(&mut self, what: &str, mut ready: impl AsyncFnMut(&mut Self) -> Option<T>) -> T {
        let started = std::time::Instant::now();
        loop {
            if let Some(value) = ready(self).await {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: the federation hangs\n{}", self.story());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that processes of the server and the institutions have said so far.
    pub(crate) fn all_said(&self) -> Vec<u8> {
        let names = std::iter::once("server".to_owned()).chain((0..MEMBERS).map(name));
        names.filter_map(|name| std::fs::read(self.dir.path().join(format!("{name}.said"))).ok()).flatten().collect()
    }

    /// What every process said last.
    pub(crate) fn story(&self) -> String {
        self.server.iter().chain(&self.clients).map(Process::last_words).collect()
    }

    async fn call(&self, request: AdminRequest) -> AdminReply {
        admin::call(&self.server_dir(), &request).await.expect("the server answers")
    }

    pub(crate) async fn invite(&self, index: usize) -> String {
        let invited = self.call(AdminRequest::Invite { institution: name(index), ttl_s: 600 }).await;
        let AdminReply::Token { line } = invited else { panic!("{invited:?}") };
        line
    }

    /// As [`Federation::invite`], of a server that may end before it answers.
    pub(crate) async fn try_invite(&self, index: usize) -> Option<String> {
        match admin::call(&self.server_dir(), &AdminRequest::Invite { institution: name(index), ttl_s: 600 }).await {
            Ok(AdminReply::Token { line }) => Some(line),
            Ok(_) | Err(_) => None,
        }
    }

    /// The requests of this institution that wait for an administrator.
    pub(crate) async fn pending(&self, index: usize) -> Vec<JoinRequest> {
        let Ok(AdminReply::Pending { joins }) = admin::call(&self.server_dir(), &AdminRequest::Pending {}).await else { return Vec::new() };
        let requests = joins.iter().filter_map(|j| protocol::codec::decode::<JoinRequest>(&j.request, 1 << 16).ok());
        requests.filter(|r| r.name == name(index)).collect()
    }

    pub(crate) async fn approve(&self, request: &JoinRequest) {
        let done = self.call(AdminRequest::Approve { statement: Statement::sign(&Membership::of(request), &self.key) }).await;
        assert!(matches!(done, AdminReply::Done {}), "{done:?}");
    }

    /// As [`Federation::approve`], by an administrator whose server may end before it answers.
    pub(crate) async fn try_approve(&self, request: &JoinRequest) {
        let statement = Statement::sign(&Membership::of(request), &self.key);
        admin::call(&self.server_dir(), &AdminRequest::Approve { statement }).await.ok();
    }

    /// Another key of the log, made on the server's host, and the document that names it.
    pub(crate) fn prepare_log_key(&self) -> TrustChange {
        let (dir, out, said) = (self.server_dir(), self.dir.path().join("next-trust.json"), self.dir.path().join("prepare.said"));
        let arguments = ["concordat-server", "trust", "prepare", "--dir", text(&dir), "--new-log-key", "--out", text(&out)];
        let mut prepares = Process::start("server", &arguments, "", &said, Path::new(""));
        let status = prepares.end();
        assert!(status.success(), "{status}: {}", prepares.last_words());
        TrustChange { document: std::fs::read(out).unwrap() }
    }

    /// The administrator's word for it, to a server that may end before it answers.
    pub(crate) async fn try_change_trust(&self, said: &TrustChange) {
        let statement = Statement::sign(said, &self.key);
        admin::call(&self.server_dir(), &AdminRequest::ChangeTrust { statement }).await.ok();
    }

    /// The operator's word that all sealed updates may go, to a server that may end before it answers.
    pub(crate) async fn try_delete_chunks(&self) {
        let request = AdminRequest::DeleteChunks { task: None, keep: 0, unfinished: false };
        admin::call(&self.server_dir(), &request).await.ok();
    }

    async fn enrol(&mut self, index: usize) {
        let (line, home) = (self.invite(index).await, self.home(index));
        let joining = tokio::spawn(async move { client::join::join(&home, &line, PATIENCE, &mut |_| {}).await });
        let request = self.until("nobody asks to join", async |f| f.pending(index).await.pop()).await;
        self.approve(&request).await;
        joining.await.unwrap().expect("joined");
        self.settle_in(index);
    }

    /// Records, settings and the institution's own rules.
    pub(crate) fn settle_in(&self, index: usize) {
        let home = self.home(index);
        std::fs::write(home.join("records.jsonl"), records()).unwrap();
        let policy =
            "max_eps_total = \"12\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"0.01\"\ncohort_min = 2\nallow_record_unit = false\n";
        std::fs::write(home.join("site_policy.toml"), policy).unwrap();
        let settings = format!(
            "exit_when_task_ends = true\nthreads = 1\nreconnect_max_s = 1\n\
             [data]\npath = \"records.jsonl\"\nname = \"{CANARY} of 2024\"\nuser_field = \"user\"\n"
        );
        std::fs::write(home.join("client.toml"), settings).unwrap();
    }

    pub(crate) async fn activate(&self) {
        let AdminReply::Policy { text, replaces } = self.call(AdminRequest::ComposePolicy {}).await else { panic!("a policy") };
        let policy = protocol::ids::Sha256(protocol::hash::sha256(&[text.as_bytes()]));
        let statement = Statement::sign(&PolicyApproval { policy, replaces }, &self.key);
        let done = self.call(AdminRequest::ActivatePolicy { text, statement }).await;
        assert!(matches!(done, AdminReply::Done {}), "{done:?}");
    }

    pub(crate) async fn propose(&self, rounds: u64) -> Plan {
        let prepared = server::plan_file::PlanFile::parse(&plan_toml(rounds)).unwrap().prepare(TaskId([7; 16])).unwrap();
        let base = self.dir.path().join("base.safetensors");
        std::fs::write(&base, &prepared.base).unwrap();
        let digest = Plan::digest(&prepared.bytes);
        let statement = Statement::sign(&PlanApproval { task: prepared.plan.task, plan: digest }, &self.key);
        let snapshot_path = base.to_string_lossy().into_owned();
        let reply = self.call(AdminRequest::Propose { plan: prepared.bytes.into(), statement, snapshot_path }).await;
        assert!(matches!(reply, AdminReply::Done {}), "{reply:?}");
        prepared.plan
    }

    pub(crate) async fn status(&self) -> Option<Status> {
        match admin::call(&self.server_dir(), &AdminRequest::Status {}).await {
            Ok(AdminReply::Status { status }) => Some(status),
            Ok(_) | Err(_) => None,
        }
    }

    /// Waits until the task has ended, its end is under a quorum, and every institution has gone home in order.
    pub(crate) async fn ended(&mut self) {
        self.until("the task does not end", async |f| {
            assert!(f.server.as_mut().is_some_and(|s| s.ended().is_none()), "the server ended: {}", f.story());
            f.status().await.filter(|s| s.ended && s.published == s.log_size)
        })
        .await;
        for index in 0..self.clients.len() {
            let status = self.until("a client does not leave", async |f| f.clients[index].ended()).await;
            assert!(status.success(), "{} left with {status}: {}", name(index), self.story());
        }
    }

    /// Ends the server by `kill -9` from outside.
    pub(crate) fn kill_server(&mut self) {
        self.server.as_mut().expect("a server").kill();
    }

    /// Ends everybody so.
    pub(crate) fn kill_all(&mut self) {
        self.kill_server();
        self.clients.iter_mut().for_each(Process::kill);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
