//! From rows to a data set, in relational steps.
//!
//! 1. [`clean`]: number ids in their order, sort by all columns, keep one of equal rows, drop what
//!    is no positive. From here on the order of the input is forgotten.
//! 2. [`join`]: group by user, item and day (optional).
//! 3. [`core`]: drop rare users and items until none is left (optional).
//! 4. [`split`]: a part for each row, from windows over a user or from cut-off times.
//! 5. [`tables`]: number what is left.
//! 6. [`words`]: count words of the training queries and the catalogue, number the frequent ones,
//!    encode.
//! 7. [`negatives`]: draw for each held-out row.
//!
//! Each step is a function of the rows alone: random choices are keyed by the content of a row, not
//! by its place.

pub(crate) mod clean;
pub(crate) mod core;
pub(crate) mod join;
pub(crate) mod lots;
pub(crate) mod negatives;
pub(crate) mod split;
pub(crate) mod tables;
pub(crate) mod words;
