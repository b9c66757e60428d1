//! JDsearch (<https://arxiv.org/abs/2305.14810>): each line is a user's history and one last search
//! with its results. Words are numbers, times are distances between events, users have no ids.

use super::Importer;
use super::table::{self, Column, Encoding, Header, Layout, Separator};
use crate::Result;
use crate::data::raw::{CatalogueItem, RawEvent, Sink};
use crate::data::source::LogFile;

const LAYOUT: Layout = Layout {
    separator: Separator::Plain("\t"),
    header: Header::Positions,
    encoding: Encoding::Utf8,
};

const USER: [Column; 7] = [
    Column::required("query", &[]),
    Column::required("candidate_wid_list", &[]),
    Column::required("candidate_label_list", &[]),
    Column::required("history_qry_list", &[]),
    Column::required("history_wid_list", &[]),
    Column::required("history_type_list", &[]),
    Column::required("history_time_list", &[]),
];
const PRODUCT: [Column; 12] = [
    Column::required("wid", &[]),
    Column::required("name", &[]),
    Column::required("brand_id", &[]),
    Column::required("brand_name", &[]),
    Column::required("cate_id_1", &[]),
    Column::required("cate_name_1", &[]),
    Column::required("cate_id_2", &[]),
    Column::required("cate_name_2", &[]),
    Column::required("cate_id_3", &[]),
    Column::required("cate_name_3", &[]),
    Column::required("cate_id_4", &[]),
    Column::required("cate_name_4", &[]),
];
/// Columns of [`PRODUCT`] that are names: of the brand and of four levels of categories.
const NAMES: [usize; 5] = [3, 5, 7, 9, 11];
/// Kinds of the labels 1, 2 and 3 of a result.
const KINDS: [&str; 3] = ["CLICK", "CART", "ORD"];
/// What stands between the words of a query or a name.
const WORD_SEPARATOR: char = '\u{18}';

/// `user_behavior_data.txt`, `product_meta_data.txt`, and parts of them.
pub(super) struct JdSearch;

impl Importer for JdSearch {
    fn wants(&self, file: &LogFile) -> bool {
        is_users(file) || is_products(file)
    }

    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()> {
        for file in files {
            if is_products(file) {
                products(file, sink)?;
            } else if is_users(file) {
                users(file, sink)?;
            } else {
                let expected = "user_behavior_data*.txt or product_meta_data*.txt";
                return Err(table::unknown_file(file, expected));
            }
        }
        Ok(())
    }
}

fn is_users(file: &LogFile) -> bool {
    file.name.starts_with("user_behavior_data")
}

fn is_products(file: &LogFile) -> bool {
    file.name.starts_with("product_meta_data")
}

fn products(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.items_of(file);
    table::read(file, LAYOUT, &PRODUCT, sink, &mut |sink, line, fields| {
        let tags = NAMES.iter().map(|&at| spaced(fields[at])).filter(|name| !name.is_empty());
        let mut tags: Vec<String> = tags.collect();
        tags.dedup();
        let title = spaced(fields[1]);
        sink.item(
            line,
            CatalogueItem { id: fields[0].into(), title, tags, ..CatalogueItem::default() },
        )
    })
}

fn users(file: &LogFile, sink: &mut Sink) -> Result<()> {
    sink.events_of(file);
    table::read(file, LAYOUT, &USER, sink, &mut |sink, line, fields| {
        let lists: Vec<Vec<&str>> = fields.iter().map(|field| elements(field)).collect();
        let [_, candidates, labels, queries, items, kinds, times] = lists.as_slice() else {
            unreachable!("seven columns")
        };
        if queries.len() != items.len() || kinds.len() != items.len() {
            let reason =
                format!("{} items, {} queries, {} types", items.len(), queries.len(), kinds.len());
            return sink.bad(line, "history_wid_list", reason);
        }
        if times.len() != items.len() + 1 {
            let reason = format!("{} times of {} events and a search", times.len(), items.len());
            return sink.bad(line, "history_time_list", reason);
        }
        if candidates.len() != labels.len() {
            let reason = format!("{} labels of {} products", labels.len(), candidates.len());
            return sink.bad(line, "candidate_label_list", reason);
        }
        let user = format!("{}:{line}", file.name);
        let mut clock = 0;
        for (at, distance) in times.iter().enumerate() {
            let Ok(distance) = distance.parse::<i64>() else {
                return sink.bad(
                    line,
                    "history_time_list",
                    format!("expected seconds, found `{distance}`"),
                );
            };
            clock += distance;
            let Some(item) = items.get(at) else { break };
            let query = if queries[at] == "-1" { String::new() } else { spaced(queries[at]) };
            let event = event(&user, item, &query, (kinds[at], clock));
            sink.event(line, event)?;
        }
        let query = spaced(fields[0]);
        for (item, label) in candidates.iter().zip(labels) {
            let Ok(label) = label.parse::<f32>() else {
                return sink.bad(
                    line,
                    "candidate_label_list",
                    format!("expected a number, found `{label}`"),
                );
            };
            if label >= 1.0 {
                let kind = KINDS[(label as usize).min(KINDS.len()) - 1];
                sink.event(line, event(&user, item, &query, (kind, clock)))?;
            }
        }
        Ok(())
    })
}

fn event<'a>(user: &'a str, item: &'a str, query: &'a str, at: (&'a str, i64)) -> RawEvent<'a> {
    RawEvent { user, item, query, kind: at.0, time: at.1, weight: 1.0, part: None }
}

/// Elements of a list; nothing is an empty list.
fn elements(field: &str) -> Vec<&str> {
    field.split('_').filter(|element| !element.is_empty()).collect()
}

/// Words with spaces between them.
fn spaced(text: &str) -> String {
    text.replace(WORD_SEPARATOR, " ").trim().to_owned()
}
