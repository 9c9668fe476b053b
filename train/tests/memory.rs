//! How much memory a task takes, counted by an allocator: a binary of its own, so that nothing else is counted.
#![expect(clippy::unwrap_used, reason = "helpers of a test panic with it")]

use protocol::plan::{AdapterConfig, Asks};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use train::batch::{Batch, Record};
use train::direct::Keep;
use train::hf::base::Base;
use train::hf::{self, Checkpoint, config};
use train::model::{Config, TransformerWeights};
use train::optim::OptimiserState;
use train::shard;
use train::shard::kind::{LowRank, ShardKind};
use train::shard::tiers::{Part, tier_table};

struct Counting;

/// Held by the test that is counting: what another one took would be counted too.
static COUNTED: Mutex<()> = Mutex::new(());
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

#[test]
fn the_top_layers_take_a_third_of_the_memory_and_blocks_computed_again_half() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
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

/// A decoder whose weights are much more than what a short record leaves behind.
fn published(dir: &Path, halved: bool) -> usize {
    let text = br#"{"model_type":"llama","vocab_size":96,"hidden_size":128,"num_attention_heads":4,"num_key_value_heads":4,
        "intermediate_size":512,"num_hidden_layers":8,"max_position_embeddings":64,"tie_word_embeddings":false}"#;
    let weights = TransformerWeights::initial(&config::parse(text).unwrap(), 1).unwrap();
    let numbers = weights.flat().len();
    let tokenizer = Some(br#"{"model":{"vocab":{"a":0,"b":95}}}"#.to_vec());
    hf::save(&Checkpoint { weights, tokenizer, unused: Vec::new() }, dir).unwrap();
    if halved {
        let path = dir.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let narrow = |data: &[u8]| -> Vec<u8> { data.chunks_exact(4).flat_map(|b| [b[2], b[3]]).collect() };
        let all: Vec<_> = file.tensors().into_iter().map(|(name, t)| (name, t.shape().to_vec(), narrow(t.data()))).collect();
        let views = all.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::BF16, shape.clone(), data).unwrap()));
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    }
    4 * numbers
}

/// What a model on a checkpoint takes.
struct Taken {
    /// Most bytes at once of making the first weights.
    begun: usize,
    /// Most bytes at once of reading the frozen part and of a step of each of two workers.
    trained: usize,
    /// Frozen tensors that are read where they lie.
    in_place: usize,
}

/// Most bytes at once while something is done.
fn most<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let made = act();
    (PEAK.load(Ordering::SeqCst) - before, made)
}

fn taken_on(dir: &Path, parts: &[Part], held: bool) -> Taken {
    let mut own = |mut file: File| -> std::io::Result<File> {
        let mut copy = tempfile::tempfile()?;
        std::io::copy(&mut file, &mut copy)?;
        Ok(copy)
    };
    let base = if held { Base::hold(dir, &mut own) } else { Base::open(dir) }.unwrap();
    let adapter = Some(AdapterConfig { rank: 4, alpha: 8, targets: Some(vec!["q_proj".into()]), nested: None });
    let model = base.model(Asks::NextToken, Vec::new(), Some(16), adapter).unwrap();
    let shards = tier_table(&model, &[("all".to_owned(), parts.to_vec())], -16).unwrap().0;
    let (begun, first) = most(|| base.begin(&model, &shards, 7).unwrap());
    let batch = Batch::pack(&[Record { tokens: vec![1, 2, 3, 4], class: 0, labels: Vec::new() }], 16);
    // The matrix kernel keeps memory of its own for each thread.
    TransformerWeights::initial(&self::model(), 1).unwrap().gradient(&batch, None).unwrap();
    let (trained, in_place) = most(|| {
        let outside = Arc::new(base.outside(first.config()).unwrap());
        let in_place = outside.in_place();
        let weights = first.beside(outside);
        let workers = [(); 2].map(|()| TransformerWeights::part_of(&weights, shard::names(&shards)).unwrap());
        let losses = workers.each_ref().map(|part| part.gradient(&batch, None).unwrap().0);
        assert!(losses[0] == losses[1] && losses[0].iter().all(|l| l.is_finite()));
        in_place
    });
    Taken { begun, trained, in_place }
}

/// training.md M12: a model of which little is trained takes little more than what is trained, however large its checkpoint is.
#[test]
fn what_nobody_trains_is_in_no_memory_of_its_own_or_in_one_copy() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let [plain, halved] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let bytes = published(plain.path(), false);
    assert_eq!(published(halved.path(), true), bytes);
    for parts in [[Part::Head], [Part::LoraB]] {
        let places = [(plain.path(), true), (plain.path(), false), (halved.path(), true)];
        let [mapped, copied, widened] = places.map(|(dir, held)| taken_on(dir, &parts, held));
        let [a, b, c] = [&mapped, &copied, &widened].map(|taken| taken.trained);
        println!("{parts:?} on {bytes} bytes: in place {a}, copied {b}, 16-bit floats {c}");
        assert!(mapped.in_place > 0 && (copied.in_place, widened.in_place) == (0, 0));
        assert!(4 * a < bytes, "{parts:?}: {a} bytes beside {bytes} that are mapped");
        // Two workers have one copy between them, and none is made on the way.
        for one in [b, c] {
            assert!(2 * one > bytes && 4 * one < 5 * bytes, "{parts:?}: {one} bytes for {bytes}");
        }
        for taken in [mapped, copied, widened] {
            assert!(4 * taken.begun < bytes, "{parts:?}: {} bytes to begin on {bytes}", taken.begun);
        }
    }
}
