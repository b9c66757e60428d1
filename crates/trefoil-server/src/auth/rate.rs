//! How often somebody may ask.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Seconds of requests that may come at once.
const BURST: f64 = 2.0;
/// Callers that are remembered; who has been quiet is forgotten first.
const CALLERS: usize = 10_000;

/// Buckets of requests by caller, filled at a steady rate. It reads the monotonic clock, so a change of the time of
/// day neither opens nor closes it.
#[derive(Debug, Default)]
pub struct RateLimiter {
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    seen: Instant,
}

impl RateLimiter {
    /// Takes a request of `caller`, who may have `rate` per second; or says how long to wait. A rate of zero is no
    /// limit.
    ///
    /// # Errors
    /// The time until the next request is taken.
    pub fn take(&self, caller: &str, rate: f64) -> Result<(), Duration> {
        self.take_at(caller, rate, Instant::now())
    }

    fn take_at(&self, caller: &str, rate: f64, now: Instant) -> Result<(), Duration> {
        if rate <= 0.0 {
            return Ok(());
        }
        let full = (rate * BURST).max(1.0);
        let mut buckets = self.buckets.lock();
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.seen).as_secs_f64();
            (bucket.left + since * rate).min(full)
        };
        if buckets.len() >= CALLERS && !buckets.contains_key(caller) {
            buckets.retain(|_, bucket| filled(bucket) < full);
            if buckets.len() >= CALLERS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(caller.to_owned()).or_insert(Bucket { left: full, seen: now });
        let left = filled(bucket);
        if left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - left) / rate));
        }
        *bucket = Bucket { left: left - 1.0, seen: now };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = RateLimiter::default();
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        for _ in 0..10 {
            limiter.take_at("a", 5.0, begin).unwrap();
        }
        let wait = limiter.take_at("a", 5.0, begin).unwrap_err();
        assert!((wait.as_secs_f64() - 0.2).abs() < 1e-6, "{wait:?}");
        assert!(limiter.take_at("a", 5.0, at(199)).is_err());
        limiter.take_at("a", 5.0, at(201)).unwrap();
        assert!(limiter.take_at("a", 5.0, at(202)).is_err());
        limiter.take_at("b", 5.0, begin).unwrap();
        // A moment before the last is no time at all.
        assert!(limiter.take_at("a", 5.0, begin).is_err());
        (0..1000).for_each(|_| limiter.take_at("c", 0.0, begin).unwrap());
        for n in 0..3 * CALLERS {
            let _ = limiter.take_at(&n.to_string(), 1.0, at(300));
        }
        assert!(limiter.buckets.lock().len() <= CALLERS);
    }
}
