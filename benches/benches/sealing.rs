//! Sealing, adding and opening beside the stock library, one thread, in one run (crypto.md C80). `cargo bench -p concordat-benches`.
#![expect(clippy::unwrap_used, reason = "a benchmark: what fails should stop it")]

use benches::OsEntropy;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crypto::mask::MaskKey;
use crypto::measure::Workload;
use crypto::packing::{add_bits, write_bits};
use crypto::ring::RingKey;
use crypto::sum::BlockSum;
use std::hint::black_box;

const N: u64 = 4096;

fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("part");
    group.throughput(Throughput::Elements(N));
    let mask = MaskKey::from_bytes([7; 16]);
    let small: [i64; 4096] = std::array::from_fn(|i| i64::try_from((i * 2_654_435_761) >> 7).unwrap() % 181 - 90);
    let (fast, stock, a) = (RingKey::new(&small), RingKey::reference(&small), mask.polynomial(0));
    group.bench_function("mask", |b| b.iter(|| black_box(mask.polynomial(black_box(3)))));
    group.bench_function("product", |b| b.iter(|| black_box(fast.times(black_box(&a)))));
    group.bench_function("product_stock", |b| b.iter(|| black_box(stock.times(black_box(&a)))));
    let values = a.map(|v| v >> 13);
    let mut out = vec![0u8; 512 * 51];
    group.bench_function("write_k51", |b| b.iter(|| write_bits(black_box(&values), 51, &mut out)));
    let mut sum = vec![0u64; 4096];
    group.bench_function("add_k51", |b| b.iter(|| add_bits(black_box(&out), 51, &mut sum)));
    group.finish();
}

fn whole(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (name, bits) in [("ps_a_n100_b8", 8u8), ("ps_a_n100_b16", 16)] {
        let slots = if bits == 8 { 3 } else { 2 };
        let work = Workload::new(100, bits, 256 * N * slots, &mut OsEntropy).unwrap();
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(work.coefficients()));
        group.bench_function("seal", |b| b.iter(|| pool.install(|| work.seal(&mut OsEntropy).unwrap())));
        let block = work.first_block().unwrap();
        let mut sum = BlockSum::new(block.group(), 0).unwrap();
        sum.add_chunk(block.packed()).unwrap();
        group.bench_function("open", |b| b.iter(|| pool.install(|| block.open(black_box(&sum)).unwrap())));
        group.bench_function("add", |b| {
            b.iter(|| {
                let mut block_sum = BlockSum::new(block.group(), 0).unwrap();
                for _ in 0..10 {
                    block_sum.add_chunk(black_box(block.packed())).unwrap();
                }
                black_box(block_sum.added())
            });
        });
        group.throughput(Throughput::Elements(8 * N));
        group.bench_function("seal_stock", |b| b.iter(|| work.seal_stock(8).unwrap()));
        group.finish();
    }
}

criterion_group!(benches, parts, whole);
criterion_main!(benches);
