//! A picture that is changed by a prompt.

use trefoil_core::Picture;
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::Edit;

use super::common::{check_prompt, request};
use super::{Drawing, Order, bytes};
use crate::app::{App, blocking};
use crate::error::ApiError;

/// How much is made anew without a mask.
const USUAL_STRENGTH: f64 = 0.7;

request! {
    /// What to change.
    EditRequest {
        /// PNG or JPEG: a file of a form, or base64
        image: String,
        /// Where it is drawn anew: transparent pixels or, in a mask without any, white ones
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<String>,
        /// What the picture shows
        prompt: String,
        /// How much is made anew, above 0 and at most 1 [default: 0.7, or 1 with a mask]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strength: Option<f64>,
        /// `auto` or the model's own: a picture that is edited has no other size
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<String>,
    }
}

impl Drawing for EditRequest {
    const TASK: &'static str = "edits";

    async fn order(self, app: &App) -> Result<Order, ApiError> {
        let common = self.common();
        let model = common.loaded(app)?;
        let mut request = common.request(app, &model, Mode::TextToImage)?;
        if request.one_step {
            return Err(ApiError::field(
                "one_step",
                "a picture that is edited needs several steps",
            ));
        }
        check_prompt("prompt", &self.prompt, &model)?;
        let side = model.model.image_size();
        let native = format!("{side}x{side}");
        if let Some(size) = self.size.filter(|size| *size != "auto" && *size != native) {
            let message = format!("expected `auto` or {native}, found `{size}`");
            return Err(ApiError::field("size", message));
        }
        let picture = app.decode("image", bytes("image", &self.image)?).await?;
        let mask = match &self.mask {
            None => None,
            Some(mask) => {
                let (bytes, pixels) = (bytes("mask", mask)?, app.config().limits.pixels);
                Some(blocking(move || decode_mask(&bytes, pixels)).await?)
            }
        };
        let usual = if mask.is_some() { 1.0 } else { USUAL_STRENGTH };
        let strength = self.strength.unwrap_or(usual);
        if !(strength > 0.0 && strength <= 1.0) {
            let message = format!("expected a number above 0, at most 1, found {strength}");
            return Err(ApiError::field("strength", message));
        }
        let inputs: &[&str] = if mask.is_some() { &["image", "mask"] } else { &["image"] };
        request.prompt = Some(self.prompt);
        request.edit = Some(Edit { picture, strength, mask });
        Ok(Order::samples(model, request, inputs))
    }
}

/// White where the picture is drawn anew. Pixels that differ over white and over black are transparent.
fn decode_mask(bytes: &[u8], pixels: u64) -> Result<Picture, ApiError> {
    let fail = |error| ApiError::field("mask", error);
    let over = |colour| Picture::decode_within(bytes, "mask", [colour; 3], pixels).map_err(fail);
    let (white, black) = (over(255)?, over(0)?);
    if white == black {
        return Ok(white);
    }
    let pairs = white.pixels().chunks_exact(3).zip(black.pixels().chunks_exact(3));
    let pixels = pairs.flat_map(|(a, b)| [if a == b { 0 } else { 255 }; 3]).collect();
    Picture::new(white.width(), white.height(), pixels).map_err(fail)
}
