//! `trefoil sample edm`: pictures by a diffusion teacher.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use trefoil_core::{Seed, png};
use trefoil_diffusion::{Churn, EdmSolverConfig};
use trefoil_train::Progress;
use uni_instruct::edm::{SampleRequest, Teacher};

use crate::Answer;
use crate::args::{DeviceArgs, at_least_one};
use crate::hints::hinted;
use crate::interrupt;
use crate::output::{self, Talk};
use crate::target::{self, Target};

/// Steps of a teacher when none are named.
const STEPS: usize = 18;

/// Draw pictures with a diffusion teacher (EDM), or with a one-step student of one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil sample edm runs/teacher/model -n 64 --seed 0 -o pictures/
  trefoil sample edm runs/student/model -n 64 -o pictures/
  trefoil sample edm edm-cifar10-32x32-cond-vp.pkl --class 3 -o cat.png
  trefoil sample edm teacher.safetensors --steps 256 --churn 40 --churn-range 0.05 50 --churn-noise 1.003

Picture i of a seed is the same whatever the count and the batch.")]
pub(crate) struct EdmArgs {
    /// Model folder of a training, weights with the published names (.safetensors), or a published .pkl, which
    /// is read without running what is in it
    #[arg(value_name = "TEACHER")]
    teacher: PathBuf,
    /// Number of pictures
    #[arg(short = 'n', long, default_value = "1", value_name = "N", value_parser = at_least_one)]
    count: usize,
    /// Seed of the noise and of the classes
    #[arg(long, default_value = "0", value_name = "N")]
    seed: u64,
    /// Class of all pictures, by name or number [default: drawn evenly]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Steps of Heun's method, two passes of the network each but for the last [default: 18; a one-step student
    /// takes none]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    steps: Option<usize>,
    /// Smallest noise level
    #[arg(long, default_value = "0.002", value_name = "SIGMA")]
    sigma_min: f64,
    /// Largest noise level
    #[arg(long, default_value = "80", value_name = "SIGMA")]
    sigma_max: f64,
    /// Noise added on the way, S_churn
    #[arg(long, default_value = "0", value_name = "AMOUNT")]
    churn: f64,
    /// Noise levels between which it is added, S_min and S_max
    #[arg(long, num_args = 2, value_names = ["MIN", "MAX"])]
    churn_range: Option<Vec<f64>>,
    /// Deviation of the added noise, S_noise
    #[arg(long, default_value = "1", value_name = "DEVIATION")]
    churn_noise: f64,
    /// Pictures that go through the network together; changes speed and memory, not the result
    #[arg(long, default_value = "64", value_name = "N", value_parser = at_least_one)]
    batch: usize,
    /// PNG file, folder, or `-` for standard output
    #[arg(short, long, default_value = ".", value_name = "PATH")]
    output: PathBuf,
    /// Print one JSON object per picture on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl EdmArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let target = Target::new(&self.output, self.count)?;
        target.prepare()?;
        let device = self.device.device.device()?;
        let teacher = Teacher::open(&self.teacher, &device)?;
        let request = self.request(&teacher)?;
        let stop = interrupt::watch()?;
        let mut bar: Option<Progress> = None;
        let drawn = teacher.sample(&request, &device, &mut |done, total| {
            bar.get_or_insert_with(|| Progress::new(talk.progress(), "passes", 0, total as u64))
                .update(done as u64, "");
            if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(bar) = bar {
            bar.finish();
        }
        if stop.is_requested() {
            return Ok(Answer::Interrupted);
        }
        for (index, picture) in drawn?.iter().enumerate() {
            let path = target.path("edm", self.seed, index);
            target::write(path.as_deref(), &png::encode(picture, &[])?)?;
            if self.json {
                let path = path.map(|path| path.display().to_string());
                output::print_json(&json!({ "path": path, "seed": self.seed, "index": index }))?;
            }
        }
        Ok(Answer::Yes)
    }

    fn request(&self, teacher: &Teacher) -> anyhow::Result<SampleRequest> {
        if teacher.config.one_step.is_some() && (self.steps.is_some() || self.churn != 0.0) {
            let message = format!("{} makes a picture in one pass", self.teacher.display());
            return Err(hinted(message, "leave out `--steps` and `--churn`"));
        }
        let mut request = SampleRequest::new(Seed(self.seed), self.count);
        let range = self.churn_range.as_deref().unwrap_or(&[]);
        let (min, max) = match range {
            [min, max] => (*min, *max),
            _ => (0.0, f64::MAX),
        };
        let churn = Churn { amount: self.churn, min, max, noise: self.churn_noise };
        request.solver = EdmSolverConfig {
            steps: self.steps.unwrap_or(STEPS),
            sigma_min: self.sigma_min,
            sigma_max: self.sigma_max,
            churn,
            ..EdmSolverConfig::default()
        };
        request.batch = self.batch;
        if let Some(class) = &self.class {
            let (names, count) = (&teacher.config.classes, teacher.config.network.label_dim);
            let named = names.iter().position(|name| name == class);
            let numbered = class.parse::<usize>().ok().filter(|&number| number < count);
            let Some(found) = named.or(numbered) else {
                let message = format!("`{class}` is none of the {count} classes of the teacher");
                let hint = match names[..] {
                    [] => "classes are numbers from 0".to_string(),
                    _ => format!("its classes are {}", names.join(", ")),
                };
                return Err(hinted(message, hint));
            };
            request.classes = vec![Some(found); self.count];
        }
        Ok(request)
    }
}
