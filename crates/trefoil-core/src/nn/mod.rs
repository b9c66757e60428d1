//! Layers shared by the systems. Weights have PyTorch's orientation and names, so that the path of a
//! parameter is its checkpoint key; the arithmetic is `trefoil-kernels` where a kernel exists.

mod activation;
mod adapters;
mod attention;
mod conv;
mod init;
mod linear;
mod norm;

pub use activation::Activation;
pub use adapters::Adapters;
pub use attention::{
    AttentionMask, PackedAttention, attention, merge_heads, packed_attention, split_heads,
};
pub use conv::{Conv2d, Conv2dOptions, Padding};
pub use init::Init;
pub use linear::{Bias, Embedding, Linear, WeightInit};
pub use norm::{GroupNorm, LayerNorm};
pub use trefoil_kernels::{linear, linear_transposed, softmax, widen};
