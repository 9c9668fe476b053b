//! What is dropped as a duplicate, and what crosses the boundary between training and validation. Must not write rows.
//!
//! Partitions are worked in waves of fixed size, so that the result does not depend on the number of threads. Every row that is dropped
//! as a near duplicate was compared with an earlier row that is kept, and their exact similarity reaches the limit.

use rayon::prelude::*;

use super::super::counts::Dropped;
use super::super::depot::Depot;
use super::super::near;
use super::super::rules::Rules;
use super::spool::{Entry, Family, Spool, Texts};
use super::{PrepareError, Progress, Step};

/// Partitions that are worked at the same time: memory is that of so many.
const WAVE: usize = 4;
/// Rows of a group with which each further row is compared. Groups of boilerplate have thousands of rows; without a limit their cost
/// would be the square of that.
const MAX_COMPARED: usize = 8;
/// No earlier row.
const NONE: u32 = u32::MAX;

/// What is known of a row, in one byte.
const KEPT: u8 = 0;
const DUPLICATE: u8 = 1;
const CONFLICT: u8 = 2;
const NEAR: u8 = 3;
const LEAK: u8 = 4;

/// What was found.
pub(super) struct Fates {
    rows: Vec<u8>,
    pub(super) leaks: Leaks,
}

/// Texts that stand on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Leaks {
    /// Validation rows whose text is that of a training row.
    pub equal: u64,
    /// Validation rows whose text is nearly that of a training row.
    pub similar: u64,
    /// Rows dropped as duplicates of a row on the other side, before they could leak.
    pub straddling_duplicates: u64,
}

impl Fates {
    /// Whether and why a row is dropped as a duplicate.
    pub(super) fn duplicate(&self, row: u32) -> Option<Dropped> {
        match self.at(row) {
            DUPLICATE => Some(Dropped::Duplicate),
            CONFLICT => Some(Dropped::ConflictingLabel),
            NEAR => Some(Dropped::NearDuplicate),
            _ => None,
        }
    }

    /// Whether a row of validation resembles one of training.
    pub(super) fn leaks(&self, row: u32) -> bool {
        self.at(row) == LEAK
    }

    fn at(&self, row: u32) -> u8 {
        self.rows[index(row)]
    }
}

fn index(row: u32) -> usize {
    usize::try_from(row).expect("at least 32 bits")
}

/// What the index says of all rows, a few bytes each.
struct Facts {
    labels: Vec<u16>,
    validation: Vec<bool>,
}

/// Finds duplicates and leaks.
pub(super) fn find(rules: &Rules, depot: &dyn Depot, spool: &Spool, progress: Progress<'_>) -> Result<Fates, PrepareError> {
    let mut facts = Facts { labels: Vec::with_capacity(index(spool.rows)), validation: Vec::with_capacity(index(spool.rows)) };
    for place in spool.places(depot)? {
        let place = place?;
        facts.labels.push(place.label);
        facts.validation.push(place.validation);
    }
    let texts = Spool::texts(depot)?;
    let mut search = Search { rules, depot, spool, texts, facts, rows: vec![KEPT; index(spool.rows)], leaks: Leaks::default(), progress };
    search.exact()?;
    search.near()?;
    search.leaks_equal()?;
    search.leaks_similar()?;
    Ok(Fates { rows: search.rows, leaks: search.leaks })
}

struct Search<'a> {
    rules: &'a Rules,
    depot: &'a dyn Depot,
    spool: &'a Spool,
    texts: Texts,
    facts: Facts,
    rows: Vec<u8>,
    leaks: Leaks,
    progress: Progress<'a>,
}

impl Search<'_> {
    /// Works all partitions of a family and gives what each wave found, in order, to `merge`.
    fn waves<T: Send>(
        &mut self,
        family: Family,
        work: impl Fn(&Self, &[Entry]) -> Result<Vec<T>, PrepareError> + Sync,
        mut merge: impl FnMut(&mut Self, T),
    ) -> Result<(), PrepareError> {
        let parts: Vec<usize> = (0..self.spool.parts).collect();
        for wave in parts.chunks(WAVE) {
            let this = &*self;
            let one = |part: &usize| work(this, &this.spool.partition(this.depot, family, *part)?);
            let found: Vec<Vec<T>> = wave.par_iter().map(one).collect::<Result<_, _>>()?;
            found.into_iter().flatten().for_each(|t| merge(self, t));
            (self.progress)(Step::Duplicates, wave.len() as u64, Some(4 * self.spool.parts as u64));
        }
        Ok(())
    }

    fn exact(&mut self) -> Result<(), PrepareError> {
        let found = |this: &Self, entries: &[Entry]| {
            let mut out = Vec::new();
            for group in groups(entries) {
                let first = group[0].row;
                for later in &group[1..] {
                    let same = this.facts.labels[index(first)] == this.facts.labels[index(later.row)];
                    out.push((later.row, first, if same { DUPLICATE } else { CONFLICT }));
                }
            }
            Ok(out)
        };
        self.waves(Family::ExactWithin, found, |this, (row, first, why)| this.drop_for(row, first, why))
    }

    fn drop_for(&mut self, row: u32, kept: u32, why: u8) {
        self.rows[index(row)] = why;
        let sides = self.facts.validation[index(row)] != self.facts.validation[index(kept)];
        self.leaks.straddling_duplicates += u64::from(sides);
    }

    /// Finds for each row an earlier one that is near; then, from the first row on, drops what is near to a row that is kept.
    fn near(&mut self) -> Result<(), PrepareError> {
        let mut earlier = vec![NONE; self.rows.len()];
        // The list moves in and out of the closures of each wave.
        let parts: Vec<usize> = (0..self.spool.parts).collect();
        for wave in parts.chunks(WAVE) {
            let this = &*self;
            let known = &earlier;
            let one = |part: &usize| {
                let entries = this.spool.partition(this.depot, Family::NearWithin, *part)?;
                let mut out = Vec::new();
                for group in groups(&entries) {
                    this.compare(group, known, &mut out)?;
                }
                Ok::<_, PrepareError>(out)
            };
            let found: Vec<Vec<(u32, u32)>> = wave.par_iter().map(one).collect::<Result<_, _>>()?;
            for (row, first) in found.into_iter().flatten() {
                let at = &mut earlier[index(row)];
                *at = (*at).min(first);
            }
            (self.progress)(Step::Duplicates, wave.len() as u64, Some(4 * self.spool.parts as u64));
        }
        // `kept_for` of a dropped row is the kept one that it is near to.
        let mut kept_for = earlier;
        for row in 0..self.spool.rows {
            let first = kept_for[index(row)];
            if first == NONE {
                continue;
            }
            let kept = if self.rows[index(first)] == NEAR { kept_for[index(first)] } else { first };
            if kept == first || self.are_near(kept, row)? {
                self.drop_for(row, kept, NEAR);
                kept_for[index(row)] = kept;
            } else {
                kept_for[index(row)] = NONE;
            }
        }
        Ok(())
    }

    fn set(&self, row: u32) -> Result<Vec<u64>, PrepareError> {
        Ok(near::shingles(&self.texts.text(row)?, self.rules.dedup.shingle_chars))
    }

    fn are_near(&self, a: u32, b: u32) -> Result<bool, PrepareError> {
        Ok(near::is_near(&self.set(a)?, &self.set(b)?, self.rules.dedup.jaccard_permille))
    }

    /// Compares the rows of a group that are still without an earlier one.
    fn compare(&self, group: &[Entry], known: &[u32], out: &mut Vec<(u32, u32)>) -> Result<(), PrepareError> {
        let mut compared: Vec<(u32, Vec<u64>)> = Vec::new();
        let open = |e: &&Entry| self.rows[index(e.row)] == KEPT && known[index(e.row)] == NONE;
        let rows: Vec<u32> = group.iter().filter(open).map(|e| e.row).collect();
        if rows.len() < 2 {
            return Ok(());
        }
        for row in rows {
            let set = self.set(row)?;
            match compared.iter().find(|(_, other)| near::is_near(other, &set, self.rules.dedup.jaccard_permille)) {
                Some((first, _)) => out.push((row, *first)),
                None if compared.len() < MAX_COMPARED => compared.push((row, set)),
                None => {}
            }
        }
        Ok(())
    }

    fn stays(&self, row: u32) -> bool {
        self.rows[index(row)] == KEPT
    }

    fn leaks_equal(&mut self) -> Result<(), PrepareError> {
        let found = |this: &Self, entries: &[Entry]| {
            let mut out = Vec::new();
            for group in groups(entries) {
                let held_out = |row: u32| this.facts.validation[index(row)];
                if group.iter().any(|e| this.stays(e.row) && !held_out(e.row)) {
                    out.extend(group.iter().map(|e| e.row).filter(|row| this.stays(*row) && held_out(*row)));
                }
            }
            Ok(out)
        };
        self.waves(Family::ExactAcross, found, |this, row| {
            this.rows[index(row)] = LEAK;
            this.leaks.equal += 1;
        })
    }

    fn leaks_similar(&mut self) -> Result<(), PrepareError> {
        let found = |this: &Self, entries: &[Entry]| {
            let mut out = Vec::new();
            for group in groups(entries) {
                let side = |validation: bool| {
                    group.iter().map(|e| e.row).filter(move |row| this.stays(*row) && this.facts.validation[index(*row)] == validation)
                };
                if side(true).next().is_none() {
                    continue;
                }
                let train = side(false).take(MAX_COMPARED).map(|row| this.set(row)).collect::<Result<Vec<_>, _>>()?;
                for row in side(true).filter(|_| !train.is_empty()) {
                    let set = this.set(row)?;
                    if train.iter().any(|other| near::is_near(other, &set, this.rules.dedup.jaccard_permille)) {
                        out.push(row);
                    }
                }
            }
            Ok(out)
        };
        self.waves(Family::NearAcross, found, |this, row| {
            // Found in several bands, counted once.
            if this.stays(row) {
                this.rows[index(row)] = LEAK;
                this.leaks.similar += 1;
            }
        })
    }
}

/// Runs of two or more entries with one key.
fn groups(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|a, b| a.key == b.key).filter(|group| group.len() > 1)
}
