//! Models: which there are, and other ones in their place.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, ONE_STEP};
use crate::error::ApiError;
use crate::extract::{Input, Json, Path};
use crate::swap;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(load))
}

/// A model that is loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelBody {
    /// `unidiffuser`, `one-step`, `recommender` or `recommender-b`
    id: &'static str,
    /// `model`
    object: &'static str,
    /// `trefoil`
    owned_by: &'static str,
    /// 0; for clients that read it
    created: i64,
    /// Name of its folder
    name: String,
    /// SHA-256 of its weights
    fingerprint: String,
    /// Side of its pictures in pixels
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<usize>,
    /// Number of its weights
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<usize>,
    /// Steps and guidance of requests that name none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    recommended: Option<serde_json::Value>,
    /// What the one-step generator was made for: `text-to-image`, `image-to-text`, `joint`
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<&'static str>>,
    /// Items that it can answer
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<usize>,
    /// Share of the users that it answers
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

/// Models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelsBody {
    /// `list`
    object: &'static str,
    /// The models
    data: Vec<ModelBody>,
}

/// Which model is to be loaded.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadRequest {
    /// A folder below that of `--models` [default: the folder that the model was loaded from, with what is there now]
    #[serde(default)]
    folder: Option<String>,
}

/// The models that are loaded
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelsBody)))]
async fn list(State(app): State<App>) -> Result<Json<ModelsBody>, ApiError> {
    let model = |id, name, fingerprint| ModelBody {
        id,
        object: "model",
        owned_by: "trefoil",
        created: 0,
        name,
        fingerprint,
        image_size: None,
        parameters: None,
        recommended: None,
        tasks: None,
        items: None,
        share: None,
    };
    let mut data = Vec::new();
    let loaded = app.painter.model();
    let drawing = |id| ModelBody {
        image_size: Some(loaded.model.image_size()),
        parameters: Some(loaded.model.num_params()),
        ..model(id, loaded.id.name.clone(), loaded.id.sha256.clone())
    };
    let recommended = Some(super::search::json(&loaded.recommended)?);
    data.push(ModelBody { recommended, ..drawing(app.painter.name) });
    let tasks = loaded.one_step_tasks();
    if !tasks.is_empty() {
        let names = tasks.iter().map(|task| task.name()).collect();
        data.push(ModelBody { tasks: Some(names), ..drawing(ONE_STEP) });
    }
    if let Some(shop) = &app.shop {
        let split = app.config().split;
        let is_split = shop.slots().count() > 1;
        for (slot, name) in shop.slots() {
            let variant = shop.variant(slot);
            let recommender = variant.recommender.read();
            let folder = variant.folder.file_name().unwrap_or_default();
            let share = if slot == 0 { 1.0 - split } else { split };
            data.push(ModelBody {
                items: Some(recommender.available_items()),
                share: Some(if is_split { share } else { 1.0 }),
                ..model(
                    name,
                    folder.to_string_lossy().into_owned(),
                    recommender.fingerprint().into(),
                )
            });
        }
    }
    Ok(Json(ModelsBody { object: "list", data }))
}

/// Load a model beside the one of this name, check it, and put it in its place
///
/// Requests that have begun end with the model that they began with. If the new one cannot be loaded or does not
/// answer, the old one stays, and the answer says why.
#[utoipa::path(post, path = "/v1/models/{name}/load", tag = "models", params(("name" = String, Path)),
    request_body = LoadRequest,
    responses((status = 200, body = ModelsBody), (status = 404, description = "No such model"),
        (status = 409, description = "It cannot be used; the old one stays")))]
async fn load(
    State(app): State<App>,
    Path(name): Path,
    Input(request): Input<LoadRequest>,
) -> Result<Json<ModelsBody>, ApiError> {
    swap::load(&app, &name, request.folder.map(Into::into)).await?;
    list(State(app)).await
}
