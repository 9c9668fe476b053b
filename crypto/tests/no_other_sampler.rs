//! Item 7 (i) of the required tests (crypto.md section 9, C8, C9): secrets and noises of another law cannot be configured.

use crypto::sampler::{HedgeSecret, RoundSecret, SmallPolynomial};
use crypto::seal::{ChunkSink, SealContext, SealError, SealedUpdate, seal};
use privacy::delta::PrivateDelta;
use privacy::noise::EntropySource;
use protocol::ids::{Address, GroupId, ManifestDigest};
use protocol::params::{CBD_BOUND, PS_A, RING_DIMENSION};
use std::convert::Infallible;
use zeroize::Zeroizing;

struct Sink;

impl ChunkSink for Sink {
    type Error = Infallible;
    fn put(&mut self, _: Address, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

type Seal =
    fn(&SealContext<'_>, &PrivateDelta, &HedgeSecret, &mut dyn EntropySource, &mut Sink) -> Result<SealedUpdate, SealError<Infallible>>;

type Key = Zeroizing<[u8; 32]>;
type Derive = fn(&Key, &HedgeSecret, ManifestDigest, GroupId, &Key) -> RoundSecret;

/// Nothing that goes into a seal or a round secret names a law, a sampler, a width or a dimension. A new argument does not compile here.
#[test]
fn no_argument_of_a_seal_chooses_a_law() {
    let _: Seal = seal::<Sink>;
    let _: Derive = RoundSecret::derive;
    let _: fn(&RoundSecret) -> SmallPolynomial = RoundSecret::secret;
    let _: fn(&RoundSecret, u64) -> SmallPolynomial = RoundSecret::noise;
    assert_eq!((PS_A, CBD_BOUND, RING_DIMENSION), (1, 90, 4096));
}

/// Secret and noise both spread as CBD(90) does: variance 45 within a tenth (16,384 draws: 9 deviations), far beyond 16.
#[test]
fn secret_and_noise_follow_the_one_law() {
    let zero = || Zeroizing::new([0; 32]);
    let round = RoundSecret::derive(&zero(), &HedgeSecret::new(&mut [1; 32]), ManifestDigest([2; 32]), GroupId(0), &zero());
    let drawn = [round.secret(), round.noise(0), round.noise(1), round.noise(u64::MAX >> 14)];
    for polynomial in &drawn {
        let square: i64 = polynomial.iter().map(|&v| i64::from(v) * i64::from(v)).sum();
        let variance = square as f64 / RING_DIMENSION as f64;
        assert!((variance - 45.0).abs() < 4.5, "{variance}");
        assert!(polynomial.iter().any(|&v| v.unsigned_abs() > 16));
    }
}
