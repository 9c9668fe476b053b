//! What an institution says about its prepared records (audit.md A18, A19, A22): hashes, classes of counts and codes, signed. Has no place for
//! a text, a name or an exact count.

use crate::codes::codes;
use crate::ids::Sha256;
use crate::plan::Unit;
use crate::statement::{Payload, StatementKind};
use minicbor::{CborLen, Decode, Encode};

codes! {
    /// Under which terms the records stand. A code, because a free text could quote them.
    Licence {
        /// For the institution and the federation's tasks only.
        Internal = 0, "internal";
        /// Under a contract with whoever the records are from.
        Contract = 1, "contract";
        /// In the public domain.
        PublicDomain = 2, "public-domain";
        /// Creative Commons Attribution 4.0.
        CcBy4 = 3, "CC-BY-4.0";
        /// Creative Commons Attribution-ShareAlike 4.0.
        CcBySa4 = 4, "CC-BY-SA-4.0";
        /// Creative Commons Attribution-NonCommercial 4.0.
        CcByNc4 = 5, "CC-BY-NC-4.0";
        /// Open Data Commons Attribution.
        OdcBy = 6, "ODC-By-1.0";
        /// Open Database License.
        Odbl = 7, "ODbL-1.0";
        /// Another, which the institution's own manifest names.
        Other = 8, "other";
    }
}

codes! {
    /// What the records may be used for.
    Purpose {
        /// To train models of the federation.
        Training = 0, "training";
        /// To judge models.
        Evaluation = 1, "evaluation";
        /// Both.
        TrainingAndEvaluation = 2, "training-and-evaluation";
        /// Statistics and tokenizers, no models.
        Statistics = 3, "statistics";
    }
}

codes! {
    /// On which ground personal data are processed (GDPR, Articles 6 and 89; other laws by the nearest).
    LegalBasis {
        /// The persons agreed.
        Consent = 0, "consent";
        /// A contract with the persons.
        Contract = 1, "contract";
        /// A legal obligation.
        LegalObligation = 2, "legal-obligation";
        /// Vital interests.
        VitalInterests = 3, "vital-interests";
        /// A public task.
        PublicTask = 4, "public-task";
        /// Legitimate interests.
        LegitimateInterests = 5, "legitimate-interests";
        /// Research under the law's own rules for it.
        Research = 6, "research";
        /// No personal data.
        NotPersonal = 7, "not-personal";
    }
}

/// A count as a class of the series 10, 20, 50, 100, 200 and so on: class 0 is fewer than ten. The count itself cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen)]
#[cbor(transparent)]
pub struct CountClass(u8);

impl CountClass {
    /// The highest class: from 10^19 on.
    const LAST: u8 = 55;

    /// The class of a count.
    pub fn of(count: u64) -> Self {
        let class = (1..=Self::LAST).take_while(|&c| Self(c).low() <= count).last().unwrap_or(0);
        Self(class)
    }

    /// Smallest count of the class.
    pub fn low(self) -> u64 {
        let Some(step) = self.0.checked_sub(1) else { return 0 };
        let factor = [1, 2, 5][usize::from(step % 3)];
        10u64.checked_pow(u32::from(step / 3) + 1).and_then(|ten| ten.checked_mul(factor)).unwrap_or(u64::MAX)
    }

    fn is_one(self) -> bool {
        self.0 <= Self::LAST
    }
}

/// A month, as year·100 + month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen)]
#[cbor(transparent)]
pub struct Month(u32);

impl Month {
    /// A month of the years 1900 to 2999.
    pub fn new(year: u32, month: u32) -> Option<Self> {
        let month = Self(year.checked_mul(100)?.checked_add(month)?);
        month.is_one().then_some(month)
    }

    /// The month that `YYYY-MM` spells.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-').filter(|(y, m)| y.len() == 4 && m.len() == 2)?;
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten();
        Self::new(digits(year)?, digits(month)?)
    }

    fn is_one(self) -> bool {
        (1900..3000).contains(&(self.0 / 100)) && (1..=12).contains(&(self.0 % 100))
    }
}

/// The statement behind a `dataset.changed` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct DataManifest {
    /// Opaque id of the lineage, as declared.
    #[n(0)]
    pub dataset: Sha256,
    /// SHA-256 of the payload of the manifest before this one.
    #[n(1)]
    pub previous: Option<Sha256>,
    /// SHA-256 of the institution's own manifest, which holds commitments to inputs and prepared records under a secret nonce.
    #[n(2)]
    pub manifest: Sha256,
    /// SHA-256 of the rules by which the records were prepared.
    #[n(3)]
    pub rules: Sha256,
    /// SHA-256 of the schema.
    #[n(4)]
    pub schema: Sha256,
    /// Digest of the tokenizer that cut the records, where they are cut.
    #[n(5)]
    pub tokenizer: Option<Sha256>,
    /// Whose data one unit of privacy is.
    #[n(6)]
    pub unit: Unit,
    /// Records for training.
    #[n(7)]
    pub records: CountClass,
    /// Units of privacy among them.
    #[n(8)]
    pub units: CountClass,
    /// Terms.
    #[n(9)]
    pub licence: Licence,
    /// Use.
    #[n(10)]
    pub purpose: Purpose,
    /// Ground.
    #[n(11)]
    pub basis: LegalBasis,
    /// Days after which prepared records are deleted.
    #[n(12)]
    pub retention_days: u32,
    /// First and last month that the records are from, where that is said.
    #[n(13)]
    pub period: Option<Period>,
    /// Whether every limit of the institution's own quality rules holds.
    #[n(14)]
    pub quality_holds: bool,
}

/// First and last month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Period {
    /// First month.
    #[n(0)]
    pub from: Month,
    /// Last month, not before the first.
    #[n(1)]
    pub to: Month,
}

/// Longest retention: a hundred years.
const MAX_RETENTION_DAYS: u32 = 36_525;

impl Payload for DataManifest {
    const KIND: StatementKind = StatementKind::DataManifest;
    const LIMIT: usize = 512;
}

impl DataManifest {
    /// Whether numbers are such as this version writes: classes that exist, months that exist and rise, a retention that ends.
    pub fn is_sound(&self) -> bool {
        let period = self.period.is_none_or(|p| p.from.is_one() && p.to.is_one() && p.from <= p.to);
        let retention = (1..=MAX_RETENTION_DAYS).contains(&self.retention_days);
        period && retention && self.records.is_one() && self.units.is_one() && self.units <= self.records
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::{decode, encode};
    use crate::statement::{Statement, StatementError};
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    pub(crate) fn manifest() -> DataManifest {
        DataManifest {
            dataset: Sha256([1; 32]),
            previous: None,
            manifest: Sha256([2; 32]),
            rules: Sha256([3; 32]),
            schema: Sha256([4; 32]),
            tokenizer: Some(Sha256([5; 32])),
            unit: Unit::User,
            records: CountClass::of(13_673),
            units: CountClass::of(9_200),
            licence: Licence::Internal,
            purpose: Purpose::Training,
            basis: LegalBasis::Research,
            retention_days: 365,
            period: Some(Period { from: Month::new(2026, 1).unwrap(), to: Month::parse("2026-06").unwrap() }),
            quality_holds: true,
        }
    }

    #[test]
    fn a_signed_manifest_comes_back_and_a_changed_one_does_not() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let said = Statement::sign(&manifest(), &key);
        assert_eq!(said.verify::<DataManifest>(), Ok(manifest()));
        let mut other = said.clone();
        let last = other.payload.len() - 1;
        other.payload[last] ^= 1;
        assert_eq!(other.verify::<DataManifest>(), Err(StatementError::BadSignature));
        assert!(said.verify::<crate::trust::DatasetDeclaration>().is_err());
        assert!(encode(&manifest()).len() <= DataManifest::LIMIT);
    }

    #[test]
    fn unsound_numbers_are_told() {
        assert!(manifest().is_sound());
        let with = |change: &dyn Fn(&mut DataManifest)| {
            let mut m = manifest();
            change(&mut m);
            m.is_sound()
        };
        assert!(!with(&|m| m.retention_days = 0));
        assert!(!with(&|m| m.records = CountClass(99)));
        assert!(!with(&|m| m.units = CountClass::of(1_000_000)));
        assert!(!with(&|m| m.period = Some(Period { from: Month(202_613), to: Month(202_701) })));
        assert!(!with(&|m| m.period = Some(Period { from: Month(202_607), to: Month(202_606) })));
        assert_eq!([Month::parse("2026-6"), Month::parse("26-06"), Month::parse("2026-00"), Month::parse("+026-01")], [None; 4]);
    }

    #[test]
    fn classes_are_the_series_of_one_two_five() {
        let low = |n| CountClass::of(n).low();
        assert_eq!(
            [0, 9, 10, 19, 20, 49, 50, 99, 100, 13_673, u64::MAX].map(low),
            [0, 0, 10, 10, 20, 20, 50, 50, 100, 10_000, 10_000_000_000_000_000_000]
        );
        assert!(Licence::ALL.iter().all(|l| Licence::from_name(l.name()) == Some(*l)));
    }

    proptest! {
        /// At least ten counts, and at least half of the count itself, share every class from the first on: no class names a count.
        #[test]
        fn no_class_tells_a_count(count in any::<u64>()) {
            let class = CountClass::of(count);
            prop_assert!(class.low() <= count && class.is_one());
            prop_assert!(CountClass::of(count).low() == CountClass::of(class.low() + (class.low() / 3).max(3)).low() || class.0 == CountClass::LAST);
        }

        #[test]
        fn bytes_decode_to_one_manifest_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let one = |bytes: &[u8]| decode::<DataManifest>(bytes, DataManifest::LIMIT).map(|m| encode(&m) == bytes).unwrap_or(true);
            prop_assert!(one(&bytes));
            let mut near = encode(&manifest());
            let at = at.index(near.len());
            near[at] ^= 1 << bit;
            prop_assert!(one(&near));
        }
    }
}
