//! The page as a browser lays it out (audit.md A43): headless Chromium, on a wide window, on a narrow one and on paper. Where there is no
//! Chromium this says so and checks nothing; `CONCORDAT_CHROMIUM` names one that is not in the path.

use super::{Language, report};
use crate::Options;
use crate::tests::fixture::write;
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs inside the page, which itself has no script: what stands beyond the window, what has no size, and words of a plot outside of it.
const PROBE: &str = r#"<script>addEventListener("load", () => {
  const box = e => e.getBoundingClientRect(), all = (s, e = document) => [...e.querySelectorAll(s)];
  const wide = all("h1,h2,h3,p,table,figure,.card,.verdict").filter(e => box(e).right > innerWidth + 1 || box(e).left < -1);
  const empty = all("h2,svg,.verdict").filter(e => !(box(e).width > 0 && box(e).height > 0));
  const out = (t, s) => t.left < s.left - 1 || t.right > s.right + 1 || t.top < s.top - 1 || t.bottom > s.bottom + 1;
  const cut = all("svg").flatMap(s => all("text", s).filter(t => out(box(t), box(s))));
  const over = all("svg").flatMap(s => { const ts = all("text", s).map(box); return ts.filter((a, i) => ts.some((b, j) => i < j &&
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)); });
  const words = list => list.map(e => (e.textContent || "").slice(0, 40));
  document.title = "PROBE " + JSON.stringify({ wide: words(wide), empty: words(empty), cut: words(cut), over: over.length,
    scroll: document.documentElement.scrollWidth - innerWidth, plots: all("svg").length,
    contents: getComputedStyle(document.querySelector("nav")).display });
})</script></body>"#;

struct Browser {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Browser {
    /// One that starts, or none.
    fn find() -> Option<Self> {
        let named = std::env::var_os("CONCORDAT_CHROMIUM").map(PathBuf::from);
        let usual = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
        let starts = |p: &PathBuf| {
            let silent = Command::new(p).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            silent.is_ok_and(|status| status.success())
        };
        let program = named.into_iter().chain(usual).find(starts);
        if program.is_none() {
            eprintln!("SKIPPED: no Chromium is here, so nobody has looked at the report (CONCORDAT_CHROMIUM names one)");
        }
        Some(Self { program: program?, dir: tempfile::tempdir().unwrap() })
    }

    fn write(&self, name: &str, html: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, html).unwrap();
        path
    }

    /// Lays out a page and does with it what `more` says.
    fn run(&self, page: &Path, more: &[&str]) -> Output {
        let profile = format!("--user-data-dir={}", self.dir.path().join("profile").display());
        // The page is our own and loads nothing; a container has no second sandbox to offer.
        let usual = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", profile.as_str()];
        let out = Command::new(&self.program).args(usual).args(more).arg(format!("file://{}", page.display())).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out
    }

    /// What the probe finds in a page that is so wide.
    fn probe(&self, html: &str, width: u32) -> Value {
        let page = self.write("probe.html", html);
        let out = self.run(&page, &["--dump-dom", &format!("--window-size={width},1000")]);
        let text = String::from_utf8(out.stdout).unwrap();
        let title = text.split_once("<title>PROBE ").and_then(|(_, rest)| rest.split_once("</title>")).expect("the probe ran").0;
        serde_json::from_str(&title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).unwrap()
    }
}

/// The page with the probe in it, which its own policy would not let run.
fn probed(html: &str) -> String {
    let open = html.replacen("http-equiv=\"Content-Security-Policy\"", "name=\"policy\"", 1);
    let probed = open.replacen("</body>", PROBE, 1);
    assert!(open != html && probed != open);
    probed
}

fn is_laid_out(found: &Value, contents: &str, what: &str) {
    let none = Value::Array(Vec::new());
    for fault in ["wide", "empty", "cut"] {
        assert_eq!(found[fault], none, "{what}: {fault}");
    }
    assert!(found["scroll"].as_i64().is_some_and(|beyond| beyond <= 0), "{what}: wider than its window: {found}");
    assert_eq!((&found["over"], &found["plots"], &found["contents"]), (&0.into(), &3.into(), &contents.into()), "{what}");
}

#[test]
fn a_browser_shows_all_of_it_on_wide_and_narrow_windows_and_on_paper() {
    let Some(browser) = Browser::find() else { return };
    for (twist, language) in
        [(Twist::Everything, Language::English), (Twist::Everything, Language::Chinese), (Twist::CapExceeded, Language::English)]
    {
        let html = report(write(&tell(twist).files()).path(), &Options::default(), language).unwrap().0;
        let page = probed(&html);
        for width in [1280, 800] {
            is_laid_out(&browser.probe(&page, width), "block", &format!("{twist:?}, {language:?}, {width}"));
        }
        // Rules of paper, as wide as A4 is between its margins.
        let paper = page.replace("@media print{", "@media all{");
        assert_ne!(paper, page);
        is_laid_out(&browser.probe(&paper, 718), "none", &format!("{twist:?}, {language:?}, paper"));
    }
}

#[test]
fn a_browser_finds_nothing_in_it_that_its_policy_forbids_and_prints_it() {
    let Some(browser) = Browser::find() else { return };
    let html = report(write(&tell(Twist::None).files()).path(), &Options::default(), Language::English).unwrap().0;
    let (page, pdf) = (browser.write("report.html", &html), browser.dir.path().join("report.pdf"));
    let out = browser.run(&page, &[&format!("--print-to-pdf={}", pdf.display()), "--no-pdf-header-footer"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!said.contains("Content Security Policy") && !said.contains("CONSOLE"), "{said}");
    let bytes = std::fs::read(&pdf).unwrap();
    let pages = bytes.windows(12).filter(|w| *w == b"/Type /Page\n").count();
    assert!(bytes.starts_with(b"%PDF-") && (3..100).contains(&pages), "{pages} pages");
    // A page that asks for something from elsewhere is noticed here.
    let asks = html.replacen("<h1>", "<img src=\"https://elsewhere.invalid/x.png\"><h1>", 1);
    let out = browser.run(&browser.write("asks.html", &asks), &["--dump-dom"]);
    assert!(asks != html && String::from_utf8_lossy(&out.stderr).contains("Content Security Policy"));
}
