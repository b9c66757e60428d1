//! Requests whose results are fetched later.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trefoil_core::png;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Input, Json, Path, json_bytes, json_response};
use crate::http::guard::Caller;
use crate::jobs::{Live, name};
use crate::paint::ticket::{Progress, Watcher};
use crate::store::jobs::{Job, Status};

/// Between two signs of life of a stream without news.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, delete))
        .routes(routes!(cancel))
        .routes(routes!(result))
        .routes(routes!(events))
}

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    /// `generations`, `variations`, `edits`, `blends`, `captions` or `pairs`
    #[schema(example = "generations")]
    task: String,
    /// The request, as the address of the task takes it
    #[schema(value_type = Object, example = json!({"prompt": "a red apple"}))]
    request: Value,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobBody {
    /// Its id
    id: String,
    /// The task
    task: String,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`
    status: &'static str,
    /// Seconds since 1970
    created: i64,
    /// Seconds since 1970, when it ended
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<i64>,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How far it is, from 0 to 1
    progress: f64,
    /// Where its result is, when it has succeeded
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

/// Jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobsBody {
    /// The oldest first
    jobs: Vec<JobBody>,
}

fn shown(app: &App, job: Job) -> JobBody {
    let live = app.jobs.live(&job.id).map(|live| live.progress.borrow().clone());
    let is_running = live.as_ref().is_some_and(|progress| progress.steps > 0 || progress.done > 0);
    let status = match job.status {
        Status::Queued if is_running => "running",
        status => name(status),
    };
    let progress = match (job.status, live) {
        (Status::Succeeded, _) => 1.0,
        (_, live) => live.map_or(0.0, |progress| progress.fraction()),
    };
    let has_result = job.status == Status::Succeeded;
    JobBody {
        result: has_result.then(|| format!("/v1/jobs/{}/result", job.id)),
        id: job.id,
        task: job.task,
        status,
        created: job.created,
        ended: job.ended,
        error: job.error,
        progress,
    }
}

/// A job that the caller may see: one's own, or all of them with a token that may write.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Job, ApiError> {
    let job = app.jobs.get(id).await?;
    if caller.sees(&job.owner) {
        return Ok(job);
    }
    Err(ApiError::NotFound { what: "job", id: id.into() })
}

/// Ask for something whose result is fetched later
///
/// When the answer comes, the job is on the disk: it is done even if the server is killed and started again.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = JobRequest,
    responses((status = 202, body = JobBody), (status = 429, description = "The queue is full")))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Input(request): Input<JobRequest>,
) -> Result<Response, ApiError> {
    let JobRequest { task, request } = request;
    let job = app.jobs.create(&app, caller.name, task, request).await?;
    Ok(json_response(StatusCode::ACCEPTED, &shown(&app, job)))
}

/// Jobs of the caller
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", responses((status = 200, body = JobsBody)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<JobsBody>, ApiError> {
    let jobs = app.jobs.all().await?.into_iter().filter(|job| caller.sees(&job.owner));
    Ok(Json(JobsBody { jobs: jobs.map(|job| shown(&app, job)).collect() }))
}

/// A job
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobBody), (status = 404, description = "No such job")))]
async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<JobBody>, ApiError> {
    let job = find(&app, &caller, &id).await?;
    Ok(Json(shown(&app, job)))
}

/// Delete a job that has ended
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such job"),
        (status = 409, description = "It has not ended")))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path,
) -> Result<StatusCode, ApiError> {
    let job = find(&app, &caller, &id).await?;
    if job.status == Status::Queued {
        return Err(ApiError::Conflict("the job has not ended; cancel it first".into()));
    }
    app.jobs.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancel a job
///
/// It stops at its next step; the answer comes when it has.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobBody), (status = 404, description = "No such job"),
        (status = 409, description = "Another server works on it")))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<JobBody>, ApiError> {
    let job = find(&app, &caller, &id).await?;
    if job.status == Status::Queued {
        let Some(mut live) = app.jobs.live(&id) else {
            let message = format!("the server `{}` works on it; cancel it there", job.server);
            return Err(ApiError::Conflict(message));
        };
        live.control.cancel();
        app.queue.purge();
        // The sender is gone when the end is kept.
        while live.end.changed().await.is_ok() {}
    }
    let job = find(&app, &caller, &id).await?;
    Ok(Json(shown(&app, job)))
}

/// The result of a job, as the address of its task would have answered
#[utoipa::path(get, path = "/v1/jobs/{id}/result", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = crate::drawing::Drawn), (status = 404, description = "No such job"),
        (status = 409, description = "It has no result, or not yet")))]
async fn result(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path,
) -> Result<Response, ApiError> {
    let job = find(&app, &caller, &id).await?;
    match job.status {
        Status::Succeeded => Ok(json_bytes(StatusCode::OK, app.jobs.result(&id).await?)),
        Status::Queued => Err(ApiError::Conflict("the job has not ended yet".into())),
        Status::Cancelled => Err(ApiError::Conflict("the job was cancelled".into())),
        Status::Failed => {
            let reason = job.error.unwrap_or_default();
            Err(ApiError::Conflict(format!("the job failed: {reason}")))
        }
    }
}

/// How far a job is, as server-sent events
///
/// `progress` has `{"progress", "done", "count", "step", "steps", "previews"}`, previews as small PNG in base64; `end` has
/// the job.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = 404, description = "No such job")))]
async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path,
) -> Result<Response, ApiError> {
    find(&app, &caller, &id).await?;
    let watched = app.jobs.live(&id).map(|live| (live.control.watch(), live));
    let stream = stream(Follow { app, id, watched, is_first: true });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// Somebody who follows a job.
struct Follow {
    app: App,
    id: String,
    watched: Option<(Watcher, Live)>,
    is_first: bool,
}

fn stream(follow: Follow) -> impl Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::unfold(Some(follow), async |follow| {
        let mut follow = follow?;
        if let Some((_, live)) = &mut follow.watched {
            let has_news = std::mem::take(&mut follow.is_first) || news(live).await;
            if has_news {
                let progress = live.progress.borrow_and_update().clone();
                return Some((Ok(progress_event(&progress)), Some(follow)));
            }
        }
        // Kept before its sender is dropped, so this is the end.
        let job = follow.app.jobs.get(&follow.id).await;
        let value = match job {
            Ok(job) => json!(shown(&follow.app, job)),
            Err(error) => error.body(),
        };
        Some((Ok(Event::default().event("end").data(value.to_string())), None))
    })
}

/// Waits for progress, false at the end.
async fn news(live: &mut Live) -> bool {
    let is_news = tokio::select! {
        changed = live.progress.changed() => changed.is_ok(),
        _ = live.end.changed() => false,
    };
    if !is_news {
        // The work is done; its result is being kept.
        while live.end.changed().await.is_ok() {}
    }
    is_news
}

fn progress_event(progress: &Progress) -> Event {
    let png = |picture| png::encode(picture, &[]).map(|png| STANDARD.encode(png)).ok();
    let previews: Vec<String> = progress.previews.iter().filter_map(png).collect();
    let value = json!({
        "progress": progress.fraction(),
        "done": progress.done,
        "count": progress.count,
        "step": progress.step,
        "steps": progress.steps,
        "previews": previews,
    });
    Event::default().event("progress").data(value.to_string())
}
