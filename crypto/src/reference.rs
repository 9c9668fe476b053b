//! The stock path on `tfhe` (crypto.md C67): the only room that names it. Knows no manifest, no packing and no share.

use crate::Polynomial;
use crate::mask::MaskKey;
use crate::ring::RingKey;
use privacy::noise::{EntropyError, EntropySource};
use protocol::hash::sha256;
use protocol::params::RING_DIMENSION;
use tfhe::core_crypto::algorithms::polynomial_algorithms::polynomial_karatsuba_wrapping_mul;
use tfhe::core_crypto::commons::math::random::{CompressionSeed, Seed};
use tfhe::core_crypto::prelude::*;
use zeroize::Zeroizing;

// Seeds are native-endian in the stock library (C73); on a big-endian machine its mask would be another one.
const _: () = assert!(cfg!(target_endian = "little"), "the reference path needs a little-endian machine");

/// out = a·b in `Z[X]/(X^4096 + 1)` modulo 2^64.
pub(crate) fn product(out: &mut crate::Polynomial, a: &crate::Polynomial, b: &crate::Polynomial) {
    let a = tfhe::core_crypto::entities::Polynomial::from_container(a.as_slice());
    let b = tfhe::core_crypto::entities::Polynomial::from_container(b.as_slice());
    let mut out = tfhe::core_crypto::entities::Polynomial::from_container(out.as_mut_slice());
    polynomial_karatsuba_wrapping_mul(&mut out, &a, &b);
}

/// Gives out one fixed seed. The noise drawn from it has deviation 0, so nothing secret hangs on it.
struct NoSeeder;

impl Seeder for NoSeeder {
    fn seed(&mut self) -> Seed {
        Seed(0)
    }
    fn is_available() -> bool {
        true
    }
}

fn empty_list(mask: MaskKey, count: usize) -> SeededGlweCiphertextListOwned<u64> {
    SeededGlweCiphertextList::new(
        0u64,
        GlweSize(2),
        PolynomialSize(RING_DIMENSION),
        GlweCiphertextCount(count),
        CompressionSeed::from(Seed(u128::from_le_bytes(*mask.as_bytes()))),
        CiphertextModulus::new_native(),
    )
}

/// The first mask polynomials as the stock library decompresses them.
pub fn stock_masks(mask: MaskKey, count: usize) -> Vec<Box<Polynomial>> {
    let list = empty_list(mask, count).decompress_into_glwe_ciphertext_list();
    list.iter()
        .map(|glwe| {
            let mut out = Box::new([0u64; RING_DIMENSION]);
            out.copy_from_slice(glwe.get_mask().as_ref());
            out
        })
        .collect()
}

/// Bodies A_j·s + plaintext_j by stock seeded encryption with its own noise at deviation 0. The plaintext carries our noise.
///
/// # Security
/// Plaintexts are e_j + m_j. Stock noise must never be the only noise (C9): without e_j the bodies hide nothing.
pub fn stock_bodies(mask: MaskKey, secret: &RingKey, plaintexts: &[Box<Zeroizing<Polynomial>>]) -> Vec<Box<Polynomial>> {
    stock_bodies_with(mask, secret, plaintexts, DynamicDistribution::new_gaussian_from_std_dev(StandardDev(0.0)))
}

/// Bodies with the stock library's noise of -1, 0 and 1 from a fixed seed.
#[cfg(test)]
pub(crate) fn stock_bodies_with_small_noise(
    mask: MaskKey,
    secret: &RingKey,
    plaintexts: &[Box<Zeroizing<Polynomial>>],
) -> Vec<Box<Polynomial>> {
    stock_bodies_with(mask, secret, plaintexts, DynamicDistribution::new_t_uniform(0))
}

fn stock_bodies_with(
    mask: MaskKey,
    secret: &RingKey,
    plaintexts: &[Box<Zeroizing<Polynomial>>],
    noise: DynamicDistribution<u64>,
) -> Vec<Box<Polynomial>> {
    // The stock key prints itself and is not wiped: it only borrows ours and does not outlive this call (C72).
    let key = GlweSecretKey::from_container(secret.coefficients().as_slice(), PolynomialSize(RING_DIMENSION));
    let flat: Zeroizing<Vec<u64>> = Zeroizing::new(plaintexts.iter().flat_map(|p| p.iter().copied()).collect());
    let encoded = PlaintextList::from_container(flat.as_slice());
    let mut list = empty_list(mask, plaintexts.len());
    encrypt_seeded_glwe_ciphertext_list(&key, &mut list, &encoded, noise, &mut NoSeeder);
    list.as_ref().as_chunks::<RING_DIMENSION>().0.iter().map(|body| Box::new(*body)).collect()
}

/// What the stock library's own seeded encryption costs, with its own Gaussian noise of deviation 6.7: for measurements only. The
/// noise comes from a fixed seed, so the bodies hide nothing.
pub(crate) fn stock_encryption(mask: MaskKey, secret: &RingKey, plaintexts: &[u64]) -> SeededGlweCiphertextListOwned<u64> {
    let key = GlweSecretKey::from_container(secret.coefficients().as_slice(), PolynomialSize(RING_DIMENSION));
    let mut list = empty_list(mask, plaintexts.len() / RING_DIMENSION);
    let noise = DynamicDistribution::new_gaussian_from_std_dev(StandardDev(6.7 / 2f64.powi(64)));
    encrypt_seeded_glwe_ciphertext_list(&key, &mut list, &PlaintextList::from_container(plaintexts), noise, &mut NoSeeder);
    list
}

/// Plaintexts behind bodies under `key`, by stock decryption: body_j - A_j·key.
pub fn stock_open(mask: MaskKey, key: &RingKey, bodies: &[Box<Polynomial>]) -> Vec<u64> {
    let mut list = empty_list(mask, bodies.len());
    for (out, body) in list.as_mut().as_chunks_mut::<RING_DIMENSION>().0.iter_mut().zip(bodies) {
        out.copy_from_slice(body.as_slice());
    }
    let list = list.decompress_into_glwe_ciphertext_list();
    let key = GlweSecretKey::from_container(key.coefficients().as_slice(), PolynomialSize(RING_DIMENSION));
    let mut out = PlaintextList::new(0u64, PlaintextCount(bodies.len() * RING_DIMENSION));
    decrypt_glwe_ciphertext_list(&key, &list, &mut out);
    out.into_container()
}

/// This machine computes other bytes than the published vectors. Nothing may be sealed or opened on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelfCheckError {
    /// Our mask differs from the vector.
    #[error("the mask differs from its vector")]
    Mask,
    /// The stock mask differs from ours.
    #[error("the stock mask differs from ours")]
    StockMask,
    /// The product differs from the vector.
    #[error("the ring product differs from its vector")]
    Product,
    /// The fast product differs from the stock library's.
    #[error("the fast ring product differs from the stock one")]
    Paths,
    /// There is no fast product, and the stock one does not wipe what it makes of a key (C72).
    #[error("the transforms of the fast ring product cannot be made")]
    Slow,
    /// No entropy for the random polynomial.
    #[error("no fresh entropy")]
    Entropy(#[from] EntropyError),
}

/// Whether the stock library's mask generator runs on this machine: it panics where the processor has no AES instructions. Ours then runs
/// the constant-time software path of its crate, is held against the vector alone, and the edge says so (C74).
pub fn stock_generator_runs() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = true; // the stock library takes its software generator
    has_aes
}

/// Runs the vectors of crypto.md C78 and a random polynomial on this machine. An edge calls it at start-up and ends the process on an error
/// (C68).
///
/// # Errors
/// [`SelfCheckError`].
pub fn self_check(entropy: &mut dyn EntropySource) -> Result<(), SelfCheckError> {
    let key = MaskKey::from_bytes(0x0123_4567_89ab_cdef_0011_2233_4455_6677_u128.to_le_bytes());
    let mask = key.polynomial(0);
    if digest(&mask) != MASK_DIGEST {
        return Err(SelfCheckError::Mask);
    }
    if stock_generator_runs() && stock_masks(key, 4).into_iter().zip(0u64..).any(|(stock, j)| stock != key.polynomial(j)) {
        return Err(SelfCheckError::StockMask);
    }
    let (fast, stock) = (RingKey::new(&vector_secret()), RingKey::reference(&vector_secret()));
    if !fast.is_fast() {
        return Err(SelfCheckError::Slow);
    }
    if digest(&fast.times(&mask)) != PRODUCT_DIGEST {
        return Err(SelfCheckError::Product);
    }
    let mut random = [0u8; 16];
    entropy.fill(&mut random)?;
    let random = MaskKey::from_bytes(random).polynomial(0);
    let agree = |mask: &Polynomial| fast.times(mask).as_slice() == stock.times(mask).as_slice();
    if agree(&key.polynomial(1)) && agree(&random) { Ok(()) } else { Err(SelfCheckError::Paths) }
}

/// The small polynomial of C78: ((i·2654435761 >> 7) mod 181) - 90.
fn vector_secret() -> [i64; RING_DIMENSION] {
    let mut i = 0i64;
    [(); RING_DIMENSION].map(|()| {
        let value = ((i * 2_654_435_761) >> 7) % 181 - 90;
        i += 1;
        value
    })
}

fn digest(polynomial: &Polynomial) -> [u8; 32] {
    let bytes: Vec<u8> = polynomial.iter().flat_map(|c| c.to_le_bytes()).collect();
    sha256(&[&bytes])
}

/// SHA-256 of mask polynomial 0 of C78, little-endian.
const MASK_DIGEST: [u8; 32] = [
    0x8a, 0xb7, 0x54, 0xfa, 0x08, 0xd6, 0x03, 0x2a, 0x3b, 0xd1, 0xc8, 0x09, 0xd5, 0xf5, 0x0f, 0x0b, 0x4d, 0x46, 0x6a, 0x6a, 0x61, 0xbe,
    0x9e, 0x36, 0x03, 0x08, 0x52, 0x30, 0xa9, 0xb7, 0x3c, 0x61,
];
/// SHA-256 of the product of C78, little-endian.
const PRODUCT_DIGEST: [u8; 32] = [
    0x45, 0x67, 0x7e, 0x28, 0x77, 0x8a, 0x3f, 0x20, 0x76, 0x29, 0x0a, 0x65, 0x9a, 0x7f, 0xef, 0x6e, 0xc4, 0x9a, 0x25, 0xe4, 0xd4, 0x9e,
    0x31, 0x0d, 0xb6, 0x7b, 0x0e, 0xf6, 0x60, 0xdd, 0xdf, 0x27,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_computes_the_published_vectors() {
        assert_eq!(self_check(&mut privacy::noise::SeededEntropy::new(1)), Ok(()));
    }
}
