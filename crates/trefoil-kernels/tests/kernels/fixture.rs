//! Numbers of PyTorch (`reference/layers.py`).

use std::path::Path;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use safetensors::SafeTensors;

use crate::support::{assert_close, values};

/// Name of an input, and how to get its gradient.
pub(crate) type Input<'a> = (&'a str, &'a dyn Fn(&Gradients) -> Vec<f32>);

/// A case of the fixture.
pub(crate) struct Case {
    file: Vec<u8>,
    name: String,
}

impl Case {
    pub(crate) fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layers.safetensors");
        Self { file: std::fs::read(path).expect("the fixture"), name: name.to_string() }
    }

    fn read<T>(&self, key: &str, number: fn([u8; 4]) -> T) -> (Vec<T>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.file).expect("a safetensors file");
        let tensor = file.tensor(&format!("{}.{key}", self.name)).expect("the tensor");
        let numbers = tensor.data().chunks_exact(4).map(|b| number([b[0], b[1], b[2], b[3]]));
        (numbers.collect(), tensor.shape().to_vec())
    }

    fn real(&self, key: &str) -> TensorData {
        let (values, shape) = self.read(key, f32::from_le_bytes);
        TensorData::new(values, shape)
    }

    pub(crate) fn integers(&self, key: &str) -> Tensor<1, Int> {
        let (values, shape) = self.read(key, i32::from_le_bytes);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// A tracked tensor.
    pub(crate) fn tracked<const D: usize>(&self, key: &str) -> Tensor<D> {
        Tensor::from_data(self.real(key), &Device::flex().autodiff()).require_grad()
    }

    /// Asserts that `output` and the gradients of `inputs` are those of PyTorch.
    pub(crate) fn check<const D: usize>(
        &self,
        output: Tensor<D>,
        inputs: &[Input],
        tolerance: f32,
    ) {
        let grad = Tensor::from_data(self.real("grad"), &output.device());
        let gradients = (output.clone() * grad).sum().backward();
        let expect = |key: &str, actual: &[f32]| {
            let (expected, _) = self.read(key, f32::from_le_bytes);
            assert_close(&format!("{} {key}", self.name), actual, &expected, tolerance);
        };
        expect("out", &values(output.inner()));
        for (name, gradient) in inputs {
            expect(&format!("d.{name}"), &gradient(&gradients));
        }
    }
}

/// How [`Case::check`] gets the gradient of a tensor.
pub(crate) fn gradient<const D: usize>(tensor: &Tensor<D>) -> impl Fn(&Gradients) -> Vec<f32> + '_ {
    |gradients| values(tensor.grad(gradients).expect("a gradient"))
}
