//! A model that was signed for real: that of the vectors (audit.md A54), so that a story's log can record its release.

use protocol::hash::sha256;
use protocol::ids::{Sha256, SnapshotDigest};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../tests/testdata/vectors/model-signing.json");

/// Its files, signature and key.
pub(crate) struct Model {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) bundle: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Model {
    pub(crate) fn new() -> Self {
        let v: Value = serde_json::from_str(VECTORS).unwrap();
        let bytes = |v: &Value| v.as_str().unwrap().as_bytes().to_vec();
        let good = v["cases"].as_array().unwrap().iter().find(|c| c["expected"] == "holds").unwrap();
        Self {
            files: v["files"].as_object().unwrap().iter().map(|(name, text)| (name.clone(), bytes(text))).collect(),
            bundle: bytes(&good["bundle"]),
            key: bytes(&v["public_key"]),
        }
    }
    pub(crate) fn snapshot(&self) -> SnapshotDigest {
        let weights = self.files.iter().find(|(name, _)| name == "model.safetensors").unwrap();
        SnapshotDigest(sha256(&[&weights.1]))
    }
    pub(crate) fn signature(&self) -> Sha256 {
        Sha256(sha256(&[&self.bundle]))
    }
    pub(crate) fn key_hash(&self) -> Sha256 {
        Sha256(sha256(&[&self.key]))
    }
    /// As a release lays it out.
    pub(crate) fn write(&self, dir: &std::path::Path) {
        for part in ["model", "evidence"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        self.files.iter().for_each(|(name, bytes)| std::fs::write(dir.join("model").join(name), bytes).unwrap());
        std::fs::write(dir.join("model/model.sig"), &self.bundle).unwrap();
        std::fs::write(dir.join("evidence/release-key.pub"), &self.key).unwrap();
    }
}
