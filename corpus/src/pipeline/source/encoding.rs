//! Which encoding a file has, and its bytes as UTF-8. Must not know rows.

use std::fmt;
use std::io::{self, BufRead, Read};

use encoding_rs::{BIG5, CoderResult, Decoder, GB18030, GBK, UTF_8, UTF_16BE, UTF_16LE};

use super::{Limited, SourceError, Text};
use crate::pipeline::rules::Encoding;

/// Bytes that are looked at before an encoding is assumed.
const SAMPLE: usize = 256 * 1024;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Which encoding was assumed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Assumed {
    /// The encoding.
    pub encoding: Known,
    /// What it was assumed for.
    pub because: Because,
}

/// Encodings that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Known {
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// GB18030.
    #[serde(rename = "gb18030")]
    Gb18030,
    /// Big5.
    #[serde(rename = "big5")]
    Big5,
    /// UTF-16, little end first.
    #[serde(rename = "utf-16le")]
    Utf16le,
    /// UTF-16, big end first.
    #[serde(rename = "utf-16be")]
    Utf16be,
}

/// Why an encoding was assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The rule file says so.
    Declared,
    /// A byte-order mark.
    Mark,
    /// The beginning of the file is valid in it.
    Valid,
    /// Every second byte of the beginning is zero.
    Zeros,
    /// Frequencies of characters.
    Guessed,
    /// The format has no choice.
    Format,
}

impl Assumed {
    /// For files whose format fixes it.
    pub(super) const TYPED: Self = Self { encoding: Known::Utf8, because: Because::Format };
}

impl Known {
    fn decoder(self) -> Decoder {
        match self {
            Self::Utf8 => UTF_8,
            Self::Gb18030 => GB18030,
            Self::Big5 => BIG5,
            Self::Utf16le => UTF_16LE,
            Self::Utf16be => UTF_16BE,
        }
        .new_decoder_with_bom_removal()
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.encoding {
            Known::Utf8 => "UTF-8",
            Known::Gb18030 => "GB18030",
            Known::Big5 => "Big5",
            Known::Utf16le => "UTF-16LE",
            Known::Utf16be => "UTF-16BE",
        };
        let because = match self.because {
            Because::Declared => "as declared",
            Because::Mark => "from its byte-order mark",
            Because::Valid => "its beginning is valid in it",
            Because::Zeros => "every second byte of its beginning is zero",
            Because::Guessed => "a guess from the frequencies of its characters",
            Because::Format => "as its format says",
        };
        write!(f, "{name} ({because})")
    }
}

/// Assumes an encoding, and reads on in UTF-8.
pub(super) fn decoded(mut source: Limited, declared: Encoding) -> Result<(Assumed, Decoded), SourceError> {
    let mut sample = Vec::new();
    source
        .by_ref()
        .take(u64::try_from(SAMPLE).unwrap_or(0))
        .read_to_end(&mut sample)
        .map_err(|source| SourceError::Io { line: 0, source })?;
    let assumed = match declared {
        Encoding::Auto => assume(&sample, sample.len() < SAMPLE)?,
        Encoding::Utf8 => declare(Known::Utf8),
        Encoding::Gb18030 => declare(Known::Gb18030),
        Encoding::Big5 => declare(Known::Big5),
        Encoding::Utf16le => declare(Known::Utf16le),
        Encoding::Utf16be => declare(Known::Utf16be),
    };
    // UTF-8 goes through as it is: a bad row is found by itself and costs no other row.
    let decoder = (assumed.encoding != Known::Utf8).then(|| assumed.encoding.decoder());
    Ok((assumed, Decoded { source, decoder, raw: sample, out: Vec::new(), at: 0, ended: false }))
}

fn declare(encoding: Known) -> Assumed {
    Assumed { encoding, because: Because::Declared }
}

/// What the beginning of a file looks like.
fn assume(sample: &[u8], whole: bool) -> Result<Assumed, SourceError> {
    let found = |encoding, because| Ok(Assumed { encoding, because });
    if let Some((encoding, _)) = encoding_rs::Encoding::for_bom(sample) {
        let known = if encoding == UTF_16LE {
            Known::Utf16le
        } else if encoding == UTF_16BE {
            Known::Utf16be
        } else {
            Known::Utf8
        };
        return found(known, Because::Mark);
    }
    if let Some(known) = zeros(sample) {
        return found(known, Because::Zeros);
    }
    // A character may be cut at the end of the sample.
    if std::str::from_utf8(sample).map_or_else(|e| !whole && e.error_len().is_none(), |_| true) {
        return found(Known::Utf8, Because::Valid);
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(sample, whole);
    let guess = detector.guess(None, chardetng::Utf8Detection::Allow);
    match guess {
        g if g == GBK || g == GB18030 => found(Known::Gb18030, Because::Guessed),
        g if g == BIG5 => found(Known::Big5, Because::Guessed),
        // Mostly UTF-8 with bad rows: those are named one by one.
        _ if mostly_utf8(sample) => found(Known::Utf8, Because::Guessed),
        g => Err(SourceError::Encoding { guess: g.name() }),
    }
}

/// Whether nine of ten lines that are not ASCII are valid UTF-8.
fn mostly_utf8(sample: &[u8]) -> bool {
    let wide = || sample.split(|b| *b == b'\n').filter(|line| !line.is_ascii());
    let good = wide().filter(|line| std::str::from_utf8(line).is_ok()).count();
    good > 0 && good * 10 >= wide().count() * 9
}

/// UTF-16 without a mark: Latin letters, digits and line ends have a zero byte, and text in bytes has none.
fn zeros(sample: &[u8]) -> Option<Known> {
    let pairs = sample.as_chunks::<2>().0;
    let (first, second) = pairs.iter().fold((0usize, 0usize), |(a, b), p| (a + usize::from(p[0] == 0), b + usize::from(p[1] == 0)));
    let few = pairs.len() / 10;
    match () {
        () if pairs.len() >= 4 && second > few && second > 4 * first => Some(Known::Utf16le),
        () if pairs.len() >= 4 && first > few && first > 4 * second => Some(Known::Utf16be),
        () => None,
    }
}

/// A file in UTF-8. What is no character becomes U+FFFD, which marks its row.
pub(super) struct Decoded {
    source: Limited,
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    out: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Decoded {
    /// Reads and decodes the next chunk into `out`.
    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.out.clear();
        while self.out.is_empty() && !self.ended {
            if self.raw.is_empty() {
                self.raw.resize(CHUNK, 0);
                let got = match self.source.read(&mut self.raw) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                        self.raw.clear();
                        continue;
                    }
                    got => got?,
                };
                self.raw.truncate(got);
                self.ended = got == 0;
            }
            match &mut self.decoder {
                None => std::mem::swap(&mut self.out, &mut self.raw),
                Some(decoder) => decode(decoder, &self.raw, self.ended, &mut self.out),
            }
            self.raw.clear();
        }
        Ok(())
    }
}

fn decode(decoder: &mut Decoder, mut raw: &[u8], last: bool, out: &mut Vec<u8>) {
    loop {
        let from = out.len();
        out.resize(from + raw.len() * 3 + 16, 0);
        let (result, read, written, _) = decoder.decode_to_utf8(raw, &mut out[from..], last);
        out.truncate(from + written);
        raw = &raw[read..];
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.fill_buf()?;
        let got = part.len().min(buffer.len());
        buffer[..got].copy_from_slice(&part[..got]);
        self.consume(got);
        Ok(got)
    }
}

impl BufRead for Decoded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.out.len() {
            self.refill()?;
        }
        Ok(&self.out[self.at..])
    }

    fn consume(&mut self, used: usize) {
        self.at = (self.at + used).min(self.out.len());
    }
}

impl Text for Decoded {
    fn is_over(&self) -> bool {
        self.source.over
    }
}
