//! Integer noise of every kind beside OpenDP's sampler, one thread, in one run (privacy.md D73). `cargo bench -p concordat-benches --bench noise`.
#![expect(clippy::unwrap_used, reason = "a benchmark: what fails should stop it")]

use benches::OsEntropy;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use privacy::measure::NoiseWork;
use protocol::plan::NoiseKind;
use std::hint::black_box;

/// Values of one iteration.
const VALUES: usize = 1 << 16;
/// Of OpenDP's, which are slow.
const OPENDP_VALUES: usize = 1 << 10;

fn work(kind: NoiseKind, sigma_grid: &str) -> NoiseWork {
    NoiseWork::new(kind, sigma_grid.parse().unwrap(), VALUES, &mut OsEntropy).unwrap()
}

fn ours(c: &mut Criterion) {
    let mut group = c.benchmark_group("noise");
    group.throughput(Throughput::Elements(VALUES as u64));
    for kind in [NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian] {
        for sigma_grid in ["1", "2.3", "1000", "4096", "65536", "1048576", "1099511627776"] {
            let mut work = work(kind, sigma_grid);
            group.bench_function(BenchmarkId::new(kind.name(), sigma_grid), |b| b.iter(|| black_box(work.draw())));
        }
    }
    group.finish();
}

fn opendp(c: &mut Criterion) {
    let mut group = c.benchmark_group("noise");
    group.throughput(Throughput::Elements(OPENDP_VALUES as u64));
    group.sample_size(20);
    for sigma_grid in ["1", "1000", "65536", "1048576", "1099511627776"] {
        let work = work(NoiseKind::DiscreteGaussian, sigma_grid);
        let draw = || black_box(work.draw_opendp(OPENDP_VALUES).unwrap());
        group.bench_function(BenchmarkId::new("opendp", sigma_grid), |b| b.iter(draw));
    }
    group.finish();
}

criterion_group!(benches, ours, opendp);
criterion_main!(benches);
