//! One evaluation of the guided joint network.
//!
//! ```text
//! eps = eps_marginal + w (eps_conditional - eps_marginal)
//! ```
//!
//! All passes of an evaluation travel through the network as one batch.

use burn::tensor::Tensor;

use super::Sampling;
use crate::mode::{Content, Pass, Task};
use crate::model::ImageCode;
use crate::pipeline::NoiseSource;
use crate::uvit::{Levels, Modalities};

impl Sampling<'_> {
    /// The passes of one evaluation: the conditional one first.
    fn passes(&self, task: Task) -> Vec<Pass> {
        let (conditional, marginal) = task.passes();
        let mut passes = vec![conditional];
        if self.guidance.is_active() {
            passes.extend(marginal.iter().map(|&pass| match pass.text {
                Content::Noise
                    if conditional.text == Content::Clean && self.empty_text.is_some() =>
                {
                    Pass { text: Content::Empty, ..pass }
                }
                _ => pass,
            }));
        }
        passes
    }

    /// The guided noise in `x` at level `n`.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    /// - returns: `[B, D]`
    pub(super) fn predict(
        &self,
        task: Task,
        (x, n): (Tensor<2>, f64),
        condition: &Modalities,
        noise: &mut dyn NoiseSource,
    ) -> Tensor<2> {
        let batch = x.dims()[0];
        let shapes = self.shapes(task, batch);
        let highest = self.model.schedule.discrete().num_train_timesteps() as f64;
        let level = |content| match content {
            Content::Noisy => n as f32,
            Content::Clean | Content::Empty => 0.0,
            Content::Noise => highest as f32,
        };
        let device = x.device();
        let state = shapes.split(x);
        let passes = self.passes(task);
        let fresh = !self.procedure.keeps_noise(task);
        let rows = passes.len() * batch;
        let (mut z, mut clip, mut text) = (Vec::new(), Vec::new(), Vec::new());
        let mut levels =
            Levels { image: Vec::new(), text: Vec::new(), data_type: vec![self.data_type; rows] };
        for pass in &passes {
            let image = match (pass.image, &state.image) {
                (Content::Noisy, Some(image)) => image.clone(),
                (Content::Noise, _) if fresh => {
                    let z = shapes.draw_latent(noise, &device);
                    ImageCode { z, clip: shapes.draw_clip(noise, &device) }
                }
                _ => ImageCode { z: condition.z.clone(), clip: condition.clip.clone() },
            };
            z.push(image.z);
            clip.push(image.clip);
            text.push(match (pass.text, &state.text, &self.empty_text) {
                (Content::Noisy, Some(text), _) => text.clone(),
                (Content::Noise, ..) if fresh => shapes.draw_text(noise, &device),
                (Content::Empty, _, Some(empty)) => empty.clone().repeat_dim(0, batch),
                _ => condition.text.clone(),
            });
            levels.image.extend(vec![level(pass.image); batch]);
            levels.text.extend(vec![level(pass.text); batch]);
        }
        let input = Modalities {
            z: Tensor::cat(z, 0),
            clip: Tensor::cat(clip, 0),
            text: Tensor::cat(text, 0),
        };
        let noise = self.model.uvit.forward(input, &levels); // [passes B, ..]
        shapes.join(self.guide(&passes, noise, batch))
    }

    /// Combines the passes: each modality is compared with the marginal pass that predicts it.
    ///
    /// # Shapes
    /// - `noise`: `[passes B, ..]`
    /// - returns: `[B, ..]`; what is not generated is the first pass's
    fn guide(&self, passes: &[Pass], noise: Modalities, batch: usize) -> Modalities {
        let marginal = |part: fn(&Pass) -> Content| {
            let found = passes.iter().skip(1).position(|pass| part(pass) == Content::Noisy);
            found.map(|position| (position + 1) * batch)
        };
        let image = marginal(|pass| pass.image);
        Modalities {
            z: self.combine(noise.z, image, batch),
            clip: self.combine(noise.clip, image, batch),
            text: self.combine(noise.text, marginal(|pass| pass.text), batch),
        }
    }

    /// The first `batch` rows, guided away from those that start at `marginal`.
    fn combine<const D: usize>(
        &self,
        rows: Tensor<D>,
        marginal: Option<usize>,
        batch: usize,
    ) -> Tensor<D> {
        let conditional = rows.clone().narrow(0, 0, batch);
        match marginal {
            Some(start) => self.guidance.combine(conditional, rows.narrow(0, start, batch)),
            None => conditional,
        }
    }
}
