//! What is remembered of a result: inside the PNG file, and as `--json`.
//!
//! A picture carries two texts: `trefoil`, a [`Record`] as JSON, from which `generate --from` draws it again, and
//! `parameters`, the one-line form that other programs for diffusion models read.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trefoil_core::{Picture, fs, png};
use trefoil_diffusion::{GuidanceScale, SolverConfig};
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::{Generated, Procedure, Request};

use crate::hints::hinted;
use crate::model::ModelId;

/// Keyword of the JSON text.
pub(crate) const TREFOIL: &str = "trefoil";
/// Keyword of the text for other programs.
pub(crate) const PARAMETERS: &str = "parameters";

/// How a result came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of Trefoil.
    pub(crate) version: String,
    /// Which distribution was sampled.
    pub(crate) mode: Mode,
    /// The prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    /// The text that the picture was guided away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) negative: Option<String>,
    /// The pictures that were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inputs: Vec<String>,
    /// Share of the second picture of a blend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    /// The text that was generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Which result of the run.
    pub(crate) index: usize,
    /// How it was sampled.
    pub(crate) settings: Settings,
    /// By which model.
    pub(crate) model: ModelId,
}

/// How a result was sampled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Number of steps.
    pub(crate) steps: usize,
    /// Guidance scale in the common form.
    pub(crate) guidance: GuidanceScale,
    /// Solver with all its options.
    pub(crate) solver: SolverConfig,
    /// Whose sampling was followed.
    #[serde(default, skip_serializing_if = "is_original")]
    pub(crate) procedure: Procedure,
    /// Height and width, where they are not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<[usize; 2]>,
    /// Whether one pass of a distilled generator made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) one_step: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_original(procedure: &Procedure) -> bool {
    *procedure == Procedure::Original
}

impl Record {
    /// Of one result of a request.
    pub(crate) fn new(request: &Request, generated: &Generated, model: &ModelId) -> Self {
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
    pub(crate) fn embed(&self, picture: &Picture) -> anyhow::Result<Vec<u8>> {
        let json = serde_json::to_string(self)?;
        let texts = [(PARAMETERS, &*self.parameters(picture)), (TREFOIL, &*json)];
        Ok(png::encode(picture, &texts)?)
    }

    /// The record of a PNG file that Trefoil wrote.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let texts = png::texts(&fs::read(path)?, &path.display().to_string())?;
        let Some((_, json)) = texts.iter().find(|(keyword, _)| keyword == TREFOIL) else {
            let message = format!("{} carries no settings of Trefoil", path.display());
            return Err(hinted(message, "`--from` needs a PNG file that trefoil wrote, unchanged"));
        };
        serde_json::from_str(json)
            .with_context(|| format!("the settings inside {} are damaged", path.display()))
    }

    /// The form that began with the web UI of AUTOMATIC1111: the prompt, then named values in one line.
    fn parameters(&self, picture: &Picture) -> String {
        let prompt = self.prompt.as_ref().or(self.text.as_ref());
        let mut text = prompt.map(|prompt| format!("{prompt}\n")).unwrap_or_default();
        if let Some(negative) = &self.negative {
            let _ = writeln!(text, "Negative prompt: {negative}");
        }
        let Settings { steps, guidance, solver, .. } = &self.settings;
        let (width, height) = (picture.width(), picture.height());
        let _ = write!(
            text,
            "Steps: {steps}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {width}x{height}, Model: {}, \
             Model hash: {}, Index: {}, Version: trefoil {}",
            solver.kind,
            guidance.common(),
            self.seed,
            self.model.name,
            &self.model.sha256[..self.model.sha256.len().min(10)],
            self.index,
            self.version,
        );
        text
    }
}
