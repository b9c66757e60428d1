//! Which ids and words of clients are taken.

use crate::error::ApiError;

/// Characters of an id.
const ID: usize = 256;
/// Characters of a query, a title or a caption.
const WORDS: usize = 2000;

/// Refuses an id that is empty, too long, or has control characters.
pub(crate) fn check_id(field: &str, id: &str) -> Result<(), ApiError> {
    let length = id.chars().count();
    if id.is_empty() || length > ID || id.chars().any(char::is_control) {
        let message =
            format!("expected 1 to {ID} characters without control characters, found {length}");
        return Err(ApiError::field(field, message));
    }
    Ok(())
}

/// Refuses a text that is too long.
pub(crate) fn check_words(field: &str, words: &str) -> Result<(), ApiError> {
    let length = words.chars().count();
    if length > WORDS {
        let message = format!("expected at most {WORDS} characters, found {length}");
        return Err(ApiError::field(field, message));
    }
    Ok(())
}
