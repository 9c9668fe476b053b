//! Exports as the tools write them, whole and damaged.

use super::*;
use crate::read::BadLines;
use proptest::prelude::*;

fn read(text: &str, format: Format) -> Imported {
    import(text.as_bytes(), format, BadLines::Skip).unwrap()
}

fn words(a: &Annotation) -> Vec<(&str, &str)> {
    a.spans.iter().map(|s| (&a.text[s.start..s.end], s.label.as_str())).collect()
}

const LABEL_STUDIO: &str = r#"[
 {"id": 1, "data": {"text": "张伟 🎁 住在北京"}, "annotations": [
   {"id": 9, "completed_by": 3, "was_cancelled": false, "result": [
     {"id": "a", "from_name": "ner", "to_name": "text", "type": "labels", "origin": "manual", "value": {"start": 0, "end": 2, "text": "张伟", "labels": ["PER"]}},
     {"id": "b", "from_name": "ner", "to_name": "text", "type": "labels", "value": {"start": 8, "end": 10, "text": "北京", "labels": ["LOC"]}},
     {"id": "c", "from_name": "kind", "to_name": "text", "type": "choices", "value": {"choices": ["ham"]}}]},
   {"id": 10, "completed_by": {"id": 4, "email": "x@example.org"}, "result": [
     {"id": "d", "type": "choices", "origin": "prediction-changed", "value": {"choices": ["spam"]}}]}],
  "predictions": []},
 {"id": 2, "data": {"text": "call now"}, "annotations": [], "predictions": [{"model_version": "m", "score": 0.9, "result": [
     {"type": "choices", "value": {"choices": ["spam"]}}]}]},
 {"id": 3, "data": {"text": "skipped"}, "annotations": [{"was_cancelled": true, "result": []}]},
 {"id": 4, "data": {"text": "nobody was here"}, "annotations": []}
]"#;

#[test]
fn label_studio_tasks_keep_their_spans_choices_people_and_sources() {
    let got = read(LABEL_STUDIO, Format::LabelStudio);
    assert_eq!((got.items, got.annotations.len()), (4, 3));
    let [a, b, c] = got.annotations.as_slice() else { panic!("three") };
    // 8..10 counts UTF-16 units: the gift takes two of them.
    assert_eq!(words(a), [("张伟", "PER"), ("北京", "LOC")]);
    assert_eq!((a.labels.as_slice(), a.annotator.as_deref(), a.source), (["ham".to_owned()].as_slice(), Some("3"), Source::Manual));
    assert_eq!((b.annotator.as_deref(), b.source), (Some("4"), Source::SemiAutomatic));
    assert_eq!((c.item, c.source), (2, Source::Automatic));
    assert_eq!((got.count(SkipReason::Rejected), got.count(SkipReason::Unlabelled), got.count(SkipReason::Bad)), (1, 1, 0));
}

#[test]
fn doccano_lines_count_code_points() {
    let text = concat!(
        r#"{"id": 1, "text": "🎁张伟 in London", "label": [[1, 3, "PER"], [7, 13, "LOC"]]}"#,
        "\r\n\n",
        r#"{"id": 2, "text": "win", "label": ["spam", "fraud"], "username": "anna"}"#,
        "\n",
        r#"{"id": 3, "text": "张伟", "entities": [{"id": 5, "label": "PER", "start_offset": 0, "end_offset": 2}], "relations": []}"#,
        "\n",
        r#"{"id": 4, "text": "ab", "label": [[1, 3, "X"]]}"#,
        "\n",
        r#"{"id": 5, "text": "ab", "label": []}"#,
        "\nnot json\n",
    );
    let got = read(text, Format::Doccano(Counting::CodePoints));
    assert_eq!(words(&got.annotations[0]), [("张伟", "PER"), ("London", "LOC")]);
    assert_eq!((got.annotations[1].labels.len(), got.annotations[1].annotator.as_deref()), (2, Some("anna")));
    assert_eq!(words(&got.annotations[2]), [("张伟", "PER")]);
    let skipped: Vec<_> = got.skipped.iter().map(|s| (s.item, s.reason)).collect();
    assert_eq!(skipped, [(4, SkipReason::Bad), (5, SkipReason::Unlabelled), (6, SkipReason::Bad)]);
    assert_eq!(got.skipped[0].error, Some(ItemError::Offsets(OffsetError::OutOfRange { start: 1, end: 3, length: 2 })));
    assert_eq!(got.items, 6);
}

#[test]
fn doccano_offsets_of_the_browser_are_read_as_such() {
    let text = r#"{"text": "🎁张伟", "label": [[2, 4, "PER"]]}"#;
    assert_eq!(words(&read(text, Format::Doccano(Counting::Utf16)).annotations[0]), [("张伟", "PER")]);
    let inside = r#"{"text": "🎁张伟", "label": [[1, 4, "PER"]]}"#;
    assert_eq!(read(inside, Format::Doccano(Counting::Utf16)).count(SkipReason::Bad), 1, "half a character is no border");
}

#[test]
fn prodigy_lines_hold_their_tokens_to_their_characters() {
    let tokens = r#""tokens": [{"text": "🎁", "start": 0, "end": 1, "id": 0}, {"text": "New", "start": 2, "end": 5, "id": 1}, {"text": "York", "start": 6, "end": 10, "id": 2}]"#;
    let line = |span: &str, rest: &str| format!("{{\"text\": \"🎁 New York\", {tokens}, \"spans\": [{span}], {rest}}}\n");
    let text = [
        line(r#"{"start": 2, "end": 10, "token_start": 1, "token_end": 2, "label": "LOC"}"#, r#""answer": "accept", "_annotator_id": "b""#),
        line(r#"{"token_start": 1, "token_end": 1, "label": "X", "source": "model"}"#, r#""answer": "accept""#),
        line(r#"{"start": 2, "end": 9, "token_start": 1, "token_end": 2, "label": "LOC"}"#, r#""answer": "accept""#),
        line(r#"{"token_start": 1, "token_end": 3, "label": "LOC"}"#, r#""answer": "accept""#),
        line("", r#""label": "SPAM", "answer": "reject""#),
        line("", r#""label": "SPAM", "answer": "accept""#),
        line("", r#""options": [{"id": "a"}, {"id": "b"}], "accept": ["b"], "answer": "accept", "label": "ignored""#),
    ]
    .concat();
    let got = read(&text, Format::Prodigy);
    assert_eq!(got.annotations.len(), 4);
    assert_eq!(words(&got.annotations[0]), [("New York", "LOC")]);
    assert_eq!(words(&got.annotations[1]), [("New", "X")]);
    assert_eq!([0, 1].map(|i| got.annotations[i].source), [Source::Manual, Source::SemiAutomatic]);
    assert_eq!(got.annotations[2].labels, ["SPAM"]);
    assert_eq!(got.annotations[3].labels, ["b"]);
    assert_eq!(
        got.skipped.iter().map(|s| (s.item, s.error)).collect::<Vec<_>>(),
        [(3, Some(ItemError::Tokens)), (4, Some(ItemError::Tokens)), (5, None)]
    );
}

#[test]
fn bad_items_end_the_import_where_they_are_fatal_and_say_no_word_of_the_text() {
    let text = r#"{"text": "CANARY", "label": [[0, 99, "CANARY-LABEL"]]}"#;
    let error = import(text.as_bytes(), Format::Doccano(Counting::CodePoints), BadLines::Fatal).unwrap_err();
    let ImportError::Item { item: 1, source } = &error else { panic!("{error:?}") };
    let shown = format!("{error} {source} {error:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
    let error =
        import(&b"[{\"data\": {\"text\": \"CANARY\"}, \"annotations\": []}, {CANARY"[..], Format::LabelStudio, BadLines::Skip).unwrap_err();
    assert!(matches!(error, ImportError::NotAnArray { item: 1, line: 1 }), "{error:?}");
    let whole = read(LABEL_STUDIO, Format::LabelStudio);
    assert!(!format!("{whole:?}").contains("北京"));
}

#[test]
fn an_item_over_the_limit_is_passed_over_and_the_next_one_read() {
    let long = format!("{{\"text\": \"{}\"}}\n{{\"text\": \"a\", \"label\": \"x\"}}\n", "a".repeat(MAX_ITEM_BYTES));
    let got = read(&long, Format::Doccano(Counting::CodePoints));
    assert_eq!((got.items, got.annotations.len(), got.skipped[0].error), (2, 1, Some(ItemError::TooLong)));
}

#[test]
fn the_label_of_most_annotators_is_the_records_and_level_votes_are_left_out() {
    let said = |item, label: &str, source| Annotation {
        item,
        text: format!("text {item}"),
        labels: vec![label.to_owned()],
        spans: Vec::new(),
        annotator: None,
        source,
    };
    let all = [
        said(1, "a", Source::Manual),
        said(1, "b", Source::Automatic),
        said(1, "a", Source::SemiAutomatic),
        said(2, "a", Source::Manual),
        said(2, "b", Source::Manual),
        Annotation { labels: vec!["a".into(), "b".into()], ..said(3, "", Source::Manual) },
    ];
    let (settled, report) = settle(&all);
    assert_eq!(report, SettleReport { items: 3, settled: 1, disputed: 1, not_one_label: 1 });
    assert_eq!((settled[0].record.label.as_str(), settled[0].source), ("a", Source::SemiAutomatic));
}

/// Who labelled the whole text only says nothing about parts; whose parts overlap has no vote.
#[test]
fn the_parts_of_most_annotators_are_the_records_and_come_back_from_its_label() {
    let span = |start, end, label: &str| Span { start, end, label: label.to_owned() };
    let said = |item, labels: &[&str], spans: Vec<Span>, source| Annotation {
        item,
        text: "took Aspirin today".into(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        spans,
        annotator: None,
        source,
    };
    let drug = || span(5, 12, "drug");
    let all = [
        said(1, &[], vec![drug()], Source::Manual),
        said(1, &["ham"], vec![drug()], Source::SemiAutomatic),
        said(1, &[], vec![span(0, 4, "drug")], Source::Manual),
        said(2, &[], vec![drug()], Source::Manual),
        said(2, &[], Vec::new(), Source::Manual),
        said(3, &["ham"], Vec::new(), Source::Manual),
        said(4, &[], vec![drug(), span(8, 18, "dose")], Source::Manual),
        said(5, &[], Vec::new(), Source::Automatic),
    ];
    let (settled, report) = settle_parts(&all);
    assert_eq!(report, SettleReport { items: 5, settled: 2, disputed: 1, not_one_label: 2 });
    assert_eq!((settled[0].record.label.as_str(), settled[0].source), (r#"[{"end":12,"label":"drug","start":5}]"#, Source::SemiAutomatic));
    assert_eq!(settled[1].record.label, "[]");
    let back = crate::spans::Spans::of_label(&settled[0].record.label, &settled[0].record.text).unwrap();
    assert_eq!(back, crate::spans::Spans::of_spans(vec![drug()]).unwrap());
}

#[test]
fn rules_vote_abstain_and_refuse_what_they_cannot_run() {
    let rule =
        |name: &str, pattern: &str, label: &str| RawRule { name: name.into(), pattern: pattern.into(), label: label.into(), unless: None };
    let labels = vec!["ham".to_owned(), "spam".to_owned()];
    let mut rules = vec![rule("prize", r"(?i)\bprize\b", "spam"), rule("code", "验证码[:：]?\\d+", "ham")];
    rules[0].unless = Some("no prize".into());
    let set = RuleSet::try_from(RawRules { labels: labels.clone(), rules: rules.clone() }).unwrap();
    assert_eq!(set.votes("a PRIZE and 验证码：1234"), [Some(1), Some(0)]);
    assert_eq!(set.votes("there is no prize"), [None, None]);
    let with = |change: &dyn Fn(&mut Vec<RawRule>)| {
        let mut rules = rules.clone();
        change(&mut rules);
        RuleSet::try_from(RawRules { labels: labels.clone(), rules }).err()
    };
    assert_eq!(with(&|r| r[1].label = "eggs".into()), Some(RuleError::UnknownLabel(1)));
    assert_eq!(with(&|r| r[1].name = "prize".into()), Some(RuleError::Name(1)));
    assert_eq!(with(&|r| r[0].pattern = "(".into()), Some(RuleError::Pattern(0)));
    assert_eq!(with(&|r| r[0].pattern = "(a{1000}){1000}".into()), Some(RuleError::Pattern(0)));
    assert_eq!(with(&Vec::clear), Some(RuleError::Count(0)));
    let file =
        "labels = [\"ham\", \"spam\"]\n[[rule]]\nname = \"prize\"\npattern = '(?i)\\bprize\\b'\nlabel = \"spam\"\nunless = \"no prize\"\n";
    assert_eq!(RuleSet::parse(file).unwrap().votes("a PRIZE"), [Some(1)]);
    assert!(matches!(RuleSet::parse(&file.replace("unless", "until")), Err(RuleError::Parse(_))));
    assert!(matches!(RuleSet::parse(&"#".repeat(MAX_RULE_FILE + 1)), Err(RuleError::TooLong(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_every_item_is_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::LabelStudio, Format::Doccano(Counting::CodePoints), Format::Prodigy] {
            if let Ok(got) = import(bytes.as_slice(), format, BadLines::Skip) {
                let items: std::collections::BTreeSet<u64> = got.annotations.iter().map(|a| a.item).collect();
                prop_assert_eq!(items.len() + got.skipped.len(), usize::try_from(got.items).unwrap());
            }
        }
    }

    #[test]
    fn damaged_exports_are_errors_and_never_spans_off_a_border(at in 0usize..LABEL_STUDIO.len(), with in any::<u8>()) {
        let mut bytes = LABEL_STUDIO.as_bytes().to_vec();
        bytes[at] = with;
        if let Ok(got) = import(bytes.as_slice(), Format::LabelStudio, BadLines::Skip) {
            for a in &got.annotations {
                prop_assert!(a.spans.iter().all(|s| a.text.get(s.start..s.end).is_some()));
            }
        }
    }

    #[test]
    fn a_doccano_span_comes_back_as_its_words(text in "\\PC{1,30}", a in 0usize..30, n in 0usize..30) {
        let chars: Vec<char> = text.chars().collect();
        let a = a % chars.len();
        let n = 1 + n % (chars.len() - a);
        let line = serde_json::json!({ "text": text, "label": [[a, a + n, "X"]] }).to_string();
        let got = read(&line, Format::Doccano(Counting::CodePoints));
        let wanted: String = chars[a..a + n].iter().collect();
        prop_assert_eq!(words(&got.annotations[0]), [(wanted.as_str(), "X")]);
    }
}
