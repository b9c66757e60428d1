//! Parquet files, row by row.

use std::borrow::Cow;
use std::fs::File;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

use super::table::{self, Column, Each, LIST_SEPARATOR};
use crate::data::raw::Sink;
use crate::data::source::LogFile;
use crate::{Error, Result};

/// Reads the wanted columns of a file; no other column is decoded.
pub(super) fn read(
    file: &LogFile,
    columns: &[Column],
    sink: &mut Sink,
    each: &mut Each<'_>,
) -> Result<()> {
    let open =
        File::open(&file.path).map_err(|source| Error::Read { path: file.path.clone(), source })?;
    let fail = |error: parquet::errors::ParquetError| file.malformed(error.to_string());
    let reader = SerializedFileReader::new(open).map_err(fail)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    let positions = table::positions(file, columns, &names)?;
    let mut wanted: Vec<usize> = positions.iter().flatten().copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut projected = wanted.iter().map(|&at| fields[at].clone()).collect();
    let projection = Type::group_type_builder(schema.name())
        .with_fields(std::mem::take(&mut projected))
        .build()
        .map_err(fail)?;
    // Where each wanted column is among those that are decoded.
    let slots: Vec<Option<usize>> =
        positions.iter().map(|at| wanted.binary_search(&(*at)?).ok()).collect();
    for (row, line) in reader.get_row_iter(Some(projection)).map_err(fail)?.zip(1..) {
        let row = row.map_err(fail)?;
        let values: Vec<Cow<'_, str>> =
            row.get_column_iter().map(|(_, field)| text(field)).collect();
        let values: Vec<&str> =
            slots.iter().map(|slot| slot.map_or("", |slot| values[slot].as_ref())).collect();
        each(sink, line, &values)?;
    }
    Ok(())
}

/// A value as a field of a table would have it; times in a unit that their size tells.
fn text(field: &Field) -> Cow<'_, str> {
    match field {
        Field::Null => "".into(),
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()),
        Field::Float(number) => number.to_string().into(),
        Field::Double(number) => number.to_string().into(),
        Field::Date(days) => (i64::from(*days) * 86_400).to_string().into(),
        Field::TimestampMillis(time) | Field::TimestampMicros(time) => time.to_string().into(),
        Field::ListInternal(list) => {
            list.elements().iter().map(text).collect::<Vec<_>>().join(LIST_SEPARATOR).into()
        }
        field => field.to_string().into(),
    }
}
