//! The vocabulary, and words as numbers.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use uditsr::data::engine::{Staged, word_counts};
use uditsr::data::{UNKNOWN_WORD, Vocabulary};

use crate::{Engine, Error, Result};

/// Queries whose words are remembered before all are forgotten.
const REMEMBERED: usize = 1 << 18;

/// Learns the words of visible training queries and of the catalogue.
pub(crate) async fn learn(engine: &Engine, staged: &Staged) -> Result<Vocabulary> {
    catalogue_words(engine, staged).await?;
    let options = staged.options();
    let query = format!(
        "SELECT word FROM
            (SELECT word, sum(in_queries) AS in_queries, sum(in_items) AS in_items FROM
                (SELECT word, uses AS in_queries, CAST(0 AS BIGINT) AS in_items FROM
                    (SELECT unnest(words(query)) AS word, uses FROM
                        (SELECT query, count(*) AS uses FROM train
                        WHERE query <> '' AND NOT is_hidden GROUP BY query))
                UNION ALL
                SELECT word, CAST(0 AS BIGINT) AS in_queries, uses AS in_items
                FROM catalogue_words)
            GROUP BY word)
        WHERE in_queries + in_items >= {}
        ORDER BY in_queries DESC, in_items DESC, word LIMIT {}",
        options.min_word_count,
        // Two are reserved.
        options.max_words - 2
    );
    let mut words = Vec::new();
    let mut rows = engine.stream("vocabulary", &query).await?;
    while let Some(batch) = rows.next().await? {
        words.extend(batch.column(0).as_string::<i32>().iter().flatten().map(ToOwned::to_owned));
    }
    Ok(Vocabulary::of_words(words))
}

/// A table of the words of the catalogue, which is in memory.
async fn catalogue_words(engine: &Engine, staged: &Staged) -> Result<()> {
    let name = "catalogue_words";
    let counts = word_counts(&staged.catalogue);
    let words = StringArray::from_iter_values(counts.keys());
    let uses = Int64Array::from_iter_values(counts.values().map(|&uses| uses as i64));
    let schema = Schema::new(vec![
        Field::new("word", DataType::Utf8, false),
        Field::new("uses", DataType::Int64, false),
    ]);
    let path = engine.path(name);
    let write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        std::fs::create_dir_all(&path)?;
        let schema = Arc::new(schema.clone());
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(words), Arc::new(uses)])?;
        let file = std::fs::File::create(path.join("words.parquet"))?;
        let mut writer = ArrowWriter::try_new(file, schema, None)?;
        writer.write(&batch)?;
        writer.close()?;
        Ok(())
    };
    let fail = |error| Error::Work { path: path.clone(), source: std::io::Error::other(error) };
    write().map_err(fail)?;
    engine.register(name, &schema).await
}

/// Held-out searches none of whose words is known.
pub(crate) async fn unknown_queries(engine: &Engine, vocabulary: &Vocabulary) -> Result<usize> {
    let query = "SELECT query, count(*) FROM ranked
        WHERE query <> '' AND NOT is_hidden GROUP BY query";
    let mut unknown = 0;
    let mut rows = engine.stream("unknown queries", query).await?;
    while let Some(batch) = rows.next().await? {
        let queries = batch.column(0).as_string::<i32>().iter().flatten();
        let uses = batch.column(1).as_primitive::<Int64Type>().values();
        for (query, &uses) in queries.zip(uses) {
            if vocabulary.encode(query).words == [UNKNOWN_WORD] {
                unknown += uses as usize;
            }
        }
    }
    Ok(unknown)
}

/// Words of queries as numbers; those of frequent queries are not looked up again.
pub(crate) struct Encoder<'a> {
    vocabulary: &'a Vocabulary,
    remembered: HashMap<String, Vec<u32>>,
}

impl<'a> Encoder<'a> {
    /// An encoder that remembers nothing yet.
    pub(crate) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self { vocabulary, remembered: HashMap::new() }
    }

    /// The words of a query.
    pub(crate) fn encode(&mut self, query: &str) -> &[u32] {
        if self.remembered.len() >= REMEMBERED {
            self.remembered.clear();
        }
        if !self.remembered.contains_key(query) {
            let words = self.vocabulary.encode(query).words;
            self.remembered.insert(query.to_owned(), words);
        }
        &self.remembered[query]
    }
}
