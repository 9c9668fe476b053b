//! Rows of Apache Parquet. Must not know what a column means. The file is untrusted: its reader is a foreign crate in safe Rust.

use std::io::Read;
use std::sync::Arc;

use parquet::data_type::Decimal;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

use super::{Batch, RawBody, RawRow, SourceError};
use crate::foreign;
use crate::pipeline::parse::{Loose, RowFault};
use crate::pipeline::rules::Input;

fn broken(what: &'static str) -> SourceError {
    SourceError::Parquet { what }
}

/// Runs the foreign reader: on some damaged pages it panics instead of saying so.
fn guarded<T>(what: &'static str, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, SourceError> {
    foreign::caught(read).map_err(|_| broken(what))?.map_err(|_| broken(what))
}

/// Hands out the rows of a file. Its table of contents stands at the end, so that the file is held whole: `input.max_file_bytes` is the
/// bound of memory here.
pub(super) fn read(
    file: usize,
    source: Box<dyn Read + Send>,
    input: &Input,
    columns: &[&str],
    take: &mut dyn FnMut(Batch) -> bool,
) -> Result<(), SourceError> {
    let mut bytes = Vec::new();
    source.take(input.max_file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|source| SourceError::Io { line: 0, source })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > input.max_file_bytes {
        return Err(SourceError::TooLarge { max: input.max_file_bytes });
    }
    let reader = guarded("its footer does not parse", || SerializedFileReader::new(bytes::Bytes::from(bytes)))?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let names: Vec<String> = schema.get_fields().iter().map(|f| f.name().to_owned()).collect();
    let places = super::table::places(&names, columns)?;
    let kept = names.iter().zip(places.iter()).filter(|(_, place)| place.is_some());
    if names.len() > input.max_fields {
        return Err(SourceError::BadHeader { max: input.max_fields });
    }
    // Only the columns of the schema are decoded.
    let wanted: Vec<_> = schema.get_fields().iter().filter(|f| kept.clone().any(|(name, _)| name == f.name())).cloned().collect();
    let projected = parquet::schema::types::Type::group_type_builder(schema.name()).with_fields(wanted).build();
    let projected = projected.map_err(|_| broken("its schema cannot be narrowed"))?;
    let mut rows = guarded("its rows cannot be read", || reader.get_row_iter(Some(projected)))?;
    let none: Arc<[Option<usize>]> = Arc::from([]);
    let mut batch = Batch::new(file, &none);
    for number in 1u64.. {
        let Some(row) = guarded("a page does not decode", || rows.next().transpose())? else { break };
        let mut loose: Vec<Option<Loose>> = columns.iter().map(|_| None).collect();
        for (name, field) in row.get_column_iter() {
            if let Some(at) = columns.iter().position(|c| c == name) {
                loose[at] = Some(value(field));
            }
        }
        let body = bounded(loose, input.max_row_bytes).map(RawBody::Loose);
        batch.rows.push(RawRow { line: number, body });
        if batch.is_full() && !take(std::mem::replace(&mut batch, Batch::new(file, &none))) {
            return Ok(());
        }
    }
    if !batch.rows.is_empty() {
        take(batch);
    }
    Ok(())
}

/// Bytes of the texts of a row, within the limit.
fn bounded(loose: Vec<Option<Loose>>, max: usize) -> Result<Vec<Option<Loose>>, RowFault> {
    let length = |value: &Option<Loose>| if let Some(Loose::Text(text)) = value { text.len() } else { 0 };
    if loose.iter().map(length).sum::<usize>() > max { Err(RowFault::TooLong { max }) } else { Ok(loose) }
}

/// Amounts: whole numbers stay whole, others become the nearest number of 64 bits.
fn decimal(n: &Decimal) -> Loose {
    let bytes = n.data();
    let negative = bytes.first().is_some_and(|b| *b >= 0x80);
    if bytes.len() > 16 {
        return Loose::Compound;
    }
    // Two's complement, the highest byte first.
    let unscaled = bytes.iter().fold(if negative { -1i128 } else { 0 }, |all, b| all << 8 | i128::from(*b));
    let text = if n.scale() == 0 { unscaled.to_string() } else { format!("{unscaled}e{}", -i64::from(n.scale())) };
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => Loose::Integer(whole),
        (Err(_), Ok(number)) => Loose::Number(number),
        (Err(_), Err(_)) => Loose::Compound,
    }
}

fn value(field: &Field) -> Loose {
    let day = |days: i32| {
        let span = jiff::Span::new().try_days(days).ok()?;
        jiff::civil::date(1970, 1, 1).checked_add(span).ok().map(|d| d.to_string())
    };
    let text = |text: Option<String>| text.map_or(Loose::Compound, Loose::Text);
    match field {
        Field::Null => Loose::Nothing,
        Field::Bool(b) => Loose::Boolean(*b),
        Field::Byte(n) => Loose::Integer((*n).into()),
        Field::Short(n) => Loose::Integer((*n).into()),
        Field::Int(n) => Loose::Integer((*n).into()),
        Field::Long(n) => Loose::Integer(*n),
        Field::UByte(n) => Loose::Integer((*n).into()),
        Field::UShort(n) => Loose::Integer((*n).into()),
        Field::UInt(n) => Loose::Integer((*n).into()),
        Field::ULong(n) => i64::try_from(*n).map_or_else(|_| Loose::Text(n.to_string()), Loose::Integer),
        Field::Float16(n) => Loose::Number(n.to_f64()),
        Field::Float(n) => Loose::Number((*n).into()),
        Field::Double(n) => Loose::Number(*n),
        Field::Str(s) => Loose::Text(s.clone()),
        // Texts without the annotation that they are.
        Field::Bytes(bytes) => text(std::str::from_utf8(bytes.data()).ok().map(str::to_owned)),
        Field::Date(days) => text(day(*days)),
        Field::TimestampMillis(ms) => text(jiff::Timestamp::from_millisecond(*ms).ok().map(|t| t.to_string().replace('Z', "+00:00"))),
        Field::TimestampMicros(us) => text(jiff::Timestamp::from_microsecond(*us).ok().map(|t| t.to_string().replace('Z', "+00:00"))),
        Field::Decimal(n) => decimal(n),
        Field::TimeMillis(_) | Field::TimeMicros(_) | Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => Loose::Compound,
    }
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
