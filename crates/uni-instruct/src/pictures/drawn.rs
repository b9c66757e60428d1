//! The teacher's own samples: with the noise that they came from for regression, without for the discriminator.

use std::ops::ControlFlow;

use burn::tensor::Device;
use trefoil_core::{Seed, Stream};
use trefoil_diffusion::EdmSolverConfig;

use super::config::TeacherSamples;
use crate::edm::{SampleRequest, Teacher};
use crate::error::{Error, Result};

/// Samples on the host, row-major.
#[derive(Debug)]
pub(super) struct Drawn {
    /// Values of a sample, `D`.
    values: usize,
    /// Standard normal, `[N, D]`.
    pub(super) noise: Vec<f32>,
    /// `[N, D]`
    pub(super) samples: Vec<f32>,
    /// Class of each; empty for a teacher without classes.
    pub(super) labels: Vec<usize>,
}

impl Drawn {
    /// Draws them.
    ///
    /// # Errors
    /// Those of the sampler.
    pub(super) fn new(
        teacher: &Teacher,
        size: TeacherSamples,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let mut request = SampleRequest::new(seed, size.count);
        request.solver = EdmSolverConfig { steps: size.steps, ..EdmSolverConfig::default() };
        let network = &teacher.config.network;
        let values = network.channels * network.resolution * network.resolution;
        let samples = teacher
            .draw(&request, device, &mut |_, _| ControlFlow::Continue(()))
            .map_err(Error::network)?;
        let noise = request.indices.iter().flat_map(|&i| request.latent(i, values)).collect();
        let labels = (0..size.count).filter_map(|i| request.class(i, network.label_dim)).collect();
        Ok(Self { values, noise, samples, labels })
    }

    /// Random rows; of a class where one is asked for, any when the teacher drew none of it.
    pub(super) fn rows(
        &self,
        stream: &mut Stream,
        n: usize,
        labels: Option<&[usize]>,
    ) -> Vec<usize> {
        let any = self.samples.len() / self.values;
        let pick = |row: usize| {
            let class = labels.and_then(|labels| labels.get(row));
            let of = |class: &usize| -> Vec<usize> {
                (0..self.labels.len()).filter(|&i| self.labels[i] == *class).collect()
            };
            let of = class.map(of).filter(|of| !of.is_empty());
            let place = stream.below(of.as_ref().map_or(any, Vec::len) as u64) as usize;
            of.map_or(place, |of| of[place])
        };
        (0..n).map(pick).collect()
    }

    /// Rows of `from`, joined.
    pub(super) fn gather(&self, from: &[f32], rows: &[usize]) -> Vec<f32> {
        let d = self.values;
        rows.iter().flat_map(|&row| from[row * d..(row + 1) * d].iter().copied()).collect()
    }
}
