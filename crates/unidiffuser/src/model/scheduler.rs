//! `scheduler/scheduler_config.json`: the noise levels as diffusers writes them.

use std::path::Path;

use serde_json::{Value, json};
use trefoil_core::{Error, Result, fs};
use trefoil_diffusion::ScheduleConfig;

/// Folder of the scheduler inside a model folder.
pub(super) const FOLDER: &str = "scheduler";
const FILE: &str = "scheduler_config.json";

/// Reads the betas; a folder without the file has the published ones.
///
/// # Errors
/// [`Error::Format`] with the file when it describes another process.
pub(super) fn load(model: &Path) -> Result<ScheduleConfig> {
    let path = model.join(FOLDER).join(FILE);
    if !path.exists() {
        return Ok(ScheduleConfig::default());
    }
    let json: Value = fs::read_python_json(&path)?;
    parse(&json).map_err(|reason| Error::format(&path, reason))
}

/// Writes the betas, and the sampler that diffusers pairs with them.
///
/// # Errors
/// [`Error::Write`] with the file.
pub(super) fn save(config: &ScheduleConfig, model: &Path) -> Result<()> {
    let folder = model.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let json = json!({
        "_class_name": "DPMSolverMultistepScheduler",
        "algorithm_type": "dpmsolver++",
        "beta_end": config.beta_end,
        "beta_schedule": "scaled_linear",
        "beta_start": config.beta_start,
        "lower_order_final": true,
        "num_train_timesteps": config.num_train_timesteps,
        "prediction_type": "epsilon",
        "solver_order": 3,
        "solver_type": "midpoint",
        "thresholding": false,
    });
    fs::write_json(&folder.join(FILE), &json)
}

fn parse(json: &Value) -> Result<ScheduleConfig, String> {
    for (field, supported) in [
        ("beta_schedule", json!("scaled_linear")),
        ("prediction_type", json!("epsilon")),
        ("trained_betas", Value::Null),
        ("rescale_betas_zero_snr", json!(false)),
    ] {
        if let Some(found) = json.get(field).filter(|found| **found != supported) {
            return Err(format!("`{field}`: expected {supported}, found {found}"));
        }
    }
    let defaults = ScheduleConfig::default();
    let number = |field: &str, default: f64| match json.get(field) {
        None => Ok(default),
        Some(value) => {
            value.as_f64().ok_or_else(|| format!("`{field}`: expected a number, found {value}"))
        }
    };
    let steps = match json.get("num_train_timesteps") {
        None => defaults.num_train_timesteps,
        Some(value) => value
            .as_u64()
            .map(|n| n as usize)
            .ok_or_else(|| format!("`num_train_timesteps`: expected an integer, found {value}"))?,
    };
    let config = ScheduleConfig {
        num_train_timesteps: steps,
        beta_start: number("beta_start", defaults.beta_start)?,
        beta_end: number("beta_end", defaults.beta_end)?,
    };
    config.init().map_err(|e| e.to_string())?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_processes_are_refused_by_field() {
        for (json, field) in [
            (json!({"beta_schedule": "linear"}), "beta_schedule"),
            (json!({"prediction_type": "v_prediction"}), "prediction_type"),
            (json!({"trained_betas": [0.1]}), "trained_betas"),
            (json!({"beta_start": "x"}), "beta_start"),
            (json!({"num_train_timesteps": 1.5}), "num_train_timesteps"),
            (json!({"beta_end": 2.0}), "beta_end"),
        ] {
            let reason = parse(&json).unwrap_err();
            assert!(reason.contains(&format!("`{field}`")), "{reason}");
        }
        let config = parse(&json!({"beta_end": 0.02, "num_train_timesteps": 10})).unwrap();
        assert_eq!((config.beta_end, config.num_train_timesteps), (0.02, 10));
    }
}
