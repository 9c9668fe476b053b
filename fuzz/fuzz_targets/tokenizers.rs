#![no_main]
// The foreign library unwraps what a damaged file lacks, and `Subword::load` turns that into a refusal: a panic that was caught must not end the
// search. One that was not still does.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| bodies::homes::tokenizers(bytes));
