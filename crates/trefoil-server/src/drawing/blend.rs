//! From one picture to another.

use unidiffuser::mode::Mode;

use super::common::{request, within};
use super::{Drawing, Order, bytes};
use crate::app::App;
use crate::error::ApiError;
use crate::paint::ticket::Work;

/// Weights of a request without any.
const WEIGHTS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

request! {
    /// What to blend.
    BlendRequest {
        /// Two pictures, PNG or JPEG: files of a form (`images[]`), or base64
        #[schema(min_items = 2, max_items = 2)]
        images: Vec<String>,
        /// Shares of the second picture, each from 0 to 1, one result for each [default: five from 0 to 1]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weights: Option<Vec<f64>>,
    }
}

impl Drawing for BlendRequest {
    const TASK: &'static str = "blends";

    async fn order(self, app: &App) -> Result<Order, ApiError> {
        let common = self.common();
        let model = common.loaded(app)?;
        if common.n.is_some() {
            return Err(ApiError::field("n", "it has no meaning here; `weights` says how many"));
        }
        let mut request = common.request(app, &model, Mode::ImageVariation)?;
        let weights = self.weights.unwrap_or_else(|| WEIGHTS.into());
        within("weights", weights.len(), app.config().limits.count)?;
        if let Some(weight) = weights.iter().find(|weight| !(0.0..=1.0).contains(*weight)) {
            let message = format!("expected numbers from 0 to 1, found {weight}");
            return Err(ApiError::field("weights", message));
        }
        let [first, second] = &self.images[..] else {
            let message = format!("expected two pictures, found {}", self.images.len());
            return Err(ApiError::field("images", message));
        };
        let first = app.decode("images", bytes("images", first)?).await?;
        let second = app.decode("images", bytes("images", second)?).await?;
        request.batch = app.config().batch.max(1);
        let (seed, request) = (request.seed.0, Box::new(request));
        let inputs = vec!["images[0]".into(), "images[1]".into()];
        let work = Work::Blend { pictures: Box::new([first, second]), weights, request };
        Ok(Order { model, work, inputs, seed })
    }
}
