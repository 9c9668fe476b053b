//! A decryptor's X-Wing key pair for one round (crypto.md C4, C34, C57). Knows no share and no manifest.

use crate::stack::scrub;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, Serializable};
use privacy::noise::{EntropyError, EntropySource};
use protocol::manifest::PREKEY_BYTES;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an X-Wing secret key (its seed).
pub const PREKEY_SECRET_BYTES: usize = 32;

/// Public bytes that are no X-Wing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prekey is not a valid X-Wing public key")]
pub struct BadPrekey;

/// The secret half. Lives until its round has ended, then the decryptor deletes it; zeroised when dropped.
///
/// ```compile_fail,E0277
/// fn print(secret: &crypto::prekey::PrekeySecret) { println!("{secret:?}"); }
/// ```
pub struct PrekeySecret(Box<Zeroizing<[u8; PREKEY_SECRET_BYTES]>>);

impl PrekeySecret {
    /// A fresh key pair: secret and the 1,216 public bytes.
    ///
    /// # Errors
    /// [`EntropyError`] if the edge has none.
    pub fn generate(entropy: &mut dyn EntropySource) -> Result<(Self, Vec<u8>), EntropyError> {
        let mut secret = Self(Box::default());
        entropy.fill(secret.0.as_mut_slice())?;
        let public = <XWing as Kem>::sk_to_pk(&secret.private()).to_bytes().to_vec();
        scrub();
        Ok((secret, public))
    }

    /// The secret from the decryptor's own store; the caller's copy is wiped.
    pub fn from_bytes(bytes: &mut [u8; PREKEY_SECRET_BYTES]) -> Self {
        let mut secret = Self(Box::default());
        secret.0.copy_from_slice(bytes);
        bytes.zeroize();
        secret
    }

    /// The secret for the decryptor's own store, which deletes it when the round has ended (C57).
    pub fn to_bytes(&self) -> Box<Zeroizing<[u8; PREKEY_SECRET_BYTES]>> {
        let mut bytes = Box::<Zeroizing<[u8; PREKEY_SECRET_BYTES]>>::default();
        bytes.copy_from_slice(self.0.as_slice());
        bytes
    }

    pub(crate) fn private(&self) -> <XWing as Kem>::PrivateKey {
        <XWing as Kem>::PrivateKey::from_bytes(self.0.as_slice()).expect("32 bytes are an X-Wing secret key")
    }
}

/// Parses a public prekey.
///
/// # Errors
/// [`BadPrekey`] for another length or coefficients outside ML-KEM's field.
pub(crate) fn public_key(bytes: &[u8]) -> Result<<XWing as Kem>::PublicKey, BadPrekey> {
    if bytes.len() != PREKEY_BYTES {
        return Err(BadPrekey);
    }
    <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| BadPrekey)
}

/// Whether these bytes are a key that a client can seal to. Decryptors check their own, endorsers everybody's.
///
/// # Errors
/// [`BadPrekey`].
pub fn check_prekey(bytes: &[u8]) -> Result<(), BadPrekey> {
    public_key(bytes).map(drop)
}
