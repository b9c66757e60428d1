//! Pictures and captions that belong together, from nothing.

use unidiffuser::mode::Mode;

use super::common::request;
use super::{Drawing, Order};
use crate::app::App;
use crate::error::ApiError;

request! {
    /// How many, and how.
    PairRequest {}
}

impl Drawing for PairRequest {
    const TASK: &'static str = "pairs";

    async fn order(self, app: &App) -> Result<Order, ApiError> {
        let common = self.common();
        let model = common.loaded(app)?;
        let request = common.request(app, &model, Mode::Joint)?;
        Ok(Order::samples(model, request, &[]))
    }
}
