//! Pictures from noise.

use std::convert::Infallible;
use std::ops::ControlFlow;

use burn::tensor::{DType, Device, Tensor, TensorData};
use trefoil_core::{Error as CoreError, Picture, Seed};
use trefoil_diffusion::{EdmNoise, EdmSolverConfig, SolveError, Step, from_fn};

use super::teacher::Teacher;
use super::unet::Condition;

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

    /// The class of picture number `place` of the request for a network with `classes` classes.
    fn class(&self, place: usize, classes: usize) -> Option<usize> {
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
    /// Draws pictures. State and solver are in double precision, the network in single.
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
        let sampler = request.solver.build()?;
        let size = &self.config.network;
        let shape = [size.channels, size.resolution, size.resolution];
        let values: usize = shape.iter().product();
        let batch = request.batch.max(1);
        let total = sampler.evaluations() * request.indices.len().div_ceil(batch);
        let mut pictures = Vec::with_capacity(request.indices.len());
        for (part, indices) in request.indices.chunks(batch).enumerate() {
            let places = part * batch..part * batch + indices.len();
            let classes: Vec<Option<usize>> =
                places.map(|place| request.class(place, size.label_dim)).collect();
            let label = one_hot(&classes, size.label_dim, device)?;
            let condition = Condition { label, augment: None };
            let mut denoiser = from_fn(|x: Tensor<2>, sigma: f64| {
                let x = x.cast(DType::F32).reshape([indices.len(), shape[0], shape[1], shape[2]]);
                let sigma = vec![sigma; indices.len()];
                let preconditioner =
                    trefoil_diffusion::EdmPreconditioner { sigma_data: self.config.sigma_data };
                let denoised =
                    self.network.denoise(x, &sigma, condition.clone(), None, preconditioner);
                Ok(denoised.picture.reshape([indices.len(), values]).cast(DType::F64))
            });
            let normals = |name: &str| {
                let rows =
                    indices.iter().flat_map(|&i| request.seed.stream(name, i).normals(values));
                let rows: Vec<f64> = rows.map(f64::from).collect();
                let data = TensorData::new(rows, [indices.len(), values]);
                Tensor::<2>::from_data(data, (device, DType::F64))
            };
            let before = part * sampler.evaluations();
            let mut on_step = |step: Step<'_>| progress(before + step.evaluations, total);
            let start = normals("latent") * sampler.start().sigma;
            let mut noise = |step: usize, _: [usize; 2]| normals(&format!("churn-{step}"));
            let end = sampler.sample_with_noise(
                &mut EdmNoise(&mut denoiser),
                start,
                &mut noise,
                &mut on_step,
            )?;
            let images =
                end.cast(DType::F32).reshape([indices.len(), shape[0], shape[1], shape[2]]);
            pictures.extend(Picture::from_tensor(images)?);
        }
        Ok(pictures)
    }
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
