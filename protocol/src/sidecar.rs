//! Sidecars (audit.md A2, A18): the nonce and the value behind a hash of something that could be guessed, for whoever may know it. They lie beside
//! a copy of the log and are no part of it: where one is erased, nothing in the log changes. Knows no file.

use crate::entry::Facts;
use crate::hash::sha256;
use crate::ids::{LeafIndex, Sha256};
use serde::{Deserialize, Serialize};

/// Where they lie, from the root of a log or of an evidence pack.
pub const DIR: &str = "sidecar";
/// Bytes of a nonce: as many as nobody tries all of.
pub const NONCE: usize = 16;
/// Longest value, in bytes: a name, not a text.
pub const MAX_VALUE: usize = 1024;
/// Longest file: a value of which every byte is escaped, and the rest.
pub const MAX_BYTES: usize = 8192;
/// The only version of the form.
const VERSION: u8 = 1;

/// A value that stands in the log as a hash, and the nonce that keeps it from being guessed.
///
/// # Privacy
/// No `Debug` and no `Display`: what it tells is told by its file alone, and only to whoever is given that.
#[derive(Clone, PartialEq, Eq)]
pub struct Sidecar {
    nonce: [u8; NONCE],
    value: String,
}

/// Why bytes are no sidecar. Says nothing of what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSidecar {
    /// Not one line of JSON with exactly these fields.
    #[error("not one line of JSON with the fields v, nonce and value in their one spelling")]
    Form,
    /// Of another version.
    #[error("version {0}, this program knows {VERSION}")]
    Version(u8),
    /// Not sixteen bytes in lower-case hexadecimal.
    #[error("the nonce is not {NONCE} bytes in lower-case hexadecimal")]
    Nonce,
    /// Empty, too long, or not for a line.
    #[error("a value has 1 to {MAX_VALUE} bytes and no control character")]
    Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u8,
    nonce: String,
    value: String,
}

impl Sidecar {
    /// A value with its nonce.
    ///
    /// # Errors
    /// [`BadSidecar::Value`].
    pub fn new(nonce: [u8; NONCE], value: &str) -> Result<Self, BadSidecar> {
        let good = (1..=MAX_VALUE).contains(&value.len()) && !value.chars().any(char::is_control);
        if good { Ok(Self { nonce, value: value.to_owned() }) } else { Err(BadSidecar::Value) }
    }

    /// The hash that stands in the log: SHA-256 of nonce and value.
    pub fn committed(&self) -> Sha256 {
        Sha256(sha256(&[&self.nonce, self.value.as_bytes()]))
    }

    /// What it tells.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The file: one line of JSON with its line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let line = Line { v: VERSION, nonce: hex::encode(self.nonce), value: self.value.clone() };
        // Two texts and a number always serialise.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file. It has one spelling (A6).
    ///
    /// # Errors
    /// [`BadSidecar`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSidecar> {
        if bytes.len() > MAX_BYTES {
            return Err(BadSidecar::Form);
        }
        let line: Line = serde_json::from_slice(bytes).map_err(|_| BadSidecar::Form)?;
        if line.v != VERSION {
            return Err(BadSidecar::Version(line.v));
        }
        let mut nonce = [0; NONCE];
        hex::decode_to_slice(&line.nonce, &mut nonce).map_err(|_| BadSidecar::Nonce)?;
        let this = Self::new(nonce, &line.value)?;
        if this.to_bytes() == bytes { Ok(this) } else { Err(BadSidecar::Form) }
    }
}

/// The hash in an entry behind which a value is hidden that could be guessed.
pub fn hidden(facts: &Facts) -> Option<Sha256> {
    // Contacts and exact counts are in no entry of this version; where a dataset is named again, the hash is the same.
    if let Facts::DatasetDeclared { dataset: hash } | Facts::SitePolicyDeclared { new: hash, .. } = facts { Some(*hash) } else { None }
}

/// The name of an entry's sidecar below [`DIR`].
pub fn name_of(index: LeafIndex) -> String {
    format!("{index}.json")
}

/// The entry that a file's name states, in its one spelling.
pub fn index_of(name: &str) -> Option<LeafIndex> {
    let index = LeafIndex(name.strip_suffix(".json")?.parse().ok()?);
    (name_of(index) == name).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar() -> Sidecar {
        Sidecar::new([7; NONCE], "cardiology \"2024\"").unwrap()
    }

    #[test]
    fn a_sidecar_tells_what_its_hash_hides_and_has_one_spelling() {
        let bytes = sidecar().to_bytes();
        assert_eq!(bytes, b"{\"v\":1,\"nonce\":\"07070707070707070707070707070707\",\"value\":\"cardiology \\\"2024\\\"\"}\n");
        let read = Sidecar::parse(&bytes).unwrap();
        assert!(read == sidecar() && read.value() == "cardiology \"2024\"");
        assert_eq!(read.committed(), Sha256(sha256(&[&[7; 16], b"cardiology \"2024\""])));
        let text = String::from_utf8(bytes.clone()).unwrap();
        let bad = [
            (text.replace("\"v\":1", "\"v\":2"), BadSidecar::Version(2)),
            (text.replace("0707070707", "070707070"), BadSidecar::Nonce),
            (text.replacen("07", "0A", 1), BadSidecar::Form),
            (text.replace("{\"v\"", "{ \"v\""), BadSidecar::Form),
            (text.replace('}', ",\"more\":1}"), BadSidecar::Form),
            (text.trim_end().to_owned(), BadSidecar::Form),
            (format!("{text}\n"), BadSidecar::Form),
            (text.replace("cardiology", "card\\u0007"), BadSidecar::Value),
            (text.replace("cardiology", "c\\u0061rdiology"), BadSidecar::Form),
            (String::new(), BadSidecar::Form),
        ];
        for (text, why) in bad {
            assert_eq!(Sidecar::parse(text.as_bytes()).err(), Some(why), "{text}");
        }
    }

    #[test]
    fn every_other_nonce_or_value_gives_another_hash() {
        let mut seen = std::collections::BTreeSet::from([sidecar().committed()]);
        for at in 0..NONCE {
            let mut nonce = [7; NONCE];
            nonce[at] ^= 1;
            assert!(seen.insert(Sidecar::new(nonce, sidecar().value()).unwrap().committed()));
        }
        assert!(seen.insert(Sidecar::new([7; NONCE], "cardiology \"2025\"").unwrap().committed()));
    }

    #[test]
    fn values_have_limits_and_fit_their_file() {
        assert!(Sidecar::new([0; NONCE], "").is_err() && Sidecar::new([0; NONCE], "a\nb").is_err());
        assert!(Sidecar::new([0; NONCE], &"a".repeat(MAX_VALUE + 1)).is_err());
        let most = Sidecar::new([0; NONCE], &"\"".repeat(MAX_VALUE)).unwrap();
        assert!(Sidecar::parse(&most.to_bytes()).unwrap() == most);
        assert_eq!(Sidecar::parse(&[b' '; MAX_BYTES + 1]).err(), Some(BadSidecar::Form));
    }

    #[test]
    fn names_are_indices_in_one_spelling() {
        for index in [0, 17, u64::MAX] {
            assert_eq!(index_of(&name_of(LeafIndex(index))), Some(LeafIndex(index)));
        }
        for bad in ["", ".json", "007.json", "+7.json", "7", "7.JSON", "7.json.tmp", "18446744073709551616.json"] {
            assert_eq!(index_of(bad), None, "{bad}");
        }
    }
}
