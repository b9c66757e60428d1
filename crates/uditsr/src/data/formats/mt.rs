//! The files of the authors of UDITSR: ids are row numbers, queries are lists of word numbers, and
//! the rows to be ranked come with their negatives.

use super::Importer;
use super::table::{self, Column, Layout};
use crate::data::raw::{RawEvent, Sink};
use crate::data::source::LogFile;
use crate::data::time::UNKNOWN;
use crate::{Result, Split};

const TRAIN: [Column; 4] = [
    Column::required("user", &[]),
    Column::required("query", &[]),
    Column::required("item", &[]),
    Column::required("label", &[]),
];
const RANKED: [Column; 5] = [
    Column::required("user", &[]),
    Column::required("query", &[]),
    Column::required("item", &[]),
    Column::required("label", &[]),
    Column::required("sample_num", &[]),
];

/// `train_data.csv`, `valid_data.csv`, `test_data.csv`.
pub(super) struct MtSmall;

impl Importer for MtSmall {
    fn wants(&self, file: &LogFile) -> bool {
        part(file).is_some()
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        for file in files {
            match part(file) {
                Some(Split::Train) => train(file, sink)?,
                Some(part) => ranked(file, part, sink)?,
                None => {
                    let expected = "train_data.csv, valid_data.csv or test_data.csv";
                    return Err(table::unknown_file(file, expected));
                }
            }
        }
        Ok(())
    }
}

/// Which part a file is, by its name.
fn part(file: &LogFile) -> Option<Split> {
    match file.name.as_str() {
        "train_data.csv" => Some(Split::Train),
        "valid_data.csv" => Some(Split::Valid),
        "test_data.csv" => Some(Split::Test),
        _ => None,
    }
}

/// Checked fields of a row.
struct Row {
    query: String,
    is_positive: bool,
}

/// Checks a row; reports it and returns none if it is bad.
fn check(sink: &mut Sink, line: u64, fields: &[&str]) -> Result<Option<Row>> {
    let &[user, query, item, label, ..] = fields else { unreachable!("four columns") };
    for (field, id) in [("user", user), ("item", item)] {
        if id.trim().parse::<u32>().is_err() {
            sink.bad(line, field, format!("expected a row number, found `{id}`"))?;
            return Ok(None);
        }
    }
    let is_positive = match table::weight(label) {
        Ok(label) => label != 0.0,
        Err(reason) => {
            sink.bad(line, "label", format!("{reason}, found `{label}`"))?;
            return Ok(None);
        }
    };
    match table::number_list(query) {
        Ok(words) => Ok(Some(Row { query: table::number_words(&words), is_positive })),
        Err(reason) => {
            sink.bad(line, "query", reason)?;
            Ok(None)
        }
    }
}

fn train(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, Layout::CSV, &TRAIN, sink, &mut |sink, line, fields| {
        let Some(row) = check(sink, line, fields)? else { return Ok(()) };
        let weight = if row.is_positive { 1.0 } else { 0.0 };
        let part = Some(Split::Train);
        let event = event(fields, &row.query, weight, part);
        sink.event(line, event).map(|_| ())
    })
}

fn event<'a>(fields: &[&'a str], query: &'a str, weight: f32, part: Option<Split>) -> RawEvent<'a> {
    RawEvent { user: fields[0], item: fields[2], query, kind: "", time: UNKNOWN, weight, part }
}

/// The rows of one number: one positive and its negatives.
#[derive(Default)]
struct Group {
    number: String,
    line: u64,
    user: String,
    query: String,
    positives: Vec<String>,
    negatives: Vec<String>,
}

fn ranked(file: &LogFile, part: Split, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    let mut group = Group::default();
    table::read(file, Layout::CSV, &RANKED, sink, &mut |sink, line, fields| {
        let Some(row) = check(sink, line, fields)? else { return Ok(()) };
        if group.number != fields[4] || group.line == 0 {
            let done = std::mem::take(&mut group);
            done.finish(part, sink)?;
            group.number = fields[4].into();
            group.line = line;
            group.user = fields[0].trim().into();
            group.query.clone_from(&row.query);
        }
        if group.user != fields[0].trim() || group.query != row.query {
            let reason = format!("another user or query than line {}", group.line);
            return sink.bad(line, "sample_num", reason);
        }
        let list = if row.is_positive { &mut group.positives } else { &mut group.negatives };
        list.push(fields[2].trim().into());
        Ok(())
    })?;
    group.finish(part, sink)
}

impl Group {
    fn finish(self, part: Split, sink: &mut Sink) -> Result<()> {
        if self.line == 0 {
            return Ok(());
        }
        let [item] = self.positives.as_slice() else {
            let reason = format!("sample {}: {} positives", self.number, self.positives.len());
            return sink.bad(self.line, "label", reason);
        };
        let fields = [self.user.as_str(), "", item.as_str()];
        let event = event(&fields, &self.query, 1.0, Some(part));
        if let Some(row) = sink.event(self.line, event)? {
            sink.negatives(row, &self.negatives);
        }
        Ok(())
    }
}
