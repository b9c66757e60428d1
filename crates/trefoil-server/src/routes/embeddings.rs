//! Vectors of texts and pictures in one space.

use std::sync::Arc;

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::drawing::{bytes, within};
use crate::error::ApiError;
use crate::extract::{Form, Json};
use crate::paint::ticket::{Output, Work};

/// Texts and pictures of a request.
const MANY: usize = 256;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(embeddings))
}

/// One or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// One
    One(String),
    /// Several
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// What is wanted as vectors.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingRequest {
    /// Texts
    #[serde(default)]
    input: Option<OneOrMany>,
    /// Pictures, PNG or JPEG: a file of a form, or base64; their vectors come after those of the texts
    #[serde(default)]
    image: Option<OneOrMany>,
    /// Model, as `GET /v1/models` lists them
    #[serde(default)]
    model: Option<String>,
    /// `float` or `base64` (32-bit numbers, little-endian)
    #[serde(default)]
    encoding_format: Option<String>,
    /// Accepted for clients that send it; not used
    #[serde(default)]
    #[expect(dead_code, reason = "the name of the field is what matters")]
    user: Option<String>,
}

/// Vectors.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Embeddings {
    /// `list`
    object: &'static str,
    /// One for each text, then one for each picture
    data: Vec<Embedding>,
    /// Folder of the model
    model: String,
    /// For clients that read it
    usage: Usage,
}

/// A vector of length one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Embedding {
    /// `embedding`
    object: &'static str,
    /// Its number
    index: usize,
    /// The numbers, or base64
    #[serde(rename = "embedding")]
    numbers: Numbers,
}

/// Numbers as the request wants them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Numbers {
    /// As they are
    Float(Vec<f32>),
    /// In base64
    Base64(String),
}

/// Tokens of the texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens of the texts
    prompt_tokens: usize,
    /// The same
    total_tokens: usize,
}

/// CLIP embeddings of texts and pictures
///
/// The product of two vectors is the cosine of their angle, whichever tower they come from.
#[utoipa::path(post, path = "/v1/embeddings", tag = "pictures",
    request_body(content((EmbeddingRequest = "application/json"), (EmbeddingRequest = "multipart/form-data"))),
    responses((status = 200, body = Embeddings), (status = 429, description = "The queue is full")))]
async fn embeddings(
    State(app): State<App>,
    Form(request): Form<EmbeddingRequest>,
) -> Result<Json<Embeddings>, ApiError> {
    let texts = request.input.map_or_else(Vec::new, OneOrMany::into_vec);
    let images = request.image.map_or_else(Vec::new, OneOrMany::into_vec);
    within("input", texts.len() + images.len(), MANY)?;
    let is_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("expected `float` or `base64`, found `{other}`");
            return Err(ApiError::field("encoding_format", message));
        }
    };
    let model = app.model(request.model.as_deref())?.0;
    let limit = model.model.context_length();
    let mut tokens = 0;
    for text in &texts {
        let encoded = model.model.clip_tokenizer.encode(text, limit)?;
        if encoded.dropped > 0 {
            let message = format!(
                "expected at most {} tokens, found {}",
                limit - 2,
                limit - 2 + encoded.dropped
            );
            return Err(ApiError::field("input", message));
        }
        tokens += limit;
    }
    let mut pictures = Vec::new();
    for image in &images {
        pictures.push(app.decode("image", bytes("image", image)?).await?);
    }
    let waiting = app.queue.submit(Arc::clone(&model), Work::Embed { texts, pictures })?;
    let Output::Embeddings(vectors) = waiting.result().await? else {
        return Err(ApiError::Internal("pictures are no embeddings".into()));
    };
    let numbers = |vector: Vec<f32>| {
        if is_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
            Numbers::Base64(STANDARD.encode(bytes))
        } else {
            Numbers::Float(vector)
        }
    };
    let one = |(index, vector)| Embedding { object: "embedding", index, numbers: numbers(vector) };
    let data = vectors.into_iter().enumerate().map(one).collect();
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Json(Embeddings { object: "list", data, model: model.id.name.clone(), usage }))
}
