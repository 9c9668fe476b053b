//! Entries read ahead of the fold: parsed, and the signatures of their statements judged, on as many threads as the auditor gives (A34, A40).
//! Nothing here decides: the fold takes entry after entry and asks for a verdict where it needs one.

use audit::strict::{Judge, Signed, Strict};
use protocol::entry::{EntryError, LogEntry};
use protocol::history::History;
use protocol::ids::PublicKey;
use protocol::statement::{Statement, dsse_bytes};
use std::num::NonZeroUsize;

/// Entries of one thread at a time: a bundle.
const EACH: usize = 256;
/// Bytes that may wait in all: entries of 60 KiB fill no more than this.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// More threads than this are of no use: the fold itself is one.
const MAX_THREADS: usize = 64;

/// Judges of signatures, one for each thread; each remembers keys of its own.
pub(crate) struct Judges(Vec<Strict>);

impl Judges {
    /// As many as asked for, or as there are processors.
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Self {
        let threads = threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        Self((0..threads.clamp(1, MAX_THREADS)).map(|_| Strict::new()).collect())
    }

    /// Lets each judge work on its part of `items`; the results come in the order of the items.
    fn share<T: Sync, R: Send>(&mut self, items: &[T], work: impl Fn(&mut Strict, &[T]) -> Vec<R> + Sync) -> Vec<R> {
        let part = items.len().div_ceil(self.0.len()).max(1);
        if let ([only], _) | ([only, ..], true) = (self.0.as_mut_slice(), items.len() <= EACH / 16) {
            return work(only, items);
        }
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                items.chunks(part).zip(&mut self.0).map(|(items, judge)| scope.spawn(move || work(judge, items))).collect();
            // A thread that panicked has said why; the panic goes on here.
            threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
        })
    }
}

impl Judge for Judges {
    fn judge(&mut self, signed: &[Signed]) -> Vec<bool> {
        self.share(signed, |judge, signed| judge.judge(signed))
    }
}

/// An entry that was read ahead.
pub(crate) struct Ahead {
    pub(crate) index: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) parsed: Result<LogEntry, EntryError>,
    /// The verdict on its statement under the key that was known when it was read.
    pub(crate) verdict: Option<(PublicKey, bool)>,
}

/// Whether an entry's statement holds, by the verdict that was read ahead. A key that was enrolled since is judged now.
pub(crate) fn holds(verdict: Option<(PublicKey, bool)>, statement: &Statement) -> bool {
    match verdict {
        Some((key, holds)) if key == statement.key => holds,
        Some(_) | None => statement.check_signature().is_ok(),
    }
}

/// Entries that wait to be read ahead together.
pub(crate) struct Waiting {
    judges: Judges,
    entries: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Waiting {
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Self {
        Self { judges: Judges::new(threads), entries: Vec::new(), bytes: 0 }
    }

    /// Takes an entry; says whether enough wait.
    pub(crate) fn push(&mut self, index: u64, bytes: &[u8]) -> bool {
        self.bytes += bytes.len();
        self.entries.push((index, bytes.to_vec()));
        self.bytes >= MAX_WAITING_BYTES || self.entries.len() >= EACH * self.judges.0.len()
    }

    /// Reads everything that waits.
    pub(crate) fn read(&mut self, history: &History) -> Vec<Ahead> {
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        let read = self.judges.share(&entries, |judge, entries| read(judge, entries, history));
        let put = |((index, bytes), (parsed, verdict))| Ahead { index, bytes, parsed, verdict };
        entries.into_iter().zip(read).map(put).collect()
    }
}

type Read = (Result<LogEntry, EntryError>, Option<(PublicKey, bool)>);

fn read(judge: &mut Strict, entries: &[(u64, Vec<u8>)], history: &History) -> Vec<Read> {
    let parsed: Vec<_> = entries.iter().map(|(_, bytes)| LogEntry::parse(bytes)).collect();
    let statement = |(at, entry): (usize, &Result<LogEntry, EntryError>)| {
        let stmt = entry.as_ref().ok()?.stmt.as_ref()?;
        let s = stmt.with_key(history.key(&stmt.keyid)?).ok()?;
        Some((at, Signed { key: s.key.0, message: dsse_bytes(s.kind, &s.payload), signature: s.signature }))
    };
    let (places, signed): (Vec<usize>, Vec<Signed>) = parsed.iter().enumerate().filter_map(statement).unzip();
    let mut verdicts = vec![None; parsed.len()];
    for ((place, signed), holds) in places.into_iter().zip(&signed).zip(judge.judge(&signed)) {
        verdicts[place] = Some((PublicKey(signed.key), holds));
    }
    parsed.into_iter().zip(verdicts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared_and_comes_back_in_order() {
        for threads in 1..5 {
            let mut judges = Judges::new(NonZeroUsize::new(threads));
            for count in [0, 1, 15, 16, 17, 100, 1001] {
                let items: Vec<usize> = (0..count).collect();
                assert_eq!(judges.share(&items, |_, items| items.to_vec()), items, "{threads} threads, {count} items");
            }
        }
    }
}
