//! Requests for pictures and captions: what each says, and what the device has to do for it.
//!
//! A kind of request is a file here with an `impl Drawing`, a row of [`TASKS`] so that it can be a job, and a route in
//! `routes/images.rs`.

mod blend;
mod caption;
mod common;
mod edit;
mod generate;
mod pair;
mod result;
mod variation;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use unidiffuser::pipeline::Request;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::from_value;
use crate::paint::model::Loaded;
use crate::paint::ticket::Work;

pub(crate) use self::blend::BlendRequest;
pub(crate) use self::caption::CaptionRequest;
pub(crate) use self::common::within;
pub(crate) use self::edit::EditRequest;
pub(crate) use self::generate::ImageRequest;
pub(crate) use self::pair::PairRequest;
pub(crate) use self::result::{Drawn, render};
pub(crate) use self::variation::VariationRequest;

/// What a request comes to.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) model: Arc<Loaded>,
    pub(crate) work: Work,
    /// Pictures that were given, as the record inside a result names them.
    pub(crate) inputs: Vec<String>,
    pub(crate) seed: u64,
}

impl Order {
    /// Samples of a request; `inputs` are the fields with the pictures that it was given.
    fn samples(model: Arc<Loaded>, request: Request, inputs: &[&str]) -> Self {
        let (seed, inputs) = (request.seed.0, inputs.iter().map(ToString::to_string).collect());
        Self { model, work: Work::Samples(Box::new(request)), inputs, seed }
    }
}

/// A request for pictures or captions.
pub(crate) trait Drawing: Serialize + DeserializeOwned + Send + 'static {
    /// Its name as a job.
    const TASK: &'static str;

    /// Checks it, and says what has to be done.
    fn order(self, app: &App) -> impl Future<Output = Result<Order, ApiError>> + Send;
}

/// Names of the tasks of jobs, with what reads their requests.
macro_rules! tasks {
    ($($request:ty),+ $(,)?) => {
        /// Names of all tasks.
        pub(crate) const TASKS: &[&str] = &[$(<$request>::TASK),+];

        /// The order of a task.
        pub(crate) async fn order(app: &App, task: &str, request: Value) -> Result<Order, ApiError> {
            $(if task == <$request>::TASK {
                return from_value::<$request>(request)?.order(app).await;
            })+
            let names = TASKS.join("`, `");
            Err(ApiError::field("task", format!("expected one of `{names}`, found `{task}`")))
        }
    };
}

tasks! {
    ImageRequest,
    VariationRequest,
    EditRequest,
    BlendRequest,
    CaptionRequest,
    PairRequest,
}

/// The bytes of base64, with or without the beginning of a data URL. Other URLs are never followed.
pub(crate) fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, ApiError> {
    let text = match text.split_once(',') {
        Some((head, rest)) if head.starts_with("data:") && head.ends_with(";base64") => rest,
        _ => text,
    };
    if text.starts_with("http:") || text.starts_with("https:") || text.starts_with("file:") {
        return Err(ApiError::field(
            field,
            "expected the picture itself in base64; addresses are not followed",
        ));
    }
    STANDARD
        .decode(text.trim())
        .map_err(|error| ApiError::field(field, format!("expected base64: {error}")))
}
