//! Users and items with enough events.

use crate::data::raw::Event;

/// Drops the events of users and of items that have fewer than `least`, until all have (the k-core
/// of the graph). Returns how many were dropped.
pub(crate) fn keep(events: &mut Vec<Event>, least: u32, users: usize, items: usize) -> usize {
    let start = events.len();
    loop {
        let before = events.len();
        let mut of_user = vec![0u32; users];
        let mut of_item = vec![0u32; items];
        for event in events.iter() {
            of_user[event.user as usize] += 1;
            of_item[event.item as usize] += 1;
        }
        events.retain(|event| {
            of_user[event.user as usize] >= least && of_item[event.item as usize] >= least
        });
        if events.len() == before {
            return start - before;
        }
    }
}
