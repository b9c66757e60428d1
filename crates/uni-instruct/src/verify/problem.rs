//! Problems with known answers: the oracle's numbers, and students whose density is known.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::{Error, Result};

use super::quadrature::Rule;
use crate::divergence::{Divergence, Weights};
use crate::exact::{Exact, ExactDenoiser};
use crate::mixture::{Component, Mixture};
use crate::objective::{Estimator, Views};
use crate::tensors;

/// Numbers that `reference/uni_instruct_oracle.py` found with numpy and scipy.
const ORACLE: &str = include_str!("../../fixtures/oracle.json");

/// The divergences under the oracle's names.
pub(super) const DIVERGENCES: [(&str, Divergence); 17] = [
    ("RKL", Divergence::ReverseKl),
    ("FKL", Divergence::ForwardKl),
    ("JKL", Divergence::JEFFREYS),
    ("JKL0.4", Divergence::Jeffreys { forward: 0.4, reverse: 0.6 }),
    ("JS", Divergence::JensenShannon),
    ("SRKL", Divergence::SoftenedReverseKl),
    ("CHI2", Divergence::Pearson),
    ("NCHI2", Divergence::Neyman),
    ("HEL2", Divergence::Hellinger),
    ("LECAM", Divergence::LeCam),
    ("ALPHA0.5", Divergence::Alpha { order: 0.5 }),
    ("ALPHA-0.5", Divergence::Alpha { order: -0.5 }),
    ("ALPHA1.5", Divergence::Alpha { order: 1.5 }),
    ("ALPHA2", Divergence::Alpha { order: 2.0 }),
    ("SKEWF0.5", Divergence::SkewForwardKl { lambda: 0.5 }),
    ("SKEWF0.1", Divergence::SkewForwardKl { lambda: 0.1 }),
    ("SKEWR0.5", Divergence::SkewReverseKl { lambda: 0.5 }),
];

/// The divergence of an oracle name.
pub(super) fn divergence(name: &str) -> Result<Divergence> {
    let found = DIVERGENCES.iter().find(|(n, _)| *n == name);
    found.map(|(_, d)| *d).ok_or_else(|| Error::config("oracle", format!("no divergence {name}")))
}

/// The oracle's numbers by path.
#[derive(Debug)]
pub(super) struct Oracle(Value);

impl Oracle {
    /// Reads the committed file.
    pub(super) fn open() -> Result<Self> {
        let value =
            serde_json::from_str(ORACLE).map_err(|e| Error::format("oracle.json", e.to_string()));
        value.map(Self)
    }

    /// What stands at a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Result<&Value> {
        path.iter().try_fold(&self.0, |value, key| value.get(*key)).ok_or_else(|| {
            Error::format("oracle.json", format!("expected {}, found nothing", path.join(" / ")))
        })
    }

    /// All numbers at a path, in order.
    pub(super) fn numbers(&self, path: &[&str]) -> Result<Vec<f64>> {
        fn collect(value: &Value, into: &mut Vec<f64>) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
                value => into.extend(value.as_f64()),
            }
        }
        let mut numbers = Vec::new();
        collect(self.at(path)?, &mut numbers);
        Ok(numbers)
    }

    /// One number.
    pub(super) fn number(&self, path: &[&str]) -> Result<f64> {
        Ok(self.numbers(path)?.first().copied().unwrap_or(f64::NAN))
    }

    /// A one-dimensional mixture with `w`, `m` and `sd`.
    fn mixture(&self, path: &[&str]) -> Result<Mixture> {
        let of = |key| self.numbers(&[path, &[key]].concat());
        line(&of("w")?, &of("m")?, &of("sd")?)
    }

    /// Teacher and student of a one-dimensional problem; exchanged for Neyman's divergence, which is
    /// finite only when the student is the narrower one.
    pub(super) fn pair(&self, problem: &str, divergence: &str) -> Result<[Mixture; 2]> {
        let of = |role| self.mixture(&["problems_1d", problem, role]);
        let (q, p) = (of("q")?, of("p")?);
        Ok(if divergence == "NCHI2" { [p, q] } else { [q, p] })
    }

    /// The two-mode teacher of the fixed points.
    pub(super) fn far_teacher(&self) -> Result<Mixture> {
        self.mixture(&["argmin_teacher"])
    }
}

/// A mixture on the line.
pub(super) fn line(weights: &[f64], means: &[f64], deviations: &[f64]) -> Result<Mixture> {
    let parts = weights.iter().zip(means).zip(deviations);
    let parts: Vec<_> = parts.map(|((w, m), d)| Component::round(*w, vec![*m], *d)).collect();
    Mixture::new(&parts)
}

/// A student `x_0 = m_k + A_k z` that chooses component `k` with a fixed probability: linear in its
/// parameters, and its density is a mixture.
#[derive(Debug, Clone)]
pub(super) struct LinearStudent {
    pub(super) weights: Vec<f64>,
    /// Row `k (1 + D)` is `m_k`, row `k (1 + D) + 1 + j` is column `j` of `A_k`; `[K (1 + D), D]`.
    pub(super) theta: Vec<f64>,
    pub(super) dims: usize,
}

/// Samples of a student before its parameters: features, noise and weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes {
    /// `[N, K (1 + D)]`
    pub(super) features: Vec<f64>,
    /// `[N, D]`
    pub(super) noise: Vec<f64>,
    /// `[N]`
    pub(super) weights: Vec<f64>,
}

impl LinearStudent {
    /// A student on the line with these components.
    pub(super) fn line(mixture: &Mixture) -> Self {
        let parts = &mixture.gaussians;
        let theta = parts.iter().flat_map(|g| [g.mean[0], g.axes.values[0].sqrt()]).collect();
        Self { weights: parts.iter().map(|g| g.weight).collect(), theta, dims: 1 }
    }

    /// Its density.
    pub(super) fn mixture(&self) -> Result<Mixture> {
        let d = self.dims;
        let parts = self.weights.iter().zip(self.theta.chunks_exact((1 + d) * d));
        let parts: Vec<_> = parts
            .map(|(weight, theta)| {
                let (mean, columns) = theta.split_at(d);
                let entry = |i: usize, j: usize| {
                    columns.chunks_exact(d).map(|column| column[i] * column[j]).sum::<f64>()
                };
                let covariance = (0..d).map(|i| (0..d).map(|j| entry(i, j)).collect()).collect();
                Component {
                    weight: *weight,
                    mean: mean.to_vec(),
                    deviation: None,
                    covariance: Some(covariance),
                    label: None,
                }
            })
            .collect();
        Mixture::new(&parts)
    }

    /// Adds a sample of component `k`.
    pub(super) fn push(&self, nodes: &mut Nodes, k: usize, z: &[f64], noise: &[f64], weight: f64) {
        for component in 0..self.weights.len() {
            let here = f64::from(u8::from(component == k));
            nodes.features.push(here);
            nodes.features.extend(z.iter().map(|z| here * z));
        }
        nodes.noise.extend_from_slice(noise);
        nodes.weights.push(weight);
    }

    /// The tensor rule over `z` and `n` of each component.
    pub(super) fn quadrature(&self, count: usize) -> Nodes {
        // Corners of the cube weigh nothing in double precision.
        const NOTHING: f64 = 1e-18;
        let rule = Rule::hermite(count);
        let pairs: Vec<_> = rule.pairs().collect();
        let mut axes = vec![(Vec::new(), 1.0)];
        for _ in 0..2 * self.dims {
            axes = axes
                .into_iter()
                .flat_map(|(point, weight): (Vec<f64>, f64)| {
                    pairs.iter().map(move |(x, w)| ([&point[..], &[*x]].concat(), weight * w))
                })
                .filter(|(_, weight)| *weight > NOTHING)
                .collect();
        }
        let mut nodes = Nodes::default();
        for (k, share) in self.weights.iter().enumerate() {
            for (point, weight) in &axes {
                let (z, noise) = point.split_at(self.dims);
                self.push(&mut nodes, k, z, noise, share * weight);
            }
        }
        nodes
    }
}

/// Everything that does not change while gradients are taken: teacher, student, samples.
#[derive(Debug)]
pub(super) struct Bench {
    teacher: ExactDenoiser,
    fake: ExactDenoiser,
    theta: Tensor<2>,
    features: Tensor<2>,
    noise: Tensor<2>,
    weights: Tensor<2>,
}

/// A gradient in the student's parameters, in the order of `theta`.
pub(super) type Gradient = Vec<f64>;

impl Bench {
    /// Puts a problem on the CPU in double precision.
    pub(super) fn new(teacher: &Mixture, student: &LinearStudent, nodes: &Nodes) -> Result<Self> {
        let device = Device::flex().autodiff();
        let place = |mixture| ExactDenoiser::new(mixture, &device, DType::F64);
        let n = nodes.weights.len();
        let tensor = |values: &[f64]| {
            let shape = [n, values.len() / n];
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), (&device, DType::F64))
        };
        let d = student.dims;
        let theta = TensorData::new(student.theta.clone(), [student.theta.len() / d, d]);
        Ok(Self {
            teacher: place(teacher),
            fake: place(&student.mixture()?),
            theta: Tensor::from_data(theta, (&device, DType::F64)),
            features: tensor(&nodes.features),
            noise: tensor(&nodes.noise),
            weights: tensor(&nodes.weights),
        })
    }

    /// Gradient of the weighted sum of the losses of an estimator, each sample with its own sigma and
    /// factor.
    pub(super) fn gradient(
        &self,
        estimator: &Estimator,
        weigh: &dyn Fn(f64) -> Weights,
        sigma: &[f64],
        factors: Option<&[f64]>,
    ) -> Gradient {
        let theta = self.theta.clone().require_grad();
        let x0 = self.features.clone().matmul(theta.clone());
        let x = x0.clone() + self.noise.clone() * tensors::column(sigma, &x0);
        let q = self.teacher.evaluate(x.clone(), sigma, None);
        let Exact { denoised, log_density } = self.fake.evaluate(x.clone(), sigma, None);
        let log_ratio = q.log_density - log_density;
        let weights: Vec<Weights> =
            tensors::values(log_ratio.clone()).into_iter().map(weigh).collect();
        let views =
            Views { x0, x, sigma, teacher: q.denoised, fake: denoised, log_ratio: Some(log_ratio) };
        let mut loss = estimator.loss(&views, &weights) * self.weights.clone();
        if let Some(factors) = factors {
            loss = loss * tensors::column(factors, &self.weights);
        }
        let gradients = loss.sum().backward();
        theta.grad(&gradients).map(tensors::values).unwrap_or_default()
    }
}
