//! What all requests for pictures and captions can say.

use std::sync::Arc;

use trefoil_core::Seed;
use trefoil_diffusion::{GuidanceScale, SolverKind};
use unidiffuser::mode::Mode;
use unidiffuser::model::Recommended;
use unidiffuser::pipeline::{Procedure, Request};

use crate::app::App;
use crate::error::ApiError;
use crate::paint::model::Loaded;

/// The largest seed that is chosen for a request without one: JavaScript reads it exactly.
const LARGEST_SEED: u64 = u32::MAX as u64;
/// Characters of a prompt.
const PROMPT: usize = 4000;

/// The common fields, as their request has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Common {
    pub(crate) model: Option<String>,
    pub(crate) n: Option<usize>,
    pub(crate) seed: Option<u64>,
    pub(crate) steps: Option<usize>,
    pub(crate) guidance: Option<f64>,
    pub(crate) solver: Option<String>,
    pub(crate) one_step: bool,
    pub(crate) response_format: Option<String>,
}

/// Declares a request with fields of its own and the common ones, and how to read the latter.
macro_rules! request {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$note])* pub(crate) $field: $type,)*
            /// Model: its name or that of its folder, as `GET /v1/models` lists them
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) model: Option<String>,
            /// Number of results
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(minimum = 1, maximum = 10)]
            pub(crate) n: Option<usize>,
            /// Seed; the same seed gives the same results [default: random, in the response]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) seed: Option<u64>,
            /// Steps of the solver [default: the model's recommendation]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(minimum = 1, maximum = 250)]
            pub(crate) steps: Option<usize>,
            /// Guidance w of uncond + w (cond - uncond), off at 1 [default: the model's recommendation]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) guidance: Option<f64>,
            /// Solver [default: the model's recommendation]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) solver: Option<String>,
            /// One pass of the model's one-step generator in place of the steps, without guidance
            #[serde(default)]
            pub(crate) one_step: bool,
            /// Only `b64_json`
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) response_format: Option<String>,
            /// Accepted for clients that send it; not used
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) user: Option<String>,
        }

        impl $name {
            /// The common fields.
            fn common(&self) -> $crate::drawing::common::Common {
                $crate::drawing::common::Common {
                    model: self.model.clone(),
                    n: self.n,
                    seed: self.seed,
                    steps: self.steps,
                    guidance: self.guidance,
                    solver: self.solver.clone(),
                    one_step: self.one_step,
                    response_format: self.response_format.clone(),
                }
            }
        }
    };
}
pub(super) use request;

impl Common {
    /// The model that is asked for.
    pub(super) fn loaded(&self, app: &App) -> Result<Arc<Loaded>, ApiError> {
        Ok(app.model(self.model.as_deref())?.0)
    }

    /// Whether one step is asked for, which leaves nothing else to choose.
    fn one_step(&self, app: &App, mode: Mode) -> Result<bool, ApiError> {
        let (loaded, is_named) = app.model(self.model.as_deref())?;
        if !self.one_step && !is_named {
            return Ok(false);
        }
        let tasks = loaded.one_step_tasks();
        if tasks.is_empty() {
            let message =
                "the model has no one-step generator; start the server with `--one-step DIR`";
            return Err(ApiError::field("one_step", message));
        }
        if let Some(task) = mode.tasks().iter().find(|task| !tasks.contains(task)) {
            let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
            let message = format!("it was made for {}, not for {}", names.join(", "), task.name());
            return Err(ApiError::field("one_step", message));
        }
        let unused = [
            ("steps", self.steps.is_some()),
            ("guidance", self.guidance.is_some()),
            ("solver", self.solver.is_some()),
        ];
        if let Some((field, _)) = unused.iter().find(|(_, given)| *given) {
            return Err(ApiError::field(field, "it has no meaning with `one_step`"));
        }
        Ok(true)
    }

    /// A request of `mode` with these settings, and the recommended ones where there are none.
    pub(super) fn request(
        &self,
        app: &App,
        loaded: &Loaded,
        mode: Mode,
    ) -> Result<Request, ApiError> {
        let limits = &app.config().limits;
        if let Some(format) = self.response_format.as_deref().filter(|f| *f != "b64_json") {
            let message = format!("expected `b64_json`, found `{format}`");
            return Err(ApiError::field("response_format", message));
        }
        let count = self.n.unwrap_or(1);
        within("n", count, limits.count)?;
        if let Some(steps) = self.steps {
            within("steps", steps, limits.steps)?;
        }
        if self.guidance.is_some() && !mode.is_guided() {
            return Err(ApiError::field("guidance", format!("it has no meaning for {mode}")));
        }
        let guidance = self.guidance.map(GuidanceScale::new).transpose();
        let guidance = guidance.map_err(|error| ApiError::field("guidance", error))?;
        let solver = self.solver.as_deref().map(str::parse::<SolverKind>).transpose();
        let solver = solver.map_err(|error| ApiError::field("solver", error))?;
        let asked = Recommended { guidance, steps: self.steps, solver };
        let mut request = loaded.recommended.request(mode, Procedure::default(), &asked);
        request.one_step = self.one_step(app, mode)?;
        request.count = count;
        request.seed = Seed(self.seed.map_or_else(random_seed, Ok)?);
        Ok(request)
    }
}

/// Refuses a prompt that is empty or that the model would cut off.
pub(super) fn check_prompt(field: &str, prompt: &str, loaded: &Loaded) -> Result<(), ApiError> {
    if prompt.trim().is_empty() {
        return Err(ApiError::field(field, "it is empty"));
    }
    check_text(field, prompt, loaded)
}

/// As [`check_prompt`], of a text that may be empty.
pub(super) fn check_text(field: &str, text: &str, loaded: &Loaded) -> Result<(), ApiError> {
    let found = text.chars().count();
    if found > PROMPT {
        let message = format!("expected at most {PROMPT} characters, found {found}");
        return Err(ApiError::field(field, message));
    }
    let limit = loaded.model.context_length();
    let dropped = loaded.model.clip_tokenizer.encode(text, limit)?.dropped;
    if dropped > 0 {
        // Two tokens mark the start and the end.
        let room = limit - 2;
        let found = room + dropped;
        let message = format!("expected at most {room} tokens, found {found}");
        return Err(ApiError::field(field, message));
    }
    Ok(())
}

/// Refuses a number that is not in `1..=most`.
pub(crate) fn within(field: &str, found: usize, most: usize) -> Result<(), ApiError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(ApiError::field(field, format!("expected 1 to {most}, found {found}")))
}

fn random_seed() -> Result<u64, ApiError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes) & LARGEST_SEED)
}
