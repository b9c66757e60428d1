//! Attention of separate and packed heads.

use burn::tensor::module::attention_fallback;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Device, Tensor};
use trefoil_kernels::{AttentionMask, PackedAttention, attention, packed_attention};

use crate::support::{assert_close, compare, normal, values};

const MASKS: [AttentionMask; 2] = [AttentionMask::Full, AttentionMask::Causal];

fn reference(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: AttentionMask) -> Tensor<4> {
    let is_causal = mask == AttentionMask::Causal;
    let options = AttentionModuleOptions { is_causal, ..Default::default() };
    attention_fallback(q, k, v, None, None, options)
}

#[test]
fn attention_matches_the_framework() {
    // Batch, heads, queries, keys, width, value width; the last two take several blocks.
    let cases = [
        [1, 1, 1, 1, 1, 1],
        [2, 3, 7, 7, 5, 4],
        [2, 3, 7, 12, 5, 5],
        [2, 4, 82, 82, 16, 16],
        [1, 2, 700, 700, 8, 8],
        [1, 1, 300, 4200, 4, 6],
    ];
    for [b, h, l, keys, d, value_width] in cases {
        let inputs = [
            normal([b * h * l * d], 1),
            normal([b * h * keys * d], 2),
            normal([b * h * keys * value_width], 3),
        ];
        let split = |x: &[Tensor<1>]| {
            (
                x[0].clone().reshape([b, h, l, d]),
                x[1].clone().reshape([b, h, keys, d]),
                x[2].clone().reshape([b, h, keys, value_width]),
            )
        };
        for mask in MASKS {
            if mask == AttentionMask::Causal && l != keys {
                continue;
            }
            compare(
                &format!("attention {l} x {keys} {mask:?}"),
                &inputs,
                |x| {
                    let (q, k, v) = split(x);
                    attention(q, k, v, mask)
                },
                |x| {
                    let (q, k, v) = split(x);
                    reference(q, k, v, mask)
                },
                3e-6,
            );
        }
    }
}

fn unpack(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let [b, l, width] = qkv.dims();
    let (model, d) = (width / 3, width / 3 / heads);
    [0, 1, 2].map(|i| {
        let part = qkv.clone().narrow(2, i * model, model);
        part.reshape([b, l, heads, d]).swap_dims(1, 2)
    })
}

#[test]
fn packed_attention_matches_the_framework() {
    for [b, l, heads, d] in [[1, 1, 1, 1], [3, 5, 2, 4], [2, 82, 4, 16], [1, 600, 2, 8]] {
        for mask in MASKS {
            let inputs = [normal([b * l * 3 * heads * d], 4)];
            compare(
                &format!("packed_attention {b} {l} {heads} {d} {mask:?}"),
                &inputs,
                |x| {
                    let qkv = x[0].clone().reshape([b, l, 3 * heads * d]);
                    packed_attention(qkv, PackedAttention { heads, mask })
                },
                |x| {
                    let qkv = x[0].clone().reshape([b, l, 3 * heads * d]);
                    let [q, k, v] = unpack(qkv, heads);
                    reference(q, k, v, mask).swap_dims(1, 2).reshape([b, l, heads * d])
                },
                3e-6,
            );
        }
    }
}

#[test]
fn views_and_other_precisions() {
    let qkv = normal([2, 9, 24], 1);
    let [q, k, v] = unpack(qkv.clone(), 2);
    let expected = attention(q.clone(), k.clone(), v.clone(), AttentionMask::Full);
    let merged = values(expected.clone().swap_dims(1, 2).reshape([2, 9, 8]));
    let options = PackedAttention { heads: 2, mask: AttentionMask::Full };
    assert_eq!(values(packed_attention(qkv.clone(), options)), merged);

    let copy = |x: Tensor<4>| Tensor::<4>::from_data(x.into_data(), &Device::flex());
    let copied = attention(copy(q.clone()), copy(k.clone()), copy(v.clone()), AttentionMask::Full);
    assert_close("copies", &values(copied), &values(expected.clone()), 1e-6);
    let turned = |x: Tensor<4>| copy(x.swap_dims(2, 3)).swap_dims(2, 3);
    let strided = attention(turned(q), turned(k), turned(v), AttentionMask::Full);
    assert_close("strided", &values(strided), &values(expected), 1e-6);

    let y = packed_attention(qkv.cast(DType::F64), options);
    assert_eq!(y.dtype(), DType::F64);
    assert_close("double", &values(y.cast(DType::F32)), &merged, 2e-6);
}

#[test]
#[should_panic(expected = "attention: query")]
fn shapes_are_checked() {
    let x = normal([1, 1, 4, 2], 1);
    let _ = attention(x.clone().narrow(2, 0, 3), x.clone(), x, AttentionMask::Causal);
}
