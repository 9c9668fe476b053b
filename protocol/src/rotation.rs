//! An institution goes on with another statement key, or with another witness key, by its own signed word (audit.md A8, A10, A12, A17, A19). Its
//! TLS key is [`crate::renewal`]'s. Knows no log.

use crate::ids::{ClientId, PublicKey, Sha256};
use crate::statement::{Payload, Statement, StatementError, StatementKind};
use ed25519_dalek::SigningKey;
use minicbor::{CborLen, Decode, Encode};

/// Longest witness as tlog-policy writes it: a name of 255 bytes, a key id and a key fit.
const MAX_VKEY: usize = 512;

/// What entries name a statement key by: SHA-256 of its 32 bytes (A17). It is the institution's id too, for the first key that it ever had.
pub fn keyid(key: &PublicKey) -> Sha256 {
    Sha256(ClientId::of(key).0)
}

/// What entries name a witness by: SHA-256 of its text in a policy.
pub fn witness_id(vkey: &str) -> Sha256 {
    Sha256(crate::hash::sha256(&[vkey.as_bytes()]))
}

/// From an entry on, another key speaks for an institution. Signed by the new key, which shows that the institution has it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct StatementKeyChange {
    /// The federation.
    #[n(0)]
    pub federation: String,
    /// The institution. Its id stays that of its first key.
    #[n(1)]
    pub institution: ClientId,
    /// The key so far.
    #[n(2)]
    pub old: PublicKey,
    /// The one that takes its place.
    #[n(3)]
    pub new: PublicKey,
}

impl Payload for StatementKeyChange {
    const KIND: StatementKind = StatementKind::StatementKeyChange;
}

/// The same, signed by the old key over what the new one signed: nobody can name a key that he does not have, or the key of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct StatementKeyRotation {
    /// A [`StatementKeyChange`], signed by the new key.
    #[n(0)]
    pub proof: Statement,
}

impl Payload for StatementKeyRotation {
    const KIND: StatementKind = StatementKind::StatementKeyRotation;
}

impl StatementKeyRotation {
    /// The change as the old key signs it; `new` is the new key.
    pub fn new(change: &StatementKeyChange, new: &SigningKey) -> Self {
        Self { proof: Statement::sign(change, new) }
    }

    /// The change, if the key that it names has signed it.
    ///
    /// # Errors
    /// [`StatementError`], the first rule broken.
    pub fn change(&self) -> Result<StatementKeyChange, StatementError> {
        let change: StatementKeyChange = self.proof.verify()?;
        if self.proof.key == change.new { Ok(change) } else { Err(StatementError::WrongKey { got: self.proof.key, expected: change.new }) }
    }
}

/// An institution has another witness key: policies that are activated from here on name it. Until one does, the old key cosigns. Signed by its
/// statement key alone, because a witness key signs nothing but checkpoints (A26).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct WitnessKeyRotation {
    /// The federation.
    #[n(0)]
    pub federation: String,
    /// The institution.
    #[n(1)]
    pub institution: ClientId,
    /// The witness so far, as [`witness_id`] gives it.
    #[n(2)]
    pub old: Sha256,
    /// The one that takes its place, as tlog-policy writes it.
    #[n(3)]
    pub new: String,
}

impl Payload for WitnessKeyRotation {
    const KIND: StatementKind = StatementKind::WitnessKeyRotation;
}

impl WitnessKeyRotation {
    /// Whether the new witness can stand in a policy as far as that shows without knowing the format of keys.
    pub fn is_sound(&self) -> bool {
        (1..=MAX_VKEY).contains(&self.new.len()) && self.new.chars().all(|c| !c.is_whitespace() && !c.is_control())
    }

    /// Whether the new witness has the name of `old`, as tlog-policy writes it. A signature line names its key by that and by 32 bits of a hash:
    /// under another institution's name a key could be made that this institution's lines are taken for, and every note with one is refused.
    pub fn keeps_name(&self, old: &str) -> bool {
        let name = |vkey: &str| vkey.split_once('+').map(|(name, _)| name.to_owned());
        name(&self.new).is_some_and(|new| name(old) == Some(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn public(n: u8) -> PublicKey {
        PublicKey(key(n).verifying_key().to_bytes())
    }

    fn change() -> StatementKeyChange {
        StatementKeyChange { federation: "test".into(), institution: ClientId::of(&public(1)), old: public(1), new: public(2) }
    }

    #[test]
    fn the_new_key_signs_the_change_that_names_it_and_no_other_key_can() {
        let good = StatementKeyRotation::new(&change(), &key(2));
        assert_eq!(good.change(), Ok(change()));
        let said = Statement::sign(&good, &key(1));
        assert_eq!(said.verify_by::<StatementKeyRotation>(&public(1)).unwrap().change(), Ok(change()));
        for n in [1, 3] {
            let error = StatementKeyRotation::new(&change(), &key(n)).change().unwrap_err();
            assert!(matches!(error, StatementError::WrongKey { .. }), "{error}");
        }
        let mut forged = good.clone();
        forged.proof.payload = codec::encode(&StatementKeyChange { institution: ClientId::of(&public(9)), ..change() });
        assert_eq!(forged.change(), Err(StatementError::BadSignature));
        // What the new key signed is no rotation by itself.
        assert!(good.proof.verify::<StatementKeyRotation>().is_err());
    }

    #[test]
    fn a_witness_is_one_word_of_bounded_length() {
        let said = |new: &str| WitnessKeyRotation {
            federation: "test".into(),
            institution: ClientId([1; 32]),
            old: Sha256([2; 32]),
            new: new.into(),
        };
        assert!(said("test/a+00000001+AA==").is_sound());
        for bad in ["", "a b", "a\n", &"a".repeat(MAX_VKEY + 1)] {
            assert!(!said(bad).is_sound(), "{bad:?}");
        }
        let keeps = |new: &str| said(new).keeps_name("test/a+00000002+AQ==");
        assert!(keeps("test/a+00000001+AA=="));
        assert!(!keeps("test/b+00000001+AA==") && !keeps("test/a") && !said("w").keeps_name("w"));
    }
}
