//! The steps of a preparation as queries.
//!
//! 1. [`clean`]: one of equal rows, then positives, joined searches, frequent users and items.
//! 2. [`survey`]: what is in the rows that are left.
//! 3. [`split`]: a part for each row.
//! 4. [`held_out`]: numbers of users and items, and held-out rows that can be ranked.
//! 5. [`words`]: the vocabulary.
//! 6. [`write`]: rows in order, with negatives, into the columns of the folder.
//!
//! | table | rows |
//! |---|---|
//! | `events` | good rows of the log: `user_id`, `item_id`, `query`, `kind`, `seconds`, `weight` |
//! | `clean` | the same without repetitions |
//! | `kept` | those that are positives, without their weights |
//! | `parted` | `kept` with `part`: 0 for training, 1 for validation, 2 for test |
//! | `candidates` | held-out rows, and whether training knows user and item |
//! | `users`, `items` | `user_id` or `item_id` and `number` |
//! | `known` | of users with held-out rows, the numbers of all items that they touched |
//! | `held` | held-out rows with numbers, `is_hidden`, and whether there are `enough` negatives |
//!
//! Every join is on equal columns and every window has an order, so that the engine can merge
//! sorted runs from disk; nothing is collected but counts and the vocabulary.

pub(crate) mod clean;
pub(crate) mod held_out;
pub(crate) mod split;
pub(crate) mod survey;
pub(crate) mod words;
pub(crate) mod write;

use uditsr::data::PrepareOptions;

/// A text in SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether the query of a row is hidden, in SQL.
pub(crate) fn is_hidden(options: &PrepareOptions) -> String {
    let PrepareOptions { seed, mask_queries: share, .. } = options;
    if *share > 0.0 {
        let row = "user_id, item_id, query, seconds";
        format!("(query <> '' AND is_hidden('{seed}', {row}, CAST({share:?} AS DOUBLE)))")
    } else {
        "false".into()
    }
}

/// A condition as a number to be summed.
pub(crate) fn sum_if(condition: &str) -> String {
    format!("sum(CASE WHEN {condition} THEN 1 ELSE 0 END)")
}
