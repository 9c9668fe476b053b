//! Who trains which shards (training.md M4, M6): tiers of institutions of one capability. Knows no model: whether a shard's tensors exist is
//! the training room's question.

use super::{GroupPlan, Plan, ShardSpec};
use crate::ids::{ClientId, GroupId, RoundId, ShardId};
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Most tiers of a plan: each is a class of machines, not an institution.
const MAX_TIERS: usize = 64;
/// Longest name of a tier, in bytes.
const MAX_NAME: usize = 64;
/// Longest turn: as many rounds as a model may have blocks.
const MAX_EVERY: u16 = 1024;

/// Rounds in which a shard is trained: round r, counted from 1, if (r − 1) mod `every` = `at`. A schedule that every round follows, whoever
/// was in it, so that nobody's data chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Rounds from one turn to the next.
    #[n(0)]
    pub every: u16,
    /// Which of them.
    #[n(1)]
    pub at: u16,
}

impl Turn {
    /// Every round.
    pub const ALWAYS: Self = Self { every: 1, at: 0 };

    /// Whether this round is one of them.
    pub fn has(self, round: RoundId) -> bool {
        round.0.saturating_sub(1) % u64::from(self.every.max(1)) == u64::from(self.at)
    }
}

/// A shard that a tier trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assigned {
    /// Number in the shard table.
    #[n(0)]
    pub shard: ShardId,
    /// When.
    #[n(1)]
    pub turn: Turn,
}

/// Institutions of one capability, and what they train. What they do not train is frozen for them: it gets no gradient, no noise, and is
/// not sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// What the plan calls it.
    #[n(0)]
    pub name: String,
    /// Shards in table order.
    #[n(1)]
    pub shards: Vec<Assigned>,
    /// Its institutions, ascending. None: all that no other tier names; at most one tier is like that.
    #[n(2)]
    pub institutions: Vec<ClientId>,
}

impl Tier {
    /// When the tier trains a shard, if ever.
    pub fn turn(&self, shard: ShardId) -> Option<Turn> {
        self.shards.iter().find(|a| a.shard == shard).map(|a| a.turn)
    }

    /// Whether it is for all that no other tier names.
    pub fn is_open(&self) -> bool {
        self.institutions.is_empty()
    }
}

/// Tiers that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TierError {
    /// None, or more than a plan may have.
    #[error("{0} tiers, expected 1 to 64")]
    Count(usize),
    /// A name that is empty, too long, or another tier's.
    #[error("tier {0:?} needs a name of 1 to 64 bytes that no other tier has")]
    Name(String),
    /// A shard that the plan does not have.
    #[error("tier {tier:?} trains shard {shard}, the plan's table has {:?}", numbers(.table))]
    NoShard {
        /// Which tier.
        tier: String,
        /// What it names.
        shard: ShardId,
        /// What there is.
        table: Vec<ShardId>,
    },
    /// A tier without shards, or one whose shards are not in table order, each once.
    #[error("the shards of tier {0:?} must be at least one, in table order, each once")]
    Order(String),
    /// A turn that never comes.
    #[error("tier {tier:?} trains shard {shard} at {at} of every {every} rounds, expected `every` of 1 to 1024 and `at` below it")]
    Turn {
        /// Which tier.
        tier: String,
        /// Which shard.
        shard: ShardId,
        /// As given.
        every: u16,
        /// As given.
        at: u16,
    },
    /// A shard that nobody trains: its weights would be sealed by nobody.
    #[error("shard {0} is in no tier")]
    Untrained(ShardId),
    /// A group of which a tier trains a part only.
    #[error("tier {tier:?} must train all shards of group {group} in the same rounds, or none")]
    SplitGroup {
        /// Which tier.
        tier: String,
        /// Which group.
        group: GroupId,
    },
    /// An institution in two tiers, or institutions out of order.
    #[error("institution {0} is in two tiers, or not in ascending order in its tier")]
    Institution(ClientId),
    /// Two tiers for all others.
    #[error("tiers {0:?} and {1:?} name no institution: only one tier is for all others")]
    TwoOpen(String, String),
    /// A shard whose tiers have too few institutions for a sum.
    #[error("shard {shard} is trained by at most {got} institutions in a round, its sum needs cohort_min = {cohort_min}")]
    Cohort {
        /// Which.
        shard: ShardId,
        /// Named institutions.
        got: usize,
        /// n_min.
        cohort_min: u16,
    },
    /// Random groups: dealing would have to keep every shard's minimum in every part.
    #[error("tiers need robustness.random_groups = 1, got {0}")]
    RandomGroups(u16),
    /// Noise that is added together.
    #[error("tiers need privacy.mode \"local\", got {0:?}: shares of noise are calibrated for one sum that everybody is in")]
    Mode(&'static str),
}

/// Shards as plans number them.
fn numbers(table: &[ShardId]) -> Vec<u32> {
    table.iter().map(|s| s.0).collect()
}

impl Plan {
    /// The tier that an institution is in; none in a plan without tiers, and none for an institution that the plan gives nothing to train.
    pub fn tier_of(&self, who: ClientId) -> Option<&Tier> {
        let tiers = self.tiers.as_deref()?;
        let named = tiers.iter().find(|t| t.institutions.contains(&who));
        named.or_else(|| tiers.iter().find(|t| t.is_open()))
    }

    /// Whether an institution trains a group's shards in this round.
    pub fn trains(&self, who: ClientId, group: &GroupPlan, round: RoundId) -> bool {
        if self.tiers.is_none() {
            return true;
        }
        let has = |tier: &Tier, shard| tier.turn(shard).is_some_and(|turn| turn.has(round));
        self.tier_of(who).is_some_and(|tier| group.shards.iter().all(|&s| has(tier, s)))
    }

    /// The plan as one institution carries it out: only the shards that it ever trains, their groups, and its tier. Clip norm, noise,
    /// quantiser and account are over exactly these coordinates. None if the plan gives it nothing to train.
    ///
    /// Its digest is not the plan's: what is signed and logged is the whole plan.
    pub fn seen_by(&self, who: ClientId) -> Option<Cow<'_, Self>> {
        if self.tiers.is_none() {
            return Some(Cow::Borrowed(self));
        }
        self.tier_of(who).map(|tier| Cow::Owned(self.of_tier(tier)))
    }

    /// The plan as the institutions of one tier carry it out; none if no tier has this name.
    pub fn seen_by_tier(&self, name: &str) -> Option<Self> {
        self.tiers.as_deref()?.iter().find(|tier| tier.name == name).map(|tier| self.of_tier(tier))
    }

    fn of_tier(&self, tier: &Tier) -> Self {
        let mine = |s: &ShardId| tier.turn(*s).is_some();
        let shards = self.shards.iter().filter(|s| mine(&s.id)).cloned().collect();
        let groups = self.groups.iter().filter(|g| g.shards.iter().all(mine)).cloned().collect();
        let tiers = Some(vec![Tier { institutions: Vec::new(), ..tier.clone() }]);
        Self { shards, groups, tiers, ..self.clone() }
    }

    /// Of the plan as one institution sees it: the shards that it trains in this round.
    pub fn active(&self, round: RoundId) -> Vec<&ShardSpec> {
        let tier = self.tiers.as_deref().and_then(<[Tier]>::first);
        let has = |s: &&ShardSpec| tier.is_none_or(|t| t.turn(s.id).is_some_and(|turn| turn.has(round)));
        self.shards.iter().filter(has).collect()
    }
}

/// Checks the tiers against the shard table, the groups and each other. A plan without tiers has nothing to check.
///
/// # Errors
/// [`TierError`], the first rule broken.
pub(super) fn check(plan: &Plan) -> Result<(), TierError> {
    let Some(tiers) = plan.tiers.as_deref() else { return Ok(()) };
    if plan.robust().random_groups != 1 {
        return Err(TierError::RandomGroups(plan.robust().random_groups));
    }
    if plan.privacy.mode.joint().is_some() {
        return Err(TierError::Mode(plan.privacy.mode.name()));
    }
    if !(1..=MAX_TIERS).contains(&tiers.len()) {
        return Err(TierError::Count(tiers.len()));
    }
    let misnamed = |(i, t): &(usize, &Tier)| !(1..=MAX_NAME).contains(&t.name.len()) || tiers[..*i].iter().any(|o| o.name == t.name);
    if let Some((_, bad)) = tiers.iter().enumerate().find(misnamed) {
        return Err(TierError::Name(bad.name.clone()));
    }
    tiers.iter().try_for_each(|t| check_shards(plan, t))?;
    check_institutions(tiers)?;
    plan.shards.iter().try_for_each(|s| check_cohort(plan, tiers, s.id))
}

fn check_shards(plan: &Plan, tier: &Tier) -> Result<(), TierError> {
    let name = || tier.name.clone();
    let place = |id| plan.shards.iter().position(|s| s.id == id);
    let mut places = Vec::with_capacity(tier.shards.len());
    for a in &tier.shards {
        let table = || plan.shards.iter().map(|s| s.id).collect();
        places.push(place(a.shard).ok_or_else(|| TierError::NoShard { tier: name(), shard: a.shard, table: table() })?);
        let Turn { every, at } = a.turn;
        if !(1..=MAX_EVERY).contains(&every) || at >= every {
            return Err(TierError::Turn { tier: name(), shard: a.shard, every, at });
        }
    }
    if places.is_empty() || !places.is_sorted_by(|a, b| a < b) {
        return Err(TierError::Order(name()));
    }
    let split = |g: &&GroupPlan| g.shards.iter().map(|&s| tier.turn(s)).collect::<BTreeSet<_>>().len() > 1;
    match plan.groups.iter().find(split) {
        Some(g) => Err(TierError::SplitGroup { tier: name(), group: g.id }),
        None => Ok(()),
    }
}

fn check_institutions(tiers: &[Tier]) -> Result<(), TierError> {
    let mut seen = BTreeSet::new();
    for tier in tiers {
        let mut last = None;
        for &who in &tier.institutions {
            if last.is_some_and(|l| l >= who) || !seen.insert(who) {
                return Err(TierError::Institution(who));
            }
            last = Some(who);
        }
    }
    let mut open = tiers.iter().filter(|t| t.is_open());
    match (open.next(), open.next()) {
        (Some(one), Some(other)) => Err(TierError::TwoOpen(one.name.clone(), other.name.clone())),
        (Some(_), None) | (None, _) => Ok(()),
    }
}

/// Whether every shard has its turn at the same time in enough institutions, as far as the plan names them.
fn check_cohort(plan: &Plan, tiers: &[Tier], shard: ShardId) -> Result<(), TierError> {
    let turns: Vec<(Turn, &Tier)> = tiers.iter().filter_map(|t| t.turn(shard).map(|turn| (turn, t))).collect();
    if turns.is_empty() {
        return Err(TierError::Untrained(shard));
    }
    // Two tiers meet in the rounds of one of them: the first round of each turn shows most of what can come together; a turn of every round
    // meets all.
    let together = |round: RoundId| {
        let here = turns.iter().filter(|(turn, _)| turn.has(round));
        here.fold((0usize, false), |(named, open), (_, tier)| (named + tier.institutions.len(), open || tier.is_open()))
    };
    let meetings: Vec<_> = turns.iter().map(|(turn, _)| together(RoundId(u64::from(turn.at) + 1))).collect();
    if meetings.iter().any(|&(named, open)| open || named >= usize::from(plan.cohort_min)) {
        return Ok(());
    }
    let got = meetings.iter().map(|&(named, _)| named).max().unwrap_or_default();
    Err(TierError::Cohort { shard, got, cohort_min: plan.cohort_min })
}

#[cfg(test)]
#[path = "tiers_tests.rs"]
mod tests;
