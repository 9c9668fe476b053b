//! Do the fuzz targets still fit their bodies? They are a workspace of their own, which needs a nightly compiler and libFuzzer, so no test compiles
//! them. All that a target holds beside its body is one line; it is read here, with the manifest. The bodies are compiled and run by
//! `fuzz_bodies.rs`. Compiles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const BODIES: &str = include_str!("fuzz_bodies.rs");
/// Runs the one body that needs files of the training room.
const DAMAGED: &str = include_str!("../../train/tests/damaged.rs");
const GUIDE: &str = include_str!("../../docs/fuzzing.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn table(path: &str) -> Table {
    read(path).parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Names of the Rust files of a folder, without their ending.
fn files(folder: &str) -> BTreeSet<String> {
    let paths = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let rust = paths.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Targets of the manifest, each with the features that it needs.
fn targets() -> BTreeMap<String, Vec<String>> {
    let manifest = table("fuzz/Cargo.toml");
    let bin = |bin: &Value| {
        let name = bin["name"].as_str().unwrap().to_owned();
        assert_eq!(bin["path"].as_str(), Some(format!("fuzz_targets/{name}.rs").as_str()));
        let features = bin.get("required-features").and_then(Value::as_array).into_iter().flatten();
        (name, features.map(|f| f.as_str().unwrap().to_owned()).collect::<Vec<String>>())
    };
    manifest["bin"].as_array().unwrap().iter().map(bin).collect()
}

/// Modules of bodies, each with the feature that it is behind.
fn modules() -> BTreeMap<String, Option<String>> {
    let (mut feature, mut out) = (None, BTreeMap::new());
    for line in read("fuzz/src/lib.rs").lines() {
        if let Some(name) = line.strip_prefix("#[cfg(feature = \"").and_then(|l| l.strip_suffix("\")]")) {
            feature = Some(name.to_owned());
        } else if let Some(name) = line.strip_prefix("pub mod ").and_then(|l| l.strip_suffix(';')) {
            out.insert(name.to_owned(), feature.take());
        }
    }
    out
}

/// Module and function that a target calls, out of the one line that it is.
fn body_of(target: &str) -> (String, String) {
    let text = read(&format!("fuzz/fuzz_targets/{target}.rs"));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("//")).collect();
    let [no_main, call] = lines.as_slice() else { panic!("{target} is more than the call of a body") };
    assert_eq!(*no_main, "#![no_main]", "{target}");
    let call = call.strip_prefix("libfuzzer_sys::fuzz_target!(").unwrap_or_else(|| panic!("{target}: {call}"));
    let call = call.strip_prefix("init: std::panic::set_hook(Box::new(|_| ())), ").unwrap_or(call);
    let body = call.strip_prefix("|bytes: &[u8]| bodies::").and_then(|c| c.strip_suffix("(bytes));"));
    let (module, function) = body.and_then(|b| b.split_once("::")).unwrap_or_else(|| panic!("{target} calls no body: {call}"));
    (module.to_owned(), function.to_owned())
}

/// Bodies of a module: public functions of bytes alone.
fn bodies(module: &str) -> Vec<String> {
    let text = read(&format!("fuzz/src/{module}.rs"));
    let body = |line: &str| {
        let (name, arguments) = line.strip_prefix("pub fn ")?.split_once('(')?;
        ["bytes: &[u8]) {", "mut bytes: &[u8]) {"].contains(&arguments).then(|| name.to_owned())
    };
    text.lines().filter_map(body).collect()
}

#[test]
fn every_target_is_one_call_of_a_body_that_runs_on_stable_too() {
    let targets = targets();
    assert_eq!(
        targets.keys().cloned().collect::<BTreeSet<_>>(),
        files("fuzz/fuzz_targets"),
        "each file is a target, and each target a file"
    );
    for name in targets.keys() {
        let (module, function) = body_of(name);
        assert_eq!(&function, name, "a target is called as its body is");
        assert!(bodies(&module).contains(&function), "{name}: fuzz/src/{module}.rs has no body of this name");
        let here = BODIES.contains(&format!("(\"{name}\", {module}::{function}, "));
        let there = DAMAGED.contains(&format!("{module}::{function}("));
        assert!(here || there, "{name} is not run by fuzz_bodies.rs");
    }
}

#[test]
fn every_body_has_a_target() {
    let (modules, targets) = (modules(), targets());
    let named: BTreeSet<String> = modules.keys().cloned().chain(["lib".to_owned()]).collect();
    assert_eq!(named, files("fuzz/src"), "each file is a module of the library");
    for module in modules.keys() {
        for body in bodies(module) {
            assert!(targets.contains_key(&body), "{module}::{body} has no target");
        }
    }
}

#[test]
fn a_target_needs_the_feature_that_its_body_is_behind() {
    let modules = modules();
    for (name, features) in targets() {
        let behind = &modules[&body_of(&name).0];
        assert_eq!(features, behind.iter().cloned().collect::<Vec<_>>(), "{name}");
    }
}

/// Whether code names a crate: `name::` that is not the end of a longer word.
fn names(code: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&format!("{name}::")).any(|(at, _)| !code[..at].ends_with(word))
}

/// A body may use what this package uses, because it is compiled here; the fuzz workspace must have it as well, with the body's feature.
#[test]
fn the_workspace_of_targets_has_what_the_bodies_use() {
    let (manifest, own) = (table("fuzz/Cargo.toml"), table("tests/Cargo.toml"));
    let known: BTreeSet<&String> = ["dependencies", "dev-dependencies"].iter().flat_map(|d| own[*d].as_table().unwrap().keys()).collect();
    for (module, feature) in modules() {
        let text = read(&format!("fuzz/src/{module}.rs"));
        let code: String = text.lines().map(|l| l.split("//").next().unwrap_or("").to_owned() + "\n").collect();
        let gives: Vec<&str> =
            feature.iter().flat_map(|f| manifest["features"][f.as_str()].as_array().unwrap()).map(|v| v.as_str().unwrap()).collect();
        for name in known.iter().filter(|name| names(&code, &name.replace('-', "_"))) {
            let dependency = manifest["dependencies"].get(name.as_str());
            let dependency = dependency.unwrap_or_else(|| panic!("{module} uses {name}, which fuzz/Cargo.toml lacks"));
            let optional = dependency.get("optional").and_then(Value::as_bool).unwrap_or(false);
            assert!(!optional || gives.contains(&format!("dep:{name}").as_str()), "{module} uses {name} without a feature that brings it");
        }
    }
}

/// What is searched is what is shipped: both workspaces lock the same versions.
#[test]
fn both_locks_name_the_same_versions() {
    let versions = |path: &str| {
        let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in table(path)["package"].as_array().unwrap() {
            let text = |key: &str| package[key].as_str().unwrap().to_owned();
            out.entry(text("name")).or_default().insert(text("version"));
        }
        out
    };
    let (ours, searched) = (versions("Cargo.lock"), versions("fuzz/Cargo.lock"));
    for (name, versions) in &searched {
        let other: Vec<_> = ours.get(name).map(|o| versions.difference(o).collect()).unwrap_or_default();
        assert!(
            other.is_empty(),
            "{name} is locked at {other:?} in fuzz/Cargo.lock; copy Cargo.lock there and run `cargo metadata` in fuzz/"
        );
    }
    assert!(["concordat-client", "concordat-server", "libfuzzer-sys"].iter().all(|name| searched.contains_key(*name)));
}

#[test]
fn the_guide_names_every_target() {
    for name in targets().keys() {
        assert!(GUIDE.contains(&format!("`{name}`")), "{name} is not in docs/fuzzing.md");
    }
}
