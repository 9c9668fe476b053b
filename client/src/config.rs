//! The client's own settings, parsed once (house.md section 7). Privacy and cipher numbers are not here: they stand in the signed plan.

use crate::files::{self, Item, StoreError};
use corpus::BadLines;
use serde::Deserialize;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use train::device::Wanted;
use train::direct::Precision;

/// Longest settings file.
const MAX_FILE: usize = 256 * 1024;
/// Longest pause between attempts to connect that may be asked for.
const MAX_PAUSE_S: u64 = 3600;

/// Names that belong into a plan or a site policy. Refused here with a hint (O9).
const PRIVACY_KEYS: &[&str] = &[
    "epsilon",
    "epsilon_cap",
    "max_eps_total",
    "max_eps_round",
    "delta",
    "max_delta",
    "sigma",
    "noise_multiplier",
    "min_noise_multiplier",
    "clip",
    "clip_function",
    "grid_bits",
    "sampling_rate",
    "cohort_min",
    "n_max",
    "modulus",
    "bits",
    "step_exponent",
    "committee",
    "threshold",
    "unit",
    "allow_record_unit",
    "parameter_set",
    "max_records_per_unit",
    "unit_objective",
    "learning_rate",
    "rounds",
    "steps",
];

/// Why there are no settings. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file.
    #[error("the settings could not be read")]
    Store(#[from] StoreError),
    /// Not UTF-8.
    #[error("the settings are not text")]
    NotText,
    /// Not TOML, or a key that does not exist or has another type.
    #[error("the settings do not parse")]
    Parse(#[source] Box<toml::de::Error>),
    /// A number of privacy or sealing.
    #[error("`{key}` is not a setting of the client: it stands in the signed plan, and limits of the institution in site_policy.toml")]
    PrivacyKey {
        /// The key.
        key: &'static str,
    },
    /// A number outside its range.
    #[error("`{key}` is {got}, expected {expected}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What it is.
        got: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// A device that there is not.
    #[error("`device` is {got:?}, expected cpu, auto, cuda, cuda:N, or one of the last three followed by -bf16")]
    Device {
        /// As written.
        got: String,
    },
    /// An empty name.
    #[error("`{key}` is empty")]
    Empty {
        /// The key.
        key: &'static str,
    },
}

/// Where the institution's records are and what their fields are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataConfig {
    /// JSON Lines.
    pub path: PathBuf,
    /// The institution's own name of the dataset; leaves the machine as a nonced hash only (audit.md A18).
    pub name: String,
    /// Field of the text.
    pub text_field: String,
    /// Field of the label.
    pub label_field: String,
    /// Field of the person; with it the unit of privacy is the person, without it the record.
    pub user_field: Option<String>,
    /// What a line that is no record does.
    pub bad_lines: BadLines,
}

/// Checked settings. An empty file gives a client that mirrors, witnesses and decrypts, but has nothing to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The dataset.
    pub data: Option<DataConfig>,
    /// Threads for gradients.
    pub threads: NonZeroUsize,
    /// Most records that one thread reads at once on the exact path; none leaves it to the plan.
    pub max_pass_records: Option<NonZeroUsize>,
    /// What gradients are computed on.
    pub device: Wanted,
    /// Floats of products on a GPU.
    pub precision: Precision,
    /// The only tier of a plan that this machine carries; none takes whatever the plan gives.
    pub tier: Option<String>,
    /// Directory of the published checkpoint that plans begin from; without it such plans are declined.
    pub base: Option<PathBuf>,
    /// Whether the process ends in order when the task does.
    pub exit_when_task_ends: bool,
    /// Longest pause between attempts to connect.
    pub reconnect_max: Duration,
    /// Filter of diagnostics, as `RUST_LOG` writes it.
    pub log: String,
}

/// The file word for word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    data: Option<RawData>,
    #[serde(default)]
    threads: usize,
    #[serde(default)]
    max_pass_records: usize,
    #[serde(default = "default_device")]
    device: String,
    tier: Option<String>,
    base: Option<PathBuf>,
    #[serde(default)]
    exit_when_task_ends: bool,
    #[serde(default = "default_reconnect_max_s")]
    reconnect_max_s: u64,
    #[serde(default = "default_log")]
    log: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawData {
    path: PathBuf,
    name: String,
    #[serde(default = "default_text_field")]
    text_field: String,
    #[serde(default = "default_label_field")]
    label_field: String,
    user_field: Option<String>,
    #[serde(default)]
    bad_lines: RawBadLines,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawBadLines {
    Skip,
    #[default]
    Fatal,
}

fn default_reconnect_max_s() -> u64 {
    300
}
fn default_log() -> String {
    "info".to_owned()
}
fn default_text_field() -> String {
    "text".to_owned()
}
fn default_label_field() -> String {
    "label".to_owned()
}

impl Config {
    /// Reads the settings file. Relative paths are seen from the file's directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = files::read(path, MAX_FILE, Item::Settings)?;
        let mut config = Self::parse(std::str::from_utf8(&bytes).map_err(|_| ConfigError::NotText)?)?;
        if let Some(dir) = path.parent() {
            let named = config.data.as_mut().map(|data| &mut data.path).into_iter().chain(config.base.as_mut());
            named.for_each(|path| *path = dir.join(&*path));
        }
        Ok(config)
    }

    /// Parses settings.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |e| ConfigError::Parse(Box::new(e));
        let table: toml::Table = toml::from_str(text).map_err(wrong)?;
        if let Some(key) = privacy_key(&table) {
            return Err(ConfigError::PrivacyKey { key });
        }
        toml::from_str::<RawConfig>(text).map_err(wrong)?.try_into()
    }
}

/// The first key at any depth that belongs into a plan.
fn privacy_key(table: &toml::Table) -> Option<&'static str> {
    table.iter().find_map(|(key, value)| {
        let here = PRIVACY_KEYS.iter().copied().find(|k| k == key);
        here.or_else(|| value.as_table().and_then(privacy_key))
    })
}

fn default_device() -> String {
    Wanted::Cpu.to_string()
}

/// A device, and behind `-bf16` that factors of products are rounded there.
fn device(word: &str) -> Result<(Wanted, Precision), ConfigError> {
    let (name, precision) = word.strip_suffix("-bf16").map_or((word, Precision::F32), |name| (name, Precision::Bf16));
    match (name.parse::<Wanted>(), precision) {
        (Ok(Wanted::Cpu), Precision::Bf16) | (Err(_), _) => Err(ConfigError::Device { got: word.to_owned() }),
        (Ok(device), precision) => Ok((device, precision)),
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        if !(1..=MAX_PAUSE_S).contains(&raw.reconnect_max_s) {
            return Err(ConfigError::OutOfRange { key: "reconnect_max_s", got: raw.reconnect_max_s, expected: "1 to 3600" });
        }
        if raw.threads > 1024 {
            let got = u64::try_from(raw.threads).unwrap_or(u64::MAX);
            return Err(ConfigError::OutOfRange { key: "threads", got, expected: "0 (all processors) to 1024" });
        }
        if raw.tier.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::Empty { key: "tier" });
        }
        if raw.base.as_ref().is_some_and(|base| base.as_os_str().is_empty()) {
            return Err(ConfigError::Empty { key: "base" });
        }
        let (device, precision) = device(&raw.device)?;
        let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            data: raw.data.map(DataConfig::try_from).transpose()?,
            threads: NonZeroUsize::new(raw.threads).unwrap_or(all),
            max_pass_records: NonZeroUsize::new(raw.max_pass_records),
            device,
            precision,
            tier: raw.tier,
            base: raw.base,
            exit_when_task_ends: raw.exit_when_task_ends,
            reconnect_max: Duration::from_secs(raw.reconnect_max_s),
            log: raw.log,
        })
    }
}

impl TryFrom<RawData> for DataConfig {
    type Error = ConfigError;

    fn try_from(raw: RawData) -> Result<Self, ConfigError> {
        let named = [("data.name", &raw.name), ("data.text_field", &raw.text_field), ("data.label_field", &raw.label_field)];
        if let Some((key, _)) = named.iter().find(|(_, value)| value.is_empty()) {
            return Err(ConfigError::Empty { key });
        }
        if raw.user_field.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::Empty { key: "data.user_field" });
        }
        let bad_lines = match raw.bad_lines {
            RawBadLines::Skip => BadLines::Skip,
            RawBadLines::Fatal => BadLines::Fatal,
        };
        let RawData { path, name, text_field, label_field, user_field, .. } = raw;
        Ok(Self { path, name, text_field, label_field, user_field, bad_lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_client_without_data() {
        let config = Config::parse("").unwrap();
        assert!(config.data.is_none() && config.max_pass_records.is_none() && config.device == Wanted::Cpu && !config.exit_when_task_ends);
        assert_eq!(config.reconnect_max, Duration::from_secs(300));
    }

    #[test]
    fn everything_that_can_be_set_is_taken() {
        let text = "threads = 2\nmax_pass_records = 3\ndevice = \"cuda-bf16\"\ntier = \"small\"\nbase = \"bert\"\nexit_when_task_ends = true\nreconnect_max_s = 7\nlog = \"debug\"\n\
            [data]\npath = \"r.jsonl\"\nname = \"sms\"\ntext_field = \"t\"\nlabel_field = \"l\"\nuser_field = \"u\"\nbad_lines = \"skip\"\n";
        let config = Config::parse(text).unwrap();
        let data = config.data.unwrap();
        assert_eq!((config.tier.as_deref(), config.base.as_deref()), (Some("small"), Some(Path::new("bert"))));
        assert_eq!((config.max_pass_records.map(NonZeroUsize::get), config.device), (Some(3), Wanted::Cuda));
        assert_eq!(config.precision, Precision::Bf16);
        assert_eq!((config.threads.get(), config.reconnect_max.as_secs()), (2, 7));
        assert_eq!((data.user_field.as_deref(), data.bad_lines), (Some("u"), BadLines::Skip));
    }

    #[test]
    fn devices_have_names_and_others_are_refused() {
        let parsed = |word: &str| Config::parse(&format!("device = \"{word}\"")).map(|c| (c.device, c.precision));
        assert_eq!(parsed("auto-bf16").unwrap(), (Wanted::Auto, Precision::Bf16));
        assert_eq!(parsed("cuda:1").unwrap(), (Wanted::CudaAt(1), Precision::F32));
        for word in ["gpu", "cpu-bf16", "cuda:x", ""] {
            assert!(parsed(word).is_err(), "{word}");
        }
    }

    #[test]
    fn numbers_of_the_plan_are_refused_with_a_hint() {
        for text in [
            "epsilon = 1",
            "noise_multiplier = 1.0",
            "cohort_min = 2",
            "[data]\npath = \"x\"\nname = \"n\"\nclip = 3",
            "[privacy]\nsigma = 1",
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(matches!(error, ConfigError::PrivacyKey { .. }), "{text}: {error:?}");
            assert!(error.to_string().contains("signed plan"));
        }
    }

    #[test]
    fn unknown_keys_and_bad_numbers_are_refused() {
        for text in [
            "thread = 1",
            "threads = \"2\"",
            "reconnect_max_s = 0",
            "reconnect_max_s = 4000",
            "threads = 5000",
            "tier = \"\"",
            "base = \"\"",
            "[data]\nname = \"n\"",
            "[data]\npath = \"x\"\nname = \"\"",
            "[data]\npath = \"x\"\nname = \"n\"\nuser_field = \"\"",
            "x",
            "[data]\npath=\"x\"\nname=\"n\"\nbad_lines=\"maybe\"",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
