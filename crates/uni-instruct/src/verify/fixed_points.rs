//! V5: where each rule converges, by stochastic gradient descent with exact scores.

use trefoil_core::{Seed, Stream};

use super::Check;
use super::problem::{Bench, LinearStudent, Nodes, Oracle, divergence, line};
use super::quadrature::{lattice, normal_quantile};
use crate::divergence::Divergence;
use crate::error::Result;
use crate::mixture::Mixture;
use crate::objective::{Estimator, Expanded, TimeLaw};

/// Updates of a run and samples of an update.
const STEPS: usize = 250;
const SAMPLES: usize = 4096;

/// The rules of the oracle's table under its names.
fn rules() -> Result<Vec<(&'static str, Estimator, Divergence)>> {
    let rkl = Divergence::ReverseKl;
    let exact = || Estimator::Expanded(Expanded::EXACT);
    let stopped = || Estimator::Expanded(Expanded::SIM);
    let sid = |alpha| Estimator::Expanded(Expanded::sid(alpha));
    Ok(vec![
        ("DI/DMD (int RKL)", Estimator::Integral, rkl),
        ("f-distill FKL", Estimator::Integral, divergence("FKL")?),
        ("f-distill JS", Estimator::Integral, divergence("JS")?),
        ("f-distill JKL", Estimator::Integral, divergence("JKL")?),
        ("f-distill HEL2", Estimator::Integral, divergence("HEL2")?),
        ("SiD alpha=.5 (=UI RKL exact)", sid(0.5), rkl),
        ("SiD/SIM alpha=1", sid(1.0), rkl),
        ("SiD alpha=1.2", sid(1.2), rkl),
        ("UI FKL exact", exact(), divergence("FKL")?),
        ("UI FKL h-stopgrad", stopped(), divergence("FKL")?),
        ("UI JKL0.4 exact", exact(), divergence("JKL0.4")?),
        ("UI JKL0.4 h-stopgrad", stopped(), divergence("JKL0.4")?),
        ("UI JS exact", exact(), divergence("JS")?),
        ("UI HEL2 exact", exact(), divergence("HEL2")?),
    ])
}

/// V5: the fixed point of each rule for a Gaussian student of a two-mode teacher, and the teacher itself
/// for a student that can be it.
pub(super) fn fixed_points() -> Result<Vec<Check>> {
    let oracle = Oracle::open()?;
    let teacher = oracle.far_teacher()?;
    let mut checks = Vec::new();
    for (name, estimator, f) in rules()? {
        let student = LinearStudent::line(&line(&[1.0], &[0.0], &[1.5])?);
        let found = descend(&teacher, student, &estimator, f)?;
        let of =
            |key| oracle.number(&["stationary_points_gauss_student", name, "wide(0,1.5)", key]);
        let expected = [of("a")?, of("b")?];
        let what = format!("{name}: a = {:.4}, b = {:.4}", found[0], found[1]);
        checks.push(Check::new("V5", what, distance(&found, &expected), 0.01));
    }
    for name in ["SiD alpha=1.2", "UI FKL exact"] {
        let Some((_, estimator, f)) = rules()?.into_iter().find(|(n, ..)| *n == name) else {
            continue;
        };
        let student = LinearStudent::line(&line(&[0.35, 0.65], &[-1.0, 0.8], &[0.8, 0.8])?);
        let found = descend(&teacher, student, &estimator, f)?;
        let expected = oracle.numbers(&["realizable_two_component_student", "teacher"])?;
        let what = format!("{name}: a student that can be the teacher becomes it");
        checks.push(Check::new("V5", what, distance(&found, &expected), 0.01));
    }
    Ok(checks)
}

/// `|a - b| / |b|`.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())).sqrt()
}

/// Adam with a cosine schedule; each update draws its own samples.
fn descend(
    teacher: &Mixture,
    mut student: LinearStudent,
    estimator: &Estimator,
    f: Divergence,
) -> Result<Vec<f64>> {
    const RATE: f64 = 0.1;
    const BETAS: [f64; 2] = [0.9, 0.99];
    let sd = teacher.deviation();
    let mut stream = Seed(5).stream("fixed points", 0);
    let mut moments = vec![[0.0; 2]; student.theta.len()];
    let mut decay = [1.0; 2];
    for step in 0..STEPS {
        let (nodes, sigma) = batch(&student, &mut stream);
        let factors: Vec<f64> = sigma.iter().map(|s| s.hypot(sd) / (s * sd)).collect();
        let bench = Bench::new(teacher, &student, &nodes)?;
        let weigh = |l: f64| f.weights(l.clamp(-30.0, 30.0));
        let gradient = bench.gradient(estimator, &weigh, &sigma, Some(&factors));
        let progress = step as f64 / STEPS as f64;
        let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        decay = [decay[0] * BETAS[0], decay[1] * BETAS[1]];
        for ((theta, [m, v]), g) in student.theta.iter_mut().zip(&mut moments).zip(gradient) {
            *m = BETAS[0] * *m + (1.0 - BETAS[0]) * g;
            *v = BETAS[1] * *v + (1.0 - BETAS[1]) * g * g;
            let (m, v) = (*m / (1.0 - decay[0]), *v / (1.0 - decay[1]));
            *theta -= rate * m / (v.sqrt() + 1e-10);
        }
    }
    let mut theta = student.theta;
    theta.chunks_exact_mut(2).for_each(|pair| pair[1] = pair[1].abs());
    Ok(theta)
}

/// Samples of every component, spread evenly over noise level, latent and noise by a shifted lattice.
fn batch(student: &LinearStudent, stream: &mut Stream) -> (Nodes, Vec<f64>) {
    let law = TimeLaw::sid(0.02);
    let mut nodes = Nodes::default();
    let mut sigma = Vec::new();
    let count = SAMPLES / student.weights.len();
    for (k, share) in student.weights.iter().enumerate() {
        let shift = stream.uniforms(3);
        let shift = [shift[0], shift[1], shift[2]].map(f64::from);
        for [u, z, noise] in lattice(count, shift) {
            sigma.push(law.at_time(0.8 * u));
            let [z, noise] = [z, noise].map(|u| normal_quantile(u.clamp(1e-9, 1.0 - 1e-9)));
            student.push(&mut nodes, k, &[z], &[noise], share / count as f64);
        }
    }
    (nodes, sigma)
}
