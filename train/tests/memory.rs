//! How much memory a task takes, counted by an allocator: a binary of its own, so that nothing else is counted.
#![expect(clippy::unwrap_used, reason = "helpers of a test panic with it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use train::batch::{Batch, Record};
use train::direct::Keep;
use train::hf::config;
use train::model::{Config, TransformerWeights};
use train::optim::OptimiserState;
use train::shard::kind::{LowRank, ShardKind};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::SeqCst) + bytes;
    PEAK.fetch_max(live, Ordering::SeqCst);
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every call goes on to the system's allocator unchanged; only sums are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A decoder of twelve blocks; what it reads needs more room than what it knows.
fn model() -> Config {
    let text = br#"{"model_type":"llama","vocab_size":64,"hidden_size":32,"num_attention_heads":4,"num_key_value_heads":4,
        "intermediate_size":96,"num_hidden_layers":12,"max_position_embeddings":64}"#;
    config::parse(text).unwrap()
}

/// Most bytes at once over one step of a task: weights, what is recorded, gradient, optimiser.
fn peak(kind: &ShardKind, keep: Keep) -> usize {
    let records: Vec<Record> =
        (0..16u32).map(|r| Record { tokens: (0..64).map(|t| (r * 7 + t * t) % 64).collect(), class: 0, labels: Vec::new() }).collect();
    let batch = Batch::pack(&records, 64);
    let base = LIVE.load(Ordering::SeqCst);
    PEAK.store(base, Ordering::SeqCst);
    let weights = TransformerWeights::initial(&kind.config(&model(), 1).unwrap(), 1).unwrap();
    let optimiser = OptimiserState::adam_w(weights.flat().len());
    let (losses, gradient) = weights.gradient_keeping(&batch, None, keep).unwrap();
    assert!(losses.iter().all(|l| l.is_finite()) && gradient.len() == weights.flat().len());
    drop(optimiser);
    PEAK.load(Ordering::SeqCst) - base
}

/// One test only: a second one would be counted too.
#[test]
fn the_top_layers_take_a_third_of_the_memory_and_blocks_computed_again_half() {
    let low = LowRank { rank: 4, alpha: 8, targets: Some(["q_proj", "v_proj"].map(str::to_owned).to_vec().into()) };
    let kinds = [ShardKind::Full, ShardKind::Layers(10..12), ShardKind::LoraB(low)];
    let [[full, top, low], [full_again, top_again, low_again]] =
        [Keep::Everything, Keep::Inputs].map(|keep| kinds.each_ref().map(|kind| peak(kind, keep)));
    println!("full {full} bytes, top two of twelve blocks {top}, lora-b {low}");
    println!("with blocks computed again: full {full_again} bytes, top two of twelve blocks {top_again}, lora-b {low_again}");
    assert!(3 * top <= full, "top {top} of full {full}");
    // By itself an adapter saves optimiser and upload; what its layers read is kept all the same, unless it is computed again.
    assert!(2 * full_again <= full && 2 * low_again <= low, "full {full_again} of {full}, lora-b {low_again} of {low}");
}
