//! What a decryptor keeps (crypto.md C44, C57): records of what it signed, prekeys, shares. Durable before anything is said, gone when the
//! round has ended. Knows no rule of the duties.

use crate::clock::OsEntropy;
use crate::edges::reached;
use crate::files::{self, Item, StoreError};
use crate::home::{Home, parse_round_name};
use crypto::prekey::{PREKEY_SECRET_BYTES, PrekeySecret};
use crypto::share::{SHARE_BYTES, Share};
use privacy::noise::EntropyError;
use privacy::noise::EntropySource as _;
use protocol::codec;
use protocol::dealing::Nonce;
use protocol::decryptor::Record;
use protocol::hash::sha256;
use protocol::ids::{GroupId, HeaderDigest, ManifestDigest, Position, RoundId, TaskId};
use protocol::manifest::{Manifest, PREKEY_BYTES};
use protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use zeroize::Zeroizing;

/// Longest record: a manifest, or an opening with the check values of a thousand members.
const MAX_RECORD: usize = 1 << 20;
/// Longest file of records of one round: a few per group, 256 groups.
const MAX_RECORDS: usize = 512 << 20;
/// Length and check of a record.
const FRAME: usize = 4 + 32;

/// Why the vault does not open or keep something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A file.
    #[error("the decryptor's store failed")]
    Store(#[from] StoreError),
    /// No randomness.
    #[error("the source of entropy failed")]
    Entropy(#[from] EntropyError),
}

/// A share that is held.
pub(crate) struct Held {
    pub(crate) manifest: ManifestDigest,
    pub(crate) group: GroupId,
    pub(crate) header: HeaderDigest,
}

/// The decryptor's store.
pub(crate) struct Vault {
    home: Home,
    /// Where the rounds of known manifests are kept.
    rounds: BTreeMap<ManifestDigest, (TaskId, RoundId)>,
    /// Until when the prekeys may be used.
    prekeys: BTreeMap<(TaskId, RoundId), Time>,
}

impl Vault {
    /// Opens the vault and reads all records of open rounds. A torn last record was never answered.
    pub(crate) fn open(home: &Home) -> Result<(Self, Vec<Record>), VaultError> {
        let vault = Self { home: home.clone(), rounds: BTreeMap::new(), prekeys: BTreeMap::new() };
        let (mut vault, mut records) = (vault, Vec::new());
        for name in files::names(&home.prekeys(), Item::Prekey)? {
            let Some((task, round)) = name.strip_suffix(".public").and_then(parse_round_name) else { continue };
            if let Some((_, until)) = vault.kept_prekey(task, round)? {
                vault.prekeys.insert((task, round), until);
            }
        }
        for name in files::names(&home.duties(), Item::Record)? {
            let Some((task, round)) = parse_round_name(&name) else { continue };
            let path = home.duty(task, round).join("records");
            let Some(bytes) = files::read_if_there(&path, MAX_RECORDS, Item::Record)? else { continue };
            let (whole, found) = parse_records(&bytes)?;
            if whole < bytes.len() {
                cut(&path, whole)?;
            }
            for record in found {
                vault.learn(&record);
                records.push(record);
            }
        }
        Ok((vault, records))
    }

    fn learn(&mut self, record: &Record) {
        if let Record::Endorsed { task, round, manifest } = record {
            self.rounds.insert(Manifest::digest(&manifest.payload), (*task, *round));
        }
    }

    /// Appends a record and makes it durable.
    pub(crate) fn persist(&mut self, record: &Record) -> Result<(), VaultError> {
        self.learn(record);
        let (manifest, what) = match record {
            Record::Endorsed { manifest, .. } => (Manifest::digest(&manifest.payload), "record/endorsed"),
            Record::Signed { payload } => (payload.manifest, "record/signed"),
            Record::Opened { manifest, .. } => (*manifest, "record/opened"),
        };
        let &(task, round) = self.rounds.get(&manifest).ok_or(StoreError::Damaged(Item::Record))?;
        let dir = self.home.duty(task, round);
        files::make_dir(&dir, Item::Record)?;
        let failed = |e| StoreError::Write(Item::Record, e);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join("records")).map_err(failed)?;
        reached("before", what);
        file.write_all(&frame(record)?).map_err(failed)?;
        reached("written", what);
        file.sync_all().map_err(failed)?;
        files::sync_dir(&dir, Item::Record)?;
        reached("durable", what);
        Ok(())
    }

    /// The prekey of a round, made now to be used until then if there is none yet; answers its public half and until when it may be used.
    pub(crate) fn prekey(&mut self, task: TaskId, round: RoundId, until: Time) -> Result<(Vec<u8>, Time), VaultError> {
        if let Some(kept) = self.kept_prekey(task, round)? {
            return Ok(kept);
        }
        let path = self.home.prekey(task, round);
        let (secret, public) = PrekeySecret::generate(&mut OsEntropy)?;
        files::replace_secret(&path.with_extension("secret"), secret.to_bytes().as_slice(), Item::Prekey)?;
        files::replace(&path.with_extension("public"), &prekey_bytes(&public, until), Item::Prekey)?;
        self.prekeys.insert((task, round), until);
        Ok((public, until))
    }

    fn kept_prekey(&self, task: TaskId, round: RoundId) -> Result<Option<(Vec<u8>, Time)>, VaultError> {
        let path = self.home.prekey(task, round).with_extension("public");
        let Some(kept) = files::read_if_there(&path, PREKEY_BYTES + 8, Item::Prekey)? else { return Ok(None) };
        Ok(Some(parse_prekey(&kept).ok_or(StoreError::Damaged(Item::Prekey))?))
    }

    /// Deletes prekeys that have expired, but for rounds in which this decryptor has a duty; whether there were any (C57). A manifest that
    /// names such a key has ended its opening by now, so nobody can ask for it any more. A round's number stays: it was committed to.
    pub(crate) fn expire(&mut self, now: Time) -> Result<bool, VaultError> {
        let duties: BTreeSet<_> = self.rounds.values().copied().collect();
        let over: Vec<_> = self.prekeys.iter().filter(|(at, until)| **until <= now && !duties.contains(at)).map(|(at, _)| *at).collect();
        for &(task, round) in &over {
            self.forget_prekey(task, round)?;
        }
        Ok(!over.is_empty())
    }

    fn forget_prekey(&mut self, task: TaskId, round: RoundId) -> Result<(), VaultError> {
        let prekey = self.home.prekey(task, round);
        files::remove(&prekey.with_extension("secret"), Item::Prekey)?;
        files::remove(&prekey.with_extension("public"), Item::Prekey)?;
        self.prekeys.remove(&(task, round));
        Ok(())
    }

    /// The number of a round's random groups, made now if there is none yet; the same for ever, until the round is forgotten (C37).
    pub(crate) fn nonce(&self, task: TaskId, round: RoundId) -> Result<Nonce, VaultError> {
        let path = self.home.nonce(task, round);
        match files::read_secret(&path, size_of::<Nonce>(), Item::GroupNonce) {
            Ok(bytes) => return Ok(bytes.as_slice().try_into().map_err(|_| StoreError::Damaged(Item::GroupNonce))?),
            Err(e) if e.is_absent() => {}
            Err(e) => return Err(e.into()),
        }
        let mut nonce = Nonce::default();
        OsEntropy.fill(&mut nonce)?;
        files::replace_secret(&path, &nonce, Item::GroupNonce)?;
        Ok(nonce)
    }

    /// The secret half, if it has not been forgotten.
    pub(crate) fn secret(&self, task: TaskId, round: RoundId) -> Result<Option<PrekeySecret>, VaultError> {
        let path = self.home.prekey(task, round).with_extension("secret");
        let bytes = match files::read_secret(&path, PREKEY_SECRET_BYTES, Item::Prekey) {
            Ok(bytes) => bytes,
            Err(e) if e.is_absent() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let secret: [u8; PREKEY_SECRET_BYTES] = bytes.as_slice().try_into().map_err(|_| StoreError::Damaged(Item::Prekey))?;
        Ok(Some(PrekeySecret::from_bytes(&mut Zeroizing::new(secret))))
    }

    /// Keeps a share durably.
    pub(crate) fn keep(&self, manifest: ManifestDigest, group: GroupId, header: HeaderDigest, share: &Share) -> Result<(), VaultError> {
        let &(task, round) = self.rounds.get(&manifest).ok_or(StoreError::Damaged(Item::Share))?;
        Ok(files::replace_secret(&self.home.share(task, round, group, header), &share.to_bytes(), Item::Share)?)
    }

    /// A share that was kept.
    pub(crate) fn share(&self, m: ManifestDigest, group: GroupId, header: HeaderDigest, position: Position) -> Result<Share, VaultError> {
        let &(task, round) = self.rounds.get(&m).ok_or(StoreError::Damaged(Item::Share))?;
        let bytes = files::read_secret(&self.home.share(task, round, group, header), SHARE_BYTES, Item::Share)?;
        Ok(Share::from_bytes(position, &bytes).map_err(|_| StoreError::Damaged(Item::Share))?)
    }

    /// All shares that are held, for a decryptor that starts again.
    pub(crate) fn held(&self) -> Result<Vec<Held>, VaultError> {
        let mut out = Vec::new();
        for (&manifest, &(task, round)) in &self.rounds {
            for name in files::names(&self.home.duty(task, round).join("shares"), Item::Share)? {
                let Some((group, header)) = name.split_once('-') else { continue };
                if let (Ok(group), Ok(header)) = (group.parse(), header.parse()) {
                    out.push(Held { manifest, group: GroupId(group), header });
                }
            }
        }
        Ok(out)
    }

    /// Rounds that still have something here.
    pub(crate) fn rounds(&self) -> Result<Vec<(TaskId, RoundId)>, VaultError> {
        let mut rounds: Vec<_> = files::names(&self.home.duties(), Item::Record)?.iter().filter_map(|n| parse_round_name(n)).collect();
        let prekeys = files::names(&self.home.prekeys(), Item::Prekey)?;
        rounds.extend(prekeys.iter().filter_map(|n| parse_round_name(n.split('.').next()?)));
        rounds.sort_unstable();
        rounds.dedup();
        Ok(rounds)
    }

    /// Deletes prekey, shares and records of a round (C57).
    pub(crate) fn forget(&mut self, task: TaskId, round: RoundId) -> Result<(), VaultError> {
        self.forget_prekey(task, round)?;
        files::remove(&self.home.nonce(task, round), Item::GroupNonce)?;
        files::remove_dir(&self.home.duty(task, round), Item::Record)?;
        self.rounds.retain(|_, at| *at != (task, round));
        Ok(())
    }
}

/// The public half, then the time as `u64` LE.
pub(crate) fn prekey_bytes(public: &[u8], until: Time) -> Vec<u8> {
    [public, &until.0.to_le_bytes()].concat()
}

/// Reads [`prekey_bytes`].
pub(crate) fn parse_prekey(kept: &[u8]) -> Option<(Vec<u8>, Time)> {
    let (public, until) = kept.split_last_chunk::<8>().filter(|(public, _)| public.len() == PREKEY_BYTES)?;
    Some((public.to_vec(), Time(u64::from_le_bytes(*until))))
}

/// Length u32 LE, SHA-256 of the body, body.
pub(crate) fn frame(record: &Record) -> Result<Vec<u8>, StoreError> {
    let body = codec::encode(record);
    let length =
        u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_RECORD).ok_or(StoreError::TooLong(Item::Record, MAX_RECORD))?;
    Ok([length.to_le_bytes().as_slice(), &sha256(&[&body]), &body].concat())
}

/// The whole records and the bytes that they take. Only the last one may be torn.
pub(crate) fn parse_records(bytes: &[u8]) -> Result<(usize, Vec<Record>), StoreError> {
    let (mut at, mut records, damaged) = (0usize, Vec::new(), || StoreError::Damaged(Item::Record));
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        // Some file systems extend a file with zeros before the data arrives.
        if rest.iter().all(|b| *b == 0) {
            return Ok((at, records));
        }
        let Some((head, body)) = rest.split_at_checked(FRAME) else { return Ok((at, records)) };
        let (length, check) = head.split_at(4);
        let length = length.try_into().map(u32::from_le_bytes).ok().and_then(|l| usize::try_from(l).ok()).ok_or_else(damaged)?;
        if length > MAX_RECORD {
            return Err(damaged());
        }
        let Some(body) = body.get(..length) else { return Ok((at, records)) };
        if sha256(&[body]) != check {
            // Behind a torn write nothing follows; damage in the middle is not one.
            return if at + FRAME + length == bytes.len() { Ok((at, records)) } else { Err(damaged()) };
        }
        records.push(codec::decode(body, MAX_RECORD).map_err(|_| damaged())?);
        at += FRAME + length;
    }
}

fn cut(path: &std::path::Path, whole: usize) -> Result<(), StoreError> {
    let failed = |e| StoreError::Write(Item::Record, e);
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
