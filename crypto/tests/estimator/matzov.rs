//! What an attack costs in gates when sieving is priced as the MATZOV report does, recomputed without the tool that made the entry.
//!
//! Price of BKZ: 5.46·(d - β) sieves (Kyber, round 3, section 5.2), each 5.46·2^(0.29614·β' + 20.39) gates, the classical list-decoding fit
//! to the tables of Albrecht, Gheorghiu, Postlethwaite, Schanck (ASIACRYPT 2020) with MATZOV's correction, as lattice-estimator states it;
//! β' = β - β·ln(4/3)/ln(β/2πe) sieves for free (Ducas, EUROCRYPT 2018). Attacks: primal by the unusually short vector; primal by
//! bounded-distance decoding, where a last sieve of a larger dimension η is run once; dual with coordinates guessed, in the sampling of
//! Guo and Johansson (ASIACRYPT 2021). Geometric series for all bases. Not modelled: hybrid attacks that guess narrow secrets before a
//! primal one, which are below these for binary secrets and above them for ours.

use crate::{Lwe, log_delta};
use std::f64::consts::{E, LOG2_E, PI};

/// Progressive sieving: the sum over smaller dimensions.
const PROGRESSIVE: f64 = 5.46;
/// Slope and offset of the exponent of one sieve.
const SIEVE: (f64, f64) = (0.296_135_003_082_053_65, 20.387_885_985_467_914);
/// A sieve of dimension n gives 2^(0.2075 n) short vectors.
const VECTORS: f64 = 0.2075;

/// log2 of the cost of one attack and the block size that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gates {
    pub(crate) log: f64,
    pub(crate) beta: u32,
}

/// log2(2^a + 2^b).
fn plus(a: f64, b: f64) -> f64 {
    a.max(b) + (a.min(b) - a.max(b)).exp2().ln_1p() * LOG2_E
}

fn free(beta: f64) -> f64 {
    (beta * (4.0f64 / 3.0).ln() / (beta / (2.0 * PI * E)).ln()).max(0.0)
}

fn sieve(dimension: f64) -> f64 {
    PROGRESSIVE.log2() + SIEVE.0 * dimension + SIEVE.1
}

/// log2 of the gates of BKZ-β on a basis of dimension d.
fn bkz(beta: u32, d: f64) -> f64 {
    let b = f64::from(beta);
    (PROGRESSIVE * (d - b).max(1.0)).log2() + sieve(b - free(b))
}

fn cheapest(found: impl Iterator<Item = Gates>) -> Gates {
    found.min_by(|a, b| a.log.total_cmp(&b.log)).expect("some block size solves it")
}

/// ln of the volume of the unit ball.
fn ball(n: f64) -> f64 {
    n / 2.0 * PI.ln() - libm::lgamma(n / 2.0 + 1.0)
}

impl Lwe {
    /// The cheapest of the attacks.
    pub(crate) fn gates(&self) -> Gates {
        cheapest([self.short_vector(), self.decoding(), self.dual()].into_iter())
    }

    /// Scaling of a secret narrower than the noise, in bits.
    fn scale(&self) -> f64 {
        (self.noise / self.secret).log2().max(0.0)
    }

    /// The dimension in which BKZ-β does best: sqrt(n·log q / log δ), with as many samples as unknowns to be had.
    fn widest(&self, beta: u32) -> f64 {
        let n = f64::from(self.n);
        (n * self.q_bits / log_delta(beta)).sqrt().ceil().min(2.0 * n)
    }

    pub(crate) fn short_vector(&self) -> Gates {
        let (n, q) = (f64::from(self.n), self.q_bits);
        let fits = |beta: u32, d: f64| {
            let b = f64::from(beta);
            let left = (self.noise * b.sqrt()).log2();
            let right = log_delta(beta) * (2.0 * b - d - 1.0) + (self.noise.log2() + n * self.scale() + q * (d - n - 1.0)) / d;
            left <= right
        };
        let smallest = |beta: u32| (self.n.max(beta)..=2 * self.n).map(f64::from).find(|&d| d <= self.widest(beta) && fits(beta, d));
        let first = (60..2 * self.n).find_map(|beta| smallest(beta).map(|d| Gates { log: bkz(beta, d), beta }));
        first.expect("some block size solves it")
    }

    /// BKZ-β, then one sieve of the smallest dimension in which what is left of the error is the shortest vector.
    pub(crate) fn decoding(&self) -> Gates {
        let n = f64::from(self.n);
        let cost = |beta: u32| {
            let d = self.widest(beta);
            let volume = (self.q_bits * (d - n) + n * self.scale()) / LOG2_E;
            let eta = self.last_sieve(d, volume, log_delta(beta) / LOG2_E);
            Gates { log: plus(bkz(beta, d), bkz(eta, f64::from(eta))), beta }
        };
        cheapest((60..1200).map(cost))
    }

    fn last_sieve(&self, d: f64, volume: f64, delta: f64) -> u32 {
        let shortest = |k: f64| {
            // The last k vectors of the basis, and the embedding.
            let projected = k / d * volume - (d - k) * k * delta;
            2.0 * (projected + self.noise.ln() - ball(k + 1.0)) / (k + 1.0)
        };
        let error = |k: f64| (self.noise * self.noise * (k + 1.0)).ln();
        let unusual = (60..2000u32).rev().find(|&k| shortest(f64::from(k)) < error(f64::from(k)));
        unusual.map_or(60, |k| k + 2)
    }

    /// Short vectors of the dual lattice of all but ζ unknowns; the ζ are tried.
    pub(crate) fn dual(&self) -> Gates {
        cheapest((0..=60).flat_map(|zeta| (60..1200).step_by(2).filter_map(move |beta| self.distinguish(beta, zeta))))
    }

    fn distinguish(&self, beta: u32, zeta: u32) -> Option<Gates> {
        let (n, b) = (f64::from(self.n - zeta), f64::from(beta));
        let balance = (self.secret / self.noise).log2() + self.q_bits;
        let samples = ((n * balance / log_delta(beta)).sqrt().ceil() - n).clamp(1.0, f64::from(self.n));
        let d = n + samples;
        // One more sieve on the first block, as large as makes it cost what BKZ does.
        let inner = b - free(b).floor();
        let large = (inner + (PROGRESSIVE * (d - b).max(1.0)).log2() / SIEVE.0).floor().min(d);
        let longer = 0.5 * (4.0f64 / 3.0).log2() + (large - 1.0) * (log_delta(whole(large)) - log_delta(beta));
        let error = longer + self.secret.log2() + log_delta(beta) * d - balance * samples / d;
        // Entropy of the tried unknowns, at least one bit each: a guess that favours the attacker.
        let tried = f64::from(zeta) * (self.secret * (2.0 * PI * E).sqrt()).log2().max(1.0);
        let exponent = 4.0 * PI * PI * (2.0 * error).exp2();
        let vectors = (exponent < 700.0).then(|| 2.0 + exponent * LOG2_E + (tried / LOG2_E + 5.0).log2())?;
        let repeat = (vectors - VECTORS * large).max(0.0);
        let gates = plus(repeat + plus(bkz(beta, d), sieve(large)), tried + 1.0 + vectors);
        Some(Gates { log: gates, beta })
    }
}

/// A floored dimension.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a dimension of a lattice, floored")]
fn whole(x: f64) -> u32 {
    x as u32
}
