//! Child processes: this program again, in a role. They end with the demo, whatever ends it.

use anyhow::Context as _;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// First argument of a child.
pub(crate) const ROLE: &str = "__role";

/// A role that this program plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `concordat-server`.
    Server,
    /// `concordat-client`.
    Client,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// The command line of this program in `role`. `side` is where a client's observer writes; only the demo reads it.
pub(crate) fn command(role: Role, side: &Path, args: &[OsString]) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("the demo cannot find its own program")?;
    let mut command = Command::new(own);
    command.arg(ROLE).arg(role.name()).arg(side).args(args).stdin(Stdio::null());
    Ok(command)
}

/// A child that is killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) name: String,
}

impl Running {
    /// Starts a child whose diagnostics go to a file of its own.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(log)?;
        let child = command.stdout(Stdio::null()).stderr(file).spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the child has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a child to its end and gives the `data` of its JSON answer.
pub(crate) fn ask(role: Role, side: &Path, args: &[OsString]) -> anyhow::Result<serde_json::Value> {
    let mut all = args.to_vec();
    all.extend(["--format".into(), "json".into()]);
    let output = command(role, side, &all)?.stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answer: serde_json::Value = text.lines().last().and_then(|l| serde_json::from_str(l).ok()).unwrap_or_default();
    if output.status.success() {
        return Ok(answer.get("data").cloned().unwrap_or_default());
    }
    let verb = args.iter().take(2).map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let said = answer.pointer("/error/message").and_then(|m| m.as_str()).unwrap_or("no answer");
    anyhow::bail!("concordat-{} {verb}: {said}", role.name())
}
