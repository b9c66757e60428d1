//! EDM: the networks, the trainer and the sampler of the teachers.
//!
//! Karras et al., *Elucidating the Design Space of Diffusion-Based Generative Models*,
//! <https://arxiv.org/abs/2206.00364>.
//!
//! ```text
//! pictures ─► augment ─► y + sigma n ─► UNet ─► D(x, sigma) ─► loss
//! noise ─► Heun, with churn or without ─► pictures
//! ```

mod augment;
mod block;
mod config;
mod denoiser;
mod dropout;
mod embedding;
mod init;
pub mod keys;
pub mod published;
mod recipe;
mod resample;
mod sample;
mod teacher;
mod train;
mod unet;

pub use augment::{Augmentation, Change, DESCRIPTION};
pub use config::{Conditioning, DecoderAttention, Family, Filter, NoiseEmbedding, UNetConfig};
pub use denoiser::{Denoised, EdmLoss, NoisyBatch};
pub use dropout::Masks;
pub use recipe::{EdmData, EdmPreview, EdmRecipe};
pub use sample::{SampleError, SampleRequest, one_hot};
pub(crate) use sample::{denoise_flat, labels_of};
pub use teacher::{Teacher, TeacherConfig, config_of};
pub use train::{EdmTask, Training};
pub use unet::{Condition, UNet, UNetOutput};
