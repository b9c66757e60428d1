//! The table of one-step students of a teacher of pictures: every recipe with every seed, beside the teacher
//! with few and many steps.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::EdmSolverConfig;
use trefoil_eval::{
    FeatureNetwork, FeaturePrecision, Features, FrechetReport, NEIGHBOURS, PixelPca,
    PrecisionRecall, embed_all,
};
use trefoil_train::data::{DataOptions, LabelledSet, OnProblem};
use uni_instruct::Recipe;
use uni_instruct::compare::mean_spread;
use uni_instruct::edm::{SampleRequest, Teacher};
use uni_instruct::pictures::PicturesConfig;
use uni_instruct::recipe::ProblemConfig;
use unidiffuser::features::ClipFeatures;

use super::runs::{
    Ended, Line, Row, Runs, cell, conditions, keep, kept, list_stopped, rows, seeds,
};

/// Steps with which the teacher is measured.
const STEPS: [usize; 3] = [1, 5, 18];
/// Pictures of a row.
const SHOWN: usize = 64;
/// Pictures that go through a network together.
const BATCH: usize = 64;
/// Principal axes of the pixels.
const COMPONENTS: usize = 64;

/// What is compared: recipes with the same teacher and data.
pub(super) struct Comparison<'a> {
    pub(super) runs: Runs<'a>,
    /// Folder of the model whose CLIP gives features.
    pub(super) clip: PathBuf,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    row: String,
    seed: u64,
    /// Absent when the run stopped with a reason.
    fit: Option<Fit>,
    reason: Option<String>,
    /// Seconds of training.
    training: f64,
}

/// How pictures compare with the data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fit {
    frechet_clip: f64,
    frechet_pixels: f64,
    precision: f64,
    recall: f64,
    /// Milliseconds for a picture.
    milliseconds: f64,
}

/// Where a measurement is kept, and under which conditions.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a Path,
    /// Name of its picture.
    picture: &'a str,
    conditions: &'a str,
}

/// The data in both feature spaces.
struct Reference {
    clip: ClipFeatures,
    pixels: PixelPca,
    real_clip: Vec<f32>,
    real_pixels: Vec<f32>,
    side: usize,
    count: usize,
}

impl Row for Entry {
    fn line(&self) -> Line<'_> {
        Line { row: &self.row, seed: self.seed, reason: self.reason.as_deref() }
    }
}

impl Comparison<'_> {
    /// Runs what is not there yet; nothing when the user interrupted.
    pub(super) fn run(&self) -> anyhow::Result<Option<(Vec<Entry>, String)>> {
        let runs = &self.runs;
        let problem = self.problem()?;
        runs.begin()?;
        let teacher = Teacher::open(&problem.teacher, runs.device)?;
        let reference = Reference::new(self, &problem, teacher.config.network.resolution)?;
        let of_teacher = format!("{}\n{}", self.about(&reference), stamp(&problem.teacher)?);
        let mut entries = Vec::new();
        for steps in STEPS {
            for &seed in &runs.seeds {
                let row = if steps == 1 {
                    "teacher, 1 Heun step".to_string()
                } else {
                    format!("teacher, {steps} Heun steps")
                };
                let file = runs.folder.join(format!("teacher-{steps}-{seed}.json"));
                let picture = format!("teacher-{steps}");
                let entry = Entry { row, seed, fit: None, reason: None, training: 0.0 };
                let place = Place { file: &file, picture: &picture, conditions: &of_teacher };
                let Some(entry) = self.measured(entry, (&teacher, steps), &reference, place)?
                else {
                    return Ok(None);
                };
                entries.push(entry);
            }
        }
        for (name, recipe) in &runs.recipes {
            for &seed in &runs.seeds {
                let Some(entry) = self.student((name, recipe), seed, &reference)? else {
                    return Ok(None);
                };
                entries.push(entry);
            }
        }
        Ok(Some((entries, self.about(&reference))))
    }

    /// The teacher and the data that all recipes share.
    fn problem(&self) -> anyhow::Result<PicturesConfig> {
        fn pick(problem: &ProblemConfig) -> Option<&PicturesConfig> {
            match problem {
                ProblemConfig::Edm(config) => Some(config),
                _ => None,
            }
        }
        let is_same = |a: &PicturesConfig, b: &PicturesConfig| {
            (&a.teacher, &a.data, &a.split) == (&b.teacher, &b.data, &b.split)
        };
        self.runs.problem("edm", pick, is_same, "the teacher and the data of the other recipes")
    }

    fn student(
        &self,
        (name, recipe): (&str, &Recipe),
        seed: u64,
        reference: &Reference,
    ) -> anyhow::Result<Option<Entry>> {
        let file = self.runs.entry_file(name, seed);
        let conditions = conditions(recipe, seed, &self.about(reference))?;
        if let Some(entry) = kept(&file, &conditions)? {
            return Ok(Some(entry));
        }
        let mut entry = Entry { row: name.into(), seed, fit: None, reason: None, training: 0.0 };
        match self.runs.run((name, recipe), seed, |recipe| recipe.pictures(self.runs.device))? {
            Ended::Interrupted => Ok(None),
            Ended::Finished { run, result, .. } => {
                entry.training = result.seconds;
                let student = Teacher::open(&run.model_dir(), self.runs.device)?;
                let place = Place { file: &file, picture: name, conditions: &conditions };
                self.measured(entry, (&student, 1), reference, place)
            }
            Ended::Stopped(reason) => {
                entry.reason = Some(reason);
                keep(&file, &conditions, &entry)?;
                Ok(Some(entry))
            }
        }
    }

    /// Draws and measures, unless that was done before.
    fn measured(
        &self,
        mut entry: Entry,
        (network, steps): (&Teacher, usize),
        reference: &Reference,
        place: Place<'_>,
    ) -> anyhow::Result<Option<Entry>> {
        if let Some(entry) = kept(place.file, place.conditions)? {
            return Ok(Some(entry));
        }
        let Runs { count, ref stop, device, .. } = self.runs;
        let mut request = SampleRequest::new(Seed(entry.seed), count);
        request.batch = BATCH;
        request.solver = EdmSolverConfig { steps, ..EdmSolverConfig::default() };
        let clock = Instant::now();
        let drawn = network.sample(&request, device, &mut |_, _| {
            if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if stop.is_requested() {
            return Ok(None);
        }
        let drawn = drawn?;
        let milliseconds = 1e3 * clock.elapsed().as_secs_f64() / count as f64;
        let fit = reference.fit(&drawn, milliseconds)?;
        if entry.seed == self.runs.seeds[0] {
            let grid = Picture::grid(&drawn[..drawn.len().min(SHOWN)], SHOWN.isqrt());
            self.runs.write(&format!("{}.png", place.picture), grid)?;
        }
        self.runs.talk.note(format_args!(
            "{} {}: Frechet distance {:.3} (CLIP), {:.3} (pixels)",
            entry.row, entry.seed, fit.frechet_clip, fit.frechet_pixels
        ));
        entry.fit = Some(fit);
        keep(place.file, place.conditions, &entry)?;
        Ok(Some(entry))
    }

    fn about(&self, reference: &Reference) -> String {
        format!(
            "{} drawn pictures of each seed against {} of the training set. Features: {}; {}. Precision and \
             recall are in the space of CLIP, with {NEIGHBOURS} neighbours.",
            self.runs.count,
            reference.count,
            reference.clip.name(),
            reference.pixels.name()
        )
    }
}

/// Path and time of the last change: another teacher in the same place is measured again.
fn stamp(path: &Path) -> anyhow::Result<String> {
    let changed = path.metadata().and_then(|found| found.modified());
    let changed = changed.with_context(|| format!("cannot read {}", path.display()))?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}, changed {} ns after 1970", path.display(), since.as_nanos()))
}

impl Reference {
    fn new(of: &Comparison<'_>, problem: &PicturesConfig, side: usize) -> anyhow::Result<Self> {
        let options = DataOptions {
            resolution: side as u32,
            background: problem.background,
            on_problem: OnProblem::Skip,
            split: Some(problem.split.clone()),
        };
        let data = LabelledSet::load(&problem.data, &options)?;
        let pixels: Vec<u8> =
            data.pictures.iter().flat_map(|p| p.picture.pixels().iter().copied()).collect();
        let view = trefoil_eval::Pictures::new(&pixels, side, side)?;
        let axes = PixelPca::fit(view, COMPONENTS)?;
        let clip = ClipFeatures::load(&of.clip, of.runs.device)?;
        let real = |network: &dyn FeatureNetwork| {
            Ok::<_, anyhow::Error>(embed_all(network, view, BATCH, &mut |_| ())?.features)
        };
        let (real_clip, real_pixels) = (real(&clip)?, real(&axes)?);
        Ok(Self { clip, pixels: axes, real_clip, real_pixels, side, count: view.count() })
    }

    fn fit(&self, drawn: &[Picture], milliseconds: f64) -> anyhow::Result<Fit> {
        let pixels: Vec<u8> = drawn.iter().flat_map(|p| p.pixels().iter().copied()).collect();
        let view = trefoil_eval::Pictures::new(&pixels, self.side, self.side)?;
        let made = |network: &dyn FeatureNetwork| {
            Ok::<_, anyhow::Error>(embed_all(network, view, BATCH, &mut |_| ())?.features)
        };
        let (clip, axes) = (made(&self.clip)?, made(&self.pixels)?);
        let (dim, axes_dim) = (self.clip.dim(), self.pixels.dim());
        let real = Features::new("real pictures", &self.real_clip, dim)?;
        let found = Features::new("drawn pictures", &clip, dim)?;
        let quality =
            PrecisionRecall::new("CLIP", real, found, NEIGHBOURS, FeaturePrecision::Half)?;
        let real_axes = Features::new("real pictures", &self.real_pixels, axes_dim)?;
        let found_axes = Features::new("drawn pictures", &axes, axes_dim)?;
        Ok(Fit {
            frechet_clip: FrechetReport::from_features("CLIP", real, found)?.distance,
            frechet_pixels: FrechetReport::from_features("pixels", real_axes, found_axes)?.distance,
            precision: quality.precision(),
            recall: quality.recall(),
            milliseconds,
        })
    }
}

/// The page: what was measured, the table, why runs stopped, and the pictures.
pub(super) fn report(entries: &[Entry], about: &str, pictures: &str, command: &str) -> String {
    let count = seeds(entries).len();
    let spread = if count == 1 { "one seed" } else { "mean ± standard deviation over the seeds" };
    let mut text = format!(
        "# One-step students of a teacher of pictures\n\nWritten by\n\n```sh\n{command}\n```\n\n{about} \
         {count} {}: {spread}.\n\n| generator | Frechet distance, CLIP | Frechet distance, pixels | precision | \
         recall | ms per picture | s of training |\n|---|---:|---:|---:|---:|---:|---:|\n",
        if count == 1 { "seed" } else { "seeds" }
    );
    let rows = rows(entries);
    for row in &rows {
        let of: Vec<&Entry> = entries.iter().filter(|entry| entry.row == *row).collect();
        let fits: Vec<Fit> = of.iter().filter_map(|entry| entry.fit).collect();
        if fits.is_empty() {
            let _ = writeln!(text, "| {row} | stopped | | | | | |");
            continue;
        }
        let cell = |pick: fn(&Fit) -> f64, digits: usize| {
            cell(&fits.iter().map(pick).collect::<Vec<_>>(), digits)
        };
        let training: Vec<f64> =
            of.iter().filter(|entry| entry.fit.is_some()).map(|entry| entry.training).collect();
        let _ = writeln!(
            text,
            "| {row} | {} | {} | {} | {} | {} | {:.0} |",
            cell(|fit| fit.frechet_clip, 3),
            cell(|fit| fit.frechet_pixels, 3),
            cell(|fit| fit.precision, 3),
            cell(|fit| fit.recall, 3),
            cell(|fit| fit.milliseconds, 2),
            mean_spread(&training).0
        );
    }
    list_stopped(entries, &mut text);
    text.push_str("\n## Pictures of the first seed\n");
    let shown = |row: &str| {
        let steps = STEPS.into_iter().find(|n| row.starts_with(&format!("teacher, {n} ")));
        steps.map_or_else(|| row.to_string(), |n| format!("teacher-{n}"))
    };
    for row in rows {
        if entries.iter().any(|entry| entry.row == row && entry.fit.is_some()) {
            let _ = write!(text, "\n{row}\n\n![{row}]({pictures}/{}.png)\n", shown(row));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_per_generator_and_says_what_stopped() {
        let entry = |row: &str, seed, frechet: Option<f64>| Entry {
            row: row.into(),
            seed,
            fit: frechet.map(|frechet_clip| Fit {
                frechet_clip,
                frechet_pixels: 2.0,
                precision: 0.5,
                recall: 0.25,
                milliseconds: 1.5,
            }),
            reason: frechet.is_none().then(|| "the student has collapsed".into()),
            training: 10.0,
        };
        let entries = [
            entry("teacher, 18 Heun steps", 1, Some(1.0)),
            entry("sid", 1, Some(1.0)),
            entry("sid", 2, Some(3.0)),
            entry("sim", 1, None),
        ];
        let text = report(&entries, "About.", "p", "trefoil");
        let expected = "| sid | 2.000 ± 1.414 | 2.000 ± 0.000 | 0.500 ± 0.000 | 0.250 ± 0.000 | 1.50 ± 0.00 | 10 |";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("| sim | stopped |"), "{text}");
        assert!(text.contains("- sim, seed 1: the student has collapsed"), "{text}");
        assert!(text.contains("![teacher, 18 Heun steps](p/teacher-18.png)"), "{text}");
        assert!(!text.contains("(p/sim.png)"), "{text}");
    }
}
