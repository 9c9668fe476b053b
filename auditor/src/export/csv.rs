//! Rows for spreadsheets: fixed columns, and no cell that a spreadsheet would run (A41). Knows no file.

use super::Row;
use protocol::codec;
use protocol::entry::{Decision, Facts, LogEntry};
use protocol::manifest::{BudgetSpend, Header};
use protocol::statement::Payload as _;
use protocol::trust::RoundSpend;
use serde_json::Value;

/// The columns. More may be added at the end, none are renamed.
pub(super) const HEAD: &str = "index,ts,type,actor,institution,institution_name,task,round,group,outcome,code,facts,statement,signer,\
dataset,unit,epsilon_before,epsilon_after,epsilon_cap,delta,accountant,leaf_hash,verified,actor_uri,actor_spki,build,boot_ms,\
subject_kind,subject,ruling,right,rule,rights_policy,cause";

/// One row, without its line end.
pub(super) fn line(row: &Row<'_>) -> String {
    let entry = row.entry;
    let text = |pick: fn(&LogEntry) -> Option<String>| entry.and_then(pick).unwrap_or_default();
    let spend = entry.and_then(spend);
    let paid = |pick: fn(&BudgetSpend) -> String| spend.as_ref().map(pick).unwrap_or_default();
    let mut cells = vec![
        row.index.to_string(),
        text(|e| Some(e.stamp.ts.clone())),
        row.kind.to_owned(),
        text(|e| word(&e.actor)),
        text(|e| e.institution.map(|i| i.to_hex())),
        row.name().to_owned(),
        text(|e| e.task.map(|t| t.to_hex())),
        text(|e| e.round.map(|r| r.to_string())),
        text(|e| e.group.map(|g| g.to_string())),
        text(|e| word(&e.outcome)),
        text(|e| e.code.clone()),
        text(|e| facts(&e.facts)),
        text(|e| e.stmt.as_ref().map(|s| s.media_type.clone())),
        text(|e| e.stmt.as_ref().map(|s| s.keyid.to_hex())),
        paid(|s| s.dataset.to_hex()),
        paid(|s| word(&s.unit).unwrap_or_default()),
        paid(|s| s.epsilon_before.to_string()),
        paid(|s| s.epsilon_after.to_string()),
        paid(|s| s.epsilon_cap.to_string()),
        paid(|s| s.delta.to_string()),
        paid(|s| s.accountant.clone()),
        row.leaf(),
        row.verified.to_string(),
    ];
    cells.extend(common(entry));
    cells.iter().map(|c| cell(c)).collect::<Vec<_>>().join(",")
}

/// The common fields that later columns hold.
fn common(entry: Option<&LogEntry>) -> [String; 11] {
    let Some(e) = entry else { return Default::default() };
    let (who, origin, subject, decision) = (&e.stamp.who, &e.stamp.origin, e.subject(), e.decision);
    let decided = |pick: fn(Decision) -> String| decision.map(pick).unwrap_or_default();
    [
        who.uri.clone().unwrap_or_default(),
        who.spki.map(|h| h.to_hex()).unwrap_or_default(),
        origin.build.clone(),
        origin.boot_ms.to_string(),
        subject.and_then(|s| word(&s.kind)).unwrap_or_default(),
        subject.and_then(|s| s.hash.map(|h| h.to_hex()).or(s.id.map(|i| i.to_hex()))).unwrap_or_default(),
        decided(|d| word(&d.ruling).unwrap_or_default()),
        decided(|d| d.right.name().to_owned()),
        decided(|d| d.rule.name().to_owned()),
        decided(|d| d.policy.to_hex()),
        e.stamp.cause.map(|i| i.to_string()).unwrap_or_default(),
    ]
}

/// What an accepted update, or a round that took none, is stated to have spent.
pub(super) fn spend(entry: &LogEntry) -> Option<BudgetSpend> {
    let stmt = entry.stmt.as_ref()?;
    if matches!(entry.facts, Facts::BudgetSpent { .. }) {
        return codec::decode::<RoundSpend>(&stmt.payload_bytes().ok()?, RoundSpend::LIMIT).ok().map(|s| s.spend);
    }
    let stmt = Some(stmt).filter(|_| matches!(entry.facts, Facts::UpdateAccepted { .. }))?;
    codec::decode::<Header>(&stmt.payload_bytes().ok()?, Header::LIMIT).ok().map(|h| h.core.spend)
}

/// The one word that stands for a value of an enumeration.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// The fields that only this type has, as JSON; nothing where there are none.
fn facts(facts: &Facts) -> Option<String> {
    let mut value = serde_json::to_value(facts).ok()?;
    value.as_object_mut()?.remove("type");
    value.as_object().filter(|o| !o.is_empty()).map(|o| Value::Object(o.clone()).to_string())
}

/// One cell by RFC 4180. A spreadsheet takes a cell that begins with one of these characters for a formula, which could run commands or
/// send cells away; a leading apostrophe makes it text.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let safe = if formula { format!("'{text}") } else { text.to_owned() };
    if safe.contains([',', '"', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_becomes_text() {
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1"] {
            assert!(cell(bad).trim_start_matches('"').starts_with('\''), "{bad:?}");
        }
        assert_eq!(cell("clinic"), "clinic");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=a,b"), "\"'=a,b\"");
    }

    /// Reads one line of cells by RFC 4180.
    fn read(line: &str) -> Vec<String> {
        let (mut cells, mut quoted, mut chars) = (vec![String::new()], false, line.chars().peekable());
        while let Some(c) = chars.next() {
            let last = cells.last_mut().unwrap();
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => last.extend(chars.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                other => last.push(other),
            }
        }
        cells
    }

    proptest! {
        #[test]
        fn cells_come_back_and_none_begins_a_formula(texts in prop::collection::vec("[=+@a-c,\" \\-\r\n\t]{0,6}", 1..5)) {
            let line = texts.iter().map(|t| cell(t)).collect::<Vec<_>>().join(",");
            let back = read(&line);
            prop_assert_eq!(back.len(), texts.len());
            for (text, got) in texts.iter().zip(back) {
                prop_assert!(!got.starts_with(['=', '+', '-', '@', '\t', '\r']));
                prop_assert_eq!(got.strip_prefix('\'').unwrap_or(&got), text);
            }
        }
    }
}
