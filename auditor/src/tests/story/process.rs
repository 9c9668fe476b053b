//! What the server tells of itself and of its witnesses, and what it allows (audit.md A19).

use super::super::twist::Twist;
use super::{Scribe, TASK, admin, public};
use protocol::entry::{Actor, ClockDirection, Decision, Draft, Facts, Right, Ruling};
use protocol::hash::sha256;
use protocol::ids::Sha256;

/// The program and the settings that the story begins with.
const BEFORE: [Sha256; 2] = [Sha256([8; 32]), Sha256([7; 32])];

impl Scribe {
    /// A restart with another program and other settings, a clock that was moved, a disk that was full for a while.
    pub(super) fn restarted(&mut self) {
        if !self.twist.tells(&[Twist::Restarted, Twist::UpgradedFromAnother, Twist::UpgradedToTheSame]) {
            return;
        }
        let [build, config] = if self.twist == Twist::UpgradedToTheSame { BEFORE } else { [Sha256([18; 32]), Sha256([17; 32])] };
        self.push(Draft::server(Facts::ProcessStopped {}));
        self.push(Draft::server(Facts::ProcessStarted { build, clean: true, config }));
        let old = if self.twist == Twist::UpgradedFromAnother { Sha256([28; 32]) } else { BEFORE[0] };
        self.push(Draft::server(Facts::ProcessUpgraded { old, new: build }));
        if self.twist.tells(&[Twist::Restarted]) {
            self.push(Draft::server(Facts::ProcessConfigChanged { old: BEFORE[1], new: config }));
            self.push(Draft::server(Facts::ProcessClockSkew { direction: ClockDirection::Back, ms: 60_000 }));
            self.push(Draft::server(Facts::ProcessStorageLow { free_mib: 10, needed_mib: 20 }).in_task(TASK));
        }
    }

    /// The witness of institution 0 goes missing and returns.
    pub(super) fn witnesses(&mut self) {
        let line = super::Signers::new().witnesses[0].verifier().to_string();
        let witness = Sha256(sha256(&[line.as_bytes()]));
        let (missing, returned) = (Facts::WitnessMissing { witness, size: 5 }, Facts::WitnessReturned { witness, size: 9 });
        let told = [
            (Twist::WitnessAway, 0, vec![missing.clone(), returned.clone()]),
            (Twist::WitnessReturnsOnly, 0, vec![returned]),
            (Twist::WitnessAwayTwice, 0, vec![missing.clone(), missing.clone()]),
            (Twist::WitnessOfAnother, 1, vec![missing]),
        ];
        let now = self.twist;
        for (_, who, words) in told.into_iter().filter(|(twist, ..)| now.tells(&[*twist])) {
            for facts in words {
                self.push(Draft { institution: Some(self.ids()[who]), ..Draft::server(facts) });
            }
        }
    }

    /// A permission, as the server writes it before the release that it is for.
    pub(super) fn allowed(&mut self) {
        let allow = |actor, right| Draft::decided(actor, Decision::new(Ruling::Allow, right));
        let by = |key| Draft { key: Some(public(key)), ..allow(Actor::Administrator, Right::ModelRelease) };
        let member = Draft { institution: Some(self.ids()[0]), ..allow(Actor::Institution, Right::ModelRelease) };
        let told = [(Twist::Allowed, by(&admin())), (Twist::AllowedToAStranger, by(&self.people[0])), (Twist::AllowedToAMember, member)];
        let now = self.twist;
        for (_, draft) in told.into_iter().filter(|(twist, _)| now.tells(&[*twist])) {
            self.push(draft);
        }
    }
}
