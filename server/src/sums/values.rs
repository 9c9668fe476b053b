//! Opened integers of one group on disk, from the opening of its sum to the server's step (transport-storage.md S11). Knows no key and no plan.

use crypto::open::{NotKept, ValueSink};
use protocol::ids::{GroupId, ShardId};
use protocol::manifest::GroupSpec;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Values that are read together: half a MiB.
const WINDOW: u64 = 1 << 16;

/// A shard's values within the file.
struct Place {
    shard: ShardId,
    first: u64,
    len: u64,
}

/// The integers in a file without a name, one shard after the other as `i64` LE. It ends with the process, as the round does.
pub(crate) struct ValueFile {
    file: File,
    places: Vec<Place>,
    written: u64,
}

impl ValueFile {
    /// Room for the values of a group, in a file below `dir`.
    pub(crate) fn new(group: &GroupSpec, dir: &Path) -> io::Result<Self> {
        crate::durable::create_dir(dir)?;
        let mut first = 0;
        let mut places = Vec::new();
        for shard in &group.shards {
            places.push(Place { shard: shard.id, first, len: shard.length });
            first += shard.length;
        }
        Ok(Self { file: tempfile::tempfile_in(dir)?, places, written: 0 })
    }

    /// The shards in the group's order, with their lengths.
    pub(crate) fn shards(&self) -> impl Iterator<Item = (ShardId, u64)> {
        self.places.iter().map(|p| (p.shard, p.len))
    }

    /// The values of a shard in order, a window at a time. Nothing for a shard that the group does not have.
    pub(crate) fn windows(&self, shard: ShardId) -> impl Iterator<Item = io::Result<Vec<i64>>> {
        let (first, len) = self.places.iter().find(|p| p.shard == shard).map_or((0, 0), |p| (p.first, p.len));
        (0..len.div_ceil(WINDOW)).map(move |w| self.read(first + w * WINDOW, WINDOW.min(len - w * WINDOW)))
    }

    fn read(&self, first: u64, count: u64) -> io::Result<Vec<i64>> {
        let mut bytes = vec![0u8; usize::try_from(8 * count).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 8 * first)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }
}

impl ValueSink for ValueFile {
    fn put(&mut self, shard: ShardId, values: &[i64]) -> Result<(), NotKept> {
        let end = self.written + values.len() as u64;
        let fits =
            self.places.iter().any(|p| p.shard == shard && (p.first..=p.first + p.len).contains(&self.written) && end <= p.first + p.len);
        if !fits {
            return Err(NotKept);
        }
        let mut bytes = vec![0u8; 8 * values.len()];
        bytes.as_chunks_mut::<8>().0.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        self.file.write_all_at(&bytes, 8 * self.written).map_err(|e| {
            tracing::error!(error = %e, "opened sums cannot be kept");
            NotKept
        })?;
        self.written = end;
        Ok(())
    }
}

/// Writes opened sums as JSON: an object of groups, each an object of shards, each the list of its integers. Groups and shards ascend.
pub(crate) fn write_json<'a>(groups: impl Iterator<Item = (GroupId, &'a ValueFile)>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{")?;
    let mut comma = "";
    for (group, values) in groups {
        write!(out, "{comma}\"{}\":", group.0)?;
        write_group(values, out)?;
        comma = ",";
    }
    out.write_all(b"}")
}

fn write_group(values: &ValueFile, out: &mut dyn Write) -> io::Result<()> {
    let mut shards: Vec<ShardId> = values.shards().map(|(id, _)| id).collect();
    shards.sort_unstable();
    out.write_all(b"{")?;
    let mut next = "";
    for shard in shards {
        write!(out, "{next}\"{}\":[", shard.0)?;
        let mut comma = "";
        for window in values.windows(shard) {
            let list = serde_json::to_vec(&window?)?;
            let inner = list.strip_prefix(b"[").and_then(|l| l.strip_suffix(b"]")).unwrap_or_default();
            out.write_all(comma.as_bytes())?;
            out.write_all(inner)?;
            comma = ",";
        }
        out.write_all(b"]")?;
        next = ",";
    }
    out.write_all(b"}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::manifest::GroupShard;
    use protocol::params::Packing;
    use std::collections::BTreeMap;

    fn group(lengths: &[(u32, u64)]) -> GroupSpec {
        let shards = lengths.iter().map(|&(id, length)| GroupShard { id: ShardId(id), length, step_exponent: -10 }).collect();
        let packing = Packing::derive(4, 16).unwrap();
        GroupSpec { id: GroupId(0), shards, packing, cohort_min: 2, eligible: Vec::new(), tally: None }
    }

    /// The format that auditors and scorers read, whatever is larger than a window.
    #[test]
    fn values_come_back_and_are_written_as_one_document_would_be() {
        let dir = tempfile::tempdir().unwrap();
        let lengths = [(9, WINDOW + 3), (2, 1), (5, 2 * WINDOW)];
        let value = |shard: u32, i: u64| i64::try_from(i).unwrap() * 7919 % 100_003 - i64::from(shard) * 5000;
        let mut expected: BTreeMap<u32, BTreeMap<u32, Vec<i64>>> = BTreeMap::new();
        let files: Vec<(GroupId, ValueFile)> = [3, 11]
            .map(|id| {
                let mut file = ValueFile::new(&group(&lengths), dir.path()).unwrap();
                for (shard, len) in lengths {
                    let values: Vec<i64> = (0..len).map(|i| value(shard + id, i)).collect();
                    values.chunks(1000).for_each(|part| file.put(ShardId(shard), part).unwrap());
                    let back: Vec<i64> = file.windows(ShardId(shard)).flat_map(Result::unwrap).collect();
                    assert_eq!(back, values);
                    expected.entry(id).or_default().insert(shard, values);
                }
                (GroupId(id), file)
            })
            .into();
        let mut written = Vec::new();
        write_json(files.iter().map(|(id, file)| (*id, file)), &mut written).unwrap();
        assert!(written == serde_json::to_vec(&expected).unwrap());
        let mut none = Vec::new();
        write_json(std::iter::empty(), &mut none).unwrap();
        assert_eq!(none, b"{}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing that a later process could find");
    }

    #[test]
    fn values_that_are_not_the_next_ones_of_the_group_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ValueFile::new(&group(&[(0, 4), (1, 2)]), dir.path()).unwrap();
        assert_eq!(file.put(ShardId(1), &[1]), Err(NotKept), "the first shard is not whole");
        assert_eq!(file.put(ShardId(0), &[1; 5]), Err(NotKept), "more than the shard has");
        assert_eq!(file.put(ShardId(7), &[1]), Err(NotKept));
        assert_eq!(file.put(ShardId(0), &[1; 4]), Ok(()));
        assert_eq!(file.put(ShardId(1), &[2; 2]), Ok(()));
        assert_eq!(file.windows(ShardId(7)).count(), 0);
    }
}
