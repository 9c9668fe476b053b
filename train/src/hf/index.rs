//! The index of a checkpoint whose weights lie in several files: which tensor is in which. Nothing in it is believed: a name that is not one of
//! a file beside the index is refused, and so is a tensor that is not exactly where the index says.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};

/// Largest index, in bytes: one of a hundred thousand tensors has some ten million.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;
/// Most files of one checkpoint: the largest published ones have some two hundred.
pub const MAX_FILES: usize = 1024;
/// Longest name of a file that common file systems take.
const MAX_NAME_BYTES: usize = 255;

/// An index that does not say where the tensors of a checkpoint are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not the JSON of an index.
    #[error("no index: expected a \"weight_map\" of tensors to files")]
    Json(#[from] serde_json::Error),
    /// A file that is not beside the index, or one of another kind.
    #[error("the index names the file {0:?}, expected a name of letters, digits, '-', '_' and '.' that ends in .safetensors")]
    Name(String),
    /// No file, or more than any model has.
    #[error("the index names {got} files, expected 1 to {MAX_FILES}")]
    Files {
        /// Different names.
        got: usize,
    },
    /// A tensor with two places.
    #[error("tensor {name} is in {first} and again in {second}")]
    Twice {
        /// Which.
        name: String,
        /// One place.
        first: String,
        /// The other.
        second: String,
    },
    /// A tensor that is not where the index says.
    #[error("the index says that tensor {name} is in {file}, where it is not")]
    Absent {
        /// Which.
        name: String,
        /// Where it should be.
        file: String,
    },
    /// A tensor that the index does not name; other programs would read it.
    #[error("tensor {name} is in {file}, but not in the index")]
    Unlisted {
        /// Which.
        name: String,
        /// Where it is.
        file: String,
    },
}

/// Which tensor lies in which file.
#[derive(Debug)]
pub struct Index {
    files: Vec<String>,
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Raw {
    weight_map: Listed,
}

/// The map as it is written: a map in memory would keep the last of two equal names and say nothing.
struct Listed(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Listed;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map of tensors to files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = map.next_entry()? {
            all.push(entry);
        }
        Ok(Listed(all))
    }
}

/// Whether a file of this name can only lie beside the index: no separator of any system, nothing hidden, no way up.
fn is_plain(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    letters && !name.starts_with('.') && name.ends_with(".safetensors") && name.len() <= MAX_NAME_BYTES
}

impl Index {
    /// Reads an index; its files are not opened.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let Raw { weight_map: Listed(listed) } = serde_json::from_slice(bytes)?;
        let named: BTreeSet<&str> = listed.iter().map(|(_, file)| file.as_str()).collect();
        if named.is_empty() || named.len() > MAX_FILES {
            return Err(IndexError::Files { got: named.len() });
        }
        if let Some(name) = named.iter().find(|name| !is_plain(name)) {
            return Err(IndexError::Name(name.chars().take(MAX_NAME_BYTES).collect()));
        }
        let files: Vec<String> = named.into_iter().map(str::to_owned).collect();
        let mut places = BTreeMap::new();
        for (name, second) in listed {
            // Every file is one of them.
            let at = files.binary_search(&second).unwrap_or(0);
            if let Some(first) = places.insert(name.clone(), at) {
                return Err(IndexError::Twice { name, first: files[first].clone(), second });
            }
        }
        Ok(Self { files, places })
    }

    /// Names of the files, in the order of their bytes.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The number of the file that a tensor is in.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Refuses files that do not hold exactly what the index says. `holds` says which tensors the file of a number has.
    pub(crate) fn check(&self, holds: &[BTreeSet<&str>]) -> Result<(), IndexError> {
        let file = |at: usize| self.files.get(at).cloned().unwrap_or_default();
        for (name, &at) in &self.places {
            if !holds.get(at).is_some_and(|there| there.contains(name.as_str())) {
                return Err(IndexError::Absent { name: name.clone(), file: file(at) });
            }
        }
        for (second, there) in holds.iter().enumerate() {
            for &name in there {
                match self.place(name) {
                    Some(first) if first == second => {}
                    Some(first) => return Err(IndexError::Twice { name: name.to_owned(), first: file(first), second: file(second) }),
                    None => return Err(IndexError::Unlisted { name: name.to_owned(), file: file(second) }),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(map: &str) -> Result<Index, IndexError> {
        Index::parse(format!("{{\"metadata\":{{\"total_size\":8}},\"weight_map\":{map}}}").as_bytes())
    }

    #[test]
    fn files_come_in_the_order_of_their_names_and_tensors_have_one_place() {
        let index = parse(
            r#"{"b":"model-00002-of-00002.safetensors","a":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}"#,
        );
        let index = index.unwrap();
        assert_eq!(index.files(), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        assert_eq!(["a", "b", "c", "d"].map(|name| index.place(name)), [Some(0), Some(1), Some(1), None]);
    }

    #[test]
    fn a_name_that_is_not_of_a_file_beside_the_index_is_refused() {
        for bad in [
            "../model.safetensors",
            "/etc/model.safetensors",
            "a/model.safetensors",
            "a\\\\model.safetensors",
            ".model.safetensors",
            "..",
            "",
            "model.bin",
            "c:model.safetensors",
            "model\\u0000.safetensors",
            "m\\u00f6del.safetensors",
        ] {
            let refused = parse(&format!(r#"{{"a":"{bad}"}}"#));
            assert!(matches!(refused, Err(IndexError::Name(_))), "{bad}: {refused:?}");
        }
        let long = format!(r#"{{"a":"{}.safetensors"}}"#, "x".repeat(250));
        assert!(matches!(parse(&long), Err(IndexError::Name(_))));
        assert!(parse(r#"{"a":"model-1_a.safetensors"}"#).is_ok());
    }

    #[test]
    fn two_places_no_place_and_too_many_files_are_refused() {
        let twice = parse(r#"{"a":"x.safetensors","b":"x.safetensors","a":"y.safetensors"}"#);
        assert!(matches!(twice, Err(IndexError::Twice { name, first, second })
            if name == "a" && first == "x.safetensors" && second == "y.safetensors"));
        assert!(matches!(parse("{}"), Err(IndexError::Files { got: 0 })));
        let many: Vec<String> = (0..=MAX_FILES).map(|i| format!("\"t{i}\":\"f{i}.safetensors\"")).collect();
        assert!(matches!(parse(&format!("{{{}}}", many.join(","))), Err(IndexError::Files { got }) if got == MAX_FILES + 1));
        for bad in ["[]", "{\"a\":1}", "null"] {
            assert!(matches!(parse(bad), Err(IndexError::Json(_))), "{bad}");
        }
        assert!(matches!(Index::parse(b"{}"), Err(IndexError::Json(_))));
        assert!(matches!(Index::parse(br#"{"weight_map":{"a":"x.safetensors"},"weight_map":{}}"#), Err(IndexError::Json(_))));
    }

    #[test]
    fn files_hold_exactly_what_the_index_says() {
        let index = parse(r#"{"a":"x.safetensors","b":"y.safetensors"}"#).unwrap();
        let check = |x: &[&'static str], y: &[&'static str]| index.check(&[x, y].map(|names| names.iter().copied().collect()));
        assert!(check(&["a"], &["b"]).is_ok());
        assert!(matches!(check(&["a"], &[]), Err(IndexError::Absent { name, file }) if name == "b" && file == "y.safetensors"));
        assert!(matches!(check(&["a", "b"], &[]), Err(IndexError::Absent { name, .. }) if name == "b"));
        assert!(matches!(check(&["a", "b"], &["b"]), Err(IndexError::Twice { name, first, second })
            if name == "b" && first == "y.safetensors" && second == "x.safetensors"));
        assert!(matches!(check(&["a"], &["b", "c"]), Err(IndexError::Unlisted { name, file }) if name == "c" && file == "y.safetensors"));
        assert!(index.check(&[]).is_err());
    }
}
