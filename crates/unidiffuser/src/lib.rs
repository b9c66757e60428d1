//! UniDiffuser: one transformer that fits every distribution of pictures and text.
//!
//! Bao et al., *One Transformer Fits All Distributions in Multi-Modal Diffusion at Scale*, ICML 2023,
//! <https://arxiv.org/abs/2303.06555>. A picture is a pair of an autoencoder latent `z` and a CLIP
//! embedding `c`; a text is a code `y`. One network predicts the noise of all three at two independent
//! noise levels, and the choice of the levels chooses the distribution (see [`mode`]).
//!
//! ```text
//! prompt ─► tokenizer ─► clip::text ─► caption (encode) ─► y ┐
//!                                                             ├─► uvit + solver ─► y ─► caption (decode) ─► words
//! picture ─► preprocess ─► autoencoder, clip::vision ─► z, c ┘                  └► z ─► autoencoder ─► picture
//! ```

pub mod autoencoder;
pub mod caption;
pub mod clip;
pub mod evaluate;
pub mod features;
pub mod folder;
pub mod keys;
pub mod mode;
pub mod model;
pub mod one_step;
pub mod pipeline;
pub mod preprocess;
pub mod tokenizer;
pub mod train;
pub mod uvit;
pub mod verify;
