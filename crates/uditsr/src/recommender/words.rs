//! Frequent words of a few queries.

/// Adds the words of a query to counts that are in order of first use.
pub(super) fn count(counts: &mut Vec<(u32, u32)>, query: &[u32]) {
    for &word in query {
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
}

/// The most frequent words; of equally frequent ones the first used.
pub(super) fn by_count(mut counts: Vec<(u32, u32)>, limit: usize) -> Vec<u32> {
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(limit).map(|(word, _)| word).collect()
}

/// The most frequent words of some queries.
pub(super) fn top_words<'a>(queries: impl Iterator<Item = &'a [u32]>, limit: usize) -> Vec<u32> {
    let mut counts = Vec::new();
    queries.for_each(|query| count(&mut counts, query));
    by_count(counts, limit)
}
