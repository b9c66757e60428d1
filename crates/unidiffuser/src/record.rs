//! What is remembered of a result: inside the PNG file, and as `--json`.
//!
//! A picture carries two texts: `trefoil`, a [`Record`] as JSON, from which `generate --from` draws it again, and
//! `parameters`, the one-line form that other programs for diffusion models read.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Picture, Result, png};
use trefoil_diffusion::{GuidanceScale, SolverConfig};

use crate::mode::Mode;
use crate::model::ModelId;
use crate::pipeline::{Generated, Procedure, Request};

/// Keyword of the JSON text.
pub const TREFOIL: &str = "trefoil";
/// Keyword of the text for other programs.
pub const PARAMETERS: &str = "parameters";

/// How a result came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of Trefoil.
    pub version: String,
    /// Which distribution was sampled.
    pub mode: Mode,
    /// The prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The text that the picture was guided away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// The pictures that were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// Share of the second picture of a blend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The text that was generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Seed of the run.
    pub seed: u64,
    /// Which result of the run.
    pub index: usize,
    /// How it was sampled.
    pub settings: Settings,
    /// By which model.
    pub model: ModelId,
}

/// How a result was sampled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Number of steps.
    pub steps: usize,
    /// Guidance scale in the common form.
    pub guidance: GuidanceScale,
    /// Solver with all its options.
    pub solver: SolverConfig,
    /// Whose sampling was followed.
    #[serde(default, skip_serializing_if = "is_original")]
    pub procedure: Procedure,
    /// Height and width, where they are not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Whether one pass of a distilled generator made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_step: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_original(procedure: &Procedure) -> bool {
    *procedure == Procedure::Original
}

impl Record {
    /// Of one result of a request.
    pub fn new(request: &Request, generated: &Generated, model: &ModelId) -> Self {
        let solver = request.solver;
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            mode: request.mode,
            prompt: request.prompt.clone(),
            negative: request.negative.clone(),
            inputs: Vec::new(),
            weight: None,
            text: generated.text.clone(),
            seed: request.seed.0,
            index: generated.index,
            settings: Settings {
                steps: if request.one_step { 1 } else { solver.steps },
                guidance: request.guidance,
                solver,
                procedure: request.procedure,
                size: request.size,
                one_step: request.one_step,
            },
            model: model.clone(),
        }
    }

    /// The picture as PNG with this record inside.
    ///
    /// # Errors
    /// [`Error::Image`] when it cannot be encoded.
    pub fn embed(&self, picture: &Picture) -> Result<Vec<u8>> {
        let fail =
            |e: serde_json::Error| Error::Image { name: "PNG".into(), reason: e.to_string() };
        let json = serde_json::to_string(self).map_err(fail)?;
        let texts = [(PARAMETERS, &*self.parameters(picture)), (TREFOIL, &*json)];
        png::encode(picture, &texts)
    }

    /// The record of a PNG file that Trefoil wrote, none if it carries none; `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::Image`] when it is no PNG file, or what it carries is damaged.
    pub fn of_png(bytes: &[u8], name: &str) -> Result<Option<Self>> {
        let texts = png::texts(bytes, name)?;
        let json = texts.iter().find(|(keyword, _)| keyword == TREFOIL).map(|(_, json)| json);
        let fail = |e: serde_json::Error| {
            let reason = format!("the settings inside are damaged: {e}");
            Error::Image { name: name.into(), reason }
        };
        json.map(|json| serde_json::from_str(json).map_err(fail)).transpose()
    }

    /// The form that began with the web UI of AUTOMATIC1111: the prompt, then named values in one line.
    fn parameters(&self, picture: &Picture) -> String {
        let prompt = self.prompt.as_ref().or(self.text.as_ref());
        let mut text = prompt.map(|prompt| format!("{prompt}\n")).unwrap_or_default();
        if let Some(negative) = &self.negative {
            let _ = writeln!(text, "Negative prompt: {negative}");
        }
        let Settings { steps, guidance, solver, one_step, .. } = &self.settings;
        let (sampler, scale) = if *one_step {
            ("one-step".to_string(), 1.0)
        } else {
            (solver.kind.to_string(), guidance.common())
        };
        let (width, height) = (picture.width(), picture.height());
        let _ = write!(
            text,
            "Steps: {steps}, Sampler: {sampler}, CFG scale: {scale}, Seed: {}, Size: {width}x{height}, Model: {}, \
             Model hash: {}, Index: {}, Version: trefoil {}",
            self.seed,
            self.model.name,
            &self.model.sha256[..self.model.sha256.len().min(10)],
            self.index,
            self.version,
        );
        text
    }
}
