//! Files that come to an institution's own machine from its server or from others: snapshots, tokenizers, lines of a site log.

use corpus::tokenizer::{Published, Subword, TextTokenizer as _, WordRule};
use protocol::plan::{AdapterConfig, EncoderConfig};
use protocol::site::SiteEntry;
use train::snapshot;

/// The model that snapshots are of.
pub fn model() -> EncoderConfig {
    let (classes, adapter) = (vec!["no".to_owned(), "yes".to_owned()], Some(AdapterConfig { rank: 1, alpha: 2, targets: None }));
    EncoderConfig { vocab: 16, max_tokens: 3, width: 4, heads: 2, layers: 1, hidden: 4, classes, adapter, base: None }
}

/// Snapshots have one spelling, and no number that is none.
pub fn snapshots(bytes: &[u8]) {
    if let Ok(weights) = snapshot::from_bytes(&model(), bytes) {
        assert!(weights.flat().iter().all(|w| w.is_finite()));
        assert!(snapshot::to_bytes(&weights).is_ok_and(|again| again == bytes));
    }
}

/// Lines of a site log have one spelling.
pub fn sites(bytes: &[u8]) {
    if let Ok(entry) = SiteEntry::parse(bytes) {
        assert_eq!(entry.to_bytes(), bytes);
    }
}

/// A tokenizer gives ids of its own vocabulary for every text, and is read again as it is written; a published one is taken or refused.
pub fn tokenizers(bytes: &[u8]) {
    drop(Published::load(bytes, 16));
    let Ok(tokenizer) = Subword::load(bytes, WordRule::Pattern) else { return };
    for text in ["", "hello 你好 1", "\u{0}\u{10ffff} a\nb"] {
        assert!(tokenizer.encode(text).iter().all(|id| *id < tokenizer.vocab()));
    }
    assert!(Subword::load(tokenizer.to_json().as_bytes(), WordRule::Pattern).is_ok());
}
