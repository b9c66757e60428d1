//! The loop: batches, validation, the best model, early stopping, checkpoints.

use std::path::Path;
use std::time::Instant;

use super::checkpoint::{self, Checkpoint, State};
use super::config::{Selection, TrainConfig};
use super::optimizer::AdamW;
use super::progress::{EpochRecord, Event, Listener, append, truncate};
use super::sampler::Epoch;
use crate::evaluate::{Evaluation, Protocol, evaluate, items_of_users};
use crate::model::{
    Batch, Direct, EdgeQueries, Factored, Gradients, Graph, Losses, ModelConfig, Parameters,
    Scorer, Sizes, Step, propagate,
};
use crate::{Csr, Dataset, Error, Result, Split};

/// A training and its state.
pub struct Trainer<'a> {
    dataset: &'a Dataset,
    graph: Graph,
    seen: Csr,
    parameters: Parameters<f32>,
    optimizer: AdamW<f32>,
    best: Option<Parameters<f32>>,
    state: State,
}

/// The computation of the steps. Only the factored one can keep intents.
enum Engine {
    Direct(Direct),
    Factored(Box<Factored<f32>>),
}

impl Engine {
    fn new(config: &ModelConfig, graph: &Graph) -> Result<Self> {
        match config.edge_queries {
            EdgeQueries::EachLayer => Ok(Self::Direct(Direct::new(config)?)),
            _ => Ok(Self::Factored(Box::new(Factored::new(config, graph)?))),
        }
    }

    fn step(&mut self) -> &mut dyn Step<f32> {
        match self {
            Self::Direct(direct) => direct,
            Self::Factored(factored) => factored.as_mut(),
        }
    }
}

/// Names of the files of a training's folder.
const CHECKPOINT: &str = "checkpoint.safetensors";
const BEST: &str = "best.safetensors";
const METRICS: &str = "metrics.jsonl";

impl<'a> Trainer<'a> {
    /// A fresh training.
    ///
    /// # Errors
    /// Settings out of range, or data that do not fit together.
    pub fn new(model: &ModelConfig, train: &TrainConfig, dataset: &'a Dataset) -> Result<Self> {
        model.validate()?;
        train.validate()?;
        if dataset.train.is_empty() {
            let reason = "there are no training rows".to_owned();
            return Err(Error::Config { field: "train".to_owned(), reason });
        }
        let sizes = Sizes { users: dataset.users, items: dataset.items, words: dataset.words };
        let parameters = Parameters::init(model, sizes, train.seed);
        let state = State {
            epoch: 0,
            steps: 0,
            best: None,
            waited: 0,
            model: model.clone(),
            train: train.clone(),
            sizes,
            rows: dataset.train.len(),
        };
        Ok(Self {
            dataset,
            graph: Graph::new(model, dataset)?,
            seen: items_of_users(dataset),
            optimizer: AdamW::new(train.optimizer, &parameters),
            parameters,
            best: None,
            state,
        })
    }

    /// Continues the training of a folder where its last whole epoch ended, or starts it. More epochs
    /// or more patience than before are taken over; everything else must be the same.
    ///
    /// # Errors
    /// As [`Self::new`], or a checkpoint of another training.
    pub fn open(
        folder: &Path,
        model: &ModelConfig,
        train: &TrainConfig,
        dataset: &'a Dataset,
    ) -> Result<Self> {
        let mut trainer = Self::new(model, train, dataset)?;
        let path = folder.join(CHECKPOINT);
        if !path.exists() {
            return Ok(trainer);
        }
        let Checkpoint { mut state, parameters, optimizer } = checkpoint::load(&path)?;
        (state.train.epochs, state.train.patience) = (train.epochs, train.patience);
        let own = &trainer.state;
        let pairs = [
            ("model", state.model == own.model),
            ("train", state.train == own.train),
            ("dataset", state.sizes == own.sizes && state.rows == own.rows),
        ];
        if let Some((field, _)) = pairs.iter().find(|(_, is_equal)| !is_equal) {
            let reason = format!("differs from that of {}", path.display());
            return Err(Error::Config { field: (*field).to_owned(), reason });
        }
        let best = folder.join(BEST);
        if state.best.is_some() {
            trainer.best = Some(Parameters::load(model, own.sizes, &best)?);
        }
        truncate(&folder.join(METRICS), state.epoch)?;
        (trainer.state, trainer.parameters, trainer.optimizer) = (state, parameters, optimizer);
        Ok(trainer)
    }

    /// Epochs that are done.
    pub fn epoch(&self) -> usize {
        self.state.epoch
    }

    /// The best epoch so far.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.state.best.as_ref()
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &Parameters<f32> {
        &self.parameters
    }

    /// Trains until the last epoch, until the validation stops getting better, or until the listener
    /// says so. With a folder, each epoch ends with a checkpoint.
    ///
    /// # Errors
    /// Losses that are not finite, or files that cannot be written.
    pub fn run(&mut self, folder: Option<&Path>, listener: Listener<'_>) -> Result<()> {
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .map_err(|source| Error::Write { path: folder.into(), source })?;
        }
        let mut engine = Engine::new(&self.state.model, &self.graph)?;
        let mut gradients = Gradients::zeros(&self.state.model, self.state.sizes);
        while self.state.epoch < self.state.train.epochs
            && self.state.waited < self.state.train.patience
        {
            let start = Instant::now();
            let Some(losses) = self.train_epoch(&mut engine, &mut gradients, listener)? else {
                return Ok(());
            };
            self.optimizer.finish(&mut self.parameters);
            self.state.epoch += 1;
            self.state.steps = self.optimizer.steps();
            let mut record = EpochRecord {
                epoch: self.state.epoch,
                steps: self.state.steps,
                losses,
                seconds: start.elapsed().as_secs_f64(),
                valid: None,
                selection: None,
            };
            let is_better = self.validate(&mut record)?;
            if let Some(folder) = folder {
                append(&folder.join(METRICS), &record)?;
                if is_better {
                    self.parameters.save(&folder.join(BEST))?;
                }
                let path = folder.join(CHECKPOINT);
                checkpoint::save(&path, &self.state, &self.parameters, &self.optimizer)?;
            }
            if listener(Event::Epoch(&record)).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One pass over the rows; none if the listener stopped it.
    fn train_epoch(
        &mut self,
        engine: &mut Engine,
        gradients: &mut Gradients<f32>,
        listener: Listener<'_>,
    ) -> Result<Option<Losses>> {
        let TrainConfig { batch_size, refresh_intents, hold_out, seed, .. } = self.state.train;
        let log = &self.dataset.train;
        let epoch = Epoch::new(seed, self.state.epoch as u64, log, &self.seen, self.dataset.items);
        let batches = epoch.rows.len().div_ceil(batch_size);
        let mut mean = Losses::default();
        let chunks = epoch.rows.chunks(batch_size).zip(epoch.negatives.chunks(batch_size));
        for (index, (rows, negatives)) in chunks.enumerate() {
            if let Engine::Factored(factored) = &mut *engine
                && refresh_intents > 1
                && index % refresh_intents == 0
            {
                self.optimizer.finish(&mut self.parameters);
                factored.keep_intents(&self.graph, &self.parameters);
            }
            let batch = Batch::new(&self.graph, rows, negatives);
            self.graph.hold_out(hold_out, &batch);
            let step = engine.step();
            self.optimizer.catch_up(&mut self.parameters, step.reach(&self.graph, &batch));
            let losses = step.step(&self.graph, &self.parameters, &batch, gradients)?;
            self.graph.restore(hold_out, &batch);
            if !losses.total().is_finite() {
                return Err(Error::NotFinite {
                    what: "the loss",
                    step: self.optimizer.steps() + 1,
                });
            }
            self.optimizer.step(&mut self.parameters, gradients);
            let weight = rows.len() as f64 / epoch.rows.len() as f64;
            mean.bpr += weight * losses.bpr;
            mean.sg += weight * losses.sg;
            mean.cst += weight * losses.cst;
            let event =
                Event::Step { epoch: self.state.epoch + 1, batches: (index + 1, batches), losses };
            if listener(event).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(mean))
    }

    /// Validates if it is time to, and keeps the parameters if they are the best so far.
    fn validate(&mut self, record: &mut EpochRecord) -> Result<bool> {
        let train = &self.state.train;
        let is_last = self.state.epoch == train.epochs;
        let is_due = self.state.epoch.is_multiple_of(train.validate_every) || is_last;
        if self.dataset.valid.positives.is_empty() || !is_due {
            return Ok(false);
        }
        let scorer = self.scorer_of(self.parameters.clone())?;
        let valid = evaluate(&scorer, self.dataset, Split::Valid, Protocol::Sampled, None)?;
        let value = select(train.selection, &valid);
        (record.valid, record.selection) = (Some(valid), Some(value));
        let best = self.state.best.as_ref().and_then(|best| best.selection);
        if best.is_none_or(|best| value > best) {
            self.state.best = Some(record.clone());
            self.state.waited = 0;
            self.best = Some(self.parameters.clone());
            return Ok(true);
        }
        self.state.waited += 1;
        Ok(false)
    }

    fn scorer_of(&self, parameters: Parameters<f32>) -> Result<Scorer<f32>> {
        let nodes = propagate(&self.state.model, &self.graph, &parameters)?;
        Ok(Scorer::new(&self.state.model, &self.graph, parameters, nodes))
    }

    /// The best model, or the last where there is no validation.
    ///
    /// # Errors
    /// Only if the settings are out of range.
    pub fn scorer(&self) -> Result<Scorer<f32>> {
        self.scorer_of(self.best.as_ref().unwrap_or(&self.parameters).clone())
    }
}

/// The number by which an epoch is chosen, to four decimals as in the published program.
fn select(selection: Selection, valid: &Evaluation) -> f64 {
    let value = match selection {
        Selection::Hit5 => valid.all.hit(5).unwrap_or(0.0),
        Selection::Ndcg5 => {
            let scenarios = [&valid.search, &valid.recommend].into_iter().flatten();
            let values: Vec<f64> = scenarios.filter_map(|report| report.ndcg(5)).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        }
    };
    (value * 1e4).round() / 1e4
}
