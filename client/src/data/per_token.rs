//! Records that a model is asked about token by token: parts that somebody labelled become tags of tokens, and of other texts every token may
//! be hidden. No text and no label of a record stands in any error here, as in the room above.

use super::DataError;
use corpus::Record;
use corpus::clean::CleanLimits;
use corpus::spans::{Spans, Tag};
use corpus::tokenize::ToSequence;
use protocol::plan::EncoderConfig;
use train::batch::{Dataset, UNASKED};
use train::{mask, tags};

/// The records whose labelled parts are all of the plan's kinds, text and parts in normal form. What is wrong with one of the others decides
/// about that one only.
///
/// # Errors
/// [`DataError::NoSpans`] if no record has a list of parts at all.
pub(super) fn tagged(records: &[Record], kinds: &[String]) -> Result<Vec<Record>, DataError> {
    let mut lists = 0u64;
    let one = |record: &Record| {
        let spans = Spans::of_label(&record.label, &record.text).ok()?;
        lists += 1;
        let (text, spans) = spans.settled(&record.text, &CleanLimits::default()).ok()?;
        let known = spans.labels().all(|label| kinds.iter().any(|kind| kind == label));
        known.then(|| Record { label: spans.to_label(&text), text, ..record.clone() })
    };
    let found = records.iter().filter_map(one).collect();
    if lists == 0 { Err(DataError::NoSpans) } else { Ok(found) }
}

/// The tags of a record's tokens; marks have none. A record that `tagged` did not make has no parts.
pub(super) fn tags_of(record: &Record, model: &EncoderConfig, tokenizer: &dyn ToSequence) -> Vec<u32> {
    let pieces = tokenizer.pieces(&record.text);
    let Ok(spans) = Spans::of_label(&record.label, &record.text) else { return vec![UNASKED; pieces.len()] };
    let kind = |label: &str| model.classes.iter().position(|kind| kind == label).and_then(|at| u32::try_from(at).ok());
    let number = |tag: &Tag<'_>| match tag {
        Tag::Mark => UNASKED,
        Tag::Outside => tags::OUTSIDE,
        Tag::Begins(label) => kind(label).map_or(tags::OUTSIDE, tags::begins),
        Tag::GoesOn(label) => kind(label).map_or(tags::OUTSIDE, tags::goes_on),
    };
    spans.tags(&pieces).iter().map(number).collect()
}

/// The tokens of a record's text themselves: what a step may hide. Marks are never hidden.
pub(super) fn hidden_of(record: &Record, tokenizer: &dyn ToSequence) -> Vec<u32> {
    let pieces = tokenizer.pieces(&record.text);
    let tokens: Vec<u32> = pieces.iter().map(|piece| piece.token).collect();
    mask::askable(&tokens, |at| pieces[at].bytes.is_some())
}

/// Asks nothing of a record whose tokens and labels are not of one number: a tokenizer that fails on a text only now and then ends no task.
pub(super) fn matched(data: &mut Dataset) {
    let records = data.units.iter_mut().flat_map(|unit| &mut unit.records);
    records.filter(|r| r.labels.len() != r.tokens.len()).for_each(|r| r.labels = vec![UNASKED; r.tokens.len()]);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, on_checkpoint};
    use super::super::{DataError, DataSource};
    use crate::home::Home;
    use crate::testing::plan;
    use protocol::plan::own::OwnModel;
    use protocol::plan::{Asks, Masking, Plan};
    use train::batch::UNASKED;

    const LINES: [&str; 6] = [
        r#"{"text":"took Aspirin  today","label":[{"start":5,"end":12,"label":"drug"}]}"#,
        r#"{"text":"nothing at all","label":[]}"#,
        r#"{"text":"took 5 mg of Aspirin","label":[{"start":13,"end":20,"label":"drug"},{"start":5,"end":9,"label":"dose"}]}"#,
        r#"{"text":"CANARY took Aspirin","label":[{"start":0,"end":6,"label":"patient"}]}"#,
        r#"{"text":"no list of parts","label":"drug"}"#,
        r#"{"text":"x\u200b y","label":[{"start":1,"end":3,"label":"drug"}]}"#,
    ];

    fn asking(asks: Asks, classes: &[&str]) -> Plan {
        let mut plan = plan();
        plan.model.own = Some(OwnModel { asks, ..OwnModel::default() });
        plan.model.masking = (asks == Asks::MaskedTokens).then(|| Masking::usual(0));
        plan.model.classes = classes.iter().map(|&kind| kind.to_owned()).collect();
        plan
    }

    fn source(dir: &std::path::Path, lines: &[&str]) -> DataSource {
        DataSource::load(&Home::new(dir), &config(dir, lines)).ok().unwrap()
    }

    /// Kinds that the plan does not have, parts of nothing and words in the place of parts leave their own record out and no other.
    #[test]
    fn parts_of_texts_become_tags_of_their_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let data = source(dir.path(), &LINES).for_plan(&asking(Asks::Tags, &["drug", "dose"]), None).ok().unwrap();
        let mut tags: Vec<Vec<u32>> = data.records().map(|r| r.labels.clone()).collect();
        tags.sort();
        // A mark; nothing, at, all; took, aspirin, today; took, <num:1>, mg, of, aspirin.
        assert_eq!(tags, [vec![UNASKED, 0, 0, 0], vec![UNASKED, 0, 1, 0], vec![UNASKED, 0, 3, 4, 0, 1]]);
        assert!(data.records().all(|r| r.labels.len() == r.tokens.len()));
    }

    #[test]
    fn records_without_parts_are_no_tagging_task() {
        let dir = tempfile::tempdir().unwrap();
        let words = [r#"{"text":"CANARY","label":"drug"}"#, r#"{"text":"another","label":"dose"}"#];
        let error = source(dir.path(), &words).for_plan(&asking(Asks::Tags, &["drug"]), None).err().unwrap();
        assert!(matches!(error, DataError::NoSpans) && !error.for_log().contains("CANARY"));
        let others = source(dir.path(), &[LINES[3]]).for_plan(&asking(Asks::Tags, &["drug"]), None);
        assert!(matches!(others, Err(DataError::Nothing)), "a kind that the plan does not have");
        // What lies outside its text is no record at all, and is told by its line.
        let outside = [r#"{"text":"CANARY","label":[{"start":0,"end":7,"label":"drug"}]}"#];
        let error = DataSource::load(&Home::new(dir.path()), &config(dir.path(), &outside)).err().unwrap();
        let said = crate::agent::chain(&error);
        assert!(said.contains("span 1 does not lie in its text") && !said.contains("CANARY"), "{said}");
        assert!(!error.for_log().contains("span"), "the log names no line and no part: {}", error.for_log());
    }

    /// Where nobody asks for labels, none decides whether a record counts.
    #[test]
    fn every_token_of_a_text_may_be_hidden_and_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        let data = source(dir.path(), &LINES).for_plan(&asking(Asks::MaskedTokens, &[]), None).ok().unwrap();
        assert_eq!(data.records().count(), LINES.len());
        for record in data.records() {
            assert_eq!((record.labels[0], &record.labels[1..]), (UNASKED, &record.tokens[1..]));
        }
        let (mut plan, base) = on_checkpoint(dir.path(), Asks::MaskedTokens);
        plan.model.masking = Some(Masking::usual(0));
        let data = source(dir.path(), &LINES).for_plan(&plan, Some(&base)).ok().unwrap();
        assert!(data.records().all(|r| r.labels == r.tokens), "this tokenizer has no marks");
    }
}
