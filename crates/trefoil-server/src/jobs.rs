//! Jobs: requests whose results are fetched later, and survive the process.
//!
//! A job is kept before it is acknowledged, and its result before anybody learns that it is done. What had not ended
//! when a process did begins again with the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::app::{App, blocking, now, random_id};
use crate::config::Config;
use crate::drawing::{Order, order, render};
use crate::error::ApiError;
use crate::metrics::{Ended, Metrics};
use crate::paint::ticket::{Control, Progress, Waiting};
use crate::store::Backend;
use crate::store::jobs::{Job, JobBook, Status};

/// Between two attempts to find room in the queue or on the disk.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest request that stays with a job after its end, in bytes of JSON.
const KEPT: usize = 4096;

/// All jobs of this server.
pub(crate) struct Jobs {
    book: JobBook,
    server: String,
    keep: (usize, i64),
    live: Mutex<HashMap<String, Live>>,
    metrics: Arc<Metrics>,
}

/// A job that has not ended.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) control: Control,
    pub(crate) progress: watch::Receiver<Progress>,
    /// Closed when the job has ended and is kept.
    pub(crate) end: watch::Receiver<()>,
}

impl Jobs {
    pub(crate) fn new(backend: Arc<dyn Backend>, config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            book: JobBook::new(backend),
            server: config.name.clone(),
            keep: config.limits.jobs,
            live: Mutex::default(),
            metrics,
        }
    }

    /// Begins a job; it is durable when this returns.
    pub(crate) async fn create(
        &self,
        app: &App,
        owner: String,
        task: String,
        request: Value,
    ) -> Result<Job, ApiError> {
        let order = order(app, &task, request.clone()).await?;
        let waiting = app.queue.submit(Arc::clone(&order.model), order.work.clone())?;
        let job = Job {
            id: random_id("job_")?,
            owner,
            server: self.server.clone(),
            task,
            request,
            status: Status::Queued,
            created: now(),
            ended: None,
            error: None,
        };
        self.put(job.clone(), None).await?;
        self.attend(app, job.clone(), order, waiting);
        Ok(job)
    }

    /// Begins again what had not ended when the last process of this server did.
    pub(crate) async fn resume(&self, app: &App) -> Result<(), ApiError> {
        let book = self.book.clone();
        let jobs = blocking(move || Ok(book.all()?)).await?;
        let mine = |job: &Job| job.server == self.server && job.status == Status::Queued;
        for mut job in jobs.into_iter().filter(mine) {
            tracing::info!(job = job.id, "begins again");
            let order = match order(app, &job.task, job.request.clone()).await {
                Ok(order) => order,
                Err(error) => {
                    (job.status, job.error, job.ended) =
                        (Status::Failed, Some(error.to_string()), Some(now()));
                    self.put(job, None).await?;
                    continue;
                }
            };
            let waiting = loop {
                match app.queue.submit(Arc::clone(&order.model), order.work.clone()) {
                    Err(ApiError::Overloaded { .. }) => tokio::time::sleep(PAUSE).await,
                    result => break result?,
                }
            };
            self.attend(app, job, order, waiting);
        }
        Ok(())
    }

    /// Waits for a result in the background, and keeps it.
    fn attend(&self, app: &App, mut job: Job, order: Order, waiting: Waiting) {
        let (guard, end) = watch::channel(());
        let (control, progress) = (waiting.control.clone(), waiting.progress.clone());
        self.live.lock().insert(job.id.clone(), Live { control, progress, end });
        let app = app.clone();
        tokio::spawn(async move {
            let result = waiting.result().await;
            let result = match result {
                // The server stops: the next process begins again.
                Err(ApiError::Unavailable(_)) => return,
                Ok(output) => blocking(move || render(&order, output)).await,
                Err(error) => Err(error),
            };
            let bytes = match result.map(|drawn| serde_json::to_vec(&drawn)) {
                Ok(Ok(bytes)) => {
                    job.status = Status::Succeeded;
                    Some(bytes)
                }
                Ok(Err(error)) => {
                    (job.status, job.error) = (Status::Failed, Some(error.to_string()));
                    None
                }
                Err(ApiError::Cancelled) => {
                    job.status = Status::Cancelled;
                    None
                }
                Err(error) => {
                    (job.status, job.error) = (Status::Failed, Some(error.to_string()));
                    None
                }
            };
            job.ended = Some(now());
            if job.request.to_string().len() > KEPT {
                job.request = Value::Null;
            }
            let (id, status) = (job.id.clone(), name(job.status));
            // A full disk may have room again later; until then the job has not ended.
            while let Err(error) = app.jobs.put(job.clone(), bytes.clone()).await {
                tracing::error!(job = id, "the result cannot be kept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            app.jobs.metrics.jobs.get_or_create(&Ended { status }).inc();
            app.jobs.live.lock().remove(&id);
            drop(guard);
        });
    }

    async fn put(&self, job: Job, result: Option<Vec<u8>>) -> Result<(), ApiError> {
        let book = self.book.clone();
        blocking(move || Ok(book.put(&job, result.as_deref())?)).await
    }

    /// A job.
    pub(crate) async fn get(&self, id: &str) -> Result<Job, ApiError> {
        let (book, wanted) = (self.book.clone(), id.to_owned());
        let job = blocking(move || Ok(book.get(&wanted)?)).await?;
        job.ok_or_else(|| ApiError::NotFound { what: "job", id: id.into() })
    }

    /// All jobs, the oldest first.
    pub(crate) async fn all(&self) -> Result<Vec<Job>, ApiError> {
        let book = self.book.clone();
        blocking(move || Ok(book.all()?)).await
    }

    /// The result of a job that has succeeded, as JSON.
    pub(crate) async fn result(&self, id: &str) -> Result<Vec<u8>, ApiError> {
        let (book, wanted) = (self.book.clone(), id.to_owned());
        let result = blocking(move || Ok(book.result(&wanted)?)).await?;
        result.ok_or_else(|| ApiError::NotFound { what: "result of the job", id: id.into() })
    }

    /// The work of a job of this server that has not ended.
    pub(crate) fn live(&self, id: &str) -> Option<Live> {
        self.live.lock().get(id).cloned()
    }

    /// Deletes a job that has ended.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), ApiError> {
        let (book, ids) = (self.book.clone(), vec![id.to_owned()]);
        blocking(move || Ok(book.delete(&ids)?)).await
    }

    /// Deletes jobs that ended long ago, and the oldest when there are too many.
    pub(crate) async fn sweep(&self) -> Result<usize, ApiError> {
        let (most, seconds) = self.keep;
        let ended: Vec<Job> =
            self.all().await?.into_iter().filter(|job| job.status != Status::Queued).collect();
        let old = gone(&ended, most, now() - seconds);
        let (book, count) = (self.book.clone(), old.len());
        if count > 0 {
            blocking(move || Ok(book.delete(&old)?)).await?;
        }
        Ok(count)
    }
}

/// Which of the jobs, oldest first, are to be deleted: all but the latest `most`, and those that ended before `limit`.
/// A clock that stepped back makes a job look younger, and so it is kept longer.
fn gone(ended: &[Job], most: usize, limit: i64) -> Vec<String> {
    let surplus = ended.len().saturating_sub(most);
    let is_gone = |(place, job): &(usize, &Job)| {
        *place < surplus || job.ended.is_some_and(|ended| ended < limit)
    };
    ended.iter().enumerate().filter(is_gone).map(|(_, job)| job.id.clone()).collect()
}

/// A status in metrics and events.
pub(crate) fn name(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_surplus_jobs_go_whatever_the_clock_does() {
        let job = |n: i64| Job {
            id: format!("j{n}"),
            owner: String::new(),
            server: String::new(),
            task: String::new(),
            request: Value::Null,
            status: Status::Succeeded,
            created: n,
            ended: Some(n),
            error: None,
        };
        let jobs: Vec<Job> = (0..5).map(job).collect();
        assert_eq!(gone(&jobs, 10, 2), ["j0", "j1"]);
        assert_eq!(gone(&jobs, 3, 0), ["j0", "j1"]);
        // An hour back: nothing is deleted, and nothing fails.
        assert!(gone(&jobs, 10, -3600).is_empty());
    }
}
