//! Which rule a story breaks. Knows not how.

/// The one thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    None,
    TwoSets,
    CapExceeded,
    EpsilonUnderstated,
    StepsRepeated,
    OtherNoise,
    LedgerFalls,
    OneMember,
    ForeignHeader,
    StrangerOpens,
    OpeningLies,
    WrongKeySum,
    AcceptedTwice,
    UpdateAfterTheEnd,
    WrongRoster,
    FewEndorsements,
    FewSignatures,
    ForgedStatement,
    OtherBase,
    NoPolicy,
    UnknownType,
    WrongTrust,
    SequenceJumps,
    StaleCheckpoint,
    OtherTrustShown,
    OtherCertificateNamed,
}
