//! Runs of trainings: what their folders have, while they run too.

use std::fs;
use std::path::{Component, Path as FilePath, PathBuf};
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};

/// What makes a folder a run.
const METRICS: &str = "metrics.jsonl";
/// Where its pictures are.
const SAMPLES: &str = "samples";
/// Files that say what was asked for, in either form of runs.
const CONFIGS: [&str; 2] = ["config.toml", "recipe.toml"];
/// Deepest run: a training in stages has one for each.
const DEPTH: usize = 3;
/// Runs that are listed, lines of a log that are sent at once, and the longest file that is read.
const RUNS: usize = 500;
const LINES: usize = 5000;
const LONGEST: u64 = 64 << 20;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(sample))
}

/// A run in the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunBody {
    /// Its folder below that of `--runs`
    name: String,
    /// Seconds since 1970 of its latest line
    modified: u64,
}

/// Runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunsBody {
    /// The latest first
    runs: Vec<RunBody>,
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDetails {
    /// Its folder below that of `--runs`
    name: String,
    /// What was asked for, as TOML
    config: String,
    /// Lines of its log after `after`, each an object of numbers
    #[schema(value_type = Vec<Object>)]
    metrics: Vec<Value>,
    /// What to ask for next
    next: usize,
    /// Names of its pictures, the oldest first
    samples: Vec<String>,
}

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AfterQuery {
    /// The `next` of the answer before
    #[serde(default)]
    after: usize,
}

fn root(app: &App) -> Result<PathBuf, ApiError> {
    let message = "the server was started without `--runs DIR`";
    let root = app.config().runs.as_ref().ok_or_else(|| ApiError::Conflict(message.into()))?;
    root.canonicalize()
        .map_err(|_| ApiError::Unavailable("the folder of `--runs` cannot be read".into()))
}

/// A file below the folder of runs; links do not lead out of it.
fn below(root: &FilePath, name: &str, rest: &[&str]) -> Result<PathBuf, ApiError> {
    let missing = || ApiError::NotFound { what: "run", id: name.into() };
    let path = FilePath::new(name);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(missing());
    }
    let path = rest.iter().fold(root.join(path), |path, part| path.join(part));
    let path = path.canonicalize().map_err(|_| missing())?;
    if path.starts_with(root) { Ok(path) } else { Err(missing()) }
}

/// Runs of trainings, while they run too
#[utoipa::path(get, path = "/v1/runs", tag = "runs", responses((status = 200, body = RunsBody),
    (status = 409, description = "The server was started without `--runs`")))]
async fn list(State(app): State<App>) -> Result<Json<RunsBody>, ApiError> {
    let root = root(&app)?;
    blocking(move || {
        let mut runs = Vec::new();
        find(&root, &root, 0, &mut runs);
        runs.sort_by(|a, b| (b.modified, &b.name).cmp(&(a.modified, &a.name)));
        runs.truncate(RUNS);
        Ok(Json(RunsBody { runs }))
    })
    .await
}

fn find(root: &FilePath, folder: &FilePath, depth: usize, runs: &mut Vec<RunBody>) {
    if let Ok(metadata) = fs::metadata(folder.join(METRICS))
        && let Ok(name) = folder.strip_prefix(root)
        && let Some(name) = name.to_str()
    {
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |time| time.as_secs());
        runs.push(RunBody { name: name.into(), modified });
    }
    if depth == DEPTH {
        return;
    }
    // What cannot be read is not listed.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(root, &entry.path(), depth + 1, runs);
        }
    }
}

/// A run: what was asked for, its log and the names of its pictures
///
/// `/` in the name of a run is `%2F` in the address.
#[utoipa::path(get, path = "/v1/runs/{name}", tag = "runs", params(("name" = String, Path), AfterQuery),
    responses((status = 200, body = RunDetails), (status = 404, description = "No such run")))]
async fn get(
    State(app): State<App>,
    Path(name): Path,
    Query(query): Query<AfterQuery>,
) -> Result<Json<RunDetails>, ApiError> {
    let root = root(&app)?;
    blocking(move || {
        let log = below(&root, &name, &[METRICS])?;
        let fail = |error: std::io::Error| ApiError::Unavailable(error.to_string());
        if fs::metadata(&log).map_err(fail)?.len() > LONGEST {
            return Err(ApiError::Conflict("the log of the run is too long to be shown".into()));
        }
        let text = fs::read_to_string(&log).map_err(fail)?;
        // A line that is being written has no end yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().skip(query.after).take(LINES);
        let metrics: Vec<Value> =
            lines.map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
        let folder = log.parent().unwrap_or(&root);
        let config = CONFIGS.iter().find_map(|file| fs::read_to_string(folder.join(file)).ok());
        let entries = fs::read_dir(folder.join(SAMPLES)).into_iter().flatten().flatten();
        let mut samples: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        samples.retain(|file| is_picture(file));
        samples.sort();
        let next = query.after + metrics.len();
        Ok(Json(RunDetails { name, config: config.unwrap_or_default(), metrics, next, samples }))
    })
    .await
}

/// Whether a file is one of the pictures that trainings write.
fn is_picture(file: &str) -> bool {
    FilePath::new(file).extension().is_some_and(|kind| kind == "png")
}

/// A picture of a run, as PNG
#[utoipa::path(get, path = "/v1/runs/{name}/samples/{file}", tag = "runs",
    params(("name" = String, Path), ("file" = String, Path)),
    responses((status = 200, content_type = "image/png"), (status = 404, description = "No such picture")))]
async fn sample(
    State(app): State<App>,
    axum::extract::Path((name, file)): axum::extract::Path<(String, String)>,
) -> Result<Response, ApiError> {
    let root = root(&app)?;
    blocking(move || {
        let missing = || ApiError::NotFound { what: "picture of the run", id: file.clone() };
        let is_plain = !file.contains(['/', '\\']) && is_picture(&file);
        if !is_plain {
            return Err(missing());
        }
        let path = below(&root, &name, &[SAMPLES, &file]).map_err(|_| missing())?;
        let png = fs::read(path).map_err(|_| missing())?;
        Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("image/png"))], png).into_response())
    })
    .await
}
