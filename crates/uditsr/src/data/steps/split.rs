//! A part for each row.

use std::collections::HashMap;

use crate::data::SplitRule;
use crate::data::options::Unseen;
use crate::data::raw::{Event, RawLog};
use crate::data::stream::Stream;
use crate::data::time::{self, UNKNOWN};
use crate::{Error, Result, Split};

const DAY: i64 = 86_400;

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
        if self.rule.needs_times() && log.events.iter().all(|event| event.time == UNKNOWN) {
            let reason = format!(
                "`{}` needs times, and no event has one; `leave-one-out-random` or `pairs:0.2,0.2` do not",
                self.rule
            );
            return Err(Error::config("split", reason));
        }
        match self.rule {
            SplitRule::Given => {}
            SplitRule::LeaveOneOut | SplitRule::LeaveOneOutAtRandom => self.leave_one_out(log),
            SplitRule::Pairs { valid, test } => self.pairs(log, valid, test),
            SplitRule::Dates { valid, test } => cut(&mut log.events, valid, test),
            SplitRule::Days { valid, test } => {
                let last = log.events.iter().map(|event| event.time).max().unwrap_or(0);
                let today = time::day_start(last, self.utc_offset);
                let start_test = today + DAY - i64::from(test) * DAY;
                cut(&mut log.events, start_test - i64::from(valid) * DAY, start_test);
            }
            SplitRule::Latest { valid, test } => {
                let mut times: Vec<i64> =
                    log.events.iter().map(|e| e.time).filter(|&t| t != UNKNOWN).collect();
                times.sort_unstable();
                // Events of one second stay together.
                let start = |share: f64| {
                    let held_out = (times.len() as f64 * share).round() as usize;
                    times.get(times.len() - held_out).copied().unwrap_or(i64::MAX)
                };
                cut(&mut log.events, start(valid + test), start(test));
            }
        }
        Ok(())
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
                let scenario = if is_search { "search" } else { "recommendation" };
                let key = [log.users.get(user), scenario];
                let mut stream = Stream::of(self.seed, "leave-one-out", &key);
                let mut rows = rows.to_vec();
                stream.shuffle(&mut rows);
                last = [rows[0], rows[1]];
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
        for pairs in pairs.chunk_by_mut(|a, b| a.0 == b.0) {
            let mut stream = Stream::of(self.seed, "pairs", &[log.users.get(pairs[0].0)]);
            stream.shuffle(pairs);
            let share = |share: f64| (pairs.len() as f64 * share).round() as usize;
            let test = share(test).min(pairs.len() - 1);
            let valid = share(valid).min(pairs.len() - 1 - test);
            held_out.extend(pairs[..test].iter().map(|&pair| (pair, Split::Test)));
            held_out.extend(pairs[test..test + valid].iter().map(|&pair| (pair, Split::Valid)));
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
