//! A prompt to pictures.

use unidiffuser::mode::Mode;

use super::common::{check_prompt, check_text, request};
use super::{Drawing, Order};
use crate::app::App;
use crate::error::ApiError;

request! {
    /// What to draw.
    ImageRequest {
        /// What the picture shows
        #[schema(example = "a red apple")]
        prompt: String,
        /// What it does not show: guidance leads away from this text
        #[serde(default, skip_serializing_if = "Option::is_none")]
        negative_prompt: Option<String>,
        /// `WIDTHxHEIGHT` in pixels, or `auto`
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<String>,
    }
}

impl Drawing for ImageRequest {
    const TASK: &'static str = "generations";

    async fn order(self, app: &App) -> Result<Order, ApiError> {
        let common = self.common();
        let model = common.loaded(app)?;
        let mut request = common.request(app, &model, Mode::TextToImage)?;
        check_prompt("prompt", &self.prompt, &model)?;
        if let Some(negative) = &self.negative_prompt {
            check_text("negative_prompt", negative, &model)?;
        }
        request.size = size(self.size.as_deref(), model.model.image_size())?;
        for (field, given) in
            [("negative_prompt", self.negative_prompt.is_some()), ("size", request.size.is_some())]
        {
            if request.one_step && given {
                return Err(ApiError::field(field, "it has no meaning with `one_step`"));
            }
        }
        request.prompt = Some(self.prompt);
        request.negative = self.negative_prompt;
        Ok(Order::samples(model, request, &[]))
    }
}

/// Height and width, nothing where they are the model's own. A side may be twice the model's.
fn size(text: Option<&str>, native: usize) -> Result<Option<[usize; 2]>, ApiError> {
    let Some(text) = text.filter(|text| *text != "auto") else { return Ok(None) };
    let sides = text.split_once('x').and_then(|(w, h)| Some([h.parse().ok()?, w.parse().ok()?]));
    let sides: Option<[usize; 2]> = sides;
    let most = 2 * native;
    if let Some(sides) = sides.filter(|sides| sides.iter().all(|side| (1..=most).contains(side))) {
        return Ok((sides != [native; 2]).then_some(sides));
    }
    let message = format!(
        "expected `auto` or WIDTHxHEIGHT such as {native}x{native}, sides at most {most}, found \
         `{text}`"
    );
    Err(ApiError::field("size", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_width_and_height() {
        assert_eq!(size(None, 32).unwrap(), None);
        assert_eq!(size(Some("auto"), 32).unwrap(), None);
        assert_eq!(size(Some("32x32"), 32).unwrap(), None);
        assert_eq!(size(Some("48x32"), 32).unwrap(), Some([32, 48]));
        for bad in ["", "32", "0x32", "65x32", "x", "-1x3", "1e9x1"] {
            assert!(size(Some(bad), 32).is_err(), "{bad}");
        }
    }
}
