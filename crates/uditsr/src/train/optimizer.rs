//! AdamW (<https://arxiv.org/abs/1711.05101>) that leaves untouched rows of the tables alone, and
//! catches up on them when they are needed.
//!
//! A row without a gradient still decays and still moves along its old momentum. These steps depend
//! on nothing but the row, so they are done when a batch reaches the row again, with the same
//! operations in the same order: the results are those of updating all rows in each step, bit for bit.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::model::{Gradients, Parameters};
use crate::real::{Real, vectorised};
use crate::{Error, Result};

/// Settings of the optimiser. Defaults are those of the published program.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Length of a step.
    pub learning_rate: f64,
    /// Part of a parameter that is taken off in a step, over the learning rate.
    pub weight_decay: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the squares.
    pub epsilon: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-4, weight_decay: 1e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl AdamWConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fields = [
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE..f64::MAX),
            ("weight_decay", self.weight_decay, 0.0..f64::MAX),
            ("beta1", self.beta1, 0.0..1.0),
            ("beta2", self.beta2, 0.0..1.0),
            ("epsilon", self.epsilon, f64::MIN_POSITIVE..f64::MAX),
        ];
        match fields.into_iter().find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((field, value, range)) => {
                let reason = format!("must be in {}..{}, found {value}", range.start, range.end);
                Err(Error::Config { field: field.to_owned(), reason })
            }
        }
    }
}

/// Means of gradients and of their squares, of one tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moments<T> {
    pub(crate) first: Vec<T>,
    pub(crate) second: Vec<T>,
}

/// Numbers of one step that are the same for all parameters.
#[derive(Debug, Clone, Copy)]
struct Rates<T> {
    keep: T,
    beta1: T,
    beta2: T,
    epsilon: T,
    /// `lr / (1 - beta1^t)`.
    length: T,
    /// `1 / sqrt(1 - beta2^t)`.
    root: T,
}

impl<T: Real> Rates<T> {
    fn new(config: AdamWConfig, step: u64) -> Self {
        let AdamWConfig { learning_rate, weight_decay, beta1, beta2, epsilon } = config;
        let left = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            keep: T::of(1.0 - learning_rate * weight_decay),
            beta1: T::of(beta1),
            beta2: T::of(beta2),
            epsilon: T::of(epsilon),
            length: T::of(learning_rate / left(beta1)),
            root: T::of(1.0 / left(beta2).sqrt()),
        }
    }
}

/// The optimiser and its state.
#[derive(Debug, Clone)]
pub struct AdamW<T> {
    config: AdamWConfig,
    step: u64,
    /// One for each tensor of the parameters, in their order: words, users, items, networks.
    pub(crate) moments: Vec<Moments<T>>,
    /// Step up to which each user and each item is up to date.
    current: [Vec<u64>; 2],
    /// Of step 1, 2, ...
    rates: Vec<Rates<T>>,
}

/// Places of the tables of users and items among the tensors.
const TABLES: [usize; 2] = [1, 2];
/// Rows of a table that a thread updates at once.
const ROWS: usize = 256;

impl<T: Real> AdamW<T> {
    /// A fresh optimiser of these parameters.
    pub fn new(config: AdamWConfig, parameters: &Parameters<T>) -> Self {
        let zeros = |n: usize| vec![T::ZERO; n];
        let tensors = parameters.tensors();
        let moments = tensors.iter().map(|tensor| tensor.values.len());
        let moments = moments.map(|n| Moments { first: zeros(n), second: zeros(n) }).collect();
        let current = [vec![0; parameters.sizes.users], vec![0; parameters.sizes.items]];
        Self { config, step: 0, moments, current, rates: Vec::new() }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Continues after `step` steps, with all rows up to date; the moments are set by the caller.
    pub(crate) fn resume(&mut self, step: u64) {
        self.step = step;
        self.current.iter_mut().for_each(|rows| rows.fill(step));
        self.extend_rates();
    }

    fn extend_rates(&mut self) {
        let missing = self.rates.len() as u64 + 1..=self.step;
        self.rates.extend(missing.map(|step| Rates::new(self.config, step)));
    }

    /// Brings the users and items with a slot up to date.
    pub fn catch_up(&mut self, parameters: &mut Parameters<T>, slots: [&[u32]; 2]) {
        let (step, dim) = (self.step, parameters.dim);
        let rates = &self.rates;
        let mut values = parameters.values_mut();
        for ((table, current), slots) in TABLES.into_iter().zip(&mut self.current).zip(slots) {
            let Moments { first, second } = &mut self.moments[table];
            rows(values[table], first, second, dim)
                .zip(current.par_chunks_mut(ROWS))
                .zip(slots.par_chunks(ROWS))
                .for_each(|((mut rows, current), slots)| {
                    let touched = current.iter_mut().zip(slots).enumerate();
                    for (row, (current, _)) in touched.filter(|(_, (_, slot))| **slot != u32::MAX) {
                        let place = row * dim..(row + 1) * dim;
                        let [value, first, second] = &mut rows.0;
                        let row = [
                            &mut value[place.clone()],
                            &mut first[place.clone()],
                            &mut second[place],
                        ];
                        replay(row, &rates[*current as usize..step as usize]);
                        *current = step;
                    }
                });
        }
    }

    /// Brings all rows up to date: the parameters are those of updating all rows in each step.
    pub fn finish(&mut self, parameters: &mut Parameters<T>) {
        let (users, items) = (vec![0; parameters.sizes.users], vec![0; parameters.sizes.items]);
        self.catch_up(parameters, [&users, &items]);
    }

    /// One step. The rows with a gradient must be up to date.
    pub fn step(&mut self, parameters: &mut Parameters<T>, gradients: &Gradients<T>) {
        self.step += 1;
        self.extend_rates();
        let (step, dim, rates) = (self.step, parameters.dim, self.rates[self.step as usize - 1]);
        let mut values = parameters.values_mut();
        let tables = [&gradients.users, &gradients.items];
        for ((table, current), gradients) in TABLES.into_iter().zip(&mut self.current).zip(tables) {
            let Moments { first, second } = &mut self.moments[table];
            rows(values[table], first, second, dim)
                .zip(current.par_chunks_mut(ROWS))
                .zip(gradients.slots.par_chunks(ROWS))
                .for_each(|((mut rows, current), slots)| {
                    let touched = current.iter_mut().zip(slots).enumerate();
                    for (row, (current, &slot)) in
                        touched.filter(|(_, (_, slot))| **slot != u32::MAX)
                    {
                        let place = row * dim..(row + 1) * dim;
                        let slot = slot as usize;
                        let gradient = &gradients.values[slot * dim..(slot + 1) * dim];
                        let [value, first, second] = &mut rows.0;
                        let row = [
                            &mut value[place.clone()],
                            &mut first[place.clone()],
                            &mut second[place],
                        ];
                        update(row, gradient, rates);
                        *current = step;
                    }
                });
        }
        let network = gradients.network.tensors();
        let dense = std::iter::once((0, &gradients.words[..]))
            .chain(network.iter().enumerate().map(|(index, tensor)| (index + 3, tensor.2)));
        for (tensor, gradient) in dense {
            let Moments { first, second } = &mut self.moments[tensor];
            rows(values[tensor], first, second, 16)
                .zip(gradient.par_chunks(ROWS * 16))
                .for_each(|(rows, gradient)| update(rows.0, gradient, rates));
        }
    }
}

/// The optimiser of one tensor, all of whose numbers are updated in each step.
pub(crate) struct Dense {
    moments: Moments<f32>,
    config: AdamWConfig,
    step: u64,
}

impl Dense {
    pub(crate) fn new(config: AdamWConfig, numbers: usize) -> Self {
        let moments = Moments { first: vec![0.0; numbers], second: vec![0.0; numbers] };
        Self { moments, config, step: 0 }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    pub(crate) fn step(&mut self, values: &mut [f32], gradient: &[f32]) {
        self.step += 1;
        let rates = Rates::new(self.config, self.step);
        rows(values, &mut self.moments.first, &mut self.moments.second, 16)
            .zip(gradient.par_chunks(ROWS * 16))
            .for_each(|(rows, gradient)| update(rows.0, gradient, rates));
    }
}

/// Rows of a tensor and of its moments that one thread updates.
struct Rows<'a, T>([&'a mut [T]; 3]);

fn rows<'a, T: Real>(
    value: &'a mut [T],
    first: &'a mut [T],
    second: &'a mut [T],
    dim: usize,
) -> impl IndexedParallelIterator<Item = Rows<'a, T>> {
    let chunk = ROWS * dim;
    let moments = first.par_chunks_mut(chunk).zip(second.par_chunks_mut(chunk));
    value
        .par_chunks_mut(chunk)
        .zip(moments)
        .map(|(value, (first, second))| Rows([value, first, second]))
}

/// One step of some numbers.
fn update<T: Real>([value, first, second]: [&mut [T]; 3], gradient: &[T], rates: Rates<T>) {
    vectorised(
        #[inline(always)]
        || {
            let numbers = value.iter_mut().zip(first).zip(second).zip(gradient);
            for (((value, first), second), &gradient) in numbers {
                *value *= rates.keep;
                *first = rates.beta1 * *first + (T::ONE - rates.beta1) * gradient;
                *second = rates.beta2 * *second + (T::ONE - rates.beta2) * (gradient * gradient);
                *value -= rates.length * (*first / (second.root() * rates.root + rates.epsilon));
            }
        },
    );
}

/// Steps without a gradient. Adding zero to a moment changes nothing, so this is [`update`].
fn replay<T: Real>([value, first, second]: [&mut [T]; 3], rates: &[Rates<T>]) {
    if first.iter().all(|&first| first == T::ZERO) {
        // The momentum of a row that was never reached.
        vectorised(
            #[inline(always)]
            || {
                for rates in rates {
                    crate::real::scale(value, rates.keep);
                    crate::real::scale(second, rates.beta2);
                }
            },
        );
        return;
    }
    vectorised(
        #[inline(always)]
        || {
            for rates in rates {
                let numbers = value.iter_mut().zip(first.iter_mut()).zip(second.iter_mut());
                for ((value, first), second) in numbers {
                    *value *= rates.keep;
                    *first = rates.beta1 * *first;
                    *second = rates.beta2 * *second;
                    *value -=
                        rates.length * (*first / (second.root() * rates.root + rates.epsilon));
                }
            }
        },
    );
}
