//! The training of a teacher.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::nn::Init;
use trefoil_core::weights::Precision;
use trefoil_core::{Picture, Seed};
use trefoil_train::data::LabelledSet;
use trefoil_train::{
    Batch, Error, Losses, Outcome, Position, ProgressMode, Result, RunFolder, StopFlag, Task,
    Trainer,
};

use super::augment::DESCRIPTION;
use super::config::UNetConfig;
use super::denoiser::NoisyBatch;
use super::dropout::Masks;
use super::recipe::EdmRecipe;
use super::sample::{SampleRequest, one_hot};
use super::teacher::{Teacher, TeacherConfig};
use super::unet::{Condition, UNet};

/// The task of the trainer.
#[derive(Debug)]
pub struct EdmTask<'a> {
    /// The recipe.
    pub recipe: &'a EdmRecipe,
    /// The training set.
    pub data: &'a LabelledSet,
    /// The network, resolved.
    pub network: UNetConfig,
    /// Where the network is.
    pub device: Device,
}

impl EdmTask<'_> {
    /// The batch as it goes through the network; every number of a picture comes from its own streams.
    ///
    /// # Errors
    /// None for a data set and a network that belong together.
    pub fn batch(&self, batch: &Batch, device: &Device) -> Result<NoisyBatch> {
        let side = self.network.resolution;
        let (count, values) = (batch.items.len(), 3 * side * side);
        let mut clean = Vec::with_capacity(count * values);
        let mut descriptions = Vec::with_capacity(count * DESCRIPTION);
        let (mut sigma, mut labels) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for item in &batch.items {
            let picture = &self.data.pictures[item.index];
            let change = self.recipe.augment.draw(&mut batch.stream("augment", item), side);
            let planes = picture.picture.to_planes([2.0; 3], [-1.0; 3]);
            clean.extend(change.apply(&planes, side));
            descriptions.extend(change.describe(side));
            sigma.push(self.recipe.loss.draw_sigma(&mut batch.stream("sigma", item)));
            labels.push(picture.class);
        }
        let tensor = |values: Vec<f32>| -> Tensor<4> {
            Tensor::from_data(TensorData::new(values, [count, 3, side, side]), device)
        };
        let augment = (self.network.augment_dim > 0).then(|| {
            Tensor::from_data(TensorData::new(descriptions, [count, DESCRIPTION]), device)
        });
        let label = one_hot(&labels, self.network.label_dim, device).map_err(Error::task)?;
        Ok(NoisyBatch {
            clean: tensor(clean),
            noise: tensor(batch.normals("noise", values)),
            sigma,
            condition: Condition { label, augment },
        })
    }

    fn teacher(&self, network: &UNet) -> Teacher {
        let classes = if self.recipe.data.labels { self.data.classes.clone() } else { Vec::new() };
        let (network, sigma_data) = (network.clone(), self.recipe.loss.sigma_data);
        let sizes = self.network.clone();
        let config = TeacherConfig { network: sizes, sigma_data, classes, one_step: None };
        Teacher { network, config }
    }
}

impl Task for EdmTask<'_> {
    type Model = UNet;

    fn samples(&self) -> usize {
        self.data.pictures.len()
    }

    fn loss(&self, model: &UNet, batch: &Batch) -> Result<Losses> {
        let noisy = self.batch(batch, &self.device.clone().autodiff())?;
        let streams = batch.items.iter().map(|item| batch.stream("dropout", item)).collect();
        let mut masks = Masks::new(streams, self.network.dropout);
        let total = self.recipe.loss.loss(model, noisy, Some(&mut masks));
        Ok(Losses { total, parts: Vec::new() })
    }

    fn on_sample(&mut self, model: &UNet, run: &RunFolder, at: Position) -> Result<()> {
        let preview = &self.recipe.preview;
        if preview.count == 0 {
            return Ok(());
        }
        // The same noise every time, so that two grids differ by the training alone.
        let mut request = SampleRequest::new(Seed(0), preview.count);
        request.solver = preview.solver;
        let classes = self.network.label_dim;
        if classes > 0 {
            request.classes = (0..preview.count).map(|i| Some(i % classes)).collect();
        }
        let pictures = self
            .teacher(model)
            .sample(&request, &self.device, &mut |_, _| ControlFlow::Continue(()))
            .map_err(Error::task)?;
        let columns = (preview.count as f64).sqrt().ceil() as usize;
        match Picture::grid(&pictures, columns) {
            Some(grid) => run.log_picture(at.samples, "pictures", &grid),
            None => Ok(()),
        }
    }

    fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "network": self.network,
            "loss": self.recipe.loss,
            "augment": self.recipe.augment,
            "pictures": self.data.checksum(),
            "classes": self.data.classes,
        })
    }
}

/// Where a training runs and who may stop it.
#[derive(Debug)]
pub struct Training<'a> {
    /// The run folder; a run that was stopped continues.
    pub folder: &'a Path,
    /// Where the network is.
    pub device: &'a Device,
    /// A request to stop.
    pub stop: StopFlag,
    /// How progress is shown.
    pub progress: ProgressMode,
}

impl Training<'_> {
    /// Trains a teacher; when it is finished, the averaged network is in `FOLDER/model`.
    ///
    /// # Errors
    /// Those of the recipe, the run folder and the training.
    pub fn run(self, recipe: &EdmRecipe, data: &LabelledSet) -> Result<Outcome> {
        let network = recipe.network_for(data.classes.len())?;
        let run = RunFolder::open_or_create(self.folder, &recipe.to_toml()?)?;
        let fresh = network.init(&mut Init::random(recipe.train.seed, self.device))?;
        let mut task = EdmTask { recipe, data, network, device: self.device.clone() };
        let (stop, progress) = (self.stop, self.progress);
        let trained =
            Trainer { config: &recipe.train, run: &run, stop, progress }.fit(&mut task, fresh)?;
        if trained.outcome == Outcome::Finished {
            task.teacher(&trained.average).save(&run.model_dir(), Precision::F32)?;
        }
        Ok(trained.outcome)
    }
}
