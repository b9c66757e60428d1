//! One network: loaded, evaluated and measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::json;
use trefoil_core::weights::{Precision, Storage, WeightFile, save};
use unidiffuser::autoencoder::Autoencoder;
use unidiffuser::caption::{BeamOptions, CaptionDecoder};
use unidiffuser::clip::{ClipText, ClipVision};
use unidiffuser::folder::Component;
use unidiffuser::uvit::{Levels, Modalities, UVit};

use crate::{AnyError, memory};

/// Noise levels of picture and text: neither an end nor a whole number.
const LEVELS: [f64; 2] = [500.25, 820.5];
/// Tokens that the decoder writes.
const TOKENS: usize = 10;
/// An id that no beam ends with.
const NO_END: u32 = u32::MAX;

/// How a network is held and how often it runs.
pub(crate) struct Setting {
    pub(crate) runs: usize,
    pub(crate) storage: Storage,
}

/// Outputs under their names.
type Outputs = Vec<(String, TensorData)>;

/// Evaluates the network of this name.
pub(crate) fn measure(
    folder: &Path,
    name: &str,
    output: &Path,
    setting: &Setting,
) -> Result<(), AnyError> {
    match name {
        UVit::FOLDER => run::<UVit>(folder, output, setting),
        Autoencoder::FOLDER => run::<Autoencoder>(folder, output, setting),
        ClipText::FOLDER => run::<ClipText>(folder, output, setting),
        ClipVision::FOLDER => run::<ClipVision>(folder, output, setting),
        CaptionDecoder::FOLDER => run::<CaptionDecoder>(folder, output, setting),
        other => Err(format!("there is no network `{other}`").into()),
    }
}

fn run<C: Evaluate>(folder: &Path, output: &Path, setting: &Setting) -> Result<(), AnyError> {
    let device = Device::flex();
    let inputs = Inputs { file: WeightFile::open(&folder.join("inputs.safetensors"))?, device };
    let before = memory::resident();
    let start = Instant::now();
    let part = C::open(folder)?;
    let network = part.load_as(&inputs.device, setting.storage)?;
    let load = start.elapsed().as_secs_f64();
    let peak_loading = memory::peak();
    println!("{}", json!({"ready": true}));

    let mut times = Vec::with_capacity(setting.runs + 1);
    let mut outputs = Vec::new();
    for _ in 0..=setting.runs {
        let start = Instant::now();
        outputs = network.evaluate(&inputs)?;
        times.push(start.elapsed().as_secs_f64());
    }
    let peak = memory::peak();
    save(output, &outputs, Precision::F32, BTreeMap::new())?;
    let line = json!({
        "parameters": part.parameters()?,
        "weights": part.resident(setting.storage)?,
        "load": load,
        "first": times[0],
        "times": times[1..],
        "before": before,
        "peak_loading": peak_loading,
        "peak": peak,
    });
    println!("{line}");
    Ok(())
}

/// Prints the largest difference of each output over the largest magnitude of `theirs`.
pub(crate) fn compare(ours: &Path, theirs: &Path) -> Result<(), AnyError> {
    let (ours, theirs) = (WeightFile::open(ours)?, WeightFile::open(theirs)?);
    let mut differences = BTreeMap::new();
    for name in theirs.names()? {
        let (a, b) = (ours.get(&name)?, theirs.get(&name)?);
        let pairs = a.iter::<f32>().zip(b.iter::<f32>());
        let (difference, magnitude) = pairs.fold((0.0f32, 0.0f32), |(d, m), (a, b)| {
            // A number that is none stays one.
            (if (a - b).abs() <= d { d } else { (a - b).abs() }, m.max(b.abs()))
        });
        differences.insert(name, difference / magnitude);
    }
    println!("{}", json!(differences));
    Ok(())
}

/// The inputs that `write` made.
struct Inputs {
    file: WeightFile,
    device: Device,
}

impl Inputs {
    fn get<const D: usize>(&self, name: &str) -> Result<Tensor<D>, AnyError> {
        Ok(Tensor::from_data(self.file.get(name)?, &self.device))
    }
}

/// What is measured of a network.
trait Evaluate: Component {
    fn evaluate(&self, inputs: &Inputs) -> Result<Outputs, AnyError>;
}

impl Evaluate for UVit {
    fn evaluate(&self, inputs: &Inputs) -> Result<Outputs, AnyError> {
        let input = Modalities {
            z: inputs.get("z")?,
            clip: inputs.get("clip")?,
            text: inputs.get("text")?,
        };
        let noise = self.forward(input, &Levels::uniform(1, LEVELS[0], LEVELS[1]));
        Ok(vec![
            ("z".into(), noise.z.into_data()),
            ("clip".into(), noise.clip.into_data()),
            ("text".into(), noise.text.into_data()),
        ])
    }
}

impl Evaluate for Autoencoder {
    fn evaluate(&self, inputs: &Inputs) -> Result<Outputs, AnyError> {
        Ok(vec![("picture".into(), self.decode(inputs.get("latent")?).into_data())])
    }
}

impl Evaluate for ClipText {
    fn evaluate(&self, inputs: &Inputs) -> Result<Outputs, AnyError> {
        let ids: Tensor<2, Int> = inputs.get::<2>("ids")?.int();
        Ok(vec![("hidden".into(), self.forward(ids).into_data())])
    }
}

impl Evaluate for ClipVision {
    fn evaluate(&self, inputs: &Inputs) -> Result<Outputs, AnyError> {
        Ok(vec![("embedding".into(), self.forward(inputs.get("pixels")?).into_data())])
    }
}

impl Evaluate for CaptionDecoder {
    /// Beam search as in use, without an end token, so that the work is always the same.
    fn evaluate(&self, inputs: &Inputs) -> Result<Outputs, AnyError> {
        let options = BeamOptions { max_tokens: TOKENS, ..BeamOptions::default() };
        let beams = self.beam_search(inputs.get("code")?, NO_END, &options)?.concat();
        let ids = beams.iter().flat_map(|beam| beam.tokens.iter().map(|&id| id as f32)).collect();
        let ids: Vec<f32> = ids;
        let scores: Vec<f32> = beams.iter().map(|beam| beam.score as f32).collect();
        let count = beams.len();
        Ok(vec![
            ("ids".into(), TensorData::new(ids, [count, TOKENS])),
            ("scores".into(), TensorData::new(scores, [count])),
        ])
    }
}
