//! The page around the sections: head, style, contents, appendix of entries. Knows no section's content.

use super::facts::{Chronicle, Facts};
use super::{Language, duties, events, federation, privacy, rights, rounds, verdict};
use crate::verdict::Verdict;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light}*{box-sizing:border-box}body{font:15px/1.55 system-ui,'Noto Sans','Noto Sans CJK SC','Noto Sans SC',sans-serif;color:#1a1a1a;\
background:#fff;max-width:62rem;margin:2rem auto;padding:0 1.2rem}h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.4rem 0 .6rem;\
padding-top:.6rem;border-top:2px solid #333}h3{font-size:1.02rem;margin:1.4rem 0 .4rem}p,ul{margin:.5rem 0}.lead{font-size:1.02rem}\
.verdict{padding:.8rem 1rem;margin:1rem 0;border:2px solid #1b6e2f;background:#eef7f0}.verdict.bad{border-color:#a40e26;background:#fdf0f1}\
.verdict.open{border-color:#8a5a00;background:#fdf7ea}.verdict strong{font-size:1.1rem}.note{color:#555;font-size:.92em}\
table{border-collapse:collapse;width:100%;font-size:.88rem;margin:.5rem 0}th,td{text-align:left;vertical-align:top;padding:.32rem .55rem;\
border-bottom:1px solid #d5d5d5}thead th{border-bottom:2px solid #777;font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
code{font:.86em/1.4 ui-monospace,monospace;overflow-wrap:anywhere}td{overflow-wrap:break-word}a{color:#0b4f8a}.t{white-space:nowrap;font-variant-numeric:tabular-nums}.ok{color:#1b6e2f;font-weight:600}\
.bad{color:#a40e26;font-weight:600}.warn{color:#8a5a00;font-weight:600}nav ol{columns:2;margin:.4rem 0;padding-left:1.4rem}\
figure{margin:.8rem 0;max-width:44rem}figcaption{font-size:.85rem;color:#555}svg{width:100%;height:auto}\
.card{border:1px solid #bbb;padding:.6rem .9rem;margin:.9rem 0}.card h3{margin-top:.2rem}.card th{width:16rem;font-weight:600}\
@media (max-width:58rem){table{font-size:.75rem}th,td{padding:.25rem .3rem;overflow-wrap:anywhere}.t{white-space:normal}}\
@media print{body{margin:0;padding:0;max-width:none;font-size:10pt}table{font-size:8pt}th,td{padding:.2rem .25rem}\
thead{display:table-header-group}nav{display:none}h2{break-after:avoid}h3{break-after:avoid}\
tr,figure,.card,.verdict{break-inside:avoid}a{color:inherit;text-decoration:none}}";

/// What a page tells.
pub(super) struct Story<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) facts: &'a Facts,
    pub(super) chronicle: &'a Chronicle,
    pub(super) language: Language,
}

/// A page while it is written: text, and the entries that it names.
pub(super) struct Page<'a> {
    pub(super) story: &'a Story<'a>,
    out: String,
    cited: RefCell<BTreeSet<u64>>,
}

/// Text as it may stand in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// The beginning of a hash, for people; the whole of it on pointing at it.
pub(super) fn hash(text: &str) -> String {
    let short = text.get(..12).unwrap_or(text);
    format!("<code title=\"{}\">{}…</code>", escape(text), escape(short))
}

/// Seconds are enough for people.
pub(super) fn time(ts: &str) -> String {
    format!("<span class=\"t\">{}</span>", escape(&ts.get(..19).unwrap_or(ts).replace('T', " ")))
}

impl<'a> Page<'a> {
    pub(super) fn say<'b>(&self, english: &'b str, chinese: &'b str) -> &'b str {
        self.story.language.say(english, chinese)
    }

    /// Writes HTML as it is.
    pub(super) fn raw(&mut self, html: &str) {
        self.out.push_str(html);
    }

    pub(super) fn section(&mut self, id: &str, title: &str) {
        writeln!(self.out, "<h2 id=\"{id}\">{}</h2>", escape(title)).unwrap_or(());
    }
    pub(super) fn heading(&mut self, title: &str) {
        writeln!(self.out, "<h3>{}</h3>", escape(title)).unwrap_or(());
    }
    pub(super) fn paragraph(&mut self, text: &str) {
        writeln!(self.out, "<p>{}</p>", escape(text)).unwrap_or(());
    }
    pub(super) fn note(&mut self, text: &str) {
        writeln!(self.out, "<p class=\"note\">{}</p>", escape(text)).unwrap_or(());
    }

    /// A table; cells are HTML already.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let cells = |tag: &str, row: &mut dyn Iterator<Item = &str>| row.map(|c| format!("<{tag}>{c}</{tag}>")).collect::<String>();
        let heads: Vec<String> = head.iter().map(|h| escape(h)).collect();
        self.raw(&format!("<table><thead><tr>{}</tr></thead><tbody>", cells("th", &mut heads.iter().map(String::as_str))));
        for row in rows {
            self.raw(&format!("<tr>{}</tr>\n", cells("td", &mut row.iter().map(String::as_str))));
        }
        self.raw("</tbody></table>\n");
    }

    /// A table of names and values; values are HTML already.
    pub(super) fn pairs(&mut self, rows: &[(&str, String)]) {
        self.raw("<table><tbody>");
        for (name, value) in rows {
            self.raw(&format!("<tr><th scope=\"row\">{}</th><td>{value}</td></tr>\n", escape(name)));
        }
        self.raw("</tbody></table>\n");
    }

    /// A link to an entry in the appendix.
    pub(super) fn entry(&self, index: u64) -> String {
        if self.story.chronicle.kept.contains_key(&index) {
            self.cited.borrow_mut().insert(index);
            format!("<a href=\"#e{index}\">{index}</a>")
        } else {
            index.to_string()
        }
    }

    /// Links to entries, the first few of many.
    pub(super) fn entries(&self, indices: impl IntoIterator<Item = u64>) -> String {
        let all: Vec<u64> = indices.into_iter().collect();
        let more = if all.len() > 12 { format!(" (+{})", all.len() - 12) } else { String::new() };
        all.iter().take(12).map(|i| self.entry(*i)).collect::<Vec<_>>().join(", ") + &more
    }

    /// The appendix of every entry that the page named.
    fn appendix(&mut self) {
        let title = self.say("Entries named in this report", "本报告引用的日志条目");
        self.section("entries", title);
        let text = self.say(
            "Each entry of the log has a number. An entry and a proof that it stands in the log are printed by: concordat-audit show DIR NUMBER --proof",
            "日志的每个条目都有编号。以下命令打印条目本身以及它确实在日志中的证明：concordat-audit show DIR 编号 --proof",
        );
        self.note(text);
        let cited = self.cited.take();
        let rows: Vec<Vec<String>> = cited
            .iter()
            .filter_map(|i| self.story.chronicle.kept.get(i).map(|k| (i, k)))
            .map(|(i, k)| {
                let who = k.institution.map(|w| escape(&self.story.facts.name(w))).unwrap_or_default();
                let round = k.round.map(|r| r.to_string()).unwrap_or_default();
                vec![
                    format!("<span id=\"e{i}\">{i}</span>"),
                    time(&k.ts),
                    format!("<code>{}</code>", escape(&k.kind)),
                    who,
                    round,
                    hash(&k.leaf),
                ]
            })
            .collect();
        let head = match self.story.language {
            Language::English => ["entry", "time (UTC)", "type", "institution", "round", "leaf hash"],
            Language::Chinese => ["条目", "时间 (UTC)", "类型", "机构", "轮次", "叶哈希"],
        };
        self.table(&head, &rows);
    }
}

/// Sections in order: anchor, English, Chinese.
pub(super) const CONTENTS: [(&str, &str, &str); 9] = [
    ("verdict", "What was verified", "验证结论"),
    ("federation", "The federation, its members and keys", "联盟、成员与密钥"),
    ("log", "The log and its witnesses", "日志与见证人"),
    ("tasks", "Tasks and rounds", "任务与轮次"),
    ("privacy", "Privacy spent", "隐私消耗"),
    ("models", "Models: lineage and releases", "模型：谱系与发布"),
    ("events", "What did not go as it should", "异常事件"),
    ("duties", "Duties and where to find their evidence", "合规义务与证据位置"),
    ("entries", "Entries named in this report", "本报告引用的日志条目"),
];

/// The page.
pub(super) fn render(story: &Story<'_>) -> String {
    let mut page = Page { story, out: String::new(), cited: RefCell::default() };
    let (lang, title) = (story.language.say("en", "zh-Hans"), story.language.say("Audit report", "审计报告"));
    let federation = escape(story.verdict.federation.as_deref().unwrap_or("?"));
    page.raw(&format!(
        "<!doctype html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <title>{title}: {federation}</title><style>{STYLE}</style></head><body>\n<h1>{title}: {federation}</h1>\n"
    ));
    let links: String =
        CONTENTS.iter().map(|(id, en, zh)| format!("<li><a href=\"#{id}\">{}</a></li>", story.language.say(en, zh))).collect();
    verdict::summary(&mut page);
    page.raw(&format!("<nav><ol>{links}</ol></nav>\n"));
    verdict::write(&mut page);
    federation::write(&mut page);
    rights::write(&mut page);
    federation::log(&mut page);
    rounds::write(&mut page);
    privacy::write(&mut page);
    rounds::models(&mut page);
    events::write(&mut page);
    duties::write(&mut page);
    page.appendix();
    page.raw("</body></html>\n");
    page.out
}
