//! Jobs and their results.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Backend, Pair, Result, Table, decode, encode};

/// Jobs that are read at once.
const MANY: usize = 1 << 20;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It waits for its turn, or is being worked on.
    Queued,
    /// Its result is there.
    Succeeded,
    /// It went wrong; `error` says why.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Name of the token that asked for it, empty without tokens.
    pub owner: String,
    /// Name of the server that has to do it.
    pub server: String,
    /// Which task.
    pub task: String,
    /// The request of the task.
    pub request: Value,
    /// How far it is.
    pub status: Status,
    /// Seconds since 1970.
    pub created: i64,
    /// Seconds since 1970, when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All jobs.
#[derive(Clone)]
pub struct JobBook {
    backend: Arc<dyn Backend>,
}

impl JobBook {
    /// The jobs in a database.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Keeps a job, and its result if it has one; when this returns, both are durable.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn put(&self, job: &Job, result: Option<&[u8]>) -> Result<()> {
        let key = job.id.as_bytes().to_vec();
        let job: Pair = (key.clone(), encode(Table::Jobs, job)?);
        self.backend.write(&mut |transaction| {
            if let Some(result) = result {
                transaction.put_many(Table::Results, &[(key.clone(), result.to_vec())])?;
            }
            transaction.put_many(Table::Jobs, std::slice::from_ref(&job))
        })
    }

    /// A job.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn get(&self, id: &str) -> Result<Option<Job>> {
        let value = self.backend.get(Table::Jobs, id.as_bytes())?;
        value.map(|value| decode(Table::Jobs, &value)).transpose()
    }

    /// The result of a job, as JSON.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn result(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.backend.get(Table::Results, id.as_bytes())
    }

    /// All jobs, the oldest first.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn all(&self) -> Result<Vec<Job>> {
        let pairs = self.backend.scan(Table::Jobs, &[], &[u8::MAX; 64], MANY)?;
        let jobs: Result<Vec<Job>> =
            pairs.into_iter().map(|(_, value)| decode(Table::Jobs, &value)).collect();
        let mut jobs = jobs?;
        jobs.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(jobs)
    }

    /// Deletes jobs and their results.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn delete(&self, ids: &[String]) -> Result<()> {
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        self.backend.write(&mut |transaction| {
            transaction.delete_many(Table::Results, &keys)?;
            transaction.delete_many(Table::Jobs, &keys)
        })
    }
}
