//! What did not go as it should: refusals, drops, failures, alarms. Counts first, then each.

use super::Language;
use super::federation::meaning;
use super::page::{Page, escape, time};
use std::collections::BTreeMap;

/// Rows listed; counts are complete as far as entries were kept.
const LISTED: usize = 300;

pub(super) fn write(page: &mut Page<'_>) {
    let title = page.say("What did not go as it should", "异常事件");
    page.section("events", title);
    let left_out = page.story.chronicle.left_out;
    if left_out > 0 {
        let text = page.say(
            "entries are counted under Entries by type and named nowhere on this page: of each type the first 1,000 are named, of authz.denied the first 20",
            "个条目仅计入“按类型统计”，本页未逐条列出：每种类型仅列前 1000 条，authz.denied 仅列前 20 条",
        );
        page.note(&format!("{left_out} {text}"));
    }
    let anomalies = page.story.chronicle.anomalies();
    if anomalies.is_empty() {
        let none = page.say("The log records nothing of this kind.", "日志中没有此类记录。");
        return page.paragraph(none);
    }
    let text = page.say(
        "Such entries are normal in moderation: clients are late, are refused and try again. What matters is that each has a reason and that none is missing. Alarms are different: each is evidence of something that must not happen.",
        "适度出现此类条目属正常情况：客户端可能迟到、被拒后重试。关键在于每一条都有原因且无一遗漏。警报则不同：每一条都是不应发生之事的证据。",
    );
    page.note(text);
    let mut counts: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for (index, k) in &anomalies {
        counts.entry((k.kind.clone(), k.code.clone().unwrap_or_default())).or_default().push(*index);
    }
    let rows: Vec<Vec<String>> = counts
        .iter()
        .map(|((kind, code), indices)| {
            vec![
                format!("<code>{}</code>", escape(kind)),
                format!("<code>{}</code>", escape(code)),
                indices.len().to_string(),
                escape(&meaning(page, kind)),
                page.entries(indices.iter().copied()),
            ]
        })
        .collect();
    let head = match page.story.language {
        Language::English => ["type", "reason", "how often", "what it means", "entries"],
        Language::Chinese => ["类型", "原因", "次数", "含义", "条目"],
    };
    page.table(&head, &rows);
    let rest = page.story.chronicle.counts.get("authz.denied").copied().unwrap_or(0);
    if rest > 20 {
        let text = page.say("entries authz.denied in all; the first 20 are listed", "条 authz.denied，此处仅列前 20 条");
        page.note(&format!("{rest} {text}"));
    }
    let alarms: Vec<Vec<String>> = anomalies
        .iter()
        .filter(|(_, k)| k.kind != "authz.denied")
        .take(LISTED)
        .map(|(i, k)| {
            let who = k.institution.map(|w| escape(&page.story.facts.name(w))).unwrap_or_default();
            let round = k.round.map(|r| r.to_string()).unwrap_or_default();
            vec![
                time(&k.ts),
                page.entry(*i),
                format!("<code>{}</code>", escape(&k.kind)),
                who,
                round,
                escape(k.code.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    let head = match page.story.language {
        Language::English => ["time (UTC)", "entry", "type", "institution", "round", "reason"],
        Language::Chinese => ["时间 (UTC)", "条目", "类型", "机构", "轮次", "原因"],
    };
    if !alarms.is_empty() {
        page.table(&head, &alarms);
    }
}
