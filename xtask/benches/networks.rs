//! Times of UniDiffuser on the CPU, in f32, at the sizes of the shipped recipe and at the published width.
//!
//! ```sh
//! cargo bench --workspace --bench networks -- uvit/forward
//! ```
//!
//! A block is timed as a U-ViT with no block but the middle one, here and in `bench_torch.py`.

mod harness;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use trefoil_core::Seed;
use trefoil_core::nn::Init;
use trefoil_diffusion::{SolverConfig, SolverKind};
use trefoil_train::TrainConfig;
use unidiffuser::autoencoder::{Autoencoder, AutoencoderConfig};
use unidiffuser::mode::Mode;
use unidiffuser::model::UniDiffuser;
use unidiffuser::pipeline::Request;
use unidiffuser::train::Recipe;
use unidiffuser::uvit::UVitConfig;

use harness::training::Training;
use harness::{Case, Step, unet, uvit, work};

/// Recipe of the shipped model.
const RECIPE: &str = "../configs/unidiffuser/openmoji-32.toml";
/// The shipped model.
const MODEL: &str = "../models/openmoji-32";
/// Pictures that are drawn at a time, each with and without its prompt.
const PICTURES: usize = 4;
/// Steps of the solver.
const STEPS: usize = 50;
/// Batch of the block at the published width.
const PUBLISHED_BATCH: usize = 2;

fn main() {
    let recipe = Recipe::open(&file(RECIPE)).expect("the shipped recipe is valid");
    harness::run("networks", || cases(&recipe));
}

fn file(relative: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn cases(recipe: &Recipe) -> Vec<Case> {
    let model = &recipe.unidiffuser.model;
    let small = small_block();
    let published = UVitConfig { num_layers: 0, ..UVitConfig::default() };
    let train = &recipe.unidiffuser.train;
    vec![
        uvit::forward("block/forward-published-width", &published, PUBLISHED_BATCH),
        uvit::forward("block/forward", &small, train.batch_size),
        uvit::backward("block/forward-backward", &small, train),
        uvit::train("block/train", &small, train),
        uvit::forward("uvit/forward", model, 2 * PICTURES),
        uvit::train("uvit/train", model, train),
        sampling("uvit/sample", recipe),
        unet::forward("unet-block/forward"),
        unet::backward("unet-block/forward-backward"),
        autoencoder_encode("autoencoder/encode", recipe),
        autoencoder_decode("autoencoder/decode", recipe),
        autoencoder_train("autoencoder/train", recipe),
    ]
}

/// One block of 82 tokens, 256 wide.
fn small_block() -> UVitConfig {
    UVitConfig {
        sample_size: 8,
        embed_dim: 256,
        num_layers: 0,
        num_heads: 4,
        num_text_tokens: 63,
        clip_img_dim: 64,
        text_dim: 16,
        use_data_type_embedding: false,
        ..UVitConfig::default()
    }
}

/// Draws pictures from a sentence with the shipped model, guided: in PyTorch, the passes of the U-ViT and
/// one of the decoder, without the text encoder and the solver.
fn sampling(id: &str, recipe: &Recipe) -> Case {
    let (model, stage) = (&recipe.unidiffuser.model, &recipe.autoencoder.model);
    let side = recipe.data.resolution as usize;
    let (_, mut torch) = uvit::terms(model, 2 * PICTURES, "sample");
    torch["steps"] = json!(STEPS);
    torch["vae"] = autoencoder_terms(stage, side);
    let work = work::uvit(model, 2 * PICTURES)
        .times(STEPS as f64)
        .plus(work::decoder(stage, PICTURES, side));
    let prepare = || {
        let model = UniDiffuser::load(&file(MODEL), &Device::flex()).expect("the shipped model");
        let request = Request {
            prompt: Some("red apple".into()),
            count: PICTURES,
            solver: SolverConfig::new(SolverKind::DpmSolverPlusPlusMulti, STEPS),
            ..Request::new(Mode::TextToImage)
        };
        let parameters = model.uvit.num_params() + model.autoencoder.num_params();
        let step = move || {
            let drawn = model.generate(&request, &mut |_| ControlFlow::Continue(()));
            black_box(drawn.expect("the request is valid"));
        };
        (Box::new(step) as Step, parameters)
    };
    let shape = format!("{PICTURES} pictures of {side}x{side}, {STEPS} steps, guided");
    Case { id: id.into(), shape, work, torch, prepare: Box::new(prepare) }
}

fn autoencoder_encode(id: &str, recipe: &Recipe) -> Case {
    autoencoder_case(id, recipe, "encode", |setting| {
        let device = Device::flex();
        let network = setting.network(&device);
        let images = setting.images(&device);
        Box::new(move || {
            let posterior = network.encode(images.clone());
            black_box((posterior.mean.into_data(), posterior.logvar.into_data()));
        })
    })
}

fn autoencoder_decode(id: &str, recipe: &Recipe) -> Case {
    autoencoder_case(id, recipe, "decode", |setting| {
        let device = Device::flex();
        let network = setting.network(&device);
        let latents = setting.latents(&device);
        Box::new(move || {
            black_box(network.decode(latents.clone()).into_data());
        })
    })
}

fn autoencoder_train(id: &str, recipe: &Recipe) -> Case {
    autoencoder_case(id, recipe, "train", |setting| {
        let device = Device::flex();
        let mut training = Training::new(setting.network(&device), &setting.train);
        let device = device.autodiff();
        let (images, noise) = (setting.images(&device), setting.latents(&device));
        let kl_weight = setting.kl_weight;
        Box::new(move || {
            training.step(|network: &Autoencoder| {
                let posterior = network.encode(images.clone());
                let decoded = network.decode(posterior.sample(noise.clone()));
                (decoded - images.clone()).square().mean() + posterior.kl().mean() * kl_weight
            });
        })
    })
}

/// The autoencoder of a recipe and its inputs.
struct AutoencoderSetting {
    model: AutoencoderConfig,
    train: TrainConfig,
    kl_weight: f64,
    side: usize,
}

impl AutoencoderSetting {
    fn network(&self, device: &Device) -> Autoencoder {
        let init = &mut Init::random(Seed(0), device);
        self.model.init(init).expect("the configuration is valid")
    }

    fn images(&self, device: &Device) -> Tensor<4> {
        let shape = [self.train.batch_size, self.model.in_channels, self.side, self.side];
        Seed(1).stream("images", 0).normal_tensor(shape, device)
    }

    fn latents(&self, device: &Device) -> Tensor<4> {
        let side = self.side / self.model.downsampling();
        let shape = [self.train.batch_size, self.model.latent_channels, side, side];
        Seed(1).stream("latents", 0).normal_tensor(shape, device)
    }
}

/// For `bench_torch.py`.
fn autoencoder_terms(model: &AutoencoderConfig, side: usize) -> Value {
    json!({
        "case": "vae",
        "size": side,
        "in_channels": model.in_channels,
        "block_out_channels": model.block_out_channels,
        "layers_per_block": model.layers_per_block,
        "latent_channels": model.latent_channels,
        "norm_groups": model.norm_num_groups,
    })
}

fn autoencoder_case(
    id: &str,
    recipe: &Recipe,
    operation: &str,
    step: fn(&AutoencoderSetting) -> Step,
) -> Case {
    let stage = &recipe.autoencoder;
    let side = recipe.data.resolution as usize;
    let model = &stage.model;
    let batch = stage.train.batch_size;
    let shape = format!("batch {batch}, {side}x{side}, widths {:?}", model.block_out_channels);
    let mut torch = autoencoder_terms(model, side);
    torch["operations"] = json!([operation]);
    torch["batch"] = json!(batch);
    torch["kl_weight"] = json!(stage.kl_weight);
    let setting = AutoencoderSetting {
        model: model.clone(),
        train: stage.train.clone(),
        kl_weight: stage.kl_weight,
        side,
    };
    let work = match operation {
        "encode" => work::encoder(model, batch, side),
        "decode" => work::decoder(model, batch, side),
        _ => work::encoder(model, batch, side)
            .plus(work::decoder(model, batch, side))
            .times(uvit::BACKWARD),
    };
    let prepare = move || (step(&setting), setting.network(&Device::flex()).num_params());
    Case { id: id.into(), shape, work, torch, prepare: Box::new(prepare) }
}
