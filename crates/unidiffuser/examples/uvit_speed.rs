use burn::tensor::Device;
use burn::module::Module;
use std::time::Instant;
use trefoil_core::{Seed, nn::Init, params};
use unidiffuser::uvit::*;
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    for (d, heads, layers, b) in [(192, 3, 8, 32), (192, 3, 8, 64), (256, 4, 8, 32), (256, 4, 8, 64), (256, 4, 6, 64)] {
        let c = UVitConfig { sample_size: 8, embed_dim: d, num_layers: layers, num_heads: heads, num_text_tokens: 16, text_dim: 16, clip_img_dim: 64, use_data_type_embedding: false, ..UVitConfig::default() };
        let dev = Device::flex();
        let net = c.init(&mut Init::random(Seed(0), &dev)).unwrap().train();
        let ad = dev.clone().autodiff();
        let mut s = Seed(1).stream("x", 0);
        let input = Modalities { z: s.normal_tensor([b, 4, 8, 8], &ad), clip: s.normal_tensor([b, 1, 64], &ad), text: s.normal_tensor([b, 16, 16], &ad) };
        let lv = Levels::uniform(b, 300.0, 500.0);
        let mut t = vec![]; let mut tf = vec![]; let mut tg = vec![];
        for _ in 0..8 {
            let a = Instant::now();
            let o = net.forward(input.clone(), &lv);
            let l = o.z.square().mean() + o.clip.square().mean() + o.text.square().mean();
            tf.push(a.elapsed().as_secs_f64());
            let g = l.backward();
            t.push(a.elapsed().as_secs_f64());
            let x = params::gradients(&net, &g); drop(x); drop(g);
            tg.push(a.elapsed().as_secs_f64());
        }
        t.sort_by(f64::total_cmp); tf.sort_by(f64::total_cmp); tg.sort_by(f64::total_cmp);
        println!("d{d} l{layers} b{b} params {}: fwd {:.0} ms, fwd+bwd {:.0} ms, +grads {:.0} -> {:.0} samples/s", net.num_params(), tf[4]*1e3, t[4]*1e3, tg[4]*1e3, b as f64 / tg[4]);
    }
}
