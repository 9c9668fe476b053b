//! Which words are common, found from noised sums alone: no institution names a word, and no list of words has to be public. Knows words and
//! public sums; must not know how sums are sealed, noised or paid for.
//!
//! Round 1 counts in how many units each character occurs. Every further round counts words by the beginnings that the rounds before found:
//! a coordinate stands for an open beginning and its next characters, or for its end. What stays above a threshold becomes a word with its
//! noised count, or an open beginning of the next round. Everything that steers a round is a sum that was opened before it, so all
//! institutions and the server come to the same coordinates.
//!
//! Source of the idea: Zhu et al. 2020, *Federated heavy hitters discovery with differential privacy*, arXiv 1902.08534. What is counted,
//! summed and noised here is different: whole bounded vectors, each with its noise, added under sealing.

use super::WordCounts;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Most coordinates of a round: what sealing and noise take in seconds.
pub const MAX_COORDINATES: u32 = 1 << 23;
/// Most words of one unit that are looked at, in the unit's order.
pub const MAX_UNIT_WORDS: usize = 4096;
/// Longest word that is found, in characters.
const MAX_CHARACTERS: usize = 32;

/// Fixed before the first round; belongs to the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Coordinates of every round's vector.
    pub coordinates: u32,
    /// A sum below this many counts is taken for noise. Four and a half deviations of the summed noise let about three in a million of
    /// the empty coordinates through.
    pub threshold: f64,
}

/// Why there is no next round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Fewer than 2^12 coordinates, or more than [`MAX_COORDINATES`]; or a threshold that is not above 0.
    #[error("the settings need 4096 to {MAX_COORDINATES} coordinates and a threshold above 0")]
    Settings,
    /// A sum of another length than the plan's.
    #[error("the sum has {got} coordinates, expected {expected}")]
    Length {
        /// Given.
        got: usize,
        /// Of the settings.
        expected: u32,
    },
}

/// One open beginning per entry, or none yet.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Coordinates are code points.
    Characters,
    /// Coordinates are (beginning, next characters). All beginnings have the same number of characters.
    Words { alphabet: Vec<char>, open: Vec<String>, extension: u32 },
}

/// Where the search stands: the same at every institution and the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    settings: Settings,
    stage: Stage,
    found: WordCounts,
    /// Beginnings of the last round that were still open, with their counts.
    rest: WordCounts,
}

impl Discovery {
    /// Before the first round.
    ///
    /// # Errors
    /// [`DiscoveryError::Settings`].
    pub fn begin(settings: Settings) -> Result<Self, DiscoveryError> {
        let sound = (4096..=MAX_COORDINATES).contains(&settings.coordinates) && settings.threshold > 0.0;
        if !sound {
            return Err(DiscoveryError::Settings);
        }
        Ok(Self { settings, stage: Stage::Characters, found: WordCounts::new(), rest: WordCounts::new() })
    }

    /// What one unit adds in this round: coordinates in ascending order, each once, with counts. Not yet bounded: clipping is the privacy
    /// room's part.
    ///
    /// # Privacy
    /// A function of one unit alone and of what is public.
    pub fn contribution<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Vec<(u32, u32)> {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for word in words.into_iter().take(MAX_UNIT_WORDS) {
            match &self.stage {
                Stage::Characters => {
                    // Present or not: a text that repeats one character says no more than one that has it.
                    let known = word.chars().map(u32::from).filter(|&c| c < self.settings.coordinates);
                    known.for_each(|c| *counts.entry(c).or_default() = 1);
                }
                Stage::Words { alphabet, open, extension } => {
                    if let Some(at) = coordinate(alphabet, open, *extension, word) {
                        *counts.entry(at).or_default() += 1;
                    }
                }
            }
        }
        counts.into_iter().collect()
    }

    /// Takes in the opened sum of this round, in counts, and gives the next one; with no open beginning left the next finds nothing more.
    ///
    /// # Privacy
    /// Post-processing of a noised sum.
    ///
    /// # Errors
    /// [`DiscoveryError::Length`]; the state is unchanged.
    pub fn advance(&mut self, sum: &[f64]) -> Result<(), DiscoveryError> {
        let expected = self.settings.coordinates;
        if u32::try_from(sum.len()) != Ok(expected) {
            return Err(DiscoveryError::Length { got: sum.len(), expected });
        }
        let above = sum.iter().zip(0u32..).filter(|(n, _)| **n >= self.settings.threshold);
        let next = match &self.stage {
            Stage::Characters => {
                let mut kept: Vec<(f64, char)> = above.filter_map(|(&n, at)| Some((n, char::from_u32(at)?))).collect();
                // With one end, so many characters that at least one can follow an open beginning.
                kept.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                kept.truncate(usize::try_from(expected / 4).unwrap_or(usize::MAX));
                let mut alphabet: Vec<char> = kept.into_iter().map(|(_, c)| c).collect();
                alphabet.sort_unstable();
                let extension = extension_of(expected, 1, alphabet.len());
                Stage::Words { alphabet, open: vec![String::new()], extension }
            }
            Stage::Words { alphabet, open, extension } => {
                let mut rest: Vec<(f64, String)> = Vec::new();
                for (&n, at) in above {
                    let Some((word, ended)) = word_at(alphabet, open, *extension, at) else { continue };
                    if ended {
                        self.found.insert(word, whole(n));
                    } else {
                        rest.push((n, word));
                    }
                }
                self.rest = rest.iter().map(|(n, w)| (w.clone(), whole(*n))).collect();
                rest.retain(|(_, w)| w.chars().count() < MAX_CHARACTERS);
                rest.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
                let room = usize::try_from(expected).unwrap_or(usize::MAX) / (alphabet.len() + 1);
                rest.truncate(room);
                let mut open: Vec<String> = rest.into_iter().map(|(_, w)| w).collect();
                open.sort_unstable();
                let extension = extension_of(expected, open.len(), alphabet.len());
                Stage::Words { alphabet: alphabet.clone(), open, extension }
            }
        };
        self.stage = next;
        Ok(())
    }

    /// Words found so far with their noised counts, and the beginnings that were still open: a long word's beginning teaches its pairs too.
    pub fn counts(&self) -> WordCounts {
        let mut all = self.found.clone();
        self.rest.iter().for_each(|(w, &n)| *all.entry(w.clone()).or_default() += n);
        all
    }

    /// Whether another round can find more.
    pub fn is_over(&self) -> bool {
        matches!(&self.stage, Stage::Words { open, .. } if open.is_empty())
    }

    /// SHA-256 over settings and stage: institutions compare it before they count.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"concordat/corpus/discovery/v1\0");
        hash.update(self.settings.coordinates.to_be_bytes());
        hash.update(self.settings.threshold.to_bits().to_be_bytes());
        if let Stage::Words { alphabet, open, extension } = &self.stage {
            hash.update(extension.to_be_bytes());
            alphabet.iter().for_each(|&c| hash.update(u32::from(c).to_be_bytes()));
            for word in open {
                hash.update([0xff]);
                hash.update(word);
            }
        }
        hash.finalize().into()
    }
}

/// A noised count as a number to learn from.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer casts saturate, and the count is above 0")]
fn whole(n: f64) -> u64 {
    n.round().max(1.0) as u64
}

/// How many characters a round may add: the most for which all coordinates fit.
fn extension_of(coordinates: u32, open: usize, alphabet: usize) -> u32 {
    let (symbols, mut size, mut characters) = (alphabet as u64 + 1, open.max(1) as u64, 0);
    while alphabet > 0 && size.saturating_mul(symbols) <= u64::from(coordinates) && characters < 8 {
        size *= symbols;
        characters += 1;
    }
    characters
}

/// The coordinate of a word: the open beginning that it has, then its next characters, 0 for the end.
fn coordinate(alphabet: &[char], open: &[String], extension: u32, word: &str) -> Option<u32> {
    if extension == 0 {
        return None;
    }
    let symbols = u32::try_from(alphabet.len() + 1).ok()?;
    let depth = open.first()?.chars().count();
    // All open beginnings of a round have one length, up to the extension of rounds before; shorter words have ended.
    let cut = word.char_indices().nth(depth).map_or(word.len(), |(at, _)| at);
    let (head, mut tail) = (&word[..cut], word[cut..].chars());
    let mut at = u32::try_from(open.binary_search_by(|o| o.as_str().cmp(head)).ok()?).ok()?;
    for _ in 0..extension {
        let symbol = match tail.next() {
            Some(c) => u32::try_from(alphabet.binary_search(&c).ok()?).ok()? + 1,
            None => 0,
        };
        at = at.checked_mul(symbols)?.checked_add(symbol)?;
    }
    Some(at)
}

/// The word or beginning of a coordinate, and whether it has ended; none where no word can be.
fn word_at(alphabet: &[char], open: &[String], extension: u32, at: u32) -> Option<(String, bool)> {
    let symbols = u32::try_from(alphabet.len() + 1).ok()?;
    let (mut at, mut tail) = (at, Vec::new());
    for _ in 0..extension {
        tail.push(at % symbols);
        at /= symbols;
    }
    let mut word = open.get(usize::try_from(at).ok()?)?.clone();
    let mut ended = false;
    for symbol in tail.into_iter().rev() {
        match symbol.checked_sub(1) {
            // Nothing follows an end.
            Some(_) if ended => return None,
            Some(i) => word.push(*alphabet.get(usize::try_from(i).ok()?)?),
            None => ended = true,
        }
    }
    (!word.is_empty() && extension > 0).then_some((word, ended))
}
