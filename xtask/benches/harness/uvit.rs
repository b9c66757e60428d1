//! A U-ViT as a case.

use std::hint::black_box;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use trefoil_core::Seed;
use trefoil_core::nn::Init;
use trefoil_train::TrainConfig;
use unidiffuser::uvit::{Levels, Modalities, UVit, UVitConfig};

use super::training::Training;
use super::{Case, Step, work};

/// Passes that a step with gradients is worth: one forward and two products backward.
pub(crate) const BACKWARD: f64 = 3.0;

/// One pass.
pub(crate) fn forward(id: &str, config: &UVitConfig, batch: usize) -> Case {
    let (shape, torch) = terms(config, batch, "forward");
    let work = work::uvit(config, batch);
    let config = config.clone();
    let prepare = move || {
        let device = Device::flex();
        let network = network(&config, &device);
        let parameters = network.num_params();
        let input = modalities(&config, "input", batch, &device);
        let levels = Levels::uniform(batch, 300.0, 500.0);
        let step = move || {
            let Modalities { z, clip, text } = network.forward(input.clone(), &levels);
            black_box((z.into_data(), clip.into_data(), text.into_data()));
        };
        (Box::new(step) as Step, parameters)
    };
    Case { id: id.into(), shape, work, torch, prepare: Box::new(prepare) }
}

/// Loss and gradients.
pub(crate) fn backward(id: &str, config: &UVitConfig, train: &TrainConfig) -> Case {
    differentiated(id, config, train, "backward")
}

/// A training step.
pub(crate) fn train(id: &str, config: &UVitConfig, train: &TrainConfig) -> Case {
    differentiated(id, config, train, "train")
}

fn differentiated(
    id: &str,
    config: &UVitConfig,
    train: &TrainConfig,
    operation: &'static str,
) -> Case {
    let batch = train.batch_size;
    let (shape, torch) = terms(config, batch, operation);
    let work = work::uvit(config, batch).times(BACKWARD);
    let (config, train) = (config.clone(), train.clone());
    let prepare = move || {
        let device = Device::flex();
        let mut training = Training::new(network(&config, &device), &train);
        let parameters = training.parameters();
        let device = device.autodiff();
        let input = modalities(&config, "input", batch, &device);
        let noise = flat(modalities(&config, "noise", batch, &device));
        let levels = Levels::uniform(batch, 300.0, 500.0);
        let step = move || {
            let loss = |network: &UVit| {
                (flat(network.forward(input.clone(), &levels)) - noise.clone()).square().mean()
            };
            match operation {
                "train" => training.step(loss),
                _ => training.backward(loss),
            }
        };
        (Box::new(step) as Step, parameters)
    };
    Case { id: id.into(), shape, work, torch, prepare: Box::new(prepare) }
}

/// All elements of a sample, `[B, N]`.
fn flat(modalities: Modalities) -> Tensor<2> {
    let Modalities { z, clip, text } = modalities;
    Tensor::cat(vec![z.flatten(1, 3), clip.flatten(1, 2), text.flatten(1, 2)], 1)
}

fn network(config: &UVitConfig, device: &Device) -> UVit {
    config.init(&mut Init::random(Seed(0), device)).expect("the configuration is valid")
}

fn modalities(config: &UVitConfig, name: &str, batch: usize, device: &Device) -> Modalities {
    let side = config.sample_size;
    let mut stream = Seed(1).stream(name, 0);
    Modalities {
        z: stream.normal_tensor([batch, config.in_channels, side, side], device),
        clip: stream.normal_tensor([batch, 1, config.clip_img_dim], device),
        text: stream.normal_tensor([batch, config.num_text_tokens, config.text_dim], device),
    }
}

/// The shape for people and for `bench_torch.py`.
pub(crate) fn terms(config: &UVitConfig, batch: usize, operation: &str) -> (String, Value) {
    let shape = format!(
        "batch {batch}, {} tokens, width {}, {} heads, {} blocks",
        config.num_tokens(),
        config.embed_dim,
        config.num_heads,
        config.num_layers + 1,
    );
    let torch = json!({
        "case": "uvit",
        "operations": [operation],
        "batch": batch,
        "embed_dim": config.embed_dim,
        "depth": config.num_layers,
        "heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        "latent_size": config.sample_size,
        "latent_channels": config.in_channels,
        "patch": config.patch_size,
        "text_tokens": config.num_text_tokens,
        "text_dim": config.text_dim,
        "clip_dim": config.clip_img_dim,
        "version": usize::from(config.use_data_type_embedding),
    });
    (shape, torch)
}
