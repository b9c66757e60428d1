//! An operation as two cases: its forward pass, and that with its gradients.

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use trefoil_core::Seed;

use crate::harness::{Case, Step, Work};

/// An operation: what it is called here and in `bench_ops.py`.
pub(crate) struct Operation {
    name: &'static str,
    op: &'static str,
    options: Value,
    /// Of the forward pass, and of both.
    work: [Work; 2],
}

impl Operation {
    /// One that passes over its tensors: so many elements read or written forward, and in both.
    pub(crate) fn passes(name: &'static str, op: &'static str, elements: [usize; 2]) -> Self {
        Self { name, op, options: json!({}), work: elements.map(traffic) }
    }

    /// One whose gradients take as much arithmetic again for each of two operands.
    pub(crate) fn products(name: &'static str, op: &'static str, operations: f64) -> Self {
        let work = [Work::operations(operations), Work::operations(3.0 * operations)];
        Self { name, op, options: json!({}), work }
    }

    pub(crate) fn options(self, options: Value) -> Self {
        Self { options, ..self }
    }

    /// Its forward pass, and that with the gradients of the sum of its output.
    pub(crate) fn cases(self, shape: &[usize], build: fn(&Inputs, &[usize]) -> Run) -> [Case; 2] {
        [false, true].map(|backward| {
            let name = if backward { "forward-backward" } else { "forward" };
            let torch = json!({
                "case": "op",
                "op": self.op,
                "shape": shape,
                "options": self.options,
                "operations": [if backward { "backward" } else { "forward" }],
            });
            let sizes = shape.to_vec();
            let prepare = move || {
                let run = build(&Inputs { backward }, &sizes);
                (Box::new(move || run(backward)) as Step, 0)
            };
            Case {
                id: format!("{}/{name}", self.name),
                shape: format!("{shape:?}"),
                work: self.work[usize::from(backward)],
                torch,
                prepare: Box::new(prepare),
            }
        })
    }
}

/// Passes over `elements` numbers in f32, whose arithmetic does not matter.
pub(crate) fn traffic(elements: usize) -> Work {
    Work { operations: 0.0, bytes: 4.0 * elements as f64 }
}

/// One pass, with gradients or without.
pub(crate) type Run = Box<dyn Fn(bool)>;

/// Tensors on the CPU, tracked if gradients are asked for.
pub(crate) struct Inputs {
    backward: bool,
}

impl Inputs {
    fn device(&self) -> Device {
        if self.backward { Device::flex().autodiff() } else { Device::flex() }
    }

    fn track<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if self.backward { tensor.require_grad() } else { tensor }
    }

    pub(crate) fn normal<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        let mut stream = Seed(1).stream("input", 0);
        self.track(stream.normal_tensor(shape, &self.device()))
    }

    pub(crate) fn full<const D: usize>(&self, shape: [usize; D], value: f32) -> Tensor<D> {
        self.track(Tensor::full(shape, value, &self.device()))
    }
}

/// Computes the gradients of the sum, if they are asked for.
pub(crate) fn finish<const D: usize>(output: Tensor<D>, backward: bool) {
    if backward {
        black_box(output.sum().backward());
    } else {
        black_box(output);
    }
}
