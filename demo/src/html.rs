//! `report.html`: one self-contained file with plots; no script, nothing from elsewhere.

use crate::report::{Coalition, Mixed, Report, RoundRow};
use plotters::prelude::*;
use std::fmt::Write as _;

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (520, 300);

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%;font-size:.85rem}\
th,td{padding:.3rem .5rem;border-bottom:1px solid #d9dee4;text-align:right}th:first-child,td:first-child{text-align:left}\
.ok{color:#116329}.bad{color:#a40e26}.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots svg{max-width:100%;height:auto;background:#fff}\
.note{color:#57606a}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:#57606a}dd{margin:0}\
@media print{body{margin:0}}";

/// One line of a plot.
struct Line<'a> {
    name: &'a str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(9, 105, 218),
    RGBColor(207, 34, 46),
    RGBColor(26, 127, 55),
    RGBColor(130, 80, 223),
    RGBColor(191, 135, 0),
    RGBColor(87, 96, 106),
];

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page.
///
/// # Errors
/// If a plot cannot be drawn.
pub(crate) fn page(report: &Report) -> anyhow::Result<String> {
    let mut out = String::new();
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\
         <title>Concordat demo</title><style>{STYLE}</style></head><body><h1>Concordat demo: one federation, from enrolment to verified log</h1>"
    )?;
    out.push_str(&verdict(report)?);
    if let Some(m) = &report.mixed {
        out.push_str(&mixed(m)?);
    }
    out.push_str(&plots(report)?);
    out.push_str(&rounds(report)?);
    out.push_str(&about(report)?);
    out.push_str("</body></html>\n");
    Ok(out)
}

fn verdict(r: &Report) -> anyhow::Result<String> {
    let mut out = String::new();
    let mark = |ok: bool| if ok { "<span class=\"ok\">yes</span>" } else { "<span class=\"bad\">NO</span>" };
    let last = r.last();
    write!(out, "<p><strong class=\"{}\">{}</strong></p><dl>", if r.verified { "ok" } else { "bad" }, escape(&r.verdict))?;
    write!(out, "<dt>Training finished</dt><dd>{}</dd><dt>Log verified</dt><dd>{}</dd>", mark(r.finished), mark(r.verified))?;
    write!(out, "<dt>Opened sums equal plain sums</dt><dd>{}</dd>", mark(r.exact_sum_check))?;
    write!(out, "<dt>Federation</dt><dd>accuracy {:.3}, macro-F1 {:.3}</dd>", last.accuracy, last.macro_f1)?;
    write!(
        out,
        "<dt>Naive Bayes (all records together, no privacy)</dt><dd>accuracy {:.3}, macro-F1 {:.3}</dd>",
        r.naive_bayes_accuracy, r.naive_bayes_macro_f1
    )?;
    write!(out, "<dt>Most frequent class</dt><dd>accuracy {:.3}, macro-F1 {:.3}</dd></dl>", r.majority_accuracy, r.majority_macro_f1)?;
    Ok(out)
}

/// The same federation with and without the institutions that train only a part.
fn mixed(m: &Mixed) -> anyhow::Result<String> {
    let mut out = String::from(
        "<h2>Institutions that train a part</h2><table><thead><tr><th>tier</th><th>institutions</th><th>parameters each trains</th></tr></thead><tbody>",
    );
    for t in &m.tiers {
        write!(out, "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", escape(&t.name), t.institutions, t.parameters)?;
    }
    out.push_str(
        "</tbody></table><table><thead><tr><th>federation</th><th>evaluation loss</th><th>accuracy</th><th>macro-F1</th></tr></thead><tbody>",
    );
    let rows = [("with them".to_owned(), m.with_small), (format!("without these {}", m.small), m.without_small)];
    for (name, s) in rows {
        write!(out, "<tr><td>{name}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td></tr>", s.eval_loss, s.accuracy, s.macro_f1)?;
    }
    out.push_str("</tbody></table>");
    Ok(out)
}

#[expect(clippy::cast_precision_loss, reason = "round numbers are far below 2^53")]
fn series(r: &Report, before: Option<f64>, value: impl Fn(&RoundRow) -> f64) -> Vec<(f64, f64)> {
    let start = before.map(|b| (0.0, b));
    start.into_iter().chain(r.rounds.iter().map(|x| (x.round as f64, value(x)))).collect()
}

fn plots(r: &Report) -> anyhow::Result<String> {
    let b = Some(r.before);
    let flat = |y: f64| vec![(0.0, y), (series(r, None, |_| 0.0).last().map_or(1.0, |p| p.0), y)];
    let line = |i: usize, name, points| Line { name, colour: COLOURS[i % COLOURS.len()], points };
    let loss = [
        line(0, "training loss", series(r, b.map(|s| s.train_loss), |x| x.score.train_loss)),
        line(1, "evaluation loss", series(r, b.map(|s| s.eval_loss), |x| x.score.eval_loss)),
    ];
    let f1 = [
        line(2, "macro-F1", series(r, b.map(|s| s.macro_f1), |x| x.score.macro_f1)),
        line(0, "accuracy", series(r, b.map(|s| s.accuracy), |x| x.score.accuracy)),
        line(5, "Naive Bayes macro-F1", flat(r.naive_bayes_macro_f1)),
    ];
    let names: Vec<String> = r.rounds.last().map(|x| x.epsilon.keys().cloned().collect()).unwrap_or_default();
    let spent = |x: &RoundRow, n: &str| x.epsilon.get(n).and_then(|e| e.parse().ok()).unwrap_or(0.0);
    let epsilon: Vec<Line<'_>> = names.iter().enumerate().map(|(i, n)| line(i, n, series(r, Some(0.0), |x| spent(x, n)))).collect();
    let seconds = [
        line(0, "train", series(r, None, |x| x.seconds.train)),
        line(1, "seal", series(r, None, |x| x.seconds.seal)),
        line(2, "upload", series(r, None, |x| x.seconds.upload)),
        line(3, "sum", series(r, None, |x| x.seconds.sum)),
        line(4, "certify", series(r, None, |x| x.seconds.certify)),
        line(5, "open", series(r, None, |x| x.seconds.open)),
    ];
    let svgs = [
        plot("Loss (nats)", &loss)?,
        plot("Quality on held-out records", &f1)?,
        plot("Privacy spent (epsilon)", &epsilon)?,
        plot("Seconds per phase", &seconds)?,
    ];
    Ok(format!("<h2>Rounds at a glance</h2><div class=\"plots\">{}</div>", svgs.concat()))
}

/// A line chart as SVG.
fn plot(title: &str, lines: &[Line<'_>]) -> anyhow::Result<String> {
    let all = || lines.iter().flat_map(|l| &l.points);
    let most = |f: fn(&(f64, f64)) -> f64| all().map(f).fold(0.0f64, f64::max);
    let (x, y) = (most(|p| p.0).max(1.0), most(|p| p.1).max(0.001) * 1.08);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..x, 0.0..y)?;
        chart.configure_mesh().x_labels(8).y_labels(6).x_desc("round").light_line_style(RGBColor(235, 238, 241)).draw()?;
        for line in lines {
            let colour = line.colour;
            let drawn = chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?;
            drawn.label(line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(line.points.iter().map(|p| Circle::new(*p, 3, colour.filled())))?;
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.85)).border_style(RGBColor(217, 222, 228)).draw()?;
        root.present()?;
    }
    Ok(svg)
}

fn rounds(r: &Report) -> anyhow::Result<String> {
    let mut out = String::from(
        "<h2>Rounds</h2><table><thead><tr><th>round</th><th>training loss</th><th>evaluation loss</th><th>accuracy</th><th>macro-F1</th>\
         <th>cohort</th><th>KB up</th><th>KB down</th><th>train s</th><th>seal s</th><th>upload s</th><th>sum s</th><th>certify s</th>\
         <th>open s</th><th>exact sum</th></tr></thead><tbody>",
    );
    for x in &r.rounds {
        let s = &x.seconds;
        let cohort = x.cohort.values().map(u64::to_string).collect::<Vec<_>>().join(" + ");
        write!(
            out,
            "<tr><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}</td>",
            x.round,
            x.score.train_loss,
            x.score.eval_loss,
            x.score.accuracy,
            x.score.macro_f1,
            if x.closed { escape(&cohort) } else { "abandoned".to_owned() },
            x.bytes_up / 1000,
            x.bytes_down / 1000
        )?;
        write!(
            out,
            "<td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.3}</td><td>{:.2}</td><td>{:.3}</td><td>{}</td></tr>",
            s.train,
            s.seal,
            s.upload,
            s.sum,
            s.certify,
            s.open,
            if x.exact_sum { "yes" } else { "no" }
        )?;
    }
    out.push_str("</tbody></table>");
    Ok(out)
}

fn shares(c: &Coalition) -> String {
    format!(
        "{} besides those of the institution that looks and {} that may help it; computed to be worth epsilon {}; {}",
        c.shares, c.colluding, c.epsilon, c.standing
    )
}

fn about(r: &Report) -> anyhow::Result<String> {
    let mut out = String::from("<h2>What was run</h2><dl>");
    let rows = [
        ("Institutions", r.institutions.to_string()),
        ("Records of each", r.records.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        ("Held-out records", r.held_out.to_string()),
        ("Left out", r.left_out.clone()),
        ("Classes", r.classes.join(", ")),
        ("Trained parameters", r.parameters.to_string()),
        ("Shards", r.shards.to_string()),
        (
            "Privacy",
            format!(
                "mode {}: epsilon {} at delta {} from each institution's own noise, noise multiplier {}, sampling rate {}, {} noised steps a round",
                r.mode, r.epsilon_cap, r.delta, r.noise_multiplier, r.sampling_rate, r.local_steps
            ),
        ),
        ("Shares of noise", r.coalition.as_ref().map_or_else(|| "none: mode local".to_owned(), shares)),
        ("Committee", format!("{} decryptors, {} may be corrupt, quorum {}", r.committee[0], r.committee[1], r.committee[2])),
        ("Sealed size", format!("{:.2} bits per parameter", r.wire_bits_per_parameter)),
        ("Log", format!("{} entries, {} findings", r.log_entries, r.findings)),
        ("Time", format!("{:.0} s for the whole demo", r.total_seconds)),
    ];
    for (name, value) in rows {
        write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value))?;
    }
    out.push_str(
        "</dl><p class=\"note\">The sealed layer: additive sealing from RLWE, &gt;= 192 bits classical (MATZOV cost) and &gt;= 128 bits quantum \
         (core-SVP) under lattice-estimator 27a581b, hint included, outside review pending. Training loss and scores are computed by the \
         demo, which owns all records; no institution sends them.</p>",
    );
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Score, Seconds, Tier};
    use std::collections::BTreeMap;

    fn report() -> Report {
        let score = Score { train_loss: 1.0, eval_loss: 1.1, accuracy: 0.5, macro_f1: 0.4 };
        let row = RoundRow {
            round: 1,
            closed: true,
            snapshot: None,
            score,
            epsilon: BTreeMap::from([("<script>".to_owned(), "1.5".to_owned())]),
            bytes_up: 1,
            bytes_down: 2,
            seconds: Seconds::default(),
            cohort: BTreeMap::from([("0".to_owned(), 4)]),
            exact_sum: true,
        };
        Report {
            schema_version: 1,
            verified: true,
            exact_sum_check: true,
            finished: true,
            data: "built-in".into(),
            institutions: 4,
            records: vec![1, 2],
            held_out: 3,
            left_out: "nothing".into(),
            classes: vec!["<b>".into()],
            parameters: 9,
            shards: 1,
            epsilon_target: "8".into(),
            mode: "local".into(),
            epsilon_cap: "8".into(),
            coalition: None,
            steps: 4,
            executed_noise_multiplier: BTreeMap::new(),
            delta: "0.00001".into(),
            noise_multiplier: "1".into(),
            sampling_rate: "0.1".into(),
            local_steps: 4,
            committee: [4, 1, 3],
            wire_bits_per_parameter: 19.3,
            before: score,
            rounds: vec![row],
            naive_bayes_macro_f1: 0.8,
            naive_bayes_accuracy: 0.9,
            majority_macro_f1: 0.1,
            majority_accuracy: 0.3,
            verdict: "all holds".into(),
            log_entries: 7,
            findings: 0,
            total_seconds: 1.0,
            mixed: None,
        }
    }

    #[test]
    fn the_page_has_four_plots_no_script_and_escapes_names() {
        let page = page(&report()).unwrap();
        assert_eq!(page.matches("<svg").count(), 4);
        let tier = Tier { name: "<top>".into(), institutions: 2, parameters: 70 };
        let score = Score { train_loss: 1.0, eval_loss: 0.25, accuracy: 0.75, macro_f1: 0.5 };
        let worse = Score { eval_loss: 0.5, ..score };
        let compared = Mixed { tiers: vec![tier], small: 2, with_small: score, without_small: worse, without_small_sound: true };
        let both = super::page(&Report { mixed: Some(compared), ..report() }).unwrap();
        assert!(both.contains("&lt;top&gt;") && both.contains("<td>0.250</td>") && both.contains("<td>0.500</td>"));
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("http://") | page.contains("www.w3.org"));
    }
}
