//! V2 to V4: the gradients of the losses that training uses, against the oracle's.

use trefoil_core::{Seed, Stream};

use super::identities::Grid;
use super::problem::{Bench, DIVERGENCES, Gradient, LinearStudent, Nodes, Oracle, divergence};
use super::quadrature::Rule;
use super::{Check, relative_norm};
use crate::divergence::Divergence;
use crate::error::Result;
use crate::mixture::{Component, Mixture};
use crate::objective::{Estimator, Expanded, HgMode};

/// Points of a Gauss rule in each direction.
const POINTS: usize = 96;

/// The expanded form with some of its terms.
const fn expanded(hg: HgMode, kappa: f64, di: bool) -> Estimator {
    Estimator::Expanded(Expanded { hg, kappa, di, ..Expanded::SIM })
}

/// The gradient in units of the oracle, `2 / sigma^4` and `1 / sigma^2` put back.
fn gradient(bench: &Bench, estimator: &Estimator, f: Divergence, sigma: f64, n: usize) -> Gradient {
    let scale = match estimator {
        Estimator::Integral => sigma.powi(-2),
        Estimator::Expanded(_) => 2.0 * sigma.powi(-4),
    };
    let mut gradient = bench.gradient(estimator, &|l| f.weights(l), &vec![sigma; n], None);
    for g in &mut gradient {
        *g *= scale;
    }
    gradient
}

/// SIM, HG, FGM, DI and the integral form, each alone.
fn split(bench: &Bench, f: Divergence, sigma: f64, n: usize) -> [(&'static str, Gradient); 5] {
    let of = |estimator: &Estimator| gradient(bench, estimator, f, sigma, n);
    let sim = of(&expanded(HgMode::Off, 0.0, false));
    let alone = |estimator: &Estimator| {
        of(estimator).iter().zip(&sim).map(|(all, sim)| all - sim).collect::<Vec<f64>>()
    };
    let hg = alone(&expanded(HgMode::Score, 0.0, false));
    let fgm = alone(&expanded(HgMode::Off, 1.0, false));
    let di = alone(&expanded(HgMode::Off, 0.0, true));
    [("SIM", sim), ("HG", hg), ("FGM", fgm), ("DI", di), ("INT", of(&Estimator::Integral))]
}

/// Largest error of the terms relative to the largest of them.
fn worst(found: &[(&'static str, Gradient); 5], oracle: &Oracle, path: &[&str]) -> Result<f64> {
    let mut worst = 0.0_f64;
    let mut scale = 0.0_f64;
    for (name, gradient) in found {
        let expected = oracle.numbers(&[path, &[name]].concat())?;
        let error = gradient.iter().zip(&expected).fold(0.0, |e: f64, (a, b)| e.max((a - b).abs()));
        scale = expected.iter().fold(scale, |s, b| s.max(b.abs()));
        worst = worst.max(error);
    }
    Ok(worst / scale)
}

/// V2: each term by itself, by quadrature over the student's noise and by Monte Carlo.
pub(super) fn terms() -> Result<Vec<Check>> {
    let oracle = Oracle::open()?;
    let mut checks = Vec::new();
    for problem in ["gauss", "mix"] {
        let mut error = 0.0_f64;
        let mut logit = 0.0_f64;
        for (name, f) in DIVERGENCES {
            let [q, p] = oracle.pair(problem, name)?;
            let student = LinearStudent::line(&p);
            let nodes = student.quadrature(POINTS);
            let bench = Bench::new(&q, &student, &nodes)?;
            let n = nodes.weights.len();
            for sigma in ["0.5", "1.5"] {
                let s: f64 = if sigma == "0.5" { 0.5 } else { 1.5 };
                let found = split(&bench, f, s, n);
                error =
                    error.max(worst(&found, &oracle, &["grad_terms_1d", problem, name, sigma])?);
                if s == 0.5 && ["FKL", "JS", "HEL2"].contains(&name) {
                    let of = |hg| gradient(&bench, &expanded(hg, 0.0, true), f, s, n);
                    let (by_logit, by_score) = (of(HgMode::Logit), of(HgMode::Score));
                    logit = logit.max(relative_norm(&by_logit, &by_score));
                }
            }
        }
        let what = format!("SIM, HG, FGM, DI, integral form; 17 divergences, 1-D {problem}");
        checks.push(Check::new("V2", what, error, 1e-5));
        let what = format!("HG + DI through the logit = through the scores, 1-D {problem}");
        checks.push(Check::new("V2", what, logit, 1e-9));
    }
    checks.push(plane(&oracle)?);
    checks.extend(monte_carlo(&oracle)?);
    Ok(checks)
}

/// The two-dimensional problem with full matrices.
fn plane(oracle: &Oracle) -> Result<Check> {
    let root = "grad_terms_2d_sigma1";
    let (w, m, c) = (
        oracle.numbers(&[root, "q", "w"])?,
        oracle.numbers(&[root, "q", "m"])?,
        oracle.numbers(&[root, "q", "C"])?,
    );
    let parts: Vec<Component> = (0..w.len())
        .map(|k| Component {
            weight: w[k],
            mean: m[2 * k..2 * k + 2].to_vec(),
            deviation: None,
            covariance: Some(c[4 * k..4 * k + 4].chunks_exact(2).map(<[f64]>::to_vec).collect()),
            label: None,
        })
        .collect();
    let q = Mixture::new(&parts)?;
    let means = oracle.numbers(&[root, "p", "m"])?;
    let maps = oracle.numbers(&[root, "p", "A"])?;
    let mut theta = Vec::new();
    for (m, a) in means.chunks_exact(2).zip(maps.chunks_exact(4)) {
        theta.extend_from_slice(m);
        theta.extend([a[0], a[2], a[1], a[3]]); // columns
    }
    let student = LinearStudent { weights: oracle.numbers(&[root, "p", "w"])?, theta, dims: 2 };
    let nodes = student.quadrature(16);
    let bench = Bench::new(&q, &student, &nodes)?;
    let mut error = 0.0_f64;
    for name in ["RKL", "FKL", "JKL", "JS", "CHI2", "HEL2", "LECAM"] {
        let mut found = split(&bench, divergence(name)?, 1.0, nodes.weights.len());
        for (_, gradient) in &mut found {
            // Back to the rows of the matrices, as the oracle lists them.
            gradient.chunks_exact_mut(6).for_each(|g| g.swap(3, 4));
        }
        error = error.max(worst(&found, oracle, &[root, "results", name])?);
    }
    let what = "the same; 7 divergences, 2-D mixture with full matrices";
    Ok(Check::new("V2", what, error, 1e-3))
}

/// A million samples of the student, in standard errors of the mean.
fn monte_carlo(oracle: &Oracle) -> Result<Vec<Check>> {
    const CHUNKS: usize = 50;
    const SIZE: usize = 20_000;
    let [q, p] = oracle.pair("mix", "FKL")?;
    let student = LinearStudent::line(&p);
    let (f, sigma) = (Divergence::ForwardKl, 0.5);
    let forms = [
        ("SIM", Estimator::Expanded(Expanded::SIM), "SIM"),
        ("exact expanded form", Estimator::Expanded(Expanded::EXACT), "fd"),
        ("integral form", Estimator::Integral, "INT"),
    ];
    let mut sums = vec![vec![[0.0; 2]; student.theta.len()]; forms.len()];
    for chunk in 0..CHUNKS {
        let nodes = draw(&student, &mut Seed(7).stream("verify", chunk as u64), SIZE);
        let bench = Bench::new(&q, &student, &nodes)?;
        for ((_, estimator, _), sums) in forms.iter().zip(&mut sums) {
            let found = gradient(&bench, estimator, f, sigma, SIZE);
            for (sum, g) in sums.iter_mut().zip(found) {
                sum[0] += g;
                sum[1] += g * g;
            }
        }
    }
    let mut checks = Vec::new();
    for ((what, _, key), sums) in forms.iter().zip(sums) {
        let expected = oracle.numbers(&["grad_terms_1d", "mix", "FKL", "0.5", key])?;
        let count = CHUNKS as f64;
        let error =
            sums.iter().zip(&expected).fold(0.0_f64, |worst, ([sum, squares], expected)| {
                let mean = sum / count;
                let variance = (squares / count - mean * mean) / (count - 1.0);
                worst.max((mean - expected).abs() / variance.sqrt())
            });
        let what = format!("{what}, forward KL, 10^6 samples, in standard errors");
        checks.push(Check::new("V2", what, error, 4.0));
    }
    Ok(checks)
}

/// Samples of a student on the line.
fn draw(student: &LinearStudent, stream: &mut Stream, n: usize) -> Nodes {
    let (uniforms, normals) = (stream.uniforms(n), stream.normals(2 * n));
    let mut nodes = Nodes::default();
    for (u, pair) in uniforms.iter().zip(normals.as_chunks::<2>().0) {
        let [z, noise] = pair.map(f64::from);
        let mut left = f64::from(*u);
        let k = student.weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        let k = k.unwrap_or(student.weights.len() - 1);
        student.push(&mut nodes, k, &[z], &[noise], 1.0 / n as f64);
    }
    nodes
}

/// V3: SiD's alpha, and the integral form as the gradient of the divergence.
pub(super) fn special_cases() -> Result<Vec<Check>> {
    let oracle = Oracle::open()?;
    let [q, p] = oracle.pair("mix", "RKL")?;
    let student = LinearStudent::line(&p);
    let nodes = student.quadrature(POINTS);
    let bench = Bench::new(&q, &student, &nodes)?;
    let n = nodes.weights.len();
    let (mut sid, mut exact) = (0.0_f64, 0.0_f64);
    for (key, sigma) in [("0.5", 0.5), ("1.5", 1.5)] {
        for (name, alpha) in [("0.5", 0.5), ("1.0", 1.0), ("1.2", 1.2)] {
            let estimator = Estimator::Expanded(Expanded::sid(alpha));
            let found = gradient(&bench, &estimator, Divergence::ReverseKl, sigma, n);
            let expected = oracle.numbers(&["sid_alpha_mix", key, name])?;
            sid = sid.max(relative_norm(&found, &expected));
            if name == "0.5" {
                let exact_form = Estimator::Expanded(Expanded::EXACT);
                let same = gradient(&bench, &exact_form, Divergence::ReverseKl, sigma, n);
                exact = exact.max(relative_norm(&found, &same));
            }
        }
    }
    let mut integral = 0.0_f64;
    for (name, f) in DIVERGENCES {
        let [q, p] = oracle.pair("mix", name)?;
        let student = LinearStudent::line(&p);
        let bench = Bench::new(&q, &student, &student.quadrature(POINTS))?;
        let found = gradient(&bench, &Estimator::Integral, f, 0.5, n);
        let expected = oracle.numbers(&["grad_terms_1d", "mix", name, "0.5", "fd_integral"])?;
        integral = integral.max(relative_norm(&found, &expected));
    }
    Ok(vec![
        Check::new("V3", "SiD at alpha 0.5, 1, 1.2", sid, 1e-5),
        Check::new("V3", "SiD at alpha 0.5 = exact gradient of reverse KL", exact, 1e-9),
        Check::new(
            "V3",
            "integral form = finite differences of D_f, 17 divergences",
            integral,
            1e-5,
        ),
    ])
}

/// V4: `int w D_f = int W sigma E[h |Delta|^2] + W(T) D_f(T)` with `w = s e^-s`, values and gradients.
pub(super) fn weighted_path() -> Result<Vec<Check>> {
    const LAST: f64 = 20.0;
    let oracle = Oracle::open()?;
    let density = |s: f64| s * (-s).exp();
    let total = |s: f64| 1.0 - (1.0 + s) * (-s).exp();
    let [q, p] = oracle.pair("mix", "RKL")?;
    let fine = Rule::levels(64, LAST);
    let grids: Vec<_> = fine.pairs().map(|(s, w)| (s, w, Grid::new(&q, &p, s, 3001))).collect();
    let end = Grid::new(&q, &p, LAST, 3001);
    let student = LinearStudent::line(&p);
    let nodes = student.quadrature(64);
    let n = nodes.weights.len();
    let bench = Bench::new(&q, &student, &nodes)?;
    let coarse = Rule::levels(40, LAST);
    let (mut values, mut gradients) = (0.0_f64, 0.0_f64);
    for name in ["RKL", "FKL", "JKL", "JS", "CHI2"] {
        let f = divergence(name)?;
        let of = |key| oracle.numbers(&["weighted_path_mix_w=s*exp(-s)", name, key]);
        let left: f64 = grids.iter().map(|(s, w, grid)| w * density(*s) * grid.divergence(f)).sum();
        let path: f64 = grids.iter().map(|(s, w, grid)| w * total(*s) * s * grid.fisher(f)).sum();
        let right = path + total(LAST) * end.divergence(f);
        let expected = of("value_integral")?[0];
        values = values.max((left / expected - 1.0).abs()).max((right / expected - 1.0).abs());

        let add = |sum: &mut Gradient, c: f64, estimator: &Estimator, s: f64| {
            let found = gradient(&bench, estimator, f, s, n);
            sum.iter_mut().zip(found).for_each(|(sum, g)| *sum += c * g);
        };
        let (mut integral, mut expanded) = (vec![0.0; 4], vec![0.0; 4]);
        for (s, w) in coarse.pairs() {
            add(&mut integral, w * density(s), &Estimator::Integral, s);
            let exact = Estimator::Expanded(Expanded::EXACT);
            add(&mut expanded, w * total(s) * s, &exact, s);
        }
        add(&mut expanded, total(LAST), &Estimator::Integral, LAST);
        gradients = gradients
            .max(relative_norm(&integral, &of("grad_integral")?))
            .max(relative_norm(&expanded, &of("grad_expanded")?));
    }
    Ok(vec![
        Check::new("V4", "weighted path = expanded path, values, 5 divergences", values, 1e-5),
        Check::new("V4", "the same, gradients", gradients, 5e-4),
    ])
}
