//! What this institution allows, out of every plan's reach (transport-storage.md T15). It can only be stricter than a plan.
//! Missing or unreadable means: decline everything.

use crate::files::{self, Item, StoreError};
use protocol::decimal::{BadDecimal, Decimal};
use protocol::ids::{PlanDigest, Sha256};
use protocol::participant::UploadAt;
use protocol::plan::{Mode, NoiseKind, Plan, PrivacyPlan, Unit};
use serde::Deserialize;
use std::path::Path;

const MAX_FILE: usize = 256 * 1024;

/// What `join` writes for the institution's people to edit: strict enough that most plans are declined until they have looked.
pub(crate) const STRICT: &str = "\
# What this institution allows. It can only be stricter than a federation's plan; without this file everything is declined.
# Most epsilon that may ever be spent from one dataset, over all tasks.
max_eps_total = \"3\"
# Largest delta of a promise.
max_delta = \"0.00001\"
# Least noise deviation over sensitivity.
min_noise_multiplier = \"0.6\"
# Fewest institutions in one opened sum.
cohort_min = 3
# Whether a plan may protect single records instead of persons.
allow_record_unit = false
# What own noise alone must be worth at most where institutions noise a sum together (mode hybrid); \"none\" also allows mode distributed,
# where own noise is only a share. Left out: distributed is declined.
# own_epsilon_cap = \"8\"
# When updates leave: \"ready\", as soon as they are sealed, or \"scheduled\", at the time that the manifest gives, so that how long training
# took does not show. Left out: \"ready\".
# upload_at = \"scheduled\"
# Plans that are allowed, by digest; leave out to allow every plan within the limits above.
# plans = []
";

/// Why there is no policy. Everything is declined then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SitePolicyError {
    /// The file.
    #[error("the site policy could not be read")]
    Store(#[from] StoreError),
    /// Not UTF-8.
    #[error("the site policy is not text")]
    NotText,
    /// Not TOML, or a key that does not exist, is missing, or has another type.
    #[error("the site policy does not parse")]
    Parse(#[source] Box<toml::de::Error>),
    /// Charging what a coalition is left with instead of own cost (privacy.md D61) without a number that own cost is held to.
    #[error("`charge = \"coalition\"` needs a number in `own_epsilon_cap` that is not below `max_eps_total`")]
    ChargeCoalition,
    /// A limit that allows nothing or means nothing.
    #[error("`{0}` is outside its range")]
    OutOfRange(&'static str),
}

/// The limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePolicy {
    /// Most ε over all tasks.
    pub max_eps_total: Decimal,
    /// Largest δ.
    pub max_delta: Decimal,
    /// Least noise multiplier.
    pub min_noise_multiplier: Decimal,
    /// Fewest institutions in one opened sum.
    pub cohort_min: u16,
    /// Whether records may be the unit.
    pub allow_record_unit: bool,
    /// What own noise alone must keep where institutions noise a sum together; nothing stated means that no such plan is taken whose own
    /// noise is only a share (privacy.md D10).
    pub own_epsilon_cap: Option<OwnEpsilonCap>,
    /// Which account `max_eps_total` is of.
    pub charge: Charge,
    /// When updates leave (privacy.md D12).
    pub upload_at: UploadAt,
    /// Allowed plans; none means any within the limits.
    pub plans: Option<Vec<PlanDigest>>,
}

/// A bound on what own noise alone is worth, or the word that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OwnEpsilonCap {
    /// `"none"`: this institution relies on the others' noise, in so many words.
    None,
    /// At most this ε.
    AtMost(Decimal),
}

impl TryFrom<String> for OwnEpsilonCap {
    type Error = BadDecimal;
    fn try_from(text: String) -> Result<Self, BadDecimal> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::AtMost) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    max_eps_total: Decimal,
    max_delta: Decimal,
    min_noise_multiplier: Decimal,
    cohort_min: u16,
    allow_record_unit: bool,
    own_epsilon_cap: Option<OwnEpsilonCap>,
    charge: Option<Charge>,
    upload_at: Option<UploadAt>,
    plans: Option<Vec<PlanDigest>>,
}

/// Which account the lifetime cap holds (privacy.md D61).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charge {
    /// What own noise alone is worth.
    #[default]
    Own,
    /// What the guaranteed shares leave to a coalition, in plans for whose noise that bound is published: discrete Gaussian. All else is charged
    /// at own cost all the same.
    Coalition,
}

/// A rule that a plan breaks; stays inside, the federation hears `policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// Not on the list.
    #[error("the plan is not on the list of allowed plans")]
    Plan,
    /// ε.
    #[error("the plan's cap on epsilon is {plan}, allowed is {allowed}")]
    Epsilon {
        /// The plan's.
        plan: Decimal,
        /// Ours.
        allowed: Decimal,
    },
    /// δ.
    #[error("the plan's delta is {plan}, allowed is {allowed}")]
    Delta {
        /// The plan's.
        plan: Decimal,
        /// Ours.
        allowed: Decimal,
    },
    /// Noise.
    #[error("the plan's noise multiplier is {plan}, asked for is {asked}")]
    Noise {
        /// The plan's.
        plan: Decimal,
        /// Ours.
        asked: Decimal,
    },
    /// Cohort.
    #[error("the plan opens sums of {plan} institutions, asked for are {asked}")]
    Cohort {
        /// The plan's.
        plan: u16,
        /// Ours.
        asked: u16,
    },
    /// Unit.
    #[error("the plan protects records, not persons")]
    RecordUnit,
    /// What own noise alone is worth in a mode where others add noise too.
    #[error("the plan lets this institution's own noise be worth epsilon {plan}, allowed is {allowed}")]
    OwnEpsilon {
        /// The plan's.
        plan: Decimal,
        /// Ours.
        allowed: Decimal,
    },
    /// A share of noise that was not chosen for what it is worth alone.
    #[error("the plan is of mode distributed, which needs `own_epsilon_cap = \"none\"`: own noise alone is worth epsilon {plan}")]
    Distributed {
        /// The plan's.
        plan: Decimal,
    },
}

impl Forbidden {
    /// A stable name for the institution's own log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Plan => "plan_not_listed",
            Self::Epsilon { .. } => "max_eps_total",
            Self::Delta { .. } => "max_delta",
            Self::Noise { .. } => "min_noise_multiplier",
            Self::Cohort { .. } => "cohort_min",
            Self::RecordUnit => "allow_record_unit",
            Self::OwnEpsilon { .. } | Self::Distributed { .. } => "own_epsilon_cap",
        }
    }
}

impl SitePolicy {
    /// Reads the policy.
    ///
    /// # Errors
    /// [`SitePolicyError`]: decline everything.
    pub fn load(path: &Path) -> Result<Self, SitePolicyError> {
        Self::read(path).map(|(policy, _)| policy)
    }

    /// The policy, and SHA-256 of its file: what the site log says that a plan was judged by.
    pub(crate) fn read(path: &Path) -> Result<(Self, Sha256), SitePolicyError> {
        let bytes = files::read(path, MAX_FILE, Item::SitePolicy)?;
        let policy = Self::parse(std::str::from_utf8(&bytes).map_err(|_| SitePolicyError::NotText)?)?;
        Ok((policy, Sha256(protocol::hash::sha256(&[&bytes]))))
    }

    /// Parses a policy; every limit must be stated.
    ///
    /// # Errors
    /// [`SitePolicyError`].
    pub fn parse(text: &str) -> Result<Self, SitePolicyError> {
        let raw: RawPolicy = toml::from_str(text).map_err(|e| SitePolicyError::Parse(Box::new(e)))?;
        let positive = |d: Decimal| d.to_f64() > 0.0;
        if !positive(raw.max_eps_total) {
            return Err(SitePolicyError::OutOfRange("max_eps_total"));
        }
        if !positive(raw.max_delta) || raw.max_delta.to_f64() >= 1.0 {
            return Err(SitePolicyError::OutOfRange("max_delta"));
        }
        if !positive(raw.min_noise_multiplier) {
            return Err(SitePolicyError::OutOfRange("min_noise_multiplier"));
        }
        if raw.cohort_min < 2 {
            return Err(SitePolicyError::OutOfRange("cohort_min"));
        }
        if matches!(raw.own_epsilon_cap, Some(OwnEpsilonCap::AtMost(cap)) if !positive(cap)) {
            return Err(SitePolicyError::OutOfRange("own_epsilon_cap"));
        }
        let charge = raw.charge.unwrap_or_default();
        let held = matches!(raw.own_epsilon_cap, Some(OwnEpsilonCap::AtMost(cap)) if cap.to_f64() >= raw.max_eps_total.to_f64());
        if charge == Charge::Coalition && !held {
            return Err(SitePolicyError::ChargeCoalition);
        }
        let RawPolicy { max_eps_total, max_delta, min_noise_multiplier, cohort_min, allow_record_unit, .. } = raw;
        let (own_epsilon_cap, upload_at, plans) = (raw.own_epsilon_cap, raw.upload_at.unwrap_or_default(), raw.plans);
        Ok(Self {
            max_eps_total,
            max_delta,
            min_noise_multiplier,
            cohort_min,
            allow_record_unit,
            own_epsilon_cap,
            charge,
            upload_at,
            plans,
        })
    }

    /// What own ε of any one task is held to where `max_eps_total` is of the cost to a coalition; nothing where it is of own cost.
    pub fn own_cap_beside_coalition(&self) -> Option<Decimal> {
        match (self.charge, self.own_epsilon_cap) {
            (Charge::Coalition, Some(OwnEpsilonCap::AtMost(cap))) => Some(cap),
            (Charge::Coalition, Some(OwnEpsilonCap::None) | None) | (Charge::Own, _) => None,
        }
    }

    /// What a plan takes of `max_eps_total` at most.
    fn charged(&self, p: &PrivacyPlan) -> Decimal {
        match (self.charge, p.noise, p.mode.joint()) {
            (Charge::Coalition, NoiseKind::DiscreteGaussian, Some(joint)) => joint.coalition_epsilon,
            (Charge::Own | Charge::Coalition, NoiseKind::DiscreteGaussian | NoiseKind::RoundedGaussian, _) => p.epsilon_cap,
        }
    }

    /// Whether a plan keeps all limits.
    ///
    /// # Errors
    /// [`Forbidden`], the first limit broken.
    pub fn allows(&self, digest: PlanDigest, plan: &Plan) -> Result<(), Forbidden> {
        let p = &plan.privacy;
        if self.plans.as_ref().is_some_and(|allowed| !allowed.contains(&digest)) {
            return Err(Forbidden::Plan);
        }
        let charged = self.charged(p);
        if charged.to_f64() > self.max_eps_total.to_f64() {
            return Err(Forbidden::Epsilon { plan: charged, allowed: self.max_eps_total });
        }
        if p.delta.to_f64() > self.max_delta.to_f64() {
            return Err(Forbidden::Delta { plan: p.delta, allowed: self.max_delta });
        }
        if p.noise_multiplier.to_f64() < self.min_noise_multiplier.to_f64() {
            return Err(Forbidden::Noise { plan: p.noise_multiplier, asked: self.min_noise_multiplier });
        }
        if plan.cohort_min < self.cohort_min {
            return Err(Forbidden::Cohort { plan: plan.cohort_min, asked: self.cohort_min });
        }
        if p.unit == Unit::Record && !self.allow_record_unit {
            return Err(Forbidden::RecordUnit);
        }
        self.allows_own(p)
    }

    /// What this institution's noise alone may be worth where others add noise too (privacy.md D10).
    fn allows_own(&self, p: &PrivacyPlan) -> Result<(), Forbidden> {
        match (p.mode, self.own_epsilon_cap) {
            (Mode::Local, _) | (Mode::Distributed(_) | Mode::Hybrid(_), Some(OwnEpsilonCap::None)) | (Mode::Hybrid(_), None) => Ok(()),
            (Mode::Distributed(_), None | Some(OwnEpsilonCap::AtMost(_))) => Err(Forbidden::Distributed { plan: p.epsilon_cap }),
            (Mode::Hybrid(_), Some(OwnEpsilonCap::AtMost(allowed))) if p.epsilon_cap.to_f64() > allowed.to_f64() => {
                Err(Forbidden::OwnEpsilon { plan: p.epsilon_cap, allowed })
            }
            (Mode::Hybrid(_), Some(OwnEpsilonCap::AtMost(_))) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::Joint;

    #[test]
    fn the_strict_policy_parses_and_every_limit_must_be_stated() {
        let whole = SitePolicy::parse(STRICT).unwrap();
        assert!(!whole.allow_record_unit && whole.plans.is_none());
        for key in ["max_eps_total", "max_delta", "min_noise_multiplier", "cohort_min", "allow_record_unit"] {
            let without: String = STRICT.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\n")).collect();
            assert!(SitePolicy::parse(&without).is_err(), "{key}");
        }
    }

    #[test]
    fn limits_that_mean_nothing_and_unknown_keys_are_refused() {
        for (from, to) in [
            ("\"3\"", "\"0\""),
            ("\"3\"", "3"),
            ("\"3\"", "\"-1\""),
            ("\"0.00001\"", "\"1\""),
            ("cohort_min = 3", "cohort_min = 1"),
            ("max_delta", "max_delt"),
        ] {
            assert!(SitePolicy::parse(&STRICT.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    /// D61: own cost is charged, unless the policy says otherwise and holds own cost to a number that is not below the total.
    #[test]
    fn what_a_coalition_is_left_with_is_charged_only_beside_a_cap_on_own_cost() {
        let own = SitePolicy::parse(&format!("{STRICT}charge = \"own\"\n")).unwrap();
        assert_eq!(own, SitePolicy::parse(STRICT).unwrap());
        assert_eq!((own.charge, own.own_cap_beside_coalition()), (Charge::Own, None));
        let asked = |text: &str| SitePolicy::parse(&format!("{STRICT}{text}charge = \"coalition\"\n"));
        for text in ["", "own_epsilon_cap = \"none\"\n", "own_epsilon_cap = \"2.9\"\n"] {
            assert!(matches!(asked(text), Err(SitePolicyError::ChargeCoalition)), "{text}");
        }
        let policy = asked("own_epsilon_cap = \"8\"\n").unwrap();
        assert_eq!(policy.own_cap_beside_coalition(), "8".parse().ok());
        // A plan of mode hybrid whose floor is 8 and whose shares are worth 3.
        let (mut plan, digest) = (crate::testing::plan(), PlanDigest([1; 32]));
        plan.privacy.mode = Mode::Hybrid(Joint { colluding: 0, coalition_epsilon: "3".parse().unwrap() });
        plan.privacy.unit = Unit::User;
        let epsilon = |plan: &Plan| policy.allows(digest, plan).err().map(|e| e.code());
        assert_eq!(epsilon(&plan), Some("max_eps_total"), "rounded noise: pending review, so own cost is what counts");
        plan.privacy.noise = NoiseKind::DiscreteGaussian;
        assert_eq!(epsilon(&plan), None);
        assert_eq!(own.allows(digest, &plan).err().map(|e| e.code()), Some("max_eps_total"));
        plan.privacy.mode = Mode::Local;
        assert_eq!(epsilon(&plan), Some("max_eps_total"), "alone, an institution has own noise only");
        assert!(matches!(SitePolicy::parse(&format!("{STRICT}charge = \"none\"\n")), Err(SitePolicyError::Parse(_))));
    }

    /// D12: without the key the promise leaves out how long rounds took, so nothing else is needed to be on the safe side.
    #[test]
    fn when_updates_leave_is_one_of_two_words() {
        let said = |text: &str| SitePolicy::parse(&format!("{STRICT}{text}")).map(|p| p.upload_at).ok();
        assert_eq!(["", "upload_at = \"ready\"\n"].map(said), [Some(UploadAt::Ready); 2]);
        assert_eq!(said("upload_at = \"scheduled\"\n"), Some(UploadAt::Scheduled));
        assert_eq!(["upload_at = \"later\"\n", "upload_at = 1\n"].map(said), [None; 2]);
    }

    #[test]
    fn no_file_means_no_policy() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(SitePolicy::load(&dir.path().join("none")), Err(SitePolicyError::Store(_))));
    }

    /// D10: a share that was not chosen for what it is worth alone needs the word "none"; a floor is held against the cap.
    fn held_to_own_noise(wide: &str, plan: &Plan) {
        let joint = Joint { colluding: 0, coalition_epsilon: "3".parse().unwrap() };
        let judged = |mode, cap: &str| {
            let mut plan = plan.clone();
            plan.privacy.mode = mode;
            let verdict = SitePolicy::parse(&format!("{wide}{cap}")).unwrap().allows(PlanDigest([1; 32]), &plan);
            verdict.map_err(|e| e.code())
        };
        let (none, tight, exact) = ("own_epsilon_cap = \"none\"\n", "own_epsilon_cap = \"7.9\"\n", "own_epsilon_cap = \"8\"\n");
        let refused = Err("own_epsilon_cap");
        assert_eq!(["", tight, exact, none].map(|c| judged(Mode::Distributed(joint), c)), [refused, refused, refused, Ok(())]);
        assert_eq!(["", tight, exact, none].map(|c| judged(Mode::Hybrid(joint), c)), [Ok(()), refused, Ok(()), Ok(())]);
        assert_eq!(["", tight, exact, none].map(|c| judged(Mode::Local, c)), [Ok(()); 4]);
        for bad in ["\"0\"", "\"None\"", "8", "\"-1\""] {
            assert!(SitePolicy::parse(&format!("{wide}own_epsilon_cap = {bad}\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plan_is_held_to_every_limit() {
        let (plan, digest) = (crate::testing::plan(), PlanDigest([1; 32]));
        let wide =
            "max_eps_total = \"8\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"1\"\ncohort_min = 3\nallow_record_unit = true\n";
        assert_eq!(SitePolicy::parse(wide).unwrap().allows(digest, &plan), Ok(()));
        let narrower = [
            ("\"8\"", "\"7.9\""),
            ("0.00001", "0.000009"),
            ("multiplier = \"1\"", "multiplier = \"1.1\""),
            ("= 3", "= 4"),
            ("true", "false"),
            ("allow", "plans = []\nallow"),
        ];
        for (from, to) in narrower {
            let policy = SitePolicy::parse(&wide.replacen(from, to, 1)).unwrap();
            assert!(policy.allows(digest, &plan).is_err(), "{to}");
        }
        held_to_own_noise(wide, &plan);
        let listed = SitePolicy::parse(&format!("{wide}plans = [\"{}\"]\n", digest.to_hex())).unwrap();
        assert_eq!(listed.allows(digest, &plan), Ok(()));
    }
}
