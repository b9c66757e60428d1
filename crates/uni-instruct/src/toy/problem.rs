//! A mixture of Gaussians as a distillation problem: exact teacher, small learned networks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::json;
use trefoil_core::nn::Init;
use trefoil_core::weights::{self, Precision};
use trefoil_core::{Error as CoreError, Picture, Seed, Stream, params};
use trefoil_diffusion::karras_sigmas;
use trefoil_train::{RunFolder, sampler::Position};

use super::config::{Generator, Observation, Points, Reward, ToyConfig};
use super::measure::Fit;
use super::network::{Network, Shape as NetworkShape};
use super::plot::Panel;
use super::student::{Affine, ToyStudent};
use crate::distill::{FakeView, Pairs, Problem, Triptych};
use crate::error::Result;
use crate::exact::{ExactDenoiser, Labels};
use crate::method::StudentKind;
use crate::mixture::Mixture;
use crate::symmetric;
use crate::tensors;

/// Pairs of noise and sample that are made once for regression.
const PAIRS: usize = 4096;
/// Samples of a measurement.
pub const MEASURED: usize = 2000;

/// A mixture of Gaussians as a distillation problem.
#[derive(Debug)]
pub struct ToyProblem {
    name: String,
    mixture: Mixture,
    config: ToyConfig,
    rank: usize,
    kind: StudentKind,
    seed: Seed,
    teacher: ExactDenoiser,
    device: Device,
    pairs: OnceLock<[Vec<f64>; 2]>,
}

impl ToyProblem {
    /// The problem of a recipe.
    ///
    /// # Errors
    /// Those of the mixture and of [`Self::new`].
    pub fn open(config: ToyConfig, (kind, rank): (StudentKind, usize), seed: Seed) -> Result<Self> {
        let (name, mixture) = (config.mixture.name(), config.mixture.mixture()?);
        Self::new(&name, mixture, config, (kind, rank), seed)
    }

    /// Joins a mixture and what else is known; the mixture that the configuration names is not read.
    ///
    /// # Errors
    /// [`CoreError::Config`] naming the field that does not fit the mixture.
    pub fn new(
        name: &str,
        mixture: Mixture,
        config: ToyConfig,
        (kind, rank): (StudentKind, usize),
        seed: Seed,
    ) -> Result<Self> {
        config.check(&mixture)?;
        let device = Device::flex().autodiff();
        let teacher = ExactDenoiser::new(&mixture, &device, DType::F32);
        let name = name.to_string();
        let pairs = OnceLock::new();
        Ok(Self { name, mixture, config, rank, kind, seed, teacher, device, pairs })
    }

    /// The mixture.
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    fn shape(&self, rank: usize) -> NetworkShape {
        let classes = if self.config.conditional { self.mixture.classes() } else { 0 };
        NetworkShape {
            dims: self.mixture.dims(),
            classes,
            sigma_data: self.mixture.deviation(),
            rank,
        }
    }

    /// Draws from the mixture.
    fn draw(&self, stream: &mut Stream, labels: &[Option<usize>]) -> Tensor<2> {
        let values = self.mixture.sample(stream, labels);
        let shape = [labels.len(), self.mixture.dims()];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    /// Where points start.
    fn start(&self) -> Tensor<2> {
        let mut stream = self.seed.stream("points", 0);
        let Points { count, from, .. } = self.config.points();
        if let Some(label) = from {
            return self.draw(&mut stream, &vec![Some(label); count]);
        }
        let shape = [count, self.mixture.dims()];
        stream.normal_tensor(shape, &self.device) * self.sigma_data()
    }

    /// The teacher's sample from noise of level `80 sd`: Heun's method with 18 steps.
    ///
    /// # Errors
    /// Those of the noise levels.
    pub fn teacher_samples(&self, latent: Tensor<2>) -> Result<Tensor<2>> {
        const STEPS: usize = 18;
        let sd = self.sigma_data();
        let mut levels = karras_sigmas(STEPS, 0.002 * sd, 80.0 * sd, 7.0)
            .map_err(|e| CoreError::config("teacher", e.to_string()))?;
        levels.truncate(STEPS);
        levels.push(0.0);
        let n = latent.dims()[0];
        let mut x = latent * levels[0];
        for pair in levels.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let slope = |x: &Tensor<2>, s: f64| {
                let denoised = self.teacher.evaluate(x.clone(), &vec![s; n], None).denoised;
                (x.clone() - denoised) / s
            };
            let first = slope(&x, from);
            let mut next = x.clone() + first.clone() * (to - from);
            if to > 0.0 {
                next = x + (first + slope(&next, to)) * (0.5 * (to - from));
            }
            x = next;
        }
        Ok(x)
    }

    /// Samples of a student, `[MEASURED, D]`, and as many of the mixture.
    ///
    /// # Errors
    /// Those of the network.
    pub fn samples(&self, student: &ToyStudent) -> Result<[Vec<f64>; 2]> {
        let n = MEASURED;
        let mut stream = self.seed.stream("measure", 0);
        let condition = self.conditions(&mut stream, n);
        let noise = stream.normal_tensor([n, self.dims()], &self.device);
        let samples = tensors::values(self.generate(student, noise, condition.as_ref())?);
        let labels = vec![self.config.points().to.filter(|_| self.kind == StudentKind::Points); n];
        let real = self.mixture.sample(&mut self.seed.stream("measure", 1), &labels);
        Ok([samples, real.into_iter().map(f64::from).collect()])
    }

    /// How well a student fits.
    ///
    /// # Errors
    /// Those of the network.
    pub fn fit(&self, student: &ToyStudent) -> Result<Fit> {
        let [samples, real] = self.samples(student)?;
        Ok(Fit::measure(&self.mixture, &samples, &real))
    }

    /// A panel that shows the whole mixture.
    pub fn panel(&self, side: u32) -> Panel {
        Panel { side, reach: 2.5 * self.sigma_data() }
    }
}

impl Problem for ToyProblem {
    type Fake = Network;
    type Student = ToyStudent;
    type Condition = Labels;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn dims(&self) -> usize {
        self.mixture.dims()
    }

    fn sigma_data(&self) -> f64 {
        self.mixture.deviation()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh_fake(&self) -> Result<Network> {
        let shape = self.shape(self.rank);
        let init = &mut Init::random(self.seed, &self.device);
        Ok(Network::new(self.config.network, shape, init))
    }

    fn activations(&self) -> usize {
        4 * self.config.network.width * self.config.network.depth
    }

    fn teacher(&self, x: Tensor<2>, sigma: &[f64], labels: Option<&Labels>) -> Result<Tensor<2>> {
        Ok(self.teacher.evaluate(x, sigma, labels).denoised)
    }

    fn fake(
        &self,
        fake: &Network,
        x: Tensor<2>,
        sigma: &[f64],
        labels: Option<&Labels>,
    ) -> Result<FakeView> {
        Ok(fake.forward(self.shape(self.rank), x, sigma, labels))
    }

    fn generate(
        &self,
        student: &ToyStudent,
        noise: Tensor<2>,
        labels: Option<&Labels>,
    ) -> Result<Tensor<2>> {
        let [n, d] = noise.dims();
        if let Some(points) = &student.points {
            let points = points.val();
            let count = points.dims()[0];
            let copies = n.div_ceil(count);
            let all = points.unsqueeze_dim::<3>(0).repeat(&[copies, 1, 1]);
            return Ok(all.reshape([copies * count, d]).narrow(0, 0, n));
        }
        if let Some(Affine { mean, map }) = &student.gaussian {
            return Ok(noise.matmul(map.val()) + mean.val());
        }
        let network = student.network.as_ref().ok_or_else(|| self.lacks("a network"))?;
        let sigma = self.config.start_level * self.sigma_data();
        let shape = self.shape(0);
        Ok(network.forward(shape, noise * sigma, &vec![sigma; n], labels).denoised)
    }

    fn student_from(&self, fake: &Network) -> Result<ToyStudent> {
        if self.kind == StudentKind::Points {
            return Ok(ToyStudent::points(self.start()));
        }
        if self.config.generator == Generator::Gaussian {
            let d = self.dims();
            let mean = Param::from_tensor(Tensor::zeros([1, d], &self.device));
            let map = symmetric::diagonal(&vec![1.0; d]);
            let map = TensorData::new(map, [d, d]).convert::<f32>();
            let map = Param::from_tensor(Tensor::from_data(map, &self.device));
            return Ok(ToyStudent::gaussian(Affine { mean, map }));
        }
        // The student has no adapters of its own.
        let fresh =
            Network::new(self.config.network, self.shape(0), &mut Init::zeros(&self.device));
        let mut values = params::export(fake);
        let network = params::import(fresh, &mut |name, _| {
            let place = values.iter().position(|(n, _)| n == name);
            let place =
                place.ok_or_else(|| CoreError::config(name, "is not in the fake network"))?;
            Ok(values.swap_remove(place).1)
        })?;
        Ok(ToyStudent::network(network))
    }

    fn trains(&self, name: &str) -> bool {
        let adapter = [".down", ".up"].iter().any(|end| name.ends_with(end));
        self.rank == 0 || adapter || name.starts_with("head")
    }

    fn conditions(&self, stream: &mut Stream, n: usize) -> Option<Labels> {
        if self.kind == StudentKind::Points {
            return self.config.points().to.map(|label| vec![label; n]);
        }
        if !self.config.conditional {
            return None;
        }
        let shares = self.mixture.class_shares();
        let pick = |u: f32| {
            let mut left = f64::from(u);
            let found = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            found.unwrap_or(shares.len() - 1)
        };
        Some(stream.uniforms(n).into_iter().map(pick).collect())
    }

    fn real(&self, stream: &mut Stream, n: usize, labels: Option<&Labels>) -> Result<Tensor<2>> {
        let labels = match labels {
            Some(labels) => labels.iter().map(|label| Some(*label)).collect(),
            None => vec![None; n],
        };
        Ok(self.draw(stream, &labels))
    }

    fn pairs(&self, stream: &mut Stream, n: usize) -> Result<Pairs<Labels>> {
        let d = self.dims();
        let [latents, samples] = if let Some(pairs) = self.pairs.get() {
            pairs
        } else {
            let latent = self.seed.stream("pairs", 0).normal_tensor([PAIRS, d], &self.device);
            let made = tensors::values(self.teacher_samples(latent.clone())?);
            self.pairs.get_or_init(|| [tensors::values(latent), made])
        };
        let rows: Vec<usize> = (0..n).map(|_| stream.below(PAIRS as u64) as usize).collect();
        let gather = |from: &[f64]| {
            let values: Vec<f64> =
                rows.iter().flat_map(|row| from[row * d..(row + 1) * d].iter().copied()).collect();
            Tensor::from_data(TensorData::new(values, [n, d]), (&self.device, DType::F32))
        };
        Ok(Pairs { noise: gather(latents), samples: gather(samples), condition: None })
    }

    fn reward(&self, x0: Tensor<2>) -> Result<Tensor<2>> {
        let Some(Reward { direction }) = &self.config.reward else {
            return Err(self.lacks("a reward (`problem.reward`)"));
        };
        Ok(x0.clone().matmul(tensors::column(direction, &x0)))
    }

    fn fidelity(&self, x0: Tensor<2>) -> Result<Tensor<2>> {
        let Some(Observation { matrix, value, deviation }) = &self.config.observation else {
            return Err(self.lacks("an observation (`problem.observation`)"));
        };
        let rows = tensors::matrix(&matrix.concat(), self.dims(), &x0);
        let value = tensors::matrix(value, value.len(), &x0);
        let error = x0.matmul(rows.transpose()) - value;
        Ok(error.powi_scalar(2).sum_dim(1) / (2.0 * deviation * deviation))
    }

    fn reference(&self, n: usize) -> Result<(Tensor<2>, Option<Labels>)> {
        let Some(from) = self.config.points().from else {
            return Err(self.lacks("a reference (`problem.points.from`)"));
        };
        let student = ToyStudent::points(self.start());
        let noise = Tensor::zeros([n, self.dims()], &self.device);
        let points = self.generate(&student, noise, None)?.detach();
        Ok((points, Some(vec![from; n])))
    }

    fn on_sample(
        &self,
        student: &ToyStudent,
        run: &RunFolder,
        position: Position,
    ) -> Result<Vec<(String, f64)>> {
        let [samples, real] = self.samples(student)?;
        let picture = self.panel(256).draw(&real, &samples, self.dims())?;
        run.log_picture(position.samples, "samples", &picture)?;
        let fit = Fit::measure(&self.mixture, &samples, &real);
        Ok(vec![
            ("energy_distance".into(), fit.energy_distance),
            ("modes".into(), fit.modes as f64),
            ("on_mode".into(), fit.on_mode),
        ])
    }

    fn on_views(&self, views: &Triptych, run: &RunFolder, samples: u64) -> Result<()> {
        let real = self.mixture.sample(&mut self.seed.stream("measure", 1), &vec![None; MEASURED]);
        let real: Vec<f64> = real.into_iter().map(f64::from).collect();
        let panels = [&views.student, &views.teacher, &views.fake]
            .map(|front| self.panel(192).draw(&real, front, self.dims()));
        let panels = panels.into_iter().collect::<trefoil_core::Result<Vec<_>>>()?;
        if let Some(grid) = Picture::grid(&panels, 3) {
            run.log_picture(samples, "student-teacher-fake", &grid)?;
        }
        Ok(())
    }

    fn save(&self, student: &ToyStudent, folder: &Path) -> Result<()> {
        let path = folder.join("student.safetensors");
        Ok(weights::save(&path, &params::export(student), Precision::F32, BTreeMap::new())?)
    }

    fn fingerprint(&self) -> serde_json::Value {
        // The mixture itself: a file of the same name may have another.
        json!({ "problem": self.name, "config": self.config, "mixture": self.mixture.checksum() })
    }
}
