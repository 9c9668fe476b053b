use super::*;
use crate::testing::{TOKENIZER, plan};
use corpus::BadLines;
use corpus::tokenizer::{ByteTokenizer, TextTokenizer as _};
use protocol::plan::BaseModel;
use protocol::plan::own::{MASK, OwnModel, START};

pub(super) fn config(dir: &std::path::Path, lines: &[&str]) -> DataConfig {
    let path = dir.join("records.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    DataConfig {
        path,
        name: "sms".into(),
        text_field: "text".into(),
        label_field: "label".into(),
        user_field: None,
        bad_lines: BadLines::Fatal,
    }
}

const LINES: [&str; 4] = [
    r#"{"text":"see you at eight","label":"ham"}"#,
    r#"{"text":"you have won","label":"spam"}"#,
    r#"{"text":"you have won","label":"spam"}"#,
    r#"{"text":"lunch?","label":"other"}"#,
];

#[test]
fn records_become_units_of_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let source = DataSource::load(&home, &config(dir.path(), &LINES)).ok().unwrap();
    assert_eq!((source.declared_units(), source.unit()), (4, Unit::Record));
    let data = source.for_plan(&plan(), None).ok().unwrap();
    // The label that the plan does not have is left out. A text that two units share stays with both: whether a unit counts must not
    // depend on another one.
    assert_eq!(data.units.len(), 3);
    data.check(&plan().model).unwrap();
}

#[test]
fn the_id_of_a_dataset_is_stable_here_and_says_nothing_elsewhere() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = |dir: &tempfile::TempDir| DataSource::load(&Home::new(dir.path()), &config(dir.path(), &LINES)).ok().unwrap().dataset();
    assert_eq!(id(&here), id(&here));
    assert_ne!(id(&here), id(&there));
}

/// A18: whoever is told the name finds it in the log, and is told nothing else that the dataset's nonce hides.
#[test]
fn what_is_told_of_a_dataset_is_its_name_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (home, config) = (Home::new(dir.path()), config(dir.path(), &LINES));
    let told = sidecar(&home, &config).ok().unwrap();
    assert_eq!(told.value(), config.name);
    assert_eq!(told.committed(), dataset_id(&home, &config).ok().unwrap());
    assert_eq!(told.committed(), DataSource::load(&home, &config).ok().unwrap().dataset());
    let secret: String = std::fs::read(home.dataset_nonce()).unwrap().iter().map(|b| format!("{b:02x}")).collect();
    assert!(!String::from_utf8(told.to_bytes()).unwrap().contains(&secret));
    let nameless = DataConfig { name: "two\nlines".into(), ..config };
    assert!(matches!(sidecar(&home, &nameless), Err(DataError::Name(_))));
}

#[test]
fn what_is_wrong_is_named_without_its_contents() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let mut missing = config(dir.path(), &LINES);
    missing.path = dir.path().join("none");
    let error = DataSource::load(&home, &missing).err().unwrap();
    assert!(matches!(error, DataError::Read(ReadError::Open { .. })));
    let (logged, place) = (error.for_log(), dir.path().to_str().unwrap());
    assert!(crate::agent::chain(&error).contains(place) && !logged.contains(place), "{logged}");
    let unit = DataError::from(train::batch::DataError::Token { unit: 4711, vocab: 64 });
    assert!(!unit.for_log().contains("4711"));
    let bad = config(dir.path(), &[LINES[0], r#"{"text":"CANARY","label":"#]);
    let error = DataSource::load(&home, &bad).err().unwrap();
    let text = format!("{} {error:?}", crate::agent::chain(&error));
    assert!(matches!(error, DataError::Read(ReadError::BadLine { line: 2, .. })), "{text}");
    assert!(!text.contains("CANARY"));
    let one_class = DataSource::load(&home, &config(dir.path(), &[LINES[0], LINES[3]])).ok().unwrap();
    assert!(matches!(one_class.for_plan(&plan(), None), Err(DataError::OtherClasses)));
    let mut by_user = plan();
    by_user.privacy.unit = Unit::User;
    assert!(matches!(one_class.for_plan(&by_user, None), Err(DataError::OtherUnit)));
}

/// B15: all records of a person are one unit, whatever their labels and wherever they stand, and no more of them train than the plan allows.
/// Records with a person are not taken for units of their own.
#[test]
fn records_of_one_person_are_one_unit_and_no_more_than_the_cap() {
    let dir = tempfile::tempdir().unwrap();
    let line = |n: usize, user: &str| format!(r#"{{"text":"message number {n}","label":"{}","user":"{user}"}}"#, ["ham", "spam"][n % 2]);
    let lines: Vec<String> = (0..7).map(|n| line(n, if n == 3 { "b" } else { "a" })).collect();
    let mut named = config(dir.path(), &lines.iter().map(String::as_str).collect::<Vec<_>>());
    named.user_field = Some("user".into());
    let source = DataSource::load(&Home::new(dir.path()), &named).ok().unwrap();
    assert_eq!((source.declared_units(), source.unit()), (2, Unit::User));
    let mut by_user = plan();
    (by_user.privacy.unit, by_user.privacy.max_records_per_unit) = (Unit::User, 4);
    let mut records: Vec<usize> = source.for_plan(&by_user, None).ok().unwrap().units.iter().map(|u| u.records.len()).collect();
    records.sort_unstable();
    assert_eq!(records, [1, 4]);
    assert!(matches!(source.for_plan(&plan(), None), Err(DataError::OtherUnit)));
}

/// Where nobody asks for labels, none decides whether a record counts, and no class is made of it.
#[test]
fn a_plan_that_asks_for_the_next_token_reads_no_label() {
    let dir = tempfile::tempdir().unwrap();
    let alike = LINES.map(|l| l.replace("spam", "ham").replace("other", "ham"));
    let mut texts = plan();
    let base = BaseModel {
        config: String::new(),
        weights: Sha256([0; 32]),
        tokenizer: Sha256([0; 32]),
        frozen: Vec::new(),
        asks: protocol::plan::Asks::NextToken,
    };
    (texts.model.base, texts.model.classes) = (Some(base), Vec::new());
    for lines in [LINES, [0, 1, 2, 3].map(|i| alike[i].as_str())] {
        let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &lines)).ok().unwrap();
        let data = source.for_plan(&texts, None).ok().unwrap();
        assert_eq!((source.declared_units(), data.units.len()), (4, 4));
        data.check(&texts.model).unwrap();
    }
    // Where the label is the answer, it is read token by token, whatever it says.
    for asks in [protocol::plan::Asks::Answer, protocol::plan::Asks::Translate] {
        texts.model.base.as_mut().unwrap().asks = asks;
        let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &LINES)).ok().unwrap();
        let data = source.for_plan(&texts, None).ok().unwrap();
        let mut lengths: Vec<usize> = data.records().map(|r| r.labels.len()).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [1, 1, 1, 1], "ham, spam, spam and other are a token each");
        assert!(data.records().all(|r| !r.labels.contains(&1)), "an answer has no mark");
    }
    texts.tokenizer = TokenizerKind::Checkpoint;
    let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &LINES)).ok().unwrap();
    assert!(matches!(source.for_plan(&texts, None), Err(DataError::NoBase)));
}

/// A plan of this kind on a checkpoint whose weights nobody reads here.
pub(super) fn on_checkpoint(dir: &std::path::Path, asks: Asks) -> (Plan, Base) {
    for (file, text) in [("config.json", "{}"), ("model.safetensors", "weights"), ("tokenizer.json", TOKENIZER)] {
        std::fs::write(dir.join(file), text).unwrap();
    }
    let base = Base::open(dir).unwrap();
    let named = BaseModel { config: "{}".into(), weights: Sha256([0; 32]), tokenizer: Sha256([0; 32]), frozen: Vec::new(), asks };
    let mut plan = plan();
    (plan.model.base, plan.model.classes, plan.tokenizer) = (Some(named), Vec::new(), TokenizerKind::Checkpoint);
    (plan, base)
}

/// A model from random weights has no publisher's mark: an answer ends with the mark that every text begins with.
#[test]
fn an_answer_of_a_model_from_random_weights_has_an_end_of_its_own() {
    assert_eq!((START, END), (corpus::Tokenizer::PADDING, corpus::Tokenizer::CLS));
    let dir = tempfile::tempdir().unwrap();
    let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &LINES)).ok().unwrap();
    let mut own = plan();
    own.model.classes = Vec::new();
    let labels = |own: &Plan| -> Vec<Vec<u32>> { source.for_plan(own, None).ok().unwrap().records().map(|r| r.labels.clone()).collect() };
    own.model.own = Some(OwnModel { asks: Asks::NextToken, ..OwnModel::default() });
    assert!(labels(&own).iter().all(Vec::is_empty));
    own.model.own = Some(OwnModel { asks: Asks::Answer, ..OwnModel::default() });
    assert!(labels(&own).iter().all(|l| l.len() == 2 && l[0] > END && l[1] == END));
    own.model.own = Some(OwnModel { asks: Asks::Translate, decoder_layers: Some(1), ..OwnModel::default() });
    assert!(labels(&own).iter().all(|l| l.len() == 1 && !l.contains(&END)), "the model adds the end itself");
}

/// What plans from random weights put in the place of hidden tokens is what the tokenizer keeps for it.
#[test]
fn the_mask_of_a_model_from_random_weights_is_the_tokenizers() {
    assert_eq!(MASK, corpus::Tokenizer::MASK);
}

/// Every byte has a token, so a model's tokens can be turned back into text.
#[test]
fn a_plan_may_cut_texts_into_bytes() {
    assert_eq!(TokenizerKind::BYTES, ByteTokenizer.vocab());
    let dir = tempfile::tempdir().unwrap();
    let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &LINES)).ok().unwrap();
    let mut own = plan();
    (own.tokenizer, own.model.classes, own.model.vocab, own.model.max_tokens) =
        (TokenizerKind::Bytes, Vec::new(), TokenizerKind::BYTES, 40);
    own.model.own = Some(OwnModel { asks: Asks::Answer, ..OwnModel::default() });
    let data = source.for_plan(&own, None).ok().unwrap();
    let texts =
        |tokens: fn(&TrainRecord) -> &[u32]| -> BTreeSet<String> { data.records().map(|r| ByteTokenizer.decode(tokens(r))).collect() };
    assert!(data.records().all(|r| r.tokens[0] == 1 && r.labels.last() == Some(&END)));
    assert!(texts(|r| &r.tokens).contains("see you at eight") && texts(|r| &r.labels).contains("spam"));
}

/// Whether a plan is declined must not tell which words occur.
#[test]
fn a_tokenizer_of_another_model_is_refused_whatever_the_records_say() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plan, base) = on_checkpoint(dir.path(), Asks::NextToken);
    let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &LINES)).ok().unwrap();
    plan.model.vocab = 5;
    let data = source.for_plan(&plan, Some(&base)).ok().unwrap();
    assert!(data.records().any(|r| r.tokens == [1, 2, 3]) && data.records().all(|r| !r.tokens.contains(&4)));
    plan.model.vocab = 4;
    assert!(matches!(source.for_plan(&plan, Some(&base)), Err(DataError::Vocabulary { got: 5, expected: 4 })));
}

/// Publishers of BART begin every answer with the same token, also where they teach what to write.
#[test]
fn an_answer_begins_as_the_checkpoints_publishers_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, plain) = on_checkpoint(dir.path(), Asks::Translate);
    std::fs::write(dir.path().join("config.json"), r#"{"model_type":"bart","bos_token_id":4}"#).unwrap();
    let opening = Base::open(dir.path()).unwrap();
    let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &[r#"{"text":"you have won","label":"won"}"#])).ok().unwrap();
    for (base, expected) in [(plain, vec![3]), (opening, vec![4, 3])] {
        let data = source.for_plan(&plan, Some(&base)).ok().unwrap();
        assert!(data.records().all(|r| r.tokens == [1, 2, 3] && r.labels == expected));
        assert_eq!(data.records().count(), 1);
    }
}

/// Of a record whose label has no token, a decoder is asked nothing, its text least of all.
#[test]
fn a_record_without_an_answer_asks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, base) = on_checkpoint(dir.path(), Asks::Answer);
    // Of an invisible character the tokenizer leaves nothing.
    let lines = [r#"{"text":"you have won","label":"won"}"#, r#"{"text":"you won","label":"\u200b"}"#];
    let source = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &lines)).ok().unwrap();
    let data = source.for_plan(&plan, Some(&base)).ok().unwrap();
    let mut said: Vec<_> = data.records().map(|r| (r.tokens.clone(), r.labels.clone())).collect();
    said.sort();
    assert_eq!(said, [(vec![], vec![]), (vec![1, 2, 3], vec![3])]);
}
