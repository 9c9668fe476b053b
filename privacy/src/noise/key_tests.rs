//! Streams against an independent computation, and however their bytes are taken.

use super::*;
use crate::noise::SeededEntropy;

const CONTEXT: StepContext = StepContext { manifest: ManifestDigest([3; 32]), ledger_counter: 7, step: 2 };

/// 0, 1, 2, and so on.
struct Counting;

impl EntropySource for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.iter_mut().zip(0..=u8::MAX).for_each(|(byte, i)| *byte = i);
        Ok(())
    }
}

/// D27: key = HKDF-SHA-256(64 fresh bytes, info = manifest, counter, step, purpose), then ChaCha20. First words of the blocks 0 and 64,
/// computed by RFC 5869 and RFC 8439 written out in Python.
#[test]
fn streams_are_chacha20_under_the_key_of_the_context_and_the_purpose() {
    let mut noise = Stream::<Noise>::open(&mut Counting, &CONTEXT).unwrap();
    let words: Vec<u64> = (0..=512).map(|_| noise.next_u64()).collect();
    assert_eq!((words[0], words[512]), (0x1672_b0ba_3144_170e, 0x8966_62ee_d58b_f2fb));
    let mut sample = Stream::<Sample>::open(&mut Counting, &CONTEXT).unwrap();
    assert_eq!(sample.next_u64(), 0x2c3e_f932_0064_090a);
}

/// Words, half words and bytes, across the end of the buffer and not aligned to it, are the one sequence.
#[test]
fn however_bytes_are_taken_they_are_the_same_bytes() {
    let open = || Stream::<Noise>::open(&mut SeededEntropy::new(4), &CONTEXT).unwrap();
    let mut whole = vec![0u8; 3 * BUFFER];
    open().fill(&mut whole);
    for skipped in [0usize, 1, 4, 7] {
        let (mut stream, mut at) = (open(), skipped);
        stream.fill(&mut vec![0; skipped]);
        while at + 12 <= whole.len() {
            assert_eq!(stream.next_u64().to_le_bytes(), whole[at..at + 8], "byte {at}");
            at += 8;
            if at % 3 == 0 {
                assert_eq!(stream.next_u32().to_le_bytes(), whole[at..at + 4], "byte {at}");
                at += 4;
            }
        }
    }
}

/// What was handed out is not in memory any more.
#[test]
fn bytes_that_were_handed_out_are_wiped() {
    let mut stream = Stream::<Noise>::open(&mut SeededEntropy::new(4), &CONTEXT).unwrap();
    for _ in 0..100 {
        stream.next_u64();
    }
    stream.next_u32();
    assert!(stream.buffer[..804].iter().all(|b| *b == 0) && stream.buffer[804..].iter().any(|b| *b != 0));
}
