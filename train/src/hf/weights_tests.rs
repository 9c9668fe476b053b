//! One model in one file, in several, and in several that do not fit together.

use super::super::base::{Base, BaseError};
use super::super::index::IndexError;
use super::super::{CONFIG, TOKENIZER, load, save, save_in_files_of};
use super::*;
use std::path::PathBuf;

fn vectors(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hf").join(name)
}

/// A published model in files of at most so many bytes.
fn cut(name: &str, most: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    save_in_files_of(&load(&vectors(name)).unwrap(), directory.path(), most).unwrap();
    directory
}

fn files(directory: &Path) -> Vec<String> {
    let all = std::fs::read_dir(directory).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = all.filter(|name| name.starts_with("model")).collect();
    all.sort();
    all
}

#[test]
fn a_model_in_several_files_is_the_model_in_one() {
    for name in ["llama", "gpt2", "bert-classify", "t5"] {
        let whole = load(&vectors(name)).unwrap();
        let numbers: u64 = own(&whole.weights).map(|(p, _)| length(p)).sum();
        for most in [1, numbers / 3, numbers - 1, numbers] {
            let directory = cut(name, most);
            let written = files(directory.path());
            assert_eq!(written.len() > 1, most < numbers, "{name} {written:?}");
            assert_eq!(load(directory.path()).unwrap(), whole, "{name} in files of {most}");
            if most < numbers {
                assert!(written[0].starts_with("model-00001-of-0") && written.last().unwrap() == INDEX, "{written:?}");
                let index: Value = serde_json::from_slice(&std::fs::read(directory.path().join(INDEX)).unwrap()).unwrap();
                assert_eq!(index["metadata"]["total_size"], numbers);
                assert_eq!(index["weight_map"].as_object().unwrap().len(), own(&whole.weights).count());
            }
        }
    }
}

/// What was written before does not shadow what is written now.
#[test]
fn several_files_take_the_place_of_one() {
    let (directory, whole) = (tempfile::tempdir().unwrap(), load(&vectors("llama")).unwrap());
    save(&load(&vectors("qwen2")).unwrap(), directory.path()).unwrap();
    save_in_files_of(&whole, directory.path(), 4096).unwrap();
    assert_eq!(load(directory.path()).unwrap(), whole);
}

#[test]
fn one_file_is_named_by_its_digest_and_several_by_what_sha256sum_prints_of_them() {
    let of = |bytes: &[u8]| Sha256(sha256(&[bytes]));
    let one = cut("llama", u64::MAX);
    let opened = WeightFiles::open(one.path()).unwrap();
    assert_eq!((opened.digest(), opened.named()), (of(&std::fs::read(one.path().join(WEIGHTS)).unwrap()), WEIGHTS));
    let several = cut("llama", 4096);
    let mut names = files(several.path());
    names.rotate_right(1); // the index first
    assert!(names.len() > 3 && names[0] == INDEX, "{names:?}");
    let line = |name: &String| format!("{}  {name}\n", of(&std::fs::read(several.path().join(name)).unwrap()));
    let printed: String = names.iter().map(line).collect();
    assert_eq!(WeightFiles::open(several.path()).unwrap().digest(), of(printed.as_bytes()));
    // Every file counts, and so does how the tensors lie in them.
    for name in &names {
        let other = cut("llama", 4096);
        let mut bytes = std::fs::read(other.path().join(name)).unwrap();
        let end = bytes.len() - 2;
        bytes[end] ^= 1;
        std::fs::write(other.path().join(name), bytes).unwrap();
        let found = WeightFiles::open(other.path()).map(|files| files.digest());
        assert!(found.is_err() || found.unwrap() != of(printed.as_bytes()), "{name}");
    }
    assert_ne!(WeightFiles::open(cut("llama", 8192).path()).unwrap().digest(), of(printed.as_bytes()));
}

#[test]
fn files_that_do_not_fit_together_are_refused_by_name() {
    let refused = |change: &dyn Fn(&Path)| {
        let directory = cut("llama", 4096);
        change(directory.path());
        load(directory.path()).unwrap_err()
    };
    let second = "model-00002-of-0";
    let path = |directory: &Path| directory.join(files(directory).into_iter().find(|name| name.starts_with(second)).unwrap());
    let missing = refused(&|d| std::fs::remove_file(path(d)).unwrap());
    assert!(matches!(missing, HfError::File { file, .. } if file.starts_with(second)));
    let edit = |d: &Path, change: &dyn Fn(&mut Map<String, Value>)| {
        let mut index: Value = serde_json::from_slice(&std::fs::read(d.join(INDEX)).unwrap()).unwrap();
        change(index["weight_map"].as_object_mut().unwrap());
        std::fs::write(d.join(INDEX), index.to_string()).unwrap();
    };
    let index_error = |error: HfError| {
        let HfError::Weights(FileError::Index(error)) = error else { panic!("{error:?}") };
        error
    };
    let norm = "model.norm.weight";
    let first = |map: &Map<String, Value>| map.values().map(|v| v.as_str().unwrap().to_owned()).min().unwrap();
    let moved = refused(&|d| edit(d, &|map| drop(map.insert(norm.into(), Value::from(first(map))))));
    assert!(matches!(index_error(moved), IndexError::Absent { name, .. } if name == norm));
    let unlisted = refused(&|d| edit(d, &|map| drop(map.remove(norm))));
    assert!(matches!(index_error(unlisted), IndexError::Unlisted { name, .. } if name == norm));
    // Both files have the tensor, whichever of them the index names.
    let twice = refused(&|d| {
        std::fs::copy(path(d), d.join("model-more.safetensors")).unwrap();
        edit(d, &|map| {
            let there = map.iter().find(|(_, file)| file.as_str().unwrap().starts_with(second)).unwrap().0.clone();
            map.insert(there, Value::from("model-more.safetensors"));
        });
    });
    assert!(matches!(index_error(twice), IndexError::Twice { .. }));
    let away = refused(&|d| edit(d, &|map| drop(map.insert(norm.into(), Value::from("../model.safetensors")))));
    assert!(matches!(index_error(away), IndexError::Name(name) if name == "../model.safetensors"));
    let cut_off = refused(&|d| {
        let bytes = std::fs::read(path(d)).unwrap();
        std::fs::write(path(d), &bytes[..bytes.len() - 4]).unwrap();
    });
    assert!(matches!(cut_off, HfError::Weights(FileError::Format(_))));
    let none = tempfile::tempdir().unwrap();
    std::fs::copy(vectors("llama").join(CONFIG), none.path().join(CONFIG)).unwrap();
    assert!(matches!(load(none.path()), Err(HfError::File { file, .. }) if file == WEIGHTS));
}

/// A plan names several files as one, and another cut of the same numbers is another checkpoint.
#[test]
fn a_plan_begins_from_several_files() {
    let cut = |most| {
        let directory = cut("bert-classify", most);
        std::fs::write(directory.path().join(TOKENIZER), br#"{"model":{"vocab":{"a":0,"b":59}}}"#).unwrap();
        directory
    };
    let (several, one) = (cut(4096), cut(u64::MAX));
    let (several, one) = (Base::open(several.path()).unwrap(), Base::open(one.path()).unwrap());
    let head = [crate::shard::tiers::Part::Head];
    let (begun, _) = super::super::base::tests::begun(&several, 3, None, &head).unwrap();
    let (same, _) = super::super::base::tests::begun(&one, 3, None, &head).unwrap();
    assert_eq!(begun.flat(), same.flat());
    assert_eq!(several.whole(&begun).unwrap(), one.whole(&same).unwrap());
    let refused = one.outside(begun.config()).unwrap_err();
    assert!(matches!(refused, BaseError::Differs { file: WEIGHTS, .. }), "{refused}");
    let refused = several.outside(same.config()).unwrap_err();
    assert!(matches!(refused, BaseError::Differs { file: INDEXED, .. }), "{refused}");
}
