//! What is answered to a request for pictures or captions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use unidiffuser::pipeline::{Generated, Request};
use unidiffuser::record::Record;

use super::Order;
use crate::app::now;
use crate::error::ApiError;
use crate::paint::ticket::{Output, Work};

/// Pictures and captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Drawn {
    /// Seconds since 1970
    pub(crate) created: i64,
    /// Folder of the model
    pub(crate) model: String,
    /// The seed, for the same results again
    pub(crate) seed: u64,
    /// The results
    pub(crate) data: Vec<DrawnResult>,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct DrawnResult {
    /// Its number within the seed
    pub(crate) index: usize,
    /// The picture as PNG in base64, with its settings inside
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) b64_json: Option<String>,
    /// The caption
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) caption: Option<String>,
    /// Share of the second picture of a blend
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
}

/// The response to an order.
pub(crate) fn render(order: &Order, output: Output) -> Result<Drawn, ApiError> {
    let wrong = || ApiError::Internal("embeddings are no pictures".into());
    let Output::Samples(samples) = output else { return Err(wrong()) };
    let (request, weights): (&Request, &[f64]) = match &order.work {
        Work::Samples(request) => (request, &[]),
        Work::Blend { request, weights, .. } => (request, weights),
        Work::Embed { .. } => return Err(wrong()),
    };
    let one = |generated: Generated| {
        let weight = weights.get(generated.index).copied();
        let record = Record::new(request, &generated, &order.model.id);
        let record = Record { inputs: order.inputs.clone(), weight, ..record };
        let png = generated.image.as_ref().map(|picture| record.embed(picture)).transpose()?;
        let b64_json = png.map(|png| STANDARD.encode(png));
        Ok(DrawnResult { index: generated.index, b64_json, caption: generated.text, weight })
    };
    let data = samples.into_iter().map(one).collect::<Result<_, ApiError>>()?;
    Ok(Drawn { created: now(), model: order.model.id.name.clone(), seed: order.seed, data })
}
