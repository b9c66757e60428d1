//! One pass over the parameters for AdamW and the moving average of the weights.

use rayon::prelude::*;

use crate::buffer::BLOCK;
use crate::simd::{Isa, Kernel, dispatch};

/// One step of AdamW ([arXiv 1711.05101](https://arxiv.org/abs/1711.05101)), in PyTorch's order
/// of operations, and of an exponential moving average.
///
/// With `g = grad_scale * grad`:
/// ```text
/// p   <- p (1 - lr weight_decay)
/// m   <- m + (1 - beta1) (g - m)
/// v   <- beta2 v + (1 - beta2) g^2
/// p   <- p - lr / bias_correction1 * m / (sqrt(v) / sqrt(bias_correction2) + eps)
/// ema <- ema_decay ema + (1 - ema_decay) p
/// ```
///
/// Coefficients are formed in f64 and rounded once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// `1 - beta1^t` at step `t`, counted from one.
    pub bias_correction1: f64,
    /// `1 - beta2^t`.
    pub bias_correction2: f64,
    /// Factor of the gradient: clipping, accumulation.
    pub grad_scale: f64,
    /// Decay rate of the moving average of the weights, if one is kept.
    pub ema_decay: Option<f64>,
}

impl AdamWStep {
    /// Updates parameters, both moments and the moving average in place.
    ///
    /// The average changes only when both `ema` and [`ema_decay`](Self::ema_decay) are there. The
    /// result does not depend on the number of threads.
    ///
    /// # Panics
    /// If the slices are not equally long.
    pub fn apply(
        &self,
        param: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        ema: Option<&mut [f32]>,
    ) {
        let len = param.len();
        assert!(
            grad.len() == len && m.len() == len && v.len() == len,
            "AdamW: {len} parameters, {} gradients, {} and {} moments",
            grad.len(),
            m.len(),
            v.len()
        );
        let coefficients = Coefficients::new(self);
        let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
        let chunks = param.par_chunks_mut(BLOCK).zip(grad.par_chunks(BLOCK)).zip(moments);
        match (ema, self.ema_decay) {
            (Some(ema), Some(decay)) => {
                assert_eq!(ema.len(), len, "AdamW: length of the average");
                let (keep, take) = (decay as f32, (1.0 - decay) as f32);
                chunks.zip(ema.par_chunks_mut(BLOCK)).for_each(|(((param, grad), (m, v)), ema)| {
                    dispatch(Update { coefficients, param: &mut *param, grad, m, v });
                    dispatch(Average { keep, take, param, ema });
                });
            }
            _ => chunks.for_each(|((param, grad), (m, v))| {
                dispatch(Update { coefficients, param, grad, m, v });
            }),
        }
    }
}

/// The factors of the update, rounded to the precision of the parameters.
#[derive(Clone, Copy)]
struct Coefficients {
    grad_scale: f32,
    decay: f32,
    take1: f32,
    keep2: f32,
    take2: f32,
    step: f32,
    scale2: f32,
    eps: f32,
}

impl Coefficients {
    fn new(step: &AdamWStep) -> Self {
        Self {
            grad_scale: step.grad_scale as f32,
            decay: (1.0 - step.lr * step.weight_decay) as f32,
            take1: (1.0 - step.beta1) as f32,
            keep2: step.beta2 as f32,
            take2: (1.0 - step.beta2) as f32,
            step: (step.lr / step.bias_correction1) as f32,
            scale2: (1.0 / step.bias_correction2.sqrt()) as f32,
            eps: step.eps as f32,
        }
    }
}

struct Update<'a> {
    coefficients: Coefficients,
    param: &'a mut [f32],
    grad: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let c = self.coefficients;
        // One array is written per loop: the compiler can then prove that the loops vectorise.
        for (m, &grad) in self.m.iter_mut().zip(self.grad) {
            *m = I::mul_add(c.take1, grad * c.grad_scale - *m, *m);
        }
        for (v, &grad) in self.v.iter_mut().zip(self.grad) {
            let grad = grad * c.grad_scale;
            *v = I::mul_add(c.take2 * grad, grad, c.keep2 * *v);
        }
        for ((param, &m), &v) in self.param.iter_mut().zip(&*self.m).zip(&*self.v) {
            let denominator = I::mul_add(v.sqrt(), c.scale2, c.eps);
            *param = I::mul_add(*param, c.decay, -(c.step * m / denominator));
        }
    }
}

struct Average<'a> {
    keep: f32,
    take: f32,
    param: &'a [f32],
    ema: &'a mut [f32],
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (ema, &param) in self.ema.iter_mut().zip(self.param) {
            *ema = I::mul_add(self.keep, *ema, self.take * param);
        }
    }
}
