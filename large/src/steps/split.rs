//! A part for each row.

use uditsr::data::SplitRule;
use uditsr::data::engine::{Cut, Staged};

use super::survey::{Times, nth_time};
use crate::{Engine, Result};

/// Columns of rows before they have a part.
const ROW: &str = "user_id, item_id, query, kind, seconds";

/// Makes `parted` of `kept`, which has so many rows.
pub(crate) async fn run(engine: &Engine, staged: &Staged, times: Times, rows: usize) -> Result<()> {
    let seed = staged.options().seed;
    let part = match (staged.cut(times.last, times.dated, rows)?, staged.split()) {
        (Some(Cut::Times(starts)), _) => by_time(starts),
        (Some(Cut::Ranks(ranks)), _) => {
            let mut starts = [i64::MAX; 2];
            for (start, rank) in starts.iter_mut().zip(ranks) {
                *start = nth_time(engine, rank).await?.unwrap_or(i64::MAX);
            }
            by_time(starts)
        }
        (None, SplitRule::LeaveOneOutAtRandom) => leave_one_out_by_lot(seed),
        (None, SplitRule::Pairs { valid, test }) => pairs(seed, valid, test),
        (None, _) => leave_one_out(),
    };
    engine.table("parted", &part).await
}

fn by_time([valid, test]: [i64; 2]) -> String {
    format!(
        "SELECT {ROW}, CASE WHEN seconds = -1 THEN 0 WHEN seconds >= {test} THEN 2
            WHEN seconds >= {valid} THEN 1 ELSE 0 END AS part
        FROM kept"
    )
}

/// The order of the rows of a user in a scenario.
fn order(direction: &str) -> String {
    let columns = [
        "seconds",
        "octet_length(item_id)",
        "item_id",
        "octet_length(query)",
        "query",
        "octet_length(kind)",
        "kind",
    ];
    columns.map(|column| format!("{column} {direction}")).join(", ")
}

/// The last of three dated rows or more is for test, the one before for validation. Rows without a
/// time come last when the latest is first, so a dated row two places on says that there are three.
fn leave_one_out() -> String {
    let order = order("DESC");
    format!(
        "SELECT {ROW}, CASE WHEN seconds = -1 THEN 0
            WHEN place = 1 AND before_two >= 0 THEN 2
            WHEN place = 2 AND before_one >= 0 THEN 1 ELSE 0 END AS part
        FROM (SELECT {ROW}, row_number() OVER backwards AS place,
                lead(seconds, 1) OVER backwards AS before_one,
                lead(seconds, 2) OVER backwards AS before_two
            FROM (SELECT {ROW}, query <> '' AS is_search FROM kept)
            WINDOW backwards AS (PARTITION BY user_id, is_search ORDER BY {order}))"
    )
}

/// Two of three rows or more are drawn.
fn leave_one_out_by_lot(seed: u64) -> String {
    let order = order("ASC");
    format!(
        "SELECT r.user_id, r.item_id, r.query, r.kind, r.seconds,
            CASE WHEN r.place - 1 = g.drawn / 4294967296 THEN 1
                WHEN r.place - 1 = g.drawn % 4294967296 THEN 2 ELSE 0 END AS part
        FROM (SELECT {ROW}, is_search, CAST(row_number() OVER forwards AS BIGINT) AS place
            FROM (SELECT {ROW}, query <> '' AS is_search FROM kept)
            WINDOW forwards AS (PARTITION BY user_id, is_search ORDER BY {order})) r
        LEFT JOIN (SELECT user_id, is_search, two_of('{seed}', user_id, is_search, events) AS drawn
            FROM (SELECT user_id, query <> '' AS is_search, count(*) AS events
                FROM kept GROUP BY user_id, query <> '')
            WHERE events >= 3) g
        ON r.user_id = g.user_id AND r.is_search = g.is_search"
    )
}

/// The items of a user are divided, and rows go with their items.
fn pairs(seed: u64, valid: f64, test: f64) -> String {
    let shares = format!("CAST({valid:?} AS DOUBLE), CAST({test:?} AS DOUBLE)");
    format!(
        "SELECT r.user_id, r.item_id, r.query, r.kind, r.seconds, CAST(s.part AS BIGINT) AS part
        FROM kept r JOIN
            (SELECT user_id, unnest(items) AS item_id, unnest(parts) AS part
            FROM (SELECT user_id, items, divide('{seed}', user_id, items, {shares}) AS parts
                FROM (SELECT user_id, array_agg(item_id) AS items
                    FROM (SELECT DISTINCT user_id, item_id FROM kept) GROUP BY user_id))) s
        ON r.user_id = s.user_id AND r.item_id = s.item_id"
    )
}
