//! Scaled dot-product attention, and the reshapes around it.

use burn::tensor::Tensor;

pub use trefoil_kernels::{AttentionMask, PackedAttention, attention, packed_attention};

/// `[B, L, H d]` to `[B, H, L, d]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, l, width] = x.dims();
    x.reshape([b, l, heads, width / heads]).swap_dims(1, 2) // [B, H, L, d]
}

/// `[B, H, L, d]` to `[B, L, H d]`.
pub fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [b, h, l, d] = x.dims();
    x.swap_dims(1, 2).reshape([b, l, h * d]) // [B, L, H d]
}
