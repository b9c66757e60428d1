//! `trefoil models`: which models are here, what they need, and other forms of them.

mod info;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_core::fs;
use trefoil_core::hub::{HubCache, HubId, is_offline};
use trefoil_core::weights::Precision;
use uni_instruct::edm::Teacher;
use unidiffuser::model::{Layout, ModelFiles};

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
    /// The models that are here: the one that comes with Trefoil, and UniDiffuser models in the cache of Hugging Face
    List(JsonArgs),
    /// Sizes, licence and the memory that a model needs, before it is loaded
    Info(InfoArgs),
    /// Make sure that a model of the Hub is here; builds with the feature `hub` fetch what is missing
    Pull(HubArgs),
    /// Remove a revision of a model from the cache of Hugging Face; without one, all of them
    Rm(HubArgs),
    /// Write a model in another layout or precision
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
            ModelsCommand::List(args) => list(&args),
            ModelsCommand::Info(args) => info(&args, talk),
            ModelsCommand::Pull(args) => pull(&args.id, talk),
            ModelsCommand::Rm(args) => remove(&args.id, talk),
            ModelsCommand::Convert(args) => convert(&args, talk),
            ModelsCommand::Verify(args) => verify(&args.model, talk),
        }
    }
}

fn list(args: &JsonArgs) -> anyhow::Result<Answer> {
    let mut models: Vec<(String, PathBuf)> = Vec::new();
    models.extend(
        model::shipped(model::SHIPPED).map(|path| ("(comes with Trefoil)".to_string(), path)),
    );
    let cache = HubCache::of_user();
    for id in cache.iter().flat_map(HubCache::list) {
        models.extend(cache.as_ref().and_then(|c| c.find(&id)).map(|path| (id.to_string(), path)));
    }
    // Other models of the cache are not ours to run.
    let models = models
        .into_iter()
        .filter_map(|(name, path)| Some((name, ModelFiles::open(&path).ok()?, path)));
    let mut found = Answer::No;
    for (name, files, path) in models {
        found = Answer::Yes;
        let info = Info::of(&files)?;
        let parameters: usize = info.components.iter().map(|c| c.parameters).sum();
        if args.json {
            output::print_json(&json!({
                "name": name, "path": path, "layout": files.layout.to_string(), "parameters": parameters,
            }))?;
        } else {
            let millions = parameters as f64 / 1e6;
            let (layout, path) = (files.layout, path.display());
            output::print(format_args!(
                "{name:<32}{millions:>10.1} M parameters  {layout:<10}  {path}"
            ))?;
        }
    }
    Ok(found)
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
        Some(path) if cfg!(not(feature = "hub")) || is_offline() => path,
        _ => fetch(&cache, id, talk)?,
    };
    output::print(path.display())?;
    Ok(Answer::Yes)
}

fn remove(id: &HubId, talk: Talk) -> anyhow::Result<Answer> {
    let cache = cache()?;
    if !cache.remove(id)? {
        talk.note(format_args!("{id} is not in {}", cache.root().display()));
        return Ok(Answer::No);
    }
    talk.note(format_args!("removed {id} from {}", cache.root().display()));
    Ok(Answer::Yes)
}

fn convert(args: &ConvertArgs, talk: Talk) -> anyhow::Result<Answer> {
    let source = model::find(Some(&args.model), talk)?;
    let is_free = match std::fs::read_dir(&args.out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !args.out.exists(),
    };
    if !is_free {
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
        Teacher::open(&source, &Device::flex())?.save(&args.out, precision)?;
        keep_beside(&source, &args.out)?;
        talk.note(format_args!("wrote {} ({})", args.out.display(), args.precision));
        return Ok(Answer::Yes);
    }
    let files = ModelFiles::open(&source)?;
    files.convert(&args.out, layout, precision)?;
    keep_beside(&files.folder, &args.out)?;
    talk.note(format_args!("wrote {} ({layout}, {})", args.out.display(), args.precision));
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

fn verify(model: &Path, talk: Talk) -> anyhow::Result<Answer> {
    let files = ModelFiles::open(&model::find(Some(model), talk)?)?;
    files.tokenizers()?;
    let mut answer = Answer::Yes;
    for (name, tensors) in info::stored(&files)? {
        let mut bad = Vec::new();
        for (tensor, stored) in &tensors {
            let finite = stored.read().is_some_and(|data| data.iter::<f32>().all(f32::is_finite));
            if !finite {
                bad.push(tensor.as_str());
            }
        }
        let count = tensors.len();
        if bad.is_empty() {
            output::print(format_args!(
                "{name:<16}{count:>5} tensors, names, shapes and numbers as they must be"
            ))?;
        } else {
            answer = Answer::No;
            output::print(format_args!("{name:<16}{count:>5} tensors, {} not finite", bad.len()))?;
            talk.note(format_args!("{name}: not finite: {}", bad.join(", ")));
        }
    }
    Ok(answer)
}
