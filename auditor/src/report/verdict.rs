//! The first page: what was verified, what was found, what was not looked at.

use super::page::{Page, escape};
use crate::finding::{Check, Finding, Severity};

/// Findings listed; the JSON form of `verify` has all.
const LISTED: usize = 200;

/// The verdict in one box, and how to read the rest.
pub(super) fn summary(page: &mut Page<'_>) {
    let v = page.story.verdict;
    let class = match v.exit_code {
        0 => "",
        4 => " open",
        _ => " bad",
    };
    let sentence = match v.exit_code {
        0 => page.say("Everything that was checked holds.", "所有检查项均成立。"),
        1 => page.say(
            "INTEGRITY FAILURE: the copy of the log contradicts what was signed. Do not believe it.",
            "完整性失败：日志副本与已签名的内容矛盾。请勿采信。",
        ),
        3 => page.say(
            "INVARIANT FAILURE: the log is intact, and it records something that the rules forbid.",
            "不变量失败：日志完好，但其中记录了规则所禁止的事项。",
        ),
        _ => page.say(
            "INCOMPLETE: nothing contradicts anything, but something is missing or below its quorum.",
            "不完整：没有发现矛盾，但有内容缺失或未达到法定见证数。",
        ),
    };
    page.raw(&format!("<div class=\"verdict{class}\"><strong>{}</strong></div>\n", escape(sentence)));
    lead(page);
    pinned(page);
}

/// Seconds are enough for people.
fn day(ts: &str) -> String {
    ts.get(..19).unwrap_or(ts).replace('T', " ")
}

fn lead(page: &mut Page<'_>) {
    let (v, c) = (page.story.verdict, page.story.chronicle);
    let rounds: usize = v.tasks.iter().map(|t| t.rounds.len()).sum();
    let closed: usize = v.tasks.iter().flat_map(|t| &t.rounds).filter(|r| r.state == "closed").count();
    let span = match (&c.first, &c.last) {
        (Some(first), Some(last)) => format!("{} – {}", day(first), day(last)),
        _ => "-".to_owned(),
    };
    let text = match page.story.language {
        super::Language::English => format!(
            "This report was made by concordat-audit {} from a copy of the federation's log, without any network and without any help of the \
             server. The log has {} entries ({span}, UTC). It tells of {} institutions, {} task(s) and {rounds} round(s), of which {closed} \
             closed with a new model.",
            env!("CARGO_PKG_VERSION"),
            v.entries,
            v.members.len(),
            v.tasks.len()
        ),
        super::Language::Chinese => format!(
            "本报告由 concordat-audit {} 根据联盟日志的副本生成，全程离线，且不依赖服务器。日志共有 {} 个条目（{span}，UTC），\
             涉及 {} 家机构、{} 个任务、{rounds} 个轮次，其中 {closed} 个轮次产生了新模型。",
            env!("CARGO_PKG_VERSION"),
            v.entries,
            v.members.len(),
            v.tasks.len()
        ),
    };
    page.raw(&format!("<p class=\"lead\">{}</p>\n", escape(&text)));
    let how = page.say(
        "How to read it: the log is a list of numbered entries that can only grow. A checkpoint is a signature over all of it; witnesses (the \
         institutions themselves) cosign checkpoints, so that no entry can be altered, dropped or shown differently to different people without \
         its being found. Numbers in blue lead to the entries behind a statement, at the end of the report.",
        "阅读方法：日志是一串只能追加的编号条目。检查点是对全部条目的签名；见证人（即各机构自身）对检查点联署，因此任何条目都无法被悄悄篡改、删除，\
         也无法对不同的人展示不同版本。蓝色编号指向报告末尾支撑该结论的日志条目。",
    );
    page.note(how);
}

/// Whether the reader has to compare something himself.
fn pinned(page: &mut Page<'_>) {
    let v = page.story.verdict;
    let words = v.trust_fingerprint.clone().unwrap_or_else(|| "-".to_owned());
    let text = if v.trust_pinned {
        page.say("The trust document was compared with the hash that the auditor brought.", "信任文件已与审计员自带的哈希进行比对。")
            .to_owned()
    } else {
        let ask = page.say(
            "TO DO FOR THE READER: compare this fingerprint of the trust document with the one that you know from elsewhere (an enrolment letter, a call). Without that, this report speaks about whichever federation made this log:",
            "需要读者完成：请将下列信任文件指纹与您从其他渠道（入盟信函、电话）得知的指纹比对。否则本报告仅对制作该日志的联盟（无论其为谁）成立：",
        );
        let now =
            v.trust_changes.last().map(|t| format!(" {} {}", page.say("or, of the document in force,", "或现行文件："), t.fingerprint));
        format!("{ask} {words}{}", now.unwrap_or_default())
    };
    let class = if v.trust_pinned { "note" } else { "warn" };
    page.raw(&format!("<p class=\"{class}\">{}</p>\n", escape(&text)));
}

fn check_name(page: &Page<'_>, name: &str) -> String {
    let zh = |c: Check| match c {
        Check::Trust => "信任文件与见证策略",
        Check::Notes => "检查点、签名与法定见证数",
        Check::Tiles => "条目、哈希瓦片与树根",
        Check::Prefixes => "每个旧检查点都是前缀",
        Check::Entries => "条目：格式、顺序、签名",
        Check::Invariants => "成员、任务与轮次的不变量",
        Check::Budgets => "隐私消耗的重新计算",
        Check::Others => "与其他来源的检查点一致",
        Check::Artefacts => "附属文件",
        Check::Openings => "开启份额与所述密钥和一致",
        Check::Sums => "由密文分块重新求和",
        Check::Snapshots => "由开启的和重新计算模型快照",
    };
    let found = Check::ALL.iter().copied().find(|c| c.name() == name);
    found.map_or_else(|| escape(name), |c| escape(page.story.language.say(c.name(), zh(c))))
}

pub(super) fn write(page: &mut Page<'_>) {
    let v = page.story.verdict;
    let title = page.say("What was verified", "验证结论");
    page.section("verdict", title);
    let (holds, fails, not) = (page.say("holds", "成立"), page.say("FAILS", "不成立"), page.say("not reached", "未执行"));
    let rows: Vec<Vec<String>> = v
        .checks
        .iter()
        .map(|c| {
            let result = match (c.run, c.passed) {
                (false, _) => format!("<span class=\"warn\">{not}</span>"),
                (true, true) => format!("<span class=\"ok\">{holds}</span>"),
                (true, false) => format!("<span class=\"bad\">{fails} ({})</span>", c.findings),
            };
            vec![check_name(page, c.name), result, format!("<code>{}</code>", escape(c.clause))]
        })
        .collect();
    let head = match page.story.language {
        super::Language::English => ["what was checked", "result", "rule"],
        super::Language::Chinese => ["检查内容", "结果", "规则"],
    };
    page.table(&head, &rows);
    findings(page);
    let title = page.say("What was NOT verified", "未验证的内容");
    page.heading(title);
    let text =
        page.say("No report can be stronger than this list. The log alone cannot show:", "任何报告都不能超出以下界限。仅凭日志无法证明：");
    page.paragraph(text);
    let items: String = v.not_verified.iter().map(|n| format!("<li>{}</li>", escape(&not_verified(page, n)))).collect();
    page.raw(&format!("<ul>{items}</ul>\n"));
    let title = page.say("Do it again yourself", "自行复核");
    page.heading(title);
    page.raw("<p><code>concordat-audit verify DIR --trust-hash ");
    page.raw(&escape(v.trust_hash.as_deref().unwrap_or("H")));
    page.raw("</code></p>\n");
}

/// The limits of a verdict, in the reader's language. A line that has no translation stays as it is.
fn not_verified(page: &Page<'_>, line: &str) -> String {
    let zh = [
        ("that inputs were honest", "输入数据是否诚实：日志只能说明各方声明了什么，而不能说明其为真"),
        ("summed bodies", "密文求和与开启值：未提供求和文件或密文分块"),
        ("snapshots against", "模型快照与开启的和是否一致：未提供快照"),
        ("ledger entries behind", "所述账本头背后的账本条目：保存在各机构内部"),
        ("figures of gates", "日志无法显示的门槛指标（损失、准确率、宏平均 F1）：由管理员声明，并以哈希指明其依据文件"),
        ("truncation signed again", "由日志重新签名的截断，除非用 --with 提供保存在别处的检查点"),
    ];
    let found = zh.iter().find(|(start, _)| line.starts_with(start)).map(|(_, zh)| *zh);
    match (page.story.language, found) {
        (super::Language::Chinese, Some(zh)) => zh.to_owned(),
        _ => line.to_owned(),
    }
}

fn severity(page: &Page<'_>, s: Severity) -> String {
    let (class, word) = match s {
        Severity::Notice => ("note", page.say("notice", "提示")),
        Severity::Incomplete => ("warn", page.say("incomplete", "不完整")),
        Severity::Invariant => ("bad", page.say("invariant", "不变量")),
        Severity::Integrity => ("bad", page.say("integrity", "完整性")),
    };
    format!("<span class=\"{class}\">{word}</span>")
}

fn findings(page: &mut Page<'_>) {
    let v = page.story.verdict;
    let title = page.say("Findings", "发现事项");
    page.heading(title);
    if v.findings.is_empty() {
        let none = page.say("None.", "无。");
        return page.paragraph(none);
    }
    let row = |f: &Finding| {
        let place = match &f.place {
            crate::finding::Place::Index(index) => page.entry(*index),
            crate::finding::Place::Path(path) => format!("<code>{}</code>", escape(path)),
        };
        vec![severity(page, f.severity), place, escape(f.clause), escape(&f.expected), escape(&f.got)]
    };
    let rows: Vec<_> = v.findings.iter().take(LISTED).map(row).collect();
    let head = match page.story.language {
        super::Language::English => ["severity", "where", "rule", "expected", "found"],
        super::Language::Chinese => ["严重程度", "位置", "规则", "应为", "实为"],
    };
    page.table(&head, &rows);
    let omitted = v.findings_omitted.saturating_add(v.findings.len().saturating_sub(LISTED) as u64);
    if omitted > 0 {
        let text = page.say("more findings are not listed here; see concordat-audit verify --format json", "个发现事项未在此列出");
        page.note(&format!("{omitted} {text}"));
    }
}
