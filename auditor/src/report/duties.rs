//! Duties that regulators name, and what of this log speaks to each (audit.md A45). Claims no more than `docs/compliance.md`.

use super::Language;
use super::page::{Page, escape};

/// Source, duty, where its evidence is. English, then Chinese.
const DUTIES: [(&str, [&str; 2], [&str; 2]); 8] = [
    (
        "EU AI Act 12(1)-(2), 19, 26(6)",
        ["events are recorded automatically over the system's lifetime and kept", "系统生命周期内自动记录事件并保存"],
        ["every entry; growth of the log; kept for ever by every member", "全部条目；日志增长；由全体成员永久保存"],
    ),
    (
        "HIPAA 164.312(b), 164.316(b)(2)(i)",
        ["activity is recorded and examined; records kept six years", "记录并检查活动；记录保存六年"],
        [
            "every entry; this report is an examination, whose date and signer the reader adds",
            "全部条目；本报告即一次检查，日期与签署人由读者补充",
        ],
    ),
    (
        "21 CFR 11.10(e)",
        ["computer-generated, time-stamped trail that operators cannot alter", "计算机生成、带时间戳、操作者无法篡改的审计轨迹"],
        ["checks of notes, tiles and prefixes; cosignatures of witnesses", "检查点、瓦片与前缀检查；见证人联署"],
    ),
    (
        "GDPR 5(1)(c), 5(2), 30, 32",
        ["minimisation, accountability, records of processing, security", "数据最小化、问责、处理记录、安全"],
        [
            "entries hold no personal data by design (opaque ids, codes); plans and declarations in Tasks and Privacy",
            "条目设计上不含个人数据；任务与隐私部分的计划和声明",
        ],
    ),
    (
        "PIPL 51, 54, 55-56",
        ["technical measures, regular audits, impact assessment on record", "技术措施、定期合规审计、影响评估存档"],
        ["Privacy spent; this report as one part of an audit", "隐私消耗部分；本报告可作为审计材料之一"],
    ),
    (
        "ISO/IEC 42001 A.6.2.8, A.7",
        ["event logs of the AI system; provenance of data", "人工智能系统事件日志；数据来源"],
        ["every entry; Models: lineage; export --format prov-json", "全部条目；模型谱系；export --format prov-json"],
    ),
    (
        "NIST AI RMF (MEASURE 2.10), SP 800-226",
        ["privacy risk is measured and a claim of differential privacy says all it rests on", "度量隐私风险；差分隐私声明须完整说明依据"],
        ["deployment cards in Privacy spent", "隐私消耗部分的部署卡"],
    ),
    (
        "NIST SP 800-53 AU-3, AU-9, AU-10",
        [
            "what, when, where, who, outcome; protection of audit records; non-repudiation",
            "何事、何时、何处、何人、结果；审计记录保护；不可否认",
        ],
        [
            "fields of entries (actor, subject, decision, cause); witnesses; signed statements of institutions",
            "条目字段（行为者、对象、决定、起因）；见证人；机构签名声明",
        ],
    ),
];

pub(super) fn write(page: &mut Page<'_>) {
    let title = page.say("Duties and where to find their evidence", "合规义务与证据位置");
    page.section("duties", title);
    let text = page.say(
        "This table helps to find evidence. It is no legal advice, and no entry of it says that a duty is fulfilled: that depends on what the institutions do outside the log.",
        "本表仅用于查找证据，不构成法律意见；任何一行都不表示义务已经履行，这取决于各机构在日志之外的行为。",
    );
    page.note(text);
    let pick = |texts: &[&'static str; 2]| match page.story.language {
        Language::English => texts[0],
        Language::Chinese => texts[1],
    };
    let rows: Vec<Vec<String>> = DUTIES.iter().map(|(s, duty, at)| vec![escape(s), escape(pick(duty)), escape(pick(at))]).collect();
    let head = match page.story.language {
        Language::English => ["source", "duty, in short", "evidence in this log"],
        Language::Chinese => ["来源", "义务（概述）", "本日志中的证据"],
    };
    page.table(&head, &rows);
}
