use burn::tensor::{Device, Tensor};
use trefoil_core::Seed;
use trefoil_core::nn::*;
use unidiffuser::uvit::*;
use unidiffuser::autoencoder::*;
use unidiffuser::folder::Component;

fn bits<const D: usize>(t: Tensor<D>) -> Vec<u32> { t.into_data().iter::<f32>().map(f32::to_bits).collect() }
fn cmp<const D: usize, const E: usize>(name: &str, n: usize, rest: [usize; D], f: &dyn Fn(Tensor<D>) -> Tensor<E>) {
    let d = Device::flex();
    let mut shape = rest; shape[0] = n * rest[0];
    let x: Tensor<D> = Seed(1).stream("x", 0).normal_tensor(shape, &d);
    let all = bits(f(x.clone()));
    for step in [1usize, 2, 3, 4] {
        if n % step != 0 { continue; }
        let mut parts = Vec::new();
        for i in (0..n).step_by(step) { parts.extend(bits(f(x.clone().narrow(0, i * rest[0], step * rest[0])))); }
        let diff = all.iter().zip(&parts).filter(|(a, b)| a != b).count();
        println!("{name} n={n} step={step}: {diff} of {} differ", all.len());
    }
}

fn fixed<const D: usize>(l: &Linear, x: Tensor<D>) -> Tensor<D> {
    let shape = x.dims();
    let d_in = shape[D - 1];
    let rows: usize = shape[..D - 1].iter().product();
    let flat: Tensor<2> = x.reshape([rows, d_in]);
    let flat = if rows == 1 { flat.repeat_dim(0, 2) } else { flat };
    let out = burn::tensor::module::linear(flat, l.weight.val().transpose(), l.bias.as_ref().map(burn::module::Param::val));
    let d_out = out.dims()[1];
    let mut shape = shape; shape[D - 1] = d_out;
    out.narrow(0, 0, rows).reshape(shape)
}
#[test]
fn probe() {
    let d = Device::flex();
    let mut init = Init::random(Seed(3), &d);
    for [i, o] in [[20, 48], [48, 20], [512, 1536], [1536, 512], [1536, 1536], [64, 1536], [48, 16], [48, 4]] {
        let lin = Linear::new(&mut init, [i, o], Bias::Yes, WeightInit::FanIn);
        cmp(&format!("fixed 1x{i}->{o}"), 12, [1, 1, i], &|x: Tensor<3>| fixed(&lin, x));
        cmp(&format!("plain 77x{i}->{o}"), 12, [1, 77, i], &|x: Tensor<3>| lin.forward(x));
        cmp(&format!("fixed 77x{i}->{o}"), 12, [1, 77, i], &|x: Tensor<3>| fixed(&lin, x));
        cmp(&format!("plain 16x{i}->{o}"), 12, [1, 16, i], &|x: Tensor<3>| lin.forward(x));
    }
}
