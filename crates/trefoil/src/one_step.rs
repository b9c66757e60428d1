//! UniDiffuser as a distillation problem: what joins the two systems, each of which knows nothing of the other.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;
use trefoil_core::nn::Init;
use trefoil_core::weights::Precision;
use trefoil_core::{Picture, Seed, Stream, fs};
use trefoil_diffusion::RowDenoiser as _;
use trefoil_train::data::OnProblem;
use trefoil_train::{RunFolder, sampler::Position};
use uni_instruct::distill::{FakeView, Problem, Triptych};
use uni_instruct::joint::JointConfig;
use uni_instruct::{Error, Result};
use unidiffuser::evaluate::{EvaluateOptions, Generator, evaluate};
use unidiffuser::mode::Mode;
use unidiffuser::model::UniDiffuser;
use unidiffuser::one_step::{
    JointCritic, JointData, JointDenoiser, JointRows, OneStep, OneStepConfig, Parts,
};
use unidiffuser::pipeline::Request;
use unidiffuser::train::{DataRecipe, Pairs};
use unidiffuser::uvit::UVit;

/// Pictures of a grid.
const SHOWN: usize = 36;
/// Rows of a triptych.
const ROWS: usize = 8;
/// Samples that go through the network together while measuring.
const BATCH: usize = 32;

/// A UniDiffuser, its data, and the networks that are trained beside it.
pub(crate) struct JointProblem {
    config: JointConfig,
    /// On the plain device; its one-step generator is the student while that is measured.
    model: RefCell<UniDiffuser>,
    /// Noise predictor without gradients in its weights.
    teacher: UVit,
    /// The same, ready to be trained.
    start: UVit,
    parts: Parts,
    data: Option<JointData>,
    /// Of the changes of the fake network, where that is not trained itself.
    rank: Option<usize>,
    seed: Seed,
    device: Device,
}

impl JointProblem {
    /// Opens the model in `folder` and encodes the data; without a file for the codes, only the networks are
    /// there, which is enough to know what a run needs.
    pub(crate) fn open(
        config: &JointConfig,
        folder: &Path,
        (rank, seed, device): (Option<usize>, Seed, &Device),
        cache: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let model = UniDiffuser::load(folder, device)?;
        let parts = Parts::of(&model.config.uvit);
        let data = match cache {
            None => None,
            Some(cache) => {
                let recipe = DataRecipe {
                    resolution: model.image_size() as u32,
                    split: config.split.clone(),
                    ..DataRecipe::default()
                };
                let (pairs, _) = Pairs::load(&config.data, &recipe, OnProblem::Skip)?;
                let shares = (config.tasks.all(), config.first_caption);
                Some(JointData::new(&model, pairs, shares, cache)?)
            }
        };
        let start = model.uvit.clone().train();
        Ok(Self {
            config: config.clone(),
            teacher: start.clone().no_grad(),
            start,
            model: RefCell::new(model),
            parts,
            data,
            rank,
            seed,
            device: device.clone().autodiff(),
        })
    }

    fn generator(&self, student: &UVit) -> OneStep {
        let tasks = JointData::tasks(self.config.tasks.all());
        let config = OneStepConfig { level: self.config.start_level, tasks };
        OneStep { network: student.valid(), config }
    }

    fn data(&self) -> Result<&JointData> {
        self.data.as_ref().ok_or_else(|| self.lacks("data"))
    }

    fn expect<'a>(&self, rows: Option<&'a JointRows>) -> Result<&'a JointRows> {
        rows.ok_or_else(|| self.lacks("an unconditional prediction"))
    }

    /// The pictures in the states of some rows, `[B, D]`.
    fn decode(&self, values: &[f64]) -> Result<Vec<Picture>> {
        let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        let shape = [values.len() / self.parts.dims(), self.parts.dims()];
        let model = self.model.borrow();
        let states = Tensor::from_data(TensorData::new(values, shape), model.device());
        Ok(model.decode_image(self.parts.split(states).z)?)
    }
}

impl Problem for JointProblem {
    type Fake = JointCritic;
    type Student = UVit;
    type Condition = JointRows;

    fn name(&self) -> String {
        "UniDiffuser".into()
    }

    fn dims(&self) -> usize {
        self.parts.dims()
    }

    /// Latents, embeddings and codes are scaled to one in training.
    fn sigma_data(&self) -> f64 {
        1.0
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh_fake(&self) -> Result<JointCritic> {
        let mut init = Init::random(self.seed, &self.device);
        let sizes = &self.model.borrow().config.uvit;
        Ok(JointCritic::new(self.start.clone(), sizes, self.rank, &mut init))
    }

    fn trains(&self, name: &str) -> bool {
        JointCritic::trains(name, self.rank)
    }

    /// About sixteen values per token, channel and block.
    fn activations(&self) -> usize {
        let model = self.model.borrow();
        let sizes = &model.config.uvit;
        16 * sizes.num_tokens() * sizes.embed_dim * (sizes.num_layers + 1)
    }

    fn teacher(&self, x: Tensor<2>, sigma: &[f64], rows: Option<&JointRows>) -> Result<Tensor<2>> {
        let rows = self.expect(rows)?;
        let model = self.model.borrow();
        let guided = JointDenoiser {
            guidance: self.config.guidance,
            ..JointDenoiser::new(&self.teacher, &model.schedule, self.parts)
        };
        Ok(guided.denoise_rows(x, sigma, Some(&rows.rows))?)
    }

    fn fake(
        &self,
        fake: &JointCritic,
        x: Tensor<2>,
        sigma: &[f64],
        rows: Option<&JointRows>,
    ) -> Result<FakeView> {
        let rows = self.expect(rows)?;
        let model = self.model.borrow();
        let about = (&model.schedule, self.parts);
        let (denoised, logits) = fake.forward(about, x, sigma, &rows.rows);
        Ok(FakeView { denoised, logits })
    }

    fn generate(
        &self,
        student: &UVit,
        noise: Tensor<2>,
        rows: Option<&JointRows>,
    ) -> Result<Tensor<2>> {
        let rows = self.expect(rows)?;
        let model = self.model.borrow();
        let network = JointDenoiser::new(student, &model.schedule, self.parts);
        let (level, count) = (self.config.start_level, rows.rows.tasks.len());
        Ok(network.denoise(noise * level, &vec![level; count], &rows.rows))
    }

    fn student_from(&self, fake: &JointCritic) -> Result<UVit> {
        Ok(fake.network.clone())
    }

    fn conditions(&self, stream: &mut Stream, n: usize) -> Option<JointRows> {
        Some(self.data.as_ref()?.draw(stream, n, &self.device))
    }

    fn real(&self, _: &mut Stream, _: usize, rows: Option<&JointRows>) -> Result<Tensor<2>> {
        Ok(self.expect(rows)?.real.clone())
    }

    fn on_sample(
        &self,
        student: &UVit,
        run: &RunFolder,
        position: Position,
    ) -> Result<Vec<(String, f64)>> {
        let data = self.data()?;
        let mut model = self.model.borrow_mut();
        model.one_step = Some(self.generator(student));
        let model = &*model;
        let pairs = &data.pairs;
        let tasks = JointData::tasks(self.config.tasks.all());
        let drawn = |mode: Mode| mode.tasks().iter().all(|task| tasks.contains(task));
        let request =
            |mode| Request { seed: Seed(0), batch: BATCH, one_step: true, ..Request::new(mode) };
        let mut go_on = |_: usize| ControlFlow::Continue(());
        if drawn(Mode::TextToImage) {
            let stride = pairs.len().div_ceil(SHOWN);
            let chosen = (0..pairs.len()).step_by(stride);
            let prompts: Vec<String> = chosen.map(|i| pairs.captions()[i][0].clone()).collect();
            let pictures = model
                .draw_each(&prompts, &request(Mode::TextToImage), &mut go_on)
                .map_err(Error::network)?;
            if let Some(grid) = Picture::grid(&pictures, SHOWN.isqrt()) {
                run.log_picture(position.samples, "pictures", &grid)?;
            }
        }
        if drawn(Mode::Joint) {
            let request = Request { count: SHOWN, ..request(Mode::Joint) };
            let pairs = model
                .generate(&request, &mut |_| ControlFlow::Continue(()))
                .map_err(Error::network)?;
            let pictures: Vec<Picture> = pairs.iter().filter_map(|g| g.image.clone()).collect();
            if let Some(grid) = Picture::grid(&pictures, SHOWN.isqrt()) {
                run.log_picture(position.samples, "joint", &grid)?;
            }
            let path = run.samples_dir().join(format!("joint-{:09}.txt", position.samples));
            fs::write_atomic(&path, |out| {
                pairs.iter().filter_map(|g| g.text.as_ref()).try_for_each(|t| writeln!(out, "{t}"))
            })?;
        }
        if self.config.measured == 0 || !drawn(Mode::TextToImage) || !drawn(Mode::ImageToText) {
            return Ok(Vec::new());
        }
        let options = EvaluateOptions {
            count: self.config.measured,
            generators: vec![Generator::OneStep],
            ..EvaluateOptions::default()
        };
        let splits = [("train", pairs)];
        let mut progress = |_: usize, _: usize| ControlFlow::Continue(());
        let found = evaluate(model, &splits, &options, &mut progress).map_err(Error::network)?;
        let prefix = Generator::OneStep.prefix();
        let rows = found.report.rows.into_iter();
        let own =
            rows.filter_map(|row| Some((row.metric.strip_prefix(prefix)?.to_string(), row.value)));
        Ok(own.collect())
    }

    fn on_views(&self, views: &Triptych, run: &RunFolder, samples: u64) -> Result<()> {
        let rows = views.student.len().min(ROWS * self.parts.dims());
        let [student, teacher, fake] = [&views.student, &views.teacher, &views.fake]
            .map(|values| self.decode(&values[..rows]));
        let cells: Vec<Picture> = student?
            .into_iter()
            .zip(teacher?)
            .zip(fake?)
            .flat_map(|((student, teacher), fake)| [student, teacher, fake])
            .collect();
        if let Some(grid) = Picture::grid(&cells, 3) {
            run.log_picture(samples, "student-teacher-fake", &grid)?;
        }
        Ok(())
    }

    /// In half precision, as the model that it belongs to.
    fn save(&self, student: &UVit, folder: &Path) -> Result<()> {
        let sizes = &self.model.borrow().config.uvit;
        Ok(self.generator(student).save(sizes, folder, Precision::F16)?)
    }

    fn fingerprint(&self) -> serde_json::Value {
        json!({
            "config": self.config,
            "network": self.model.borrow().config.uvit,
            "pictures": self.data.as_ref().map(|data| data.pairs.len()),
        })
    }
}
