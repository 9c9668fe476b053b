//! What a report shows, in both languages, of an honest log and of a broken one; and that a hostile name stays text.

use super::facts::Chronicle;
use super::{Language, report};
use crate::Options;
use crate::tests::fixture::write;
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use protocol::entry::{Actor, AlarmKind, Decision, Draft, EntryKind, Facts, Identity, LogEntry, Origin, Right, Ruling, Stamp};
use protocol::ids::{Sha256, TokenId};

fn page(twist: Twist, language: Language) -> String {
    report(write(&tell(twist).files()).path(), &Options::default(), language).unwrap().0
}

#[test]
fn a_page_needs_nothing_else_and_runs_nothing() {
    for language in [Language::English, Language::Chinese] {
        let html = page(Twist::None, language);
        assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'; img-src data:"));
        for bad in ["<script", "javascript:", "http://", "https://", "url(", "@import", "onload", "<img", "<iframe", "<link"] {
            assert!(!html.to_lowercase().contains(bad), "{bad}");
        }
    }
}

#[test]
fn every_section_and_every_figure_leads_to_its_entries() {
    let html = page(Twist::None, Language::English);
    for (id, title, _) in super::page::CONTENTS {
        assert!(html.contains(&format!("<h2 id=\"{id}\">")) && html.contains(&format!("href=\"#{id}\"")), "{title}");
    }
    // Every link to an entry has its row in the appendix.
    for index in html.split("href=\"#e").skip(1).filter_map(|rest| rest.split('"').next()).filter(|i| i.parse::<u64>().is_ok()) {
        assert!(html.contains(&format!("id=\"e{index}\"")), "entry {index}");
    }
    assert!(html.contains("Everything that was checked holds.") && html.matches("Deployment card").count() == 4);
    assert!(html.contains("clinic-0") && html.matches("<svg").count() == 3 && html.contains("recomputed"));
}

#[test]
fn a_report_of_a_broken_log_says_so_first() {
    let html = page(Twist::CapExceeded, Language::English);
    let (verdict, rest) = (html.find("INVARIANT FAILURE").unwrap(), html.find("<nav").unwrap());
    assert!(verdict < rest && html.contains("I8: epsilon is above the signed cap"));
    assert!(page(Twist::CapExceeded, Language::Chinese).contains("不变量失败"));
    let empty = report(tempfile::tempdir().unwrap().path(), &Options::default(), Language::English).unwrap();
    assert!(empty.0.contains("INCOMPLETE") && empty.1.exit_code == 4);
}

#[test]
fn a_release_shows_what_its_gates_came_to() {
    let html = page(Twist::GateOverridden, Language::English);
    assert!(html.contains("<span class=\"ok\">cohort 3, at least 3: passed</span>"));
    assert!(html.contains("<span class=\"bad\">accuracy 0.89, at least 0.9: NOT PASSED</span>") && html.contains("overridden: research"));
    assert!(page(Twist::GatesPassed, Language::Chinese).contains("日志无法显示的门槛指标"));
    assert!(page(Twist::Released, Language::English).contains("gates: []"), "a plan without gates says so");
}

#[test]
fn chinese_pages_have_chinese_headings_only() {
    let html = page(Twist::None, Language::Chinese);
    for heading in html.split("<h2").skip(1).filter_map(|h| h.split("</h2>").next()) {
        assert!(heading.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{heading}");
    }
}

#[test]
fn text_of_the_log_stays_text() {
    let escaped = super::page::escape("<script>alert('x')</script>&\"");
    assert_eq!(escaped, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;");
}

#[test]
fn every_type_of_entry_has_its_meaning_and_no_other_is_named() {
    let names: Vec<&str> = EntryKind::ALL.iter().map(|k| k.name()).collect();
    let meant: Vec<&str> = super::federation::meanings().map(|(kind, ..)| kind).collect();
    for name in &names {
        assert_eq!(meant.iter().filter(|kind| *kind == name).count(), 1, "{name}");
    }
    for kind in &meant {
        assert!(names.contains(kind), "{kind}");
    }
}

#[test]
fn permissions_and_denials_are_counted_by_right() {
    let html = page(Twist::Allowed, Language::English);
    assert!(html.contains("Permissions and denials"));
    let row = html.split("<tr>").find(|row| row.contains("<code>model.release</code>")).unwrap();
    assert!(
        row.contains("an administrator, by signature") && row.contains("<span class=\"ok\">allowed</span>") && row.contains("<td>1</td>")
    );
    assert!(html.contains("<th scope=\"row\">right behind their permission</th><td>1</td>"));
    assert!(page(Twist::Allowed, Language::Chinese).contains("发布模型"));
}

fn bytes(draft: &Draft) -> Vec<u8> {
    let origin = Origin { name: String::new(), version: String::new(), build: String::new(), boot_ms: 0 };
    let (id, ts, federation) = (String::new(), String::new(), String::new());
    let stamp = Stamp { seq: 0, id, ts, who: Identity::default(), origin, federation, cause: None };
    LogEntry::new(stamp, draft).to_bytes()
}

/// An entry of a later version may stand in between, which nobody here can read.
#[test]
fn an_act_stands_right_behind_its_permission_or_is_counted_without_one() {
    let allowed = bytes(&Draft::decided(Actor::Administrator, Decision::new(Ruling::Allow, Right::MemberInvite)));
    let act = bytes(&Draft::server(Facts::MemberInvited { token: TokenId([1; 16]) }));
    let later = b"{\"type\":\"of.a.later.version\"}".to_vec();
    let counted = |entries: &[&Vec<u8>]| {
        let mut chronicle = Chronicle::default();
        (0..).zip(entries).for_each(|(index, entry)| chronicle.entry(index, entry));
        (chronicle.acts, chronicle.permitted)
    };
    assert_eq!(counted(&[&allowed, &act]), (1, 1));
    assert_eq!(counted(&[&allowed, &later, &act]), (1, 0));
}

/// Otherwise a page would say of a log with an alarm that it records nothing of this kind.
#[test]
fn what_is_rare_is_named_however_long_the_log_is() {
    let bytes = |facts: Facts| bytes(&Draft::server(facts));
    let (usual, denied) = (bytes(Facts::ProcessStopped {}), bytes(Facts::AuthzDenied {}));
    let mut chronicle = Chronicle::default();
    for index in 0..6_000 {
        chronicle.entry(index, if index % 3 == 0 { &denied } else { &usual });
    }
    chronicle.entry(6_000, &bytes(Facts::AuditAlarm { alarm: AlarmKind::TwoSets, evidence: Sha256([1; 32]) }));
    assert_eq!(chronicle.of(&["audit.alarm"]).map(|(index, _)| index).collect::<Vec<_>>(), [6_000]);
    assert_eq!((chronicle.anomalies().len(), chronicle.kept.len()), (21, 1_021));
    assert_eq!((chronicle.left_out, chronicle.counts["process.stopped"]), (3_000 + 1_980, 4_000));
}
