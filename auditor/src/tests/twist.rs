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
    CountsPaid,
    CountsOnAPaidCounter,
    CountsAboveTheCap,
    OneMember,
    ForeignHeader,
    StrangerOpens,
    OpeningLies,
    OpeningBends,
    WrongKeySum,
    AcceptedTwice,
    UpdateAfterTheEnd,
    WrongRoster,
    PrekeysExpired,
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
    RealModelReleasedAgain,
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
    Declined,
    DeclineInvented,
    DeclineOfAnotherRound,
    DeclineForAnotherReason,
    EnrolledTwice,
    NameTaken,
    JoinedForAnother,
    TokenNeverMade,
    TokenUsedTwice,
    PlanApprovedAgain,
    PlanReplaced,
    EndMiscounted,
    SetOfAnEarlierTree,
    SetOfALaterTree,
    SetSignedElsewhere,
    JoinListMiscounted,
    ReviewOfAnotherTree,
    RecoveredToAnotherTree,
    ReleasedAgain,
    WithdrawnTwiceAfterReleasedAgain,
    DeclaredMoreLater,
    DeclaredMoreInTheRound,
    DeclaredMoreBetween,
    Weighted,
    OtherWeight,
    LongMean,
    OtherSnapshot,
    StaleMean,
    WeightedByTally,
    Momentum,
    Adam,
    Counts,
    CountsWords,
    CountsFromSomething,
    CountsForgetARound,
    OtherCount,
    OtherFigure,
    OtherWord,
}

impl Twist {
    /// Whether the released model is one that was signed.
    pub(crate) fn is_of_a_real_model(self) -> bool {
        [Self::RealModel, Self::RealModelWithdrawn, Self::RealModelReleasedAgain, Self::RealModelUnderAnotherKey, Self::RealModelByOneOfTwo]
            .contains(&self)
    }

    /// Whether the plan counts instead of training.
    pub(crate) fn counts(self) -> bool {
        self.counts_words() || [Self::Counts, Self::OtherCount, Self::OtherFigure].contains(&self)
    }

    /// Whether it counts words, in two rounds; figures take one.
    pub(crate) fn counts_words(self) -> bool {
        [Self::CountsWords, Self::CountsFromSomething, Self::CountsForgetARound, Self::OtherWord].contains(&self)
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
