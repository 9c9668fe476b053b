//! The statement as one page that needs nothing else: no script, no font, no address; both languages; prints on paper.

use privacy::statement::{Language, Statement};

const STYLE: &str = "\
:root{color-scheme:light}body{font:15px/1.5 system-ui,'Noto Sans CJK SC','Noto Sans SC',sans-serif;color:#1a1a1a;background:#fff;\
max-width:52rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:1.6rem 0 .5rem}\
p.claim{margin:.5rem 0;padding:.6rem .9rem;border-left:4px solid #1b5e8c;background:#f2f6f9;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ddd}\
th{width:32%;font-weight:600}td{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}ul{margin:0;padding-left:1.1rem}\
nav a{color:#1b5e8c}section+section{margin-top:3rem}\
@media print{body{margin:0;max-width:none;font-size:10.5pt}nav{display:none}section+section{break-before:page;margin-top:0}\
tr,p.claim{break-inside:avoid}p.claim{background:none}}";

/// The page.
pub(super) fn render(statement: &Statement) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>Privacy statement: {}, task {}</title><style>{STYLE}</style></head><body>\n\
<nav><a href=\"#en\">English</a> · <a href=\"#zh\" lang=\"zh-Hans\">中文</a></nav>\n",
        escape(&statement.institution),
        statement.task
    );
    section(&mut out, statement, Language::English);
    section(&mut out, statement, Language::Chinese);
    out.push_str("</body></html>");
    out
}

fn section(out: &mut String, statement: &Statement, language: Language) {
    let (id, tag, title, promise, fields) = match language {
        Language::English => ("en", "en", "Privacy statement", "What is promised", "What it rests on"),
        Language::Chinese => ("zh", "zh-Hans", "隐私声明", "承诺", "依据"),
    };
    let mut text = format!("<section id=\"{id}\" lang=\"{tag}\"><h1>{title}</h1>\n<h2>{promise}</h2>\n");
    for s in statement.sentences(language) {
        text.push_str(&format!("<p class=\"claim\">{}</p>\n", escape(&s.text)));
    }
    text.push_str(&format!("<h2>{fields}</h2>\n<table>\n"));
    for r in statement.rows(language) {
        let value = match r.value.as_slice() {
            [one] => escape(one),
            many => format!("<ul>{}</ul>", many.iter().map(|v| format!("<li>{}</li>", escape(v))).collect::<String>()),
        };
        text.push_str(&format!("<tr><th scope=\"row\">{}</th><td>{value}</td></tr>\n", escape(r.label)));
    }
    text.push_str("</table></section>\n");
    out.push_str(&text);
}

/// Text as HTML shows it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
