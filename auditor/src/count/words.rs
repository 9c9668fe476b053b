//! The search for words, one opened sum further: which characters are common, then which words, by the beginnings that the sums before found.
//! Knows no text and no unit: only what coordinates stand for.
//!
//! A coordinate of round 1 is a code point. Of every further one it is an open beginning and its next characters: digits of a number whose
//! highest is the beginning and whose others are places in the alphabet, 0 for the word's end. Words of narrow and of wide characters have
//! alphabets and coordinates of their own, the narrow ones first.

use super::CountError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Fewest coordinates of a search.
const LEAST: usize = 1 << 12;
/// Most.
const MOST: usize = 1 << 23;
/// Beginnings of so many characters are not lengthened.
const LONGEST: usize = 32;
/// Turns in which a side may take one more character a round, behind the first one.
const TURNS: u32 = 8;
/// The first wide character.
const WIDE: u32 = 0x2e80;

type Counts = BTreeMap<String, u64>;

/// Where the search stands. Fields stand in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    settings: Settings,
    stage: Stage,
    found: Counts,
    /// Beginnings that were common in the last round.
    rest: Counts,
    /// Characters, and how many units have them.
    characters: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    coordinates: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Stage {
    Characters,
    Words { narrow: Side, wide: Side },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    alphabet: Vec<char>,
    open: Vec<String>,
    /// Characters that a coordinate adds to its beginning.
    extension: u32,
    /// The first coordinate.
    start: u32,
}

/// What a coordinate stands for.
#[derive(Debug, PartialEq)]
enum Word {
    Whole(String),
    Beginning(String),
}

/// A noised count as it is written: at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0, and casts from floats saturate")]
fn rounded(n: f64) -> u64 {
    n.round().max(1.0) as u64
}

fn is_wide(c: char) -> bool {
    u32::from(c) >= WIDE
}

/// The most common first; of equally common ones the lower.
fn sort_by_count<T: Ord>(list: &mut [(T, f64)]) {
    list.sort_by(|(a, n), (b, m)| m.total_cmp(n).then_with(|| a.cmp(b)));
}

impl Search {
    /// Before the first round.
    ///
    /// # Errors
    /// [`CountError::Plan`].
    pub(super) fn begin(coordinates: usize) -> Result<Self, CountError> {
        let settings = u32::try_from(coordinates).ok().filter(|_| (LEAST..=MOST).contains(&coordinates));
        let settings = Settings { coordinates: settings.ok_or(CountError::Plan("coordinates"))? };
        Ok(Self { settings, stage: Stage::Characters, found: Counts::new(), rest: Counts::new(), characters: Counts::new() })
    }

    /// Whether it is a search over so many coordinates. What else a document says may be wrong and costs no more than its own length.
    pub(super) fn is_of(&self, coordinates: usize) -> bool {
        let short = |side: &Side| side.extension <= TURNS + 1;
        let sides = match &self.stage {
            Stage::Characters => true,
            Stage::Words { narrow, wide } => short(narrow) && short(wide),
        };
        sides && (LEAST..=MOST).contains(&coordinates) && u32::try_from(coordinates) == Ok(self.settings.coordinates)
    }

    /// After a round with these sums, in counts: what is below the threshold is taken for noise.
    pub(super) fn after(mut self, sums: &[f64], threshold: f64) -> Self {
        let common: Vec<(u32, f64)> = (0u32..).zip(sums.iter().copied()).filter(|(_, n)| *n >= threshold).collect();
        let sides = match std::mem::replace(&mut self.stage, Stage::Characters) {
            Stage::Characters => self.learn_characters(&common),
            Stage::Words { narrow, wide } => {
                self.rest.clear();
                [narrow, wide].map(|side| self.learn_words(side, &common))
            }
        };
        self.stage = share_out(u64::from(self.settings.coordinates), sides);
        self
    }

    /// An alphabet for each side, of at most a quarter of the coordinates, and nothing before it.
    fn learn_characters(&mut self, common: &[(u32, f64)]) -> [Side; 2] {
        let signs: Vec<(char, f64)> = common.iter().filter_map(|(at, n)| Some((char::from_u32(*at)?, *n))).collect();
        self.characters = signs.iter().map(|(c, n)| (c.to_string(), rounded(*n))).collect();
        let most = usize::try_from(self.settings.coordinates / 4).unwrap_or(usize::MAX);
        [false, true].map(|wide| {
            let mut own: Vec<(char, f64)> = signs.iter().copied().filter(|(c, _)| is_wide(*c) == wide).collect();
            sort_by_count(&mut own);
            own.truncate(most);
            let mut alphabet: Vec<char> = own.into_iter().map(|(c, _)| c).collect();
            alphabet.sort_unstable();
            Side { alphabet, open: vec![String::new()], extension: 0, start: 0 }
        })
    }

    /// Whole words are found; beginnings are open, the most common first.
    fn learn_words(&mut self, side: Side, common: &[(u32, f64)]) -> Side {
        let mut open: Vec<(String, f64)> = Vec::new();
        for &(at, n) in common {
            match side.read(at) {
                Some(Word::Whole(word)) => {
                    self.found.insert(word, rounded(n));
                }
                Some(Word::Beginning(word)) => {
                    self.rest.insert(word.clone(), rounded(n));
                    open.push((word, n));
                }
                None => {}
            }
        }
        open.retain(|(word, _)| word.chars().count() < LONGEST);
        sort_by_count(&mut open);
        Side { alphabet: side.alphabet, open: open.into_iter().map(|(word, _)| word).collect(), extension: 0, start: 0 }
    }
}

/// One more character for as many beginnings as fit, half of the room for each side at least; then further characters while all fit.
fn share_out(room: u64, [mut narrow, mut wide]: [Side; 2]) -> Stage {
    for side in [&mut narrow, &mut wide] {
        side.extension = u32::from(!side.alphabet.is_empty() && !side.open.is_empty());
    }
    narrow.shorten(room.saturating_sub(wide.size()).max(room / 2));
    wide.shorten(room.saturating_sub(narrow.size()));
    for _ in 0..TURNS {
        narrow.lengthen(room.saturating_sub(wide.size()));
        wide.lengthen(room.saturating_sub(narrow.size()));
    }
    wide.start = u32::try_from(narrow.size()).unwrap_or(u32::MAX);
    narrow.open.sort_unstable();
    wide.open.sort_unstable();
    Stage::Words { narrow, wide }
}

impl Side {
    fn symbols(&self) -> u64 {
        self.alphabet.len() as u64 + 1
    }

    /// Coordinates with so many characters added.
    fn size_with(&self, extension: u32) -> u64 {
        let each = if extension == 0 { Some(0) } else { self.symbols().checked_pow(extension) };
        each.and_then(|n| n.checked_mul(self.open.len() as u64)).unwrap_or(u64::MAX)
    }

    fn size(&self) -> u64 {
        self.size_with(self.extension)
    }

    /// Keeps the beginnings, from the first on, that fit with one character more.
    fn shorten(&mut self, room: u64) {
        self.open.truncate(usize::try_from(room / self.symbols()).unwrap_or(usize::MAX));
        if self.open.is_empty() {
            self.extension = 0;
        }
    }

    /// One character more, if all fit.
    fn lengthen(&mut self, room: u64) {
        if self.extension > 0 && self.size_with(self.extension + 1) <= room {
            self.extension += 1;
        }
    }

    /// What a coordinate stands for, read from its lowest digit up. Nothing where no word can be: beyond the side, or where something follows
    /// an end.
    fn read(&self, at: u32) -> Option<Word> {
        let mut at = u64::from(at.checked_sub(self.start)?);
        if at >= self.size() {
            return None;
        }
        let (mut tail, mut ended) = (Vec::new(), false);
        for _ in 0..self.extension {
            match (at % self.symbols()).checked_sub(1) {
                Some(place) => tail.push(*self.alphabet.get(usize::try_from(place).ok()?)?),
                None if tail.is_empty() => ended = true,
                None => return None,
            }
            at /= self.symbols();
        }
        let beginning = self.open.get(usize::try_from(at).ok()?)?;
        let word: String = beginning.chars().chain(tail.into_iter().rev()).collect();
        match (word.is_empty(), ended) {
            (true, _) => None,
            (false, true) => Some(Word::Whole(word)),
            (false, false) => Some(Word::Beginning(word)),
        }
    }
}
