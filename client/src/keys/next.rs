//! Statement and witness keys that shall take the place of the present ones (audit.md A12, A17): on the disk before anybody hears of them, and put in
//! their place in steps of which each may be the last before a crash. Knows no network.

use super::{INSTITUTION, KeysError, WITNESS, fresh_seed, make_witness, public, seed, text, witness_key};
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use audit::key::SignerKey;
use ed25519_dalek::SigningKey;
use protocol::ids::PublicKey;

/// The seed that shall replace the present one.
const INSTITUTION_NEXT: &str = "institution-next.seed";
/// The witness key that shall replace the present one when a policy names it.
const WITNESS_NEXT: &str = "witness-next.key";
/// Public statement keys that the institution ever had, oldest first; there from the first change on.
const KNOWN: &str = "institution.keys";
/// Longest list: more keys than the log allows, of 65 bytes each.
const MAX_KNOWN: usize = 128 * 1024;

/// Statement keys that this institution ever had, oldest first, the present one last; none where it has the one that it joined with.
pub(super) fn known(home: &Home) -> Result<Vec<PublicKey>, KeysError> {
    let damaged = || KeysError::from(StoreError::Damaged(Item::Key));
    let Some(bytes) = files::read_if_there(&home.key(KNOWN), MAX_KNOWN, Item::Key)? else { return Ok(Vec::new()) };
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    text.lines().map(|line| line.parse().map_err(|_| damaged())).collect()
}

/// Those after the first: what ledgers may be signed by beside it.
pub(crate) fn later_statement_keys(home: &Home) -> Result<Vec<PublicKey>, KeysError> {
    Ok(known(home)?.into_iter().skip(1).collect())
}

/// The statement key that shall replace the present one: the one that an interrupted change left, or a fresh one.
pub(crate) fn next_statement(home: &Home) -> Result<SigningKey, KeysError> {
    if !is_statement_pending(home) {
        files::replace_secret(&home.key(INSTITUTION_NEXT), fresh_seed()?.as_slice(), Item::Key)?;
    }
    Ok(SigningKey::from_bytes(&*seed(home, INSTITUTION_NEXT)?))
}

/// Whether a change of the statement key was begun and is not over.
pub(crate) fn is_statement_pending(home: &Home) -> bool {
    home.key(INSTITUTION_NEXT).exists()
}

/// The log says that the next statement key speaks for the institution: it takes the place of the present one. The list of keys is first; with that
/// on the disk the rest is done when the keys are read next, if not now.
pub(crate) fn adopt_statement(home: &Home) -> Result<(), KeysError> {
    let (present, next) = (public(&*seed(home, INSTITUTION)?), public(&*seed(home, INSTITUTION_NEXT)?));
    let mut known = known(home)?;
    if known.is_empty() {
        known.push(present);
    }
    if known.last() != Some(&next) {
        known.push(next);
        let lines: String = known.iter().map(|key| format!("{key}\n")).collect();
        files::replace(&home.key(KNOWN), lines.as_bytes(), Item::Key)?;
    }
    settle(home)
}

/// The witness key that shall replace the present one: the one that is there, or a fresh one under the same name.
pub(crate) fn next_witness(home: &Home, present: &SignerKey) -> Result<SignerKey, KeysError> {
    match pending_witness(home)? {
        Some(next) => Ok(next),
        None => {
            make_witness(home, WITNESS_NEXT, present.verifier().name())?;
            witness_key(home, WITNESS_NEXT)
        }
    }
}

/// The witness key that waits for a policy that names it.
pub(crate) fn pending_witness(home: &Home) -> Result<Option<SignerKey>, KeysError> {
    home.key(WITNESS_NEXT).exists().then(|| witness_key(home, WITNESS_NEXT)).transpose()
}

/// A tree was cosigned under a policy that names the next witness key: no older one is ever cosigned again, and the key before it goes.
pub(crate) fn adopt_witness(home: &Home) -> Result<(), KeysError> {
    files::replace_secret(&home.key(WITNESS), text(home, WITNESS_NEXT)?.as_bytes(), Item::Key)?;
    Ok(files::remove(&home.key(WITNESS_NEXT), Item::Key)?)
}

/// The next witness key was revoked before any policy named it.
pub(crate) fn forget_next_witness(home: &Home) -> Result<(), KeysError> {
    Ok(files::remove(&home.key(WITNESS_NEXT), Item::Key)?)
}

/// Finishes what a crash broke off.
pub(super) fn settle(home: &Home) -> Result<(), KeysError> {
    if is_statement_pending(home) {
        let next = seed(home, INSTITUTION_NEXT)?;
        if known(home)?.last() == Some(&public(&next)) {
            files::replace_secret(&home.key(INSTITUTION), next.as_slice(), Item::Key)?;
            files::remove(&home.key(INSTITUTION_NEXT), Item::Key)?;
        }
    }
    if home.key(WITNESS_NEXT).exists() && *text(home, WITNESS_NEXT)? == *text(home, WITNESS)? {
        files::remove(&home.key(WITNESS_NEXT), Item::Key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Keys;
    use super::*;
    use audit::policy::{Policy, Witness};

    fn case() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap();
        (dir, home)
    }

    fn load(home: &Home) -> Keys {
        Keys::load(home).ok().unwrap()
    }

    #[test]
    fn the_next_statement_key_takes_over_and_the_institution_stays_who_it_is() {
        let (_dir, home) = case();
        let (who, first) = (load(&home).client(), load(&home).public());
        let next = public(&next_statement(&home).ok().unwrap().to_bytes());
        assert_eq!(next, public(&next_statement(&home).ok().unwrap().to_bytes()), "a second try has the same key");
        assert!(load(&home).public() == first && load(&home).later().is_empty(), "nobody has said yes");
        assert!(matches!(Keys::load_settled(&home), Err(KeysError::Unfinished)));
        assert!(is_statement_pending(&home));
        let speaker = Keys::load_next(&home).ok().unwrap().unwrap();
        assert_eq!((speaker.client(), speaker.public()), (who, next), "who it is does not change with what it signs by");
        adopt_statement(&home).ok().unwrap();
        assert!(Keys::load_next(&home).ok().unwrap().is_none(), "no change is under way");
        let keys = load(&home);
        assert_eq!((keys.client(), keys.public(), keys.later()), (who, next, &[next][..]));
        assert!(!is_statement_pending(&home));
        let third = public(&next_statement(&home).ok().unwrap().to_bytes());
        adopt_statement(&home).ok().unwrap();
        assert_eq!((load(&home).client(), load(&home).later()), (who, &[next, third][..]));
        assert_eq!(later_statement_keys(&home).ok().unwrap(), [next, third]);
    }

    #[test]
    fn a_change_of_statement_key_may_end_after_every_step() {
        let (_dir, home) = case();
        let next = next_statement(&home).ok().unwrap().to_bytes();
        let first = std::fs::read(home.key(INSTITUTION)).unwrap();
        adopt_statement(&home).ok().unwrap();
        let done = |home: &Home| (load(home).public(), is_statement_pending(home)) == (public(&next), false);
        assert!(done(&home));
        // Ended after the list of keys, and after the key itself.
        for seed in [first.as_slice(), &next] {
            files::replace_secret(&home.key(INSTITUTION), seed, Item::Key).unwrap();
            files::replace_secret(&home.key(INSTITUTION_NEXT), &next, Item::Key).unwrap();
            assert!(done(&home));
        }
    }

    #[test]
    fn both_witness_keys_are_held_until_a_policy_names_the_next_one() {
        let (_dir, home) = case();
        let log = SignerKey::new("fed/log", audit::key::KeyType::Note, &[1; 32]).unwrap();
        let keys = load(&home);
        let first = keys.witness().verifier().clone();
        let next = next_witness(&home, keys.witness()).ok().unwrap().verifier().clone();
        assert!(next != first && next.name() == first.name());
        let policy = |key: &audit::key::VerifierKey| {
            Policy::compose(log.verifier(), &[Witness { name: "hospital-a".into(), key: key.clone() }], Some(1)).unwrap()
        };
        let keys = load(&home);
        let used = |policy: Option<&Policy>| keys.witness_for(policy).verifier().clone();
        assert_eq!((used(None), used(Some(&policy(&first))), used(Some(&policy(&next)))), (first.clone(), first, next.clone()));
        adopt_witness(&home).ok().unwrap();
        let keys = load(&home);
        assert_eq!((keys.witness().verifier(), pending_witness(&home).ok().unwrap().is_none()), (&next, true));
        // Ended between the two steps.
        std::fs::copy(home.key(WITNESS), home.key(WITNESS_NEXT)).unwrap();
        assert_eq!((load(&home).witness().verifier(), home.key(WITNESS_NEXT).exists()), (&next, false));
    }
}
