//! What the members of a round declared their datasets to be, as weights and as units (crypto.md C24, privacy.md D15). Knows no sum.

use super::RoundHistory;
use crate::ids::{ClientId, GroupId, Sha256};

impl RoundHistory {
    /// The weight that `who` must seal for `dataset`: its declared units, at most the plan's bound (crypto.md C24). Nothing for a group
    /// that carries no weights, or a dataset that was not declared before the manifest.
    pub fn weight(&self, group: GroupId, who: ClientId, dataset: Sha256) -> Option<u64> {
        let tally = self.manifest.as_ref()?.0.group(group)?.tally?;
        self.declared.get(&(who, dataset)).map(|units| (*units).min(tally.max_weight))
    }

    /// The weights of a certified set, in the order of its headers. Nothing before there is one, or for a group without weights.
    pub fn weights(&self, group: GroupId) -> Option<Vec<u64>> {
        let members = self.groups.get(&group)?;
        let weight = |header| {
            let (who, _, header) = members.accepted.get(header)?;
            self.weight(group, *who, header.core.spend.dataset)
        };
        members.certificate.as_ref()?.headers().iter().map(weight).collect()
    }

    /// Sum of [`Self::weights`].
    pub fn total_weight(&self, group: GroupId) -> Option<u64> {
        total(&self.weights(group)?)
    }

    /// Sum of the units that the members of a certified set had declared when the manifest was published: what a sum of gradients is divided
    /// by (privacy.md D15). Nothing before there is a certificate, or where a member had declared nothing.
    pub fn total_units(&self, group: GroupId) -> Option<u64> {
        let members = self.groups.get(&group)?;
        let units = |header| {
            let (who, _, header) = members.accepted.get(header)?;
            self.declared.get(&(*who, header.core.spend.dataset)).copied()
        };
        let all: Option<Vec<u64>> = members.certificate.as_ref()?.headers().iter().map(units).collect();
        total(&all?)
    }
}

/// The sum, or nothing where it is no number of 64 bits: nobody has so many units, whatever they declare.
fn total(counts: &[u64]) -> Option<u64> {
    counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count))
}

#[cfg(test)]
mod tests {
    #[test]
    fn declared_sizes_whose_sum_is_no_number_are_no_size() {
        assert_eq!(super::total(&[2, 3]), Some(5));
        assert_eq!(super::total(&[u64::MAX, 1]), None);
    }
}
