//! What a mechanism executes beside others whose noise is in the same sum (privacy.md D7, D20). Knows no other institution.

use super::Executed;
use crate::coalition::{CoalitionError, GuaranteedShares, coordinate_bound};
use minicbor::{CborLen, Decode, Encode};
use protocol::plan::{NoiseKind, Plan};

/// Noise that institutions add together, as it is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct JointNoise {
    /// n_min: fewest institutions of an opened sum.
    #[n(0)]
    pub cohort_min: u16,
    /// c: institutions with which the one that looks may collude.
    #[n(1)]
    pub colluding: u16,
    /// R in grid steps: coordinates are clamped to −R..=R before noise.
    #[n(2)]
    pub bound: i64,
}

impl JointNoise {
    /// # Errors
    /// [`CoalitionError`]: no guaranteed share, shares too coarse for Lemma S, or no room in the narrowest group of the plan.
    pub(super) fn new(plan: &Plan, colluding: u16, e: &Executed) -> Result<Self, CoalitionError> {
        let shares = GuaranteedShares::new(plan.cohort_min, colluding)?;
        match e.noise {
            NoiseKind::RoundedGaussian => shares.check(e.sigma_grid())?,
            // Accounted by the published bound for sums, which carries its own distance (D55).
            NoiseKind::DiscreteGaussian => {}
        }
        // A tighter clamp than a wide group needs is still a contraction, so one R serves all groups.
        let bits = plan.groups.iter().map(|g| g.bits).min().unwrap_or(0);
        let bound = coordinate_bound(bits, e.sigma_grid_1024, 1 << e.grid_bits)?;
        Ok(Self { cohort_min: plan.cohort_min, colluding, bound })
    }

    /// h.
    ///
    /// # Errors
    /// [`CoalitionError::NobodyLeft`], never for one that a mechanism made.
    pub fn shares(self) -> Result<GuaranteedShares, CoalitionError> {
        GuaranteedShares::new(self.cohort_min, self.colluding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::machine_tests::{joint_plan, plan};
    use crate::mechanism::{Mechanism, MechanismError};
    use protocol::plan::Mode;

    #[test]
    fn a_plan_makes_the_whole_mechanism_and_its_section_alone_does_not() {
        let p = joint_plan(1, "2");
        let m = Mechanism::of_plan(&p, 1000).unwrap();
        let joint = m.executed().joint.unwrap();
        assert_eq!((joint.cohort_min, joint.colluding, joint.shares().unwrap().get()), (4, 1, 2));
        let bytes = protocol::codec::encode(m.executed());
        assert_eq!(minicbor::decode::<Executed>(&bytes).unwrap(), *m.executed());
        assert_eq!(Mechanism::new(&p.privacy, 100, 1000).err(), Some(MechanismError::NeedsPlan("hybrid")));
        let p = plan(1, "2");
        let (whole, section) = (Mechanism::of_plan(&p, 1000).unwrap(), Mechanism::new(&p.privacy, 100, 1000).unwrap());
        assert_eq!(whole.executed(), section.executed(), "mode local needs no more than its section");
    }

    /// Plans and ledgers from before modes and paths could be chosen hash as they did: eleven fields, no twelfth.
    #[test]
    fn a_local_plan_on_the_exact_path_is_written_as_before() {
        let section = protocol::codec::encode(&plan(1, "2").privacy);
        assert_eq!((section[0], section[2]), (0x8b, 0), "eleven fields, mode 0");
        assert_eq!(protocol::codec::encode(&joint_plan(1, "2").privacy)[..3], [0x8b, 1, 0x82]);
        // What is said about a unit's records comes after all that, and only where it is another thing than the mean (D31).
        let mut summed = plan(1, "2");
        summed.privacy.unit_objective = protocol::plan::UnitObjective::Sum;
        let bytes = protocol::codec::encode(&summed);
        assert_eq!(protocol::codec::encode(&summed.privacy)[0], 0x8d, "thirteen fields, the twelfth empty");
        assert_eq!(protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES), Ok(summed));
        assert_ne!(bytes, protocol::codec::encode(&plan(1, "2")), "another objective, another digest");
    }

    #[test]
    fn numbers_that_institutions_cannot_noise_a_sum_with_are_named() {
        let refused = |change: &dyn Fn(&mut Plan)| {
            let mut p = joint_plan(1, "2");
            change(&mut p);
            Mechanism::of_plan(&p, 1000).err()
        };
        let nobody = CoalitionError::NobodyLeft { cohort_min: 2, colluding: 1 };
        assert_eq!(refused(&|p| p.cohort_min = 2), Some(MechanismError::Joint(nobody)));
        let narrow = |p: &mut Plan| p.groups[0].bits = 18;
        assert!(matches!(refused(&narrow), Some(MechanismError::Joint(CoalitionError::NoRoom { bits: 18, .. }))));
        // 2.3·√2 grid steps are needed; 0.0078125 of 2^8 are 2.
        let coarse = |p: &mut Plan| {
            (p.privacy.grid_bits, p.privacy.noise_multiplier) = (8, "0.0078125".parse().unwrap());
        };
        assert!(matches!(refused(&coarse), Some(MechanismError::Joint(CoalitionError::Coarse { shares: 2, .. }))));
        assert_eq!(refused(&|p| p.privacy.noise = NoiseKind::DiscreteGaussian), None, "sampled, and accounted as such (D23)");
        assert_eq!(refused(&|p| p.privacy.mode = Mode::Local), None);
    }
}
