//! Convolution, alone and of a doubled picture.

use std::path::Path;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Tensor, module};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use safetensors::SafeTensors;
use trefoil_kernels::{ConvolutionOptions, Padding, conv2d, upsample_conv2d};

use crate::support::{assert_close, compare, normal, value_and_gradients, values};

/// Shapes of a convolution and how it moves.
#[derive(Debug, Clone, Copy)]
struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    options: ConvolutionOptions,
}

impl Case {
    fn new(input: [usize; 4], [o, kh, kw]: [usize; 3], options: ConvolutionOptions) -> Self {
        Self { input, weight: [o, input[1], kh, kw], options }
    }

    fn inputs(&self) -> [Tensor<1>; 3] {
        let count = |shape: [usize; 4]| [shape.iter().product::<usize>()];
        [normal(count(self.input), 1), normal(count(self.weight), 2), normal([self.weight[0]], 3)]
    }

    fn tensors(&self, x: &[Tensor<1>]) -> (Tensor<4>, Tensor<4>, Option<Tensor<1>>) {
        (x[0].clone().reshape(self.input), x[1].clone().reshape(self.weight), Some(x[2].clone()))
    }

    fn kernel(&self, x: &[Tensor<1>]) -> Tensor<4> {
        let (x, weight, bias) = self.tensors(x);
        conv2d(x, weight, bias, self.options)
    }

    fn framework(&self, x: &[Tensor<1>]) -> Tensor<4> {
        let (x, weight, bias) = self.tensors(x);
        let Padding { top, bottom, left, right } = self.options.padding;
        let x = x.pad((left, right, top, bottom), 0.0);
        module::conv2d(x, weight, bias, ConvOptions::new(self.options.stride, [0, 0], [1, 1], 1))
    }

    fn compare(&self) {
        let name = format!("{self:?}");
        compare(&name, &self.inputs(), |x| self.kernel(x), |x| self.framework(x), 1e-5);
    }
}

#[test]
fn convolution_matches_the_framework() {
    let same = ConvolutionOptions::new(1, 1);
    let point = ConvolutionOptions::new(1, 0);
    let padding = Padding { top: 0, bottom: 1, left: 0, right: 1 };
    let half = ConvolutionOptions::with_padding(2, padding);
    for case in [
        Case::new([2, 24, 32, 32], [24, 3, 3], same),
        Case::new([3, 16, 16, 16], [40, 3, 3], same),
        Case::new([9, 64, 8, 8], [13, 3, 3], same),
        Case::new([2, 3, 40, 70], [5, 3, 3], same),
        Case::new([4, 40, 16, 16], [30, 1, 1], point),
        Case::new([2, 24, 32, 32], [24, 3, 3], half),
        Case::new([33, 4, 8, 8], [50, 2, 2], ConvolutionOptions::new(2, 0)),
        Case::new([5, 3, 20, 20], [32, 4, 4], ConvolutionOptions::new(4, 0)),
        Case::new([2, 7, 9, 5], [6, 5, 5], ConvolutionOptions::new(1, 2)),
        // A stride that leaves out pixels.
        Case::new([2, 3, 11, 11], [4, 2, 2], ConvolutionOptions::new(3, 0)),
        Case::new([1, 1, 1, 1], [1, 1, 1], point),
    ] {
        case.compare();
    }
}

fn doubled(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]);
    let x = x.reshape([b, c, 2 * h, 2 * w]);
    module::conv2d(x, weight, bias, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
}

#[test]
fn upsampled_convolution_matches_the_framework() {
    for (input, o) in [
        ([1, 1, 1, 1], 1),
        ([3, 5, 7, 3], 4),
        ([4, 64, 8, 8], 64),
        ([2, 24, 16, 16], 30),
        ([1, 3, 33, 40], 7),
    ] {
        let case = Case::new(input, [o, 3, 3], ConvolutionOptions::new(1, 1));
        compare(
            &format!("upsample_conv2d {input:?} to {o}"),
            &case.inputs(),
            |x| {
                let (x, weight, bias) = case.tensors(x);
                upsample_conv2d(x, weight, bias)
            },
            |x| {
                let (x, weight, bias) = case.tensors(x);
                doubled(x, weight, bias)
            },
            1e-5,
        );
    }
}

#[test]
fn convolutions_match_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/convolution.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let list = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data();
        data.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
    };
    let device = Device::flex().autodiff();
    for case in ["same", "point", "half", "patches", "odd", "doubled"] {
        let name = |key: &str| format!("{case}.{key}");
        let shape = |key: &str| -> [usize; 4] {
            file.tensor(&name(key)).unwrap().shape().try_into().unwrap()
        };
        let image = |key: &str| {
            Tensor::<1>::from_floats(list(&name(key)).as_slice(), &device).reshape(shape(key))
        };
        let (x, weight) = (image("x").require_grad(), image("weight").require_grad());
        let bias: Tensor<1> = Tensor::from_floats(list(&name("bias")).as_slice(), &device);
        let bias = bias.require_grad();
        let settings = file.tensor(&name("options")).unwrap().data();
        let settings: Vec<usize> = settings
            .chunks_exact(8)
            .map(|x| u64::from_le_bytes(x.try_into().unwrap()) as usize)
            .collect();
        let [rows, columns, top, bottom, left, right, is_doubled] = settings[..] else {
            panic!("{case}: seven settings")
        };
        let y = if is_doubled == 1 {
            upsample_conv2d(x.clone(), weight.clone(), Some(bias.clone()))
        } else {
            let padding = Padding { top, bottom, left, right };
            let mut options = ConvolutionOptions::with_padding(1, padding);
            options.stride = [rows, columns];
            conv2d(x.clone(), weight.clone(), Some(bias.clone()), options)
        };
        assert_eq!(y.dims(), shape("y"), "{case}");
        let gradients = (y.clone() * image("grad")).sum().backward();
        let check = |key: &str, actual: Vec<f32>| {
            assert_close(&name(key), &actual, &list(&name(key)), 1e-6);
        };
        check("y", values(y.inner()));
        check("dx", values(x.grad(&gradients).unwrap()));
        check("dweight", values(weight.grad(&gradients).unwrap()));
        check("dbias", values(bias.grad(&gradients).unwrap()));
    }
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let case = Case::new([2, 3, 6, 6], [4, 3, 3], ConvolutionOptions::new(1, 1));
    let inputs = case.inputs();
    let expected = value_and_gradients(&inputs, |x| case.kernel(x));
    let device = Device::flex().autodiff();
    for tracked in 0..3 {
        let leaves: Vec<Tensor<1>> = inputs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let leaf = Tensor::from_data(x.clone().into_data(), &device);
                if i == tracked { leaf.require_grad() } else { leaf }
            })
            .collect();
        let output = case.kernel(&leaves);
        let weights = Tensor::from_data(normal(output.dims(), 99).into_data(), &device);
        let gradients = (output * weights).sum().backward();
        for (i, leaf) in leaves.iter().enumerate() {
            match leaf.grad(&gradients) {
                Some(gradient) if i == tracked => {
                    assert_eq!(values(gradient), expected[i + 1], "input {i}");
                }
                gradient => assert!(gradient.is_none() && i != tracked, "input {i}"),
            }
        }
    }
}

#[test]
fn views_other_precisions_and_no_bias() {
    let options = ConvolutionOptions::new(1, 1);
    let copy = |x: &Tensor<4>| Tensor::<4>::from_data(x.clone().into_data(), &Device::flex());
    let x = normal([2, 8, 7, 5], 1).permute([0, 3, 1, 2]); // channels last
    let weight = normal([5, 4, 3, 3], 2).swap_dims(0, 1);
    let zeros = Tensor::zeros([4], &Device::flex());
    let expected = values(conv2d(copy(&x), copy(&weight), Some(zeros), options));
    assert_eq!(values(conv2d(x.clone(), weight.clone(), None, options)), expected);
    let double = |x: &Tensor<4>| x.clone().cast(DType::F64);
    let y = conv2d(double(&x), double(&weight), None, options);
    assert_eq!(y.dtype(), DType::F64);
    assert_close("conv2d", &values(y.cast(DType::F32)), &expected, 2e-6);

    let expected = values(upsample_conv2d(copy(&x), copy(&weight), None));
    assert_eq!(values(upsample_conv2d(x.clone(), weight.clone(), None)), expected);
    let y = upsample_conv2d(double(&x), double(&weight), None);
    assert_close("upsample_conv2d", &values(y.cast(DType::F32)), &expected, 2e-6);
}

#[test]
#[should_panic(expected = "conv2d: input [1, 2, 2, 2], weight [1, 2, 3, 3]")]
fn a_kernel_must_fit() {
    let (x, weight) = (normal([1, 2, 2, 2], 1), normal([1, 2, 3, 3], 2));
    drop(conv2d(x, weight, None, ConvolutionOptions::new(1, 0)));
}

fn cases() -> impl Strategy<Value = Case> {
    let shape = (1..4usize, 1..9usize, 1..20usize, 1..20usize, 1..15usize);
    let kernel = (1..5usize, 1..5usize);
    let stride = (1..4usize, 1..4usize);
    let padding = (0..3usize, 0..3usize, 0..3usize, 0..3usize);
    (shape, kernel, stride, padding)
        .prop_map(|((b, c, h, w, o), (kh, kw), (rows, columns), (top, bottom, left, right))| {
            let padding = Padding { top, bottom, left, right };
            let mut options = ConvolutionOptions::with_padding(1, padding);
            options.stride = [rows, columns];
            Case::new([b, c, h, w], [o, kh, kw], options)
        })
        .prop_filter("the kernel must fit", |case| {
            let Padding { top, bottom, left, right } = case.options.padding;
            let ([_, _, h, w], [_, _, kh, kw]) = (case.input, case.weight);
            kh <= h + top + bottom && kw <= w + left + right
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_convolution_matches_the_framework(case in cases()) {
        case.compare();
    }

    #[test]
    fn threads_change_nothing(case in cases(), threads in 2..7usize, batch in 1..40usize) {
        let case = Case { input: [batch, case.input[1], case.input[2], case.input[3]], ..case };
        let run = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| value_and_gradients(&case.inputs(), |x| case.kernel(x)))
        };
        prop_assert_eq!(run(threads), run(1));
    }
}
