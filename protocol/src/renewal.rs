//! When a TLS certificate is renewed, and how an institution asks for a new one when its last one has run out, or over another key
//! (transport-storage.md T2, T9). Knows no certificate.

use crate::ids::Sha256;
use crate::statement::{Payload, StatementKind};
use crate::time::Time;
use minicbor::{CborLen, Decode, Encode};

/// The time in which a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Not before.
    pub from: Time,
    /// Not after.
    pub until: Time,
}

impl Lifetime {
    /// After so many 3072ths of the life.
    fn after(self, share: u64) -> Time {
        let ms = u128::from(self.until.ms_since(self.from)) * u128::from(share) / 3072;
        self.from.plus_ms(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// When half of it is over: nobody is given a new one before that.
    pub fn half(self) -> Time {
        self.after(1536)
    }

    /// When its holder asks for a new one: between seven and eight twelfths, which is two thirds at the latest, so that those who were
    /// admitted together do not all ask together.
    pub fn due(self, jitter: u8) -> Time {
        self.after(1792 + u64::from(jitter))
    }

    /// Whether it holds. A clock that was moved may stand before it as well as after it.
    pub fn holds(self, now: Time) -> bool {
        self.from <= now && now < self.until
    }
}

/// An institution whose certificate has run out asks for another one over the same TLS key. Signed by its statement key, which TLS does not know:
/// whoever has the one key and not the other gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Renewal {
    /// The federation, by its trust document.
    #[n(0)]
    pub trust: Sha256,
    /// The server's nonce of this connection.
    #[n(1)]
    pub nonce: Sha256,
    /// SHA-256 of the TLS key's subject public key info, as the log has it.
    #[n(2)]
    pub tls_key: Sha256,
}

impl Payload for Renewal {
    const KIND: StatementKind = StatementKind::Renewal;
}

/// An institution goes on with another TLS key, and asks for a certificate over it. Signed by its statement key, as a [`Renewal`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Rotation {
    /// The federation, by its trust document.
    #[n(0)]
    pub trust: Sha256,
    /// The server's nonce of this connection.
    #[n(1)]
    pub nonce: Sha256,
    /// SHA-256 of the subject public key info of the TLS key so far.
    #[n(2)]
    pub old: Sha256,
    /// The same of the one that takes its place.
    #[n(3)]
    pub new: Sha256,
}

impl Payload for Rotation {
    const KIND: StatementKind = StatementKind::Rotation;
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_week_is_renewed_in_its_fifth_day_and_never_before_half_of_it_is_over() {
        let week = Lifetime { from: Time(1_000 * DAY), until: Time(1_007 * DAY) };
        assert_eq!(week.half(), Time(1_000 * DAY + 7 * DAY / 2));
        assert_eq!(week.due(0), Time(1_000 * DAY + 7 * DAY * 7 / 12));
        let mut before = week.half();
        for jitter in 0..=255 {
            let due = week.due(jitter);
            assert!(due > before && due < Time(1_000 * DAY + 7 * DAY * 2 / 3), "{jitter}");
            before = due;
        }
        let holds = |ms| week.holds(Time(ms));
        assert!(holds(1_000 * DAY) && holds(1_007 * DAY - 1));
        assert!(!holds(1_000 * DAY - 1) && !holds(1_007 * DAY), "neither before it nor after it");
    }

    #[test]
    fn no_life_is_too_long_or_turned_round() {
        let all = Lifetime { from: Time(0), until: Time::NEVER };
        assert!(all.half() < all.due(255) && all.due(255) < Time::NEVER);
        let late = Lifetime { from: Time(u64::MAX - 1), until: Time::NEVER };
        assert!(late.due(255) <= Time::NEVER);
        let none = Lifetime { from: Time(9), until: Time(3) };
        assert_eq!((none.half(), none.due(7)), (Time(9), Time(9)));
    }
}
