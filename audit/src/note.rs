//! Signed notes (A7, C2SP signed-note). Knows no checkpoint: a text is text here.

use std::fmt::Write as _;

use crate::key::{KeyId, KeyType, SignerKey, VerifierKey, is_key_name};
use crate::strict::Signed;
use crate::text;

/// Largest note (A7): 128 post-quantum signatures would need more, 128 Ed25519 ones need a tenth.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;

/// Most signature lines (A7): twice the 64 witnesses a policy can name.
pub const MAX_SIGNATURES: usize = 128;

/// Bytes or text that are not a note, or a note that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Above [`MAX_NOTE_BYTES`].
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8, or with a control character other than line feed.
    #[error("the note is not plain UTF-8 text")]
    NotText,
    /// Text, empty line and signature lines are not where they belong.
    #[error("the note is not a text, an empty line and signature lines")]
    BadShape,
    /// No signature line, or more than [`MAX_SIGNATURES`].
    #[error("the note has {got} signature lines; 1 to {MAX_SIGNATURES} are allowed")]
    SignatureCount {
        /// Lines found, counted no further than one too many.
        got: usize,
    },
    /// A line is not `— name base64(id‖signature)`.
    #[error("signature line {line} is malformed")]
    BadLine {
        /// Position, from 0.
        line: usize,
    },
    /// A known key's signature does not verify: the whole note is rejected.
    #[error("the signature of known key {name} does not verify")]
    BadSignature {
        /// The key's name.
        name: String,
    },
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: String,
    id: KeyId,
    blob: Vec<u8>,
}

impl SignatureLine {
    /// The line of this key with this signature blob.
    pub(crate) fn new(key: &VerifierKey, blob: Vec<u8>) -> Self {
        Self { name: key.name().to_owned(), id: key.id(), blob }
    }

    /// Name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the key's type defines: a signature, or a time and a signature.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Whether this line claims to be by `key`.
    pub fn claims(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }

    fn write(&self, out: &mut String) {
        let bytes = [&self.id.0, self.blob.as_slice()].concat();
        // Writing to a string cannot fail.
        writeln!(out, "— {} {}", self.name, text::to_base64(&bytes)).unwrap_or(());
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, blob) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = text::from_base64(blob)?;
        let (id, blob) = bytes.split_first_chunk::<4>()?;
        (is_key_name(name) && !blob.is_empty()).then(|| Self { name: name.to_owned(), id: KeyId(*id), blob: blob.to_vec() })
    }
}

/// The text of signature lines, each with its line feed.
pub fn write_lines(lines: &[SignatureLine]) -> String {
    let mut out = String::new();
    lines.iter().for_each(|l| l.write(&mut out));
    out
}

/// Reads 1 to [`MAX_SIGNATURES`] signature lines, as a witness answers with.
///
/// # Errors
/// [`NoteError`] if the text is anything else.
pub fn parse_lines(lines: &str) -> Result<Vec<SignatureLine>, NoteError> {
    if lines.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong);
    }
    let body = lines.strip_suffix('\n').ok_or(NoteError::BadShape)?;
    let got = body.split('\n').take(MAX_SIGNATURES + 1).count();
    if got > MAX_SIGNATURES {
        return Err(NoteError::SignatureCount { got });
    }
    let parse = |(line, text)| SignatureLine::parse(text).ok_or(NoteError::BadLine { line });
    body.split('\n').enumerate().map(parse).collect()
}

/// A text with signatures; none of them checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<SignatureLine>,
}

/// A signature of a known key that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The key.
    pub key: &'a VerifierKey,
    /// The time of a cosignature, in seconds since 1970.
    pub time_s: Option<u64>,
}

/// A signature that claims a known key and is not judged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed<'a> {
    key: &'a VerifierKey,
    time_s: Option<u64>,
    signed: Option<Signed>,
}

impl<'a> Claimed<'a> {
    /// What a judge is to look at; nothing for a blob that cannot be a signature of its key.
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// Whether the signature holds by the strict rule.
    pub fn holds(&self) -> bool {
        self.signed.as_ref().is_some_and(|s| self.key.holds(s))
    }

    /// The signature, if it `holds` by the strict rule.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] if it does not.
    pub fn verified(&self, holds: bool) -> Result<Verified<'a>, NoteError> {
        let bad = || NoteError::BadSignature { name: self.key.name().to_owned() };
        (holds && self.signed.is_some()).then_some(Verified { key: self.key, time_s: self.time_s }).ok_or_else(bad)
    }
}

impl Note {
    /// Signs a text with a log's key.
    ///
    /// # Errors
    /// [`NoteError::NotText`] or [`NoteError::BadShape`] if the text cannot be a note's; [`NoteError::BadLine`] if the key is
    /// not of type [`KeyType::Note`].
    pub fn sign(text: &str, key: &SignerKey) -> Result<Self, NoteError> {
        check_plain(text)?;
        if key.verifier().kind() != KeyType::Note {
            return Err(NoteError::BadLine { line: 0 });
        }
        if text.len() < 2 || !text.ends_with('\n') {
            return Err(NoteError::BadShape);
        }
        let line = SignatureLine::new(key.verifier(), key.sign_bytes(text.as_bytes()).to_vec());
        Ok(Self { text: text.to_owned(), lines: vec![line] })
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not the one spelling of a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        check_plain(note)?;
        // The text may hold empty lines; the last one in the note ends it.
        let end = note.rfind("\n\n").ok_or(NoteError::BadShape)?;
        let (text, rest) = note.split_at(end + 1);
        let lines = rest.strip_prefix('\n').ok_or(NoteError::BadShape)?;
        if lines.is_empty() {
            return Err(NoteError::SignatureCount { got: 0 });
        }
        Ok(Self { text: text.to_owned(), lines: parse_lines(lines)? })
    }

    /// The bytes of the note.
    pub fn encode(&self) -> Vec<u8> {
        format!("{}\n{}", self.text, write_lines(&self.lines)).into_bytes()
    }

    /// The signed text, with its last line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order.
    pub fn lines(&self) -> &[SignatureLine] {
        &self.lines
    }

    /// Adds signature lines that are not there yet.
    ///
    /// # Errors
    /// [`NoteError::SignatureCount`] if there would be too many; the note is unchanged.
    pub fn add(&mut self, lines: &[SignatureLine]) -> Result<(), NoteError> {
        let mut all = self.lines.clone();
        all.extend(lines.iter().filter(|l| !self.lines.contains(l)).cloned());
        if all.len() > MAX_SIGNATURES {
            return Err(NoteError::SignatureCount { got: all.len() });
        }
        self.lines = all;
        Ok(())
    }

    /// The signatures by `known` keys, in line order. Lines of unknown keys are ignored.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] if a line that claims a known key does not verify: then nothing in the note is believed.
    pub fn verify<'a>(&self, known: impl IntoIterator<Item = &'a VerifierKey> + Clone) -> Result<Vec<Verified<'a>>, NoteError> {
        self.claims(known).iter().map(|c| c.verified(c.holds())).collect()
    }

    /// The signatures that claim `known` keys, in line order, none of them judged yet.
    pub fn claims<'a>(&self, known: impl IntoIterator<Item = &'a VerifierKey> + Clone) -> Vec<Claimed<'a>> {
        let claim = |line: &SignatureLine| {
            let key = known.clone().into_iter().find(|k| line.claims(k))?;
            let (signed, time_s) = key.signed(&self.text, &line.blob).map_or((None, None), |(s, t)| (Some(s), t));
            Some(Claimed { key, time_s, signed })
        };
        self.lines.iter().filter_map(claim).collect()
    }
}

fn check_plain(text: &str) -> Result<(), NoteError> {
    let control = text.bytes().any(|b| b < 0x20 && b != b'\n');
    if control { Err(NoteError::NotText) } else { Ok(()) }
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
