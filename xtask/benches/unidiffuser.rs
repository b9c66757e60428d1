//! Times of UniDiffuser on the CPU, in f32, at the sizes of the shipped recipe and at the published width.
//!
//! ```sh
//! cargo bench --workspace --bench unidiffuser -- uvit/forward
//! ```
//!
//! `cargo xtask bench` runs this next to PyTorch. For it, `TREFOIL_BENCH_CASES` names a file that gets
//! the cases that were run, in the terms of `reference/bench_torch.py`. A block is timed as a U-ViT with
//! no block but the middle one, here and there.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use criterion::{Criterion, SamplingMode};
use mimalloc::MiMalloc;
use serde_json::{Value, json};
use trefoil_core::Seed;
use trefoil_core::nn::Init;
use trefoil_train::optim::{GradientSum, Optimizer};
use trefoil_train::{Position, TrainConfig};
use unidiffuser::autoencoder::{Autoencoder, AutoencoderConfig};
use unidiffuser::train::Recipe;
use unidiffuser::uvit::{Levels, Modalities, UVit, UVitConfig};

// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Recipe of the shipped model.
const RECIPE: &str = "../configs/unidiffuser/openmoji-32.toml";
/// Four pictures, each with and without its prompt.
const SAMPLING_BATCH: usize = 8;
/// Batch of the block at the published width.
const PUBLISHED_BATCH: usize = 2;

/// What is repeated.
type Step = Box<dyn FnMut()>;

/// One line of the table.
struct Case {
    /// Group and name, which is also the folder of the estimates.
    id: &'static str,
    /// For people.
    shape: String,
    /// For `bench_torch.py`.
    torch: Value,
    /// Makes the network; returns the step and the number of parameters.
    prepare: Box<dyn Fn() -> (Step, usize)>,
}

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECIPE);
    let recipe = Recipe::open(&path).expect("the shipped recipe is valid");
    // One repetition is long: few of them, the same number in each sample.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut measured = Vec::new();
    for case in cases(&recipe) {
        let (group, name) = case.id.split_once('/').expect("group and name");
        let mut group = criterion.benchmark_group(group);
        group.sampling_mode(SamplingMode::Flat);
        let mut prepared = None; // not made when the filter leaves the case out
        group.bench_function(name, |bencher| {
            let (step, _) = prepared.get_or_insert_with(|| (case.prepare)());
            bencher.iter(step);
        });
        group.finish();
        if let Some((_, parameters)) = prepared {
            let Case { id, shape, torch, .. } = case;
            measured.push(
                json!({ "id": id, "shape": shape, "parameters": parameters, "torch": torch }),
            );
        }
    }
    criterion.final_summary();
    if let Some(path) = std::env::var_os("TREFOIL_BENCH_CASES") {
        std::fs::write(&path, Value::from(measured).to_string()).expect("the file can be written");
    }
}

fn cases(recipe: &Recipe) -> Vec<Case> {
    let uvit = &recipe.unidiffuser.model;
    let block = UVitConfig { num_layers: 0, ..uvit.clone() };
    let published = UVitConfig { num_layers: 0, ..UVitConfig::default() };
    let train = &recipe.unidiffuser.train;
    vec![
        uvit_forward("block/forward", &block, train.batch_size),
        uvit_forward("block/forward-published-width", &published, PUBLISHED_BATCH),
        uvit_forward("uvit/forward", uvit, SAMPLING_BATCH),
        uvit_train("uvit/train", uvit, train),
        autoencoder_encode("autoencoder/encode", recipe),
        autoencoder_decode("autoencoder/decode", recipe),
        autoencoder_train("autoencoder/train", recipe),
    ]
}

fn uvit_forward(id: &'static str, config: &UVitConfig, batch: usize) -> Case {
    let (shape, torch) = uvit_terms(config, batch, "forward");
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
    Case { id, shape, torch, prepare: Box::new(prepare) }
}

fn uvit_train(id: &'static str, config: &UVitConfig, train: &TrainConfig) -> Case {
    let batch = train.batch_size;
    let (shape, torch) = uvit_terms(config, batch, "train");
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
            training.step(|network: &UVit| {
                (flat(network.forward(input.clone(), &levels)) - noise.clone()).square().mean()
            });
        };
        (Box::new(step) as Step, parameters)
    };
    Case { id, shape, torch, prepare: Box::new(prepare) }
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
fn uvit_terms(config: &UVitConfig, batch: usize, operation: &str) -> (String, Value) {
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

fn autoencoder_encode(id: &'static str, recipe: &Recipe) -> Case {
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

fn autoencoder_decode(id: &'static str, recipe: &Recipe) -> Case {
    autoencoder_case(id, recipe, "decode", |setting| {
        let device = Device::flex();
        let network = setting.network(&device);
        let latents = setting.latents(&device);
        Box::new(move || {
            black_box(network.decode(latents.clone()).into_data());
        })
    })
}

fn autoencoder_train(id: &'static str, recipe: &Recipe) -> Case {
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

fn autoencoder_case(
    id: &'static str,
    recipe: &Recipe,
    operation: &str,
    step: fn(&AutoencoderSetting) -> Step,
) -> Case {
    let stage = &recipe.autoencoder;
    let side = recipe.data.resolution as usize;
    let model = &stage.model;
    let batch = stage.train.batch_size;
    let shape = format!("batch {batch}, {side}x{side}, widths {:?}", model.block_out_channels);
    let torch = json!({
        "case": "vae",
        "operations": [operation],
        "batch": batch,
        "size": side,
        "in_channels": model.in_channels,
        "block_out_channels": model.block_out_channels,
        "layers_per_block": model.layers_per_block,
        "latent_channels": model.latent_channels,
        "norm_groups": model.norm_num_groups,
        "kl_weight": stage.kl_weight,
    });
    let setting = AutoencoderSetting {
        model: model.clone(),
        train: stage.train.clone(),
        kl_weight: stage.kl_weight,
        side,
    };
    let prepare = move || (step(&setting), setting.network(&Device::flex()).num_params());
    Case { id, shape, torch, prepare: Box::new(prepare) }
}

/// What a training step needs and changes.
struct Training<M> {
    model: Option<M>,
    optimizer: Optimizer,
    config: TrainConfig,
    position: Position,
}

impl<M: Module> Training<M> {
    fn new(model: M, config: &TrainConfig) -> Self {
        let model = model.train();
        let optimizer = Optimizer::new(&model, |_| true);
        let position = Position::default();
        Self { model: Some(model), optimizer, config: config.clone(), position }
    }

    fn parameters(&self) -> usize {
        self.model.as_ref().map_or(0, Module::num_params)
    }

    /// Loss, gradients, update.
    fn step(&mut self, loss: impl FnOnce(&M) -> Tensor<1>) {
        let model = self.model.take().expect("each step puts the network back");
        let gradients = loss(&model).backward();
        let mut sum = GradientSum::default();
        sum.add(&model, &gradients);
        let norm = self.optimizer.update(&sum, &self.config, self.position);
        black_box(norm.expect("gradients are finite"));
        self.position.step += 1;
        self.position.samples += self.config.batch_size as u64;
        self.model = Some(self.optimizer.write_to(model).expect("the network it was made for"));
    }
}
