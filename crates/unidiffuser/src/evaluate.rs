//! How good a trained model is, on captioned pictures that it knows and on ones that it does not.
//!
//! | measured | how |
//! |---|---|
//! | text to image, by CLIP | the drawn picture's embedding finds its own caption among many (R@1, R@10), beside the same figure for the real pictures, which is the ceiling |
//! | text to image, by pixels | the nearest real picture among many is the one of the caption |
//! | text to image, as a whole | Frechet distance between drawn and real pictures in the space of the CLIP embeddings |
//! | image to text | exact match and token F1 against the captions of the picture |
//! | speed | seconds for a picture, and for a caption with its search, of the batches above |
//! | autoencoder | PSNR of reconstructions, and how many of them CLIP still knows, which is what no drawing can pass |

mod generator;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::{GuidanceScale, SolverConfig};
use trefoil_eval::{
    Features, FrechetReport, Measure, Report, RetrievalReport, Row, Truth, captions, psnr,
};

pub use self::generator::Generator;
use self::generator::Speed;
use crate::mode::Mode;
use crate::model::UniDiffuser;
use crate::pipeline::{GenerateError, Request};
use crate::train::Pairs;

/// What is measured, and with which settings.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// What draws and writes; each has rows of its own.
    pub generators: Vec<Generator>,
    /// Pictures drawn and captions written per split.
    pub count: usize,
    /// Captions (and real pictures) among which each drawn picture looks for its own.
    pub candidates: usize,
    /// Seed of the choice and of all noise.
    pub seed: Seed,
    /// Solver and number of evaluations.
    pub solver: SolverConfig,
    /// Strength of guidance towards pictures.
    pub guidance: GuidanceScale,
    /// Strength of guidance towards captions.
    pub caption_guidance: GuidanceScale,
    /// Samples per network pass.
    pub batch: usize,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            generators: vec![Generator::ManySteps],
            count: 200,
            candidates: 1000,
            seed: Seed(0),
            solver: SolverConfig::default(),
            guidance: GuidanceScale::default(),
            caption_guidance: GuidanceScale::default(),
            batch: 50,
        }
    }
}

/// Why an evaluation ended without a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// Sampling failed or was cancelled.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A component failed.
    #[error(transparent)]
    Model(#[from] trefoil_core::Error),
    /// A metric cannot be computed on these numbers.
    #[error(transparent)]
    Metric(#[from] trefoil_eval::Error),
}

/// The table, and what was drawn and written for it.
#[derive(Debug)]
pub struct Evaluation {
    /// The table.
    pub report: Report,
    /// What was looked at, split by split.
    pub samples: Vec<SplitSamples>,
}

/// Drawn pictures and written captions of a split.
#[derive(Debug)]
pub struct SplitSamples {
    /// Name of the split, and of the generator where there are several.
    pub split: String,
    /// Prompts.
    pub prompts: Vec<String>,
    /// Real pictures of the prompts.
    pub real: Vec<Picture>,
    /// Drawn pictures.
    pub drawn: Vec<Picture>,
    /// Captions that the model wrote for the real pictures.
    pub written: Vec<String>,
}

/// Called as work is done, with the number of finished samples and of all.
pub type OnProgress<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

/// Measures `model` on the splits, each a name and its pairs; candidates that a split lacks are taken from
/// the first one.
///
/// # Errors
/// [`EvaluateError`].
pub fn evaluate(
    model: &UniDiffuser,
    splits: &[(&str, &Pairs)],
    options: &EvaluateOptions,
    on_progress: OnProgress<'_>,
) -> Result<Evaluation, EvaluateError> {
    let mut report = Report::new("UniDiffuser", &[options.seed.0])
        .with_setting("solver", options.solver.kind.name())
        .with_setting("steps", options.solver.steps)
        .with_setting("guidance", options.guidance.common())
        .with_setting("caption guidance", options.caption_guidance.common())
        .with_setting("parameters", model.num_params())
        .with_setting("precision", model.storage.name());
    let each: usize = splits.iter().map(|(_, pairs)| 2 * options.count.min(pairs.len())).sum();
    let total = each * options.generators.len();
    let mut done = 0;
    let mut samples = Vec::new();
    for &(split, pairs) in splits {
        let pool = Pool::new(pairs, splits[0].1, options);
        let known = Known::new(model, &pool)?;
        known.measure(model, &pool, (split, &mut report))?;
        let n = pool.queries;
        for &generator in &options.generators {
            let mut count = |n: usize| {
                done += n;
                on_progress(done, total)
            };
            let one_step = generator == Generator::OneStep;
            let towards = request(Mode::TextToImage, options.guidance, options);
            let towards = Request { one_step, ..towards };
            let clock = Instant::now();
            let drawn = model.draw_each(&pool.prompts[..n], &towards, &mut count)?;
            let drawing = clock.elapsed().as_secs_f64();
            let towards = request(Mode::ImageToText, options.caption_guidance, options);
            let towards = Request { one_step, ..towards };
            let clock = Instant::now();
            let written = model.describe_each(&pool.pictures[..n], &towards, &mut count)?;
            let writing = clock.elapsed().as_secs_f64();
            let made = Made { generator, drawn: &drawn, written: &written };
            made.measure(model, &pool, &known, (split, &mut report))?;
            let speed = Speed { generator, seconds: [drawing, writing], count: n };
            report.add(split, &speed)?;
            samples.push(SplitSamples {
                split: format!("{split}{}", generator.suffix()),
                prompts: pool.prompts[..n].to_vec(),
                real: pool.pictures[..n].to_vec(),
                drawn,
                written,
            });
        }
    }
    Ok(Evaluation { report, samples })
}

/// The pictures that are asked about, followed by those that only stand in the way.
struct Pool {
    queries: usize,
    pictures: Vec<Picture>,
    prompts: Vec<String>,
    references: Vec<Vec<String>>,
    /// Candidates with the same picture or the same caption are the same answer.
    groups: Vec<u32>,
}

impl Pool {
    fn new(pairs: &Pairs, others: &Pairs, options: &EvaluateOptions) -> Self {
        let mut order = options.seed.stream("evaluate", 0).permutation(pairs.len());
        let queries = options.count.min(order.len());
        order.truncate(options.candidates.max(queries));
        let mut chosen: Vec<(&Pairs, usize)> =
            order.into_iter().map(|i| (pairs, i as usize)).collect();
        if !std::ptr::eq(pairs, others) {
            let more = options.seed.stream("evaluate", 1).permutation(others.len());
            let room = options.candidates.saturating_sub(chosen.len());
            chosen.extend(more.into_iter().take(room).map(|i| (others, i as usize)));
        }
        let pictures: Vec<Picture> = chosen.iter().map(|(p, i)| p.pictures()[*i].clone()).collect();
        let references: Vec<Vec<String>> =
            chosen.iter().map(|(p, i)| p.captions()[*i].clone()).collect();
        let prompts: Vec<String> = references.iter().map(|captions| captions[0].clone()).collect();
        let groups = groups(&pictures, &prompts);
        Self { queries, pictures, prompts, references, groups }
    }
}

/// The first candidate with the same picture or caption.
fn groups(pictures: &[Picture], prompts: &[String]) -> Vec<u32> {
    let mut by_picture: HashMap<&[u8], u32> = HashMap::new();
    let mut by_prompt: HashMap<&str, u32> = HashMap::new();
    let mut groups = Vec::with_capacity(pictures.len());
    for (i, (picture, prompt)) in (0u32..).zip(pictures.iter().zip(prompts)) {
        let known = by_picture.get(picture.pixels()).or_else(|| by_prompt.get(prompt.as_str()));
        let group = known.copied().unwrap_or(i);
        by_picture.entry(picture.pixels()).or_insert(group);
        by_prompt.entry(prompt).or_insert(group);
        groups.push(group);
    }
    groups
}

fn request(mode: Mode, guidance: GuidanceScale, options: &EvaluateOptions) -> Request {
    let solver = options.solver;
    let (seed, batch) = (options.seed, options.batch);
    Request { seed, solver, guidance, batch, ..Request::new(mode) }
}

/// What does not depend on who draws.
struct Known {
    truth: Truth,
    /// CLIP embeddings of the real pictures that are asked about, and of all captions.
    real: Vec<f32>,
    texts: Option<Vec<f32>>,
    /// The real pictures after the autoencoder.
    restored: Vec<Picture>,
}

impl Known {
    fn new(model: &UniDiffuser, pool: &Pool) -> Result<Self, EvaluateError> {
        let n = pool.queries;
        let truth = Truth::new(pool.prompts.len(), &(0..n).collect::<Vec<_>>())?
            .with_groups(&pool.groups)?;
        let images = Picture::to_tensor(&pool.pictures[..n], model.device())?;
        let restored =
            Picture::from_tensor(model.autoencoder.decode(model.autoencoder.encode(images).mean))?;
        let real = embed_pictures(model, &pool.pictures[..n])?;
        Ok(Self { truth, real, texts: embed_texts(model, &pool.prompts)?, restored })
    }

    /// The ceilings.
    fn measure(
        &self,
        model: &UniDiffuser,
        pool: &Pool,
        (split, report): (&str, &mut Report),
    ) -> Result<(), EvaluateError> {
        let (n, dim) = (pool.queries, model.config.uvit.clip_img_dim);
        if let Some(texts) = &self.texts {
            let texts = Features::new("captions", texts, dim)?;
            let real = Features::new("real pictures", &self.real, dim)?;
            let ceiling = RetrievalReport::cosine(&self.truth, real, texts)?;
            report.add(split, &Named("real picture to caption by CLIP (ceiling)", &ceiling))?;
            let restored = embed_pictures(model, &self.restored)?;
            let restored = Features::new("reconstructions", &restored, dim)?;
            let restored = RetrievalReport::cosine(&self.truth, restored, texts)?;
            report.add(split, &Named("reconstructed picture to caption by CLIP", &restored))?;
        }
        let values = 3 * model.image_size() * model.image_size();
        let (decoded, originals) = (pixels(&self.restored), pixels(&pool.pictures[..n]));
        let decoded = Features::new("reconstructions", &decoded, values)?;
        let originals = Features::new("pictures", &originals, values)?;
        report.add(split, &Named("autoencoder", &psnr(decoded, originals)?))?;
        Ok(())
    }
}

/// What a generator made.
struct Made<'a> {
    generator: Generator,
    drawn: &'a [Picture],
    written: &'a [String],
}

impl Made<'_> {
    fn measure(
        &self,
        model: &UniDiffuser,
        pool: &Pool,
        known: &Known,
        (split, report): (&str, &mut Report),
    ) -> Result<(), EvaluateError> {
        let (n, dim) = (pool.queries, model.config.uvit.clip_img_dim);
        let name = |what: &str| format!("{}{what}", self.generator.prefix());
        let made = embed_pictures(model, self.drawn)?;
        let features = Features::new("drawn pictures", &made, dim)?;
        if let Some(texts) = &known.texts {
            let texts = Features::new("captions", texts, dim)?;
            let found = RetrievalReport::cosine(&known.truth, features, texts)?;
            report.add(split, &Named(&name("drawn picture to caption by CLIP"), &found))?;
        }
        let values = 3 * model.image_size() * model.image_size();
        let (drawn, all) = (pixels(self.drawn), pixels(&pool.pictures));
        let drawn = Features::new("drawn pictures", &drawn, values)?;
        let all = Features::new("real pictures", &all, values)?;
        let nearest = RetrievalReport::nearest(&known.truth, drawn, all)?;
        report.add(split, &Named(&name("drawn picture to real picture by pixels"), &nearest))?;
        let real = Features::new("real pictures", &known.real, dim)?;
        let frechet = FrechetReport::from_features("CLIP", real, features)?;
        report.add(split, &Named(&name("drawn pictures"), &frechet))?;
        let captions = captions(self.written, &pool.references[..n])?;
        report.add(split, &Named(&name("captions"), &captions))?;
        Ok(())
    }
}

/// Values in `[0, 1]`, picture after picture.
fn pixels(pictures: &[Picture]) -> Vec<f32> {
    pictures.iter().flat_map(|p| p.to_planes([1.0; 3], [0.0; 3])).collect()
}

/// `[N, E]`
fn embed_pictures(model: &UniDiffuser, pictures: &[Picture]) -> Result<Vec<f32>, EvaluateError> {
    Ok(model.encode_images(pictures)?.clip.into_data().iter::<f32>().collect())
}

/// `[N, E]`, or nothing when the text encoder has no projection into the common space.
fn embed_texts(model: &UniDiffuser, texts: &[String]) -> Result<Option<Vec<f32>>, EvaluateError> {
    let length = model.context_length();
    let mut out = Vec::new();
    for chunk in texts.chunks(256) {
        let ids = model.clip_tokenizer.encode_batch(chunk, length)?.concat();
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let ids = TensorData::new(ids, [chunk.len(), length]);
        let ids = Tensor::<2, Int>::from_data(ids, model.device());
        let hidden = model.text_encoder.forward(ids.clone());
        let pooled = model.text_encoder.pooled(hidden, ids);
        if pooled.dims()[1] != model.config.uvit.clip_img_dim {
            return Ok(None);
        }
        out.extend(pooled.into_data().iter::<f32>());
    }
    Ok(Some(out))
}

/// A measurement with a word on what it was made on.
struct Named<'a, M>(&'a str, &'a M);

impl<M: Measure> Measure for Named<'_, M> {
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.1.rows();
        for row in &mut rows {
            row.metric = format!("{}: {}", self.0, row.metric);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pictures_and_equal_captions_are_one_answer() {
        let pictures = [1, 2, 1, 3].map(|c| Picture::filled(2, 2, [c; 3]));
        let prompts = ["a", "b", "c", "b"].map(String::from);
        assert_eq!(groups(&pictures, &prompts), [0, 1, 0, 1]);
    }
}
