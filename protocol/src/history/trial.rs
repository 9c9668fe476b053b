//! A history to try an entry on before it is let into the log. Knows no tree and no file.

use super::{DatasetHistory, History};
use crate::entry::{Draft, Facts};
use crate::ids::Sha256;

impl History {
    /// A copy to try an entry on that is made of `draft`. Members ask often whether an update may be accepted, and a whole history is long: for
    /// that the copy has no more than what decides about it, and finds the same rule broken first.
    pub fn trial(&self, draft: &Draft) -> Self {
        let places = (draft.task, draft.round, draft.group, draft.institution);
        let (Facts::UpdateAccepted { header, .. }, (Some(task), Some(round), Some(group), Some(who))) = (&draft.facts, places) else {
            return self.clone();
        };
        let own = (who, Sha256([0; 32]))..=(who, Sha256([u8::MAX; 32]));
        Self {
            size: self.size,
            last_ts: self.last_ts.clone(),
            keys: self.keys.clone(),
            holders: self.holders.clone(),
            members: self.members.clone(),
            origin: self.origin.clone(),
            starts: self.starts,
            datasets: self.datasets.range(own).map(|(id, d)| (*id, d.newest())).collect(),
            tasks: self.tasks.get(&task).map(|t| (task, t.around(round, group))).into_iter().collect(),
            causes: self.causes.around(task, round, *header),
            ..Self::new(self.trust.clone())
        }
    }
}

impl DatasetHistory {
    /// What the next spend continues from.
    fn newest(&self) -> Self {
        Self {
            cap: self.cap,
            spends: self.spends.last().cloned().into_iter().collect(),
            repairs: self.repairs.last().cloned().into_iter().collect(),
            exhausted: self.exhausted.iter().filter(|e| e.until.is_none()).copied().collect(),
            withdrawn: self.withdrawn,
            ..Self::declared(self.declaration)
        }
    }
}
