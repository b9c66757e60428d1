//! A synthetic log as files of the authors' format, and the truth beside them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::{SyntheticLog, Truth};
use crate::{Error, Interactions, Ranking, Result};

impl SyntheticLog {
    /// Writes `train_data.csv`, `valid_data.csv`, `test_data.csv` and `truth.jsonl` into a folder,
    /// which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Write`] with the file.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.into(), source })?;
        let data = &self.dataset;
        file(&folder.join("train_data.csv"), |out| train(out, &data.train))?;
        file(&folder.join("valid_data.csv"), |out| ranked(out, &data.valid))?;
        file(&folder.join("test_data.csv"), |out| ranked(out, &data.test))?;
        file(&folder.join("truth.jsonl"), |out| self.truth(out))
    }

    fn truth(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", json!({ "world": self.config }))?;
        for (item, topic) in self.item_topics.iter().enumerate() {
            writeln!(out, "{}", json!({ "item": item, "topic": topic }))?;
        }
        for (user, propensity) in self.propensities.iter().enumerate() {
            writeln!(out, "{}", json!({ "user": user, "propensity": propensity }))?;
        }
        for (part, rows) in [("train", &self.train), ("valid", &self.valid), ("test", &self.test)] {
            for (row, Truth { topic, words }) in rows.iter().enumerate() {
                let line = json!({ "part": part, "row": row, "topic": topic, "words": words });
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }
}

fn file(path: &Path, with: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        with(&mut out)?;
        out.flush()
    };
    write().map_err(|source| Error::Write { path: path.into(), source })
}

fn train(out: &mut dyn Write, rows: &Interactions) -> io::Result<()> {
    writeln!(out, "user,query,item,label")?;
    for row in 0..rows.len() {
        writeln!(out, "{},{},{},1", rows.users[row], query(rows, row), rows.items[row])?;
    }
    Ok(())
}

fn ranked(out: &mut dyn Write, ranking: &Ranking) -> io::Result<()> {
    writeln!(out, "sample_num,user,query,item,label")?;
    let rows = &ranking.positives;
    for row in 0..rows.len() {
        let (user, query) = (rows.users[row], query(rows, row));
        writeln!(out, "{row},{user},{query},{},1", rows.items[row])?;
        for item in ranking.negatives.row(row) {
            writeln!(out, "{row},{user},{query},{item},0")?;
        }
    }
    Ok(())
}

/// A query as their program reads it.
fn query(rows: &Interactions, row: usize) -> String {
    let words: Vec<String> = rows.queries.row(row).iter().map(ToString::to_string).collect();
    format!("\"[{}]\"", words.join(", "))
}
