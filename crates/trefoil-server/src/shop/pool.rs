//! Threads of their own for answers, so that a search does not wait behind the kernels of a picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rayon::ThreadPool;
use tokio::sync::Semaphore;
use tokio::task;

use crate::error::ApiError;

/// A pool with a bounded queue.
pub(super) struct Pool {
    threads: Arc<ThreadPool>,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    limit: usize,
}

impl Pool {
    /// A pool of some threads, before which at most `limit` requests wait.
    pub(super) fn start(threads: usize, limit: usize) -> Result<Self, String> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let builder = builder.thread_name(|n| format!("answers-{n}"));
        let pool = builder.build().map_err(|error| error.to_string())?;
        let free = Arc::new(Semaphore::new(threads));
        Ok(Self { threads: Arc::new(pool), free, waiting: AtomicUsize::new(0), limit })
    }

    /// Runs `work` on a thread that may block, as soon as one of the pool's is free.
    ///
    /// `work` takes its locks first and enters the pool with them: a thread of the pool that waits for a part of its work
    /// goes on with that of another request, and if this waited for a lock there, behind a writer that waits for
    /// the first request, nobody would ever go on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ThreadPool) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _place = Place::take(&self.waiting);
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting > self.limit {
            return Err(ApiError::Overloaded { waiting, retry: Duration::from_secs(1) });
        }
        let failed = || ApiError::Internal("a recommender failed; the log says where".into());
        let free = Arc::clone(&self.free).acquire_owned().await.map_err(|_| failed())?;
        let threads = Arc::clone(&self.threads);
        // What has begun goes on without its client, and keeps its place in the pool.
        let work = task::spawn_blocking(move || {
            let _free = free;
            work(&threads)
        });
        work.await.map_err(|_| failed())
    }
}

/// One that waits or is answered.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use parking_lot::RwLock;

    use super::*;

    /// A change that waits for one answer, while another waits for the change: all three end.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_between_two_answers_lets_both_end() {
        // One thread for both, so that it is this one which meets the second answer while it is in the first.
        let one = Pool::start(1, 8).unwrap();
        let pool = Arc::new(Pool { free: Arc::new(Semaphore::new(2)), ..one });
        let number = Arc::new(RwLock::new(1));
        let (has_lock, lock_is_taken) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let (pool, number) = (Arc::clone(&pool), Arc::clone(&number));
            async move {
                let work = move |threads: &ThreadPool| {
                    let held = number.read();
                    let number: &i32 = &held;
                    threads.install(move || {
                        has_lock.send(()).unwrap();
                        may_go_on.recv().unwrap();
                        // What waits in the pool is done here, as it is when a part of the work is waited for.
                        while rayon::yield_now() == Some(rayon::Yield::Executed) {}
                        *number
                    })
                };
                pool.run(work).await
            }
        });
        lock_is_taken.recv().unwrap();
        let change = std::thread::spawn({
            let number = Arc::clone(&number);
            move || *number.write() += 1
        });
        // The bit of the writer is set as soon as it waits for readers.
        while !number.is_locked_exclusive() {
            std::thread::yield_now();
        }
        let second = tokio::spawn({
            let (pool, number) = (Arc::clone(&pool), Arc::clone(&number));
            async move {
                let work = move |threads: &ThreadPool| {
                    let number = number.read();
                    threads.install(|| *number)
                };
                pool.run(work).await
            }
        });
        while pool.free.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
        let both = async { (first.await.unwrap().unwrap(), second.await.unwrap().unwrap()) };
        let both = tokio::time::timeout(Duration::from_secs(20), both).await;
        assert_eq!(both, Ok((1, 2)));
        change.join().unwrap();
    }
}
