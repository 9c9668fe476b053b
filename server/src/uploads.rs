//! Parts of updates on their way in: checked against their address, fsynced, then acknowledged (transport-storage.md T30 to T33).
//! Not the round: what is here may be asked and marked by many connections at once, and decides nothing.

use crate::durable;
use crate::layout::Layout;
use protocol::ids::{Address, ClientId, HeaderDigest, UploadId};
use protocol::manifest::{Header, body_root};
use protocol::messages::{ChunkHeader, ChunkKind};
use protocol::params::{BLOB_BYTES, CHUNK_POLYNOMIALS};
use protocol::reject::Rejection;
use protocol::statement::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Uploads that may be open at once: institutions times groups of a round, twice over.
const MAX_UPLOADS: usize = 4096;

/// Headers of one institution for one group of a round. It draws and seals once, and sends the same bytes however often (crypto.md C40); who
/// begins with one header after the other would make the log grow and take the places of others.
const MAX_HEADERS: usize = 2;

/// One upload.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) client: ClientId,
    pub(crate) statement: Statement,
    pub(crate) header: Header,
    pub(crate) chunks: Vec<Address>,
    have: Vec<bool>,
}

impl Upload {
    /// Checks that the chunk addresses are those that the header's body root names.
    pub(crate) fn new(client: ClientId, statement: Statement, header: Header, chunks: Vec<Address>) -> Result<Self, Rejection> {
        if chunks.len() as u64 != header.core.chunks || body_root(&chunks) != header.core.body_root {
            return Err(Rejection::BadHeader);
        }
        let have = vec![false; chunks.len() + header.blobs.len()];
        Ok(Self { client, statement, header, chunks, have })
    }

    pub(crate) fn digest(&self) -> HeaderDigest {
        Header::digest(&self.statement.payload)
    }

    /// Address and exact length of a part.
    fn part(&self, kind: ChunkKind, index: u32) -> Option<(usize, Address, u64)> {
        let at = usize::try_from(index).ok()?;
        match kind {
            ChunkKind::Body => {
                let address = *self.chunks.get(at)?;
                let core = &self.header.core;
                let bytes = core.body_bytes.checked_div(core.polynomials)?;
                let before = u64::from(index) * CHUNK_POLYNOMIALS;
                Some((at, address, core.polynomials.checked_sub(before)?.min(CHUNK_POLYNOMIALS) * bytes))
            }
            ChunkKind::Shares => Some((self.chunks.len() + at, *self.header.blobs.get(at)?, BLOB_BYTES as u64)),
        }
    }

    fn missing(&self) -> (Vec<u32>, Vec<u32>) {
        let gaps = |range: std::ops::Range<usize>| -> Vec<u32> {
            let start = range.start;
            range.filter(|&i| !self.have[i]).filter_map(|i| u32::try_from(i - start).ok()).collect()
        };
        (gaps(0..self.chunks.len()), gaps(self.chunks.len()..self.have.len()))
    }
}

/// All uploads of the open round.
#[derive(Clone)]
pub(crate) struct Uploads {
    layout: Layout,
    table: Arc<Mutex<BTreeMap<UploadId, Upload>>>,
}

impl Uploads {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, table: Arc::default() }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<UploadId, Upload>> {
        // A panic elsewhere leaves the table as it was: marks are only ever added after fsync.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an upload whose header the round has admitted, or finds it again. Files that survived a restart are re-hashed.
    pub(crate) fn begin(&self, id: UploadId, upload: Upload) -> Result<(Vec<u32>, Vec<u32>), Rejection> {
        let mut table = self.table();
        let (client, group) = (upload.client, upload.header.core.group);
        let same = |u: &&Upload| (u.client, u.header.core.group) == (client, group);
        let full = table.len() >= MAX_UPLOADS || table.values().filter(same).count() >= MAX_HEADERS;
        if full && !table.contains_key(&id) {
            return Err(Rejection::OverQuota);
        }
        let known = table.entry(id).or_insert_with(|| self.adopt(upload.clone()));
        if known.client != upload.client { Err(Rejection::WrongGroup) } else { Ok(known.missing()) }
    }

    fn adopt(&self, mut upload: Upload) -> Upload {
        let addresses: Vec<_> = upload.chunks.iter().chain(&upload.header.blobs).copied().collect();
        for (have, address) in upload.have.iter_mut().zip(addresses) {
            *have = self.read(&address).is_ok();
        }
        upload
    }

    /// What a chunk stream may carry: its exact length, if it is part of this client's upload.
    pub(crate) fn expect(&self, from: ClientId, chunk: &ChunkHeader) -> Result<(), Rejection> {
        let table = self.table();
        let upload = table.get(&chunk.upload).filter(|u| u.client == from).ok_or(Rejection::Unknown)?;
        let (_, address, length) = upload.part(chunk.kind, chunk.index).ok_or(Rejection::BadChunk)?;
        if address == chunk.address && length == u64::from(chunk.length) { Ok(()) } else { Err(Rejection::BadChunk) }
    }

    /// Makes a part durable and marks it. Blocking: not for async threads.
    pub(crate) fn store(&self, chunk: &ChunkHeader, bytes: &[u8]) -> io::Result<Result<(), Rejection>> {
        if blake3::hash(bytes).as_bytes() != &chunk.address.0 {
            return Ok(Err(Rejection::BadChunk));
        }
        durable::write_new(&self.layout.part(&chunk.address), bytes)?;
        if let Some(upload) = self.table().get_mut(&chunk.upload)
            && let Some((slot, ..)) = upload.part(chunk.kind, chunk.index)
        {
            upload.have[slot] = true;
        }
        Ok(Ok(()))
    }

    /// What is still missing of an upload.
    pub(crate) fn missing(&self, from: ClientId, id: UploadId) -> Option<(Vec<u32>, Vec<u32>)> {
        self.table().get(&id).filter(|u| u.client == from).map(Upload::missing)
    }

    pub(crate) fn statement(&self, id: UploadId) -> Option<Statement> {
        self.table().get(&id).map(|u| u.statement.clone())
    }

    /// Chunk addresses of an accepted update, in order.
    pub(crate) fn chunks_of(&self, digest: HeaderDigest) -> Option<Vec<Address>> {
        self.table().values().find(|u| u.digest() == digest).map(|u| u.chunks.clone())
    }

    /// Whether `address` is a share blob for the decryptor at this place of some upload.
    pub(crate) fn is_blob_at(&self, address: &Address, place: usize) -> bool {
        self.table().values().any(|u| u.header.blobs.get(place) == Some(address))
    }

    /// Reads a part and checks it against its name: a flipped bit on disk is found here (F24).
    pub(crate) fn read(&self, address: &Address) -> io::Result<Vec<u8>> {
        let bytes = durable::read_limited(&self.layout.part(address), protocol::messages::MAX_CHUNK as u64)?;
        if blake3::hash(&bytes).as_bytes() == &address.0 {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a stored part does not match its address"))
        }
    }

    /// Forgets what an institution sent and the log has not accepted, with its files: it will never be whole.
    pub(crate) fn forget(&self, who: ClientId, accepted: &BTreeSet<HeaderDigest>) {
        let mut table = self.table();
        let partial = |u: &Upload| u.client == who && !accepted.contains(&u.digest());
        let (gone, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut *table).into_iter().partition(|(_, u)| partial(u));
        *table = rest;
        let parts = |u: &Upload| u.chunks.iter().chain(&u.header.blobs).copied().collect::<Vec<_>>();
        let kept: BTreeSet<Address> = table.values().flat_map(parts).collect();
        for address in gone.values().flat_map(parts).filter(|a| !kept.contains(a)) {
            // A part that never came has no file; one that stays behind is scratch, and no round reads it.
            std::fs::remove_file(self.layout.part(&address)).ok();
        }
    }

    /// Every part that belongs to an upload of the open round.
    pub(crate) fn parts(&self) -> Vec<Address> {
        self.table().values().flat_map(|u| u.chunks.iter().chain(&u.header.blobs)).copied().collect()
    }

    /// Forgets the round's uploads; their files stay until the plan lets them go.
    pub(crate) fn clear(&self) {
        self.table().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use protocol::decimal::Decimal;
    use protocol::ids::{GroupId, ManifestDigest, Sha256};
    use protocol::manifest::{BudgetSpend, HeaderCore};
    use protocol::messages::upload_id;
    use protocol::plan::Unit;

    /// The `n`-th header of an institution for a group, of an update without parts.
    fn upload(client: u8, group: u32, n: u64) -> (UploadId, Upload) {
        let hash = Sha256([n.to_le_bytes()[0]; 32]);
        let spend = BudgetSpend {
            dataset: hash,
            unit: Unit::Record,
            noise_multiplier: Decimal::ONE,
            sampling_rate: Decimal::ONE,
            steps: 1,
            steps_total: n,
            delta: Decimal::ZERO,
            epsilon_before: Decimal::ZERO,
            epsilon_after: Decimal::ONE,
            epsilon_cap: Decimal::ONE,
            ledger_counter: n,
            ledger_head: hash,
            accountant: String::new(),
        };
        let core = HeaderCore {
            manifest: ManifestDigest([1; 32]),
            institution: ClientId([client; 32]),
            group: GroupId(group),
            polynomials: 0,
            chunks: 0,
            body_bytes: 0,
            body_root: body_root(&[]),
            build: hash,
            spend,
        };
        let header = Header { core, blobs: Vec::new() };
        let statement = Statement::sign(&header, &SigningKey::from_bytes(&[client; 32]));
        let id = upload_id(&statement);
        (id, Upload::new(ClientId([client; 32]), statement, header, Vec::new()).unwrap())
    }

    /// Otherwise each header would be an entry `round.update.begun`, and a place that others do not have.
    #[test]
    fn an_institution_begins_a_group_with_few_headers_and_as_often_as_it_likes_with_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(Layout::new(dir.path()));
        let begin = |client, group, n| {
            let (id, upload) = upload(client, group, n);
            uploads.begin(id, upload).map(drop)
        };
        assert_eq!([1, 2, 3].map(|n| begin(1, 0, n)), [Ok(()), Ok(()), Err(Rejection::OverQuota)]);
        assert_eq!([1, 2].map(|n| begin(1, 0, n)), [Ok(()), Ok(())], "what is known is not begun again");
        assert_eq!((begin(1, 1, 1), begin(2, 0, 1)), (Ok(()), Ok(())), "another group, another institution");
        uploads.clear();
        assert_eq!(begin(1, 0, 3), Ok(()), "the next round");
    }
}
