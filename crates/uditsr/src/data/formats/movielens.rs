//! MovieLens (<https://grouplens.org/datasets/movielens/>): ratings are the feed, and a tag is
//! taken for the query with which the movie was found. The `.csv` and the `.dat` files of all sizes.

use super::Importer;
use super::events::list;
use super::table::{self, Column, Encoding, Header, Layout, Separator};
use crate::Result;
use crate::data::raw::{CatalogueItem, RawEvent, Sink};
use crate::data::source::LogFile;
use crate::data::time;

const RATINGS: [Column; 4] = [
    Column::required("userId", &[]),
    Column::required("movieId", &[]),
    Column::required("rating", &[]),
    Column::required("timestamp", &[]),
];
const TAGS: [Column; 4] = [
    Column::required("userId", &[]),
    Column::required("movieId", &[]),
    Column::required("tag", &[]),
    Column::required("timestamp", &[]),
];
const MOVIES: [Column; 3] = [
    Column::required("movieId", &[]),
    Column::required("title", &[]),
    Column::required("genres", &[]),
];

/// `ratings`, `tags` and `movies`, each `.csv` or `.dat`.
pub(super) struct MovieLens;

impl Importer for MovieLens {
    fn wants(&self, file: &LogFile) -> bool {
        matches!(stem(file), "ratings" | "tags" | "movies")
            && matches!(file.extension().as_str(), "csv" | "dat")
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        for file in files {
            match stem(file) {
                "ratings" => events(file, &RATINGS, sink)?,
                "tags" => events(file, &TAGS, sink)?,
                "movies" => movies(file, sink)?,
                _ => return Err(table::unknown_file(file, "ratings, tags or movies (.csv, .dat)")),
            }
        }
        Ok(())
    }
}

fn stem(file: &LogFile) -> &str {
    file.name.split('.').next().unwrap_or_default()
}

/// Some copies of the `.csv` files have lost their header.
fn layout(file: &LogFile) -> Layout {
    let separator =
        if file.extension() == "dat" { Separator::Plain("::") } else { Separator::Comma };
    Layout { separator, header: Header::Positions, encoding: Encoding::Utf8OrLatin1 }
}

fn events(file: &LogFile, columns: &[Column], sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    let is_tags = columns[2].name == "tag";
    table::read(file, layout(file), columns, sink, &mut |sink, line, fields| {
        let &[user, item, what, when] = fields else { unreachable!("four columns") };
        let time = match time::parse(when, 0) {
            Ok(time) => time,
            Err(reason) => return sink.bad(line, "timestamp", format!("{reason}, found `{when}`")),
        };
        let (kind, query, weight) = if is_tags {
            if what.trim().is_empty() {
                return sink.bad(line, "tag", "empty");
            }
            ("tag", what, 1.0)
        } else {
            match what.trim().parse() {
                Ok(weight) => ("rating", "", weight),
                Err(_) => return sink.bad(line, "rating", format!("not a number, found `{what}`")),
            }
        };
        let event = RawEvent { user, item, query, kind, time, weight, part: None };
        sink.event(line, event).map(|_| ())
    })
}

fn movies(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.items_of(file);
    table::read(file, layout(file), &MOVIES, sink, &mut |sink, line, fields| {
        let &[id, title, genres] = fields else { unreachable!("three columns") };
        let tags = if genres == "(no genres listed)" { Vec::new() } else { list(genres) };
        let title = title.trim().into();
        sink.item(line, CatalogueItem { id: id.into(), title, tags, ..CatalogueItem::default() })
    })
}
