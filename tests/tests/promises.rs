//! Whoever noises or spends says what it promises, on the spot: unit, neighbours, measure, and the clause that it rests on (privacy.md D72).
//! Reads sources, runs nothing of them.

use std::path::{Path, PathBuf};

/// Rooms and edges that noise and spend.
const ROOMS: &[&str] = &["privacy/src", "train/src", "client/src"];
/// What a function is handed that noises or spends.
const TAKES: &[&str] = &["Stream<Noise>", "PaidStep", "paid: Paid", "ReserveRequest", "ReleaseRequest", "PaidRelease"];
/// What its comment says, in whatever case.
const SAYS: &[&str] = &["# privacy", "unit", "privacy.md d"];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Comment and arguments of every public function.
fn functions(text: &str) -> Vec<(String, String)> {
    let (mut out, mut comment, mut attribute) = (Vec::new(), String::new(), false);
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line.starts_with("///") {
            comment.push_str(line);
            comment.push('\n');
        } else if attribute || line.starts_with("#[") {
            attribute = !line.ends_with(']');
        } else {
            if line.starts_with("pub fn ") || line.starts_with("pub const fn ") {
                let mut signature = line.to_owned();
                while !signature.contains(['{', ';']) {
                    let Some(next) = lines.next() else { break };
                    signature.push_str(next);
                }
                let arguments = signature.split("->").next().unwrap_or_default().to_owned();
                out.push((comment.to_lowercase(), arguments));
            }
            comment.clear();
        }
    }
    out
}

fn noises_or_spends(arguments: &str) -> bool {
    TAKES.iter().any(|word| arguments.contains(word))
}

#[test]
fn whoever_noises_or_spends_says_what_it_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut files, mut found) = (Vec::new(), 0);
    ROOMS.iter().for_each(|room| sources(&root.join(room), &mut files));
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if name.contains("test") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (comment, arguments) in functions(shipped).into_iter().filter(|(_, arguments)| noises_or_spends(arguments)) {
            found += 1;
            let lacking: Vec<_> = SAYS.iter().filter(|word| !comment.contains(**word)).collect();
            assert!(lacking.is_empty(), "{name}: `{arguments:.80}` says nothing of {lacking:?}");
        }
    }
    assert!(found >= 11, "the scan found {found}");
}

#[test]
fn a_function_that_promises_nothing_is_found() {
    let text = "/// Adds noise.\n#[expect(\n    lint,\n    reason = \"x\"\n)]\npub fn quiet(\n    noise: &mut Stream<Noise>,\n) -> Vec<i64> {\n}\n\
                /// # Privacy\n/// unit: the plan's (privacy.md D21).\npub fn loud(paid: PaidStep) {}\npub fn other() -> PaidStep {}\n";
    let all = functions(text);
    let taken: Vec<bool> = all.iter().map(|(_, arguments)| noises_or_spends(arguments)).collect();
    let said: Vec<bool> = all.iter().map(|(comment, _)| SAYS.iter().all(|word| comment.contains(word))).collect();
    assert_eq!((taken, said), (vec![true, true, false], vec![false, true, false]));
}
