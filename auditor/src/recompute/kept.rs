//! Opened integers as a server keeps them: one file for each round, `TASK/ROUND.json`, groups and shards by number (audit.md A37). They are
//! believed only as far as they hash to what was signed. Knows no cipher.

use crate::dir::{Directory, ReadError};
use audit::reader::LogReader as _;
use protocol::ids::{GroupId, RoundId, TaskId};
use protocol::manifest::{GroupSpec, Manifest};
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of one integer with its comma.
const INTEGER: usize = 21;
/// Bytes of a file beyond those of its integers.
const FRAME: usize = 1 << 16;

/// Why the integers of a group cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeptFault {
    /// Absent: nothing contradicts anything.
    #[error("{0} is not there")]
    Missing(String),
    /// Not a file of this round, or not the shards of this group.
    #[error("{0} does not hold the integers of this group")]
    Form(String),
}

/// A directory of opened integers.
pub(crate) struct Kept(Directory);

/// What is kept of one round.
pub(crate) struct KeptRound {
    name: String,
    groups: Option<Groups>,
    missing: bool,
}

impl Kept {
    pub(crate) fn open(root: &Path) -> Result<Self, ReadError> {
        Directory::open(root).map(Self)
    }

    /// The file of a round, if it is there and is one.
    pub(crate) fn round(&self, task: TaskId, round: RoundId, manifest: &Manifest) -> Result<KeptRound, ReadError> {
        let name = format!("{}/{:08}.json", task.to_hex(), round.0);
        let lengths = manifest.groups.iter().flat_map(|g| &g.shards).map(|s| usize::try_from(s.length).unwrap_or(usize::MAX));
        let limit = lengths.fold(FRAME, |sum, n| sum.saturating_add(n.saturating_mul(INTEGER)));
        let bytes = self.0.read(&name, limit)?;
        let (missing, groups) = (bytes.is_none(), bytes.and_then(|b| parse(&b)));
        Ok(KeptRound { name, groups, missing })
    }
}

/// Integers of one round by group and shard.
pub type Groups = BTreeMap<u32, BTreeMap<u32, Vec<i64>>>;

/// Groups and shards by number. Nothing for bytes that are none; what they are worth is for the signed digest to say.
pub fn parse(bytes: &[u8]) -> Option<Groups> {
    serde_json::from_slice(bytes).ok()
}

impl KeptRound {
    /// The integers of a group, shard by shard in its order.
    pub(crate) fn group(&self, spec: &GroupSpec) -> Result<Vec<Vec<i64>>, KeptFault> {
        if self.missing {
            return Err(KeptFault::Missing(self.name.clone()));
        }
        let GroupId(id) = spec.id;
        let group = self.groups.as_ref().and_then(|g| g.get(&id));
        let shard = |s: &protocol::manifest::GroupShard| {
            let values = group?.get(&s.id.0)?;
            // What is larger than any sum of values would not fit the arithmetic behind.
            let fits = values.len() as u64 == s.length && values.iter().all(|v| v.unsigned_abs() < 1 << 48);
            fits.then(|| values.clone())
        };
        spec.shards.iter().map(shard).collect::<Option<_>>().ok_or_else(|| KeptFault::Form(self.name.clone()))
    }
}
