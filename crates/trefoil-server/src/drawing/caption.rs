//! A picture to captions.

use unidiffuser::mode::Mode;

use super::common::request;
use super::{Drawing, Order, bytes};
use crate::app::App;
use crate::error::ApiError;

request! {
    /// What to describe.
    CaptionRequest {
        /// PNG or JPEG: a file of a form, or base64
        image: String,
    }
}

impl Drawing for CaptionRequest {
    const TASK: &'static str = "captions";

    async fn order(self, app: &App) -> Result<Order, ApiError> {
        let common = self.common();
        let model = common.loaded(app)?;
        let mut request = common.request(app, &model, Mode::ImageToText)?;
        request.image = Some(app.decode("image", bytes("image", &self.image)?).await?);
        Ok(Order::samples(model, request, &["image"]))
    }
}
