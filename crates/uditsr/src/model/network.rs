//! The networks of the model: everything that is not a table of embeddings.

use faer::Accum;

use super::config::{Heads, ModelConfig, TranslationTerm};
use super::parameters::Draw;
use crate::matrix::{multiply_rows, outer, sum_rows, view};
use crate::real::Real;

/// `y = x W^T + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear<T> {
    /// `[outputs, inputs]`.
    pub weight: Vec<T>,
    /// `[outputs]`.
    pub bias: Vec<T>,
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
}

impl<T: Real> Linear<T> {
    pub(crate) fn zeros(inputs: usize, outputs: usize) -> Self {
        let (weight, bias) = (vec![T::ZERO; inputs * outputs], vec![T::ZERO; outputs]);
        Self { weight, bias, inputs, outputs }
    }

    /// Uniform within `1 / sqrt(inputs)`, weight and bias, as PyTorch does.
    fn init(&mut self, draw: &mut Draw) {
        let bound = 1.0 / (self.inputs as f64).sqrt();
        draw.uniform(&mut self.weight, bound);
        draw.uniform(&mut self.bias, bound);
    }

    /// `[n, inputs]` to `[n, outputs]`.
    pub(crate) fn forward(&self, x: &[T]) -> Vec<T> {
        let mut y = self.bias.repeat(x.len() / self.inputs);
        multiply_rows(
            &mut y,
            Accum::Add,
            x,
            self.inputs,
            view(&self.weight, self.inputs).transpose(),
        );
        y
    }

    /// Adds the gradients of weight and bias to `gradients` and returns that of `x`.
    pub(crate) fn backward(&self, x: &[T], dy: &[T], gradients: &mut Self) -> Vec<T> {
        outer(&mut gradients.weight, (dy, self.outputs), (x, self.inputs));
        sum_rows(&mut gradients.bias, dy);
        let mut dx = vec![T::ZERO; x.len()];
        multiply_rows(&mut dx, Accum::Replace, dy, self.outputs, view(&self.weight, self.inputs));
        dx
    }
}

/// Three layers, and the weight of the translation in the score if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadNetwork<T> {
    /// `3d -> 3d/2 -> 3d/4 -> 1`.
    pub layers: [Linear<T>; 3],
    /// One number, or none.
    pub translation: Vec<T>,
}

/// All networks.
#[derive(Debug, Clone, PartialEq)]
pub struct Network<T> {
    /// The user's side of the attention on item words (`linear_K`).
    pub key: Linear<T>,
    /// The words' side (`item_query_attn.linear`). Its bias shifts all logits of an item alike, so
    /// its gradient is zero.
    pub attention: Linear<T>,
    /// The generator (`demand_mlp.0`, `.3`, `.6`).
    pub demand: [Linear<T>; 3],
    /// Head of search.
    pub search: HeadNetwork<T>,
    /// Head of recommendation.
    pub recommend: HeadNetwork<T>,
}

impl<T: Real> Network<T> {
    pub(crate) fn zeros(config: &ModelConfig) -> Self {
        let d = config.dim;
        let head = || {
            let (a, b) = (3 * d / 2, 3 * d / 4);
            let absent = config.translation_term == TranslationTerm::Absent;
            HeadNetwork {
                layers: [Linear::zeros(3 * d, a), Linear::zeros(a, b), Linear::zeros(b, 1)],
                translation: vec![T::ZERO; usize::from(!absent)],
            }
        };
        Self {
            key: Linear::zeros((1 + config.user_words) * d, d),
            attention: Linear::zeros(d, d),
            demand: [
                Linear::zeros(4 * d, 2 * d),
                Linear::zeros(2 * d, 2 * d),
                Linear::zeros(2 * d, d),
            ],
            search: head(),
            recommend: head(),
        }
    }

    pub(crate) fn init(&mut self, config: &ModelConfig, draw: &mut Draw) {
        self.key.init(draw);
        self.attention.init(draw);
        self.demand.iter_mut().for_each(|layer| layer.init(draw));
        for head in [&mut self.search, &mut self.recommend] {
            head.layers.iter_mut().for_each(|layer| layer.init(draw));
            head.translation.fill(T::ONE);
            if config.heads == Heads::Absent {
                // A head that ends in zeros adds nothing, and without gradients it stays so.
                head.layers[2] = Linear::zeros(head.layers[2].inputs, 1);
            }
        }
    }

    /// Names (those of the published weights), shapes and numbers of all tensors.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>, &[T])> {
        let [d0, d3, d6] = &self.demand;
        let mut layers = vec![
            ("linear_K".to_owned(), &self.key),
            ("item_query_attn.linear".to_owned(), &self.attention),
            ("demand_mlp.0".to_owned(), d0),
            ("demand_mlp.3".to_owned(), d3),
            ("demand_mlp.6".to_owned(), d6),
        ];
        let heads = [("search", &self.search), ("recommend", &self.recommend)];
        for (name, head) in heads {
            for (index, layer) in head.layers.iter().enumerate() {
                layers.push((format!("{name}_score_predictor.{}", 2 * index), layer));
            }
        }
        let mut all: Vec<(String, Vec<usize>, &[T])> = Vec::new();
        for (name, layer) in layers {
            let shape = vec![layer.outputs, layer.inputs];
            all.push((format!("{name}.weight"), shape, &layer.weight));
            all.push((format!("{name}.bias"), vec![layer.outputs], &layer.bias));
        }
        for (name, head) in heads {
            if !head.translation.is_empty() {
                let name = format!("{name}_score_predictor.translation");
                all.push((name, vec![1], &head.translation));
            }
        }
        all
    }

    /// The numbers of [`Self::tensors`], in its order.
    pub(crate) fn values_mut(&mut self) -> Vec<&mut [T]> {
        let Self { key, attention, demand, search, recommend } = self;
        let mut all: Vec<&mut [T]> = Vec::new();
        let heads = search.layers.iter_mut().chain(&mut recommend.layers);
        for layer in [key, attention].into_iter().chain(demand).chain(heads) {
            all.push(&mut layer.weight);
            all.push(&mut layer.bias);
        }
        for translation in [&mut search.translation, &mut recommend.translation] {
            if !translation.is_empty() {
                all.push(translation);
            }
        }
        all
    }

    /// Sets all numbers to zero.
    pub(crate) fn clear(&mut self) {
        self.values_mut().into_iter().for_each(|values| values.fill(T::ZERO));
    }
}
