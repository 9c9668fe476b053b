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

    /// Chances of 0..=n successes of n at rate q.
    fn binomial(n: u32, q: f64) -> Vec<f64> {
        let next = |(k, p): &(u32, f64)| Some((k + 1, p * f64::from(n - k) / f64::from(k + 1) * q / (1.0 - q)));
        std::iter::successors(Some((0, (1.0 - q).powf(f64::from(n)))), next).map(|(_, p)| p).take(n as usize + 1).collect()
    }

    /// B1: sizes follow Binomial(N, q), not a batch size: χ² over the sizes that are expected 10 times and more, the others in two tails.
    /// Beyond 6 deviations of the Wilson–Hilferty normal: false alarm 1e-9 each. A fixed size of 20 would be refused in the first dozen.
    #[test]
    fn sample_sizes_are_binomial() {
        for (rate, q, units, steps) in [("0.1", 0.1, 200u32, 20_000u32), ("0.02", 0.02, 1000, 20_000), ("0.5", 0.5, 30, 20_000)] {
            let m = mechanism("1.0", rate, 16, 100);
            let mut s = stream(3);
            let mut counts = vec![0.0f64; units as usize + 1];
            (0..steps).for_each(|_| counts[poisson_sample(&mut s, m.sampling_rate(), units as usize).len()] += 1.0);
            let expected: Vec<f64> = binomial(units, q).iter().map(|p| p * f64::from(steps)).collect();
            let (first, last) = (expected.iter().position(|e| *e >= 10.0).unwrap(), expected.iter().rposition(|e| *e >= 10.0).unwrap());
            let tails = |of: &[f64]| [of[..first].iter().sum::<f64>(), of[last + 1..].iter().sum::<f64>()];
            let cells = |of: &[f64]| [&of[first..=last], &tails(of)[..]].concat();
            let terms = cells(&counts).into_iter().zip(cells(&expected)).map(|(c, e)| (c - e).powi(2) / e.max(1.0));
            let (distance, k) = (terms.sum::<f64>(), (last - first + 2) as f64);
            let limit = k * (1.0 - 2.0 / (9.0 * k) + 6.0 * (2.0 / (9.0 * k)).sqrt()).powi(3);
            assert!(distance < limit, "q {rate}: {distance} for {k} degrees");
        }
    }

    /// B1: inclusion of two units in one step and of one unit in two steps is uncorrelated, for every pair of 6 units and steps 1, 2 and
    /// 20 apart: what a shuffled pass over the data would not be. 15 + 18 checks of 5 standard deviations: false alarm 2e-5.
    #[test]
    fn units_enter_independently() {
        let m = mechanism("1.0", "0.25", 16, 100);
        let (mut s, steps, q) = (stream(4), 20_000usize, 0.25f64);
        let hits: Vec<[f64; 6]> = (0..steps)
            .map(|_| {
                let drawn = poisson_sample(&mut s, m.sampling_rate(), 6);
                [0, 1, 2, 3, 4, 5].map(|u| (if drawn.contains(&u) { 1.0 } else { 0.0 } - q) / (q * (1.0 - q)).sqrt())
            })
            .collect();
        let bound = 5.0 * (steps as f64).sqrt();
        for (u, v) in (0..6).flat_map(|u| (0..u).map(move |v| (u, v))) {
            assert!(hits.iter().map(|h| h[u] * h[v]).sum::<f64>().abs() < bound, "units {u} and {v}");
        }
        for (u, apart) in (0..6).flat_map(|u| [1, 2, 20].map(|apart| (u, apart))) {
            assert!(hits.iter().zip(&hits[apart..]).map(|(a, b)| a[u] * b[u]).sum::<f64>().abs() < bound, "unit {u}, {apart} steps apart");
        }
    }

    /// B3: the rate is the plan's whatever the dataset holds. No argument names a batch, and each unit takes one draw.
    #[test]
    fn the_same_rate_is_executed_whatever_the_number_of_units() {
        let _: fn(&mut Stream<Sample>, &SamplingRate, usize) -> Vec<usize> = poisson_sample;
        let m = mechanism("1.0", "0.1", 16, 100);
        let (few, many) = (poisson_sample(&mut stream(6), m.sampling_rate(), 500), poisson_sample(&mut stream(6), m.sampling_rate(), 5000));
        assert!(many.starts_with(&few) && many.len() > few.len());
        let mut after = [stream(6), stream(6)];
        poisson_sample(&mut after[0], m.sampling_rate(), 10);
        (0..10).for_each(|_| {
            after[1].next_u64();
        });
        assert_eq!(after[0].next_u64(), after[1].next_u64());
    }

    #[test]
    fn a_rate_of_one_takes_everybody_and_a_tiny_rate_may_take_nobody() {
        let all = mechanism("1.0", "1", 16, 100);
        assert_eq!(poisson_sample(&mut stream(5), all.sampling_rate(), 7), vec![0, 1, 2, 3, 4, 5, 6]);
        let none = mechanism("1.0", "0.000000000001", 16, 100);
        assert!(poisson_sample(&mut stream(5), none.sampling_rate(), 1000).is_empty());
    }
}
