//! Threads of their own for answers, so that a search does not wait behind the kernels of a picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::ApiError;

/// A pool with a bounded queue.
pub(super) struct Pool {
    threads: rayon::ThreadPool,
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl Pool {
    /// A pool of some threads, before which at most `limit` requests wait.
    pub(super) fn start(threads: usize, limit: usize) -> Result<Self, String> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let builder = builder.thread_name(|n| format!("answers-{n}"));
        // The panic is in the log already; who waits learns of it by the lost reply.
        let threads = builder.panic_handler(|_| {}).build();
        let threads = threads.map_err(|error| error.to_string())?;
        Ok(Self { threads, waiting: Arc::default(), limit })
    }

    /// Runs `work` on a thread of the pool.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Place::take(&self.waiting);
        let waiting = place.0.load(Ordering::Relaxed);
        if waiting > self.limit {
            return Err(ApiError::Overloaded { waiting, retry: Duration::from_secs(1) });
        }
        let (reply, answer) = oneshot::channel();
        self.threads.spawn_fifo(move || {
            let _place = place;
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
        });
        answer
            .await
            .map_err(|_| ApiError::Internal("a recommender failed; the log says where".into()))
    }
}

/// One that waits or is answered.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
