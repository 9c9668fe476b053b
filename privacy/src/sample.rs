//! Poisson sampling of units (privacy.md D29, D30). Knows no loader, no batch size and no data.

use crate::mechanism::SamplingRate;
use crate::noise::{Sample, Stream};

/// The indices below `units` that enter one step: each independently with probability q. May be empty, and an empty step is valid.
///
/// # Privacy
/// Amplification by sampling holds while the answer stays secret: neither indices nor their number leave the process (D12).
/// One 64-bit draw per unit whatever the rate, so the number of draws tells nothing about the sample.
///
/// # Source
/// privacy.md D29.
pub fn poisson_sample(stream: &mut Stream<Sample>, rate: &SamplingRate, units: usize) -> Vec<usize> {
    (0..units).filter(|_| rate.admits(stream.next_u64())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::tests::mechanism;
    use crate::noise::{SeededEntropy, StepContext};
    use protocol::ids::ManifestDigest;

    fn stream(seed: u64) -> Stream<Sample> {
        let context = StepContext { manifest: ManifestDigest([1; 32]), ledger_counter: 0, step: 0 };
        Stream::open(&mut SeededEntropy::new(seed), &context).unwrap()
    }

    /// False alarm: each of the two checks is a 5-sigma event of a nearly normal statistic, together below 1.2e-6.
    #[test]
    fn sample_sizes_are_binomial() {
        let m = mechanism("1.0", "0.1", 16, 100);
        let (mut s, units, steps) = (stream(3), 200usize, 5000);
        let sizes: Vec<f64> = (0..steps).map(|_| poisson_sample(&mut s, m.sampling_rate(), units).len() as f64).collect();
        let (n, mean) = (f64::from(steps), sizes.iter().sum::<f64>() / f64::from(steps));
        let variance = sizes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        assert!((mean - 20.0).abs() < 5.0 * (18.0 / n).sqrt(), "mean {mean}");
        assert!((variance - 18.0).abs() < 5.0 * 18.0 * (2.0 / n).sqrt() * 1.02, "variance {variance}");
    }

    /// Inclusion of two units and of one unit in two steps is uncorrelated. False alarm below 1.2e-6.
    #[test]
    fn units_enter_independently() {
        let m = mechanism("1.0", "0.5", 16, 100);
        let mut s = stream(4);
        let hits: Vec<[f64; 2]> = (0..20_000)
            .map(|_| {
                let drawn = poisson_sample(&mut s, m.sampling_rate(), 2);
                [0, 1].map(|u| if drawn.contains(&u) { 1.0 } else { -1.0 })
            })
            .collect();
        let bound = 5.0 * (hits.len() as f64).sqrt();
        assert!(hits.iter().map(|h| h[0] * h[1]).sum::<f64>().abs() < bound);
        assert!(hits.windows(2).map(|w| w[0][0] * w[1][0]).sum::<f64>().abs() < bound);
    }

    #[test]
    fn a_rate_of_one_takes_everybody_and_a_tiny_rate_may_take_nobody() {
        let all = mechanism("1.0", "1", 16, 100);
        assert_eq!(poisson_sample(&mut stream(5), all.sampling_rate(), 7), vec![0, 1, 2, 3, 4, 5, 6]);
        let none = mechanism("1.0", "0.000000000001", 16, 100);
        assert!(poisson_sample(&mut stream(5), none.sampling_rate(), 1000).is_empty());
    }
}
