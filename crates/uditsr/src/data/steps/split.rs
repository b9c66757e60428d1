//! A part for each row.

use std::collections::HashMap;

use super::lots;
use crate::data::SplitRule;
use crate::data::options::Unseen;
use crate::data::raw::{Event, RawLog};
use crate::data::time::{self, UNKNOWN};
use crate::{Error, Result, Split};

const DAY: i64 = 86_400;

/// Where validation and test start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "large-logs"),
    expect(unreachable_pub, reason = "public through the engines of the feature `large-logs`")
)]
pub enum Cut {
    /// At these times.
    Times([i64; 2]),
    /// At the times of these events, when those with a time are counted by time from 0; nowhere if
    /// there are not so many. Events of one second stay together.
    Ranks([usize; 2]),
}

/// Where the time cut lies, for what needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splitter {
    pub(crate) rule: SplitRule,
    pub(crate) seed: u64,
    /// Where days start, in seconds before UTC.
    pub(crate) utc_offset: i64,
}

impl Splitter {
    /// Gives each event its part. Events without a time are never held out by a rule that looks at
    /// times.
    pub(crate) fn assign(self, log: &mut RawLog) -> Result<()> {
        self.check_times(log.events.iter().any(|event| event.time != UNKNOWN))?;
        match self.rule {
            SplitRule::Given => {}
            SplitRule::LeaveOneOut | SplitRule::LeaveOneOutAtRandom => self.leave_one_out(log),
            SplitRule::Pairs { valid, test } => self.pairs(log, valid, test),
            SplitRule::Dates { .. } | SplitRule::Days { .. } | SplitRule::Latest { .. } => {
                let mut times: Vec<i64> =
                    log.events.iter().map(|e| e.time).filter(|&t| t != UNKNOWN).collect();
                let last = times.iter().max().copied().unwrap_or(0);
                let [valid, test] = match self.cut(last, times.len()) {
                    Cut::Times(starts) => starts,
                    Cut::Ranks(ranks) => {
                        times.sort_unstable();
                        ranks.map(|rank| times.get(rank).copied().unwrap_or(i64::MAX))
                    }
                };
                cut(&mut log.events, valid, test);
            }
        }
        Ok(())
    }

    /// Refuses a rule that needs times if no event has one.
    pub(crate) fn check_times(self, has_times: bool) -> Result<()> {
        if has_times || !self.rule.needs_times() {
            return Ok(());
        }
        let reason = format!(
            "`{}` needs times, and no event has one; `leave-one-out-random` or `pairs:0.2,0.2` do not",
            self.rule
        );
        Err(Error::config("split", reason))
    }

    /// Where a rule that looks at the clock alone starts validation and test, in a log whose last
    /// event has this time and which has so many `dated` events.
    pub(crate) fn cut(self, last: i64, dated: usize) -> Cut {
        match self.rule {
            SplitRule::Dates { valid, test } => Cut::Times([valid, test]),
            SplitRule::Days { valid, test } => {
                let today = time::day_start(last, self.utc_offset);
                let start_test = today + DAY - i64::from(test) * DAY;
                Cut::Times([start_test - i64::from(valid) * DAY, start_test])
            }
            SplitRule::Latest { valid, test } => {
                let start = |share: f64| dated - (dated as f64 * share).round() as usize;
                Cut::Ranks([start(valid + test), start(test)])
            }
            _ => Cut::Times([i64::MAX; 2]),
        }
    }

    /// Per user and scenario: one event for test, one for validation.
    fn leave_one_out(self, log: &mut RawLog) {
        let by_time = self.rule == SplitRule::LeaveOneOut;
        for event in &mut log.events {
            event.part = Some(Split::Train);
        }
        let mut rows: Vec<u32> = (0..log.events.len() as u32).collect();
        let events = &log.events;
        rows.retain(|&row| !by_time || events[row as usize].time != UNKNOWN);
        // Rows come by time already, so the last key keeps that order.
        rows.sort_unstable_by_key(|&row| {
            let event = &events[row as usize];
            (event.user, event.is_search(), row)
        });
        let group = |row: u32| {
            let event = &events[row as usize];
            (event.user, event.is_search())
        };
        let mut held_out = Vec::new();
        for rows in rows.chunk_by(|&a, &b| group(a) == group(b)).filter(|rows| rows.len() >= 3) {
            let mut last = [rows[rows.len() - 2], rows[rows.len() - 1]];
            if !by_time {
                let (user, is_search) = group(rows[0]);
                let places = lots::two_of(self.seed, log.users.get(user), is_search, rows.len());
                last = places.map(|place| rows[place]);
            }
            held_out.push(last);
        }
        for [valid, test] in held_out {
            log.events[valid as usize].part = Some(Split::Valid);
            log.events[test as usize].part = Some(Split::Test);
        }
    }

    /// Per user: items divided at random.
    fn pairs(self, log: &mut RawLog, valid: f64, test: f64) {
        let mut pairs: Vec<(u32, u32)> = log.events.iter().map(|e| (e.user, e.item)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut held_out = HashMap::new();
        for pairs in pairs.chunk_by(|a, b| a.0 == b.0) {
            let user = log.users.get(pairs[0].0);
            let parts = lots::divide(self.seed, user, pairs.len(), valid, test);
            let held = pairs.iter().copied().zip(parts);
            held_out.extend(held.filter(|&(_, part)| part != Split::Train));
        }
        for event in &mut log.events {
            let part = held_out.get(&(event.user, event.item)).copied();
            event.part = Some(part.unwrap_or(Split::Train));
        }
    }
}

/// Validation from one time on, test from another.
fn cut(events: &mut [Event], valid: i64, test: i64) {
    for event in events {
        event.part = Some(match event.time {
            UNKNOWN => Split::Train,
            time if time >= test => Split::Test,
            time if time >= valid => Split::Valid,
            _ => Split::Train,
        });
    }
}

/// Held-out events whose user, and whose item, training does not know.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UnseenCounts {
    pub(crate) users: usize,
    pub(crate) items: usize,
}

/// Counts the held-out events that training cannot know, and takes them out if told to.
pub(crate) fn unseen(log: &mut RawLog, what: Unseen) -> UnseenCounts {
    let mut known_users = vec![false; log.users.len()];
    let mut known_items = vec![false; log.items.len()];
    for event in log.events.iter().filter(|event| event.part == Some(Split::Train)) {
        known_users[event.user as usize] = true;
        known_items[event.item as usize] = true;
    }
    let mut counts = UnseenCounts::default();
    for event in log.events.iter_mut().filter(|event| event.part.is_some()) {
        let user = !known_users[event.user as usize];
        let item = !known_items[event.item as usize];
        counts.users += usize::from(user);
        counts.items += usize::from(item);
        if (user || item) && what == Unseen::Drop {
            event.part = None;
        }
    }
    counts
}
