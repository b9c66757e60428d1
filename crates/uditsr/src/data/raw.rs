//! A log as it was read: rows of numbers beside the strings that they stand for.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::interner::Interner;
use super::source::LogFile;
use super::text;
use crate::{Csr, Error, Result, Split};

/// Code of the empty query.
pub(crate) const NO_QUERY: u32 = 0;
/// More kinds than this are ids in the wrong column.
const MAX_KINDS: usize = 1000;
/// Kinds that say that there is no query, and that there is one.
const FEED_KINDS: [&str; 4] = ["rec", "recommend", "recommendation", "feed"];
const SEARCH_KINDS: [&str; 2] = ["search", "query"];

/// One event; the numbers are those of the strings of a [`RawLog`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Event {
    /// Seconds since 1970, or -1.
    pub(crate) time: i64,
    pub(crate) user: u32,
    pub(crate) item: u32,
    /// Query text, [`NO_QUERY`] for a recommendation.
    pub(crate) query: u32,
    pub(crate) weight: f32,
    /// Position among all rows read.
    pub(crate) row: u32,
    pub(crate) kind: u16,
    /// The part that the file says it belongs to, and then that of the split; none is left out.
    pub(crate) part: Option<Split>,
}

impl Event {
    pub(crate) fn is_search(&self) -> bool {
        self.query != NO_QUERY
    }
}

/// An item of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueItem {
    /// The shop's own id.
    pub id: String,
    /// Title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Tags and categories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Path or address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// What the picture shows, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caption: String,
}

impl CatalogueItem {
    /// Everything that says in words what the item is.
    pub fn text(&self) -> String {
        let parts = std::iter::once(&self.title).chain(&self.tags).chain([&self.caption]);
        parts.filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Name of the file.
    pub file: Arc<str>,
    /// Line, the first is 1; the row in files without lines.
    pub line: u64,
    /// Column, or `row` for all of them.
    pub field: String,
    /// What was expected and what was found.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}`: {}", self.file, self.line, self.field, self.reason)
    }
}

/// One row as an importer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawEvent<'a> {
    pub(crate) user: &'a str,
    pub(crate) item: &'a str,
    /// Empty for a recommendation.
    pub(crate) query: &'a str,
    /// Empty if the log does not say.
    pub(crate) kind: &'a str,
    pub(crate) time: i64,
    pub(crate) weight: f32,
    pub(crate) part: Option<Split>,
}

/// Everything that was read.
#[derive(Debug)]
pub(crate) struct RawLog {
    pub(crate) events: Vec<Event>,
    pub(crate) users: Interner,
    pub(crate) items: Interner,
    pub(crate) queries: Interner,
    pub(crate) kinds: Interner,
    pub(crate) catalogue: Vec<CatalogueItem>,
    /// Rows whose negatives the file gives, ascending, and these items.
    pub(crate) given: (Vec<u32>, Csr),
    pub(crate) problems: Vec<Problem>,
    pub(crate) oddities: Oddities,
}

/// Things that are not wrong but unusual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oddities {
    /// Rows earlier than the row before in the same file.
    pub out_of_order: usize,
    /// Ids with spaces at their ends, which were cut off.
    pub padded_ids: usize,
    /// Items that the catalogue has more than once; the one with the most text was kept.
    pub repeated_items: usize,
    /// Recommendations, by their kind, with a query, which was ignored.
    pub queries_in_feed: usize,
}

/// A row that was checked: ids without spaces around them, a kind, a known or an empty query.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    not(feature = "large-logs"),
    expect(unreachable_pub, reason = "public through the engines of the feature `large-logs`")
)]
pub struct CheckedEvent<'a> {
    /// The log's own id.
    pub user: &'a str,
    /// The log's own id.
    pub item: &'a str,
    /// Empty for a recommendation.
    pub query: &'a str,
    /// Never empty.
    pub kind: &'a str,
    /// Seconds since 1970, or -1.
    pub time: i64,
    /// A finite number.
    pub weight: f32,
}

/// What takes rows that are not to be kept in memory.
pub(crate) type Take<'a> = dyn FnMut(CheckedEvent<'_>) -> Result<()> + Send + 'a;

/// Where importers put rows. Each row is checked here, whatever the format.
pub(crate) struct Sink<'a> {
    pub(crate) log: RawLog,
    /// Where good rows go instead of the log.
    elsewhere: Option<&'a mut Take<'a>>,
    max_bad_rows: usize,
    file: Arc<str>,
    content: Content,
    clock: i64,
    rows: u64,
}

/// What the rows of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Events,
    Items,
}

#[cfg(feature = "large-logs")]
impl<'s> Sink<'s> {
    /// A sink that hands all good rows on, and keeps everything else.
    pub(crate) fn through(max_bad_rows: usize, take: &'s mut Take<'s>) -> Self {
        Self { elsewhere: Some(take), ..Self::new(max_bad_rows) }
    }
}

impl Sink<'_> {
    /// A sink that keeps all rows.
    pub(crate) fn new(max_bad_rows: usize) -> Self {
        let mut queries = Interner::default();
        queries.intern("");
        let log = RawLog {
            events: Vec::new(),
            users: Interner::default(),
            items: Interner::default(),
            queries,
            kinds: Interner::default(),
            catalogue: Vec::new(),
            given: (Vec::new(), Csr::default()),
            problems: Vec::new(),
            oddities: Oddities::default(),
        };
        let content = Content::Events;
        Self {
            log,
            elsewhere: None,
            max_bad_rows,
            file: "".into(),
            content,
            clock: i64::MIN,
            rows: 0,
        }
    }

    /// Says that the next rows are events of this file.
    pub(crate) fn events_of(&mut self, file: &LogFile) {
        self.begin(file, Content::Events);
    }

    /// Says that the next rows are items, or something else that is no event, of this file.
    pub(crate) fn items_of(&mut self, file: &LogFile) {
        self.begin(file, Content::Items);
    }

    fn begin(&mut self, file: &LogFile, content: Content) {
        self.file = file.base_name().into();
        self.content = content;
        self.clock = i64::MIN;
    }

    /// Rows of events that were read, bad ones included.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Reports a bad row that is not even a [`RawEvent`].
    pub(crate) fn bad(&mut self, line: u64, field: &str, reason: impl Into<String>) -> Result<()> {
        if self.content == Content::Events {
            self.rows += 1;
        }
        self.report(line, field, reason.into())
    }

    fn report(&mut self, line: u64, field: &str, reason: String) -> Result<()> {
        let problem = Problem { file: self.file.clone(), line, field: field.into(), reason };
        self.log.problems.push(problem);
        if self.log.problems.len() > self.max_bad_rows {
            let problems = std::mem::take(&mut self.log.problems);
            return Err(Error::BadRows { limit: self.max_bad_rows, problems });
        }
        Ok(())
    }

    /// Takes one event; its number if it is a good one.
    pub(crate) fn event(&mut self, line: u64, raw: RawEvent<'_>) -> Result<Option<u32>> {
        if self.rows >= u64::from(u32::MAX) && self.elsewhere.is_none() {
            return Err(Error::config("logs", "more than 4294967295 rows"));
        }
        let row = self.rows as u32;
        self.rows += 1;
        let user = self.id(raw.user);
        let item = self.id(raw.item);
        let kind = raw.kind.trim();
        let mut query = raw.query.trim();
        if FEED_KINDS.contains(&kind) && !query.is_empty() {
            self.log.oddities.queries_in_feed += 1;
            query = "";
        }
        let wrong = if user.is_empty() {
            Some(("user", "empty".to_owned()))
        } else if item.is_empty() {
            Some(("item", "empty".to_owned()))
        } else if !raw.weight.is_finite() {
            Some(("weight", "not a finite number".to_owned()))
        } else if query.is_empty() && SEARCH_KINDS.contains(&kind) {
            Some(("query", "a search without a query".to_owned()))
        } else if !query.is_empty() && !text::has_word(query) {
            Some(("query", format!("no word in `{query}`")))
        } else {
            None
        };
        if let Some((field, reason)) = wrong {
            self.report(line, field, reason)?;
            return Ok(None);
        }
        if raw.time >= 0 {
            self.log.oddities.out_of_order += usize::from(raw.time < self.clock);
            self.clock = raw.time;
        }
        let kind = match kind {
            "" if query.is_empty() => "recommendation",
            "" => "search",
            kind => kind,
        };
        let log = &mut self.log;
        let kind_code = log.kinds.intern(kind) as u16;
        if log.kinds.len() > MAX_KINDS {
            let reason = format!("more than {MAX_KINDS} kinds of events: is it the right column?");
            return Err(Error::config("kind", reason));
        }
        if let Some(take) = &mut self.elsewhere {
            let RawEvent { time, weight, .. } = raw;
            take(CheckedEvent { user, item, query, kind, time, weight })?;
            return Ok(Some(row));
        }
        log.events.push(Event {
            time: raw.time,
            user: log.users.intern(user),
            item: log.items.intern(item),
            query: log.queries.intern(query),
            weight: raw.weight,
            row,
            kind: kind_code,
            part: raw.part,
        });
        Ok(Some(row))
    }

    /// Takes one item of the catalogue.
    pub(crate) fn item(&mut self, line: u64, mut item: CatalogueItem) -> Result<()> {
        let id = self.id(&item.id).to_owned();
        item.id = id;
        if item.id.is_empty() {
            return self.bad(line, "item", "empty");
        }
        self.log.catalogue.push(item);
        Ok(())
    }

    /// Gives an event, the last one taken, its negatives.
    pub(crate) fn negatives(&mut self, row: u32, items: &[String]) {
        if self.elsewhere.is_some() {
            // They go with the split `given`, which is for memory only.
            return;
        }
        let items: Vec<u32> = items.iter().map(|item| self.log.items.intern(item)).collect();
        self.log.given.0.push(row);
        self.log.given.1.push(&items);
    }

    /// An id without spaces at its ends.
    fn id<'i>(&mut self, id: &'i str) -> &'i str {
        let trimmed = id.trim();
        self.log.oddities.padded_ids += usize::from(trimmed.len() < id.len());
        trimmed
    }
}
