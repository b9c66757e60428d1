//! What a log can and cannot support, in words.

use super::raw::Oddities;
use super::report::{Finding, Level, LogCounts, RowCounts, SplitCounts};

/// No log of a shop on the net is older.
const EARLIEST_LOG: &str = "1990-01-01";

/// Everything that conclusions are drawn from.
pub(super) struct Evidence<'a> {
    pub(super) rows: &'a RowCounts,
    pub(super) oddities: &'a Oddities,
    pub(super) log: &'a LogCounts,
    pub(super) split: &'a SplitCounts,
    /// Negatives of each held-out event.
    pub(super) negatives: usize,
    /// Words of a query that the model looks at.
    pub(super) query_words: usize,
}

/// Conclusions, the worst first.
pub(super) fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in [scenarios, queries, graph, evaluation, leaks, quality, catalogue] {
        check(evidence, &mut findings);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

fn scenarios(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let log = e.log;
    let share = percent(log.users_with_both, log.users);
    let searches = percent(log.searches, log.searches + log.recommendations);
    if e.split.train.total() == 0 {
        out.push(finding(
            Level::Blocker,
            "nothing is left to train on".into(),
            "the rows above say where it went",
        ));
        return;
    }
    if log.searches == 0 {
        let advice = "the demand-intent generator has no teacher: use a recommendation baseline, or give the query column";
        out.push(finding(Level::Warning, "no event has a query".into(), advice));
        return;
    }
    if log.recommendations == 0 && e.split.hidden_queries == 0 {
        let advice = "recommendations cannot be trained or measured; `mask_queries` makes some whose demand is known";
        out.push(finding(Level::Warning, "every event has a query".into(), advice));
        return;
    }
    let fact = format!(
        "{share} of {} users both search and take recommendations; {searches} of events are searches",
        log.users
    );
    let both = log.users_with_both as f64 / log.users.max(1) as f64;
    out.push(match both {
        b if b >= 0.2 => finding(Level::Good, fact, "joint training is supported"),
        b if b >= 0.02 => {
            finding(Level::Note, fact, "few users join the two: compare with separate models")
        }
        _ if e.split.hidden_queries > 0 => {
            finding(Level::Note, fact, "hidden queries are counted as searches here")
        }
        _ => finding(Level::Warning, fact, "the two scenarios share items at most, not users"),
    });
}

fn queries(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let (log, split) = (e.log, e.split);
    if log.searches == 0 {
        return;
    }
    let items = percent(split.items_with_training_query, split.items);
    let fact = format!("{items} of {} items have a training query", split.items);
    let covered = split.items_with_training_query * 2 >= split.items;
    out.push(if covered {
        finding(Level::Good, fact, "")
    } else {
        finding(Level::Note, fact, "the demand for the others is learned from their users alone")
    });
    let words: usize = log.searches_by_words.iter().map(|(words, n)| words * n).sum();
    let long: usize = log.searches_by_words.range(e.query_words + 1..).map(|(_, n)| n).sum();
    let mean = words as f64 / log.searches as f64;
    let long_share = percent(long, log.searches);
    let fact = format!(
        "{mean:.1} words per search, {} different queries, {long_share} longer than {} words",
        log.distinct_queries, e.query_words
    );
    out.push(if long * 2 > log.searches {
        finding(
            Level::Warning,
            fact,
            "the model looks at the first words only: raise the number of words per query",
        )
    } else {
        finding(Level::Good, fact, "")
    });
    let held_out = split.valid.searches + split.test.searches;
    if split.unknown_queries > 0 {
        let fact =
            format!("{} of {held_out} held-out searches have no known word", split.unknown_queries);
        let level =
            if split.unknown_queries * 10 > held_out { Level::Warning } else { Level::Note };
        out.push(finding(
            level,
            fact,
            "they are ranked by the unknown word; a larger vocabulary may help",
        ));
    }
}

fn graph(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let (log, split) = (e.log, e.split);
    if log.users_with_one_event > 0 {
        let share = percent(log.users_with_one_event, log.users);
        let level =
            if log.users_with_one_event * 2 > log.users { Level::Warning } else { Level::Note };
        let fact = format!("{} users ({share}) have one event", log.users_with_one_event);
        out.push(finding(
            level,
            fact,
            "they are trained on but never tested; `core` leaves them out",
        ));
    }
    let per_item = split.train.total() as f64 / split.items.max(1) as f64;
    if per_item < 5.0 && split.items > 0 {
        let fact = format!("{per_item:.1} training events per item");
        out.push(finding(Level::Note, fact, "sparse: simple baselines may win"));
    }
    if e.log.searches > 0 && e.log.recommendations > 0 {
        let share = percent(log.items_with_both, log.items);
        if log.items_with_both * 5 < log.items {
            let fact = format!("{share} of items occur in both scenarios");
            let advice = "uniform negatives teach the recommendation head that search-only items are never shown";
            out.push(finding(Level::Warning, fact, advice));
        }
    }
}

fn evaluation(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let split = e.split;
    for (name, part) in [("validation", split.valid), ("test", split.test)] {
        let fact = format!(
            "{name} has {} searches and {} recommendations",
            part.searches, part.recommendations
        );
        let smallest = [part.searches, part.recommendations].into_iter().filter(|&n| n > 0).min();
        match smallest {
            None => out.push(finding(
                Level::Blocker,
                format!("{name} is empty"),
                "choose another split",
            )),
            Some(n) if n < 1000 => {
                out.push(finding(
                    Level::Note,
                    fact,
                    "differences between models will be within the noise: use seeds and intervals",
                ));
            }
            Some(_) => {}
        }
    }
    if split.unseen_users + split.unseen_items > 0 {
        let fact = format!(
            "held-out events with unknown users: {}, with unknown items: {}",
            split.unseen_users, split.unseen_items
        );
        out.push(finding(
            Level::Note,
            fact,
            "left out unless `unseen` is `keep`; results are about what training knows",
        ));
    }
    if split.too_few_negatives > 0 {
        let fact = format!(
            "{} held-out events have fewer than {} untouched items",
            split.too_few_negatives, e.negatives
        );
        out.push(finding(Level::Warning, fact, "they were left out; ask for fewer negatives"));
    }
}

fn leaks(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let split = e.split;
    if e.log.last_day.as_deref().is_some_and(|day| day < EARLIEST_LOG) {
        let fact = format!("the latest event is of {}", e.log.last_day.as_deref().unwrap_or("?"));
        let advice = "times are counted from something else: the order of one user's events means something, dates do not";
        out.push(finding(Level::Note, fact, advice));
    }
    let held_out = split.valid.total() + split.test.total();
    if split.repeats > 0 {
        let share = percent(split.repeats, held_out);
        let level = if split.repeats * 10 > held_out { Level::Warning } else { Level::Note };
        let fact = format!("{share} of held-out events repeat a user and item of training");
        out.push(finding(
            level,
            fact,
            "remembering is rewarded; `pairs` keeps each user and item on one side",
        ));
    }
    if split.late_training > 0 {
        let share = percent(split.late_training, split.train.total());
        let fact = format!("{share} of training events are later than the first test event");
        out.push(finding(
            Level::Note,
            fact,
            "popularity of the future is known; `days`, `dates` or `latest` avoid it",
        ));
    } else if e.log.undated == 0 && split.test.total() > 0 {
        out.push(finding(
            Level::Good,
            "no training event is later than the first test event".into(),
            "",
        ));
    }
}

fn quality(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let (rows, log, odd) = (e.rows, e.log, e.oddities);
    let total = rows.read;
    for (level, count, what, advice) in [
        (Level::Warning, rows.bad, "bad rows were left out", "each is listed with its line"),
        (Level::Note, rows.duplicates, "rows repeat another one exactly", "one of each was kept"),
        (Level::Note, log.undated, "events have no time", "they are never held out by time"),
        (
            Level::Warning,
            log.outlying_times,
            "events are more than twenty years from the median",
            "is the unit of time right?",
        ),
        (
            Level::Note,
            odd.out_of_order,
            "rows are earlier than the row before",
            "the order of rows is not used",
        ),
        (
            Level::Note,
            odd.repeated_items,
            "rows of the catalogue repeat an item",
            "the one with the most text was kept",
        ),
        (Level::Note, odd.padded_ids, "ids had spaces around them", "they were cut off"),
        (
            Level::Warning,
            odd.queries_in_feed,
            "recommendations had a query",
            "it was ignored, as their kind says",
        ),
        (
            Level::Warning,
            log.similar_ids,
            "ids differ from another in case or leading zeros only",
            "are they the same thing?",
        ),
    ] {
        if count > 0 {
            let fact = format!("{count} {what} ({} of rows)", percent(count, total));
            out.push(finding(level, fact, advice));
        }
    }
}

fn catalogue(e: &Evidence<'_>, out: &mut Vec<Finding>) {
    let log = e.log;
    if log.catalogue == 0 {
        let advice = "new items and words of titles cannot be used; give a catalogue";
        out.push(finding(Level::Note, "no catalogue".into(), advice));
        return;
    }
    if log.items_not_in_catalogue > 0 {
        let share = percent(log.items_not_in_catalogue, log.items);
        let fact = format!(
            "{} items with events ({share}) are not in the catalogue",
            log.items_not_in_catalogue
        );
        let level =
            if log.items_not_in_catalogue * 10 > log.items { Level::Warning } else { Level::Note };
        out.push(finding(level, fact, "do both use the same ids?"));
        if log.items_almost_in_catalogue > 0 {
            let fact = format!(
                "{} of them are there with other leading zeros or case",
                log.items_almost_in_catalogue
            );
            out.push(finding(level, fact, "one of the files was read as numbers somewhere"));
        }
    }
    if log.items_without_events > 0 {
        let fact = format!("{} items of the catalogue have no event", log.items_without_events);
        out.push(finding(Level::Note, fact, "they are kept for serving"));
    }
}

fn finding(level: Level, fact: String, advice: &str) -> Finding {
    Finding { level, fact, advice: advice.into() }
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}
