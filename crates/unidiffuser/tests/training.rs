//! The training step against PyTorch (AdamW, autograd) on the tiny network: losses, gradients, three
//! updates and the moving average. `reference/fixtures.py` makes the fixtures.

mod support;

use burn::module::Module;
use burn::tensor::Device;
use support::{assert_close, fixture, open, tensor};
use trefoil_core::nn::Init;
use trefoil_core::params;
use trefoil_core::weights::{self, WeightFile};
use trefoil_diffusion::DiscreteSchedule;
use trefoil_train::optim::{GradientSum, Optimizer};
use trefoil_train::{Decay, Position, TrainConfig};
use unidiffuser::keys;
use unidiffuser::train::Weighting;
use unidiffuser::train::joint::{JointLoss, LossWeights, Noised, joint_loss};
use unidiffuser::uvit::{Levels, Modalities, UVit, UVitConfig};

const BATCH: usize = 3;

fn network() -> UVit {
    let config = UVitConfig {
        sample_size: 8,
        embed_dim: 48,
        num_layers: 4,
        num_heads: 3,
        text_dim: 24,
        clip_img_dim: 20,
        ..UVitConfig::default()
    };
    let path = fixture("hf-v1/unet/diffusion_pytorch_model.safetensors");
    let file = WeightFile::open(&path).unwrap();
    let network = config.init(&mut Init::zeros(&Device::flex())).unwrap();
    weights::load_strict(network, &keys::uvit(file), &[]).unwrap().train()
}

fn noised(file: &WeightFile, step: usize) -> Noised {
    let device = Device::flex().autodiff();
    let modalities = |prefix: &str| Modalities {
        z: tensor::<4>(file, &format!("{prefix}.z")).to_device(&device),
        clip: tensor::<3>(file, &format!("{prefix}.clip")).to_device(&device),
        text: tensor::<3>(file, &format!("{prefix}.text")).to_device(&device),
    };
    let integers = |name: &str| file.get_integers(name).unwrap().0;
    let levels = Levels {
        image: integers(&format!("step{step}.n_img")).into_iter().map(|n| n as f32).collect(),
        text: integers(&format!("step{step}.n_text")).into_iter().map(|n| n as f32).collect(),
        data_type: integers("data_type").into_iter().map(|n| n as i32).collect(),
    };
    Noised { clean: modalities("x0"), noise: modalities(&format!("step{step}.eps")), levels }
}

fn loss(network: &UVit, file: &WeightFile, step: usize, weighting: Weighting) -> JointLoss {
    let weights = LossWeights::new(DiscreteSchedule::default(), weighting, 1.0);
    joint_loss(network, noised(file, step), &weights).unwrap()
}

fn mean(file: &WeightFile, name: &str) -> f64 {
    file.get(name).unwrap().iter::<f64>().sum::<f64>() / BATCH as f64
}

#[test]
fn both_weightings_and_their_gradients_equal_pytorch() {
    let file = open("train");
    let grads = open("train_grads");
    for (weighting, name) in
        [(Weighting::Elements, "loss_concat"), (Weighting::Parts, "loss_parts")]
    {
        let network = network();
        let total = loss(&network, &file, 0, weighting).total;
        let expected = mean(&file, &format!("step0.{name}"));
        let found = f64::from(total.clone().into_scalar::<f32>());
        assert!((found - expected).abs() < 1e-5 * expected, "{name}: {found} {expected}");
        let mut compared = 0;
        for (name, gradient) in params::gradients(&network, total.backward()) {
            let expected = match weighting {
                Weighting::Elements => grads.get(&name).unwrap(),
                Weighting::Parts => match file.get(&format!("grad_parts.{name}")) {
                    Ok(expected) => expected,
                    Err(_) => continue,
                },
            };
            assert_close(&name, &gradient, &expected, 1e-4);
            compared += 1;
        }
        assert_eq!(compared, if weighting == Weighting::Elements { 80 } else { 23 });
    }
}

#[test]
fn three_updates_and_the_moving_average_equal_pytorch() {
    let file = open("train");
    let config = TrainConfig {
        batch_size: BATCH,
        learning_rate: 2e-4,
        warmup: 5 * BATCH as u64,
        decay: Decay::Constant,
        weight_decay: 0.03,
        betas: [0.9, 0.9],
        eps: 1e-8,
        clip_norm: None,
        ema_rate: Some(0.99),
        ..TrainConfig::default()
    };
    let mut network = network();
    let mut optimizer = Optimizer::new(&network, |_| true);
    for step in 0..3 {
        let total = loss(&network, &file, step, Weighting::Elements).total;
        let expected = mean(&file, &format!("step{step}.loss_concat"));
        let found = f64::from(total.clone().into_scalar::<f32>());
        assert!((found - expected).abs() < 1e-5 * expected, "step {step}: {found} {expected}");
        let mut gradients = GradientSum::default();
        gradients.add(&network, total.backward());
        let samples = (step * BATCH) as u64;
        let position = Position { step: step as u64, samples, epoch: 0 };
        optimizer.update(&gradients, &config, position).unwrap();
        network = optimizer.write_to(network).unwrap();
    }
    let last = open("train_final");
    for (name, value) in params::export(&network) {
        assert_close(&name, &value, &last.get(&name).unwrap(), 1e-4);
    }
    let average = optimizer.write_average_to(network.valid()).unwrap();
    let mut compared = 0;
    for (name, value) in params::export(&average) {
        if let Ok(expected) = file.get(&format!("ema.{name}")) {
            assert_close(&name, &value, &expected, 1e-4);
            compared += 1;
        }
    }
    assert_eq!(compared, 23);
}
