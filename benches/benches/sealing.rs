//! Sealing, adding and opening beside the stock library, one thread, in one run, under the names of the table in crypto.md C80.
//! `cargo bench -p concordat-benches --bench sealing`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark: what fails should stop it, and it shows its figures")]

use benches::OsEntropy;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crypto::mask::MaskKey;
use crypto::measure::{Sharing, Workload};
use crypto::packing::{add_bits, write_bits};
use crypto::ring::RingKey;
use crypto::sum::BlockSum;
use protocol::params::{CommitteeSize, Packing};
use std::hint::black_box;

const N: u64 = 4096;
/// Polynomials of a whole block.
const BLOCK: u64 = 256;

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

fn workload(bits: u8) -> Workload {
    let slots = u64::from(Packing::derive(100, bits).unwrap().slots);
    Workload::new(100, bits, BLOCK * N * slots, &mut OsEntropy).unwrap()
}

/// `seal/…`, `seal_stock/…` and `open/…`, elements are coefficients.
fn seal_and_open(c: &mut Criterion) {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (name, bits) in [("ps_a_n100_b8", 8u8), ("ps_a_n100_b16", 16)] {
        let work = workload(bits);
        let mut group = c.benchmark_group("seal");
        group.sample_size(10).throughput(Throughput::Elements(work.coefficients()));
        group.bench_function(name, |b| b.iter(|| alone.install(|| work.seal(&mut OsEntropy).unwrap())));
        group.finish();
        let mut group = c.benchmark_group("seal_stock");
        group.sample_size(10).throughput(Throughput::Elements(8 * N));
        group.bench_function(name, |b| b.iter(|| work.seal_stock(8).unwrap()));
        group.finish();
        let sealed = work.first_block().unwrap();
        let mut sum = BlockSum::new(sealed.group(), 0).unwrap();
        sum.add_chunk(sealed.packed()).unwrap();
        let mut group = c.benchmark_group("open");
        group.sample_size(10).throughput(Throughput::Elements(work.coefficients()));
        group.bench_function(name, |b| b.iter(|| alone.install(|| sealed.open(black_box(&sum)).unwrap())));
        group.finish();
    }
}

/// `sum/add_k51` and, beside it, `sum/add_u64`: the machine's plain loop over words. Elements are coefficients.
fn sum(c: &mut Criterion) {
    let sealed = workload(8).first_block().unwrap();
    let mut group = c.benchmark_group("sum");
    group.sample_size(20).throughput(Throughput::Elements(BLOCK * N));
    // A new block each time: one takes a hundred chunks and no more.
    let block = || BlockSum::new(sealed.group(), 0).unwrap();
    group.bench_function("add_k51", |b| {
        b.iter_batched_ref(block, |block| block.add_chunk(black_box(sealed.packed())).unwrap(), BatchSize::LargeInput);
    });
    let chunk = vec![0x0123_4567_89ab_cdefu64; usize::try_from(BLOCK * N).unwrap()];
    let mut total = vec![0u64; chunk.len()];
    group.bench_function("add_u64", |b| {
        b.iter(|| total.iter_mut().zip(black_box(&chunk)).for_each(|(sum, &word)| *sum = sum.wrapping_add(word)));
    });
    group.finish();
}

/// `wire/bits_per_param`: not a time, and so only shown; tests hold the rows.
fn wire(_: &mut Criterion) {
    for (n_max, bits) in [(4, 8), (4, 16), (100, 8), (100, 16), (1000, 8), (1000, 16)] {
        let p = Packing::derive(n_max, bits).unwrap();
        println!("wire/bits_per_param/n{n_max}_b{bits}: {:.2} bits, {} at least", p.bits_per_parameter(), p.slot_bits);
    }
}

/// A client's dealing, and a decryptor's work in a round of a hundred institutions.
fn shares(c: &mut Criterion) {
    let sharing = Sharing::new(CommitteeSize { decryptors: 7, corrupt: 2 }, &mut OsEntropy).unwrap();
    let blobs = sharing.seal().unwrap();
    let held = sharing.open(&blobs, 100).unwrap();
    let mut group = c.benchmark_group("share");
    group.bench_function("deal_c7_d2", |b| b.iter(|| sharing.deal()));
    group.bench_function("check_n100", |b| b.iter(|| held.check().unwrap()));
    group.finish();
    let mut group = c.benchmark_group("blob");
    group.sample_size(20);
    group.bench_function("seal_c7", |b| b.iter(|| sharing.seal().unwrap()));
    group.bench_function("open_n100", |b| b.iter(|| sharing.open(black_box(&blobs), 100).unwrap()));
    group.finish();
}

criterion_group!(benches, parts, seal_and_open, sum, wire, shares);
criterion_main!(benches);
