//! The run folder: all that a run leaves behind.
//!
//! ```text
//! run/
//! ├── config.toml             the resolved configuration
//! ├── metrics.jsonl           one line every `log_every` samples
//! ├── events.out.tfevents.*   the same numbers, and pictures, for TensorBoard
//! ├── samples/                what the task draws every `sample_every` samples
//! ├── state/                  checkpoints, from which the run continues
//! └── model/                  the result, in the layout of the system
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use trefoil_core::{Error as CoreError, Picture, fs, png};

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::tensorboard::EventWriter;

/// A run folder in use by this process; no other process can open it meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Made with the first entry, when it is known where the run continues.
    events: Mutex<Option<EventWriter>>,
    resumed_at: Mutex<Option<u64>>,
    /// Locked as long as this value lives.
    _lock: File,
}

impl RunFolder {
    /// Makes a new run folder and writes its `config.toml`.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] when there is something at the path, [`CoreError::Write`].
    pub fn create(path: &Path, config: &str) -> Result<Self> {
        fs::create_dir_all(path)?;
        let mut entries = std::fs::read_dir(path)
            .map_err(|source| CoreError::Read { path: path.into(), source })?;
        if entries.next().is_some() {
            return Err(Error::NotEmpty { path: path.into() });
        }
        Self::with_config(path, config)
    }

    /// Opens the folder of a run that is to be resumed.
    ///
    /// # Errors
    /// [`CoreError::Format`] when it is not a run folder, [`Error::InUse`].
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("config.toml").is_file() {
            let reason = "not a run folder: it has no config.toml";
            return Err(CoreError::format(path, reason).into());
        }
        Self::lock(path)
    }

    /// [`Self::open`] when the folder is that of a run, else [`Self::create`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn open_or_create(path: &Path, config: &str) -> Result<Self> {
        if path.join("config.toml").is_file() {
            Self::open(path)
        } else {
            Self::create(path, config)
        }
    }

    fn with_config(path: &Path, config: &str) -> Result<Self> {
        let this = Self::lock(path)?;
        this.write_config(config)?;
        Ok(this)
    }

    fn lock(path: &Path) -> Result<Self> {
        for folder in ["samples", "state", "model"] {
            fs::create_dir_all(&path.join(folder))?;
        }
        let file = path.join("state/lock");
        let fail = |source| CoreError::Write { path: file.clone(), source };
        let lock = OpenOptions::new().create(true).append(true).open(&file).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: path.into() }),
            Err(TryLockError::Error(source)) => return Err(fail(source).into()),
        }
        let (events, resumed_at) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { path: path.into(), events, resumed_at, _lock: lock })
    }

    /// Replaces `config.toml`, for a run that is resumed with a longer duration.
    ///
    /// # Errors
    /// [`CoreError::Write`].
    pub fn write_config(&self, config: &str) -> Result<()> {
        let path = self.path.join("config.toml");
        Ok(fs::write_atomic(&path, |out| out.write_all(config.as_bytes()))?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where samples go.
    pub fn samples_dir(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// Where checkpoints go.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the result goes.
    pub fn model_dir(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The log.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Adds a line to the log and points to the curves.
    ///
    /// # Errors
    /// [`CoreError::Write`].
    pub fn log(&self, metrics: &Metrics) -> Result<()> {
        let path = self.metrics_path();
        let fail = |source| CoreError::Write { path: path.clone(), source };
        let mut line = serde_json::to_string(metrics).map_err(|e| fail(e.into()))?;
        line.push('\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.write_all(line.as_bytes()).map_err(fail)?;

        let parts: Vec<(String, f64)> = metrics
            .parts
            .iter()
            .filter_map(|(name, value)| Some((format!("loss/{name}"), value.as_f64()?)))
            .collect();
        let mut scalars = vec![
            ("loss/total", metrics.loss),
            ("train/gradient_norm", metrics.gradient_norm),
            ("train/learning_rate", metrics.learning_rate),
            ("train/ema_decay", metrics.ema_decay),
            ("train/samples_per_second", metrics.samples_per_second),
        ];
        scalars.extend(parts.iter().map(|(name, value)| (name.as_str(), *value)));
        self.log_scalars(metrics.samples, &scalars)
    }

    /// Adds points to curves, for what a task measures by itself.
    ///
    /// # Errors
    /// [`CoreError::Write`].
    pub fn log_scalars(&self, samples: u64, scalars: &[(&str, f64)]) -> Result<()> {
        self.with_events(|events| Ok(events.scalars(samples, scalars)?))
    }

    /// Writes a picture to `samples/TAG-SAMPLES.png` and adds it to the events; `tag` names its row in
    /// TensorBoard.
    ///
    /// # Errors
    /// [`CoreError::Write`].
    pub fn log_picture(&self, samples: u64, tag: &str, picture: &Picture) -> Result<()> {
        let file = self.samples_dir().join(format!("{tag}-{samples:09}.png"));
        let bytes = png::encode(picture, &[])?;
        fs::write_atomic(&file, |out| out.write_all(&bytes))?;
        self.with_events(|events| Ok(events.picture(samples, tag, picture)?))
    }

    fn with_events(&self, write: impl FnOnce(&mut EventWriter) -> Result<()>) -> Result<()> {
        let mut events = locked(&self.events);
        if let Some(events) = events.as_mut() {
            return write(events);
        }
        let resumed_at = *locked(&self.resumed_at);
        write(events.insert(EventWriter::create(&self.path, resumed_at)?))
    }

    /// Takes back what the log says beyond a checkpoint: lines are removed, and the event file of this
    /// process begins with a mark that makes TensorBoard forget the later points of older files.
    ///
    /// # Errors
    /// [`CoreError::Write`].
    pub fn rewind(&self, samples: u64) -> Result<()> {
        let path = self.metrics_path();
        if path.is_file() {
            let text = fs::read_to_string(&path)?;
            let stays = |line: &&str| {
                serde_json::from_str::<Metrics>(line).is_ok_and(|m| m.samples <= samples)
            };
            let kept: String = text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect();
            fs::write_atomic(&path, |out| out.write_all(kept.as_bytes()))?;
        }
        *locked(&self.resumed_at) = Some(samples);
        *locked(&self.events) = None;
        self.remove_leftovers()
    }

    /// Files that a killed process was about to rename.
    fn remove_leftovers(&self) -> Result<()> {
        for folder in [self.path.clone(), self.state_dir(), self.samples_dir()] {
            let fail = |source| CoreError::Read { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(fail)? {
                let path = entry.map_err(fail)?.path();
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                if name.starts_with(".trefoil-") && path.extension().is_some_and(|e| e == "tmp") {
                    std::fs::remove_file(&path)
                        .map_err(|source| CoreError::Write { path: path.clone(), source })?;
                }
            }
        }
        Ok(())
    }
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_new_once_and_open_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        assert!(RunFolder::open(&path).unwrap_err().to_string().contains("not a run folder"));
        let run = RunFolder::create(&path, "seed = 1\n").unwrap();
        assert!(matches!(RunFolder::create(&path, ""), Err(Error::NotEmpty { .. })));
        assert!(matches!(RunFolder::open(&path), Err(Error::InUse { .. })));
        drop(run);
        let run = RunFolder::open_or_create(&path, "seed = 2\n").unwrap();
        assert_eq!(fs::read_to_string(&run.path().join("config.toml")).unwrap(), "seed = 1\n");
    }
}
