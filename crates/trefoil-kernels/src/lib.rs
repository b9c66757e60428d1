//! CPU kernels of Trefoil: the operations that decide how long a training step takes, each in one
//! pass over memory, vectorised, on all threads, and with its own backward pass.
//!
//! Every function takes Burn tensors and can be used inside any model. Tensors in f32 on the Flex
//! device, with or without gradients, go through the kernels of this crate; every other device and
//! precision goes through the framework's own operations. Results do not depend on the number of
//! threads: every sum has one order, however the work is cut.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use trefoil_kernels::{gelu, layer_norm};
//!
//! let device = Device::flex();
//! let x = Tensor::<2>::from_data([[1.0_f32, 2.0, 3.0]], &device);
//! let normalised = layer_norm(x, Tensor::ones([3], &device), Tensor::zeros([3], &device), 1e-5);
//! let activated = gelu(normalised).into_data().try_into_vec::<f32>().unwrap();
//! assert!((activated[2] - 1.0896).abs() < 1e-3);
//! ```
//!
//! | function | computes |
//! |---|---|
//! | [`linear()`], [`linear_transposed`] | linear layer with bias and activation; weights in 32, 16 or 8 bits |
//! | [`widen`] | 16 or 8 bits to f32 |
//! | [`activate`], [`gelu`], [`gelu_tanh`], [`quick_gelu`], [`silu`] | activations |
//! | [`layer_norm()`], [`add_layer_norm`] | layer normalisation, of a sum too |
//! | [`group_norm()`], [`group_norm_silu`] | group normalisation, with SiLU too |
//! | [`group_norm_scale_shift`] | the same with a scale and a shift per image |
//! | [`conv2d`], [`upsample_conv2d`] | convolution, of a picture of twice the size too |
//! | [`softmax()`] | softmax over the last axis |
//! | [`attention()`], [`packed_attention`] | attention of separate or packed heads |
//! | [`gather_rows`], [`scatter_add_rows`] | look-up in a table, and its transpose |
//! | [`segment_mean`] | mean over the neighbours in a graph |
//! | [`AdamWStep::apply`] | optimiser and weight average on slices |
//! | [`multiply_adds`] | nothing: the processor's peak, to compare with |

mod activation;
mod allocator;
mod attention;
mod attention_flex;
mod attention_rows;
mod autodiff;
mod buffer;
mod convolution;
mod extension;
mod graph;
mod group_norm;
mod indexing;
mod lanes;
mod layer_norm;
mod linear;
mod mapped_file;
mod matrix;
mod narrow;
mod optimizer;
mod pages;
mod roofline;
mod simd;
mod softmax;

pub use activation::{Activation, activate, gelu, gelu_tanh, quick_gelu, silu};
pub use allocator::keep_freed_memory;
pub use attention::{AttentionMask, PackedAttention, attention, packed_attention};
pub use convolution::{ConvolutionKernels, ConvolutionOptions, Padding, conv2d, upsample_conv2d};
pub use extension::{Gradients3, Kernels};
pub use group_norm::{
    AdaptiveNormKernels, GroupNormOptions, NormActivation, group_norm, group_norm_scale_shift,
    group_norm_silu,
};
pub use indexing::{IndexKernels, gather_rows, scatter_add_rows, segment_mean};
pub use layer_norm::{add_layer_norm, layer_norm};
pub use linear::{LinearKernels, linear, linear_transposed};
pub use mapped_file::MappedFile;
pub use narrow::{Blocks, widen};
pub use optimizer::AdamWStep;
pub use pages::Pages;
pub use roofline::multiply_adds;
pub use softmax::softmax;
