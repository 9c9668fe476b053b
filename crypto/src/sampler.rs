//! The round secret z and what is drawn from it: secret key, noise, share polynomials, encapsulation coins (crypto.md C15, C19).
//! Knows no message and draws no entropy itself.

use crate::Polynomial;
use aes::Aes256;
use core::convert::Infallible;
use core::ops::{Deref, DerefMut};
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use protocol::hash::{Domain, expand};
use protocol::ids::{GroupId, ManifestDigest, Position};
use protocol::params::{RING_DIMENSION, SHARE_PRIME};
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{Shake256, Shake256Reader};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of one CBD(90) coefficient: 180 coins out of 192 bits.
const COEFFICIENT_BYTES: usize = 24;
/// AES blocks of one polynomial of coefficients.
const POLYNOMIAL_BLOCKS: u128 = (COEFFICIENT_BYTES * RING_DIMENSION / 16) as u128;
/// The 52 bits of the third word that count.
const LAST_COINS: u64 = (1 << 52) - 1;
/// Coefficients made at a time; divides a polynomial.
const PART: usize = 128;
/// Field elements fetched at a time.
const WORDS: usize = 256;

/// 32 secret bytes that stay where they are when their owner is moved, so that wiping them wipes all there is.
type Secret = Box<Zeroizing<[u8; 32]>>;

/// A key stream, likewise.
type Stream = Box<Ctr128LE<Aes256>>;

/// The stream of a key from `counter` on.
fn stream(key: &[u8; 32], counter: u128) -> Stream {
    Box::new(Ctr128LE::<Aes256>::new(key.into(), &counter.to_le_bytes().into()))
}

/// 4096 small coefficients in -90..=90; zeroised when dropped, and never copied:
///
/// ```compile_fail,E0599
/// fn twice(s: &crypto::sampler::SmallPolynomial) -> crypto::sampler::SmallPolynomial { s.clone() }
/// ```
///
/// ```compile_fail,E0277
/// fn print(s: &crypto::sampler::SmallPolynomial) { println!("{s:?}"); }
/// ```
pub struct SmallPolynomial(Box<Zeroizing<[i8; RING_DIMENSION]>>);

impl SmallPolynomial {
    fn zero() -> Self {
        Self(Box::new(Zeroizing::new([0; RING_DIMENSION])))
    }
}

impl Deref for SmallPolynomial {
    type Target = [i8; RING_DIMENSION];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for SmallPolynomial {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// An institution's secret that makes a repeating generator harmless (C19). Made at join, kept with the institution's keys.
///
/// ```compile_fail,E0277
/// fn print(secret: &crypto::sampler::HedgeSecret) { println!("{secret:?}"); }
/// ```
pub struct HedgeSecret(Secret);

impl HedgeSecret {
    /// Takes over the bytes; the caller's copy is wiped.
    pub fn new(bytes: &mut [u8; 32]) -> Self {
        let mut secret = Secret::default();
        secret.copy_from_slice(bytes);
        bytes.zeroize();
        Self(secret)
    }
}

/// z: the one secret that everything random in a sealed update comes from. Lives for one (client, round, group), never stored.
///
/// ```compile_fail,E0599
/// fn twice(z: crypto::sampler::RoundSecret) { let _second = z.clone(); }
/// ```
pub struct RoundSecret(Secret);

impl RoundSecret {
    /// z = X(`round-secret`, 32; fresh ‖ hedge ‖ manifest digest ‖ group ‖ message digest).
    ///
    /// # Security
    /// The message enters: a cloned machine whose generator repeats seals the same bytes or uses an unrelated secret, never two messages
    /// under one.
    pub fn derive(
        fresh: &Zeroizing<[u8; 32]>,
        hedge: &HedgeSecret,
        manifest: ManifestDigest,
        group: GroupId,
        message: &Zeroizing<[u8; 32]>,
    ) -> Self {
        let mut z = Secret::default();
        let parts: [&[u8]; 5] = [fresh.as_slice(), hedge.0.as_slice(), &manifest.0, &group.0.to_le_bytes(), message.as_slice()];
        expand(Domain::RoundSecret, &parts, z.as_mut_slice());
        Self(z)
    }

    /// The z of a test vector.
    #[cfg(test)]
    pub(crate) fn for_vector(z: [u8; 32]) -> Self {
        Self(Box::new(Zeroizing::new(z)))
    }

    fn stream(&self, domain: Domain) -> Stream {
        let mut key = Secret::default();
        expand(domain, &[self.0.as_slice()], key.as_mut_slice());
        stream(&key, 0)
    }

    /// s: the secret key of this update.
    ///
    /// # Security
    /// No branch or index depends on a secret. AES without hardware instructions runs the crate's constant-time software path.
    pub fn secret(&self) -> SmallPolynomial {
        let mut out = SmallPolynomial::zero();
        cbd(&mut self.stream(Domain::Secret), &mut out, |value, coefficient| *value = coefficient);
        out
    }

    /// e_j: the noise of polynomial j.
    pub fn noise(&self, j: u64) -> SmallPolynomial {
        let mut out = SmallPolynomial::zero();
        cbd(&mut self.noise_stream().at(j), &mut out, |value, coefficient| *value = coefficient);
        out
    }

    /// What all e_j are drawn from; any of them can be made alone.
    pub(crate) fn noise_stream(&self) -> NoiseStream {
        let mut key = Secret::default();
        expand(Domain::Noise, &[self.0.as_slice()], key.as_mut_slice());
        NoiseStream(key)
    }

    /// Field elements for the share polynomials, in the order of C33.
    pub(crate) fn share_elements(&self) -> FieldStream {
        FieldStream::over(self.stream(Domain::Shares))
    }

    /// Coins of the encapsulation to the decryptor at `position`.
    pub(crate) fn encapsulation(&self, position: Position) -> EncapsulationCoins {
        let mut x = Shake256::default();
        x.update(Domain::Encapsulation.prefix());
        x.update(self.0.as_slice());
        x.update(&[position.0]);
        EncapsulationCoins(x.finalize_xof())
    }
}

/// The noise of one sealed update.
pub(crate) struct NoiseStream(Secret);

impl NoiseStream {
    /// Adds e_j to `onto`, modulo 2^64 by intent (C29).
    pub(crate) fn add_to(&self, j: u64, onto: &mut Polynomial) {
        cbd(&mut self.at(j), onto, |word, coefficient| *word = word.wrapping_add(i64::from(coefficient).cast_unsigned()));
    }

    fn at(&self, j: u64) -> Stream {
        stream(&self.0, u128::from(j).wrapping_mul(POLYNOMIAL_BLOCKS))
    }
}

/// Gives each place one centred sum of 180 fair coins, in order: variance 45, support -90..=90.
fn cbd<T>(stream: &mut Ctr128LE<Aes256>, places: &mut [T; RING_DIMENSION], give: impl Fn(&mut T, i8) + Copy) {
    // In parts that stay in the innermost cache.
    let mut coins = Zeroizing::new([[0u8; COEFFICIENT_BYTES]; PART]);
    for part in places.chunks_exact_mut(PART) {
        stream.write_keystream(coins.as_flattened_mut());
        crate::vector::dispatch(Count { part, coins: &coins, give });
    }
}

/// Counts the coins of one part with the machine's best instructions.
struct Count<'a, T, F> {
    part: &'a mut [T],
    coins: &'a [[u8; COEFFICIENT_BYTES]; PART],
    give: F,
}

impl<T, F: Fn(&mut T, i8)> pulp::NullaryFnOnce for Count<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        for (place, coins) in self.part.iter_mut().zip(self.coins) {
            (self.give)(place, coefficient(coins));
        }
    }
}

/// popcount(w0) + popcount(w1) + popcount(w2 AND (2^52 - 1)) - 90.
#[inline(always)]
fn coefficient(coins: &[u8; COEFFICIENT_BYTES]) -> i8 {
    let (words, _) = coins.as_chunks::<8>();
    let ones = u64::from_le_bytes(words[0]).count_ones()
        + u64::from_le_bytes(words[1]).count_ones()
        + (u64::from_le_bytes(words[2]) & LAST_COINS).count_ones();
    // Of -90..=90, the low byte is the value: no branch on it.
    let [low, ..] = (i64::from(ones) - 90).to_le_bytes();
    i8::from_le_bytes([low])
}

/// Uniform elements of F_p: `u32` LE AND 7fffffff, the value p skipped (C33).
pub(crate) struct FieldStream {
    stream: Stream,
    words: Box<Zeroizing<[u8; 4 * WORDS]>>,
    at: usize,
}

impl FieldStream {
    fn over(stream: Stream) -> Self {
        Self { stream, words: Box::new(Zeroizing::new([0; 4 * WORDS])), at: WORDS }
    }

    /// The elements that a public or secret 32-byte key stands for.
    pub(crate) fn keyed(key: &[u8; 32]) -> Self {
        Self::over(stream(key, 0))
    }

    /// The next element. The skip looks only at a fresh uniform word, never at anything kept (C71).
    pub(crate) fn next(&mut self) -> u32 {
        loop {
            if self.at == WORDS {
                self.stream.write_keystream(self.words.as_mut_slice());
                self.at = 0;
            }
            let word = u32::from_le_bytes(self.words.as_chunks::<4>().0[self.at]) & SHARE_PRIME;
            self.at += 1;
            if word != SHARE_PRIME {
                return word;
            }
        }
    }
}

/// SHAKE256 of D(`encapsulation`) ‖ z ‖ position as a generator for the key encapsulation (C19). Never used for anything else.
///
/// The sponge's state is not wiped by its crate; [`crate::stack::scrub`] does, at the end of a seal.
pub(crate) struct EncapsulationCoins(Shake256Reader);

impl rand_core::TryRng for EncapsulationCoins {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0u8; 4];
        self.0.read(&mut word);
        Ok(u32::from_le_bytes(word))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0u8; 8];
        self.0.read(&mut word);
        Ok(u64::from_le_bytes(word))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.read(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for EncapsulationCoins {}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
