//! The ordinary format: a table of events with a header, and perhaps a catalogue beside it.

use super::Importer;
use super::table::{self, Column, LIST_SEPARATOR};
use crate::Result;
use crate::data::raw::{CatalogueItem, RawEvent, Sink};
use crate::data::source::LogFile;
use crate::data::time;

const EVENT: [Column; 6] = [
    Column::required(
        "user",
        &[
            "user_id",
            "userid",
            "uid",
            "customer",
            "customer_id",
            "visitor",
            "visitor_id",
            "session",
            "session_id",
            "sess_id",
        ],
    ),
    Column::required(
        "item",
        &[
            "item_id",
            "itemid",
            "iid",
            "product",
            "product_id",
            "clicked_doc_id",
            "doc_id",
            "document_id",
            "sku",
            "movie_id",
        ],
    ),
    Column::optional("time", &["timestamp", "ts", "datetime", "date", "event_time"]),
    Column::optional("kind", &["scenario", "event", "event_type", "action", "type"]),
    Column::optional("query", &["query_text", "search_query", "search_term", "keyword", "tag"]),
    Column::optional("weight", &["rating", "label", "clicked", "click", "value", "score"]),
];

const ITEM: [Column; 5] = [
    Column::required(
        "item",
        &[
            "item_id",
            "itemid",
            "id",
            "product",
            "product_id",
            "doc_id",
            "document_id",
            "sku",
            "upc",
            "movie_id",
        ],
    ),
    Column::optional("title", &["name", "item_title", "product_title"]),
    Column::optional("tags", &["tag", "genres", "categories", "category", "extra"]),
    Column::optional(
        "picture",
        &["picture_path", "picture_url", "image", "image_path", "image_url"],
    ),
    Column::optional("caption", &[]),
];

/// Tables by header.
pub(super) struct Events;

impl Importer for Events {
    fn wants(&self, file: &LogFile) -> bool {
        let table =
            matches!(file.extension().as_str(), "csv" | "tsv" | "jsonl" | "ndjson" | "parquet");
        table && (is_catalogue(file) || file.name.starts_with("events"))
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        for file in files {
            if is_catalogue(file) { catalogue(file, sink)? } else { events(file, sink)? }
        }
        Ok(())
    }
}

/// Whether a file is about items rather than events, by its name.
fn is_catalogue(file: &LogFile) -> bool {
    let stem = file.name.split('.').next().unwrap_or_default();
    matches!(stem, "items" | "catalog" | "catalogue" | "products")
}

fn events(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read_any(file, &EVENT, sink, &mut |sink, line, fields| {
        let &[user, item, when, kind, query, weight] = fields else { unreachable!("six columns") };
        let time = match time::parse(when, 0) {
            Ok(time) => time,
            Err(reason) => return sink.bad(line, "time", format!("{reason}, found `{when}`")),
        };
        let weight = match table::weight(weight) {
            Ok(weight) => weight,
            Err(reason) => return sink.bad(line, "weight", format!("{reason}, found `{weight}`")),
        };
        let event = RawEvent { user, item, query, kind, time, weight, part: None };
        sink.event(line, event).map(|_| ())
    })
}

/// Reads a catalogue: item, title, tags (a list, or separated by `|`), picture, caption.
pub(crate) fn catalogue(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.items_of(file);
    table::read_any(file, &ITEM, sink, &mut |sink, line, fields| {
        let &[id, title, tags, picture, caption] = fields else { unreachable!("five columns") };
        sink.item(
            line,
            CatalogueItem {
                id: id.into(),
                title: title.trim().into(),
                tags: list(tags),
                picture: Some(picture.trim().to_owned()).filter(|path| !path.is_empty()),
                caption: caption.trim().into(),
            },
        )
    })
}

/// The elements of a list in one field.
pub(super) fn list(field: &str) -> Vec<String> {
    let elements = field.split(LIST_SEPARATOR).map(str::trim).filter(|e| !e.is_empty());
    elements.map(ToOwned::to_owned).collect()
}
