//! What becomes of a membership, and of a declared dataset, after it was given: suspended, resumed and revoked by administrators, left or
//! withdrawn by the institution (audit.md A19). Knows no log.

use crate::codes::codes;
use crate::entry::Facts;
use crate::ids::{ClientId, LeafIndex, Sha256};
use crate::statement::{Payload, StatementKind};
use minicbor::{CborLen, Decode, Encode};

codes! {
    /// What administrators do with a membership.
    Change {
        /// Nothing is accepted from the institution until it is resumed.
        Suspend = 0, "suspend";
        /// A suspended institution is in good standing again.
        Resume = 1, "resume";
        /// Nothing is accepted from the institution ever again.
        Revoke = 2, "revoke";
    }
}

codes! {
    /// Why a standing changes.
    StandingReason {
        /// A key of the institution is, or may be, in other hands.
        KeyCompromise = 0, "key-compromise";
        /// An incident at the institution is being looked into.
        Incident = 1, "incident";
        /// It broke the rules of the federation.
        Misconduct = 2, "misconduct";
        /// A contract or a legal basis has ended or is missing.
        Agreement = 3, "agreement";
        /// It has not answered for long.
        Inactive = 4, "inactive";
        /// The institution itself wishes it.
        Request = 5, "request";
        /// What it was suspended for is settled.
        Resolved = 6, "resolved";
        /// It was a mistake.
        Mistake = 7, "mistake";
    }
}

codes! {
    /// Why a dataset is withdrawn.
    DatasetReason {
        /// Consent was taken back.
        Consent = 0, "consent";
        /// Another legal basis is gone.
        LegalBasis = 1, "legal-basis";
        /// The time for which it may be kept is over.
        Retention = 2, "retention";
        /// It was found to be wrong.
        Quality = 3, "quality";
        /// The institution wishes it.
        Request = 4, "request";
    }
}

codes! {
    /// What a key is for.
    KeyPurpose {
        /// It shows who dials (transport-storage.md T1).
        Tls = 0, "tls";
        /// It signs what the institution says (audit.md A17).
        Statement = 1, "statement";
        /// It cosigns checkpoints (audit.md A10).
        Witness = 2, "witness";
    }
}

/// How an institution stands in its federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It speaks for itself in everything.
    Active,
    /// Not until administrators resume its membership.
    Suspended(StandingReason),
    /// Never again.
    Revoked(StandingReason),
    /// It left, and never comes back under this key.
    Left(StandingReason),
}

impl Standing {
    /// Whether what it says is accepted.
    pub fn is_active(self) -> bool {
        self == Self::Active
    }

    /// Whether nothing leads back to being active.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Left(_))
    }

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended(_) => "suspended",
            Self::Revoked(_) => "revoked",
            Self::Left(_) => "left",
        }
    }

    /// Why, unless it is active.
    pub fn reason(self) -> Option<StandingReason> {
        match self {
            Self::Active => None,
            Self::Suspended(reason) | Self::Revoked(reason) | Self::Left(reason) => Some(reason),
        }
    }

    /// The standing after this change; nothing where it may not follow.
    pub fn after(self, change: Change, reason: StandingReason) -> Option<Self> {
        match (self, change) {
            (Self::Active, Change::Suspend) => Some(Self::Suspended(reason)),
            (Self::Suspended(_), Change::Resume) => Some(Self::Active),
            (Self::Active | Self::Suspended(_), Change::Revoke) => Some(Self::Revoked(reason)),
            (Self::Active, Change::Resume) | (Self::Suspended(_), Change::Suspend) | (Self::Revoked(_) | Self::Left(_), _) => None,
        }
    }
}

/// Administrators change how an institution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct StandingChange {
    /// The institution.
    #[n(0)]
    pub institution: ClientId,
    /// The entry since which it stands as it stands: what was signed for one occasion cannot be entered again for another.
    #[n(1)]
    pub since: LeafIndex,
    /// What is done.
    #[n(2)]
    pub change: Change,
    /// Why.
    #[n(3)]
    pub reason: StandingReason,
}

impl Payload for StandingChange {
    const KIND: StatementKind = StatementKind::Standing;
}

impl StandingChange {
    /// The entry that says it.
    pub fn facts(&self) -> Facts {
        let (since, reason) = (self.since, self.reason);
        match self.change {
            Change::Suspend => Facts::MemberSuspended { since, reason },
            Change::Resume => Facts::MemberResumed { since, reason },
            Change::Revoke => Facts::MemberRevoked { since, reason },
        }
    }

    /// Everything that may be signed for one occasion.
    pub fn all(institution: ClientId, since: LeafIndex) -> impl Iterator<Item = Self> {
        let all = Change::ALL.iter().flat_map(|c| StandingReason::ALL.iter().map(move |r| (*c, *r)));
        all.map(move |(change, reason)| Self { institution, since, change, reason })
    }

    /// Everything else that may have been signed for the same occasion: once one of them has effect, the others never will.
    pub fn alternatives(self) -> impl Iterator<Item = Self> {
        Self::all(self.institution, self.since).filter(move |other| *other != self)
    }
}

/// Administrators revoke a key of an institution: whoever shows it is nobody. The membership stays as it is, and the institution goes on with
/// another key by its own word. A statement key is not revoked so: whoever has it speaks for the institution, and if that may be somebody else
/// there is nobody left to name another key, so the membership itself is suspended or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct KeyRevocation {
    /// The institution.
    #[n(0)]
    pub institution: ClientId,
    /// What the key is for.
    #[n(1)]
    pub purpose: KeyPurpose,
    /// Its hash, as `key.rotated` names it. It never comes back, so old words do nothing.
    #[n(2)]
    pub key: Sha256,
    /// Why.
    #[n(3)]
    pub reason: StandingReason,
}

impl Payload for KeyRevocation {
    const KIND: StatementKind = StatementKind::KeyRevocation;
}

impl KeyRevocation {
    /// The entry that says it.
    pub fn facts(&self) -> Facts {
        Facts::KeyRevoked { purpose: self.purpose, key: self.key, reason: self.reason }
    }

    /// The revocations of one key, for every reason.
    pub fn all(institution: ClientId, purpose: KeyPurpose, key: Sha256) -> impl Iterator<Item = Self> {
        StandingReason::ALL.iter().map(move |reason| Self { institution, purpose, key, reason: *reason })
    }

    /// The same for every other reason: once one of them has effect, the others never will.
    pub fn alternatives(self) -> impl Iterator<Item = Self> {
        Self::all(self.institution, self.purpose, self.key).filter(move |other| *other != self)
    }
}

/// An institution leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Departure {
    /// The entry since which it is in good standing.
    #[n(0)]
    pub since: LeafIndex,
    /// Why.
    #[n(1)]
    pub reason: StandingReason,
}

impl Payload for Departure {
    const KIND: StatementKind = StatementKind::Departure;
}

/// An institution withdraws a dataset that it declared: nothing is trained on it any more. What was spent from it stays spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct DatasetWithdrawal {
    /// Its opaque id.
    #[n(0)]
    pub dataset: Sha256,
    /// Why.
    #[n(1)]
    pub reason: DatasetReason,
}

impl Payload for DatasetWithdrawal {
    const KIND: StatementKind = StatementKind::DatasetWithdrawal;
}

/// Why an institution is not let in: how it stands, and the entry that says so. Told to it as the reason of a closed connection, by a server that
/// shows it no proof there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barred {
    /// How it stands.
    pub standing: Standing,
    /// Since which entry.
    pub since: LeafIndex,
}

impl Barred {
    /// The one spelling on the wire: standing, reason and entry.
    pub fn to_wire(self) -> String {
        format!("{} {} {}", self.standing.name(), self.standing.reason().map_or("-", StandingReason::name), self.since)
    }

    /// Reads [`Self::to_wire`].
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.splitn(3, ' ');
        let (name, reason) = (words.next()?, StandingReason::from_name(words.next()?)?);
        let since = LeafIndex(words.next()?.parse().ok()?);
        let standing = match name {
            "suspended" => Standing::Suspended(reason),
            "revoked" => Standing::Revoked(reason),
            "left" => Standing::Left(reason),
            _other => return None,
        };
        let this = Self { standing, since };
        // One spelling only (audit.md A6).
        (this.to_wire().as_bytes() == bytes).then_some(this)
    }

    /// What can be done about it.
    pub fn cure(self) -> &'static str {
        match self.standing {
            Standing::Active => "nothing is to be done",
            Standing::Suspended(_) => "the administrators can resume it; until then this program only tries again",
            Standing::Revoked(_) | Standing::Left(_) => "to take part again: a new invitation, and join in a new directory with new keys",
        }
    }
}

impl std::fmt::Display for Barred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = self.standing.reason().map_or("-", StandingReason::name);
        write!(
            f,
            "the server says that this institution's membership is {} ({reason}) by entry {} of the log",
            self.standing.name(),
            self.since
        )
    }
}

impl std::error::Error for Barred {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_changes_only_along_its_ways() {
        let why = StandingReason::Incident;
        let suspended = Standing::Active.after(Change::Suspend, why).unwrap();
        assert_eq!((suspended.name(), suspended.reason(), suspended.is_active()), ("suspended", Some(why), false));
        assert_eq!(suspended.after(Change::Resume, StandingReason::Resolved), Some(Standing::Active));
        assert_eq!(suspended.after(Change::Suspend, why), None);
        assert_eq!(Standing::Active.after(Change::Resume, why), None);
        for end in [Standing::Revoked(why), Standing::Left(why)] {
            assert!(end.is_final() && Change::ALL.iter().all(|c| end.after(*c, why).is_none()));
        }
        for from in [Standing::Active, suspended] {
            assert_eq!(from.after(Change::Revoke, why), Some(Standing::Revoked(why)));
        }
    }

    #[test]
    fn what_a_closed_connection_says_is_read_back_and_nothing_else_is() {
        let since = LeafIndex(41);
        for reason in StandingReason::ALL.iter().copied() {
            for standing in [Standing::Suspended(reason), Standing::Revoked(reason), Standing::Left(reason)] {
                let barred = Barred { standing, since };
                assert_eq!(Barred::from_wire(barred.to_wire().as_bytes()), Some(barred));
            }
        }
        for text in
            ["", "suspended", "suspended incident", "suspended incident 041", "active incident 4", "suspended x 4", "left request 4 "]
        {
            assert_eq!(Barred::from_wire(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Barred::from_wire(&[0xff, 0x20, 0x41]), None);
    }

    #[test]
    fn the_alternatives_of_an_act_are_all_others_for_the_same_occasion() {
        let institution = ClientId([1; 32]);
        let act = StandingChange { institution, since: LeafIndex(7), change: Change::Revoke, reason: StandingReason::Misconduct };
        let others: Vec<_> = act.alternatives().collect();
        assert_eq!(others.len(), Change::ALL.len() * StandingReason::ALL.len() - 1);
        assert!(others.iter().all(|o| o.since == act.since && o.institution == institution && *o != act));
    }
}
