//! Canonical pieces of text: decimals and base64 that have exactly one spelling (A6). Knows no format they stand in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Reads a decimal without sign or leading zero (`007` is not a number).
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Reads a decimal that is a tree size or index of a log, at most [`crate::MAX_SIZE`].
pub(crate) fn size(text: &str) -> Option<u64> {
    decimal(text).filter(|n| *n <= crate::MAX_SIZE)
}

/// Writes standard base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads standard base64; padding is required and unused bits must be zero.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("70000"), Some(70_000));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "007", "00", "+1", "-1", " 1", "1 ", "1_0", "0x1", "18446744073709551616", "١"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(from_base64("Zg=="), Some(b"f".to_vec()));
        for bad in ["Zg", "Zg=", "Zh==", "Zg==\n", " Zg==", "Z-=="] {
            assert_eq!(from_base64(bad), None, "{bad:?}");
        }
    }
}
