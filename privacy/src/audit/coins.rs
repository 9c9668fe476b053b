//! Secret coins that decide who is in an audited run, and the commitment to them (privacy.md D70). Knows no score.

use super::bounds::{BoundsError, Guesses};
use super::whole;
use crate::noise::{Canary, Stream};
use protocol::ids::Sha256 as Digest;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

/// Fair coins, one for each canary or unit. No `Debug`, no copy: who attacks must not see them.
pub struct Coins {
    sides: Vec<bool>,
    nonce: [u8; 32],
}

impl Coins {
    /// `count` coins from a stream that serves nothing else.
    pub fn toss(count: usize, stream: &mut Stream<Canary>) -> Self {
        let mut nonce = [0; 32];
        stream.fill(&mut nonce);
        Self { sides: (0..count).map(|_| stream.next_u32() & 1 == 1).collect(), nonce }
    }

    /// SHA-256 over a name, the nonce and one byte for each coin: told before anything is trained, so that the coins cannot be chosen afterwards.
    pub fn commitment(&self) -> Digest {
        let sides: Vec<u8> = self.sides.iter().map(|&side| u8::from(side)).collect();
        Digest(Sha256::new().chain_update(b"concordat/audit/coins/v1\0").chain_update(self.nonce).chain_update(sides).finalize().into())
    }

    /// What opens the commitment. Only for coins that say nothing about anybody's records.
    pub fn opening(&self) -> ([u8; 32], String) {
        (self.nonce, self.sides.iter().map(|&side| if side { '1' } else { '0' }).collect())
    }

    /// Who is in.
    pub fn sides(&self) -> &[bool] {
        &self.sides
    }

    /// Holds the guesses against the coins; `None` is no guess.
    ///
    /// # Errors
    /// [`BoundsError::Counts`] for a guess about a coin that was not tossed, or without any coin.
    pub fn judge(&self, guesses: &[Option<bool>]) -> Result<(Guesses, u64), BoundsError> {
        let made = guesses.iter().flatten().count();
        let right = guesses.iter().zip(&self.sides).filter(|(guess, side)| **guess == Some(**side)).count();
        if guesses.len() != self.sides.len() {
            return Err(BoundsError::Counts { hits: whole(guesses.len()), tries: whole(self.sides.len()) });
        }
        Ok((Guesses::new(whole(self.sides.len()), whole(made), whole(right))?, whole(right)))
    }
}

impl Drop for Coins {
    fn drop(&mut self) {
        self.nonce.zeroize();
        self.sides.zeroize();
    }
}

/// Guesses "in" for the highest scores and "out" for the lowest, as many of each, `guesses` in all; nothing about the others. Of equal scores
/// the first come first. Scores that are no numbers are never guessed about.
pub(super) fn by_rank(scores: &[f64], guesses: usize) -> Vec<Option<bool>> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| !scores[i].is_nan()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let each = (guesses / 2).min(order.len() / 2);
    let mut out = vec![None; scores.len()];
    order[..each].iter().for_each(|&i| out[i] = Some(true));
    order[order.len() - each..].iter().for_each(|&i| out[i] = Some(false));
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::seeded_coins;
    use super::*;

    /// Beyond 5 deviations: false alarm 6e-7 each, with fixed seeds.
    #[test]
    fn coins_are_fair_and_independent() {
        let (ours, theirs) = (seeded_coins(10_000, 1), seeded_coins(10_000, 2));
        let heads = |c: &Coins| c.sides().iter().filter(|s| **s).count();
        let same = ours.sides().iter().zip(theirs.sides()).filter(|(a, b)| a == b).count();
        let changes = ours.sides().windows(2).filter(|w| w[0] != w[1]).count();
        for count in [heads(&ours), heads(&theirs), same, changes] {
            assert!(count.abs_diff(5000) < 250, "{count}");
        }
    }

    /// The commitment opens to these coins and to no others.
    #[test]
    fn a_commitment_binds_every_coin() {
        let c = seeded_coins(40, 3);
        let (nonce, sides) = c.opening();
        let of = |nonce: [u8; 32], sides: &str| {
            let sides = sides.chars().map(|s| s == '1').collect();
            Coins { sides, nonce }.commitment()
        };
        assert_eq!(of(nonce, &sides), c.commitment());
        for at in 0..sides.len() {
            let turned: String = sides.char_indices().map(|(i, s)| if i == at { if s == '1' { '0' } else { '1' } } else { s }).collect();
            assert_ne!(of(nonce, &turned), c.commitment(), "coin {at}");
        }
        assert_ne!(of([0; 32], &sides), c.commitment());
        assert_ne!(of(nonce, &sides[1..]), c.commitment());
    }

    #[test]
    fn guesses_are_counted_against_the_coins() {
        let c = Coins { sides: vec![true, false, true, false], nonce: [0; 32] };
        let (all, right) = c.judge(&[Some(true), Some(true), None, Some(false)]).unwrap();
        assert_eq!((all, right), (Guesses::new(4, 3, 2).unwrap(), 2));
        assert!(c.judge(&[Some(true)]).is_err() && c.judge(&[None; 5]).is_err());
    }

    #[test]
    fn the_highest_are_guessed_in_and_the_lowest_out() {
        let (a, b) = (Some(true), Some(false));
        assert_eq!(by_rank(&[0.0, 3.0, -1.0, 2.0, 1.0], 4), [b, a, b, a, None]);
        assert_eq!(by_rank(&[0.0, 3.0, f64::NAN, 2.0], 100), [b, a, None, None]);
        assert_eq!(by_rank(&[], 10), [None; 0]);
    }
}
