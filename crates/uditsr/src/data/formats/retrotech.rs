//! RetroTech (<https://github.com/ai-powered-search/retrotech>): which products a session was shown
//! for a query, and which it clicked. A session stands for a user, and there are no times.

use std::borrow::Cow;

use super::Importer;
use super::table::{self, Column, Encoding, Header, Layout, Separator};
use crate::Result;
use crate::data::raw::{CatalogueItem, RawEvent, Sink};
use crate::data::source::LogFile;
use crate::data::time;

const LAYOUT: Layout =
    Layout { separator: Separator::Comma, header: Header::Names, encoding: Encoding::Utf8OrLatin1 };
const SESSIONS: [Column; 4] = [
    Column::required("sess_id", &[]),
    Column::required("query", &[]),
    Column::required("clicked_doc_id", &[]),
    Column::required("clicked", &[]),
];
const PRODUCTS: [Column; 3] = [
    Column::required("upc", &[]),
    Column::required("name", &[]),
    Column::optional("manufacturer", &[]),
];
/// Digits of a product code (UPC-A).
const CODE: usize = 12;

/// `*_sessions` and `products`.
pub(super) struct RetroTech;

impl Importer for RetroTech {
    fn wants(&self, file: &LogFile) -> bool {
        is_sessions(file) || is_products(file)
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        for file in files {
            if is_products(file) {
                products(file, sink)?;
            } else if is_sessions(file) {
                sessions(file, sink)?;
            } else {
                return Err(table::unknown_file(file, "*_sessions or products"));
            }
        }
        Ok(())
    }
}

fn stem(file: &LogFile) -> &str {
    file.name.split('.').next().unwrap_or_default()
}

fn is_sessions(file: &LogFile) -> bool {
    stem(file).ends_with("_sessions")
}

fn is_products(file: &LogFile) -> bool {
    stem(file) == "products"
}

/// A product code with the leading zeros that many sessions have lost.
fn code(id: &str) -> Cow<'_, str> {
    let id = id.trim();
    if id.len() < CODE && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{id:0>CODE$}").into()
    } else {
        id.into()
    }
}

fn sessions(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, LAYOUT, &SESSIONS, sink, &mut |sink, line, fields| {
        let &[user, query, item, clicked] = fields else { unreachable!("four columns") };
        let weight = match table::weight(clicked) {
            Ok(weight) => weight,
            Err(reason) => {
                return sink.bad(line, "clicked", format!("{reason}, found `{clicked}`"));
            }
        };
        let item = code(item);
        let (kind, time) = ("search", time::UNKNOWN);
        let event = RawEvent { user, item: &item, query, kind, time, weight, part: None };
        sink.event(line, event).map(|_| ())
    })
}

fn products(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.items_of(file);
    table::read(file, LAYOUT, &PRODUCTS, sink, &mut |sink, line, fields| {
        let &[id, title, maker] = fields else { unreachable!("three columns") };
        let maker = maker.trim();
        let tags = if maker.is_empty() { Vec::new() } else { vec![maker.to_owned()] };
        let title = title.trim().into();
        sink.item(
            line,
            CatalogueItem {
                id: code(id).into(),
                title,
                tags,
                picture: None,
                caption: String::new(),
            },
        )
    })
}
