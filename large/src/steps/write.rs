//! Rows in order into the columns of the folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, UInt32Type};
use uditsr::data::engine::{Output, Spool, Staged, item_words};
use uditsr::data::{Report, Vocabulary};

use super::words::Encoder;
use crate::{Engine, Error, Result};

/// Writes the folder.
pub(crate) async fn run(
    engine: &Engine,
    staged: &Staged,
    vocabulary: &Vocabulary,
    report: &Report,
    folder: &Path,
) -> Result<()> {
    let spool = engine.path("columns");
    std::fs::create_dir_all(&spool)
        .map_err(|source| Error::Work { path: spool.clone(), source })?;
    let mut output = Output::begin(folder)?;
    let mut events = Vec::new();
    let mut hidden = Vec::new();
    for (number, name) in [(0, "train"), (1, "valid"), (2, "test")] {
        let negatives = (number > 0).then_some(staged.options().negatives);
        let mut part = Part::new(&spool, name, negatives, vocabulary)?;
        let query = if number == 0 { train() } else { ranked(staged, number, report.split.items) };
        let mut rows = engine.stream(name, &query).await?;
        while let Some(batch) = rows.next().await? {
            part.push(&batch)?;
        }
        part.finish(&mut events, &mut hidden);
    }
    let mut users = output.users()?;
    let mut rows = engine.stream("users", "SELECT user_id FROM users ORDER BY number").await?;
    while let Some(batch) = rows.next().await? {
        let ids = batch.column(0).as_string::<i32>();
        ids.iter().flatten().try_for_each(|id| users.push(id))?;
    }
    users.finish()?;
    items(engine, staged, vocabulary, &spool, &mut output, &mut events).await?;
    output.texts(vocabulary, &staged.catalogue)?;
    output.events(events)?;
    if report.split.hidden_queries > 0 {
        output.hidden(hidden)?;
    }
    output.finish(staged.options(), report)?;
    Ok(())
}

/// The order of rows: by time, and then by all other columns.
fn order(row: &str, user: &str, item: &str) -> String {
    format!(
        "ORDER BY {row}.seconds, {user}, {item}, octet_length({row}.query), {row}.query,
            octet_length({row}.kind), {row}.kind"
    )
}

fn train() -> String {
    format!(
        "SELECT u.number AS user_number, i.number AS item_number, t.seconds, t.query, t.is_hidden
        FROM train t JOIN users u ON t.user_id = u.user_id JOIN items i ON t.item_id = i.item_id
        {}",
        order("t", "u.number", "i.number")
    )
}

fn ranked(staged: &Staged, part: u8, items: usize) -> String {
    let options = staged.options();
    let (seed, count) = (options.seed, options.negatives);
    let event = "r.user_id, r.item_id, r.query, r.seconds";
    format!(
        "SELECT r.user_number, r.item_number, r.seconds, r.query, r.is_hidden,
            negatives('{seed}', {event}, k.numbers, {items}, {count}) AS negatives
        FROM ranked r JOIN known k ON r.user_id = k.user_id WHERE r.part = {part}
        {}",
        order("r", "r.user_number", "r.item_number")
    )
}

/// The columns of a part.
struct Part<'a> {
    users: Spool,
    items: Spool,
    times: Spool,
    queries: Lists,
    hidden: Lists,
    negatives: Option<(Spool, usize)>,
    rows: usize,
    encoder: Encoder<'a>,
}

/// Lists as their lengths and their elements.
struct Lists {
    lengths: Spool,
    values: Spool,
}

impl Lists {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let lengths = Spool::numbers(folder, format!("{name}.lengths"))?;
        let values = Spool::numbers(folder, format!("{name}.values"))?;
        Ok(Self { lengths, values })
    }

    fn push(&mut self, list: &[u32]) -> Result<()> {
        self.lengths.push(&[list.len() as u32])?;
        Ok(self.values.push(list)?)
    }
}

impl<'a> Part<'a> {
    fn new(
        folder: &Path,
        name: &str,
        negatives: Option<usize>,
        vocabulary: &'a Vocabulary,
    ) -> Result<Self> {
        let column = |column: &str| Spool::numbers(folder, format!("{name}.{column}"));
        // The file of hidden queries has names of its own.
        let apart: PathBuf = folder.join("hidden");
        std::fs::create_dir_all(&apart)
            .map_err(|source| Error::Work { path: apart.clone(), source })?;
        let negatives = match negatives {
            Some(count) => Some((column("negatives")?, count)),
            None => None,
        };
        Ok(Self {
            users: column("users")?,
            items: column("items")?,
            times: Spool::times(folder, format!("{name}.times"))?,
            queries: Lists::new(folder, &format!("{name}.queries"))?,
            hidden: Lists::new(&apart, name)?,
            negatives,
            rows: 0,
            encoder: Encoder::new(vocabulary),
        })
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        self.users.push(batch.column(0).as_primitive::<UInt32Type>().values())?;
        self.items.push(batch.column(1).as_primitive::<UInt32Type>().values())?;
        for &time in batch.column(2).as_primitive::<Int64Type>().values() {
            self.times.push_time(time)?;
        }
        let queries = batch.column(3).as_string::<i32>();
        let is_hidden = batch.column(4).as_boolean();
        for row in 0..batch.num_rows() {
            let words = self.encoder.encode(queries.value(row));
            let (visible, hidden) =
                if is_hidden.value(row) { (&[][..], words) } else { (words, &[][..]) };
            self.queries.push(visible)?;
            self.hidden.push(hidden)?;
        }
        if let Some((spool, _)) = &mut self.negatives {
            let lists = batch.column(5).as_list::<i32>();
            for row in 0..lists.len() {
                spool.push(lists.value(row).as_primitive::<UInt32Type>().values())?;
            }
        }
        Ok(())
    }

    fn finish(self, events: &mut Vec<Spool>, hidden: &mut Vec<Spool>) {
        events.extend([self.users, self.items, self.times]);
        events.extend([self.queries.lengths, self.queries.values]);
        hidden.extend([self.hidden.lengths, self.hidden.values]);
        if let Some((mut spool, count)) = self.negatives {
            spool.set_rows(self.rows, if self.rows == 0 { 0 } else { count });
            events.push(spool);
        }
    }
}

/// The ids of items and their words.
async fn items(
    engine: &Engine,
    staged: &Staged,
    vocabulary: &Vocabulary,
    spool: &Path,
    output: &mut Output,
    events: &mut Vec<Spool>,
) -> Result<()> {
    let described: HashMap<&str, _> =
        staged.catalogue.iter().map(|item| (item.id.as_str(), item)).collect();
    let mut words = Lists::new(spool, "item_words")?;
    let mut items = output.items()?;
    let mut rows = engine.stream("items", "SELECT item_id FROM items ORDER BY number").await?;
    while let Some(batch) = rows.next().await? {
        for id in batch.column(0).as_string::<i32>().iter().flatten() {
            items.push(id)?;
            match described.get(id) {
                Some(item) => words.push(&item_words(item, vocabulary))?,
                None => words.push(&[])?,
            }
        }
    }
    events.extend([words.lengths, words.values]);
    Ok(items.finish()?)
}
