//! Checked rows into Parquet files.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float32Builder, Int64Builder, RecordBatch, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use uditsr::data::engine::CheckedEvent;

/// Rows that are handed to the writer at once.
const BATCH: usize = 16_384;
/// Rows of a group of a file, which is in memory until it is full.
const GROUP: usize = 262_144;
/// Rows of a file, so that several can be read at the same time.
const FILE: usize = 4_194_304;

/// Columns of the rows.
pub(crate) fn schema() -> Schema {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Schema::new(vec![
        text("user_id"),
        text("item_id"),
        text("query"),
        text("kind"),
        Field::new("seconds", DataType::Int64, false),
        Field::new("weight", DataType::Float32, false),
    ])
}

/// Writes rows into files of a folder.
pub(crate) struct RowWriter {
    folder: PathBuf,
    schema: SchemaRef,
    texts: [StringBuilder; 4],
    times: Int64Builder,
    weights: Float32Builder,
    waiting: usize,
    in_file: usize,
    files: usize,
    writer: Option<ArrowWriter<File>>,
}

impl RowWriter {
    /// A writer into an empty folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            schema: Arc::new(schema()),
            texts: std::array::from_fn(|_| StringBuilder::new()),
            times: Int64Builder::new(),
            weights: Float32Builder::new(),
            waiting: 0,
            in_file: 0,
            files: 0,
            writer: None,
        }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, event: CheckedEvent<'_>) -> uditsr::Result<()> {
        let CheckedEvent { user, item, query, kind, time, weight } = event;
        for (column, text) in self.texts.iter_mut().zip([user, item, query, kind]) {
            column.append_value(text);
        }
        self.times.append_value(time);
        self.weights.append_value(weight);
        self.waiting += 1;
        if self.waiting == BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what is still in memory.
    pub(crate) fn finish(mut self) -> uditsr::Result<()> {
        self.flush()?;
        self.close()
    }

    fn flush(&mut self) -> uditsr::Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> =
            self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        columns.push(Arc::new(self.times.finish()));
        columns.push(Arc::new(self.weights.finish()));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.map_err(|error| self.fail(error))?;
        if self.writer.is_none() {
            self.open()?;
        }
        if let Some(writer) = &mut self.writer {
            writer.write(&batch).map_err(|error| failure(&self.folder, error))?;
        }
        self.in_file += self.waiting;
        self.waiting = 0;
        if self.in_file >= FILE { self.close() } else { Ok(()) }
    }

    fn open(&mut self) -> uditsr::Result<()> {
        let path = self.folder.join(format!("{:05}.parquet", self.files));
        let file = File::create(&path).map_err(|error| failure(&path, error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), Some(properties));
        self.writer = Some(writer.map_err(|error| failure(&path, error))?);
        self.files += 1;
        Ok(())
    }

    fn close(&mut self) -> uditsr::Result<()> {
        self.in_file = 0;
        match self.writer.take() {
            Some(writer) => writer.close().map(drop).map_err(|error| self.fail(error)),
            None => Ok(()),
        }
    }

    fn fail(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> uditsr::Error {
        failure(&self.folder, error)
    }
}

fn failure(
    path: &std::path::Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> uditsr::Error {
    uditsr::Error::Write { path: path.into(), source: std::io::Error::other(error) }
}
