//! Laws of all tokenizers, and what each learns.

use super::*;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use std::sync::OnceLock;

const TEXTS: &[&str] = &[
    "the cat sat on the mat, the cat ate the rat",
    "点击领取奖品，点击领取奖品，验证码8812请勿告诉他人",
    "win 1000 pounds now! win win win ## ▁ 🎁",
];

fn learnt(kind: SubwordKind, rule: WordRule) -> Subword {
    let counts = Words::new(rule).count(TEXTS.iter().copied());
    Subword::learn(kind, &counts, rule, 600).unwrap()
}

fn all() -> &'static [Subword] {
    static ALL: OnceLock<Vec<Subword>> = OnceLock::new();
    ALL.get_or_init(|| {
        let kinds = [SubwordKind::Bpe, SubwordKind::WordPiece, SubwordKind::Unigram];
        kinds.into_iter().flat_map(|k| [learnt(k, WordRule::Pattern), learnt(k, WordRule::Jieba)]).collect()
    })
}

/// One byte changed, or one key renamed: refused or read, never a panic. The library's own panics become refusals.
#[test]
fn a_damaged_file_is_refused_or_read_and_never_a_panic() {
    for t in all() {
        let whole = t.to_json().as_bytes();
        // The vocabulary is most of it; what stands around it is what a reader unwraps.
        let head = (0..whole.len()).filter(|at| at % 61 == 0 || *at < 900);
        for at in head {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0x15;
            let _ = Subword::load(&damaged, t.rule());
        }
        let keys: std::collections::BTreeSet<&str> = t.to_json().split('"').filter(|k| (3..20).contains(&k.len())).take(200).collect();
        for key in keys {
            let renamed = t.to_json().replacen(&format!("\"{key}\""), "\"else\"", 1);
            let _ = Subword::load(renamed.as_bytes(), t.rule());
        }
    }
}

#[test]
fn common_words_are_short_and_learning_twice_gives_the_same() {
    // Unigram keeps single bytes on so small a corpus; it is held to something below.
    for (i, t) in all().iter().enumerate().take(4) {
        assert!(t.encode(" the cat").len() <= 4, "{i}: {:?}", t.encode(" the cat"));
        assert!(t.encode("点击领取奖品").len() <= 6, "{i}: {:?}", t.encode("点击领取奖品"));
    }
    assert!(all().iter().all(|t| t.vocab() <= 600));
    // The trainer of Unigram goes by hash maps: two of its runs differ a little, and its documentation says so.
    for kind in [SubwordKind::Bpe, SubwordKind::WordPiece] {
        assert_eq!(learnt(kind, WordRule::Pattern).to_json(), learnt(kind, WordRule::Pattern).to_json(), "{kind:?}");
    }
}

#[test]
fn what_was_learnt_shortens_texts_that_were_not_seen() {
    let messages = |seed| crate::sms::generate(seed, 0, 4, 600).unwrap().into_iter().map(|r| r.text).collect::<Vec<_>>();
    let (seen, unseen) = (messages(1), messages(2));
    let counts = Words::new(WordRule::Jieba).count(seen.iter().map(String::as_str));
    let bytes: usize = unseen.iter().map(String::len).sum();
    for kind in [SubwordKind::Bpe, SubwordKind::WordPiece, SubwordKind::Unigram] {
        let t = Subword::learn(kind, &counts, WordRule::Jieba, 1200).unwrap();
        let tokens: usize = unseen.iter().map(|m| t.encode(m).len()).sum();
        assert!(tokens * 5 < bytes * 3, "{kind:?}: {tokens} tokens for {bytes} bytes");
    }
}

#[test]
fn a_tokenizer_comes_back_from_its_file_and_broken_files_are_errors() {
    for t in all() {
        let again = Subword::load(t.to_json().as_bytes(), t.rule()).unwrap();
        assert_eq!(again.to_json(), t.to_json());
        assert_eq!(again.digest(), t.digest());
        assert_eq!(again.encode(TEXTS[1]), t.encode(TEXTS[1]));
    }
    let json = all()[0].to_json();
    assert!(matches!(Subword::load(&json.as_bytes()[..json.len() / 2], WordRule::Pattern), Err(SubwordError::NotATokenizer)));
    assert!(matches!(Subword::load(b"{}", WordRule::Pattern), Err(SubwordError::NotATokenizer)));
    let moved = json.replace("<unk>", "<unq>");
    assert!(matches!(
        Subword::load(moved.as_bytes(), WordRule::Pattern),
        Err(SubwordError::Special { id: 2 } | SubwordError::NotATokenizer)
    ));
    assert!(matches!(Subword::learn(SubwordKind::Bpe, &WordCounts::new(), WordRule::Pattern, 600), Err(SubwordError::NoWords)));
    assert!(matches!(Subword::learn(SubwordKind::Bpe, &WordCounts::new(), WordRule::Pattern, 100), Err(SubwordError::Vocab { got: 100 })));
}

#[test]
fn names_of_special_tokens_in_a_text_are_text() {
    for t in all() {
        assert!(t.encode("<pad><s></s>").iter().all(|&id| id >= special::COUNT), "{t:?}");
    }
}

#[test]
fn counts_too_large_for_the_trainer_are_scaled_and_keep_their_order() {
    let counts = WordCounts::from([("aaaa".into(), u64::MAX / 2), ("bbbb".into(), u64::MAX / 4), ("cccc".into(), 5)]);
    let t = Subword::learn(SubwordKind::Bpe, &counts, WordRule::Pattern, 300).unwrap();
    assert_eq!((t.encode("aaaa").len(), t.encode("bbbb").len(), t.encode("cccc").len()), (1, 1, 4));
}

#[test]
fn characters_have_ids_in_the_order_given() {
    let t = CharacterTokenizer::new("abca验".chars());
    assert_eq!((t.encode("验ab?"), t.vocab()), (vec![7, 4, 5, special::UNKNOWN], 8));
    assert_eq!(t.decode(&[7, 4, 2, 0, 99]), "验a\u{fffd}");
    assert_ne!(t.digest(), CharacterTokenizer::new("acb验".chars()).digest());
    assert_eq!((ByteTokenizer.encode("é"), ByteTokenizer.vocab()), (vec![4 + 0xc3, 4 + 0xa9], 260));
}

#[test]
fn chinese_words_are_cut_by_the_dictionary() {
    let words = Words::new(WordRule::Jieba);
    assert_eq!(words.cut("我们中出了一个叛徒"), ["我们", "中", "出", "了", "一个", "叛徒"]);
    assert_eq!(Words::new(WordRule::Pattern).cut("you've won 10 £, 恭喜!"), ["you", "'", "ve", " won", " 10", " £,", " 恭喜", "!"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_text_comes_back_from_its_ids(text in any::<String>(), pick in 0usize..6) {
        let t = &all()[pick];
        let ids = t.encode(&text);
        prop_assert!(ids.iter().all(|&id| (special::COUNT..t.vocab()).contains(&id)), "{:?}", ids);
        prop_assert_eq!(t.decode(&ids), text.clone());
        prop_assert_eq!(ByteTokenizer.decode(&ByteTokenizer.encode(&text)), text);
    }

    #[test]
    fn mixed_text_comes_back_too(text in "([a-z]{1,9}|[ \n]|验证码|点击|[0-9]{1,4}|\u{1f600}|#|▁|é){0,40}", pick in 0usize..6) {
        let t = &all()[pick];
        prop_assert_eq!(t.decode(&t.encode(&text)), text);
    }

    #[test]
    fn words_joined_are_the_text(text in any::<String>(), jieba in any::<bool>()) {
        static BOTH: OnceLock<[Words; 2]> = OnceLock::new();
        let both = BOTH.get_or_init(|| [WordRule::Pattern, WordRule::Jieba].map(Words::new));
        let words = both[usize::from(jieba)].cut(&text);
        prop_assert!(words.iter().all(|w| !w.is_empty() && w.len() <= words::MAX_WORD_BYTES));
        prop_assert_eq!(words.concat(), text);
    }
}

fn settings() -> Settings {
    Settings { coordinates: 1 << 16 }
}

fn sum(d: &Discovery, units: &[Vec<&str>]) -> Vec<f64> {
    let mut out = vec![0.0; 1 << 16];
    units.iter().flat_map(|u| d.contribution(u.iter().copied())).for_each(|at| out[at as usize] += 1.0);
    out
}

#[test]
fn words_above_the_threshold_are_found_with_their_counts_and_no_others() {
    let units: Vec<Vec<&str>> = vec![
        vec!["hello", "hell", "hello", "x"],
        vec!["hello", "hell"],
        vec!["hello", "hell", "rare"],
        vec!["hell", "x"],
        vec!["x", "x", "rare"],
    ];
    let mut d = Discovery::begin(settings()).unwrap();
    let mut rounds = 0;
    while !d.is_over() {
        let s = sum(&d, &units);
        d.advance(&s, 2.5).unwrap();
        rounds += 1;
        assert!(rounds < 10);
    }
    let counts = d.counts();
    // In how many units: "x" is a word and a character of three.
    let longer: WordCounts = counts.into_iter().filter(|(w, _)| w.len() > 1).collect();
    assert_eq!(longer, WordCounts::from([("hell".into(), 4), ("hello".into(), 3)]));
    assert_eq!((d.counts()["x"], d.counts()["h"], d.counts().get("r")), (3 + 3, 4, None));
}

#[test]
fn noise_alone_finds_nothing_much_and_wrong_lengths_are_refused() {
    let mut d = Discovery::begin(settings()).unwrap();
    assert_eq!(d.advance(&[0.0; 7], 3.5), Err(DiscoveryError::Length { got: 7, expected: 1 << 16 }));
    d.advance(&vec![0.0; 1 << 16], 3.5).unwrap();
    assert!(d.contribution(["word"]).is_empty());
    d.advance(&vec![9.0; 1 << 16], 3.5).unwrap();
    assert!(d.counts().is_empty());
    assert_eq!(Discovery::begin(Settings { coordinates: 16 }), Err(DiscoveryError::Settings));
    for threshold in [0.0, -1.0, f64::NAN] {
        assert_eq!(d.advance(&vec![9.0; 1 << 16], threshold), Err(DiscoveryError::Threshold));
    }
}

#[test]
fn a_document_that_no_search_wrote_is_refused() {
    let mut d = Discovery::begin(settings()).unwrap();
    let mut first = vec![0.0; 1 << 16];
    "abc".chars().for_each(|c| first[c as usize] = 9.0);
    d.advance(&first, 3.5).unwrap();
    let good = serde_json::to_value(&d).unwrap();
    let read = |v: serde_json::Value| serde_json::from_value::<Discovery>(v).unwrap().checked();
    assert_eq!(read(good.clone()).as_ref(), Ok(&d));
    // One coordinate however long the extension is: only the missing alphabet tells.
    let endless = serde_json::json!({
        "narrow": { "alphabet": [], "open": ["a"], "extension": 4_000_000_000u32, "start": 0 },
        "wide": { "alphabet": [], "open": [], "extension": 0, "start": 1 },
    });
    for (path, value) in [
        ("/stage/words/narrow/alphabet", serde_json::json!(["b", "a", "c"])),
        ("/stage/words/narrow/open", serde_json::json!(["a", "bb"])),
        ("/stage/words/narrow/extension", serde_json::json!(60)),
        ("/stage/words/wide/start", serde_json::json!(7)),
        ("/stage/words", endless),
        ("/found", serde_json::json!({ "": 1 })),
        ("/rest", serde_json::json!({ "": 1 })),
        ("/characters", serde_json::json!({ "": 1 })),
        ("/settings/coordinates", serde_json::json!(4096)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        assert!(read(bad).is_err(), "{path}");
    }
}

#[test]
fn counts_of_a_document_never_wrap() {
    let mut d = Discovery::begin(settings()).unwrap();
    let mut first = vec![0.0; 1 << 16];
    first[usize::from(b'a')] = 9.0;
    d.advance(&first, 3.5).unwrap();
    let mut document = serde_json::to_value(&d).unwrap();
    *document.pointer_mut("/found").unwrap() = serde_json::json!({ "a": u64::MAX });
    let read = serde_json::from_value::<Discovery>(document).unwrap().checked().unwrap();
    assert_eq!(read.counts(), WordCounts::from([("a".into(), u64::MAX)]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn without_noise_every_common_word_comes_back_exactly(seed in any::<u64>()) {
        let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        // Narrow and wide characters have alphabets of their own; word rules cut between them.
        let letters = [['a', 'b', 'c'], ['验', '证', '码']];
        let mut word = |i: usize| (0..1 + i % 7).map(|_| letters[i % 2][dice.random_range(0..3)]).collect::<String>();
        let words: Vec<String> = (0..12).map(&mut word).collect();
        let units: Vec<Vec<&str>> = (0..40).map(|i| (0..5).map(|k| words[(i * 5 + k * k) % 12].as_str()).collect()).collect();
        let exact = Words::units_with(&units);
        let mut d = Discovery::begin(settings()).unwrap();
        for _ in 0..20 {
            let s = sum(&d, &units);
            d.advance(&s, 3.5).unwrap();
            let document = serde_json::to_string(&d).unwrap();
            let read: Discovery = serde_json::from_str(&document).unwrap();
            prop_assert_eq!(read.checked(), Ok(d.clone()));
        }
        for (w, n) in exact.iter().filter(|(w, _)| w.chars().count() > 1) {
            prop_assert_eq!(d.counts().get(w).copied(), (*n >= 4).then_some(*n), "{}", w);
        }
    }
}

impl Words {
    fn units_with(units: &[Vec<&str>]) -> WordCounts {
        let each = units.iter().flat_map(|unit| unit.iter().copied().collect::<std::collections::BTreeSet<_>>());
        each.fold(WordCounts::new(), |mut counts, w| {
            *counts.entry(w.to_owned()).or_default() += 1;
            counts
        })
    }
}
