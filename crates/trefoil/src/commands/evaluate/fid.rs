//! `trefoil evaluate fid`: how far one set of pictures is from another.

mod sets;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use trefoil_core::fs;
use trefoil_eval::{
    CovarianceDivisor, Embedding, FeatureNetwork, FeaturePrecision, Features, FrechetReport,
    Gaussian, InceptionScore, KidOptions, KidReport, Measure, NEIGHBOURS, PixelPca,
    PrecisionRecall, Report, Row, SPLITS, Statistics, embed_all,
};
use trefoil_train::Progress;
use uni_instruct::inception::Inception;
use unidiffuser::features::ClipFeatures;

use self::sets::{Drawing, Reference, Set};
use crate::Answer;
use crate::args::{DeviceArgs, at_least_one};
use crate::hints::hinted;
use crate::interrupt;
use crate::model;
use crate::output::{self, Talk};

/// Compare a set of pictures, or what a teacher draws, with a reference set
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil evaluate fid drawn/ data/cifar10.tar.gz --resolution 32
  trefoil evaluate fid runs/teacher/model data/openmoji --resolution 16 --count 2000 --repeats 3
  trefoil evaluate fid teacher.pkl cifar10-32x32.npz --features inception --weights inception.safetensors
  trefoil evaluate fid a/ b/ --resolution 32 --save-reference b.npz

The table has the Frechet distance (FID with the features of Inception), and where the reference is pictures the
kernel distance (KID), precision and recall; with Inception also its score. Distances in the spaces of different
features, and of different numbers of samples, cannot be compared: both are part of every row.")]
pub(crate) struct FidArgs {
    /// Pictures to judge: a folder, an archive, or a teacher (model folder, .safetensors, .pkl) that draws them
    #[arg(value_name = "PICTURES")]
    judged: PathBuf,
    /// Reference: a folder, an archive, or statistics in an .npz file
    #[arg(value_name = "REFERENCE")]
    reference: PathBuf,
    /// Where features come from
    #[arg(long, value_enum, default_value = "pixels")]
    features: Source,
    /// Weights of Inception, with `--features inception`
    #[arg(long, value_name = "FILE", required_if_eq("features", "inception"))]
    weights: Option<PathBuf>,
    /// Model folder whose CLIP is used, with `--features clip` [default: the model that comes with Trefoil]
    #[arg(short, long, env = "TREFOIL_MODEL", hide_env_values = true, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Principal axes of the pixels, with `--features pixels`
    #[arg(long, default_value = "64", value_name = "N", value_parser = at_least_one)]
    components: usize,
    /// Divisor of the covariances: n-1 as in EDM's evaluation, n as in the training of SiD
    #[arg(long, value_enum, default_value = "n-1")]
    divisor: Divisor,
    /// Side to which pictures of both sets are brought [default: the teacher's, that of the reference's statistics, or that of its first picture]
    #[arg(long, value_name = "PIXELS")]
    resolution: Option<u32>,
    /// Split of sets that have splits
    #[arg(long, default_value = "train", value_name = "NAME")]
    split: String,
    /// Split of the reference [default: that of `--split`]
    #[arg(long, value_name = "NAME")]
    reference_split: Option<String>,
    /// Pictures to judge: drawn, or chosen at random; the reference is always whole [default: 1000 drawn, or all]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    count: Option<usize>,
    /// Seed of drawing and of random subsets
    #[arg(long, default_value = "0", value_name = "N")]
    seed: u64,
    /// Sets that a teacher draws, with the seeds that follow; the table has mean and deviation
    #[arg(long, default_value = "1", value_name = "N", value_parser = at_least_one)]
    repeats: usize,
    /// Steps of Heun's method of a teacher
    #[arg(long, default_value = "18", value_name = "N", value_parser = at_least_one)]
    steps: usize,
    /// Write the statistics of the reference
    #[arg(long, value_name = "FILE.npz")]
    save_reference: Option<PathBuf>,
    /// Folder for report.md and report.json
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    /// Pictures that go through a network together
    #[arg(long, default_value = "64", value_name = "N", value_parser = at_least_one)]
    batch: usize,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Where features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// Pixels on the principal axes of the reference
    Pixels,
    /// Image embedding of the CLIP of a model folder
    Clip,
    /// Inception-v3 of 2015-12-05, with the weights of a file
    Inception,
}

/// [`CovarianceDivisor`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Divisor {
    /// Number of samples
    #[value(name = "n")]
    Samples,
    /// One less
    #[value(name = "n-1")]
    SamplesMinusOne,
}

impl From<Divisor> for CovarianceDivisor {
    fn from(divisor: Divisor) -> Self {
        match divisor {
            Divisor::Samples => Self::Samples,
            Divisor::SamplesMinusOne => Self::SamplesMinusOne,
        }
    }
}

impl FidArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let device = self.device.device.device()?;
        let stop = interrupt::watch()?;
        let set = Set::open(&self.judged, &device)?;
        let side = self.resolution.or_else(|| set.resolution());
        let mut reference = Reference::open(&self.reference, &self, side)?;
        let side = side.or_else(|| reference.side());
        let side = side.map_or_else(|| set.first_side(&self.split), Ok)?;
        let network = self.network(&mut reference, &device, talk)?;
        let statistics = self.statistics(&mut reference, &*network, talk)?;
        if let Some(path) = &self.save_reference {
            statistics.write(path)?;
        }
        let repeats = if set.is_drawn() { self.repeats } else { 1 };
        let seeds: Vec<u64> = (self.seed..).take(repeats).collect();
        let mut tables = Vec::new();
        for &seed in &seeds {
            let drawing = Drawing { args: &self, seed, side, device: &device, talk, stop: &stop };
            let Some(pictures) = set.pictures(&drawing)? else {
                return Ok(Answer::Interrupted);
            };
            let judged = self.embed(&*network, &pictures, side, talk)?;
            tables.push(self.rows(&*network, (&statistics, &reference), &judged, seed)?);
        }
        let mut report = Report::new("Distance of two sets of pictures", &seeds)
            .with_setting("pictures", self.judged.display().to_string())
            .with_setting("reference", self.reference.display().to_string())
            .with_setting("features", network.name())
            .with_setting("resolution", side);
        if let Some(solver) = set.solver(self.steps) {
            report = report.with_setting("solver", solver);
        }
        report.add(&self.split, &Averaged(tables))?;
        let markdown = report.to_markdown();
        let json = report.to_json()?;
        if let Some(folder) = &self.output {
            fs::create_dir_all(folder)?;
            let write = |name: &str, text: &str| {
                fs::write_atomic(&folder.join(name), |out| out.write_all(text.as_bytes()))
            };
            write("report.md", &markdown)?;
            write("report.json", &json)?;
        }
        output::print(if self.json { json } else { markdown })?;
        Ok(Answer::Yes)
    }

    fn network(
        &self,
        reference: &mut Reference,
        device: &burn::tensor::Device,
        talk: Talk,
    ) -> anyhow::Result<Box<dyn FeatureNetwork>> {
        Ok(match self.features {
            Source::Pixels => match reference {
                Reference::Pictures(pictures) => {
                    let axes = PixelPca::fit(pictures.view()?, self.components)?;
                    pictures.axes = Some(axes.clone());
                    Box::new(axes)
                }
                Reference::Statistics(statistics) => {
                    let Some(pixels) = &statistics.pixels else {
                        let path = self.reference.display();
                        let message = format!("{path} has no axes of pixels");
                        let hint = "its features come from a network: name it by `--features`";
                        return Err(hinted(message, hint));
                    };
                    Box::new(pixels.clone())
                }
            },
            Source::Clip => {
                let folder = model::find(self.model.as_deref(), talk)?;
                Box::new(ClipFeatures::load(&folder, device)?)
            }
            Source::Inception => {
                let weights = self.weights.as_deref().context("`--weights` is missing")?;
                Box::new(Inception::load(weights, device)?)
            }
        })
    }

    /// The reference's mean and covariance; its features stay with it where it is pictures.
    fn statistics(
        &self,
        reference: &mut Reference,
        network: &dyn FeatureNetwork,
        talk: Talk,
    ) -> anyhow::Result<Statistics> {
        match reference {
            Reference::Statistics(statistics) => {
                if let Some(found) = &statistics.features
                    && *found != network.name()
                {
                    let expected = network.name();
                    let path = self.reference.display();
                    let message =
                        format!("{path}: expected features `{expected}`, found `{found}`");
                    return Err(hinted(message, "distances need the same features on both sides"));
                }
                Ok((**statistics).clone())
            }
            Reference::Pictures(pictures) => {
                let side = pictures.side;
                let features = self.embed(network, &pictures.pixels, side, talk)?.features;
                let view = Features::new("reference features", &features, network.dim())?;
                let gaussian = Gaussian::fit_with(view, self.divisor.into())?;
                pictures.features = features;
                let pixels = pictures.axes.clone();
                Ok(Statistics { gaussian, features: Some(network.name()), pixels })
            }
        }
    }

    fn embed(
        &self,
        network: &dyn FeatureNetwork,
        pixels: &[u8],
        side: u32,
        talk: Talk,
    ) -> anyhow::Result<Embedding> {
        let view = trefoil_eval::Pictures::new(pixels, side as usize, side as usize)?;
        let total = view.count() as u64;
        let mut bar = Progress::new(talk.progress(), "pictures", 0, total);
        let found =
            embed_all(network, view, self.batch, &mut |done| bar.update(done as u64, "features"));
        bar.finish();
        Ok(found?)
    }

    fn rows(
        &self,
        network: &dyn FeatureNetwork,
        (statistics, reference): (&Statistics, &Reference),
        judged: &Embedding,
        seed: u64,
    ) -> anyhow::Result<Vec<Row>> {
        let (name, dim) = (network.name(), network.dim());
        let features = Features::new("features of the pictures", &judged.features, dim)?;
        let gaussian = Gaussian::fit_with(features, self.divisor.into())?;
        let mut rows = FrechetReport::new(&name, &statistics.gaussian, &gaussian)?.rows();
        if let Reference::Pictures(pictures) = reference {
            let real = Features::new("reference features", &pictures.features, dim)?;
            let options = KidOptions { seed, ..KidOptions::default() };
            rows.extend(KidReport::new(&name, real, features, options)?.rows());
            let precision = FeaturePrecision::Half;
            let found = PrecisionRecall::new(&name, real, features, NEIGHBOURS, precision)?;
            rows.extend(found.rows());
        }
        if network.classes() > 0 {
            let classes = network.classes();
            rows.extend(InceptionScore::new(&name, &judged.probabilities, classes, SPLITS)?.rows());
        }
        Ok(rows)
    }
}

/// The tables of several seeds as one: means, and the deviation in the note.
struct Averaged(Vec<Vec<Row>>);

impl Measure for Averaged {
    fn rows(&self) -> Vec<Row> {
        let count = self.0.len() as f64;
        let Some(first) = self.0.first() else { return Vec::new() };
        if self.0.len() == 1 {
            return first.clone();
        }
        let averaged = |(place, row): (usize, &Row)| {
            let values: Vec<f64> = self.0.iter().map(|table| table[place].value).collect();
            let value = values.iter().sum::<f64>() / count;
            let square = values.iter().map(|v| (v - value).powi(2)).sum::<f64>() / (count - 1.0);
            let note = format!("{}; deviation {:.4} over {count} seeds", row.note, square.sqrt());
            // The interval is that of one set.
            Row { value, interval: None, note, ..row.clone() }
        };
        first.iter().enumerate().map(averaged).collect()
    }
}
