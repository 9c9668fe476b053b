//! Line plots as inline SVG, readable without colour: every line ends in its name. Knows no log.

use super::page::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
/// Of a plot whose names find room beside it; more names make it higher.
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Between two names, one above the other.
const APART: f64 = 12.0;
/// Letters of a name for which there is room on the right.
const LETTERS: usize = 17;
/// Dark enough to print; told apart by their dashes too.
const COLOURS: [&str; 6] = ["#0b5394", "#990000", "#38761d", "#674ea7", "#b45f06", "#444444"];
const LIMIT: &str = "#990000";
const DASHES: [&str; 4] = ["none", "7 4", "2 3", "10 3 2 3"];

/// One line.
pub(super) struct Line {
    pub(super) name: String,
    /// Ascending in x.
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) lines: &'a [Line],
    /// A horizontal line with its name, such as a cap.
    pub(super) limit: Option<(String, f64)>,
}

/// A step of 1, 2 or 5 times a power of ten that gives about five marks.
fn step(span: f64) -> f64 {
    let rough = (span / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let factor = if rough / power > 5.0 {
        10.0
    } else if rough / power > 2.0 {
        5.0
    } else if rough / power > 1.0 {
        2.0
    } else {
        1.0
    };
    power * factor
}

fn number(x: f64) -> String {
    let text = format!("{x:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Marks from 0 up to `most`.
fn marks(most: f64) -> Vec<f64> {
    let step = step(most);
    (0..=12u32).map(|i| f64::from(i) * step).take_while(|m| *m <= most * 1.0001).collect()
}

/// Places values on the drawing.
struct Frame {
    x: f64,
    y: f64,
    height: f64,
}

impl Frame {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (LEFT + x / self.x * (WIDTH - LEFT - RIGHT), self.height - BOTTOM - y / self.y * (self.height - TOP - BOTTOM))
    }
}

/// A name as far as there is room for it.
fn short(name: &str) -> String {
    let cut: String = name.chars().take(LETTERS).collect();
    if cut.len() < name.len() { cut + "…" } else { cut }
}

/// Ascending places, moved apart: downwards first, then up again from the lowest place there is.
fn apart(mut places: Vec<(f64, usize)>, lowest: f64) -> Vec<(f64, usize)> {
    let mut above = f64::NEG_INFINITY;
    for (y, _) in &mut places {
        *y = y.max(above + APART);
        above = *y;
    }
    let mut below = lowest + APART;
    for (y, _) in places.iter_mut().rev() {
        *y = y.min(below - APART);
        below = *y;
    }
    places
}

impl Plot<'_> {
    /// The SVG element; nothing where there is nothing to draw.
    pub(super) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|l| &l.points).filter(|p| p.0.is_finite() && p.1.is_finite());
        if all().next().is_none() {
            return String::new();
        }
        let most = |pick: fn(&(f64, f64)) -> f64| all().map(pick).fold(0.0f64, f64::max);
        let limit = self.limit.as_ref().map_or(0.0, |(_, y)| *y);
        let names: f64 = self.lines.iter().map(|_| APART).sum();
        let height = HEIGHT.max(2.0 * TOP + names + APART);
        let frame = Frame { x: most(|p| p.0).max(1.0), y: (most(|p| p.1).max(limit) * 1.06).max(1e-6), height };
        let mut out = format!(
            "<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\" font-family=\"system-ui,sans-serif\" font-size=\"11\">",
            escape(self.title)
        );
        self.axes(&frame, &mut out);
        if let Some((_, y)) = &self.limit {
            let (x0, y0) = frame.at((0.0, *y));
            let x1 = WIDTH - RIGHT;
            write!(out, "<path d=\"M{x0:.1} {y0:.1}H{x1:.1}\" stroke=\"{LIMIT}\" stroke-dasharray=\"3 3\"/>").unwrap_or(());
        }
        self.curves(&frame, &mut out);
        write!(out, "</svg><figcaption>{}</figcaption></figure>", escape(self.title)).unwrap_or(());
        out
    }

    fn axes(&self, frame: &Frame, out: &mut String) {
        for y in marks(frame.y) {
            let (x0, y0) = frame.at((0.0, y));
            write!(
                out,
                "<path d=\"M{x0:.1} {y0:.1}H{:.1}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                x0 - 6.0,
                y0 + 4.0,
                number(y)
            )
            .unwrap_or(());
        }
        for x in marks(frame.x) {
            let (x0, y0) = frame.at((x, 0.0));
            write!(
                out,
                "<path d=\"M{x0:.1} {y0:.1}v4\" stroke=\"#555555\"/><text x=\"{x0:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                y0 + 16.0,
                number(x)
            )
            .unwrap_or(());
        }
        write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            frame.height - 6.0,
            escape(self.x),
            (TOP + frame.height - BOTTOM) / 2.0,
            escape(self.y)
        )
        .unwrap_or(());
    }

    fn curves(&self, frame: &Frame, out: &mut String) {
        let mut labels: Vec<(f64, usize)> = Vec::new();
        for (i, line) in self.lines.iter().enumerate() {
            let (colour, dash) = (COLOURS[i % COLOURS.len()], DASHES[i / COLOURS.len() % DASHES.len()]);
            let points: Vec<(f64, f64)> = line.points.iter().map(|p| frame.at(*p)).collect();
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            write!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dash}\"/>",
                path.join(" ")
            )
            .unwrap_or(());
            points.iter().for_each(|(x, y)| write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.4\" fill=\"{colour}\"/>").unwrap_or(()));
            if let Some((_, y)) = points.last() {
                labels.push((*y, i));
            }
        }
        // The limit's name has the number after those of all lines.
        labels.extend(self.limit.iter().map(|(_, y)| (frame.at((0.0, *y)).1, self.lines.len())));
        // Names stand beside their ends, moved apart where lines end together.
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (y, i) in apart(labels, frame.height - TOP) {
            let of_limit = self.limit.as_ref().map_or("", |(name, _)| name.as_str());
            let (name, colour) = self.lines.get(i).map_or((of_limit, LIMIT), |l| (l.name.as_str(), COLOURS[i % COLOURS.len()]));
            write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>", WIDTH - RIGHT + 6.0, y + 4.0, escape(&short(name)))
                .unwrap_or(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_that_reach_the_end() {
        assert_eq!(marks(6.0), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(marks(1.0).len(), 6);
        assert!(marks(0.037).len() >= 4);
    }

    #[test]
    fn names_stand_apart_and_inside_however_many_end_together() {
        for count in [1, 6, 64] {
            let height = HEIGHT.max(2.0 * TOP + f64::from(count) * APART);
            let together = (0..count).map(|i| (height - BOTTOM, usize::try_from(i).unwrap())).collect();
            let places = apart(together, height - TOP);
            assert!(places.iter().all(|(y, _)| (TOP..=height - TOP).contains(y)), "{count}: {places:?}");
            assert!(places.windows(2).all(|w| w[1].0 - w[0].0 > APART - 1e-6), "{count}: {places:?}");
        }
        assert_eq!(apart(vec![(20.0, 0), (100.0, 1)], 250.0), [(20.0, 0), (100.0, 1)], "where there is room, nothing moves");
        assert_eq!((short("clinic-1").as_str(), short(&"x".repeat(120)).chars().count()), ("clinic-1", LETTERS + 1));
    }

    #[test]
    fn a_plot_draws_every_line_and_its_limit_and_escapes_names() {
        let lines = [Line { name: "<b>".to_owned(), points: vec![(1.0, 0.5), (2.0, 1.0)] }];
        let svg = Plot { title: "t", x: "x", y: "y", lines: &lines, limit: Some(("cap".to_owned(), 4.0)) }.svg();
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>") && svg.matches("<polyline").count() == 1 && svg.contains(">cap<"));
        let none = [Line { name: "n".to_owned(), points: vec![] }];
        assert!(Plot { title: "t", x: "x", y: "y", lines: &none, limit: None }.svg().is_empty());
    }
}
