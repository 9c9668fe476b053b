//! The local quality report as one page that needs nothing else: no script, no font, no address. Must not know a text of a record.

use std::fmt::Write as _;

use super::counts::StageCount;
use super::quality::{LENGTH_CLASSES, Lengths, Quality};

const STYLE: &str = "\
:root{color-scheme:light}body{font:15px/1.5 system-ui,'Noto Sans CJK SC','Noto Sans SC',sans-serif;color:#1a1a1a;background:#fff;\
max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:1.8rem 0 .5rem}\
p.note{color:#555;margin:.2rem 0 .6rem}p.verdict{margin:.8rem 0;padding:.6rem .9rem;border-left:4px solid;font-weight:600}\
p.good{border-color:#1b7a3d;background:#f0f8f2}p.bad{border-color:#b3261e;background:#fdf1f0}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td{overflow-wrap:anywhere}\
td.bar{width:45%}div.bar{height:.9em;margin:.25em 0;background:#1b5e8c}div.bar.b{background:#c98a1b}\
tr.bad td{background:#fdf1f0}@media print{body{margin:0;max-width:none;font-size:10pt}tr{break-inside:avoid}}";
/// Rows that could not be read which the page names; the JSON has more.
const NAMED: usize = 100;

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A number with its thousands apart.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// Percent with one place.
fn percent(part: u64, all: u64) -> String {
    let tenths = part.saturating_mul(1000) / all.max(1);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

struct Page(String);

impl Page {
    fn add(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn head(&mut self, title: &str, note: &str) {
        self.add(&format!("<h2>{}</h2>\n", escape(title)));
        if !note.is_empty() {
            self.add(&format!("<p class=\"note\">{}</p>\n", escape(note)));
        }
    }

    /// A table; columns whose name begins with `#` hold numbers. Cells are HTML already.
    fn table(&mut self, columns: &[&str], rows: impl IntoIterator<Item = (bool, Vec<String>)>) {
        let class = |c: &str| {
            if c.starts_with('#') {
                " class=\"n\""
            } else if c == "-" {
                " class=\"bar\""
            } else {
                ""
            }
        };
        self.add("<table><tr>");
        for c in columns {
            let name = c.trim_start_matches('#').trim_matches('-');
            write!(self.0, "<th scope=\"col\"{}>{}</th>", class(c), escape(name)).unwrap_or(());
        }
        self.add("</tr>\n");
        for (bad, cells) in rows {
            self.add(if bad { "<tr class=\"bad\">" } else { "<tr>" });
            for (c, cell) in columns.iter().zip(cells) {
                write!(self.0, "<td{}>{cell}</td>", class(c)).unwrap_or(());
            }
            self.add("</tr>\n");
        }
        self.add("</table>\n");
    }
}

/// A bar of `part` out of `most`, hidden from readers of the screen: the number stands beside it.
fn bar(part: u64, most: u64, second: bool) -> String {
    let tenths = part.saturating_mul(1000) / most.max(1);
    let class = if second { "bar b" } else { "bar" };
    format!("<div class=\"{class}\" aria-hidden=\"true\" style=\"width:{}.{}%\"></div>", tenths / 10, tenths % 10)
}

fn plain(cells: Vec<String>) -> (bool, Vec<String>) {
    (false, cells)
}

/// The page of a report on the dataset of that name.
pub fn render(name: &str, quality: &Quality) -> String {
    let mut page = Page(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>Data quality: {0}</title><style>{STYLE}</style></head><body>\n<h1>Data quality: {0}</h1>\n\
<p class=\"note\">For the institution's own people: counts are exact. What may leave is manifest.json.</p>\n",
        escape(name)
    ));
    verdict(&mut page, quality);
    rows(&mut page, quality);
    labels(&mut page, quality);
    lengths(&mut page, quality);
    columns(&mut page, quality);
    personal(&mut page, quality);
    boundary(&mut page, quality);
    unreadable(&mut page, quality);
    page.add("</body></html>\n");
    page.0
}

fn verdict(page: &mut Page, quality: &Quality) {
    let failed = quality.verdicts.iter().filter(|v| !v.holds).count();
    page.add(&match failed {
        0 => "<p class=\"verdict good\">Every limit of quality holds: the shards can be trained on.</p>\n".to_owned(),
        n => format!(
            "<p class=\"verdict bad\">Blocked: {n} of {} limits do not hold. Nothing can be trained on these shards.</p>\n",
            quality.verdicts.len()
        ),
    });
    let row = |v: &super::quality::Verdict| {
        let word = if v.holds { "holds" } else { "does not hold" };
        (!v.holds, vec![escape(&v.threshold), number(v.got), number(v.limit), word.to_owned()])
    };
    page.head("Limits", "From [thresholds] of the rule file; shares in thousandths, rounded up.");
    page.table(&["limit", "#found", "#allowed", ""], quality.verdicts.iter().map(row));
}

fn rows(page: &mut Page, quality: &Quality) {
    page.head("Rows through the stages", "Rows in = rows out + dropped, checked at every stage.");
    let most = quality.stages.first().map_or(1, |s| s.rows_in);
    let stage = |s: &StageCount| {
        let name = format!("{:?}", s.stage).to_lowercase();
        plain(vec![name, number(s.rows_in), number(s.total_dropped()), number(s.rows_out), bar(s.rows_out, most, false)])
    };
    page.table(&["stage", "#in", "#dropped", "#out", "-"], quality.stages.iter().map(stage));
    let reasons: Vec<_> = quality.stages.iter().flat_map(|s| s.dropped.iter().map(move |(r, n)| (s.rows_in, r, *n))).collect();
    let most = reasons.iter().map(|(_, _, n)| *n).max().unwrap_or(1);
    page.head("Dropped, by reason", if reasons.is_empty() { "Nothing." } else { "Shares are of the rows that came into the stage." });
    let reason = |(all, reason, n): (u64, &super::counts::Dropped, u64)| {
        plain(vec![reason.name().to_owned(), number(n), percent(n, all), bar(n, most, true)])
    };
    page.table(&["reason", "#rows", "#share", "-"], reasons.into_iter().map(reason));
    let units = format!(
        "{} rows of {} units for training, {} rows of {} units for validation; a unit is a {}.",
        number(quality.rows.train),
        number(quality.units.train),
        number(quality.rows.validation),
        number(quality.units.validation),
        match quality.unit {
            super::prepared::Unit::User => "person",
            super::prepared::Unit::Record => "record",
        }
    );
    page.add(&format!("<p>{}</p>\n", escape(&units)));
}

fn labels(page: &mut Page, quality: &Quality) {
    page.head("Labels", "Prepared rows on both sides; a share that differs much between them is a split that went wrong.");
    let (train, validation) = (quality.rows.train, quality.rows.validation);
    let most = quality.labels.iter().map(|l| l.rows.train).max().unwrap_or(1);
    let label = |l: &super::quality::LabelCount| {
        let n = l.rows;
        plain(vec![
            escape(&l.label),
            number(n.train),
            percent(n.train, train),
            number(n.validation),
            percent(n.validation, validation),
            bar(n.train, most, false),
        ])
    };
    page.table(&["label", "#training", "#share", "#validation", "#share", "-"], quality.labels.iter().map(label));
}

fn lengths(page: &mut Page, quality: &Quality) {
    page.head("Lengths of texts", "Characters, in classes that double; training rows in blue.");
    let (train, validation) = (&quality.lengths.train.classes, &quality.lengths.validation.classes);
    let used = |c: &usize| quality.lengths_before.classes[*c] + train[*c] + validation[*c] > 0;
    let (first, last) = ((0..LENGTH_CLASSES).find(used).unwrap_or(0), (0..LENGTH_CLASSES).rfind(used).unwrap_or(0));
    let most = train.iter().copied().max().unwrap_or(1);
    let class = |c: usize| {
        plain(vec![
            Lengths::name(c),
            number(quality.lengths_before.classes[c]),
            number(train[c]),
            number(validation[c]),
            bar(train[c], most, false),
        ])
    };
    page.table(&["characters", "#clean", "#training", "#validation", "-"], (first..=last).map(class));
}

fn columns(page: &mut Page, quality: &Quality) {
    page.head("Columns", "Missing values and outliers of all rows that could be read up to the rule that dropped them.");
    let all = quality.stages.first().map_or(1, |s| s.rows_out);
    let column = |c: &super::quality::ColumnQuality| {
        plain(vec![
            escape(&c.schema.name),
            format!("{:?}", c.schema.role).to_lowercase(),
            format!("{:?}", c.schema.kind).to_lowercase(),
            format!("{:?}", c.schema.pii).to_lowercase(),
            number(c.counts.missing),
            percent(c.counts.missing, all),
            number(c.counts.filled),
            number(c.counts.outliers),
            number(c.counts.changed),
        ])
    };
    page.table(
        &["column", "role", "type", "personal", "#missing", "#share", "#filled", "#outliers", "#normalised"],
        quality.columns.iter().map(column),
    );
    if !quality.checks.is_empty() {
        page.head("Cross-field checks", "");
        page.table(&["check", "#rows dropped"], quality.checks.iter().map(|(name, n)| plain(vec![escape(name), number(*n)])));
    }
}

fn personal(page: &mut Page, quality: &Quality) {
    let rows = format!("Replaced by placeholders, in {} rows. Names go by rule: some will have stayed.", number(quality.pii_rows));
    page.head("Personal data found", &rows);
    let most = quality.pii.values().copied().max().unwrap_or(1);
    let kind = |(kind, n): (&super::scrub::Kind, &u64)| plain(vec![escape(kind.placeholder()), number(*n), bar(*n, most, true)]);
    page.table(&["kind", "#found", "-"], quality.pii.iter().map(kind));
}

fn boundary(page: &mut Page, quality: &Quality) {
    page.head("Between training and validation", "");
    let leaks = quality.leaks;
    let rows = [
        ("validation rows equal to a training row", leaks.equal),
        ("validation rows nearly equal to a training row", leaks.similar),
        ("rows dropped as duplicates of a row on the other side", leaks.straddling_duplicates),
    ];
    page.table(&["", "#rows"], rows.map(|(name, n)| plain(vec![name.to_owned(), number(n)])));
    if let Some(drift) = quality.drift {
        page.head(
            "Against the preparation before",
            "Population stability index in thousandths: under 100 steady, over 250 another population.",
        );
        let rows = [("labels", drift.labels_permille), ("lengths", drift.lengths_permille)];
        page.table(&["of", "#index"], rows.map(|(name, n)| plain(vec![name.to_owned(), number(n)])));
    }
}

fn unreadable(page: &mut Page, quality: &Quality) {
    page.head("How the inputs were read", "");
    let inputs = quality.encodings.iter().zip(1u64..).map(|(e, n)| plain(vec![number(n), escape(&e.to_string())]));
    page.table(&["#input", "encoding"], inputs);
    let all = quality.stages.first().map_or(0, StageCount::total_dropped);
    let shown = quality.bad_rows.len().min(NAMED);
    page.head("Rows that could not be read", &format!("{} rows; the first {shown} by line, more in quality.json.", number(all)));
    let row = |b: &super::quality::BadRow| plain(vec![b.input.to_string(), number(b.line), escape(&b.what)]);
    page.table(&["#input", "#line", "why"], quality.bad_rows.iter().take(NAMED).map(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_shown_safely() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((number(12), percent(1, 3), percent(0, 0)), ("12".into(), "33.3 %".into(), "0.0 %".into()));
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }
}
