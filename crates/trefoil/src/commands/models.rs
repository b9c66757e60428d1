//! `trefoil models`: which models are here, what they need, and other forms of them.

mod info;
mod list;
mod verify;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use trefoil_core::fs;
use trefoil_core::hub::{HubCache, HubId, is_offline};
use trefoil_core::weights::Precision;
use uni_instruct::edm::Teacher;
use unidiffuser::model::{Layout, ModelFiles};
use unidiffuser::one_step;

use self::info::Info;
use crate::Answer;
use crate::fetch::fetch;
use crate::hints::hinted;
use crate::model::{self, SETTINGS};
use crate::output::{self, Talk};

/// List, describe, check, convert and remove models
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil models list
  trefoil models info thu-ml/unidiffuser-v1
  trefoil models verify models/openmoji-32
  trefoil models convert models/openmoji-32 half/ --precision bf16
  trefoil models convert runs/student/model student/ --precision f16

A MODEL is a folder, a `uvit_v*.pth` among the authors' files, or OWNER/NAME[@REVISION] in the cache of Hugging Face.")]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// The models that are here: the one that comes with Trefoil, and UniDiffuser models in the cache of Hugging Face, every
    /// revision, with what is wrong where one does not open
    List(JsonArgs),
    /// Sizes, licence and the memory that a model needs, before it is loaded
    Info(InfoArgs),
    /// Make sure that a model of the Hub is here and whole; builds with the feature `hub` fetch what is missing
    Pull(HubArgs),
    /// Remove a branch or tag, or a commit with its names, from the cache of Hugging Face; without a revision, the whole model
    Rm(HubArgs),
    /// Write a model, and its one-step generator, in another layout or precision
    Convert(ConvertArgs),
    /// Check names, shapes and numbers of all weights
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct JsonArgs {
    /// Print one JSON object per model
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InfoArgs {
    /// The model [default: the one that comes with Trefoil]
    model: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Debug, Args)]
struct HubArgs {
    /// OWNER/NAME or OWNER/NAME@REVISION
    id: HubId,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    /// The model
    model: PathBuf,
    /// Folder that is made; it must not exist, or be empty
    out: PathBuf,
    /// Names and places of the files: those of diffusers, or those of the authors' program
    #[arg(long, default_value = "diffusers", value_parser = PossibleValuesParser::new(["diffusers", "authors"]))]
    layout: String,
    /// Number format of the weights
    #[arg(long, default_value = "f32", value_parser = PossibleValuesParser::new(["f32", "bf16", "f16"]))]
    precision: String,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The model
    model: PathBuf,
}

impl ModelsArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.command {
            ModelsCommand::List(args) => list::list(args.json),
            ModelsCommand::Info(args) => info(&args, talk),
            ModelsCommand::Pull(args) => pull(&args.id, talk),
            ModelsCommand::Rm(args) => remove(&args.id, talk),
            ModelsCommand::Convert(args) => convert(&args, talk),
            ModelsCommand::Verify(args) => {
                verify::verify(&model::find(Some(&args.model), talk)?, talk)
            }
        }
    }
}

fn info(args: &InfoArgs, talk: Talk) -> anyhow::Result<Answer> {
    let files = ModelFiles::open(&model::find(args.model.as_deref(), talk)?)?;
    let info = Info::of(&files)?;
    if args.json.json {
        output::print_json(&info)?;
    } else {
        info.lines().into_iter().try_for_each(output::print)?;
    }
    Ok(Answer::Yes)
}

fn cache() -> anyhow::Result<HubCache> {
    HubCache::of_user()
        .ok_or_else(|| hinted("there is no home for the cache of Hugging Face", "set HF_HOME"))
}

fn pull(id: &HubId, talk: Talk) -> anyhow::Result<Answer> {
    let cache = cache()?;
    let here = cache.find(id);
    // What is here may be old or half of it, which only the Hub knows.
    let path = match here {
        Some(path) if cfg!(not(feature = "hub")) || is_offline() => whole(id, path)?,
        _ => fetch(&cache, id, talk)?,
    };
    output::print(path.display())?;
    Ok(Answer::Yes)
}

/// A model of the cache that nobody compares with the Hub has to open.
fn whole(id: &HubId, path: PathBuf) -> anyhow::Result<PathBuf> {
    if is_teacher(&path) {
        return Ok(path);
    }
    let Err(error) = list::open(&path) else { return Ok(path) };
    let problem = list::problem(error, &path);
    let message = format!("{id} is incomplete or damaged in {}: {problem}", path.display());
    let hint = if cfg!(feature = "hub") {
        "HF_HUB_OFFLINE forbids to fetch what is missing; run the command again without it"
            .to_string()
    } else {
        let HubId { owner, name, .. } = id;
        format!(
            "this build does not download; `hf download {owner}/{name} --revision {}` fetches what is missing, and so does \
             a build with the feature `hub`",
            id.revision()
        )
    };
    Err(hinted(message, hint))
}

fn remove(id: &HubId, talk: Talk) -> anyhow::Result<Answer> {
    let cache = cache()?;
    let Some(removed) = cache.remove(id)? else {
        talk.note(format_args!("{id} is not in {}", cache.root().display()));
        return Ok(Answer::No);
    };
    talk.note(format_args!("removed from {}: {removed}", cache.folder(id).display()));
    Ok(Answer::Yes)
}

fn convert(args: &ConvertArgs, talk: Talk) -> anyhow::Result<Answer> {
    let source = model::find(Some(&args.model), talk)?;
    if !fs::is_free(&args.out) {
        let message = format!("{} exists and is not empty", args.out.display());
        return Err(hinted(message, "choose another folder"));
    }
    let layout = if args.layout == "authors" { Layout::Authors } else { Layout::Diffusers };
    let precision = match args.precision.as_str() {
        "bf16" => Precision::Bf16,
        "f16" => Precision::F16,
        _ => Precision::F32,
    };
    if is_teacher(&source) {
        let teacher = Teacher::open(&source, &Device::flex())?;
        fs::write_folder(&args.out, |new| -> anyhow::Result<()> {
            teacher.save(new, precision)?;
            keep_beside(&source, new)
        })?;
        talk.note(format_args!("wrote {} ({})", args.out.display(), args.precision));
        return Ok(Answer::Yes);
    }
    let files = ModelFiles::open(&source)?;
    // What belongs to the weights is there when they are.
    fs::write_folder(&args.out, |new| -> anyhow::Result<()> {
        files.convert(new, layout, precision)?;
        keep_beside(&files.folder, new)
    })?;
    let has_generator = files.folder.join(one_step::FOLDER).is_dir();
    let generator = if has_generator { ", with its one-step generator" } else { "" };
    let (out, precision) = (args.out.display(), &args.precision);
    talk.note(format_args!("wrote {out} ({layout}, {precision}){generator}"));
    Ok(Answer::Yes)
}

/// Whether a path is a diffusion teacher (EDM) or a one-step student of one.
fn is_teacher(path: &Path) -> bool {
    let is_pickle = path.extension().is_some_and(|extension| extension == "pkl");
    is_pickle || (path.join("model.safetensors").is_file() && path.join("config.json").is_file())
}

/// Recommended settings and licences belong to the weights, whatever their form.
fn keep_beside(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_licence = name.to_lowercase().starts_with("licen");
        if (is_licence || name == SETTINGS) && entry.path().is_file() {
            let bytes = fs::read(&entry.path())?;
            fs::write_atomic(&to.join(name), |out| out.write_all(&bytes))?;
        }
    }
    Ok(())
}
