//! What an institution says of its own site policy (transport-storage.md T15; audit.md A19 `policy.site.declared`): that there is one, and when it
//! became another. What is in it stays there. Knows no limit of it.

use crate::codes::codes;
use crate::entry::Facts;
use crate::ids::Sha256;
use crate::statement::{Payload, StatementKind};
use minicbor::{CborLen, Decode, Encode};

codes! {
    /// Why a site policy is declared.
    SitePolicyReason {
        /// The log has none of this institution yet.
        First = 0, "first";
        /// Its file is another one than at the start before.
        Changed = 1, "changed";
    }
}

/// An institution declares the site policy by which it judges plans.
///
/// # Privacy
/// Its limits are few and could be guessed: what stands here is a hash of the file's SHA-256 with a nonce that stays with the institution, unless it
/// tells both ([`crate::sidecar`]). That the policy changed, and when, is told; what changed is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct SitePolicyDeclaration {
    /// What it declared before; nothing for the first.
    #[n(0)]
    pub old: Option<Sha256>,
    /// What holds from now on.
    #[n(1)]
    pub new: Sha256,
    /// Why it is declared.
    #[n(2)]
    pub reason: SitePolicyReason,
    /// Entries of the log that the institution had seen when it began to judge by it.
    #[n(3)]
    pub from: u64,
}

impl Payload for SitePolicyDeclaration {
    const KIND: StatementKind = StatementKind::SitePolicy;
}

impl SitePolicyDeclaration {
    /// The declaration that follows `old` in the log, if `new` is another one.
    pub fn next(old: Option<Sha256>, new: Sha256, from: u64) -> Option<Self> {
        let reason = if old.is_none() { SitePolicyReason::First } else { SitePolicyReason::Changed };
        (old != Some(new)).then_some(Self { old, new, reason, from })
    }

    /// What the entry says that repeats it.
    pub fn facts(&self) -> Facts {
        let Self { old, new, reason, from } = *self;
        Facts::SitePolicyDeclared { old, new, reason, from }
    }

    /// Whether it follows what was declared before, and gives the reason that fits.
    pub fn follows(&self, old: Option<Sha256>) -> bool {
        Self::next(old, self.new, self.from).as_ref() == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_names_the_one_before_it_and_is_never_of_the_same_policy() {
        let (one, two) = (Sha256([1; 32]), Sha256([2; 32]));
        let first = SitePolicyDeclaration::next(None, one, 5).unwrap();
        assert!(first.reason == SitePolicyReason::First && first.follows(None) && !first.follows(Some(two)));
        assert_eq!(SitePolicyDeclaration::next(Some(one), one, 6), None);
        let next = SitePolicyDeclaration::next(Some(one), two, 6).unwrap();
        assert!(next.reason == SitePolicyReason::Changed && next.follows(Some(one)) && !next.follows(None));
        assert!(!SitePolicyDeclaration { reason: SitePolicyReason::First, ..next }.follows(Some(one)));
        assert!(!SitePolicyDeclaration { new: one, ..next }.follows(Some(one)));
    }
}
