//! Results that stay: one line of JSON for each finished training.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;

/// What a training is: log, arm, and which of its trainings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) world: String,
    pub(crate) arm: String,
    pub(crate) run: Run,
}

/// Which training of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Run {
    /// A trial of settings, judged on the validation rows.
    Trial(usize),
    /// A seed with the best settings, judged on the test rows.
    Seed(u64),
}

/// Hit rate, NDCG and others of a part of the test rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measures {
    pub(crate) rows: usize,
    pub(crate) tied: usize,
    pub(crate) hit5: f64,
    pub(crate) ndcg5: f64,
    pub(crate) ndcg10: f64,
    pub(crate) mrr: f64,
    pub(crate) auc: f64,
    pub(crate) gauc: Option<f64>,
}

/// What a training gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) seconds: f64,
    /// Of a trial: the number by which settings are chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) selection: Option<f64>,
    /// Of a seed: the trial whose settings it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trial: Option<usize>,
    /// Of a seed: by protocol and segment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) measures: BTreeMap<String, Measures>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Training { key: Key, cell: Cell },
    Facts { world: String, facts: String },
}

/// All finished trainings, and the file that holds them.
pub(crate) struct Cells {
    path: PathBuf,
    trained: BTreeMap<Key, Cell>,
    facts: BTreeMap<String, String>,
}

impl Cells {
    /// Reads the file, or begins it. A last line without its end is that of a process that was killed.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        if whole.len() < text.len() {
            std::fs::write(path, whole)?;
        }
        let (mut cells, mut known) = (BTreeMap::new(), BTreeMap::new());
        for (number, line) in whole.lines().enumerate() {
            let line = serde_json::from_str(line)
                .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?;
            match line {
                Line::Training { key, cell } => drop(cells.insert(key, cell)),
                Line::Facts { world, facts } => drop(known.insert(world, facts)),
            }
        }
        Ok(Self { path: path.into(), trained: cells, facts: known })
    }

    /// Sizes of a log, as a sentence.
    pub(crate) fn facts(&self, world: &str) -> Option<&str> {
        self.facts.get(world).map(String::as_str)
    }

    /// Adds the sizes of a log and writes them.
    pub(crate) fn add_facts(&mut self, world: &str, facts: String) -> Result<()> {
        self.append(&Line::Facts { world: world.into(), facts: facts.clone() })?;
        self.facts.insert(world.into(), facts);
        Ok(())
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Cell> {
        self.trained.get(key)
    }

    /// Finished seeds of an arm.
    pub(crate) fn seeds(&self, world: &str, arm: &str) -> Vec<&Cell> {
        let of = |key: &Key| key.world == world && key.arm == arm;
        let is_seed = |key: &Key| matches!(key.run, Run::Seed(_));
        self.trained
            .iter()
            .filter(|(key, _)| of(key) && is_seed(key))
            .map(|(_, cell)| cell)
            .collect()
    }

    /// Seconds of all trainings.
    pub(crate) fn seconds(&self) -> f64 {
        self.trained.values().map(|cell| cell.seconds).sum()
    }

    /// Adds a training and writes it.
    pub(crate) fn add(&mut self, key: Key, cell: Cell) -> Result<()> {
        self.append(&Line::Training { key: key.clone(), cell: cell.clone() })?;
        self.trained.insert(key, cell);
        Ok(())
    }

    fn append(&self, line: &Line) -> Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Ok(file.write_all(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_loses_its_last_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.jsonl");
        let key = |trial| Key { world: "w".into(), arm: "a".into(), run: Run::Trial(trial) };
        let cell = |value| Cell { seconds: 1.5, selection: Some(value), ..Cell::default() };
        let mut cells = Cells::open(&path).unwrap();
        for trial in 0..2 {
            cells.add(key(trial), cell(trial as f64)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();
        let mut cells = Cells::open(&path).unwrap();
        assert_eq!((cells.get(&key(0)), cells.get(&key(1))), (Some(&cell(0.0)), None));
        cells.add(key(1), cell(7.0)).unwrap();
        let cells = Cells::open(&path).unwrap();
        assert_eq!(cells.get(&key(1)), Some(&cell(7.0)));
        assert_eq!(cells.seconds(), 3.0);
    }
}
