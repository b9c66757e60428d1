//! Several searches as one.

use std::collections::BTreeSet;

use crate::data::raw::{Event, RawLog};
use crate::data::time;

/// Joins the searches of a user that ended at the same item on the same day: their queries, in the
/// order of the strings and each once, become one, and the time is the earliest. Returns by how
/// many rows the log has shrunk.
pub(crate) fn searches(log: &mut RawLog, utc_offset: i64) -> usize {
    let before = log.events.len();
    let day = |event: &Event| match event.time {
        time::UNKNOWN => time::UNKNOWN,
        time => time::day_start(time, utc_offset),
    };
    let key = |event: &Event| (event.user, event.item, day(event));
    let (mut searches, mut events): (Vec<Event>, Vec<Event>) =
        log.events.iter().partition(|event| event.is_search());
    searches.sort_unstable_by_key(|event| (key(event), event.time, event.query));
    for group in searches.chunk_by(|a, b| key(a) == key(b)) {
        let mut joined = group[0];
        if group.len() > 1 {
            let codes: BTreeSet<u32> = group.iter().map(|event| event.query).collect();
            let texts: Vec<&str> = codes.iter().map(|&code| log.queries.get(code)).collect();
            let text = texts.join(" ");
            joined.query = log.queries.intern(&text);
        }
        events.push(joined);
    }
    // A search is now determined by user, item and time, so the new queries are no sort key.
    events.sort_unstable_by_key(|e| (e.time, e.user, e.item, e.is_search(), e.query, e.kind));
    log.events = events;
    before - log.events.len()
}
