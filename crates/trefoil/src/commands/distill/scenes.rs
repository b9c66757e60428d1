//! The table of scenes that a teacher of pictures shaped: every recipe with every seed, beside new scenes of the
//! data's kind and the teacher's own pictures.

use std::fmt::Write as _;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trefoil_core::{Picture, Seed};
use uni_instruct::Recipe;
use uni_instruct::distill::Problem as _;
use uni_instruct::pictures::PictureMeasure;
use uni_instruct::recipe::ProblemConfig;
use uni_instruct::scenes::{SceneFit, ScenesConfig, ScenesProblem};

use super::runs::{
    Ended, Line, Row, Runs, cell, conditions, keep, kept, list_stopped, rows, seeds,
};

/// Principal axes of the pixels.
const COMPONENTS: usize = 16;
/// Steps of the teacher's own pictures.
const STEPS: usize = 18;
/// Pictures of the teacher in its strip.
const SHOWN: usize = 32;
/// Rows that are no recipe.
const TEACHER: &str = "teacher, 18 Heun steps";
const NEW: &str = "new scenes of the data's kind";
const START: &str = "scenes before training";

/// What is compared: recipes with the same problem.
pub(super) struct Comparison<'a>(pub(super) Runs<'a>);

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    row: String,
    seed: u64,
    /// Frechet distance of pictures to those of the teacher; absent when the run stopped with a reason.
    frechet: Option<f64>,
    /// Absent for what is no scene.
    fit: Option<SceneFit>,
    reason: Option<String>,
    /// Seconds of training.
    training: f64,
}

impl Entry {
    fn new(row: &str, seed: u64) -> Self {
        Self { row: row.into(), seed, frechet: None, fit: None, reason: None, training: 0.0 }
    }
}

impl Row for Entry {
    fn line(&self) -> Line<'_> {
        Line { row: &self.row, seed: self.seed, reason: self.reason.as_deref() }
    }
}

impl Comparison<'_> {
    /// Runs what is not there yet; nothing when the user interrupted.
    pub(super) fn run(&self) -> anyhow::Result<Option<(Vec<Entry>, String)>> {
        let runs = &self.0;
        let config = self.problem()?;
        runs.begin()?;
        let problem = runs.recipes[0].1.scenes(runs.device)?;
        let drawn = problem.teacher_pictures(Seed(0), runs.count, STEPS)?;
        let measure = PictureMeasure::new(drawn.iter(), problem.set().world.side, COMPONENTS)?;
        runs.write(&file_of(TEACHER), Picture::grid(&drawn[..drawn.len().min(SHOWN)], 8))?;
        let mut entries = Vec::new();
        for &seed in &runs.seeds {
            let mut entry = Entry::new(TEACHER, seed);
            let again = problem.teacher_pictures(Seed(seed), runs.count, STEPS)?;
            entry.frechet = Some(measure.fit(&again)?.frechet);
            entries.push(entry);
        }
        let particles = config.particles;
        for &seed in &runs.seeds {
            let first = problem.set().scenes + seed as usize * particles;
            let fields = problem.set().fields(config.class, first..first + particles, runs.device);
            entries.push(self.measured(
                Entry::new(NEW, seed),
                &problem,
                (&fields, particles),
                &measure,
            )?);
        }
        for &seed in &runs.seeds {
            let mut recipe = runs.recipes[0].1.clone();
            recipe.train.seed = Seed(seed);
            let problem = recipe.scenes(runs.device)?;
            let fields = problem.fields(&problem.student_from(&problem.fresh_fake()?)?);
            entries.push(self.measured(
                Entry::new(START, seed),
                &problem,
                (&fields, particles),
                &measure,
            )?);
        }
        for (name, recipe) in &runs.recipes {
            for &seed in &runs.seeds {
                let Some(entry) = self.student((name, recipe), seed, &measure)? else {
                    return Ok(None);
                };
                entries.push(entry);
            }
        }
        Ok(Some((entries, self.about(&problem, &config))))
    }

    /// The problem that all recipes share.
    fn problem(&self) -> anyhow::Result<ScenesConfig> {
        fn pick(problem: &ProblemConfig) -> Option<&ScenesConfig> {
            match problem {
                ProblemConfig::Scenes(config) => Some(config),
                _ => None,
            }
        }
        self.0.problem("scenes", pick, ScenesConfig::eq, "that of the other recipes")
    }

    fn student(
        &self,
        (name, recipe): (&str, &Recipe),
        seed: u64,
        measure: &PictureMeasure,
    ) -> anyhow::Result<Option<Entry>> {
        let file = self.0.entry_file(name, seed);
        let measured = format!("{} pictures, teacher with {STEPS} steps", self.0.count);
        let conditions = conditions(recipe, seed, &measured)?;
        if let Some(entry) = kept(&file, &conditions)? {
            return Ok(Some(entry));
        }
        let mut entry = Entry::new(name, seed);
        match self.0.run((name, recipe), seed, |recipe| recipe.scenes(self.0.device))? {
            Ended::Interrupted => return Ok(None),
            Ended::Finished { problem, result, .. } => {
                entry.training = result.seconds;
                let fields = problem.fields(&result.student);
                let count = fields.dims()[0] / problem.set().world.voxels();
                entry = self.measured(entry, &problem, (&fields, count), measure)?;
            }
            Ended::Stopped(reason) => entry.reason = Some(reason),
        }
        keep(&file, &conditions, &entry)?;
        Ok(Some(entry))
    }

    /// Measures scenes; the first seed is shown as well.
    fn measured(
        &self,
        mut entry: Entry,
        problem: &ScenesProblem,
        (fields, scenes): (&Tensor<2>, usize),
        measure: &PictureMeasure,
    ) -> anyhow::Result<Entry> {
        let frechet = measure.fit(&problem.pictures(fields, scenes, self.0.count)?)?.frechet;
        let fit = problem.fit(fields, scenes);
        (entry.frechet, entry.fit) = (Some(frechet), Some(fit));
        if entry.seed == self.0.seeds[0] {
            self.0.write(&file_of(&entry.row), problem.turntable(fields, scenes)?)?;
        }
        self.0.talk.note(format_args!(
            "{} {}: Frechet distance {frechet:.3}, {:.2} dB, overlap {:.3}, diversity {:.3}",
            entry.row, entry.seed, fit.psnr, fit.iou, fit.diversity
        ));
        Ok(entry)
    }

    fn about(&self, problem: &ScenesProblem, config: &ScenesConfig) -> String {
        let (set, count) = (problem.set(), self.0.count);
        let (grid, side, scenes) = (set.world.grid, set.world.side, set.scenes);
        format!(
            "The teacher is a small EDM of pictures of {side}x{side} pixels that was trained here from nothing on \
             renders of coloured solids, and is told the class and one of {} directions. **No Stable Diffusion model, \
             and no other model that was trained elsewhere, is used.** The text is the name of the class, here \
             `{}`. A method shapes {} scenes of {grid}^3 voxels through the renderer; nothing else of the scenes is \
             known to it than what the teacher says about their pictures, and, for the methods with a \
             discriminator, pictures of the {scenes} scenes of the data from the same cameras.\n\n\
             Frechet distance: {count} pictures of the scenes from random cameras against {count} of the teacher, \
             pixels on {COMPONENTS} principal axes. PSNR and the overlap (intersection over union) of the silhouettes \
             are those to the nearest of the {scenes} scenes of the data through {} cameras that no picture was \
             taken with. Diversity: mean root mean square distance between pictures of two scenes from the same \
             camera, colours from 0 to 1.",
            set.world.directions,
            config.class.name(),
            config.particles,
            config.views
        )
    }
}

/// Name of the picture of a row.
fn file_of(row: &str) -> String {
    let name = match row {
        TEACHER => "teacher",
        NEW => "new",
        START => "start",
        recipe => recipe,
    };
    format!("{name}.png")
}

/// The page: what was measured, the table, why runs stopped, and the turntables.
pub(super) fn report(entries: &[Entry], about: &str, pictures: &str, command: &str) -> String {
    let seeds = seeds(entries);
    let spread = match seeds.len() {
        1 => "One seed.".to_string(),
        count => format!("{count} seeds: mean ± standard deviation over the seeds."),
    };
    let mut text = format!(
        "# Text-to-3D in small\n\nWritten by\n\n```sh\n{command}\n```\n\n{about} {spread}\n\n| scenes | Frechet \
         distance | PSNR, dB | overlap | diversity | s of training |\n|---|---:|---:|---:|---:|---:|\n"
    );
    let rows = rows(entries);
    let of = |row: &str| entries.iter().filter(|entry| entry.row == row).collect::<Vec<&Entry>>();
    for row in &rows {
        let of = of(row);
        let cell = |pick: &dyn Fn(&Entry) -> Option<f64>, digits: usize| {
            cell(&of.iter().filter_map(|entry| pick(entry)).collect::<Vec<f64>>(), digits)
        };
        if of.iter().all(|entry| entry.frechet.is_none()) {
            let _ = writeln!(text, "| {row} | stopped | | | | |");
            continue;
        }
        let seconds = cell(&|entry| (entry.training > 0.0).then_some(entry.training), 0);
        let _ = writeln!(
            text,
            "| {row} | {} | {} | {} | {} | {seconds} |",
            cell(&|entry| entry.frechet, 2),
            cell(&|entry| Some(entry.fit?.psnr), 2),
            cell(&|entry| Some(entry.fit?.iou), 3),
            cell(&|entry| Some(entry.fit?.diversity), 3),
        );
    }
    list_stopped(entries, &mut text);
    let _ = write!(
        text,
        "\n## Turntables, seed {}\n\nA row is a scene, a column a direction; of the teacher, pictures that it drew for \
         these directions.\n",
        seeds.first().copied().unwrap_or_default()
    );
    for row in rows {
        if of(row).first().is_some_and(|entry| entry.frechet.is_some()) {
            let _ = write!(text, "\n{row}\n\n![{row}]({pictures}/{})\n", file_of(row));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_per_method_and_says_what_stopped() {
        let entry = |row: &str, seed, psnr: Option<f64>| Entry {
            frechet: psnr.map(|_| 2.0),
            fit: psnr.map(|psnr| SceneFit { psnr, iou: 0.5, diversity: 0.25 }),
            reason: psnr.is_none().then(|| "the student diverges".into()),
            training: 10.0,
            ..Entry::new(row, seed)
        };
        let teacher = Entry { frechet: Some(1.0), ..Entry::new(TEACHER, 1) };
        let entries = [
            teacher,
            entry("sds", 1, Some(10.0)),
            entry("sds", 2, Some(12.0)),
            entry("vsd", 1, None),
        ];
        let text = report(&entries, "About.", "p", "trefoil");
        for expected in [
            "| teacher, 18 Heun steps | 1.00 |  |  |  |  |",
            "| sds | 2.00 ± 0.00 | 11.00 ± 1.41 | 0.500 ± 0.000 | 0.250 ± 0.000 | 10 ± 0 |",
            "| vsd | stopped |",
            "- vsd, seed 1: the student diverges",
            "![teacher, 18 Heun steps](p/teacher.png)",
            "![sds](p/sds.png)",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("(p/vsd.png)"), "{text}");
    }
}
