//! Numbers of users and items, and held-out rows that can be ranked.

use uditsr::data::SplitCounts;
use uditsr::data::engine::Staged;

use super::{is_hidden, sum_if};
use crate::{Engine, Result};

/// Makes `candidates`, `users`, `items`, `known` and `held`, and counts what the split made.
pub(crate) async fn run(engine: &Engine, staged: &Staged) -> Result<SplitCounts> {
    let mut counts = SplitCounts::default();
    unseen(engine, &mut counts).await?;
    let taken = if staged.drops_unseen() { "user_seen AND item_seen" } else { "true" };
    engine.view("taken", &format!("SELECT * FROM candidates WHERE {taken}")).await?;
    for (table, id) in [("users", "user_id"), ("items", "item_id")] {
        engine.table(table, &numbers(id)).await?;
    }
    counts.users = engine.count("users").await?;
    counts.items = engine.count("items").await?;
    engine.table("known", KNOWN).await?;
    engine.table("held", &held(staged, counts.items)).await?;
    survey(engine, staged, &mut counts).await?;
    Ok(counts)
}

/// Which held-out rows training can know.
async fn unseen(engine: &Engine, counts: &mut SplitCounts) -> Result<()> {
    let query = "SELECT h.user_id, h.item_id, h.query, h.kind, h.seconds, h.part,
            u.seen_user IS NOT NULL AS user_seen, i.seen_item IS NOT NULL AS item_seen
        FROM (SELECT * FROM parted WHERE part > 0) h
        LEFT JOIN (SELECT DISTINCT user_id AS seen_user FROM parted WHERE part = 0) u
            ON h.user_id = u.seen_user
        LEFT JOIN (SELECT DISTINCT item_id AS seen_item FROM parted WHERE part = 0) i
            ON h.item_id = i.seen_item";
    engine.table("candidates", query).await?;
    let (users, items) = (sum_if("NOT user_seen"), sum_if("NOT item_seen"));
    let query = format!("SELECT {users}, {items} FROM candidates");
    let unseen: [i64; 2] = engine.one("unseen users and items", &query).await?;
    [counts.unseen_users, counts.unseen_items] = unseen.map(|count| count as usize);
    Ok(())
}

/// Ids of rows that have a part, in order.
fn numbers(id: &str) -> String {
    format!(
        "SELECT {id},
            arrow_cast(row_number() OVER (ORDER BY octet_length({id}), {id}) - 1, 'UInt32') AS number
        FROM (SELECT DISTINCT {id} FROM
            (SELECT {id} FROM parted WHERE part = 0 UNION ALL SELECT {id} FROM taken))"
    )
}

/// Items that a user touched are those of all rows with a weight, whatever became of them.
const KNOWN: &str = "SELECT t.user_id, array_agg(i.number) AS numbers, count(*) AS items
    FROM (SELECT DISTINCT c.user_id, c.item_id FROM clean c
        LEFT SEMI JOIN (SELECT DISTINCT user_id FROM taken) h ON c.user_id = h.user_id
        WHERE c.weight > 0) t
    JOIN items i ON t.item_id = i.item_id
    GROUP BY t.user_id";

fn held(staged: &Staged, items: usize) -> String {
    let negatives = staged.options().negatives;
    let is_hidden = is_hidden(staged.options());
    format!(
        "SELECT h.user_id, h.item_id, h.query, h.kind, h.seconds, h.part, h.is_hidden,
            u.number AS user_number, i.number AS item_number,
            {items} - k.items >= {negatives} AS enough
        FROM (SELECT user_id, item_id, query, kind, seconds, part, {is_hidden} AS is_hidden
            FROM taken) h
        JOIN users u ON h.user_id = u.user_id
        JOIN items i ON h.item_id = i.item_id
        JOIN known k ON h.user_id = k.user_id"
    )
}

/// What the split made.
async fn survey(engine: &Engine, staged: &Staged, counts: &mut SplitCounts) -> Result<()> {
    let hidden = is_hidden(staged.options());
    let query = format!("SELECT *, {hidden} AS is_hidden FROM parted WHERE part = 0");
    engine.view("train", &query).await?;
    engine.view("ranked", "SELECT * FROM held WHERE enough").await?;
    let step = "counts of the split";
    let [too_few, first_test] = engine
        .one(step, &format!("SELECT {}, min({FIRST_TEST}) FROM held", sum_if("NOT enough")))
        .await?;
    counts.too_few_negatives = too_few as usize;
    let [has_test] = engine.one(step, &format!("SELECT count({FIRST_TEST}) FROM held")).await?;

    let visible = sum_if("query <> '' AND NOT is_hidden");
    let feed = sum_if("query = '' OR is_hidden");
    let hidden = sum_if("is_hidden");
    let late = if has_test > 0 { sum_if(&format!("seconds > {first_test}")) } else { "0".into() };
    let query = format!("SELECT {visible}, {feed}, {hidden}, {late} FROM train");
    let train: [i64; 4] = engine.one(step, &query).await?;
    [
        counts.train.searches,
        counts.train.recommendations,
        counts.hidden_queries,
        counts.late_training,
    ] = train.map(|count| count as usize);
    for (number, part) in [(1, &mut counts.valid), (2, &mut counts.test)] {
        let query = format!("SELECT {visible}, {feed}, {hidden} FROM ranked WHERE part = {number}");
        let [searches, recommendations, hidden] = engine.one(step, &query).await?;
        part.searches = searches as usize;
        part.recommendations = recommendations as usize;
        counts.hidden_queries += hidden as usize;
    }
    let query = "SELECT count(*) FROM
        (SELECT DISTINCT item_id FROM train WHERE query <> '' AND NOT is_hidden)";
    let [with_query] = engine.one(step, query).await?;
    counts.items_with_training_query = with_query as usize;
    let query = "SELECT count(*) FROM ranked r
        LEFT SEMI JOIN (SELECT user_id, item_id FROM parted WHERE part = 0) t
        ON r.user_id = t.user_id AND r.item_id = t.item_id";
    let [repeats] = engine.one(step, query).await?;
    counts.repeats = repeats as usize;
    Ok(())
}

/// The time of a test row that has one.
const FIRST_TEST: &str = "CASE WHEN part = 2 AND enough AND seconds <> -1 THEN seconds END";
