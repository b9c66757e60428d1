//! A head: the score of a user, an item and a demand intent.

use super::config::{FinalActivation, Heads, ModelConfig, TranslationTerm};
use super::network::HeadNetwork;
use crate::real::{Real, dot};

/// Slope of the rectifiers below zero.
pub(crate) const SLOPE: f64 = 0.01;

/// What the backward pass of a head needs: the outputs of its three layers.
pub(crate) struct HeadTape<T> {
    outputs: [Vec<T>; 3],
    /// Value of the translation term before its weight.
    translation: Vec<T>,
}

pub(crate) fn leaky<T: Real>(values: &mut [T]) {
    let slope = T::of(SLOPE);
    for value in values {
        *value = if *value >= T::ZERO { *value } else { slope * *value };
    }
}

/// Multiplies by the derivative of the rectifier. The sign of its output is that of its input.
fn leaky_backward<T: Real>(gradient: &mut [T], output: &[T]) {
    let slope = T::of(SLOPE);
    for (gradient, &output) in gradient.iter_mut().zip(output) {
        *gradient = if output >= T::ZERO { *gradient } else { slope * *gradient };
    }
}

/// The translation term of one row before its weight.
pub(crate) fn translation<T: Real>(term: TranslationTerm, u: &[T], i: &[T], q: &[T]) -> T {
    match term {
        TranslationTerm::Absent => T::ZERO,
        TranslationTerm::Dot => dot(u, i) + dot(q, i),
        TranslationTerm::Distance => {
            let squares = u.iter().zip(q).zip(i).map(|((&u, &q), &i)| {
                let rest = u + q - i;
                rest * rest
            });
            -squares.sum::<T>()
        }
    }
}

impl<T: Real> HeadNetwork<T> {
    /// Scores of rows `[u; i; q]`, `[n, 3d]`.
    pub(crate) fn forward(&self, config: &ModelConfig, x: &[T]) -> (Vec<T>, HeadTape<T>) {
        let d = config.dim;
        let outputs = match config.heads {
            Heads::Absent => [Vec::new(), Vec::new(), vec![T::ZERO; x.len() / (3 * d)]],
            Heads::Separate | Heads::Shared => self.layers_forward(config, x),
        };
        let mut scores = outputs[2].clone();
        let mut terms = Vec::new();
        if let Some(&weight) = self.translation.first() {
            for (score, x) in scores.iter_mut().zip(x.chunks_exact(3 * d)) {
                let (u, i, q) = (&x[..d], &x[d..2 * d], &x[2 * d..]);
                let term = translation(config.translation_term, u, i, q);
                *score += weight * term;
                terms.push(term);
            }
        }
        (scores, HeadTape { outputs, translation: terms })
    }

    fn layers_forward(&self, config: &ModelConfig, x: &[T]) -> [Vec<T>; 3] {
        let mut a = self.layers[0].forward(x);
        leaky(&mut a);
        let mut b = self.layers[1].forward(&a);
        leaky(&mut b);
        let mut c = self.layers[2].forward(&b);
        if config.final_activation == FinalActivation::LeakyRelu {
            leaky(&mut c);
        }
        [a, b, c]
    }

    fn layers_backward(
        &self,
        config: &ModelConfig,
        (x, [a, b, c]): (&[T], &[Vec<T>; 3]),
        dy: &[T],
        gradients: &mut Self,
    ) -> Vec<T> {
        let [layer_a, layer_b, layer_c] = &self.layers;
        let [grad_a, grad_b, grad_c] = &mut gradients.layers;
        let mut dc = dy.to_vec();
        if config.final_activation == FinalActivation::LeakyRelu {
            leaky_backward(&mut dc, c);
        }
        let mut db = layer_c.backward(b, &dc, grad_c);
        leaky_backward(&mut db, b);
        let mut da = layer_b.backward(a, &db, grad_b);
        leaky_backward(&mut da, a);
        layer_a.backward(x, &da, grad_a)
    }

    /// Adds the gradients of the head and returns that of `x`.
    pub(crate) fn backward(
        &self,
        config: &ModelConfig,
        (x, tape): (&[T], &HeadTape<T>),
        dy: &[T],
        gradients: &mut Self,
    ) -> Vec<T> {
        let d = config.dim;
        let mut dx = match config.heads {
            Heads::Absent => vec![T::ZERO; x.len()],
            Heads::Separate | Heads::Shared => {
                self.layers_backward(config, (x, &tape.outputs), dy, gradients)
            }
        };
        if let Some(&weight) = self.translation.first() {
            for (row, dx) in dx.chunks_exact_mut(3 * d).enumerate() {
                let x = &x[row * 3 * d..(row + 1) * 3 * d];
                gradients.translation[0] += dy[row] * tape.translation[row];
                let by = dy[row] * weight;
                for k in 0..d {
                    let (u, i, q) = (x[k], x[d + k], x[2 * d + k]);
                    let (to_user, to_item) = match config.translation_term {
                        TranslationTerm::Absent => (T::ZERO, T::ZERO),
                        TranslationTerm::Dot => (by * i, by * (u + q)),
                        TranslationTerm::Distance => {
                            let rest = T::of(2.0) * by * (u + q - i);
                            (-rest, rest)
                        }
                    };
                    dx[k] += to_user;
                    dx[d + k] += to_item;
                    dx[2 * d + k] += to_user;
                }
            }
        }
        dx
    }
}
