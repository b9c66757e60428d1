//! Last.fm of HetRec 2011 (<https://grouplens.org/datasets/hetrec-2011/>): listening is the feed,
//! and a tag is taken for the query with which the artist was found.

use std::collections::HashMap;

use super::Importer;
use super::table::{self, Column, Encoding, Header, Layout, Separator};
use crate::Result;
use crate::data::raw::{CatalogueItem, RawEvent, Sink};
use crate::data::source::LogFile;
use crate::data::time;

const LAYOUT: Layout = Layout {
    separator: Separator::Plain("\t"),
    header: Header::Names,
    encoding: Encoding::Utf8OrLatin1,
};
const TAGS: [Column; 2] = [Column::required("tagID", &[]), Column::required("tagValue", &[])];
const ARTISTS: [Column; 3] = [
    Column::required("id", &[]),
    Column::required("name", &[]),
    Column::optional("pictureURL", &[]),
];
const LISTENS: [Column; 3] = [
    Column::required("userID", &[]),
    Column::required("artistID", &[]),
    Column::required("weight", &[]),
];
const TAGGED: [Column; 7] = [
    Column::required("userID", &[]),
    Column::required("artistID", &[]),
    Column::required("tagID", &[]),
    Column::optional("day", &[]),
    Column::optional("month", &[]),
    Column::optional("year", &[]),
    Column::optional("timestamp", &[]),
];

/// `user_artists.dat`, `user_taggedartists*.dat`, `tags.dat`, `artists.dat`.
pub(super) struct LastFm;

impl Importer for LastFm {
    fn wants(&self, file: &LogFile) -> bool {
        // The file with times says the same as the one with dates.
        matches!(file.name.as_str(), "tags.dat" | "artists.dat" | "user_artists.dat")
            || (is_tagged(file) && file.name != "user_taggedartists-timestamps.dat")
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        let mut tags = HashMap::new();
        for file in files.iter().filter(|file| file.name == "tags.dat") {
            sink.items_of(file);
            table::read(file, LAYOUT, &TAGS, sink, &mut |_, _, fields| {
                tags.insert(fields[0].to_owned(), fields[1].trim().to_owned());
                Ok(())
            })?;
        }
        for file in files {
            match file.name.as_str() {
                "tags.dat" => {}
                "artists.dat" => artists(file, sink)?,
                "user_artists.dat" => listens(file, sink)?,
                _ if is_tagged(file) => tagged(file, &tags, sink)?,
                _ => {
                    let expected = "user_artists, user_taggedartists, tags or artists (.dat)";
                    return Err(table::unknown_file(file, expected));
                }
            }
        }
        Ok(())
    }
}

fn is_tagged(file: &LogFile) -> bool {
    file.name.starts_with("user_taggedartists") && file.extension() == "dat"
}

fn artists(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.items_of(file);
    table::read(file, LAYOUT, &ARTISTS, sink, &mut |sink, line, fields| {
        let &[id, title, picture] = fields else { unreachable!("three columns") };
        let picture = Some(picture.trim().to_owned()).filter(|url| !url.is_empty());
        let title = title.trim().into();
        sink.item(line, CatalogueItem { id: id.into(), title, picture, ..CatalogueItem::default() })
    })
}

fn listens(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, LAYOUT, &LISTENS, sink, &mut |sink, line, fields| {
        let &[user, item, count] = fields else { unreachable!("three columns") };
        let Ok(weight) = count.trim().parse() else {
            return sink.bad(line, "weight", format!("not a number, found `{count}`"));
        };
        let (kind, time) = ("listen", time::UNKNOWN);
        let event = RawEvent { user, item, query: "", kind, time, weight, part: None };
        sink.event(line, event).map(|_| ())
    })
}

fn tagged(file: &LogFile, tags: &HashMap<String, String>, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, LAYOUT, &TAGGED, sink, &mut |sink, line, fields| {
        let &[user, item, tag, day, month, year, timestamp] = fields else {
            unreachable!("seven columns")
        };
        let Some(query) = tags.get(tag).filter(|text| !text.is_empty()) else {
            return sink.bad(line, "tagID", format!("`{tag}` is not in tags.dat"));
        };
        let time = if year.is_empty() {
            time::parse(timestamp, 0).ok()
        } else {
            time::parse(&format!("{year:0>4}-{month:0>2}-{day:0>2}"), 0).ok()
        };
        let Some(time) = time else {
            return sink.bad(line, "day", format!("no such date: {day}/{month}/{year}{timestamp}"));
        };
        let event = RawEvent { user, item, query, kind: "tag", time, weight: 1.0, part: None };
        sink.event(line, event).map(|_| ())
    })
}
