//! One of equal rows, positives, searches of one need, frequent users and items.

use uditsr::data::RowCounts;
use uditsr::data::engine::Staged;

use super::quoted;
use crate::{Engine, Result};

/// Makes `clean` and `kept` of `events`, and counts what was left out.
pub(crate) async fn run(engine: &Engine, staged: &Staged) -> Result<RowCounts> {
    let mut counts =
        RowCounts { read: staged.read, bad: staged.read - staged.good, ..RowCounts::default() };
    // Of rows that differ in weight only, the heaviest is kept.
    let key = "user_id, item_id, query, kind, seconds";
    let query = format!("SELECT {key}, max(weight) AS weight FROM events GROUP BY {key}");
    engine.table("clean", &query).await?;
    engine.drop_table("events")?;
    let distinct = engine.count("clean").await?;
    counts.duplicates = staged.good - distinct;

    let query = format!("SELECT {key} FROM clean WHERE {}", positive(staged));
    let mut rows = "positive";
    engine.view(rows, &query).await?;
    let mut left = engine.count(rows).await?;
    counts.not_positive = distinct - left;

    if staged.joins_queries() {
        engine.table("joined", &joined(rows, staged.utc_offset())).await?;
        rows = "joined";
        let now = engine.count(rows).await?;
        counts.joined = left - now;
        left = now;
    }
    if staged.core() > 0 {
        let before = left;
        for table in ["core_a", "core_b"].iter().cycle() {
            engine.table(table, &frequent(rows, staged.core())).await?;
            let now = engine.count(table).await?;
            if rows.starts_with("core") {
                engine.drop_table(rows)?;
            }
            rows = table;
            if now == left {
                break;
            }
            left = now;
        }
        counts.below_core = before - left;
    }
    engine.view("kept", &format!("SELECT {key} FROM {rows}")).await?;
    counts.kept = left;
    Ok(counts)
}

/// The condition of a positive row.
fn positive(staged: &Staged) -> String {
    let kinds = staged.kinds.iter().filter_map(|kind| match staged.least_weight(kind) {
        // Positives have more than nothing anyway.
        Some(least) if least <= 0.0 => None,
        // An f32 is a decimal number of f64, and compared as one.
        Some(least) => {
            let least = f64::from(least);
            Some(format!(" WHEN {} THEN weight >= CAST({least:?} AS DOUBLE)", quoted(kind)))
        }
        None => Some(format!(" WHEN {} THEN false", quoted(kind))),
    });
    let kinds: String = kinds.collect();
    if kinds.is_empty() {
        "weight > 0".into()
    } else {
        format!("weight > 0 AND CASE kind{kinds} ELSE true END")
    }
}

/// Searches of a user for an item on a day as one, with their queries joined, the earliest time,
/// and the kind of the first.
fn joined(rows: &str, utc_offset: i64) -> String {
    let order = "seconds, octet_length(query), query, octet_length(kind), kind";
    format!(
        "SELECT user_id, item_id, query, kind, seconds FROM {rows} WHERE query = ''
        UNION ALL
        SELECT user_id, item_id, join_queries(array_agg(query)) AS query,
            first_value(kind ORDER BY {order}) AS kind, min(seconds) AS seconds
        FROM {rows} WHERE query <> ''
        GROUP BY user_id, item_id, day_start(seconds, {utc_offset})"
    )
}

/// Rows whose user and item both have at least so many.
fn frequent(rows: &str, least: u32) -> String {
    let of = |id: &str| format!("SELECT {id} FROM {rows} GROUP BY {id} HAVING count(*) >= {least}");
    format!(
        "SELECT r.* FROM {rows} r
        LEFT SEMI JOIN ({}) u ON r.user_id = u.user_id
        LEFT SEMI JOIN ({}) i ON r.item_id = i.item_id",
        of("user_id"),
        of("item_id")
    )
}
