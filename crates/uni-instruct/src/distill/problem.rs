//! What a problem tells the training loop: its teacher, its networks, its data.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use trefoil_core::Stream;
use trefoil_train::{RunFolder, sampler::Position};

use crate::error::{Error, Result};

/// What a fake network says about a batch.
#[derive(Debug, Clone)]
pub struct FakeView {
    /// `D_p(x, sigma)`, `[B, D]`.
    pub denoised: Tensor<2>,
    /// Logits of the discriminator on the same network's features, one per location, `[B, L]`; at
    /// their optimum `log q_sigma(x) / p_sigma(x)`.
    pub logits: Option<Tensor<2>>,
}

/// A teacher with the networks that are trained beside it. States are flat, `[B, D]`.
///
/// Everything random comes from the streams that are passed. What a problem does not have, it need not
/// implement; a method that asks for it then ends with [`Error::Unsupported`].
pub trait Problem {
    /// The fake score, with the discriminator's head.
    type Fake: Module;
    /// The one-step generator.
    type Student: Module;
    /// What samples are to be: labels, prompts.
    type Condition;

    /// Name for messages.
    fn name(&self) -> String;

    /// Number of coordinates, `D`.
    fn dims(&self) -> usize;

    /// Standard deviation of a coordinate of the data.
    fn sigma_data(&self) -> f64;

    /// Where training happens; a device with gradients.
    fn device(&self) -> &Device;

    /// The fake network before the run: a copy of the teacher where that is a network, else fresh.
    ///
    /// # Errors
    /// When the networks do not fit.
    fn fresh_fake(&self) -> Result<Self::Fake>;

    /// Values that the backward pass of one network keeps for one sample, roughly.
    fn activations(&self) -> usize;

    /// The teacher's denoiser, differentiable through `x`; without a condition the unconditional one.
    ///
    /// # Errors
    /// Those of the network.
    fn teacher(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        condition: Option<&Self::Condition>,
    ) -> Result<Tensor<2>>;

    /// The fake score.
    ///
    /// # Errors
    /// Those of the network.
    fn fake(
        &self,
        fake: &Self::Fake,
        x: Tensor<2>,
        sigma: &[f64],
        condition: Option<&Self::Condition>,
    ) -> Result<FakeView>;

    /// One step from noise to samples.
    ///
    /// # Errors
    /// Those of the network.
    fn generate(
        &self,
        student: &Self::Student,
        noise: Tensor<2>,
        condition: Option<&Self::Condition>,
    ) -> Result<Tensor<2>>;

    /// A student that begins where the fake score is.
    ///
    /// # Errors
    /// When the networks do not fit.
    fn student_from(&self, fake: &Self::Fake) -> Result<Self::Student>;

    /// Whether a parameter of the fake network is trained during distillation.
    fn trains(&self, _name: &str) -> bool {
        true
    }

    /// Draws conditions for a batch; `None` when the problem is unconditional.
    fn conditions(&self, stream: &mut Stream, n: usize) -> Option<Self::Condition>;

    /// Draws data (or samples of the teacher), for the discriminator and for preparation.
    ///
    /// # Errors
    /// Those of the data.
    fn real(
        &self,
        stream: &mut Stream,
        n: usize,
        condition: Option<&Self::Condition>,
    ) -> Result<Tensor<2>>;

    /// Noise and the teacher's own many-step sample from it, for regression.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn pairs(&self, _stream: &mut Stream, _n: usize) -> Result<Pairs<Self::Condition>> {
        Err(self.lacks("pairs of noise and sample"))
    }

    /// Reward of each sample, `[B, 1]`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn reward(&self, _x0: Tensor<2>) -> Result<Tensor<2>> {
        Err(self.lacks("a reward"))
    }

    /// Negative log-likelihood of the observation given each sample, `[B, 1]`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn fidelity(&self, _x0: Tensor<2>) -> Result<Tensor<2>> {
        Err(self.lacks("an observation"))
    }

    /// The sample that each row is edited from, with its condition.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default.
    fn reference(&self, _n: usize) -> Result<(Tensor<2>, Option<Self::Condition>)> {
        Err(self.lacks("a reference"))
    }

    /// Called now and then with the averaged student, without gradients; writes samples and returns
    /// measurements for the log.
    ///
    /// # Errors
    /// Whatever prevents the samples from being drawn or written.
    fn on_sample(
        &self,
        student: &Self::Student,
        run: &RunFolder,
        position: Position,
    ) -> Result<Vec<(String, f64)>>;

    /// Writes a picture of student samples next to what teacher and fake score make of them.
    ///
    /// # Errors
    /// Whatever prevents it from being written.
    fn on_views(&self, _views: &Triptych, _run: &RunFolder, _samples: u64) -> Result<()> {
        Ok(())
    }

    /// Writes the student as something that the rest of the program runs.
    ///
    /// # Errors
    /// Those of writing.
    fn save(&self, student: &Self::Student, folder: &Path) -> Result<()>;

    /// What else must be equal to resume a run.
    fn fingerprint(&self) -> serde_json::Value;

    /// An [`Error::Unsupported`] of this problem.
    fn lacks(&self, needed: &'static str) -> Error {
        Error::Unsupported { needed, problem: self.name() }
    }
}

/// Noise and what the teacher makes of it in many steps.
#[derive(Debug, Clone)]
pub struct Pairs<C> {
    /// Standard normal, `[B, D]`.
    pub noise: Tensor<2>,
    /// The teacher's samples, `[B, D]`.
    pub samples: Tensor<2>,
    /// Conditions of the rows.
    pub condition: Option<C>,
}

/// The same samples as three networks see them; numbers of the host, `[B, D]` each.
#[derive(Debug, Clone, PartialEq)]
pub struct Triptych {
    /// Samples of the student.
    pub student: Vec<f64>,
    /// What the teacher makes of them after noise.
    pub teacher: Vec<f64>,
    /// What the fake score makes of them after the same noise.
    pub fake: Vec<f64>,
}
