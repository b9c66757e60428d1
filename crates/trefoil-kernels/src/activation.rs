//! Element-wise activations: one loop, instantiated per function.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};
use std::marker::PhantomData;

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation as framework};
use burn_flex::FlexTensor;

use crate::buffer::{BLOCK, contiguous, map_chunks};
use crate::extension::{Kernels, has_kernel};
use crate::simd::{Isa, Kernel, dispatch, exp, sigmoid};

/// An element-wise activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution function ([arXiv 1606.08415](https://arxiv.org/abs/1606.08415)).
    Gelu,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, from the same paper.
    GeluTanh,
    /// `x sigmoid(1.702 x)`, from the same paper; the one of CLIP.
    QuickGelu,
    /// `x sigmoid(x)`.
    Silu,
}

/// Exact GELU, `x Phi(x)`; within 3e-7 of the exact value.
///
/// # Shapes
/// Any, and the output has the same.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::Gelu)
}

/// GELU by its tanh approximation, `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
///
/// # Shapes
/// Any, and the output has the same.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::GeluTanh)
}

/// GELU by its sigmoid approximation, `x sigmoid(1.702 x)`.
///
/// # Shapes
/// Any, and the output has the same.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::QuickGelu)
}

/// SiLU, `x sigmoid(x)`.
///
/// # Shapes
/// Any, and the output has the same.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::Silu)
}

/// Any of the activations.
///
/// # Shapes
/// Any, and the output has the same.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    if has_kernel(&x) {
        let x = x.into_dispatch();
        return Tensor::from_dispatch(<Dispatch as Kernels>::fused_activation(x, activation));
    }
    match activation {
        Activation::Gelu => framework::gelu(x),
        Activation::GeluTanh => framework::gelu_approximate(x),
        Activation::QuickGelu => x.clone() * framework::sigmoid(x * 1.702),
        Activation::Silu => framework::silu(x),
    }
}

/// An activation as code that a loop can take in.
pub(crate) trait Function: Send + Sync {
    /// Whether `f(x) = x`, so that a pass over memory can be left out.
    const IDENTITY: bool = false;

    /// `f(x)`.
    fn value<I: Isa>(x: f32) -> f32;
    /// `f'(x)`.
    fn derivative<I: Isa>(x: f32) -> f32;
}

/// `f(x) = x`.
pub(crate) struct Identity;

impl Function for Identity {
    const IDENTITY: bool = true;

    #[inline(always)]
    fn value<I: Isa>(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn derivative<I: Isa>(_: f32) -> f32 {
        1.0
    }
}

pub(crate) struct Gelu;

/// `Phi(-a)` and `exp(-a^2 / 2)` for `a >= 0`.
///
/// `Phi(-a) = exp(-a^2/2) q(t)` with `t = 1 / (1 + 0.27 a)`; `q` is a polynomial of degree six
/// without constant term, fitted so that the largest `a |error|` is least (2e-8). The tail, and
/// not `Phi` itself, is what keeps all digits for negative arguments.
#[inline(always)]
fn normal_tail<I: Isa>(a: f32) -> (f32, f32) {
    let e = exp::<I>(-0.5 * a * a);
    let t = 1.0 / I::mul_add(0.27, a, 1.0);
    let mut q = I::mul_add(-0.118_433_59, t, 0.497_228_23);
    q = I::mul_add(q, t, -0.402_385_8);
    q = I::mul_add(q, t, 0.382_543_8);
    q = I::mul_add(q, t, 0.022_897_42);
    q = I::mul_add(q, t, 0.118_149_98);
    (e * (q * t), e)
}

impl Function for Gelu {
    #[inline(always)]
    fn value<I: Isa>(x: f32) -> f32 {
        let a = x.abs();
        let (tail, _) = normal_tail::<I>(a);
        let positive = if x < 0.0 { 0.0 } else { x };
        // Where `a` is infinite, the tail is zero and their product must be so too.
        let a = if a > 30.0 { 30.0 } else { a };
        I::mul_add(-a, tail, positive)
    }

    #[inline(always)]
    fn derivative<I: Isa>(x: f32) -> f32 {
        const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
        let (tail, e) = normal_tail::<I>(x.abs());
        let cdf = if x < 0.0 { tail } else { 1.0 - tail };
        I::mul_add(x * e, FRAC_1_SQRT_TAU, cdf)
    }
}

/// `x sigmoid(z(x))`, whose derivative is `s + x s (1 - s) z'(x)`.
macro_rules! gated {
    ($name:ident, |$x:ident, $isa:ident| $argument:expr, $slope:expr) => {
        pub(crate) struct $name;

        impl Function for $name {
            #[inline(always)]
            fn value<$isa: Isa>($x: f32) -> f32 {
                $x * sigmoid::<$isa>($argument)
            }

            #[inline(always)]
            fn derivative<$isa: Isa>($x: f32) -> f32 {
                let s = sigmoid::<$isa>($argument);
                $isa::mul_add($x * s * (1.0 - s), $slope, s)
            }
        }
    };
}

/// `2 sqrt(2/pi)`: `(1 + tanh(u)) / 2` is `sigmoid(2 u)`.
const TANH_SLOPE: f32 = FRAC_2_SQRT_PI * SQRT_2;

gated!(Silu, |x, I| x, 1.0);
gated!(QuickGelu, |x, I| 1.702 * x, 1.702);
gated!(
    GeluTanh,
    |x, I| TANH_SLOPE * x * I::mul_add(0.044_715, x * x, 1.0),
    TANH_SLOPE * I::mul_add(3.0 * 0.044_715, x * x, 1.0)
);

struct Forward<'a, F>(&'a mut [f32], PhantomData<F>);

impl<F: Function> Kernel for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for x in self.0 {
            *x = F::value::<I>(*x);
        }
    }
}

struct Backward<'a, F>(&'a [f32], &'a mut [f32], PhantomData<F>);

impl<F: Function> Kernel for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (grad, &x) in self.1.iter_mut().zip(self.0) {
            *grad *= F::derivative::<I>(x);
        }
    }
}

/// Evaluates an expression with the code of an activation as the type of the given name.
macro_rules! with_function {
    ($activation:expr, $function:ident => $body:expr) => {
        match $activation {
            $crate::activation::Activation::Gelu => {
                type $function = $crate::activation::Gelu;
                $body
            }
            $crate::activation::Activation::GeluTanh => {
                type $function = $crate::activation::GeluTanh;
                $body
            }
            $crate::activation::Activation::QuickGelu => {
                type $function = $crate::activation::QuickGelu;
                $body
            }
            $crate::activation::Activation::Silu => {
                type $function = $crate::activation::Silu;
                $body
            }
        }
    };
}

pub(crate) use with_function;

pub(crate) fn forward(x: FlexTensor, activation: Activation) -> FlexTensor {
    with_function!(activation, F => forward_with::<F>(x))
}

pub(crate) fn backward(x: FlexTensor, grad: FlexTensor, activation: Activation) -> FlexTensor {
    with_function!(activation, F => backward_with::<F>(x, grad))
}

fn forward_with<F: Function>(x: FlexTensor) -> FlexTensor {
    map_chunks(x, BLOCK, |_, x| dispatch(Forward::<F>(x, PhantomData))).0
}

fn backward_with<F: Function>(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let x: &[f32] = x.storage();
    let step = |i: usize, grad: &mut [f32]| {
        let x = &x[i * BLOCK..][..grad.len()];
        dispatch(Backward::<F>(x, grad, PhantomData));
    };
    map_chunks(grad, BLOCK, step).0
}
