//! Three training steps: losses, gradients, updated weights and their moving average.

use burn::module::Module;
use trefoil_core::params;
use trefoil_core::weights::WeightFile;
use trefoil_diffusion::DiscreteSchedule;
use trefoil_train::optim::{GradientSum, Optimizer};
use trefoil_train::{Decay, Position, TrainConfig};

use super::{Check, Oracle, Result, TRAINING};
use crate::train::Weighting;
use crate::train::joint::{JointLoss, LossWeights, Noised, joint_loss};
use crate::uvit::{Levels, Modalities, UVit};

/// Group `train`.
pub(super) fn compare(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let batch = file.shape("x0.z")?.and_then(|shape| shape.first().copied()).unwrap_or(1);
    let facts = &oracle.facts(group)["optimizer"];
    let number = |field: &str| facts[field].as_f64().unwrap_or(f64::NAN);
    let warmup = number("warmup_steps") as u64;
    let config = TrainConfig {
        batch_size: batch,
        learning_rate: number("lr"),
        warmup: warmup * batch as u64,
        decay: Decay::Constant,
        weight_decay: number("weight_decay"),
        betas: [0, 1].map(|i| facts["betas"][i].as_f64().unwrap_or(f64::NAN)),
        eps: number("eps"),
        clip_norm: None,
        ema_rate: facts["ema"].as_f64(),
        ..TrainConfig::default()
    };
    let mut checks = Vec::new();
    let mut network = oracle.model.uvit.clone().train();
    // The second weighting: its loss at each step, and its gradients at the first.
    let parts = loss(oracle, &network, &file, 0, Weighting::Parts)?.total;
    gradients(&mut checks, &file, "grad_parts", params::gradients(&network, parts.backward()))?;
    let mut optimizer = Optimizer::new(&network, |_| true);
    for step in 0..3 {
        let parts = loss(oracle, &network, &file, step, Weighting::Parts)?.total;
        mean(&mut checks, &file, &format!("step{step}.loss_parts"), parts.into_scalar::<f32>())?;
        let total = loss(oracle, &network, &file, step, Weighting::Elements)?.total;
        let value = total.clone().into_scalar::<f32>();
        mean(&mut checks, &file, &format!("step{step}.loss_concat"), value)?;
        let flow = total.backward();
        let mut sum = GradientSum::default();
        if step == 0 {
            let again = loss(oracle, &network, &file, step, Weighting::Elements)?.total.backward();
            gradients(&mut checks, &file, "grad", params::gradients(&network, again))?;
        }
        sum.add(&network, flow);
        let position = Position { step, samples: step * batch as u64, epoch: 0 };
        optimizer.update(&sum, &config, position).map_err(|bad| {
            let what = format!("gradient of `{}` in step {step}", bad.parameter);
            trefoil_core::Error::NonFinite { what }
        })?;
        network = optimizer.write_to(network)?;
    }
    weights(&mut checks, &file, "final", &network)?;
    weights(&mut checks, &file, "ema", &optimizer.write_average_to(network.valid())?)?;
    Ok(checks)
}

fn loss(
    oracle: &Oracle,
    network: &UVit,
    file: &WeightFile,
    step: u64,
    weighting: Weighting,
) -> Result<JointLoss> {
    let device = oracle.device.clone().autodiff();
    let modalities = |prefix: &str| -> Result<Modalities> {
        let name = |part: &str| format!("{prefix}.{part}");
        Ok(Modalities {
            z: oracle.tensor::<4>(file, &name("z"))?.to_device(&device),
            clip: oracle.tensor::<3>(file, &name("clip"))?.to_device(&device),
            text: oracle.tensor::<3>(file, &name("text"))?.to_device(&device),
        })
    };
    let integers = |name: &str| -> Result<Vec<i64>> { Ok(file.get_integers(name)?.0) };
    let floats = |values: Vec<i64>| values.into_iter().map(|n| n as f32).collect();
    let levels = Levels {
        image: floats(integers(&format!("step{step}.n_img"))?),
        text: floats(integers(&format!("step{step}.n_text"))?),
        data_type: integers("data_type")?.into_iter().map(|n| n as i32).collect(),
    };
    let noised =
        Noised { clean: modalities("x0")?, noise: modalities(&format!("step{step}.eps"))?, levels };
    let weights = LossWeights::new(DiscreteSchedule::default(), weighting, 1.0);
    Ok(joint_loss(network, noised, &weights)?)
}

/// A mean over the batch against the mean of the recorded samples.
fn mean(checks: &mut Vec<Check>, file: &WeightFile, name: &str, found: f32) -> Result<()> {
    let recorded = file.get_f64(name)?;
    let expected = recorded.iter().sum::<f64>() / recorded.len().max(1) as f64;
    checks.push(Check::numbers(name, &[f64::from(found)], &[expected], TRAINING));
    Ok(())
}

/// Gradients against those that were recorded; what no gradient reaches has none.
fn gradients(
    checks: &mut Vec<Check>,
    file: &WeightFile,
    prefix: &str,
    found: Vec<(String, burn::tensor::TensorData)>,
) -> Result<()> {
    for (name, gradient) in found {
        let name = format!("{prefix}.{name}");
        if file.tensor(&name).is_some() {
            checks.push(Check::tensors(&name, &gradient, &file.get(&name)?, TRAINING));
        }
    }
    Ok(())
}

fn weights(checks: &mut Vec<Check>, file: &WeightFile, prefix: &str, network: &UVit) -> Result<()> {
    for (name, value) in params::export(network) {
        let name = format!("{prefix}.{name}");
        checks.push(Check::tensors(&name, &value, &file.get(&name)?, TRAINING));
    }
    Ok(())
}
