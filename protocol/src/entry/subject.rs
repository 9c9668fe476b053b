//! What an entry is about, in one form for all types (audit.md A16). It repeats a field of the type and is made from it, so that no entry can
//! say two things.

use super::facts::Facts;
use crate::ids::{Sha256, TokenId};
use serde::{Deserialize, Serialize};

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectKind {
    /// A trust document.
    Trust,
    /// A program.
    Program,
    /// Settings of a process.
    Settings,
    /// An enrolment token.
    Token,
    /// A request to join.
    Request,
    /// A witness policy.
    Policy,
    /// An institution's own policy.
    SitePolicy,
    /// A witness.
    Witness,
    /// A dataset.
    Dataset,
    /// A plan.
    Plan,
    /// Weights at rest.
    Snapshot,
    /// A list of institutions that take part.
    JoinList,
    /// A round's manifest.
    Manifest,
    /// A sealed update, by its header.
    Update,
    /// A set of updates.
    Set,
    /// A quorum's signatures over a set.
    Certificate,
    /// A tree, by its root.
    Tree,
    /// What a reviewer found.
    Findings,
    /// Evidence of an alarm.
    Evidence,
}

/// What an entry is about: an id or a hash, whichever names it in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// Its id, where the log names it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TokenId>,
    /// Its SHA-256 or digest, where the log names it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Sha256>,
}

impl Facts {
    /// What these facts are about; nothing where they only mark a moment.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other types mark a moment of the process, task, round or group that the entry names"
    )]
    pub fn subject(&self) -> Option<Subject> {
        use SubjectKind as Kind;
        let (kind, hash) = match self {
            Self::MemberInvited { token } => return Some(Subject { kind: Kind::Token, id: Some(*token), hash: None }),
            Self::FederationCreated { trust } | Self::TrustChanged { new: trust, .. } => (Kind::Trust, *trust),
            Self::ProcessStarted { build, .. } => (Kind::Program, *build),
            Self::ProcessUpgraded { new, .. } => (Kind::Program, *new),
            Self::ProcessConfigChanged { new, .. } => (Kind::Settings, *new),
            Self::WitnessMissing { witness, .. } | Self::WitnessReturned { witness, .. } => (Kind::Witness, *witness),
            Self::ProcessRecovered { root, .. } | Self::SiteAnchored { root, .. } | Self::AuditExported { root, .. } => (Kind::Tree, *root),
            Self::MemberJoinRequested { request, .. } | Self::MemberJoined { request } => (Kind::Request, *request),
            Self::PolicyActivated { policy, .. } => (Kind::Policy, *policy),
            Self::SitePolicyDeclared { new, .. } => (Kind::SitePolicy, *new),
            Self::DatasetDeclared { dataset }
            | Self::DatasetChanged { dataset, .. }
            | Self::DatasetWithdrawn { dataset, .. }
            | Self::BudgetDeclared { dataset, .. }
            | Self::BudgetRepaired { dataset, .. }
            | Self::BudgetSpent { dataset, .. }
            | Self::BudgetReleased { dataset, .. }
            | Self::BudgetExhausted { dataset, .. } => (Kind::Dataset, *dataset),
            Self::TaskApproved { plan } | Self::TaskOpened { plan, .. } => (Kind::Plan, Sha256(plan.0)),
            Self::TaskEnded { snapshot, .. }
            | Self::RoundClosed { snapshot }
            | Self::ModelReleased { snapshot, .. }
            | Self::ModelWithdrawn { snapshot, .. } => (Kind::Snapshot, Sha256(snapshot.0)),
            Self::RoundJoined { joined, .. } => (Kind::JoinList, *joined),
            Self::ManifestPublished { manifest } | Self::ManifestEndorsed { manifest } => (Kind::Manifest, Sha256(manifest.0)),
            Self::UpdateBegun { header } | Self::UpdateAccepted { header, .. } | Self::UpdateDropped { header } => {
                (Kind::Update, Sha256(header.0))
            }
            Self::SetProposed { set, .. } | Self::SetSigned { set } | Self::SetCertified { set, .. } => (Kind::Set, Sha256(set.0)),
            Self::OpeningPosted { certificate, .. } | Self::SumOpened { certificate, .. } => (Kind::Certificate, Sha256(certificate.0)),
            Self::AuditReviewed { findings, .. } => (Kind::Findings, *findings),
            Self::AuditAlarm { evidence, .. } => (Kind::Evidence, *evidence),
            _marks_a_moment => return None,
        };
        Some(Subject { kind, id: None, hash: Some(hash) })
    }
}
