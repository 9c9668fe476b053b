//! Keys that sign notes, and their text forms (A8). Knows no note: it signs and checks bytes.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::strict::Signed;
use crate::{cosign, text};

/// Longest key name, in bytes: a URL without a query fits, and 128 of them fit a note.
pub const MAX_NAME_BYTES: usize = 255;

const SECRET_PREFIX: &str = "PRIVATE+KEY+";

/// What a key signs; its byte is part of the key id. ML-DSA-44 (0x06) will be a further variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyType {
    /// Ed25519 over the note text: the log's key.
    Note,
    /// Ed25519 over a timestamp and the note text: a witness's key.
    Cosignature,
}

impl KeyType {
    /// The type byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Note, Self::Cosignature].into_iter().find(|t| t.byte() == byte)
    }
}

/// The four bytes that, with the name, tell which key made a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// A text or key that is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Empty, too long, or with a space, a plus or a control character.
    #[error("not a key name")]
    BadName,
    /// Not `name+id+base64`.
    #[error("not the text form of a key")]
    BadForm,
    /// A type byte that is not known here.
    #[error("unknown key type {got:#04x}")]
    UnknownType {
        /// The byte.
        got: u8,
    },
    /// Not a point of the curve, or of small order.
    #[error("not a usable Ed25519 public key")]
    BadPoint,
    /// The id in the text is not that of the key.
    #[error("key id {got} does not belong to the key, whose id is {expected}")]
    WrongId {
        /// Id recomputed from the key.
        expected: KeyId,
        /// Id in the text.
        got: KeyId,
    },
}

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A named public key (`name+id+base64(type‖key)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    kind: KeyType,
    key: VerifyingKey,
}

/// Whether `name` may stand in a signature line: not empty, no Unicode space, plus or control character, at most
/// [`MAX_NAME_BYTES`].
pub fn is_key_name(name: &str) -> bool {
    let good = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(good)
}

fn key_id(name: &str, kind: KeyType, public: &[u8; 32]) -> KeyId {
    let hash = Sha256::new_with_prefix(name).chain_update([b'\n', kind.byte()]).chain_update(public).finalize();
    KeyId([hash[0], hash[1], hash[2], hash[3]])
}

impl VerifierKey {
    /// Names a public key.
    ///
    /// # Errors
    /// [`KeyError`] for a bad name or a point that strict verification would never accept.
    pub fn new(name: &str, kind: KeyType, public: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::BadName);
        }
        let key = VerifyingKey::from_bytes(public).ok().filter(|k| !k.is_weak()).ok_or(KeyError::BadPoint)?;
        Ok(Self { name: name.to_owned(), id: key_id(name, kind, public), kind, key })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the key signs.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The public key's bytes.
    pub fn public(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Checks a signature blob over a note's text. A cosignature yields its time in seconds since 1970.
    ///
    /// # Security
    /// Always `verify_strict`, never in batches: auditors must agree (A8). [`crate::strict::Strict`] gives the same verdicts faster.
    ///
    /// # Errors
    /// [`BadSignature`] for a wrong length, a time above 2^63 − 1 or a signature that does not hold.
    pub fn verify(&self, note_text: &str, blob: &[u8]) -> Result<Option<u64>, BadSignature> {
        let (signed, time) = self.signed(note_text, blob).ok_or(BadSignature)?;
        if self.holds(&signed) { Ok(time) } else { Err(BadSignature) }
    }

    /// Whether a signature of this key holds by the strict rule; the key is at hand as a point already.
    pub(crate) fn holds(&self, signed: &Signed) -> bool {
        self.public() == signed.key && self.key.verify_strict(&signed.message, &Signature::from_bytes(&signed.signature)).is_ok()
    }

    /// What a signature blob over a note's text signs, and the time of a cosignature; nothing for a blob of the wrong length or time.
    pub fn signed(&self, note_text: &str, blob: &[u8]) -> Option<(Signed, Option<u64>)> {
        let (message, signature, time) = match self.kind {
            KeyType::Note => (note_text.as_bytes().to_vec(), blob, None),
            KeyType::Cosignature => {
                let (time, signature) = cosign::split(blob)?;
                (cosign::message(time, note_text), signature, Some(time))
            }
        };
        Some((Signed { key: self.public(), message, signature: signature.try_into().ok()? }, time))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = vec![self.kind.byte()];
        material.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, text::to_base64(&material))
    }
}

/// The parts of `name+id+base64(type‖32 bytes)`; the bytes may be secret.
struct KeyForm<'a> {
    name: &'a str,
    id: KeyId,
    kind: KeyType,
    bytes: Zeroizing<[u8; 32]>,
}

impl<'a> KeyForm<'a> {
    fn parse(form: &'a str) -> Result<Self, KeyError> {
        let mut parts = form.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else { return Err(KeyError::BadForm) };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.len() != 8 || !id.bytes().all(lower_hex) || material.len() != 44 {
            return Err(KeyError::BadForm);
        }
        let id = KeyId(u32::from_str_radix(id, 16).map_err(|_| KeyError::BadForm)?.to_be_bytes());
        let material = Zeroizing::new(text::from_base64(material).ok_or(KeyError::BadForm)?);
        let (kind, bytes) = material.split_first().ok_or(KeyError::BadForm)?;
        let kind = KeyType::from_byte(*kind).ok_or(KeyError::UnknownType { got: *kind })?;
        let mut own = Zeroizing::new([0; 32]);
        if bytes.len() != own.len() {
            return Err(KeyError::BadForm);
        }
        own.copy_from_slice(bytes);
        Ok(Self { name, id, kind, bytes: own })
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        let form = KeyForm::parse(vkey)?;
        let key = Self::new(form.name, form.kind, &form.bytes)?;
        if key.id == form.id { Ok(key) } else { Err(KeyError::WrongId { expected: key.id, got: form.id }) }
    }
}

/// A named secret key. It has no text form but [`Self::to_secret_text`], no `Debug`, no copy, and is wiped when dropped.
pub struct SignerKey {
    verifier: VerifierKey,
    secret: SigningKey,
}

impl SignerKey {
    /// Names the key that grows from this seed.
    ///
    /// # Errors
    /// [`KeyError::BadName`].
    pub fn new(name: &str, kind: KeyType, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, kind, &secret.verifying_key().to_bytes())?;
        Ok(Self { verifier, secret })
    }

    /// Reads `PRIVATE+KEY+name+id+base64(type‖seed)`.
    ///
    /// # Errors
    /// [`KeyError`] if the text is anything else.
    pub fn from_secret_text(skey: &str) -> Result<Self, KeyError> {
        let form = KeyForm::parse(skey.strip_prefix(SECRET_PREFIX).ok_or(KeyError::BadForm)?)?;
        let key = Self::new(form.name, form.kind, &form.bytes)?;
        let expected = key.verifier.id;
        if expected == form.id { Ok(key) } else { Err(KeyError::WrongId { expected, got: form.id }) }
    }

    /// Writes `PRIVATE+KEY+name+id+base64(type‖seed)`.
    ///
    /// # Security
    /// The text is the key: it is wiped when dropped, and belongs in a file that only its owner can read.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let mut material = [0; 33];
        material[0] = self.verifier.kind.byte();
        material[1..].copy_from_slice(self.secret.as_bytes());
        let encoded = Zeroizing::new(text::to_base64(&material));
        material.zeroize();
        Zeroizing::new([SECRET_PREFIX, &self.verifier.name, "+", &self.verifier.id.to_string(), "+", &encoded].concat())
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Ed25519 over `message`, as it stands; the caller has put the right frame around it.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key of the worked example in the documentation of Go's sumdb/note.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SKEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn keys_have_the_text_forms_of_go() {
        let key: VerifierKey = VKEY.parse().unwrap();
        assert_eq!(key.to_string(), VKEY);
        let signer = SignerKey::from_secret_text(SKEY).ok().unwrap();
        assert_eq!(*signer.verifier(), key);
        assert_eq!(*signer.to_secret_text(), SKEY);
    }

    #[test]
    fn a_key_text_with_any_changed_byte_is_refused_or_another_key() {
        let key: VerifierKey = VKEY.parse().unwrap();
        for at in 0..VKEY.len() {
            let mut bytes = VKEY.as_bytes().to_vec();
            bytes[at] ^= 1;
            let parsed = String::from_utf8(bytes).unwrap().parse::<VerifierKey>();
            assert!(parsed.is_err(), "byte {at} of {key}: {parsed:?}");
        }
    }

    #[test]
    fn weak_keys_and_bad_names_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(VerifierKey::new("a", KeyType::Note, &identity), Err(KeyError::BadPoint));
        let seed = [7; 32];
        for bad in ["", "a b", "a+b", "a\u{2003}b", "a\nb", "a\u{7f}b", &"n".repeat(256)] {
            assert!(SignerKey::new(bad, KeyType::Note, &seed).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_type_is_part_of_the_id() {
        let id = |kind| SignerKey::new("w.example", kind, &[1; 32]).ok().unwrap().verifier().id();
        assert_ne!(id(KeyType::Note), id(KeyType::Cosignature));
    }

    proptest! {
        #[test]
        fn parsing_a_key_is_canonical(text in "[a-c]{1,3}\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]{44}") {
            if let Ok(key) = text.parse::<VerifierKey>() { prop_assert_eq!(key.to_string(), text); }
        }
    }
}
