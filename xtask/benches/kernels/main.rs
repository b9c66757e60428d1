//! Times of the kernels on the CPU, in f32, each next to the same operation in PyTorch.
//!
//! ```sh
//! cargo bench --workspace --bench kernels -- softmax
//! ```

#[expect(dead_code, reason = "no networks here")]
#[path = "../harness/mod.rs"]
mod harness;
mod operation;
mod passes;
mod products;

use std::hint::black_box;

use rayon::prelude::*;
use serde_json::{Value, json};
use trefoil_kernels::{AdamWStep, multiply_adds};

use harness::{Case, Step, Work};
use operation::traffic;

/// A picture in the middle of a U-Net.
pub(crate) const PICTURE: [usize; 4] = [16, 128, 32, 32];

fn main() {
    harness::run("kernels", cases);
}

fn cases() -> Vec<Case> {
    let mut cases = machine();
    cases.extend(passes::elementwise());
    cases.extend(passes::norms());
    cases.extend(products::attentions());
    cases.extend(products::linears());
    cases.extend(products::convolutions());
    cases.extend(passes::indexing());
    cases.push(adamw());
    cases
}

/// What the machine can do at best.
fn machine() -> Vec<Case> {
    const COUNT: usize = 200_000_000;
    const MOVED: usize = 64 << 20;
    let alone = |id: &str, shape: String, work, prepare: Box<dyn Fn() -> (Step, usize)>| Case {
        id: id.into(),
        shape,
        work,
        torch: Value::Null,
        prepare,
    };
    let arithmetic = Work::operations(2.0 * multiply_adds(COUNT) as f64);
    vec![
        alone(
            "machine/multiply-add",
            "in registers".into(),
            arithmetic,
            Box::new(|| {
                let step = || {
                    black_box(multiply_adds(COUNT));
                };
                (Box::new(step), 0)
            }),
        ),
        alone(
            "machine/copy",
            format!("{} MiB", (4 * MOVED) >> 20),
            traffic(2 * MOVED),
            Box::new(|| {
                let (from, mut to) = (vec![1.0_f32; MOVED], vec![0.0_f32; MOVED]);
                let step = move || {
                    let chunks = to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20));
                    chunks.for_each(|(to, from)| to.copy_from_slice(from));
                    black_box(&to);
                };
                (Box::new(step), 0)
            }),
        ),
    ]
}

/// The optimiser with its average of the weights.
fn adamw() -> Case {
    const COUNT: usize = 10_000_000;
    let prepare = || {
        let update = AdamWStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            bias_correction1: 0.1,
            bias_correction2: 0.001,
            grad_scale: 1.0,
            ema_decay: Some(0.999),
        };
        let (mut param, grad) = (vec![1.0; COUNT], vec![0.1; COUNT]);
        let (mut m, mut v, mut ema) = (vec![0.0; COUNT], vec![0.0; COUNT], vec![1.0; COUNT]);
        let step = move || {
            update.apply(&mut param, &grad, &mut m, &mut v, Some(&mut ema));
        };
        (Box::new(step) as Step, 0)
    };
    let torch = json!({ "case": "op", "op": "adamw", "shape": [COUNT], "operations": ["forward"] });
    Case {
        id: "adamw/step".into(),
        shape: format!("[{COUNT}], with the average of the weights"),
        work: traffic(9 * COUNT),
        torch,
        prepare: Box::new(prepare),
    }
}
