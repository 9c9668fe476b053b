//! Files as the format's own writer makes them, and damaged ones.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::pipeline::rules::Rules;
use crate::pipeline::rules::tests::minimal;

const SCHEMA: &str = "message records {
    required binary text (utf8);
    optional int64 amount;
    required double share;
    required boolean spam;
    required int32 day (date);
    required int64 at (timestamp(millis,true));
    required fixed_len_byte_array(5) price (decimal(10,2));
    required int32 whole (decimal(9,0));
    optional group list (list) { repeated group list { required int32 element; } }
    required binary unread (utf8);
}";
const COLUMNS: [&str; 9] = ["text", "amount", "share", "spam", "day", "at", "price", "whole", "list"];

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], definitions: Option<&[i16]>, repetitions: Option<&[i16]>) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, definitions, repetitions).unwrap();
    column.close().unwrap();
}

/// `groups` row groups of three rows each.
fn file(compression: Compression, groups: usize) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let price = |cents: i64| FixedLenByteArray::from(cents.to_be_bytes()[3..].to_vec());
    for _ in 0..groups {
        let mut group = writer.next_row_group().unwrap();
        column::<ByteArrayType>(&mut group, &["验证码 1234", "", "third"].map(ByteArray::from), None, None);
        column::<Int64Type>(&mut group, &[7, -9], Some(&[1, 0, 1]), None);
        column::<DoubleType>(&mut group, &[0.5, f64::NAN, -1.0], None, None);
        column::<BoolType>(&mut group, &[true, false, true], None, None);
        column::<Int32Type>(&mut group, &[0, -1, 20_000], None, None);
        column::<Int64Type>(&mut group, &[0, 1_500, i64::MAX], None, None);
        column::<FixedLenByteArrayType>(&mut group, &[price(12_345), price(-1), price(0)], None, None);
        column::<Int32Type>(&mut group, &[-5, 0, 999_999_999], None, None);
        column::<Int32Type>(&mut group, &[1], Some(&[2, 0, 1]), Some(&[0, 0, 0]));
        column::<ByteArrayType>(&mut group, &["never", "decoded", "at all"].map(ByteArray::from), None, None);
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn input(keys: &str) -> Input {
    let rules = minimal(false, "").replacen("format = \"jsonl\"", &format!("format = \"parquet\"\n{keys}"), 1);
    Rules::parse(&rules).unwrap().input
}

type Rows = Vec<(u64, Result<Vec<Option<Loose>>, RowFault>)>;

fn rows(bytes: &[u8], input: &Input, columns: &[&str]) -> Result<Rows, SourceError> {
    let mut seen = Vec::new();
    read(0, Box::new(Cursor::new(bytes.to_vec())), input, columns, &mut |batch| {
        for row in batch.rows {
            let body = row.body.map(|body| if let RawBody::Loose(cells) = body { cells } else { Vec::new() });
            seen.push((row.line, body));
        }
        true
    })?;
    Ok(seen)
}

fn shown(cell: &Option<Loose>) -> String {
    match cell {
        None => "absent".into(),
        Some(Loose::Nothing) => "nothing".into(),
        Some(Loose::Text(text)) => text.clone(),
        Some(Loose::Integer(n)) => n.to_string(),
        Some(Loose::Number(n)) => n.to_string(),
        Some(Loose::Boolean(b)) => b.to_string(),
        Some(Loose::Compound) => "compound".into(),
    }
}

#[test]
fn every_kind_of_value_comes_back_in_the_order_of_the_rules() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        let rows = rows(&file(compression, 2), &input(""), &COLUMNS).unwrap();
        assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let row = |at: usize| rows[at].1.as_ref().unwrap().iter().map(shown).collect::<Vec<_>>();
        let first = ["验证码 1234", "7", "0.5", "true", "1970-01-01", "1970-01-01T00:00:00+00:00", "123.45", "-5", "compound"];
        assert_eq!(row(0), first);
        assert_eq!(row(3), first, "the second row group");
        assert_eq!(row(1)[..5], ["", "nothing", "NaN", "false", "1969-12-31"]);
        assert_eq!(row(1)[5..8], ["1970-01-01T00:00:01.5+00:00", "-0.01", "0"]);
        // A time that no calendar has.
        assert_eq!(row(2)[5], "compound");
    }
}

#[test]
fn what_does_not_fit_the_rules_is_refused() {
    let good = file(Compression::SNAPPY, 1);
    assert!(matches!(rows(&good, &input("max_fields = 9"), &["text"]), Err(SourceError::BadHeader { max: 9 })));
    assert!(matches!(rows(&good, &input(""), &["text", "absent"]), Err(SourceError::NoField { .. })));
    assert!(matches!(rows(&good, &input("max_file_bytes = 100"), &["text"]), Err(SourceError::TooLarge { max: 100 })));
    assert!(matches!(rows(&good[..good.len() - 1], &input(""), &["text"]), Err(SourceError::Parquet { .. })));
    assert!(matches!(rows(b"PAR1", &input(""), &["text"]), Err(SourceError::Parquet { .. })));
    let short = rows(&good, &input("max_row_bytes = 10"), &["text"]).unwrap();
    assert!(matches!(short[0].1, Err(RowFault::TooLong { max: 10 })) && short[1].1.is_ok());
}

/// Panics of this thread that nobody catches, from now on; those of other tests are told as before.
fn uncaught() -> Arc<AtomicUsize> {
    let (count, mine, before) = (Arc::new(AtomicUsize::new(0)), std::thread::current().id(), std::panic::take_hook());
    let seen = Arc::clone(&count);
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != mine {
            before(info);
        } else if !foreign::catching() {
            seen.fetch_add(1, Ordering::Relaxed);
            before(info);
        }
    }));
    count
}

/// Every byte of a small file changed in two ways, and every beginning of it: refused or read, never a panic that would be told of.
#[test]
fn damaged_files_are_refused_or_read() {
    let (good, uncaught) = (file(Compression::SNAPPY, 1), uncaught());
    let input = input("");
    for at in 0..good.len() {
        for flip in [0x01, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            drop(rows(&bad, &input, &COLUMNS));
        }
        drop(rows(&good[..at], &input, &COLUMNS));
    }
    assert!(matches!(guarded::<()>("it chokes", || panic!("on a record")), Err(SourceError::Parquet { what: "it chokes" })));
    assert_eq!(uncaught.load(Ordering::Relaxed), 0);
}
