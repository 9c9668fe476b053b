//! `init`: a new federation. Server keys stay in the server's directory, administrators' keys go elsewhere.

use crate::durable;
use crate::identity;
use crate::keyring::KeyRing;
use crate::layout::Layout;
use crate::log::{Log, LogError};
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, SignerKey};
use ed25519_dalek::{SigningKey, VerifyingKey};
use protocol::entry::{Draft, Facts};
use protocol::ids::PublicKey;
use protocol::trust::{TrustDocument, is_name};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a federation could not be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// Another name.
    #[error("a federation's name has 1 to 63 of a-z, 0-9 and '-'")]
    Name,
    /// Keys of the other administrators.
    #[error(
        "the other administrators' public keys are not all different, or one of them is no Ed25519 key; `admin-key` makes and prints one"
    )]
    Administrators,
    /// A threshold that nobody meets, or everybody.
    #[error("{threshold} administrators shall agree, and there are {all}; the threshold is 1 to that number")]
    Threshold {
        /// m.
        threshold: u16,
        /// n.
        all: usize,
    },
    /// There is one already.
    #[error("{0} already holds a federation")]
    Exists(PathBuf),
    /// A file where a key shall go.
    #[error("{0} is there already, and a key is never written over: name another file, or move that one away once no federation needs it")]
    KeyExists(PathBuf),
    /// Keys of a federation that was not finished.
    #[error("{0} holds keys and no federation: `init` ended half-way there. Begin in an empty directory, or move that one away")]
    HalfMade(PathBuf),
    /// There is none.
    #[error("{0} holds no federation; run `concordat-server init` first")]
    Missing(PathBuf),
    /// Its log is gone, or a recovery of it ended in the middle; the guard of its key is still here, so that it had begun.
    #[error(
        "{0} is gone, but the key that signed this log is here: do not make a new federation, run `concordat-server log recover --from` a copy \
         of an institution's mirror, again if it ended in the middle"
    )]
    Lost(PathBuf),
    /// The disk.
    #[error("a file of the server's directory could not be read or written")]
    Storage(#[from] io::Error),
    /// No randomness.
    #[error("the operating system gives no randomness")]
    Entropy,
    /// The statement key in force is not here.
    #[error("the server's keys lack the statement key that the trust document in force names; put back its file of the directory `keys`")]
    Statement,
    /// A key of the log is not here.
    #[error("the server's keys lack a key of the log; put back its file of the directory `keys`")]
    LogKey,
    /// A key file is damaged.
    #[error("a key file of the server's directory is damaged")]
    Key,
    /// TLS.
    #[error("a TLS certificate could not be made")]
    Identity(#[from] identity::IdentityError),
    /// The log.
    #[error(transparent)]
    Log(Box<dyn std::error::Error + Send + Sync>),
}

impl From<LogError> for InitError {
    fn from(e: LogError) -> Self {
        Self::Log(Box::new(e))
    }
}

impl From<rcgen::Error> for InitError {
    fn from(e: rcgen::Error) -> Self {
        Self::Identity(e.into())
    }
}

/// The server's own keys, in memory.
pub(crate) struct Keys {
    pub(crate) statement: SigningKey,
    pub(crate) token_mac: Zeroizing<[u8; 32]>,
    pub(crate) tls: rcgen::KeyPair,
    pub(crate) root: rcgen::KeyPair,
    pub(crate) root_der: rustls::pki_types::CertificateDer<'static>,
}

/// The server's keys by the names of their files.
const SECRETS: [&str; 5] = ["log", "statement", "token-mac", "root-ca.pem", "tls.pem"];

pub(crate) fn seed() -> Result<Zeroizing<[u8; 32]>, InitError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut bytes[..]).map_err(|_| InitError::Entropy)?;
    Ok(bytes)
}

/// Who else administers, and how many must say the same (audit.md A14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrators {
    /// Public keys of the others; the first one's key is made here.
    pub others: Vec<PublicKey>,
    /// m.
    pub threshold: u16,
}

impl Default for Administrators {
    fn default() -> Self {
        Self { others: Vec::new(), threshold: 1 }
    }
}

/// Makes a federation in `dir`, with one administrator whose key goes to `admin_key`. Returns the trust document's bytes.
///
/// # Errors
/// [`InitError`]; an existing federation is never touched, and no file that may be a key is written over.
pub fn init(dir: &Path, federation: &str, admin_key: &Path) -> Result<Vec<u8>, InitError> {
    init_with(dir, federation, admin_key, &Administrators::default())
}

/// As [`init`], with more administrators.
///
/// # Errors
/// [`InitError`]; an existing federation is never touched, and no file that may be a key is written over.
pub fn init_with(dir: &Path, federation: &str, admin_key: &Path, administrators: &Administrators) -> Result<Vec<u8>, InitError> {
    if !is_name(federation) {
        return Err(InitError::Name);
    }
    let threshold = administrators.threshold;
    check_administrators(&administrators.others, 1, threshold)?;
    let layout = Layout::new(dir);
    if layout.trust().exists() {
        return Err(InitError::Exists(dir.to_owned()));
    }
    if SECRETS.iter().any(|name| layout.key(name).exists()) {
        return Err(InitError::HalfMade(dir.to_owned()));
    }
    let log_seed = seed()?;
    let origin = Checkpoint::origin_of(federation);
    let log_key = SignerKey::new(&origin, KeyType::Note, &log_seed).map_err(|_| InitError::Key)?;
    let (statement, admin, mac) = (seed()?, seed()?, seed()?);
    let root_key = rcgen::KeyPair::generate()?;
    let tls_key = rcgen::KeyPair::generate()?;
    let root = identity::make_root(federation, &root_key, crate::driver::now())?;
    write_admin_key(admin_key, &admin)?;
    for (name, bytes) in [("log", &log_seed), ("statement", &statement), ("token-mac", &mac)] {
        create_key(&layout.key(name), &bytes[..])?;
    }
    create_key(&layout.key("root-ca.pem"), Zeroizing::new(root_key.serialize_pem()).as_bytes())?;
    create_key(&layout.key("tls.pem"), Zeroizing::new(tls_key.serialize_pem()).as_bytes())?;
    durable::replace(&layout.key("root-ca.der"), &root)?;
    let trust = TrustDocument {
        v: 1,
        federation: federation.to_owned(),
        log_vkey: log_key.verifier().to_string(),
        root_ca: identity::spki_hash(&root)?,
        administrators: std::iter::once(public(&admin)).chain(administrators.others.iter().copied()).collect(),
        threshold,
        server: public(&statement),
        previous: None,
    };
    let bytes = trust.to_bytes();
    let mut log = Log::open(&layout.audit(), &layout.key("log-guard"), KeyRing::new(&layout), trust)?;
    log.append(&[Draft::server(Facts::FederationCreated { trust: TrustDocument::hash(&bytes) })])?;
    // Written last: its presence says that the federation is whole.
    durable::write_new(&layout.trust(), &bytes)?;
    Ok(bytes)
}

/// Whether as many of these administrators, and of so many more whose keys are not made yet, can say the same.
pub(crate) fn check_administrators(known: &[PublicKey], more: usize, threshold: u16) -> Result<(), InitError> {
    let distinct = known.iter().collect::<BTreeSet<_>>().len() == known.len();
    if !distinct || known.iter().any(|k| VerifyingKey::from_bytes(&k.0).is_err()) {
        return Err(InitError::Administrators);
    }
    let all = known.len() + more;
    if threshold == 0 || usize::from(threshold) > all { Err(InitError::Threshold { threshold, all }) } else { Ok(()) }
}

fn public(seed: &Zeroizing<[u8; 32]>) -> PublicKey {
    PublicKey(SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

/// Makes an administrator's key, where only its owner can read it; for those whose keys are not made by [`init`].
///
/// # Errors
/// [`InitError`]; a file of that name is never written over.
pub fn make_admin_key(path: &Path) -> Result<PublicKey, InitError> {
    let key = seed()?;
    write_admin_key(path, &key)?;
    Ok(public(&key))
}

/// As [`read_admin_key`] reads it.
fn write_admin_key(path: &Path, seed: &Zeroizing<[u8; 32]>) -> Result<(), InitError> {
    create_key(path, Zeroizing::new(hex::encode(&seed[..])).as_bytes())
}

/// Writes a key where nothing is yet.
pub(crate) fn create_key(path: &Path, bytes: &[u8]) -> Result<(), InitError> {
    durable::create_secret(path, bytes)
        .map_err(|e| if e.kind() == io::ErrorKind::AlreadyExists { InitError::KeyExists(path.to_owned()) } else { InitError::Storage(e) })
}

/// Reads an administrator's key file.
///
/// # Errors
/// [`InitError`] if it is not there, not 32 bytes of hexadecimal, or readable by others.
pub fn read_admin_key(path: &Path) -> Result<SigningKey, InitError> {
    let text = durable::read_secret(path, 128)?;
    let mut bytes = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim_ascii(), &mut bytes[..]).map_err(|_| InitError::Key)?;
    Ok(SigningKey::from_bytes(&bytes))
}

fn secret(layout: &Layout, name: &str) -> Result<Zeroizing<[u8; 32]>, InitError> {
    let bytes = durable::read_secret(&layout.key(name), 32)?;
    <[u8; 32]>::try_from(&bytes[..]).map(Zeroizing::new).map_err(|_| InitError::Key)
}

/// Where a statement key lies that was made after the first one.
fn statement_name(public: &PublicKey) -> String {
    format!("statement-{}", &public.to_hex()[..16])
}

/// Makes another statement key of the server; it is used once a trust document that names it is in force.
pub(crate) fn make_statement_key(layout: &Layout) -> Result<PublicKey, InitError> {
    let key = seed()?;
    let public = public(&key);
    create_key(&layout.key(&statement_name(&public)), &key[..])?;
    Ok(public)
}

/// Erases a statement key that was made for a trust document which came to nothing.
pub(crate) fn erase_statement_key(layout: &Layout, public: &PublicKey) -> io::Result<()> {
    durable::erase(&layout.key(&statement_name(public)))
}

/// The server's statement key with this public half: the first one, or one that was made for a later trust document.
pub(crate) fn statement_key(layout: &Layout, public: &PublicKey) -> Result<SigningKey, InitError> {
    let later = statement_name(public);
    let name = if layout.key(&later).exists() { later.as_str() } else { "statement" };
    let key = SigningKey::from_bytes(&*secret(layout, name)?);
    if key.verifying_key().to_bytes() == public.0 { Ok(key) } else { Err(InitError::Statement) }
}

/// The key that a trust document names for the log.
#[cfg(test)]
pub(crate) fn log_key(layout: &Layout, trust: &TrustDocument) -> Result<SignerKey, InitError> {
    let key: audit::key::VerifierKey = trust.log_vkey.parse().map_err(|_| InitError::Key)?;
    KeyRing::new(layout).find(&key)?.ok_or(InitError::LogKey)
}

/// Opens keys and log of an existing federation.
pub(crate) fn open(layout: &Layout) -> Result<(Keys, Log, Vec<u8>), InitError> {
    let bytes = match durable::read_limited(&layout.trust(), TrustDocument::MAX_BYTES as u64) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let lost = layout.key("log-guard").exists() && !layout.audit().exists();
            return Err(if lost { InitError::Lost(layout.audit()) } else { InitError::Missing(layout.audit()) });
        }
        other => other?,
    };
    let trust = TrustDocument::parse(&bytes).map_err(|_| InitError::Key)?;
    let pem = |name: &str| -> Result<rcgen::KeyPair, InitError> {
        let bytes = durable::read_secret(&layout.key(name), 16 << 10)?;
        Ok(rcgen::KeyPair::from_pem(std::str::from_utf8(&bytes).map_err(|_| InitError::Key)?)?)
    };
    let (token_mac, tls, root) = (secret(layout, "token-mac")?, pem("tls.pem")?, pem("root-ca.pem")?);
    let root_der = durable::read_limited(&layout.key("root-ca.der"), 16 << 10)?.into();
    let log = Log::open(&layout.audit(), &layout.key("log-guard"), KeyRing::new(layout), trust)?;
    // Which statement key is in force, the log says.
    let statement = statement_key(layout, &log.history().trust().server)?;
    Ok((Keys { statement, token_mac, tls, root, root_der }, log, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_federation_has_the_administrators_and_the_threshold_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let second = make_admin_key(&at("second.key")).unwrap();
        assert!(matches!(make_admin_key(&at("second.key")), Err(InitError::KeyExists(_))), "a key is never written over");
        let make = |name: &str, others: Vec<PublicKey>, threshold| {
            init_with(&at(name), "demo", &at("first.key"), &Administrators { others, threshold }).map(|b| TrustDocument::parse(&b).unwrap())
        };
        assert!(matches!(make("a", vec![second], 3), Err(InitError::Threshold { threshold: 3, all: 2 })));
        assert!(matches!(make("a", vec![second], 0), Err(InitError::Threshold { .. })));
        assert!(matches!(make("a", vec![second, second], 2), Err(InitError::Administrators)));
        let trust = make("a", vec![second], 2).unwrap();
        let first = PublicKey(read_admin_key(&at("first.key")).unwrap().verifying_key().to_bytes());
        assert_eq!((trust.threshold, trust.administrators), (2, vec![first, second]));
        assert_eq!(PublicKey(read_admin_key(&at("second.key")).unwrap().verifying_key().to_bytes()), second);
    }
    #[test]
    fn no_key_of_anybody_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        make_admin_key(&at("admin.key")).unwrap();
        let before = std::fs::read(at("admin.key")).unwrap();
        let error = init(&at("server"), "demo", &at("admin.key")).unwrap_err();
        assert!(matches!(&error, InitError::KeyExists(path) if *path == at("admin.key")), "{error}");
        assert!(error.to_string().contains("name another file"), "{error}");
        assert_eq!(std::fs::read(at("admin.key")).unwrap(), before);
        assert!(!at("server").exists(), "refused before anything was made");
        // What ended half-way has keys, and they stay.
        let layout = Layout::new(&at("half"));
        durable::create_secret(&layout.key("log"), b"a key of the log").unwrap();
        assert!(matches!(init(&at("half"), "demo", &at("new.key")), Err(InitError::HalfMade(_))));
        assert_eq!(std::fs::read(layout.key("log")).unwrap(), b"a key of the log");
        assert!(!at("new.key").exists());
    }
}
