//! The institution's secrets, each for one use (transport-storage.md T18, T19): statement key, witness key, TLS key, hedge secret.
//! Knows no network.

mod next;

pub(crate) use next::{
    adopt_statement, adopt_witness, forget_next_witness, is_statement_pending, later_statement_keys, next_statement, next_witness,
    pending_witness,
};

use crate::clock::OsEntropy;
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use crate::tls;
use audit::key::{KeyError, KeyType, SignerKey};
use audit::policy::Policy;
use crypto::sampler::HedgeSecret;
use ed25519_dalek::SigningKey;
use privacy::noise::{EntropyError, EntropySource as _};
use protocol::ids::{ClientId, PublicKey};
use protocol::statement::{Payload, Statement};
use rcgen::KeyPair;
use zeroize::Zeroizing;

const INSTITUTION: &str = "institution.seed";
const WITNESS: &str = "witness.key";
const TLS: &str = "tls.pem";
/// The TLS key that shall replace the present one.
const TLS_NEXT: &str = "tls-next.pem";
const HEDGE: &str = "hedge.secret";
/// Longest key file: a PEM of a few hundred bytes fits many times over.
const MAX_KEY_FILE: usize = 16 * 1024;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file.
    #[error("the keys could not be read or written")]
    Store(#[from] StoreError),
    /// The witness key is not one, or its name cannot stand in a note.
    #[error("the witness key is not usable")]
    Witness(#[source] KeyError),
    /// The TLS key is not one.
    #[error("the TLS key is not usable")]
    Tls(#[source] rcgen::Error),
    /// The log may know the next statement key already, and nothing is signed with the one before it.
    #[error("a change of the statement key is not over: give concordat-client keys rotate --purpose statement again")]
    Unfinished,
    /// No randomness to make keys of.
    #[error("the source of entropy failed")]
    Entropy(#[from] EntropyError),
}

/// The secrets. No `Debug`, no copy; wiped when dropped.
pub struct Keys {
    institution: SigningKey,
    /// Statement keys that it ever had, the present one last; none while that is the first.
    known: Vec<PublicKey>,
    witness: SignerKey,
    /// What cosigns when a policy names it.
    next_witness: Option<SignerKey>,
    tls: KeyPair,
    hedge: HedgeSecret,
}

impl Keys {
    /// Reads the keys of whoever is no member yet, making those that are not there. Files have mode 0600.
    ///
    /// # Errors
    /// [`KeysError`]; a file that others may read is refused.
    pub(crate) fn load_or_make(home: &Home, witness_name: &str) -> Result<Self, KeysError> {
        make_missing(home, witness_name)?;
        Self::load(home)
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// [`KeysError`]; a file that others may read is refused.
    ///
    /// A TLS key that was rotated, and has its certificate, takes the place of the old one here: a crash in between loses neither.
    pub(crate) fn load(home: &Home) -> Result<Self, KeysError> {
        settle_rotation(home)?;
        next::settle(home)?;
        Ok(Self {
            institution: SigningKey::from_bytes(&*seed(home, INSTITUTION)?),
            known: next::known(home)?,
            witness: witness_key(home, WITNESS)?,
            next_witness: pending_witness(home)?,
            tls: KeyPair::from_pem(&text(home, TLS)?).map_err(KeysError::Tls)?,
            hedge: HedgeSecret::new(&mut *seed(home, HEDGE)?),
        })
    }

    /// Reads the keys for a process that signs: not in the middle of a change of the statement key.
    ///
    /// # Errors
    /// [`KeysError::Unfinished`], or as [`Self::load`].
    pub(crate) fn load_settled(home: &Home) -> Result<Self, KeysError> {
        let keys = Self::load(home)?;
        if is_statement_pending(home) { Err(KeysError::Unfinished) } else { Ok(keys) }
    }

    /// The same with the next statement key, which the log may have already; nothing where no change of it was begun.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_next(home: &Home) -> Result<Option<Self>, KeysError> {
        let keys = Self::load(home)?;
        if !is_statement_pending(home) {
            return Ok(None);
        }
        // The institution's id stays that of its first key.
        let known = if keys.known.is_empty() { vec![keys.public()] } else { keys.known.clone() };
        Ok(Some(Self { institution: next_statement(home)?, known, ..keys }))
    }

    /// The public statement key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.institution.verifying_key().to_bytes())
    }
    /// The institution: by its first statement key, whatever key it has now.
    pub fn client(&self) -> ClientId {
        ClientId::of(&self.known.first().copied().unwrap_or_else(|| self.public()))
    }
    /// Statement keys after the first, oldest first.
    pub(crate) fn later(&self) -> &[PublicKey] {
        self.known.get(1..).unwrap_or_default()
    }
    /// Signs with the institution's key.
    pub(crate) fn sign<P: Payload>(&self, value: &P) -> Statement {
        Statement::sign(value, &self.institution)
    }
    /// The witness's key.
    pub(crate) fn witness(&self) -> &SignerKey {
        &self.witness
    }
    /// The key that cosigns what this policy judges: the next one where the policy names it, else the one so far (audit.md A12).
    pub(crate) fn witness_for(&self, policy: Option<&Policy>) -> &SignerKey {
        self.next_witness.as_ref().filter(|_| self.is_next_named(policy)).unwrap_or(&self.witness)
    }
    /// Whether there is a next witness key, and this policy names it.
    pub(crate) fn is_next_named(&self, policy: Option<&Policy>) -> bool {
        let names = |key: &SignerKey| policy.is_some_and(|p| p.witnesses().iter().any(|w| w.key == *key.verifier()));
        self.next_witness.as_ref().is_some_and(names)
    }
    /// The TLS key.
    pub(crate) fn tls(&self) -> &KeyPair {
        &self.tls
    }
    /// The hedge of round secrets (crypto.md C19).
    pub(crate) fn hedge(&self) -> &HedgeSecret {
        &self.hedge
    }
}

fn make_missing(home: &Home, witness_name: &str) -> Result<(), KeysError> {
    for name in [INSTITUTION, HEDGE] {
        if !home.key(name).exists() {
            files::replace_secret(&home.key(name), fresh_seed()?.as_slice(), Item::Key)?;
        }
    }
    // A witness has its institution's name: one that was made for another enrolment, which came to nothing, is none for this one.
    if !home.key(WITNESS).exists() || witness_key(home, WITNESS)?.verifier().name() != witness_name {
        make_witness(home, WITNESS, witness_name)?;
    }
    if !home.key(TLS).exists() {
        make_tls(home, TLS)?;
    }
    Ok(())
}

/// Makes a witness key; it is on the disk when this returns.
fn make_witness(home: &Home, file: &str, name: &str) -> Result<(), KeysError> {
    let key = SignerKey::new(name, KeyType::Cosignature, &*fresh_seed()?).map_err(KeysError::Witness)?;
    Ok(files::replace_secret(&home.key(file), key.to_secret_text().as_bytes(), Item::Key)?)
}

fn witness_key(home: &Home, file: &str) -> Result<SignerKey, KeysError> {
    SignerKey::from_secret_text(&text(home, file)?).map_err(KeysError::Witness)
}

fn seed(home: &Home, file: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let bytes = files::read_secret(&home.key(file), 32, Item::Key)?;
    let seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| StoreError::Damaged(Item::Key))?;
    Ok(Zeroizing::new(seed))
}

fn public(seed: &[u8; 32]) -> PublicKey {
    PublicKey(SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

/// Makes a TLS key; it is on the disk when it comes back.
fn make_tls(home: &Home, name: &str) -> Result<KeyPair, KeysError> {
    let key = KeyPair::generate().map_err(KeysError::Tls)?;
    let pem = Zeroizing::new(key.serialize_pem());
    files::replace_secret(&home.key(name), pem.as_bytes(), Item::Key)?;
    Ok(key)
}

/// The text of a key file.
fn text(home: &Home, name: &str) -> Result<Zeroizing<String>, KeysError> {
    let bytes = files::read_secret(&home.key(name), MAX_KEY_FILE, Item::Key)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| StoreError::Damaged(Item::Key))?;
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

/// The TLS key that shall replace the present one: the one that an interrupted rotation left, or a fresh one.
pub(crate) fn next_tls(home: &Home) -> Result<KeyPair, KeysError> {
    match pending_tls(home)? {
        Some(pending) => Ok(pending),
        None => make_tls(home, TLS_NEXT),
    }
}

/// The TLS key of a rotation that is not over.
pub(crate) fn pending_tls(home: &Home) -> Result<Option<KeyPair>, KeysError> {
    read_next(home)?.map(|pem| KeyPair::from_pem(&pem).map_err(KeysError::Tls)).transpose()
}

fn read_next(home: &Home) -> Result<Option<Zeroizing<String>>, KeysError> {
    if home.key(TLS_NEXT).exists() { text(home, TLS_NEXT).map(Some) } else { Ok(None) }
}

/// A new TLS key whose certificate is there is the TLS key.
fn settle_rotation(home: &Home) -> Result<(), KeysError> {
    let Some(pem) = read_next(home)? else { return Ok(()) };
    let key = KeyPair::from_pem(&pem).map_err(KeysError::Tls)?;
    let leaf = files::read_if_there(&home.certificate("leaf.der"), MAX_KEY_FILE, Item::Certificate)?;
    if leaf.is_some_and(|leaf| tls::spki_hash(&leaf).is_ok_and(|hash| hash == tls::key_hash(&key))) {
        files::replace_secret(&home.key(TLS), pem.as_bytes(), Item::Key)?;
        files::remove(&home.key(TLS_NEXT), Item::Key)?;
    }
    Ok(())
}

fn fresh_seed() -> Result<Zeroizing<[u8; 32]>, EntropyError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    OsEntropy.fill(seed.as_mut())?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_come_back_and_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let first = Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap();
        let again = Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap();
        assert_eq!((first.client(), first.witness().verifier()), (again.client(), again.witness().verifier()));
        for name in [INSTITUTION, WITNESS, TLS, HEDGE] {
            assert_eq!(std::fs::metadata(home.key(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_witness_has_the_name_of_the_enrolment_that_it_is_made_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let first = Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap();
        let other = Keys::load_or_make(&home, "fed/hospital-b").ok().unwrap();
        assert_eq!(other.witness().verifier().name(), "fed/hospital-b");
        assert!(other.client() == first.client() && other.witness().verifier().public() != first.witness().verifier().public());
    }

    #[test]
    fn a_rotated_tls_key_takes_over_with_its_certificate_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let old = tls::key_hash(Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap().tls());
        let next = next_tls(&home).ok().unwrap();
        let new = tls::key_hash(&next);
        assert!(old != new && tls::key_hash(&next_tls(&home).ok().unwrap()) == new, "a second try has the same key");
        let present = || tls::key_hash(Keys::load(&home).ok().unwrap().tls());
        assert_eq!(present(), old);
        let certificate = |key: &KeyPair| rcgen::CertificateParams::default().self_signed(key).unwrap().der().to_vec();
        files::replace(&home.certificate("leaf.der"), &certificate(&KeyPair::generate().unwrap()), Item::Certificate).unwrap();
        assert_eq!(present(), old, "a certificate for another key");
        files::replace(&home.certificate("leaf.der"), &certificate(&next), Item::Certificate).unwrap();
        assert_eq!((present(), present()), (new, new));
        assert!(pending_tls(&home).ok().unwrap().is_none());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap();
        for name in [INSTITUTION, WITNESS, TLS, HEDGE] {
            let path = home.key(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(Keys::load(&home), Err(KeysError::Store(StoreError::Exposed(Item::Key)))), "{name}");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(Keys::load(&home).is_ok());
    }
}
