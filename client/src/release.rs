//! Scalar releases (privacy.md D28; bug class B27): pay durably, say so in the site log, draw once, store, show. Whoever asks again is shown the
//! same values. Counts come in from [`count`]; nothing here reads a record.

pub(crate) mod count;

use crate::clock::now;
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use crate::ledger::{Journal, LedgerError, LedgerStore};
use count::What;
use privacy::accountant::{AccountantError, epsilon_zcdp};
use privacy::ledger::{Compared, PaidRelease, ReleaseError, ReleaseRequest, ReleaseStage, release_rho, release_scale};
use privacy::noise::giant::{DrawError, Noised};
use protocol::decimal::{BadDecimal, Decimal};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::plan::Unit;
use protocol::site::SiteFacts;
use serde::{Deserialize, Serialize};

/// Longest stored release: 10^4 values and as many names of labels.
const MAX_FILE: usize = 4 << 20;
/// Version of a stored release.
const VERSION: u8 = 1;
/// Longest name.
const MAX_NAME: usize = 64;
/// What generated names begin with; nobody else's may.
const GENERATED: &str = "entry-";

/// The name of a release: an id that the institution's people choose, or one made of the ledger's counter. A file is called by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

/// A text that is no name of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of a release has 1 to 64 of a-z, 0-9 and -, begins with a letter or digit, and not with \"entry-\"")]
pub(crate) struct BadName;

impl Name {
    /// A name that a person chose.
    pub(crate) fn chosen(text: &str) -> Result<Self, BadName> {
        if text.starts_with(GENERATED) { Err(BadName) } else { Self::known(text) }
    }
    /// Any name, to be shown again.
    pub(crate) fn known(text: &str) -> Result<Self, BadName> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=MAX_NAME).contains(&text.len()) && text.chars().all(good) && !text.starts_with('-');
        if fits { Ok(Self(text.to_owned())) } else { Err(BadName) }
    }
    /// The name of the release that the next entry of a ledger pays for.
    pub(crate) fn generated(counter: u64) -> Self {
        Self(format!("{GENERATED}{counter}"))
    }
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is asked, without the records.
pub(crate) struct Asked {
    pub(crate) name: Name,
    /// The name's digest, as ledger and site log have it.
    pub(crate) id: Sha256,
    /// The question's digest.
    pub(crate) question: Sha256,
    pub(crate) dataset: Sha256,
    pub(crate) unit: Unit,
    pub(crate) what: What,
    pub(crate) max_records_per_unit: u64,
    pub(crate) labels: Vec<String>,
    pub(crate) scale_1024: u64,
    pub(crate) delta: Decimal,
    /// Proof that the log shows no spend that the ledger lacks.
    pub(crate) compared: Compared,
}

/// A release as it is stored and shown: nothing in it is exact but what is public.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    /// Format version, 1.
    v: u8,
    pub(crate) id: String,
    pub(crate) dataset: Sha256,
    pub(crate) what: What,
    pub(crate) unit: Unit,
    pub(crate) max_records_per_unit: u64,
    /// In the order of the values; empty where there is one value.
    pub(crate) labels: Vec<String>,
    /// Noised; may be below 0.
    pub(crate) values: Vec<i64>,
    /// L2, whole counts.
    pub(crate) sensitivity: u64,
    /// Scale of the noise in 1024ths.
    pub(crate) scale_1024: u64,
    /// ρ, nine places, rounded up.
    pub(crate) rho: Decimal,
    /// ε at δ of this release alone, six places, rounded up.
    pub(crate) epsilon: Decimal,
    pub(crate) delta: Decimal,
    pub(crate) ledger_counter: u64,
    pub(crate) ledger_head: Sha256,
    pub(crate) at_ms: u64,
}

impl Stored {
    /// Reads a file; nothing where it is none of this version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|stored: &Self| stored.v == VERSION)
    }
    /// # Panics
    /// Never: every field is plain.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialise")
    }
    /// Scale of the noise.
    pub(crate) fn scale(&self) -> f64 {
        release_scale(self.scale_1024)
    }
}

/// Why nothing is shown. What was paid stays paid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseFailure {
    /// The ledger.
    #[error("the ledger does not pay")]
    Ledger(#[from] LedgerError),
    /// A file.
    #[error("a file could not be read or written")]
    Store(#[from] StoreError),
    /// The noise.
    #[error("no noise could be drawn; what was paid is spent")]
    Draw(#[from] DrawError),
    /// The accountant.
    #[error("the cost cannot be stated")]
    Accountant(#[from] AccountantError),
    /// A figure that no decimal holds.
    #[error("the cost is too large to be stated")]
    TooLarge(#[from] BadDecimal),
    /// The id stands for another question, or for other noise.
    #[error("this id was paid by entry {counter} of the ledger for another question or other noise")]
    OtherQuestion {
        /// Counter of that entry.
        counter: u64,
    },
    /// Paid before a crash, and nothing was stored: its noise may have been seen, so it is never drawn again.
    #[error("this release was paid by entry {counter} of the ledger and came to nothing; it stays spent")]
    Lost {
        /// Counter of that entry.
        counter: u64,
    },
    /// No such release.
    #[error("no release has this id")]
    Unknown,
    /// The file is not what the ledger says was released.
    #[error("the stored values are not those that entry {counter} of the ledger paid for")]
    Altered {
        /// Counter of that entry.
        counter: u64,
    },
}

/// Where released values lie.
pub(crate) trait Shelf {
    /// Stores values durably, in one step.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// What is stored under a name.
    fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// All names.
    fn names(&self) -> Result<Vec<String>, StoreError>;
}

/// The institution's directory, for the releases of one dataset.
pub(crate) struct Disk<'a>(pub(crate) &'a Home, pub(crate) Sha256);

impl Shelf for Disk<'_> {
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        files::replace_secret(&self.0.release(&self.1, name), bytes, Item::Release)
    }
    fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        files::read_if_there(&self.0.release(&self.1, name), MAX_FILE, Item::Release)
    }
    fn names(&self) -> Result<Vec<String>, StoreError> {
        let names = files::names(&self.0.releases(&self.1), Item::Release)?;
        Ok(names.iter().filter_map(|n| n.strip_suffix(".json")).filter(|n| Name::known(n).is_ok()).map(str::to_owned).collect())
    }
}

/// After a crash: values that are on the shelf were released; what was only paid is void, and never drawn again (D66).
pub(crate) fn settle<F: Journal>(store: &mut LedgerStore<F>, shelf: &impl Shelf) -> Result<(), LedgerError> {
    let open: Vec<u64> = store.ledger().releases().filter(|(_, r)| r.stage == ReleaseStage::Reserved).map(|(c, _)| c).collect();
    if open.is_empty() {
        return Ok(());
    }
    let mut found = std::collections::BTreeMap::new();
    for name in shelf.names()? {
        let bytes = shelf.kept(&name)?.unwrap_or_default();
        if let Some(stored) = Stored::parse(&bytes)
            && store.ledger().holds(stored.ledger_counter, stored.ledger_head)
        {
            found.insert(stored.ledger_counter, Sha256(sha256(&[&bytes])));
        }
    }
    for counter in open {
        match found.get(&counter) {
            Some(result) => store.released(counter, *result)?,
            None => store.void(counter)?,
        }
    }
    Ok(())
}

/// The values of an id: those that are stored, or new ones that are paid for now. The ledger's entry is durable before the line in the site log,
/// that before the draw, and the values are before the ledger calls them released.
///
/// # Privacy
/// unit: the ledger's · neighbours: add or remove one unit · sensitivity: [`count::sensitivity`], L2, whole counts · measure: ρ-zCDP with ρ as
/// charged · one draw per payment, one payment per id · source: privacy.md D28, D60, D66.
///
/// # Errors
/// [`ReleaseFailure`].
pub(crate) fn release<F: Journal>(
    store: &mut LedgerStore<F>,
    shelf: &impl Shelf,
    asked: &Asked,
    say: &mut dyn FnMut(SiteFacts) -> Result<(), StoreError>,
    draw: impl FnOnce(PaidRelease) -> Result<Noised, DrawError>,
) -> Result<(Stored, Shown), ReleaseFailure> {
    if let Some(known) = again(store, shelf, asked)? {
        return Ok((known, Shown::Again));
    }
    let sensitivity = count::sensitivity(asked.what, asked.max_records_per_unit);
    let values = count::values(asked.what, &asked.labels);
    let &Asked { id, question, scale_1024, compared, .. } = asked;
    // Everything that can fail without paying is done before paying.
    let mut stored = Stored::before(asked, values, sensitivity)?;
    let paid = store.reserve_release(&ReleaseRequest { id, question, values, sensitivity, scale_1024, compared })?;
    let (ledger_counter, ledger_head) = (paid.ledger_counter(), paid.ledger_head());
    let (dataset, unit) = (asked.dataset, asked.unit);
    say(SiteFacts::ReleasePaid { dataset, unit, release: id, question, values, sensitivity, scale_1024, ledger_counter, ledger_head })?;
    let noised = match draw(paid) {
        Ok(noised) => noised,
        Err(error) => {
            store.void(ledger_counter)?;
            return Err(error.into());
        }
    };
    (stored.values, stored.ledger_counter, stored.ledger_head) = (noised.values, ledger_counter, ledger_head);
    let bytes = stored.to_bytes();
    shelf.keep(asked.name.as_str(), &bytes)?;
    store.released(ledger_counter, Sha256(sha256(&[&bytes])))?;
    Ok((stored, Shown::New))
}

/// Whether values are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Paid and drawn now.
    New,
    /// As they were stored before; nothing was paid.
    Again,
}

impl Stored {
    /// Everything but the values and the payment.
    fn before(asked: &Asked, values: u64, sensitivity: u64) -> Result<Self, ReleaseFailure> {
        let rho = release_rho(values, sensitivity, asked.scale_1024).ok_or(LedgerError::Release(ReleaseError::OutOfRange))?;
        Ok(Self {
            v: VERSION,
            id: asked.name.as_str().to_owned(),
            dataset: asked.dataset,
            what: asked.what,
            unit: asked.unit,
            max_records_per_unit: asked.max_records_per_unit,
            labels: asked.labels.clone(),
            values: Vec::new(),
            sensitivity,
            scale_1024: asked.scale_1024,
            rho: Decimal::ceil(rho, 9)?,
            epsilon: Decimal::ceil(epsilon_zcdp(rho, asked.delta.to_f64())?, 6)?,
            delta: asked.delta,
            ledger_counter: 0,
            ledger_head: Sha256([0; 32]),
            at_ms: now().0,
        })
    }
}

/// What is stored under the id, if it was ever paid. A first reading checks it against the ledger.
fn again<F: Journal>(store: &LedgerStore<F>, shelf: &impl Shelf, asked: &Asked) -> Result<Option<Stored>, ReleaseFailure> {
    let Some((counter, state)) = store.ledger().release(&asked.id) else { return Ok(None) };
    let state = state.ok_or(ReleaseFailure::Lost { counter })?;
    if (state.release.question, state.release.scale_1024) != (asked.question, asked.scale_1024) {
        return Err(ReleaseFailure::OtherQuestion { counter });
    }
    shown(shelf, asked.name.as_str(), counter, state.stage).map(Some)
}

/// Stored values, if they are those that the ledger says were released.
pub(crate) fn shown(shelf: &impl Shelf, name: &str, counter: u64, stage: ReleaseStage) -> Result<Stored, ReleaseFailure> {
    let ReleaseStage::Released(result) = stage else { return Err(ReleaseFailure::Lost { counter }) };
    let bytes = shelf.kept(name)?.ok_or(ReleaseFailure::Altered { counter })?;
    let stored = Stored::parse(&bytes).ok_or(ReleaseFailure::Altered { counter })?;
    let same = Sha256(sha256(&[&bytes])) == result && stored.ledger_counter == counter;
    if same { Ok(stored) } else { Err(ReleaseFailure::Altered { counter }) }
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
