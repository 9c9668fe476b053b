use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::pipeline::counts::Dropped;
use crate::pipeline::rules::Rules;
use crate::pipeline::rules::tests::minimal;

/// Rows as (line, fields) or (line, reason), and what was assumed.
type Seen = Vec<(u64, Result<Vec<String>, Dropped>)>;

fn input(keys: &str) -> Input {
    Rules::parse(&minimal(false, "").replacen("format = \"jsonl\"\nbad_rows = \"skip\"", keys, 1)).unwrap().input
}

fn rows(bytes: &[u8], input: &Input, columns: &[&str]) -> Result<(Seen, Assumed), SourceError> {
    let mut seen = Vec::new();
    let assumed = read(0, Box::new(Cursor::new(bytes.to_vec())), input, columns, &mut |batch| {
        for row in &batch.rows {
            let text = |range: Range<usize>| String::from_utf8_lossy(&batch.bytes[range]).into_owned();
            let body = match &row.body {
                Ok(RawBody::Line(range)) => Ok(vec![text(range.clone())]),
                Ok(RawBody::Fields { start, ends }) => {
                    let starts = std::iter::once(*start).chain(ends.iter().copied());
                    Ok(starts.zip(ends).map(|(from, to)| text(from..*to)).collect())
                }
                Ok(RawBody::Loose(_)) => Ok(Vec::new()),
                Err(fault) => Err(fault.reason()),
            };
            seen.push((row.line, body));
        }
        true
    })?;
    Ok((seen, assumed))
}

fn ok(line: u64, fields: &[&str]) -> (u64, Result<Vec<String>, Dropped>) {
    (line, Ok(fields.iter().map(|&f| f.to_owned()).collect()))
}

#[test]
fn lines_are_counted_through_blanks_marks_and_long_ones() {
    let input = input("format = \"jsonl\"\nmax_row_bytes = 8");
    let (seen, _) = rows(b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"b\":123456}\n{\"c\":2}", &input, &[]).unwrap();
    assert_eq!(seen, [ok(1, &["{\"a\":1}"]), (4, Err(Dropped::RowTooLong)), ok(5, &["{\"c\":2}"])]);
}

#[test]
fn csv_is_read_as_the_rfc_has_it_with_the_line_on_which_a_row_begins() {
    let input = input("format = \"csv\"");
    let bytes = b"text,x,label\r\nplain,1,a\r\n\"two\nlines, \"\"quoted\"\"\",2,b\r\n\r\nshort,3\nlast,4,c";
    let (seen, _) = rows(bytes, &input, &["label", "text"]).unwrap();
    assert_eq!(
        seen,
        [ok(2, &["plain", "1", "a"]), ok(3, &["two\nlines, \"quoted\"", "2", "b"]), ok(6, &["short", "3"]), ok(7, &["last", "4", "c"])]
    );
}

#[test]
fn a_quote_that_never_closes_is_told_and_not_swallowed() {
    let csv = input("format = \"csv\"\nmax_row_bytes = 64");
    let bytes = [&b"text,label\nfine,a\n\"open,b\n"[..], &b"more,c\n".repeat(50)].concat();
    assert!(matches!(rows(&bytes, &csv, &["text", "label"]), Err(SourceError::Unbounded { line: 3, max: 64 })));
    // Without quotes every row is a line, and a long one costs itself alone.
    let tsv = input("format = \"tsv\"\nheader = false\nfields = [\"label\", \"text\"]\nquote = \"none\"\nmax_row_bytes = 20");
    let (seen, _) = rows(b"a\t\"open\nb\tway too long for this limit\nc\tok \"x\"\r\n", &tsv, &["text", "label"]).unwrap();
    assert_eq!(seen, [ok(1, &["a", "\"open"]), (2, Err(Dropped::RowTooLong)), ok(3, &["c", "ok \"x\""])]);
}

#[test]
fn headers_are_held_to_the_schema() {
    let input = input("format = \"csv\"\nmax_fields = 3");
    let error = |bytes: &[u8]| rows(bytes, &input, &["text", "label"]).unwrap_err();
    assert!(matches!(error(b"text,kind\nx,a\n"), SourceError::NoField { name, .. } if name == "label"));
    assert!(matches!(error(b"text,label,text\n"), SourceError::FieldTwice { name } if name == "text"));
    assert!(matches!(error(b""), SourceError::NoHeader));
    assert!(matches!(error(b"a,b,c,d\n"), SourceError::BadHeader { max: 3 }));
    let (seen, _) = rows(b"text,label\na,b,c,d,e,f\n", &input, &["text", "label"]).unwrap();
    assert_eq!(seen, [(2, Err(Dropped::WrongFieldCount))]);
    let long = format!("{}\n", "CANARY-in-a-header-that-is-a-message".repeat(4));
    assert!(!error(long.as_bytes()).to_string().contains(&"CANARY-in-a-header-that-is-a-message".repeat(2)));
}

#[test]
fn encodings_are_found_and_said() {
    let lines = input("format = \"text\"");
    let text = "尊敬的客户,您的账户于今日消费人民币一百元,如有疑问请致电客服中心。\n您好,快递已到,请凭取件码领取包裹。\n";
    let traditional = "尊敬的客戶,您的帳戶於今日消費新臺幣一百元,如有疑問請致電客服中心。\n您好,包裹已經送達,請憑取件碼領取。\n";
    let encode = |encoding: &'static encoding_rs::Encoding, text: &str| encoding.encode(text).0.into_owned();
    let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let latin = "plain text of many letters\nand another line\n";
    for (bytes, expected, encoding, because) in [
        (text.as_bytes().to_vec(), text, encoding::Known::Utf8, encoding::Because::Valid),
        (encode(encoding_rs::GB18030, text), text, encoding::Known::Gb18030, encoding::Because::Guessed),
        (encode(encoding_rs::BIG5, traditional), traditional, encoding::Known::Big5, encoding::Because::Guessed),
        (wide(&format!("\u{feff}{text}"), u16::to_le_bytes), text, encoding::Known::Utf16le, encoding::Because::Mark),
        (wide(latin, u16::to_be_bytes), latin, encoding::Known::Utf16be, encoding::Because::Zeros),
        (wide(latin, u16::to_le_bytes), latin, encoding::Known::Utf16le, encoding::Because::Zeros),
    ] {
        let (seen, assumed) = rows(&bytes, &lines, &[]).unwrap();
        assert_eq!((assumed.encoding, assumed.because), (encoding, because), "{assumed}");
        let expected: Seen = (1..).zip(expected.lines()).map(|(n, line)| ok(n, &[line])).collect();
        assert_eq!(seen, expected, "{assumed}");
    }
    let cyrillic = encode(encoding_rs::WINDOWS_1251, &"Привет, это обычный русский текст для проверки.\n".repeat(20));
    assert!(matches!(rows(&cyrillic, &lines, &[]), Err(SourceError::Encoding { .. })));
}

#[test]
fn a_row_of_broken_characters_is_named_in_every_encoding() {
    let declared = |name: &str| input(&format!("format = \"text\"\nencoding = \"{name}\""));
    let (mut gb, _, _) = encoding_rs::GB18030.encode("一行\n二行\n三行\n");
    gb.to_mut()[6] = 0xff;
    let (seen, assumed) = rows(&gb, &declared("gb18030"), &[]).unwrap();
    assert_eq!(seen.iter().map(|(n, r)| (*n, r.is_ok())).collect::<Vec<_>>(), [(1, true), (2, false), (3, true)]);
    assert_eq!(assumed.because, encoding::Because::Declared);
    // Bytes of UTF-8 are looked at when the row is read.
    let table = input("format = \"csv\"\nencoding = \"gb18030\"");
    let (mut gb, _, _) = encoding_rs::GB18030.encode("text,label\n一行,a\n二行,b\n");
    gb.to_mut()[18] = 0xff;
    let (seen, _) = rows(&gb, &table, &["text", "label"]).unwrap();
    assert_eq!(seen[1], (3, Err(Dropped::BadEncoding)));
}

#[test]
fn a_file_over_its_limit_is_refused() {
    let small = input("format = \"jsonl\"\nmax_file_bytes = 20");
    assert!(rows(b"{\"a\":1}\n{\"a\":2}\n", &small, &[]).is_ok());
    assert!(matches!(rows(b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", &small, &[]), Err(SourceError::TooLarge { max: 20 })));
}

proptest! {
    /// However the bytes are cut: lines in = rows out, blanks aside.
    #[test]
    fn no_line_is_lost(lines in prop::collection::vec("[a-z\"，验]{0,12}", 0..40), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let bytes: String = lines.iter().map(|l| format!("{l}{end}")).collect();
        let (seen, _) = rows(bytes.as_bytes(), &input("format = \"text\"\nencoding = \"utf-8\""), &[]).unwrap();
        let expected: Seen = (1..).zip(&lines).filter(|(_, l)| !l.is_empty()).map(|(n, l)| ok(n, &[l])).collect();
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn a_table_gives_back_what_was_written(cells in prop::collection::vec(("[a-z,\"\n 验]{1,8}", "[a-z]{1,4}"), 0..20)) {
        let quoted = |s: &str| format!("\"{}\"", s.replace('"', "\"\""));
        let body: String = cells.iter().map(|(t, l)| format!("{},{l}\n", quoted(t))).collect();
        let bytes = format!("text,label\n{body}");
        let (seen, _) = rows(bytes.as_bytes(), &input("format = \"csv\""), &["text", "label"]).unwrap();
        let mut line = 2u64;
        let mut expected = Vec::new();
        for (t, l) in &cells {
            expected.push(ok(line, &[t, l]));
            line += 1 + u64::try_from(t.matches('\n').count()).unwrap();
        }
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for keys in ["format = \"jsonl\"", "format = \"csv\"", "format = \"tsv\"\nquote = \"none\"", "format = \"text\"\nencoding = \"utf-16le\"", "format = \"csv\"\nencoding = \"big5\""] {
            // Refused or read: never a panic.
            drop(rows(&bytes, &input(keys), &["text", "label"]));
        }
    }
}
