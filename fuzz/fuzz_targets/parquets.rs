#![no_main]
// The foreign reader unwraps what a damaged page lacks, and `prepare` turns that into a refusal: a panic that was caught must not end the search.
// One that was not still does.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| bodies::records::parquets(bytes));
