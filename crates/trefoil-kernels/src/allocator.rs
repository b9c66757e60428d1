//! A setting of mimalloc, for programs that have it as their allocator.

use std::ffi::{c_int, c_long};
use std::time::Duration;

/// `mi_option_purge_delay` in `mimalloc.h`, in milliseconds; the bindings have no name for it.
const PURGE_DELAY: c_int = 15;

/// Keeps freed memory for this long before it goes back to the system; mimalloc's own choice is one second.
///
/// A training step frees hundreds of megabytes and takes them again at once. Once a second they were given
/// back meanwhile, and every page then cost a fault and was cleared: a tenth of the time of a step of the
/// shipped model. `MIMALLOC_PURGE_DELAY` in the environment goes before.
pub fn keep_freed_memory(delay: Duration) {
    let milliseconds = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: a call without pointers, allowed from any thread at any time; an allocator that is not in use
    // keeps the number and does nothing with it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, milliseconds) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let option = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(option(), 1000, "the default of mimalloc 3");
        keep_freed_memory(Duration::from_secs(30));
        assert_eq!(option(), 30_000);
    }
}
