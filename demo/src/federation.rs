//! Starts a federation as its people would: operator, administrator, and one engineer at each institution.

use crate::data::World;
use crate::options::Options;
use crate::plan;
use crate::process::{Role, Running, ask, command};
use anyhow::Context as _;
use server::admin::{self, AdminReply, AdminRequest, Status};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A server that does not listen after so long has failed.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A running federation. Dropping it ends all its processes and deletes its directory.
pub(crate) struct Federation {
    work: tempfile::TempDir,
    server: Running,
    clients: Vec<Running>,
    runtime: tokio::runtime::Runtime,
}

fn words(parts: &[&str]) -> Vec<OsString> {
    parts.iter().map(OsString::from).collect()
}

impl Federation {
    pub(crate) fn server_dir(&self) -> PathBuf {
        self.work.path().join("server")
    }
    pub(crate) fn client_dir(&self, index: usize) -> PathBuf {
        self.work.path().join(plan::institution(index))
    }
    /// Where an institution's observer writes: beside its directory, never inside `out` or the server's.
    pub(crate) fn side(&self, index: usize) -> PathBuf {
        side(self.work.path(), index)
    }
    fn admin_key(&self) -> PathBuf {
        self.work.path().join("administrator.key")
    }
    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        self.work.path().join(format!("{name}.log"))
    }
    pub(crate) fn institutions(&self) -> usize {
        self.clients.len()
    }

    /// Makes the federation and its server.
    pub(crate) fn found(options: &Options) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("concordat-demo-").tempdir()?;
        let dir = work.path().join("server");
        let key = work.path().join("administrator.key");
        let mut args = words(&["init", "--federation", plan::FEDERATION, "--dir"]);
        args.extend([dir.clone().into(), "--admin-key".into(), key.into()]);
        ask(Role::Server, work.path(), &args)?;
        let config = work.path().join("server.toml");
        std::fs::write(&config, format!("listen = \"127.0.0.1:{}\"\nmax_connections = 64\n", options.cli.port))?;
        let mut args = words(&["serve", "--dir"]);
        args.extend([dir.clone().into(), "--config".into(), config.into()]);
        let log = work.path().join("server.log");
        let server = Running::start("the server", command(Role::Server, work.path(), &args)?, &log)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut this = Self { work, server, clients: Vec::new(), runtime };
        this.wait_for_server(&dir.join("address"), &log)?;
        Ok(this)
    }

    fn wait_for_server(&mut self, address: &Path, log: &Path) -> anyhow::Result<()> {
        let until = Instant::now() + START_PATIENCE;
        while !address.exists() {
            if self.server.ended()?.is_some() {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                anyhow::bail!("the server did not start: {}", text.lines().last().unwrap_or("it said nothing"));
            }
            anyhow::ensure!(Instant::now() < until, "the server does not listen after {START_PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Enrols every institution: token, keys made by its own process, words compared, admitted by the administrator.
    pub(crate) fn enrol(&mut self, options: &Options, world: &World, mut each: impl FnMut(usize)) -> anyhow::Result<()> {
        for index in 0..usize::from(options.cli.institutions) {
            let name = plan::institution(index);
            let dir = self.client_dir(index);
            std::fs::create_dir_all(self.side(index))?;
            let mut args = words(&["invite", "--institution", &name, "--dir"]);
            args.push(self.server_dir().into());
            let token = ask(Role::Server, self.work.path(), &args)?;
            let token = token.get("token").and_then(|t| t.as_str()).context("the invitation has no token")?.to_owned();
            let mut args = words(&["join", &token, "--timeout", "60", "--dir"]);
            args.push(dir.clone().into());
            let mut join = Running::start(&name, command(Role::Client, &self.side(index), &args)?, &self.log_of(&format!("{name}-join")))?;
            self.approve(&name, &mut join)?;
            world.write(index, &dir.join("records.jsonl"))?;
            std::fs::write(dir.join("client.toml"), plan::client_settings(world))?;
            std::fs::write(dir.join("site_policy.toml"), plan::site_policy(options, world))?;
            each(index);
        }
        self.administer(&["policy", "activate"], &[])
    }

    /// The administrator sees the request, compares its words and signs.
    fn approve(&self, name: &str, join: &mut Running) -> anyhow::Result<()> {
        let until = Instant::now() + START_PATIENCE;
        loop {
            let mut args = words(&["member", "pending", "--dir"]);
            args.push(self.server_dir().into());
            let pending = ask(Role::Server, self.work.path(), &args)?;
            let request = pending.as_array().and_then(|a| a.iter().find(|r| r["institution"] == name)).cloned();
            if let Some(words) = request.as_ref().and_then(|r| r["words"].as_str()) {
                self.administer(&["member", "approve", "--institution", name, "--words", words], &[])?;
                break;
            }
            if let Some(status) = join.ended()? {
                let text = std::fs::read_to_string(self.log_of(&format!("{name}-join"))).unwrap_or_default();
                anyhow::bail!("{name} could not join ({status}): {}", text.lines().last().unwrap_or(""));
            }
            anyhow::ensure!(Instant::now() < until, "{name} does not ask to join");
            std::thread::sleep(Duration::from_millis(50));
        }
        while join.ended()?.is_none() {
            anyhow::ensure!(Instant::now() < until + START_PATIENCE, "{name} does not finish joining");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn administer(&self, verb: &[&str], rest: &[OsString]) -> anyhow::Result<()> {
        let mut args = words(verb);
        args.extend(["--dir".into(), self.server_dir().into(), "--admin-key".into(), self.admin_key().into()]);
        args.extend(rest.iter().cloned());
        ask(Role::Server, self.work.path(), &args).map(|_| ())
    }

    /// Starts every institution's client, then opens the task.
    pub(crate) fn open_task(&mut self, options: &Options, world: &World) -> anyhow::Result<protocol::plan::Plan> {
        for index in 0..usize::from(options.cli.institutions) {
            let name = plan::institution(index);
            let mut args = words(&["run", "--dir"]);
            args.push(self.client_dir(index).into());
            let log = self.log_of(&name);
            self.clients.push(Running::start(&name, command(Role::Client, &self.side(index), &args)?, &log)?);
        }
        let file = self.work.path().join("plan.toml");
        let ids = (0..self.institutions()).map(|i| self.id(i)).collect::<anyhow::Result<Vec<_>>>()?;
        std::fs::write(&file, plan::toml(options, world, &ids))?;
        let out = self.work.path().join("plan");
        let args = [words(&["plan", "prepare"]), vec![file.into(), "--out".into(), out.clone().into()]].concat();
        ask(Role::Server, self.work.path(), &args)?;
        let plan = serde_json::from_slice(&std::fs::read(out.join("plan.json"))?)?;
        self.administer(&["plan", "propose"], &[out.into()])?;
        Ok(plan)
    }

    /// An institution's id, as its own directory has it.
    fn id(&self, index: usize) -> anyhow::Result<protocol::ids::ClientId> {
        let bytes = std::fs::read(self.client_dir(index).join("identity.json"))?;
        Ok(serde_json::from_slice::<client::identity::Identity>(&bytes)?.client)
    }

    pub(crate) fn base_snapshot(&self) -> PathBuf {
        self.work.path().join("plan").join("base.safetensors")
    }

    /// Where the server stands.
    pub(crate) fn status(&mut self) -> anyhow::Result<Status> {
        if let Some(status) = self.server.ended()? {
            let text = std::fs::read_to_string(self.log_of("server")).unwrap_or_default();
            anyhow::bail!("the server ended ({status}): {}", text.lines().last().unwrap_or("it said nothing"));
        }
        let reply = self.runtime.block_on(admin::call(&self.server_dir(), &AdminRequest::Status {}))?;
        let AdminReply::Status { status } = reply else { anyhow::bail!("the server gives no status") };
        Ok(status)
    }

    /// Names of clients that have ended with an error, with their last words.
    pub(crate) fn fallen(&mut self) -> anyhow::Result<Vec<String>> {
        let mut out = Vec::new();
        for client in &mut self.clients {
            if client.ended()?.is_some_and(|s| !s.success()) {
                out.push(client.name.clone());
            }
        }
        Ok(out)
    }

    /// Waits until every client has ended in order, for so long.
    pub(crate) fn wait_for_clients(&mut self, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        for client in &mut self.clients {
            while client.ended()?.is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Ends the server in order.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.clients.clear();
        self.runtime.block_on(admin::call(&self.server_dir(), &AdminRequest::Stop {}))?;
        let until = Instant::now() + START_PATIENCE;
        while self.server.ended()?.is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn side(work: &Path, index: usize) -> PathBuf {
    work.join("seen").join(plan::institution(index))
}
