//! The preparation as a whole.

use std::path::Path;
use std::time::Instant;

use uditsr::data::engine::Staged;
use uditsr::data::{Prepare, Report, Vocabulary};

use crate::rows::{RowWriter, schema};
use crate::steps::{clean, held_out, split, survey, words, write};
use crate::{Engine, Error, Result};

/// A preparation on an engine. An engine serves one.
pub struct Preparation<'a> {
    prepare: &'a Prepare,
    engine: Engine,
}

impl<'a> Preparation<'a> {
    /// The preparation of these files on this engine.
    pub fn new(prepare: &'a Prepare, engine: Engine) -> Self {
        Self { prepare, engine }
    }

    /// Reads and checks everything, and writes nothing but intermediate files.
    ///
    /// # Errors
    /// As [`Prepare::check`], and [`Error::Query`] and [`Error::Work`] if the engine fails.
    pub async fn check(self) -> Result<(Report, usize)> {
        let (_, _, report) = self.decide().await?;
        Ok((report, self.engine.spilled()))
    }

    /// Prepares the log and writes it as a folder, which is there in full or not at all. Returns
    /// the report and how many bytes were spilled.
    ///
    /// # Errors
    /// As [`Prepare::run`], and [`Error::Query`] and [`Error::Work`] if the engine fails.
    pub async fn run(self, folder: &Path) -> Result<(Report, usize)> {
        uditsr::data::engine::check_target(folder)?;
        let (staged, vocabulary, report) = self.decide().await?;
        staged.require_training(&report)?;
        write::run(&self.engine, &staged, &vocabulary, &report, folder).await?;
        Ok((report, self.engine.spilled()))
    }

    /// Everything but negatives and the folder.
    async fn decide(&self) -> Result<(Staged, Vocabulary, Report)> {
        let engine = &self.engine;
        let staged = tokio::task::block_in_place(|| self.stage())?;
        engine.register("events", &schema()).await?;
        let rows = clean::run(engine, &staged).await?;
        let (log, times) = survey::run(engine, &staged, &rows).await?;
        split::run(engine, &staged, times, rows.kept).await?;
        let mut split = held_out::run(engine, &staged).await?;
        let vocabulary = words::learn(engine, &staged).await?;
        split.words = vocabulary.len();
        split.unknown_queries = words::unknown_queries(engine, &vocabulary).await?;
        let report = staged.report(rows, log, split);
        Ok((staged, vocabulary, report))
    }

    /// Reads the files into the table `events`.
    fn stage(&self) -> Result<Staged> {
        let begin = Instant::now();
        let path = self.engine.path("events");
        std::fs::create_dir_all(&path)
            .map_err(|source| Error::Work { path: path.clone(), source })?;
        let mut writer = RowWriter::new(path);
        let staged = self.prepare.stage(|event| writer.push(event))?;
        writer.finish()?;
        tracing::info!(rows = staged.read, seconds = begin.elapsed().as_secs_f64(), "read files");
        Ok(staged)
    }
}
