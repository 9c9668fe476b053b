//! What institutions say of their own site policies.

use super::super::twist::Twist;
use super::Scribe;
use protocol::entry::Facts;
use protocol::ids::Sha256;
use protocol::site_policy::SitePolicyDeclaration;

impl Scribe {
    /// Institution 1 declares its policy as it joins, and another one between the rounds; or says what does not fit.
    pub(super) fn site_policy(&mut self, round: u64) {
        let twists = [
            Twist::SitePolicies,
            Twist::SitePolicyFromNowhere,
            Twist::SitePolicyTwice,
            Twist::SitePolicyOtherwiseStated,
            Twist::SitePolicyTooEarly,
        ];
        if !twists.contains(&self.twist) {
            return;
        }
        let (one, two, size) = (Sha256([95; 32]), Sha256([96; 32]), self.entries.len() as u64);
        if round == 1 {
            let first = SitePolicyDeclaration::next(None, one, size).unwrap();
            self.says(1, &first, first.facts());
            return;
        }
        let old = if self.twist == Twist::SitePolicyFromNowhere { two } else { one };
        let new = if self.twist == Twist::SitePolicyFromNowhere { Sha256([97; 32]) } else { two };
        let from = if self.twist == Twist::SitePolicyTooEarly { size + 1 } else { size };
        let next = SitePolicyDeclaration::next(Some(old), new, from).unwrap();
        let mut facts = next.facts();
        if self.twist == Twist::SitePolicyOtherwiseStated
            && let Facts::SitePolicyDeclared { new, .. } = &mut facts
        {
            *new = Sha256([98; 32]);
        }
        self.says(1, &next, facts);
        if self.twist == Twist::SitePolicyTwice {
            self.says(1, &next, next.facts());
        }
    }
}
