//! Row numbers of users and items.

use crate::data::interner::Interner;
use crate::data::raw::RawLog;
use crate::{Error, Result, Split};

/// What users or items are called in the data set.
#[derive(Debug)]
pub(crate) struct Table {
    /// Strings by row number.
    pub(crate) ids: Interner,
    /// Row number of each number of the raw log.
    pub(crate) rows: Vec<Option<u32>>,
}

/// Users and items of events that have a part, in the order of their ids.
pub(crate) fn compact(log: &RawLog) -> [Table; 2] {
    let mut users = vec![false; log.users.len()];
    let mut items = vec![false; log.items.len()];
    for event in log.events.iter().filter(|event| event.part.is_some()) {
        users[event.user as usize] = true;
        items[event.item as usize] = true;
    }
    let table = |ids: &Interner, used: &[bool]| {
        let mut kept = Interner::default();
        let rows = used.iter().zip(ids.iter());
        Table { rows: rows.map(|(&used, id)| used.then(|| kept.intern(id))).collect(), ids: kept }
    };
    [table(&log.users, &users), table(&log.items, &items)]
}

/// Users and items whose ids are their row numbers. `sizes` are the least numbers of rows.
pub(crate) fn natural(log: &RawLog, sizes: [Option<usize>; 2]) -> Result<[Table; 2]> {
    Ok([
        natural_table(&log.users, "sizes.users", sizes[0])?,
        natural_table(&log.items, "sizes.items", sizes[1])?,
    ])
}

fn natural_table(ids: &Interner, field: &str, size: Option<usize>) -> Result<Table> {
    let number = |id: &str| {
        let reason = || format!("`{id}` is no row number, so files with `given` parts need others");
        id.parse::<u32>().map_err(|_| Error::config(field, reason()))
    };
    let numbers: Vec<u32> = ids.iter().map(number).collect::<Result<_>>()?;
    let size = row_count(&numbers, field, size)?;
    let mut all = Interner::default();
    for row in 0..size {
        all.intern(&row.to_string());
    }
    Ok(Table { ids: all, rows: numbers.into_iter().map(Some).collect() })
}

/// Number of rows of a table with these row numbers, at most ten times as many as occur.
pub(crate) fn row_count(numbers: &[u32], field: &str, size: Option<usize>) -> Result<usize> {
    let needed = numbers.iter().max().map_or(0, |&last| last as usize + 1);
    match size {
        Some(size) if size < needed => {
            let reason = format!("{size} is too small for row number {}", needed - 1);
            Err(Error::config(field, reason))
        }
        Some(size) => Ok(size),
        None if needed > numbers.len() * 10 + 10_000 => {
            let reason = format!("largest row number {} of {} ids", needed - 1, numbers.len());
            Err(Error::config(field, reason))
        }
        None => Ok(needed),
    }
}

/// Numbers of events in each part, searches first.
pub(crate) fn part_sizes(log: &RawLog, part: Split) -> [usize; 2] {
    let mut counts = [0; 2];
    for event in log.events.iter().filter(|event| event.part == Some(part)) {
        counts[usize::from(!event.is_search())] += 1;
    }
    counts
}
