//! A backup of a server that is running.

use std::io::Read as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::error::ApiError;
use crate::store::dump;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(backup))
}

/// Everything that is kept, of one moment
///
/// For `trefoil state restore`. It has events and jobs, and hashes of tokens.
#[utoipa::path(get, path = "/v1/backup", tag = "server",
    responses((status = 200, content_type = "application/octet-stream")))]
async fn backup(State(app): State<App>) -> Result<Response, ApiError> {
    let backend = Arc::clone(&app.backend);
    // Through a file, so that a slow client does not hold a moment of the database.
    let mut file = blocking(move || {
        let fail = |error: std::io::Error| ApiError::Unavailable(error.to_string());
        let mut file = tempfile::tempfile().map_err(fail)?;
        dump::write(&*backend, &mut std::io::BufWriter::new(&mut file))?;
        std::io::Seek::rewind(&mut file).map_err(fail)?;
        Ok(file)
    })
    .await?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(2);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = vec![0; 1 << 16];
            let read = file.read(&mut chunk).map(|length| {
                chunk.truncate(length);
                chunk
            });
            let is_end = read.as_ref().is_ok_and(Vec::is_empty);
            if is_end || sender.blocking_send(read).is_err() {
                return;
            }
        }
    });
    let chunks = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"trefoil.backup\""),
        ),
    ];
    Ok((headers, axum::body::Body::from_stream(chunks)).into_response())
}
