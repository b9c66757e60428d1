//! Training everything from captioned pictures, in four stages:
//!
//! | stage | learns | loss | paper |
//! |---|---|---|---|
//! | [`autoencoder`] | picture to latent and back | reconstruction + KL | arXiv 2112.10752 |
//! | [`clip`] | picture and text embeddings, and the tokenizers | contrastive | arXiv 2103.00020 |
//! | [`caption`] | text code and the decoder that reads it | next token | arXiv 2303.06555, appendix E |
//! | [`joint`] | the noise of everything at two levels | noise prediction | arXiv 2303.06555, algorithm 1 |
//!
//! Each stage reads the components of the earlier ones, writes its own in the layout of a model folder
//! and can be stopped and resumed at any sample.

pub mod autoencoder;
pub mod caption;
pub mod clip;
mod data;
mod deepen;
mod features;
pub mod joint;
mod preview;
mod recipe;
mod stages;

pub use caption::HiddenStates;
pub use data::Pairs;
pub use deepen::deepen;
pub use features::{Features, Frozen};
pub use recipe::{
    AutoencoderRecipe, CaptionRecipe, ClipRecipe, DataRecipe, JointRecipe, LevelShares,
    PreviewRecipe, Recipe, Weighting,
};
pub use stages::{Stage, Workshop};
