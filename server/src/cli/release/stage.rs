//! A release while it is made ready: a directory beside the one that it becomes. The signature of the model is made once (another one over the
//! same files has other bytes), and what an administrator says is durable before it is sent, so that a repeated command says it again word
//! for word. Knows no server.

use crate::durable;
use crate::layout::Layout;
use crate::model_signing::{ReleaseKey, SIGNATURE, covers, sign};
use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::ids::{PlanDigest, Sha256};
use protocol::plan::Plan;
use protocol::release::Release;
use protocol::statement::{MAX_PAYLOAD, Statement};
use protocol::trust::TrustDocument;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// What is given out.
pub(crate) const MODEL: &str = "model";
/// What proves its history.
pub(crate) const EVIDENCE: &str = "evidence";
/// The weights, in [`MODEL`].
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Where they come from, in [`MODEL`].
pub(crate) const LINEAGE: &str = "lineage.json";
/// The plan that they were trained by, in [`EVIDENCE`].
pub(crate) const PLAN: &str = "plan.cbor";
/// A statement is its payload with a key and a signature.
const MAX_STATEMENT: usize = MAX_PAYLOAD + 1024;

/// What is wrong with what was made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    /// The disk.
    #[error("a file of {0} could not be read or written")]
    Storage(PathBuf, #[source] io::Error),
    /// Not what it should be.
    #[error("{0} holds something else than this command made; remove it and run the command again")]
    Damaged(PathBuf),
    /// A stage of another release.
    #[error("{0} was begun with another {1} than this one, and is signed already; give the same again, or another --out")]
    Another(PathBuf, &'static str),
    /// Weights, lineage or signature were changed.
    #[error("the model in {0} is not the one that was made ready; remove the directory and run the command again")]
    OtherModel(PathBuf),
    /// What the log names is not on the disk.
    #[error("the model that was signed is not the one that the log names")]
    NotTheLogs,
}

/// The directory.
pub(crate) struct Stage(PathBuf);

impl Stage {
    /// Beside `out`.
    pub(crate) fn of(out: &Path) -> Self {
        let mut name = out.as_os_str().to_owned();
        name.push(".partial");
        Self(name.into())
    }
    /// The stage with this path, and the directory that it becomes.
    pub(crate) fn at(partial: &Path) -> Option<(Self, PathBuf)> {
        let out = partial.file_name()?.to_str()?.strip_suffix(".partial").filter(|name| !name.is_empty())?;
        Some((Self(partial.to_owned()), partial.with_file_name(out)))
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
    fn model(&self) -> PathBuf {
        self.0.join(MODEL)
    }
    pub(crate) fn evidence(&self) -> PathBuf {
        self.0.join(EVIDENCE)
    }
    fn evaluation(&self) -> PathBuf {
        self.evidence().join("evaluation")
    }
    fn words(&self) -> PathBuf {
        self.0.join("words")
    }
    fn payload(&self) -> PathBuf {
        self.words().join("release.cbor")
    }
    fn storage(&self) -> impl Fn(io::Error) -> StageError + use<> {
        let path = self.0.clone();
        move |e| StageError::Storage(path.clone(), e)
    }

    /// The release that was made ready here, if one was; its files are looked at again.
    pub(crate) fn release(&self, layout: &Layout) -> Result<Option<Release>, StageError> {
        let bytes = match durable::read_limited(&self.payload(), MAX_PAYLOAD as u64) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(self.storage())?,
        };
        let release: Release = codec::decode(&bytes, MAX_PAYLOAD).map_err(|_| StageError::Damaged(self.0.clone()))?;
        let whole = self.is_whole(layout, &release).map_err(|e| StageError::Storage(self.0.clone(), io::Error::other(e)))?;
        if whole { Ok(Some(release)) } else { Err(StageError::OtherModel(self.0.clone())) }
    }

    /// Whether weights, lineage and signature are those of the release.
    fn is_whole(&self, layout: &Layout, release: &Release) -> anyhow::Result<bool> {
        let read = |name: &str| std::fs::read(self.model().join(name));
        let (weights, signature) = (read(WEIGHTS)?, read(SIGNATURE)?);
        if let Some(hash) = release.evaluation
            && protocol::hash::sha256(&[&std::fs::read(self.evaluation())?]) != hash.0
        {
            return Ok(false);
        }
        Ok(train::snapshot::digest(&weights) == release.snapshot
            && protocol::hash::sha256(&[&signature]) == release.signature.0
            && read(LINEAGE)? == lineage(layout, release, &weights)?
            && covers(&self.model(), &signature, &[WEIGHTS, LINEAGE])?)
    }

    /// Writes weights, lineage and signature, then the release that names them: from then on it is the one that is sent.
    pub(crate) fn make(
        &self,
        layout: &Layout,
        mut release: Release,
        evaluation: Option<&[u8]>,
        key: &ReleaseKey,
    ) -> anyhow::Result<Release> {
        let weights = std::fs::read(layout.snapshot(&release.snapshot, Plan::WEIGHTS))?;
        // What is signed is what the log names, whatever lies on the disk.
        anyhow::ensure!(train::snapshot::digest(&weights) == release.snapshot, StageError::NotTheLogs);
        let dir = self.model();
        durable::replace(&dir.join(WEIGHTS), &weights)?;
        durable::replace(&dir.join(LINEAGE), &lineage(layout, &release, &weights)?)?;
        let trust = trust(layout)?.0;
        let name = format!("{}-{}-round-{}", trust.federation, &release.task.to_hex()[..8], release.last);
        let signature = sign(&dir, &name, &[WEIGHTS, LINEAGE], key)?;
        durable::replace(&dir.join(SIGNATURE), &signature)?;
        durable::replace(&self.evidence().join("release-key.pub"), key.public_pem().as_bytes())?;
        durable::replace(&self.evidence().join(PLAN), &plan_bytes(layout, release.plan)?)?;
        (release.key, release.signature) = (key.hint(), Sha256(protocol::hash::sha256(&[&signature])));
        if let Some(bytes) = evaluation {
            durable::replace(&self.evaluation(), bytes)?;
            release.evaluation = Some(Sha256(protocol::hash::sha256(&[bytes])));
        }
        durable::write_new(&self.payload(), &codec::encode(&release))?;
        Ok(release)
    }

    /// This administrator's word for the release: made once, durable before anybody hears it.
    pub(crate) fn word(&self, release: &Release, key: &SigningKey) -> Result<Statement, StageError> {
        let statement = Statement::sign(release, key);
        let path = self.words().join(format!("{}.statement", statement.signer()));
        match durable::read_limited(&path, MAX_STATEMENT as u64) {
            Ok(bytes) => {
                let kept: Statement = codec::decode(&bytes, MAX_STATEMENT).map_err(|_| StageError::Damaged(path.clone()))?;
                let same = kept.key == statement.key && kept.payload == statement.payload && kept.check_signature().is_ok();
                if same { Ok(kept) } else { Err(StageError::Damaged(path)) }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                durable::write_new(&path, &codec::encode(&statement)).map_err(self.storage())?;
                Ok(statement)
            }
            Err(e) => Err(self.storage()(e)),
        }
    }

    /// Gives the directory its name: it is complete.
    pub(crate) fn publish(&self, out: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(self.words()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _gone => {}
        }
        std::fs::rename(&self.0, out)?;
        durable::sync_dir(out.parent().unwrap_or(out))
    }
}

fn trust(layout: &Layout) -> anyhow::Result<(TrustDocument, Sha256)> {
    let bytes = durable::read_limited(&layout.trust(), TrustDocument::MAX_BYTES as u64)?;
    Ok((TrustDocument::parse(&bytes)?, TrustDocument::hash(&bytes)))
}

fn plan_bytes(layout: &Layout, digest: PlanDigest) -> std::io::Result<Vec<u8>> {
    durable::read_limited(&layout.artefact(&Sha256(digest.0)), Plan::MAX_BYTES as u64)
}

fn plan(layout: &Layout, digest: PlanDigest) -> anyhow::Result<Plan> {
    Ok(codec::decode(&plan_bytes(layout, digest)?, Plan::MAX_BYTES)?)
}

/// Where the model comes from, for whoever receives it; a model on a published checkpoint names that, and one with adapters is named in its two
/// parts as well.
fn lineage(layout: &Layout, release: &Release, weights: &[u8]) -> anyhow::Result<Vec<u8>> {
    let ((trust, hash), plan) = (trust(layout)?, plan(layout, release.plan)?);
    let mut value = json!({
        "federation": trust.federation, "trust": hash, "task": release.task, "plan": release.plan, "base": release.base,
        "first_round": release.first, "last_round": release.last, "snapshot": release.snapshot,
    });
    if let Some(base) = &plan.model.base {
        let (config, weights, tokenizer) = (base.config_digest(), base.weights, base.tokenizer);
        value["base_model"] = json!({ "config": config, "weights": weights, "tokenizer": tokenizer });
    }
    if let Some(parts) = train::snapshot::parts(&plan.model, weights)? {
        let adapter = plan.model.adapter.as_ref();
        value["adapter"] = json!({
            "digest": parts.adapters, "without_it": parts.without, "rank": adapter.map(|a| a.rank), "alpha": adapter.map(|a| a.alpha),
            "targets": adapter.and_then(|a| a.targets.clone()).map_or(Value::Null, Value::from),
            "nested": adapter.and_then(|a| a.nested.clone()).map_or(Value::Null, Value::from),
        });
    }
    Ok(format!("{value:#}\n").into_bytes())
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
