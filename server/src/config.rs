//! The server's own settings (operations.md section 2). Privacy and cryptography are not here: they live in the signed plan.

use protocol::ids::Sha256;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest file.
const MAX_FILE: u64 = 256 << 10;

/// Checked settings. Can only be made by parsing.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Address that tokens name; the bound one if none is given.
    pub public_address: Option<String>,
    /// Most open connections.
    pub max_connections: u32,
    /// Memory for data on its way in, over all connections.
    pub receive_memory_bytes: u64,
}

/// The file, word for word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default = "default_listen")]
    listen: String,
    #[serde(default)]
    public_address: Option<String>,
    #[serde(default = "default_max_connections")]
    max_connections: u32,
    #[serde(default = "default_receive_memory_bytes")]
    receive_memory_bytes: u64,
}

fn default_listen() -> String {
    "[::]:7443".to_owned()
}
fn default_max_connections() -> u32 {
    256
}
/// 32 MiB for each of 16 busy clients; others share (transport-storage.md T22).
fn default_receive_memory_bytes() -> u64 {
    512 << 20
}

/// Why a file is no configuration. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML of the expected keys.
    #[error("the configuration {path} is not valid")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A privacy or cipher number where it may not stand (O9).
    #[error("the key `{0}` belongs into the signed plan, not into a configuration file: an operator can make the server slow, not leaky")]
    BelongsIntoPlan(String),
}

/// A value outside its range.
#[derive(Debug, thiserror::Error)]
#[error("{key} is {got}, expected {expected}")]
struct OutOfRange {
    key: &'static str,
    got: String,
    expected: &'static str,
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        let bad = |key, got: String, expected| OutOfRange { key, got, expected }.to_string();
        let listen = raw.listen.parse().map_err(|_| bad("listen", raw.listen.clone(), "an address and a port such as 0.0.0.0:7443"))?;
        if !(2..=10_000).contains(&raw.max_connections) {
            return Err(bad("max_connections", raw.max_connections.to_string(), "2 to 10000"));
        }
        // Below one stream window per connection nothing could arrive.
        if raw.receive_memory_bytes < 8 << 20 {
            return Err(bad("receive_memory_bytes", raw.receive_memory_bytes.to_string(), "at least 8388608"));
        }
        Ok(Self {
            listen,
            public_address: raw.public_address,
            max_connections: raw.max_connections,
            receive_memory_bytes: raw.receive_memory_bytes,
        })
    }
}

/// Words that name privacy or cipher numbers; as keys of a configuration they are refused with a reason.
const PLAN_WORDS: &[&str] = &["epsilon", "delta", "sigma", "noise", "noise_multiplier", "clip", "cohort_min", "modulus", "sampling_rate"];

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = crate::durable::read_text(path, MAX_FILE).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses a file's text; `path` is only for messages.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let parse = |source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) };
        let table: toml::Table = text.parse().map_err(parse)?;
        if let Some(word) = table.keys().find(|k| PLAN_WORDS.contains(&k.as_str())) {
            return Err(ConfigError::BelongsIntoPlan(word.clone()));
        }
        toml::from_str(text).map_err(parse)
    }

    /// SHA-256 over every setting in force, for `process.started` and `process.config.changed`: two files that say the same have one hash.
    pub(crate) fn digest(&self) -> Sha256 {
        let Self { listen, public_address, max_connections, receive_memory_bytes } = self;
        let address = public_address.as_deref().unwrap_or_default();
        let text = format!("{listen}\n{address}\n{max_connections}\n{receive_memory_bytes}\n");
        Sha256(protocol::hash::sha256(&[text.as_bytes()]))
    }

    /// Receive window of one connection (T22).
    pub(crate) fn receive_window(&self) -> u32 {
        let share = self.receive_memory_bytes / u64::from(self.max_connections);
        u32::try_from(share.clamp(2 << 20, 32 << 20)).unwrap_or(32 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_one_hash_however_they_are_written_and_another_when_one_changes() {
        let digest = |text: &str| Config::parse(text, Path::new("x")).unwrap().digest();
        assert_eq!(digest(""), digest("max_connections = 256 # as it is anyway\n"));
        for other in ["max_connections = 255", "listen = \"[::]:1\"", "public_address = \"a:1\"", "receive_memory_bytes = 8388608"] {
            assert_ne!(digest(other), digest(""), "{other}");
        }
    }

    #[test]
    fn privacy_is_not_configuration() {
        let parse = |t: &str| Config::parse(t, Path::new("server.toml"));
        assert!(matches!(parse("epsilon = 8"), Err(ConfigError::BelongsIntoPlan(w)) if w == "epsilon"));
        assert!(parse("listenn = 'x'").is_err());
        assert!(parse("listen = 'nonsense'").is_err());
        assert!(parse("max_connections = 1").is_err());
        assert_eq!(parse("").unwrap().max_connections, 256);
    }
}
