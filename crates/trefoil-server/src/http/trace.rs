//! A line of the log and the metrics of each request, never its body; and the end of one that takes too long.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::{App, random_id};
use crate::error::ApiError;
use crate::metrics::{Answered, Route};

/// The header that names a request.
const ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const LONGEST: usize = 128;

/// Gives each request an id, that of the client if it sent one, and returns it.
pub(crate) async fn request_id(mut request: Request, next: Next) -> Response {
    let is_plain = |id: &HeaderValue| {
        id.len() <= LONGEST && id.to_str().is_ok_and(|id| id.bytes().all(|b| b.is_ascii_graphic()))
    };
    let given = request.headers().get(&ID).filter(|id| is_plain(id)).cloned();
    let id = given.or_else(|| HeaderValue::from_str(&random_id("req_").ok()?).ok());
    let Some(id) = id else { return next.run(request).await };
    request.headers_mut().insert(ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(ID, id);
    response
}

/// Counts, times and logs a request.
pub(crate) async fn trace(State(app): State<App>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", |route| route.as_str()).to_owned();
    let id = request.headers().get(&ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id = id.to_owned();
    let left = Left { id: &id, route: &route, begin, is_over: false };
    let response = next.run(request).await.into_response();
    left.over();
    let (status, seconds) = (response.status().as_u16(), begin.elapsed().as_secs_f64());
    tracing::info!(id, method, route, status, seconds, "request");
    let answered = Answered { route: route.clone(), method: method.clone(), status };
    app.metrics.requests.get_or_create(&answered).inc();
    app.metrics.request_seconds.get_or_create(&Route { route, method }).observe(seconds);
    response
}

/// Gives up a request that is not answered in time: a database may be there and not say a word.
pub(crate) async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let limits = &app.config().limits;
    let seconds = limits.body_seconds + limits.request_seconds;
    let answer = tokio::time::timeout(Duration::from_secs(seconds), next.run(request)).await;
    answer.unwrap_or_else(|_| ApiError::Timeout(seconds).into_response())
}

/// Notes in the log that a client left before its answer.
struct Left<'a> {
    id: &'a str,
    route: &'a str,
    begin: Instant,
    is_over: bool,
}

impl Left<'_> {
    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let seconds = self.begin.elapsed().as_secs_f64();
            tracing::info!(id = self.id, route = self.route, seconds, "the client left");
        }
    }
}
