//! The site policy as the federation's log has it: a hash behind which its file's SHA-256 is hidden (audit.md A18, A19). Declared when the log has
//! none, and when the file is another one than at the start before. Knows no connection.

use crate::data::{self, DataError};
use crate::home::Home;
use protocol::history::History;
use protocol::ids::{ClientId, Sha256};
use protocol::sidecar::Sidecar;
use protocol::site_policy::SitePolicyDeclaration;

/// The SHA-256 of the policy's file, and what hides it in the log: for whoever the institution tells it.
pub(crate) fn sidecar(home: &Home, policy: Sha256) -> Result<Sidecar, DataError> {
    // Of each version a nonce of its own: whoever is told one can guess no other.
    let nonce = data::nonce_of(home, &[b"concordat/client/site-policy\0", &policy.0])?;
    Ok(Sidecar::new(nonce, &policy.to_hex())?)
}

/// What the log does not have yet.
pub(crate) fn due(home: &Home, history: &History, me: ClientId, policy: Sha256) -> Result<Option<SitePolicyDeclaration>, DataError> {
    let before = history.site_policies(me).last().map(|(_, said)| said.new);
    Ok(SitePolicyDeclaration::next(before, sidecar(home, policy)?.committed(), history.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A18: nobody finds the file's hash by trying, and of one version that is told no other follows.
    #[test]
    fn a_policy_is_hidden_by_a_nonce_of_its_own_that_stays_the_same() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (home, elsewhere) = (Home::new(dir.path()), Home::new(other.path()));
        let (one, two) = (Sha256([1; 32]), Sha256([2; 32]));
        let told = sidecar(&home, one).unwrap();
        assert!(sidecar(&home, one).unwrap() == told && told.value() == one.to_hex());
        assert_ne!(told.committed(), one);
        let line = |s: &Sidecar| String::from_utf8(s.to_bytes()).unwrap();
        let nonce = line(&told)[16..48].to_owned();
        assert!(!line(&sidecar(&home, two).unwrap()).contains(&nonce));
        assert!(!line(&sidecar(&elsewhere, one).unwrap()).contains(&nonce));
    }
}
