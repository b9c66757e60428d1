//! Pictures and captions at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::drawing::{
    BlendRequest, CaptionRequest, Drawing, Drawn, EditRequest, ImageRequest, PairRequest,
    VariationRequest, render,
};
use crate::error::ApiError;
use crate::extract::{Form, Json};
use crate::paint::ticket::Work;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(generations))
        .routes(routes!(variations))
        .routes(routes!(edits))
        .routes(routes!(blends))
        .routes(routes!(captions))
        .routes(routes!(pairs))
}

/// Waits for a result; whoever leaves meanwhile takes the work along.
async fn draw(app: &App, request: impl Drawing) -> Result<Json<Drawn>, ApiError> {
    let order = request.order(app).await?;
    if let (true, Work::Samples(request)) = (app.config().logs_prompts, &order.work)
        && let Some(prompt) = &request.prompt
    {
        tracing::info!(prompt, seed = request.seed.0, "draw");
    }
    let waiting = app.queue.submit(Arc::clone(&order.model), order.work.clone())?;
    let seconds = app.config().limits.request_seconds;
    let result = tokio::time::timeout(Duration::from_secs(seconds), waiting.result()).await;
    let output = result.map_err(|_| ApiError::Timeout(seconds))??;
    blocking(move || render(&order, output)).await.map(Json)
}

/// Addresses that differ in what they are asked for.
macro_rules! addresses {
    ($($about:tt $name:ident $path:tt $request:ident;)+) => {
        $(
            #[doc = $about]
            #[utoipa::path(post, path = $path, tag = "pictures",
                request_body(content(($request = "application/json"), ($request = "multipart/form-data"))),
                responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
            async fn $name(
                State(app): State<App>,
                Form(request): Form<$request>,
            ) -> Result<Json<Drawn>, ApiError> {
                draw(&app, request).await
            }
        )+
    };
}

addresses! {
    "Draw pictures for a prompt" generations "/v1/images/generations" ImageRequest;
    "Draw pictures with the meaning of a picture" variations "/v1/images/variations" VariationRequest;
    "Change a picture, or a part of it" edits "/v1/images/edits" EditRequest;
    "Draw pictures between two pictures" blends "/v1/images/blends" BlendRequest;
    "Describe a picture" captions "/v1/captions" CaptionRequest;
    "Draw pictures with captions, of anything" pairs "/v1/pairs" PairRequest;
}
