//! Documents of what a plan that counts knows, as an institution gets them from the server.

use train::count::Known;

/// What is read can be shown to people, names no empty word, and is read again as it is written.
pub fn counts(bytes: &[u8]) {
    let Ok(known) = Known::parse(bytes) else { return };
    assert!(known.rows().len() >= 3, "rounds, institutions and the deviation");
    if let Some((_, words)) = known.words() {
        assert!(words.keys().all(|word| !word.is_empty()));
    }
    assert!(known.to_bytes().is_ok_and(|written| Known::parse(&written).is_ok()));
}
