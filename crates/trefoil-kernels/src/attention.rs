//! Scaled dot-product attention that keeps the score matrix in the cache.

use burn::backend::Dispatch;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

use crate::extension::{Kernels, has_kernel};

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// All of them.
    Full,
    /// Those at its own position or before.
    Causal,
}

/// The layout of a packed attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedAttention {
    /// Number of heads.
    pub heads: usize,
    /// Which keys a query may look at.
    pub mask: AttentionMask,
}

/// `softmax(q k^T / sqrt(d)) v` per head ([arXiv 1706.03762](https://arxiv.org/abs/1706.03762)).
///
/// Blocks of queries go through scores, softmax and values one after the other, so that the
/// scores of a long sequence never exist at once; the backward pass computes them again from the
/// logarithm of each row's sum ([arXiv 2205.14135](https://arxiv.org/abs/2205.14135)). The output
/// lies in memory as `[b, l, h, d]`: exchanging axes 1 and 2 and merging the heads costs nothing.
///
/// # Shapes
/// - `query`: `[b, h, l_q, d]`
/// - `key`: `[b, h, l_k, d]`
/// - `value`: `[b, h, l_k, d_v]`
/// - output: `[b, h, l_q, d_v]`
///
/// # Panics
/// If the shapes do not agree, or a causal mask is asked for with `l_q != l_k`.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: AttentionMask,
) -> Tensor<4> {
    check_shapes(query.dims(), key.dims(), value.dims(), mask);
    if !(has_kernel(&query) && has_kernel(&key) && has_kernel(&value)) {
        return compose(query, key, value, mask);
    }
    let (output, _) = <Dispatch as Kernels>::fused_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        mask,
    );
    Tensor::from_dispatch(output)
}

/// [`attention`] of queries, keys and values that one linear layer computed, without any of them
/// being copied in either direction.
///
/// # Shapes
/// - `qkv`: `[b, l, 3 h d]`: the queries of all heads, then the keys, then the values
/// - output: `[b, l, h d]`
///
/// # Panics
/// If the last axis is not three times a multiple of the number of heads.
pub fn packed_attention(qkv: Tensor<3>, options: PackedAttention) -> Tensor<3> {
    let [b, l, width] = qkv.dims();
    let PackedAttention { heads, mask } = options;
    assert!(
        heads > 0 && width % (3 * heads) == 0,
        "packed_attention: {width} is not three times a multiple of {heads} heads"
    );
    if has_kernel(&qkv) {
        let (output, _) =
            <Dispatch as Kernels>::fused_packed_attention(qkv.into_dispatch(), options);
        return Tensor::from_dispatch(output);
    }
    let d = width / 3 / heads;
    let parts = qkv.reshape([b, l, 3, heads, d]).permute([2, 0, 3, 1, 4]); // [3, b, h, l, d]
    let [query, key, value] =
        [0, 1, 2].map(|i| parts.clone().narrow(0, i, 1).reshape([b, heads, l, d]));
    compose(query, key, value, mask).swap_dims(1, 2).reshape([b, l, heads * d])
}

/// The same by the framework's operations, for other devices and precisions.
fn compose(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, mask: AttentionMask) -> Tensor<4> {
    let is_causal = mask == AttentionMask::Causal;
    let options = AttentionModuleOptions { is_causal, ..Default::default() };
    module::attention(query, key, value, None, None, options)
}

fn check_shapes(query: [usize; 4], key: [usize; 4], value: [usize; 4], mask: AttentionMask) {
    let causal = mask == AttentionMask::Causal;
    assert!(
        query[..2] == key[..2]
            && query[3] == key[3]
            && key[..3] == value[..3]
            && (!causal || query[2] == key[2]),
        "attention: query {query:?}, key {key:?}, value {value:?}, {mask:?} mask"
    );
}
