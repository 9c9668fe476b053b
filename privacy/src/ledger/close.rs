//! What may become of a payment, a task and a cap (privacy.md D60, D62, D64). Nothing here gives anything back. Knows no accountant.

use super::entry::Event;
use super::filter::{self, Nats};
use super::machine::{Pending, PrivacyLedger};
use super::refusal::{CloseError, CreateError};
use protocol::decimal::Decimal;
use protocol::ids::{Sha256, TaskId};
use protocol::time::Time;

impl PrivacyLedger {
    pub(super) fn close(&mut self, event: Event, now: Time) -> Result<Pending<()>, CloseError> {
        if self.outstanding {
            return Err(CloseError::Outstanding);
        }
        if !self.state.allows(&event) {
            return Err(CloseError::WrongState);
        }
        Ok(self.propose(now, event, |_, _| ()))
    }

    /// The update is spooled and durable; from here on its bytes may be sent again, and only they (D66).
    ///
    /// # Errors
    /// [`CloseError`]; nothing changed.
    pub fn sealed(&mut self, reservation: u64, update: Sha256, now: Time) -> Result<Pending<()>, CloseError> {
        self.close(Event::Sealed { reservation, update }, now)
    }

    /// A receipt for the update is held.
    ///
    /// # Errors
    /// [`CloseError`]; nothing changed.
    pub fn sent(&mut self, reservation: u64, now: Time) -> Result<Pending<()>, CloseError> {
        self.close(Event::Sent { reservation }, now)
    }

    /// The round came to nothing. What it cost stays spent.
    ///
    /// # Errors
    /// [`CloseError`]; nothing changed.
    pub fn void(&mut self, reservation: u64, now: Time) -> Result<Pending<()>, CloseError> {
        self.close(Event::Void { reservation }, now)
    }

    /// The task is over; what was held for it and not spent is free again.
    ///
    /// # Errors
    /// [`CloseError`]; nothing changed.
    pub fn end_task(&mut self, task: TaskId, now: Time) -> Result<Pending<()>, CloseError> {
        self.close(Event::Ended { task }, now)
    }

    /// Declares a new lifetime cap as a total, never a new start (D64).
    ///
    /// # Errors
    /// [`CreateError`] if the cap leaves nothing to spend; nothing changed.
    pub fn declare_cap(&mut self, epsilon_cap: Decimal, now: Time) -> Result<Pending<()>, CreateError> {
        let t = &self.state.terms;
        if self.outstanding {
            return Err(CreateError::Outstanding);
        }
        if filter::budget(epsilon_cap, t.delta, t.order) == Nats(0) {
            return Err(CreateError::Cap { cap: epsilon_cap, order: t.order });
        }
        Ok(self.propose(now, Event::CapDeclared { epsilon_cap }, |_, _| ()))
    }
}
