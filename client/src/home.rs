//! Where things lie in the client's directory (transport-storage.md S2). Knows no content.

use protocol::ids::{GroupId, HeaderDigest, PlanDigest, RoundId, Sha256, TaskId};
use std::path::{Path, PathBuf};

/// The client's directory.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }
    /// The directory itself, for files without a name.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }
    /// Held by the one process that may use the directory.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    /// Directories that this program alone writes in, and that a crash may leave half-written files in.
    pub(crate) fn written(&self) -> [PathBuf; 12] {
        let own = ["keys", "tls", "join", "mirror", "witness", "ledger", "spool", "optimiser", "decryptor", "audits", "counts", "releases"];
        own.map(|name| self.0.join(name))
    }
    /// Files of this program that lie beside the institution's own.
    pub(crate) fn written_beside(&self) -> [PathBuf; 5] {
        [self.status(), self.identity(), self.settings(), self.site_policy(), self.data_manifest()]
    }
    pub(crate) fn settings(&self) -> PathBuf {
        self.0.join("client.toml")
    }
    pub(crate) fn site_policy(&self) -> PathBuf {
        self.0.join("site_policy.toml")
    }
    pub(crate) fn identity(&self) -> PathBuf {
        self.0.join("identity.json")
    }
    pub(crate) fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(name)
    }
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.0.join("tls").join(name)
    }
    pub(crate) fn join_request(&self) -> PathBuf {
        self.0.join("join").join("request.cbor")
    }
    /// The copy of the log, laid out as audit.md A2 says; an auditor can be handed this directory.
    pub(crate) fn mirror(&self) -> PathBuf {
        self.0.join("mirror")
    }
    /// The last log-signed note that the mirror was brought to; it may still lack cosignatures.
    pub(crate) fn mirror_note(&self) -> PathBuf {
        self.0.join("witness").join("mirrored.note")
    }
    /// A log-signed note of which no entries came that give its root: what to compare with other institutions.
    pub(crate) fn unproved_note(&self) -> PathBuf {
        self.0.join("witness").join("unproved.note")
    }
    /// Tiles that were fetched and wait for a root that the log signed.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.0.join("mirror-incoming")
    }
    pub(crate) fn witness_state(&self) -> PathBuf {
        self.0.join("witness").join("state")
    }
    /// The institution's own log (A27).
    pub(crate) fn site_log(&self) -> PathBuf {
        self.0.join("site").join("log.jsonl")
    }
    /// Notes that contradict the mirror, kept for ever (A28).
    pub(crate) fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
    /// The kept report of the empirical audit of a plan.
    pub(crate) fn audit(&self, plan: &PlanDigest) -> PathBuf {
        self.0.join("audits").join(format!("{plan}.json"))
    }
    pub(crate) fn dataset_nonce(&self) -> PathBuf {
        self.0.join("ledger").join("nonce")
    }
    /// What is to be said about the records.
    pub(crate) fn data_manifest(&self) -> PathBuf {
        self.0.join("data-manifest")
    }
    pub(crate) fn ledger(&self, dataset: &Sha256) -> PathBuf {
        self.0.join("ledger").join(format!("{dataset}.ledger"))
    }
    /// The order to withdraw a dataset, beside its ledger.
    pub(crate) fn withdrawal(&self, dataset: &Sha256) -> PathBuf {
        self.0.join("ledger").join(format!("{dataset}.withdrawn"))
    }
    pub(crate) fn ledger_dir(&self) -> PathBuf {
        self.0.join("ledger")
    }
    pub(crate) fn ledger_lock(&self) -> PathBuf {
        self.0.join("ledger").join("lock")
    }
    /// Noised values that were released of a dataset, by the name that the institution gave them. Each dataset has a directory: its ledger
    /// counts from the start, so that names made of counters come again.
    pub(crate) fn releases(&self, dataset: &Sha256) -> PathBuf {
        self.0.join("releases").join(dataset.to_string())
    }
    pub(crate) fn release(&self, dataset: &Sha256, name: &str) -> PathBuf {
        self.releases(dataset).join(format!("{name}.json"))
    }
    pub(crate) fn spools(&self) -> PathBuf {
        self.0.join("spool")
    }
    pub(crate) fn spool(&self, task: TaskId, round: RoundId) -> PathBuf {
        self.spools().join(round_name(task, round))
    }
    pub(crate) fn optimiser(&self, task: TaskId) -> PathBuf {
        self.0.join("optimiser").join(format!("{task}.json"))
    }
    /// What a task that counted found.
    pub(crate) fn counted(&self, task: TaskId) -> PathBuf {
        self.counts().join(format!("{task}.json"))
    }
    pub(crate) fn counts(&self) -> PathBuf {
        self.0.join("counts")
    }
    pub(crate) fn prekeys(&self) -> PathBuf {
        self.0.join("decryptor").join("prekeys")
    }
    pub(crate) fn prekey(&self, task: TaskId, round: RoundId) -> PathBuf {
        self.prekeys().join(round_name(task, round))
    }
    /// The number of a round's random groups, beside the prekey of the round.
    pub(crate) fn nonce(&self, task: TaskId, round: RoundId) -> PathBuf {
        self.prekey(task, round).with_extension("nonce")
    }
    pub(crate) fn duties(&self) -> PathBuf {
        self.0.join("decryptor").join("rounds")
    }
    pub(crate) fn duty(&self, task: TaskId, round: RoundId) -> PathBuf {
        self.duties().join(round_name(task, round))
    }
    pub(crate) fn share(&self, task: TaskId, round: RoundId, group: GroupId, header: HeaderDigest) -> PathBuf {
        self.duty(task, round).join("shares").join(format!("{group}-{header}"))
    }
}

/// The one spelling of (task, round) in names.
pub(crate) fn round_name(task: TaskId, round: RoundId) -> String {
    format!("{task}-{:020}", round.0)
}

/// Reads [`round_name`] back.
pub(crate) fn parse_round_name(name: &str) -> Option<(TaskId, RoundId)> {
    let (task, round) = name.split_once('-')?;
    let parsed = (task.parse().ok()?, RoundId(round.parse().ok()?));
    (round_name(parsed.0, parsed.1) == name).then_some(parsed)
}
