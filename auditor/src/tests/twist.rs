//! Which rule a story breaks. Knows not how.

/// The one thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    None,
    TwoSets,
    CapExceeded,
    EpsilonUnderstated,
    StepsRepeated,
    OtherNoise,
    LedgerFalls,
    LedgerCloned,
    PaymentSkipped,
    EpsilonRestarts,
    EpsilonFalls,
    LedgerRepaired,
    RepairBelowTheLog,
    SpendBelowTheRepair,
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
    AllOpeningsLie,
    StrangerSummed,
    OtherValues,
    OtherRatio,
    SumFails,
    OthersStatement,
    StatementReplayed,
    StrangerDeclares,
    Released,
    RealModel,
    RealModelWithdrawn,
    RealModelUnderAnotherKey,
    RealModelByOneOfTwo,
    GatesPassed,
    GateNotPassed,
    GateOverridden,
    GateOverriddenForNothing,
    GateLeftOut,
    GateFigureInvented,
    GateWithoutEvaluation,
    ReleaseOfAnotherModel,
    ReleaseWithoutItsBase,
    ReleaseByAMember,
    ReleaseByOneOfTwo,
    ReleaseByBoth,
    ReleaseByOneTwice,
    MembershipByOneOfTwo,
    PolicyByOneOfTwo,
    PlanByOneOfTwo,
    WithdrawalByOneOfTwo,
    WithdrawalByBoth,
    Withdrawn,
    WithdrawnTwice,
    WithdrawnUnreleased,
    Reviewed,
    ReviewOfTheFuture,
    ReviewByAStranger,
    ReviewUnderAnotherTrust,
    ActorDiffers,
    Recovered,
    RecoveredElsewhere,
    Anchored,
    AnchorFalls,
    Hybrid,
    HybridOverstated,
    HybridBelowMinimum,
}

impl Twist {
    /// Whether the released model is one that was signed.
    pub(crate) fn is_of_a_real_model(self) -> bool {
        [Self::RealModel, Self::RealModelWithdrawn, Self::RealModelUnderAnotherKey, Self::RealModelByOneOfTwo].contains(&self)
    }

    /// Whether two administrators must say the same.
    pub(crate) fn has_two_administrators(self) -> bool {
        [
            Self::ReleaseByOneOfTwo,
            Self::ReleaseByBoth,
            Self::ReleaseByOneTwice,
            Self::MembershipByOneOfTwo,
            Self::PolicyByOneOfTwo,
            Self::PlanByOneOfTwo,
            Self::WithdrawalByOneOfTwo,
            Self::WithdrawalByBoth,
            Self::RealModelByOneOfTwo,
        ]
        .contains(&self)
    }

    /// Whether the plan has gates, and a release states them.
    pub(crate) fn has_gates(self) -> bool {
        [
            Self::GatesPassed,
            Self::GateNotPassed,
            Self::GateOverridden,
            Self::GateOverriddenForNothing,
            Self::GateLeftOut,
            Self::GateFigureInvented,
            Self::GateWithoutEvaluation,
        ]
        .contains(&self)
    }
}
