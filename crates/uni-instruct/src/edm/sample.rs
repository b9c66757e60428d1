//! Pictures from noise.

use std::convert::Infallible;
use std::ops::ControlFlow;

use burn::tensor::{DType, Device, Tensor, TensorData};
use trefoil_core::{Error as CoreError, Picture, Seed};
use trefoil_diffusion::{
    EdmNoise, EdmPreconditioner, EdmSolverConfig, RowDenoiser, SolveError, Step, from_fn,
};

use super::denoiser::Denoised;
use super::teacher::Teacher;
use super::unet::{Condition, UNet};
use crate::exact::Labels;

/// Why a picture was not drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A class that the network does not have.
    #[error("class {class}: the network has {classes}")]
    Class {
        /// The class.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// Settings of the solver.
    #[error(transparent)]
    Settings(#[from] trefoil_diffusion::Error),
    /// The run itself.
    #[error(transparent)]
    Solve(#[from] SolveError<Infallible>),
    /// A picture that cannot be made from the result.
    #[error(transparent)]
    Picture(#[from] CoreError),
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRequest {
    /// Seed of all pictures.
    pub seed: Seed,
    /// Their numbers: picture `i` of a seed is the same in every batch.
    pub indices: Vec<u64>,
    /// The class of each picture; empty: drawn evenly for networks with classes.
    pub classes: Vec<Option<usize>>,
    /// The solver.
    pub solver: EdmSolverConfig,
    /// Pictures that go through the network together.
    pub batch: usize,
}

impl SampleRequest {
    /// The first `count` pictures of a seed.
    pub fn new(seed: Seed, count: usize) -> Self {
        Self {
            seed,
            indices: (0..count as u64).collect(),
            classes: Vec::new(),
            solver: EdmSolverConfig::default(),
            batch: 64,
        }
    }

    /// Standard normal noise from which picture number `index` is made.
    pub fn latent(&self, index: u64, values: usize) -> Vec<f32> {
        self.seed.stream("latent", index).normals(values)
    }

    /// The class of picture number `place` of the request for a network with `classes` classes.
    pub fn class(&self, place: usize, classes: usize) -> Option<usize> {
        if classes == 0 {
            return None;
        }
        if let Some(class) = self.classes.get(place) {
            return *class;
        }
        let mut stream = self.seed.stream("class", self.indices[place]);
        Some(stream.below(classes as u64) as usize)
    }
}

impl Teacher {
    /// Draws pictures: in many steps, or in one where the network was distilled.
    ///
    /// `progress` is called after each step with the evaluations made and those of the whole request.
    ///
    /// # Errors
    /// [`SampleError`]; [`SolveError::Cancelled`] when `progress` breaks.
    pub fn sample(
        &self,
        request: &SampleRequest,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Picture>, SampleError> {
        let size = &self.config.network;
        let values = self.draw(request, device, progress)?;
        let count = values.len() / (size.channels * size.resolution * size.resolution);
        let shape = [count, size.channels, size.resolution, size.resolution];
        Ok(Picture::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))?)
    }

    /// As [`Teacher::sample`], the values themselves: `[count, channels, H, W]`, row-major. State and solver
    /// are in double precision, the network in single. Picture `i` starts at [`SampleRequest::latent`].
    ///
    /// # Errors
    /// As [`Teacher::sample`].
    pub fn draw(
        &self,
        request: &SampleRequest,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<f32>, SampleError> {
        let sampler = request.solver.build()?;
        let size = &self.config.network;
        let values = size.channels * size.resolution * size.resolution;
        let batch = request.batch.max(1);
        let evaluations = self.config.one_step.map_or(sampler.evaluations(), |_| 1);
        let total = evaluations * request.indices.len().div_ceil(batch);
        let mut drawn = Vec::with_capacity(request.indices.len() * values);
        for (part, indices) in request.indices.chunks(batch).enumerate() {
            let count = indices.len();
            let places = part * batch..part * batch + count;
            let classes: Vec<Option<usize>> =
                places.map(|place| request.class(place, size.label_dim)).collect();
            let label = one_hot(&classes, size.label_dim, device)?;
            let denoise = |x: Tensor<2>, sigma: f64| {
                let x = x.cast(DType::F32);
                self.denoise_flat(x, &vec![sigma; count], label.clone()).cast(DType::F64)
            };
            let rows = |of: &dyn Fn(u64) -> Vec<f32>| {
                let rows: Vec<f64> = indices.iter().flat_map(|&i| of(i)).map(f64::from).collect();
                Tensor::<2>::from_data(TensorData::new(rows, [count, values]), (device, DType::F64))
            };
            let before = part * evaluations;
            let latent = rows(&|i| request.latent(i, values));
            let end = if let Some(level) = self.config.one_step {
                if progress(before + 1, total).is_break() {
                    return Err(SolveError::Cancelled { step: 0 }.into());
                }
                denoise(latent * level, level)
            } else {
                let mut denoiser = from_fn(|x: Tensor<2>, sigma: f64| Ok(denoise(x, sigma)));
                let mut on_step = |step: Step<'_>| progress(before + step.evaluations, total);
                let mut noise = |step: usize, _: [usize; 2]| {
                    rows(&|i| request.seed.stream(&format!("churn-{step}"), i).normals(values))
                };
                sampler.sample_with_noise(
                    &mut EdmNoise(&mut denoiser),
                    latent * sampler.start().sigma,
                    &mut noise,
                    &mut on_step,
                )?
            };
            drawn.extend(end.into_data().iter::<f32>());
        }
        Ok(drawn)
    }

    /// `D(x, sigma)` of flat rows; gradients flow to `x`.
    ///
    /// # Shapes
    /// - `x`, returns: `[B, channels * H * W]`
    /// - `label`: `[B, classes]`
    fn denoise_flat(&self, x: Tensor<2>, sigma: &[f64], label: Option<Tensor<2>>) -> Tensor<2> {
        let condition = Condition { label, augment: None };
        let edm = EdmPreconditioner { sigma_data: self.config.sigma_data };
        denoise_flat(&self.network, x, sigma, condition, edm).0
    }
}

impl RowDenoiser for Teacher {
    type Condition = Labels;
    type Error = SampleError;

    fn denoise_rows(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        condition: Option<&Labels>,
    ) -> Result<Tensor<2>, SampleError> {
        let label = labels_of(condition, sigma.len(), self.config.network.label_dim, &x.device())?;
        Ok(self.denoise_flat(x, sigma, label))
    }
}

/// A network over flat rows: the denoised rows, and the output of its last encoder layer.
///
/// # Shapes
/// - `x`: `[B, channels * H * W]`
/// - returns: the same, and `[B, C, H', W']`
pub(crate) fn denoise_flat(
    network: &UNet,
    x: Tensor<2>,
    sigma: &[f64],
    condition: Condition,
    preconditioner: EdmPreconditioner,
) -> (Tensor<2>, Tensor<4>) {
    let [rows, values] = x.dims();
    let size = network.config();
    let x = x.reshape([rows, size.channels, size.resolution, size.resolution]);
    let Denoised { picture, encoded } = network.denoise(x, sigma, condition, None, preconditioner);
    (picture.reshape([rows, values]), encoded)
}

/// Classes of rows as the network takes them; without a condition no row has a class.
///
/// # Errors
/// As [`one_hot`].
pub(crate) fn labels_of(
    labels: Option<&Labels>,
    rows: usize,
    classes: usize,
    device: &Device,
) -> Result<Option<Tensor<2>>, SampleError> {
    let rows: Vec<Option<usize>> =
        (0..rows).map(|row| labels.and_then(|labels| labels.get(row).copied())).collect();
    one_hot(&rows, classes, device)
}

/// Labels as the network takes them, `[B, classes]`; a picture without a class has zeros.
///
/// # Errors
/// [`SampleError::Class`].
pub fn one_hot(
    labels: &[Option<usize>],
    classes: usize,
    device: &Device,
) -> Result<Option<Tensor<2>>, SampleError> {
    if classes == 0 {
        return Ok(None);
    }
    let mut values = vec![0.0_f32; labels.len() * classes];
    for (row, label) in values.chunks_exact_mut(classes).zip(labels) {
        if let Some(class) = *label {
            *row.get_mut(class).ok_or(SampleError::Class { class, classes })? = 1.0;
        }
    }
    Ok(Some(Tensor::from_data(TensorData::new(values, [labels.len(), classes]), device)))
}
