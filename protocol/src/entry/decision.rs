//! Who may do what, as entries tell it (audit.md A16, A19; transport-storage.md T14, T17). Knows no connection and no signature.

use super::facts::Facts;
use crate::hash::sha256;
use crate::ids::Sha256;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

macro_rules! rights {
    ($($(#[$doc:meta])* $variant:ident = $name:literal by $rule:ident;)*) => {
        /// A right that is allowed or denied (T17).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Right { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Right {
            /// All rights.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The name in the log.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// Who has it.
            pub fn rule(self) -> Rule { match self { $(Self::$variant => Rule::$rule,)* } }
        }
    };
}

rights! {
    /// Join with a token.
    MemberJoin = "member.join" by Token;
    /// Connect as a member.
    StatusRead = "status.read" by Enrolled;
    /// Send an update.
    UpdateSubmit = "update.submit" by Enrolled;
    /// Make a token.
    MemberInvite = "member.invite" by Host;
    /// Admit an institution.
    MemberApprove = "member.approve" by Administrator;
    /// Suspend, resume or revoke a membership, or revoke a member's key.
    MemberRevoke = "member.revoke" by Administrator;
    /// Bring a witness policy into force.
    PolicyActivate = "policy.activate" by Administrator;
    /// Put another trust document in force.
    TrustChange = "trust.change" by Administrator;
    /// Approve a plan, which opens its task.
    TaskPropose = "task.propose" by Administrator;
    /// Let a model out.
    ModelRelease = "model.release" by Administrator;
    /// Take a released model back.
    ModelWithdraw = "model.withdraw" by Administrator;
    /// Delete sealed updates of rounds that are over.
    ChunksDelete = "chunks.delete" by Host;
    /// Be given a copy of the log by the server.
    LogExport = "log.export" by Host;
    /// State that the log was examined.
    LogReview = "log.review" by Reviewer;
}

/// Who has a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Who holds an unused token for this name, in time.
    Token,
    /// An enrolled institution, with its name and its TLS key.
    Enrolled,
    /// Whoever may use the server's socket on its host.
    Host,
    /// Who signs with an administrator's key of the trust document in force.
    Administrator,
    /// Who signs with an administrator's or a member's key.
    Reviewer,
}

impl Rule {
    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Enrolled => "enrolled",
            Self::Host => "host",
            Self::Administrator => "administrator",
            Self::Reviewer => "reviewer",
        }
    }
}

/// Whether a right was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// It was.
    Allow,
    /// It was not.
    Deny,
}

/// A decision about a right (A16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Whether it was given.
    pub ruling: Ruling,
    /// The right.
    pub right: Right,
    /// The rule that was applied.
    pub rule: Rule,
    /// SHA-256 of the table of rights that was in force: [`table`] of the deciding program.
    pub policy: Sha256,
}

impl Decision {
    /// This program's decision.
    pub fn new(ruling: Ruling, right: Right) -> Self {
        Self { ruling, right, rule: right.rule(), policy: *TABLE_HASH }
    }

    /// Whether the rule is the one that the named table has for this right. A table of another version is not known here and not judged.
    pub fn agrees_with_its_table(&self) -> bool {
        self.policy != *TABLE_HASH || self.rule == self.right.rule()
    }
}

impl Facts {
    /// The right that these facts are the use of: what changes the federation at an administrator's or a reviewer's word.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other types are no such act")]
    pub fn right(&self) -> Option<Right> {
        match self {
            Self::MemberInvited { .. } => Some(Right::MemberInvite),
            Self::MemberJoined { .. } => Some(Right::MemberApprove),
            Self::MemberSuspended { .. } | Self::MemberResumed { .. } | Self::MemberRevoked { .. } | Self::KeyRevoked { .. } => {
                Some(Right::MemberRevoke)
            }
            Self::PolicyActivated { .. } => Some(Right::PolicyActivate),
            Self::TrustChanged { .. } => Some(Right::TrustChange),
            Self::TaskApproved { .. } => Some(Right::TaskPropose),
            Self::ModelReleased { .. } => Some(Right::ModelRelease),
            Self::ModelWithdrawn { .. } => Some(Right::ModelWithdraw),
            Self::RoundChunksDeleted { .. } => Some(Right::ChunksDelete),
            Self::AuditExported { .. } => Some(Right::LogExport),
            Self::AuditReviewed { .. } => Some(Right::LogReview),
            _no_act => None,
        }
    }
}

static TABLE_HASH: LazyLock<Sha256> = LazyLock::new(|| Sha256(sha256(&[table().as_bytes()])));

/// The table of rights: a line for each, the right and its rule.
pub fn table() -> String {
    Right::ALL.iter().map(|right| format!("{} {}\n", right.name(), right.rule().name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_log_and_the_table_has_each_right_once() {
        let table = table();
        assert_eq!(table.lines().count(), Right::ALL.len());
        for right in Right::ALL {
            assert_eq!(serde_json::to_value(right).unwrap(), right.name());
            assert_eq!(serde_json::to_value(right.rule()).unwrap(), right.rule().name());
            assert!(table.contains(&format!("{} {}\n", right.name(), right.rule().name())));
        }
    }

    #[test]
    fn a_rule_other_than_the_tables_is_seen_and_another_table_is_not_judged() {
        let good = Decision::new(Ruling::Deny, Right::StatusRead);
        assert!(good.agrees_with_its_table());
        let bad = Decision { rule: Rule::Host, ..good };
        assert!(!bad.agrees_with_its_table());
        assert!(Decision { policy: Sha256([1; 32]), ..bad }.agrees_with_its_table());
    }
}
