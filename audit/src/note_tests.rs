//! Notes: the public examples, and the rules of rejection.

use proptest::prelude::*;

use super::*;

/// The worked example in the documentation of Go's sumdb/note.
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_SKEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

/// The example of C2SP signed-note, whose text holds an empty line.
const C2SP_NOTE: &str = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
    — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";

/// The example of C2SP tlog-cosignature: a log's signature and a witness's.
const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn key(name: &str) -> SignerKey {
    SignerKey::new(name, KeyType::Note, &[5; 32]).ok().unwrap()
}

#[test]
fn the_note_of_go_is_written_and_verified() {
    let signer = SignerKey::from_secret_text(GO_SKEY).ok().unwrap();
    let vkey: VerifierKey = GO_VKEY.parse().unwrap();
    let note = Note::parse(GO_NOTE.as_bytes()).unwrap();
    assert_eq!(note.verify([&vkey]).unwrap().len(), 1);
    assert_eq!(Note::sign(note.text(), &signer).unwrap().encode(), GO_NOTE.as_bytes());
}

#[test]
fn the_examples_of_the_specifications_parse_and_are_written_back() {
    for example in [C2SP_NOTE, COSIGNED] {
        assert_eq!(Note::parse(example.as_bytes()).unwrap().encode(), example.as_bytes());
    }
    assert!(Note::parse(C2SP_NOTE.as_bytes()).unwrap().text().ends_with("sole:\n\ned è subito sera.\n"));
    let witness = &Note::parse(COSIGNED.as_bytes()).unwrap().lines()[1].clone();
    assert_eq!(crate::cosign::split(witness.blob()).map(|(time, _)| time), Some(1_679_315_147));
}

#[test]
fn malformed_notes_are_refused() {
    let good = String::from_utf8(Note::sign("text\n", &key("l")).unwrap().encode()).unwrap();
    let line = good.split("\n\n").nth(1).unwrap();
    for bad in [
        String::new(),
        "\n".into(),
        "\n\n".into(),
        "text\n\n".into(),
        "text\n".into(),
        format!("text\n{line}"),
        format!("\n{line}"),
        good.trim_end().into(),
        format!("{good}\n"),
        format!("{good}x\n"),
        good.replace('—', "-"),
        good.replace("— l ", "— l  "),
        good.replace("— l ", "— l+ "),
        good.replace("— l ", "—  "),
        good.replace('=', ""),
        good.replace("text", "te\tt"),
        good.replace("text", "te\rt"),
        "text\n\n— l AAAAAA==\n".into(), // a key id without a signature
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::NotText));
}

#[test]
fn limits_hold_before_anything_is_kept() {
    let signed = Note::sign("text\n", &key("l")).unwrap();
    let lines = |n: usize| format!("text\n\n{}", write_lines(&signed.lines()[..1]).repeat(n));
    assert!(Note::parse(lines(MAX_SIGNATURES).as_bytes()).is_ok());
    assert_eq!(Note::parse(lines(MAX_SIGNATURES + 1).as_bytes()), Err(NoteError::SignatureCount { got: MAX_SIGNATURES + 1 }));
    assert_eq!(Note::parse(&vec![b'a'; MAX_NOTE_BYTES + 1]), Err(NoteError::TooLong));
}

#[test]
fn unknown_keys_are_ignored_and_known_ones_must_hold() {
    let (log, stranger) = (key("log"), SignerKey::new("stranger", KeyType::Note, &[6; 32]).ok().unwrap());
    let mut note = Note::sign("text\n", &log).unwrap();
    let foreign = Note::sign("another text\n", &stranger).unwrap();
    note.add(foreign.lines()).unwrap();
    assert_eq!(note.verify([log.verifier()]).unwrap().len(), 1);
    assert_eq!(note.verify([log.verifier(), stranger.verifier()]), Err(NoteError::BadSignature { name: "stranger".to_owned() }));
    assert_eq!(foreign.verify([log.verifier()]).unwrap(), []);
}

#[test]
fn adding_a_line_twice_changes_nothing() {
    let mut note = Note::sign("text\n", &key("l")).unwrap();
    let before = note.clone();
    note.add(before.lines()).unwrap();
    assert_eq!(note, before);
}

proptest! {
    #[test]
    fn parsing_a_note_is_canonical(note in "[ab\n]{0,6}\n\n(— [a-c]{0,2} (AAAAAAA=|AAAAAAAA|AAAAAAB=|AAA)\n?){0,3}") {
        if let Ok(parsed) = Note::parse(note.as_bytes()) { prop_assert_eq!(parsed.encode(), note.as_bytes()); }
    }

    #[test]
    fn parsing_nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(parsed) = Note::parse(&bytes) { prop_assert_eq!(parsed.encode(), bytes); }
    }
}
