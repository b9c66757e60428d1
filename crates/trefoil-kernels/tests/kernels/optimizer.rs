//! AdamW against its definition in f64, and against itself on other numbers of threads.

use rayon::ThreadPoolBuilder;
use trefoil_kernels::AdamWStep;

use crate::support::{assert_close, normal, values};

fn step(t: i32) -> AdamWStep {
    AdamWStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.03,
        bias_correction1: 1.0 - 0.9_f64.powi(t),
        bias_correction2: 1.0 - 0.99_f64.powi(t),
        grad_scale: 0.5,
        ema_decay: Some(0.95),
    }
}

/// Parameters, moments and average after three steps.
fn three_steps(n: usize) -> [Vec<f32>; 4] {
    let mut param = values(normal([n], 1));
    let (mut m, mut v, mut ema) = (vec![0.0; n], vec![0.0; n], param.clone());
    for t in 1..=3 {
        let grad = values(normal([n], 10 + t as u64));
        step(t).apply(&mut param, &grad, &mut m, &mut v, Some(&mut ema));
    }
    [param, m, v, ema]
}

#[test]
fn three_steps_match_the_definition() {
    let n = 20_011;
    let initial: Vec<f64> = values(normal([n], 1)).into_iter().map(f64::from).collect();
    let (mut p, mut m, mut v, mut ema) = (initial.clone(), vec![0.0; n], vec![0.0; n], initial);
    for t in 1..=3 {
        let grad = values(normal([n], 10 + t as u64));
        let s = step(t);
        for i in 0..n {
            let g = f64::from(grad[i]) * s.grad_scale;
            p[i] -= s.lr * s.weight_decay * p[i];
            m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g;
            v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
            let denominator = v[i].sqrt() / s.bias_correction2.sqrt() + s.eps;
            p[i] -= s.lr / s.bias_correction1 * m[i] / denominator;
            ema[i] = 0.95 * ema[i] + 0.05 * p[i];
        }
    }
    let names = ["param", "m", "v", "ema"];
    for ((name, actual), expected) in names.iter().zip(three_steps(n)).zip([p, m, v, ema]) {
        let expected: Vec<f32> = expected.into_iter().map(|x| x as f32).collect();
        assert_close(name, &actual, &expected, 2e-7);
    }
}

#[test]
fn the_first_step_is_the_sign_of_the_gradient() {
    let mut param = [1.0_f32, 1.0, 1.0];
    let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
    let once = AdamWStep { weight_decay: 0.0, ema_decay: None, ..step(1) };
    once.apply(&mut param, &[2.0, -3.0, 0.0], &mut m, &mut v, None);
    assert_close("param", &param, &[0.99, 1.01, 1.0], 1e-7);
}

#[test]
fn threads_do_not_matter() {
    let run = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| three_steps(50_003))
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn the_average_needs_a_decay() {
    let (mut param, mut m, mut v, mut ema) = ([1.0_f32], [0.0], [0.0], [5.0]);
    let step = AdamWStep { ema_decay: None, ..step(1) };
    step.apply(&mut param, &[1.0], &mut m, &mut v, Some(&mut ema));
    assert_eq!(ema, [5.0]);
    assert!(param[0] < 1.0);
}
