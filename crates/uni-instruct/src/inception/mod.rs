//! Inception-v3 of 2015-12-05, the network behind published FID, Inception Score, precision and recall.
//!
//! Szegedy et al., <https://arxiv.org/abs/1512.00567>, as its authors' graph has it: average pools do not count
//! the border, the last block pools by maximum, and pictures are brought to 299x299 by the old bilinear rule of
//! TensorFlow. Weights are not part of Trefoil; they come from a safetensors file of the user.
//!
//! # Keys
//! The names of the port that most projects use: for each layer of [`layers`] `NAME.conv.weight`
//! `[out, in, h, w]` and `NAME.bn.weight`, `.bias`, `.running_mean`, `.running_var` `[out]`, and for the
//! classifier `fc.weight` `[1008, 2048]` and `fc.bias` `[1008]`. `NAME.bn.num_batches_tracked` is ignored.

mod plan;
mod resize;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData, activation};
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Result};
use trefoil_eval::{Embedding, FeatureNetwork, NetworkError, Pictures};
use trefoil_kernels::{ConvolutionOptions, Padding, conv2d};

pub use plan::{Layer, layers};
pub use resize::legacy_bilinear;

/// Side of the network's input.
pub const SIDE: usize = 299;
/// Values of the pool features.
pub const FEATURES: usize = 2048;
/// Classes, of which 1000 are those of `ImageNet`.
pub const CLASSES: usize = 1008;

/// Term that keeps the variance of a normalisation from zero.
const EPSILON: f32 = 1e-3;

/// The network, with the normalisations folded into the convolutions.
#[derive(Debug)]
pub struct Inception {
    layers: BTreeMap<&'static str, Convolution>,
    classifier: Tensor<2>,
    name: String,
    device: Device,
}

/// A convolution, its shift, and how it moves.
#[derive(Debug)]
struct Convolution {
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvolutionOptions,
}

impl Inception {
    /// Loads a safetensors file with the documented keys.
    ///
    /// # Errors
    /// Missing, unexpected and misshapen tensors by name.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let names = file.names()?;
        let mut tensors = BTreeMap::new();
        for name in names.into_iter().filter(|name| !name.ends_with("num_batches_tracked")) {
            let data = file.get(&name)?;
            tensors.insert(name, data);
        }
        Self::from_tensors(path, tensors, device)
    }

    /// As [`Self::load`], from tensors that were read before; `path` is for messages and the name.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_tensors(
        path: &Path,
        mut tensors: BTreeMap<String, TensorData>,
        device: &Device,
    ) -> Result<Self> {
        let mut missing = Vec::new();
        let mut take = |name: String, expected: &[usize]| -> Result<Vec<f32>> {
            let Some(data) = tensors.remove(&name) else {
                missing.push(name);
                return Ok(vec![0.0; expected.iter().product()]);
            };
            let found = data.shape().to_vec();
            if found != expected {
                let (path, expected) = (path.into(), expected.to_vec());
                return Err(Error::TensorShape { path, name, expected, found });
            }
            Ok(data.iter::<f32>().collect())
        };
        let mut convolutions = BTreeMap::new();
        for layer in layers() {
            let shape = [layer.channels[1], layer.channels[0], layer.kernel[0], layer.kernel[1]];
            let outputs = [layer.channels[1]];
            let mut weight = take(format!("{}.conv.weight", layer.name), &shape)?;
            let mut norm = |part: &str| take(format!("{}.bn.{part}", layer.name), &outputs);
            let (gain, shift) = (norm("weight")?, norm("bias")?);
            let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
            let mut bias = Vec::with_capacity(outputs[0]);
            for (i, row) in weight.chunks_exact_mut(shape[1..].iter().product()).enumerate() {
                let scale = gain[i] / (variance[i] + EPSILON).sqrt();
                for weight in row {
                    *weight *= scale;
                }
                bias.push(shift[i] - mean[i] * scale);
            }
            let [vertical, horizontal] = layer.padding;
            let padding =
                Padding { top: vertical, bottom: vertical, left: horizontal, right: horizontal };
            let convolution = Convolution {
                weight: Tensor::from_data(TensorData::new(weight, shape), device),
                bias: Tensor::from_data(TensorData::new(bias, outputs), device),
                options: ConvolutionOptions::with_padding(layer.stride, padding),
            };
            convolutions.insert(layer.name, convolution);
        }
        let classifier = take("fc.weight".into(), &[CLASSES, FEATURES])?;
        // Published scores leave the bias of the classifier out.
        take("fc.bias".into(), &[CLASSES])?;
        if !missing.is_empty() {
            return Err(Error::MissingTensors { path: path.into(), missing });
        }
        if !tensors.is_empty() {
            let unexpected = tensors.into_keys().collect();
            return Err(Error::UnexpectedTensors { path: path.into(), unexpected });
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            layers: convolutions,
            classifier: Tensor::from_data(TensorData::new(classifier, [CLASSES, FEATURES]), device),
            name: format!("Inception-v3 2015-12-05, pool features, weights {file}"),
            device: device.clone(),
        })
    }

    /// Pool features of pictures.
    ///
    /// # Shapes
    /// - `x`: `[B, 3, 299, 299]`, `(v - 128) / 128` of bytes `v`
    /// - returns: `[B, 2048]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.chain(x, &["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"]);
        x = self.chain(largest(x, 2, 0), &["Conv2d_3b_1x1", "Conv2d_4a_3x3"]);
        x = largest(x, 2, 0);
        for block in plan::BLOCKS {
            let branches = block.branches.iter().map(|branch| self.branch(x.clone(), branch));
            x = Tensor::cat(branches.collect(), 1);
        }
        let [b, c, h, w] = x.dims();
        x.reshape([b, c, h * w]).mean_dim(2).reshape([b, c])
    }

    /// Class probabilities of pool features, without the bias of the classifier.
    ///
    /// # Shapes
    /// - `features`: `[B, 2048]`
    /// - returns: `[B, 1008]`
    pub fn probabilities(&self, features: Tensor<2>) -> Tensor<2> {
        activation::softmax(features.matmul(self.classifier.clone().transpose()), 1)
    }

    fn branch(&self, x: Tensor<4>, branch: &plan::Branch) -> Tensor<4> {
        let x = match branch.pool {
            plan::Pool::None => x,
            plan::Pool::Mean => mean_of_neighbours(x),
            plan::Pool::Largest => largest(x, 1, 1),
            plan::Pool::LargestOfPairs => largest(x, 2, 0),
        };
        let x = self.chain(x, branch.layers);
        if branch.fork.is_empty() {
            return x;
        }
        let forks = branch.fork.iter().map(|layer| self.chain(x.clone(), &[*layer]));
        Tensor::cat(forks.collect(), 1)
    }

    /// Convolutions, each with its normalisation and ReLU.
    fn chain(&self, x: Tensor<4>, names: &[&'static str]) -> Tensor<4> {
        names.iter().fold(x, |x, name| {
            let Convolution { weight, bias, options } = &self.layers[name];
            activation::relu(conv2d(x, weight.clone(), Some(bias.clone()), *options))
        })
    }
}

/// Maximum over 3x3.
fn largest(x: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let mut options = MaxPoolOptions::new([3, 3]);
    options.stride = [stride; 2];
    options.padding = [(padding, padding); 2];
    max_pool2d(x, options)
}

/// Mean over 3x3; at the border over what is there.
fn mean_of_neighbours(x: Tensor<4>) -> Tensor<4> {
    let mut options = AvgPoolOptions::new([3, 3]);
    options.stride = [1; 2];
    options.padding = [(1, 1); 2];
    options.count_include_pad = false;
    avg_pool2d(x, options)
}

impl FeatureNetwork for Inception {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn dim(&self) -> usize {
        FEATURES
    }

    fn classes(&self) -> usize {
        CLASSES
    }

    fn embed(&self, pictures: Pictures<'_>) -> std::result::Result<Embedding, NetworkError> {
        let (count, [height, width]) = (pictures.count(), pictures.size());
        let mut values = Vec::with_capacity(count * 3 * SIDE * SIDE);
        for picture in pictures.pixels().chunks_exact(pictures.values()) {
            let planes = legacy_bilinear(picture, [height, width], SIDE);
            values.extend(planes.into_iter().map(|value| (value - 128.0) / 128.0));
        }
        let x = Tensor::from_data(TensorData::new(values, [count, 3, SIDE, SIDE]), &self.device);
        let features = self.forward(x);
        let probabilities = self.probabilities(features.clone()).into_data();
        Ok(Embedding {
            features: features.into_data().iter::<f32>().collect(),
            probabilities: probabilities.iter::<f64>().collect(),
        })
    }
}
