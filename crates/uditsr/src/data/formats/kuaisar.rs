//! The raw files of KuaiSAR (<https://kuaisar.github.io>): clicks in the feed, clicks after
//! searches, and what is known about the items. Words are numbers.

use std::collections::HashSet;

use super::Importer;
use super::table::{self, Column, Layout};
use crate::Result;
use crate::data::raw::{CatalogueItem, RawEvent, Sink};
use crate::data::source::LogFile;
use crate::data::time;

/// The days of the log are those of Beijing.
pub(super) const BEIJING: i64 = 8 * 3600;
/// What the feed can show; other results of a search never occur there.
const FEED_TYPES: [&str; 2] = ["VIDEO", "IMAGE_ATLAS"];

const REC: [Column; 5] = [
    Column::required("user_id", &[]),
    Column::required("item_id", &[]),
    Column::required("click", &[]),
    Column::optional("timestamp", &[]),
    Column::optional("time", &[]),
];
const SRC: [Column; 6] = [
    Column::required("user_id", &[]),
    Column::required("item_id", &[]),
    Column::required("click_cnt", &[]),
    Column::required("search_session_timestamp", &["search_session_time"]),
    Column::required("keyword", &[]),
    Column::required("item_type", &[]),
];
const ITEM: [Column; 7] = [
    Column::required("item_id", &[]),
    Column::optional("caption", &[]),
    Column::optional("item_type", &[]),
    Column::optional("first_level_category_name", &[]),
    Column::optional("second_level_category_name", &[]),
    Column::optional("third_level_category_name", &[]),
    Column::optional("fourth_level_category_name", &[]),
];

/// `rec_inter.csv`, `src_inter.csv`, `item_features.csv`.
pub(super) struct KuaiSar;

impl Importer for KuaiSar {
    fn wants(&self, file: &LogFile) -> bool {
        matches!(file.name.as_str(), "rec_inter.csv" | "src_inter.csv" | "item_features.csv")
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        let mut others = HashSet::new();
        for file in files.iter().filter(|file| file.name == "item_features.csv") {
            items(file, &mut others, sink)?;
        }
        for file in files {
            match file.name.as_str() {
                "rec_inter.csv" => feed(file, &others, sink)?,
                "src_inter.csv" => searches(file, sink)?,
                "item_features.csv" => {}
                _ => {
                    let expected = "rec_inter.csv, src_inter.csv or item_features.csv";
                    return Err(table::unknown_file(file, expected));
                }
            }
        }
        Ok(())
    }
}

/// The catalogue, and in `others` the items that are not for the feed.
fn items(file: &LogFile, others: &mut HashSet<String>, sink: &mut Sink) -> Result<()> {
    sink.items_of(file);
    table::read(file, Layout::CSV, &ITEM, sink, &mut |sink, line, fields| {
        let &[id, caption, item_type, ref categories @ ..] = fields else {
            unreachable!("seven columns")
        };
        if !item_type.is_empty() && !FEED_TYPES.contains(&item_type) {
            others.insert(id.into());
            return Ok(());
        }
        let title = match table::number_list(caption) {
            Ok(words) => table::number_words(&words),
            Err(reason) => return sink.bad(line, "caption", reason),
        };
        let known = categories.iter().filter(|name| !matches!(**name, "" | "0" | "空" | "UNKNOWN"));
        let tags = known.map(|name| (*name).to_owned()).collect();
        sink.item(line, CatalogueItem { id: id.into(), title, tags, ..CatalogueItem::default() })
    })
}

fn feed(file: &LogFile, others: &HashSet<String>, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, Layout::CSV, &REC, sink, &mut |sink, line, fields| {
        let &[user, item, click, timestamp, when] = fields else { unreachable!("five columns") };
        if others.contains(item) {
            return Ok(());
        }
        let when = if timestamp.is_empty() { when } else { timestamp };
        add(sink, line, [user, item, "", click, when])
    })
}

fn searches(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, Layout::CSV, &SRC, sink, &mut |sink, line, fields| {
        let &[user, item, clicks, when, keyword, item_type] = fields else {
            unreachable!("six columns")
        };
        if !FEED_TYPES.contains(&item_type) {
            return Ok(());
        }
        match table::number_list(keyword) {
            Ok(words) if !words.is_empty() => {
                add(sink, line, [user, item, &table::number_words(&words), clicks, when])
            }
            Ok(_) => sink.bad(line, "keyword", "empty"),
            Err(reason) => sink.bad(line, "keyword", reason),
        }
    })
}

/// Adds an event of user, item, query, number of clicks and time. Whether there were several
/// clicks on one result says nothing about the demand.
fn add(sink: &mut Sink, line: u64, fields: [&str; 5]) -> Result<()> {
    let [user, item, query, clicks, when] = fields;
    let time = match time::parse(when, BEIJING) {
        Ok(time) => time,
        Err(reason) => return sink.bad(line, "timestamp", format!("{reason}, found `{when}`")),
    };
    let weight = match clicks.trim().parse::<f32>() {
        Ok(clicks) if clicks > 0.0 => 1.0,
        Ok(_) => 0.0,
        Err(_) => return sink.bad(line, "click", format!("not a number, found `{clicks}`")),
    };
    let event = RawEvent { user, item, query, kind: "", time, weight, part: None };
    sink.event(line, event).map(|_| ())
}
