//! Several searches as one.

use std::collections::BTreeSet;

use crate::data::raw::{Event, RawLog};
use crate::data::time;

/// Joins the searches of a user that ended at the same item on the same day: their queries, in the
/// order of the strings and each once, become one, and the time is the earliest. Returns by how
/// many rows the log has shrunk.
pub(crate) fn searches(log: &mut RawLog, utc_offset: i64) -> usize {
    let before = log.events.len();
    let key = |event: &Event| (event.user, event.item, day(event.time, utc_offset));
    let (mut searches, mut events): (Vec<Event>, Vec<Event>) =
        log.events.iter().partition(|event| event.is_search());
    searches.sort_unstable_by_key(|event| (key(event), event.time, event.query, event.kind));
    for group in searches.chunk_by(|a, b| key(a) == key(b)) {
        let mut joined = group[0];
        if group.len() > 1 {
            let codes: BTreeSet<u32> = group.iter().map(|event| event.query).collect();
            let texts: Vec<&str> = codes.iter().map(|&code| log.queries.get(code)).collect();
            joined.query = log.queries.intern(&text(&texts));
        }
        events.push(joined);
    }
    // A search is now determined by user, item and time, so the new queries are no sort key.
    events.sort_unstable_by_key(|e| (e.time, e.user, e.item, e.is_search(), e.query, e.kind));
    log.events = events;
    before - log.events.len()
}

/// The first second of the day of a time; events without a time are of one day.
pub(crate) fn day(time: i64, utc_offset: i64) -> i64 {
    if time == time::UNKNOWN { time } else { time::day_start(time, utc_offset) }
}

/// Different queries, in order, as one.
pub(crate) fn text(queries: &[&str]) -> String {
    queries.join(" ")
}
