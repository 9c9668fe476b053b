//! Sidecars beside the honest story (audit.md A18, A49): told, erased, edited, exchanged, and where nothing is hidden.

use super::fixture::{Draft, Files, write};
use super::pack::pack;
use super::story::{name_of_dataset, tell};
use super::twist::Twist;
use crate::evidence::{self, verify_evidence};
use crate::report::{Language, report};
use crate::{Options, Place, Severity, Verdict, verify};
use protocol::entry::{Facts, LogEntry};
use protocol::ids::LeafIndex;
use protocol::sidecar::{DIR, name_of};

/// Where each institution declares its records, in the order of the institutions.
fn declared(draft: &Draft) -> Vec<u64> {
    let is = |e: &[u8]| matches!(LogEntry::parse(e).unwrap().facts, Facts::DatasetDeclared { .. });
    (0..).zip(&draft.entries).filter(|(_, e)| is(e)).map(|(index, _)| index).collect()
}

fn path(index: u64) -> String {
    format!("{DIR}/{}", name_of(LeafIndex(index)))
}

/// The story with the sidecar of every institution.
fn told(draft: &Draft) -> Files {
    let mut files = draft.files();
    files.extend((0..).zip(declared(draft)).map(|(who, index)| (path(index), name_of_dataset(who).to_bytes())));
    files
}

fn check(files: &Files) -> Verdict {
    verify(write(files).path(), &Options::default()).unwrap()
}

#[test]
fn a_sidecar_tells_a_name_and_erasing_it_harms_nothing() {
    let draft = tell(Twist::None);
    let mut files = told(&draft);
    let v = check(&files);
    assert_eq!((v.exit_code, v.findings.as_slice()), (0, [].as_slice()));
    let names: Vec<(u64, &str)> = v.sidecars.iter().map(|t| (t.entry, t.value.as_str())).collect();
    let all: Vec<(u64, String)> = (0..).zip(declared(&draft)).map(|(who, index)| (index, format!("ward {who}, 2024"))).collect();
    assert_eq!(names, all.iter().map(|(index, name)| (*index, name.as_str())).collect::<Vec<_>>());
    assert!(names.len() == 4 && crate::table::render(&v).contains("ward 3, 2024"));
    assert_eq!(serde_json::to_value(&v).unwrap()["sidecars"][0]["value"], "ward 0, 2024");
    let whole = v.root;
    // Erased on request: the same log, the same verdict, and the name is nowhere in it.
    files.retain(|path, _| !path.starts_with(DIR));
    let v = check(&files);
    assert_eq!((v.exit_code, v.findings.as_slice(), v.sidecars.as_slice(), v.root), (0, [].as_slice(), [].as_slice(), whole));
    assert!(files.values().all(|bytes| !bytes.windows(7).any(|w| w == b"ward 1,")), "a name is in the log");
}

#[test]
fn an_edited_sidecar_is_found_at_its_entry_whatever_was_edited() {
    let draft = tell(Twist::None);
    let (files, index) = (told(&draft), declared(&draft)[2]);
    let honest = files[&path(index)].clone();
    let damaged = (0..honest.len()).map(|at| {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        bytes
    });
    let other = name_of_dataset(3).to_bytes();
    for bytes in damaged.chain([other, Vec::new(), honest[..honest.len() - 1].to_vec(), [&honest[..], b"\n"].concat()]) {
        let mut edited = files.clone();
        edited.insert(path(index), bytes.clone());
        let v = check(&edited);
        let at = v.findings.iter().all(|f| f.place == Place::Index(index) && f.severity == Severity::Integrity);
        assert!(v.exit_code == 1 && v.findings.len() == 1 && at, "{:?}: {:?}", String::from_utf8_lossy(&bytes), v.findings);
        // What is wrong is not shown as if it were right, and nothing of it is repeated.
        assert!(v.sidecars.len() == 3 && v.sidecars.iter().all(|t| t.entry != index));
        assert!(!format!("{:?}", v.findings).contains("ward 2"));
    }
}

#[test]
fn a_sidecar_of_an_entry_that_hides_nothing_is_named_and_proves_nothing() {
    let draft = tell(Twist::None);
    let (files, index) = (draft.files(), declared(&draft)[0]);
    let names = [name_of(LeafIndex(0)), name_of(LeafIndex(draft.entries.len() as u64)), "notes.txt".into(), format!("0{index}.json")];
    for name in names {
        let mut more = files.clone();
        more.insert(format!("{DIR}/{name}"), name_of_dataset(0).to_bytes());
        let v = check(&more);
        let named = v.findings.iter().all(|f| f.place == Place::Path(format!("{DIR}/{name}")));
        assert!(v.exit_code == 4 && v.findings.len() == 1 && named && v.sidecars.is_empty(), "{name}: {:?}", v.findings);
    }
}

#[test]
fn a_pack_and_a_report_show_the_name_that_was_told() {
    let draft = tell(Twist::None);
    let index = declared(&draft)[1];
    let mut files = pack(&draft);
    let bare = verify_evidence(write(&files).path(), None).unwrap();
    assert!(bare.verified && bare.sidecars.is_empty());
    files.insert(path(index), name_of_dataset(1).to_bytes());
    let v = verify_evidence(write(&files).path(), None).unwrap();
    assert!(v.verified && v.sidecars.len() == 1 && evidence::render(&v).contains(&format!("entry {index}: ward 1, 2024")));
    files.insert(path(index), name_of_dataset(2).to_bytes());
    let v = verify_evidence(write(&files).path(), None).unwrap();
    assert!(v.exit_code == 1 && v.findings[0].clause.starts_with("A18"), "{:?}", v.findings);
    for language in [Language::English, Language::Chinese] {
        let page = report(write(&told(&draft)).path(), &Options::default(), language).unwrap().0;
        assert!(page.contains("<strong>ward 1, 2024</strong>"));
        let page = report(write(&draft.files()).path(), &Options::default(), language).unwrap().0;
        assert!(!page.contains("ward 1,"));
    }
}
