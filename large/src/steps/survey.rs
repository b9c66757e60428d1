//! The counts of a report that are about all rows.

use std::collections::{BTreeMap, HashSet};

use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Int64Type;
use uditsr::data::engine::{Staged, date, plain_id};
use uditsr::data::{LogCounts, RowCounts};

use super::sum_if;
use crate::{Engine, Error, Result};

/// Longer queries are counted together.
const LONG_QUERY: usize = 10;
/// Logs of so many years are rare, wrong units of time are not.
const TWENTY_YEARS: i64 = 20 * 365 * 86_400;

/// When the rows of `kept` were.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// How many say it.
    pub(crate) dated: usize,
    /// The earliest time, 0 if there is none.
    first: i64,
    /// The latest time, 0 if there is none.
    pub(crate) last: i64,
}

/// Counts `kept`.
pub(crate) async fn run(
    engine: &Engine,
    staged: &Staged,
    rows: &RowCounts,
) -> Result<(LogCounts, Times)> {
    let mut counts = LogCounts { catalogue: staged.catalogue.len(), ..LogCounts::default() };
    people(engine, &mut counts).await?;
    items(engine, staged, &mut counts).await?;
    queries(engine, &mut counts).await?;
    counts.recommendations = rows.kept - counts.searches;
    let kinds = "SELECT kind AS name, count(*) AS uses FROM kept GROUP BY kind";
    counts.kinds = histogram(engine, "kinds", kinds).await?;
    let times = times(engine, rows.kept, &mut counts).await?;
    Ok((counts, times))
}

/// How often each user or item comes in both scenarios.
fn uses(id: &str) -> String {
    let (searches, feed) = (sum_if("query <> ''"), sum_if("query = ''"));
    format!("SELECT {id} AS id, {searches} AS searches, {feed} AS feed FROM kept GROUP BY {id}")
}

/// Ids that are equal to another one but for case and leading zeros.
async fn similar(engine: &Engine, table: &str) -> Result<usize> {
    // Those that are not plain are all similar to the plain one, or all but the first if there is
    // none.
    let (plain, others) = (sum_if("plain_id(id) = id"), sum_if("plain_id(id) <> id"));
    let query = format!(
        "SELECT sum(CASE WHEN unlike = 0 THEN 0 WHEN alike > 0 THEN unlike ELSE unlike - 1 END)
        FROM (SELECT {plain} AS alike, {others} AS unlike FROM {table} GROUP BY plain_id(id))"
    );
    let [similar] = engine.one("similar ids", &query).await?;
    Ok(similar as usize)
}

async fn people(engine: &Engine, counts: &mut LogCounts) -> Result<()> {
    engine.table("user_uses", &uses("user_id")).await?;
    let both = sum_if("searches > 0 AND feed > 0");
    let searches_only = sum_if("searches > 0 AND feed = 0");
    let once = sum_if("searches + feed = 1");
    let query = format!("SELECT count(*), {both}, {searches_only}, {once} FROM user_uses");
    let of_users: [i64; 4] = engine.one("users", &query).await?;
    [
        counts.users,
        counts.users_with_both,
        counts.users_with_searches_only,
        counts.users_with_one_event,
    ] = of_users.map(|count| count as usize);
    counts.similar_ids = similar(engine, "user_uses").await?;
    engine.drop_table("user_uses")
}

async fn items(engine: &Engine, staged: &Staged, counts: &mut LogCounts) -> Result<()> {
    engine.table("item_uses", &uses("item_id")).await?;
    let searched = sum_if("searches > 0");
    let both = sum_if("searches > 0 AND feed > 0");
    let query = format!("SELECT count(*), {searched}, {both} FROM item_uses");
    let of_items: [i64; 3] = engine.one("items", &query).await?;
    [counts.items, counts.items_with_query, counts.items_with_both] =
        of_items.map(|count| count as usize);
    counts.similar_ids += similar(engine, "item_uses").await?;
    let ids: HashSet<&str> = staged.catalogue.iter().map(|item| item.id.as_str()).collect();
    let plain_ids: HashSet<String> = ids.iter().map(|id| plain_id(id)).collect();
    let mut known = 0;
    let mut rows = engine.stream("items", "SELECT id FROM item_uses").await?;
    while let Some(batch) = rows.next().await? {
        for id in batch.column(0).as_string::<i32>().iter().flatten() {
            let is_known = ids.contains(id);
            known += usize::from(is_known);
            let almost = !is_known && !ids.is_empty() && plain_ids.contains(&plain_id(id));
            counts.items_almost_in_catalogue += usize::from(almost);
        }
    }
    counts.items_without_events = counts.catalogue - known;
    counts.items_not_in_catalogue = counts.items - known;
    engine.drop_table("item_uses")
}

async fn queries(engine: &Engine, counts: &mut LogCounts) -> Result<()> {
    let query = "SELECT query, count(*) AS uses FROM kept WHERE query <> '' GROUP BY query";
    engine.table("query_uses", query).await?;
    let query = "SELECT count(*), sum(uses) FROM query_uses";
    let of_queries: [i64; 2] = engine.one("queries", query).await?;
    [counts.distinct_queries, counts.searches] = of_queries.map(|count| count as usize);
    let words = format!(
        "SELECT CAST(words AS VARCHAR) AS name, sum(uses) AS uses FROM
            (SELECT CASE WHEN word_count(query) > {LONG_QUERY} THEN {LONG_QUERY}
                ELSE word_count(query) END AS words, uses FROM query_uses)
        GROUP BY words"
    );
    let by_words = histogram(engine, "words", &words).await?;
    let number = |(words, uses): (String, usize)| {
        words.parse().map(|words| (words, uses)).map_err(|_| Error::Result {
            step: "words".into(),
            expected: "numbers".into(),
            found: words,
        })
    };
    counts.searches_by_words = by_words.into_iter().map(number).collect::<Result<_>>()?;
    engine.drop_table("query_uses")
}

/// A few names and how often they come.
async fn histogram(engine: &Engine, step: &str, query: &str) -> Result<BTreeMap<String, usize>> {
    let query = format!("SELECT name, CAST(uses AS BIGINT) FROM ({query})");
    let mut uses_of = BTreeMap::new();
    let mut rows = engine.stream(step, &query).await?;
    while let Some(batch) = rows.next().await? {
        let names = batch.column(0).as_string::<i32>().iter().flatten();
        let uses = batch.column(1).as_primitive::<Int64Type>().values();
        uses_of.extend(names.map(str::to_owned).zip(uses.iter().map(|&uses| uses as usize)));
    }
    Ok(uses_of)
}

async fn times(engine: &Engine, kept: usize, counts: &mut LogCounts) -> Result<Times> {
    let query = "SELECT count(*), min(seconds), max(seconds) FROM kept WHERE seconds <> -1";
    let [dated, first, last] = engine.one("times", query).await?;
    let times = Times { dated: dated as usize, first, last };
    counts.undated = kept - times.dated;
    if times.dated == 0 {
        return Ok(times);
    }
    let median = nth_time(engine, times.dated / 2).await?.unwrap_or(0);
    let query = format!(
        "SELECT count(*) FROM kept WHERE seconds <> -1 AND
        (seconds < {} OR seconds > {})",
        median - TWENTY_YEARS,
        median + TWENTY_YEARS
    );
    let [outlying] = engine.one("times", &query).await?;
    counts.outlying_times = outlying as usize;
    counts.first_day = Some(date(times.first));
    counts.last_day = Some(date(times.last));
    Ok(times)
}

/// The time of an event when those with a time are counted by time from 0, none if there are not
/// so many. It is looked for among the days, and then in one of them.
pub(crate) async fn nth_time(engine: &Engine, rank: usize) -> Result<Option<i64>> {
    const DAY: i64 = 86_400;
    let mut rank = rank as i64;
    let days = "SELECT seconds / 86400 AS on_day, count(*) AS events FROM kept
        WHERE seconds <> -1 GROUP BY seconds / 86400 ORDER BY on_day";
    let Some(day) = find(engine, days, &mut rank).await? else { return Ok(None) };
    let seconds = format!(
        "SELECT seconds, count(*) AS events FROM kept
        WHERE seconds >= {} AND seconds < {} GROUP BY seconds ORDER BY seconds",
        day * DAY,
        (day + 1) * DAY
    );
    find(engine, &seconds, &mut rank).await
}

/// Of values in order and how often each comes, the one at a place; the place within it is left.
async fn find(engine: &Engine, query: &str, rank: &mut i64) -> Result<Option<i64>> {
    let mut rows = engine.stream("times", query).await?;
    while let Some(batch) = rows.next().await? {
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        let counts = batch.column(1).as_primitive::<Int64Type>().values();
        for (&value, &count) in values.iter().zip(counts) {
            if *rank < count {
                return Ok(Some(value));
            }
            *rank -= count;
        }
    }
    Ok(None)
}
