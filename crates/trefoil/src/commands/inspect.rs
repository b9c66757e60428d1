//! `trefoil inspect`: what a picture, a model folder or a weight file holds.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use trefoil_core::weights::{StoredTensor, WeightFile};
use trefoil_core::{Error as CoreError, Picture, fs, png};
use unidiffuser::folder::INDEX;

use crate::Answer;
use crate::hints::hinted;
use crate::model::Recommended;
use crate::output::{self, Talk};
use crate::record::{PARAMETERS, TREFOIL};
use crate::safetensors::Header;

/// First bytes of the formats that are told apart.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";
/// Extensions of PyTorch files.
const TORCH: [&str; 4] = ["pth", "pt", "bin", "ckpt"];

/// Show the settings inside a picture, or what a model consists of
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil inspect apple.png
  trefoil inspect --json apple.png | jq .trefoil.seed
  trefoil inspect models/openmoji-32
  trefoil inspect models/openmoji-32/unet/diffusion_pytorch_model.safetensors

Exit code 1: a picture carries no settings.")]
pub(crate) struct InspectArgs {
    /// Pictures, model folders, safetensors or PyTorch files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object per file
    #[arg(long)]
    json: bool,
}

/// What was found: a machine's form, lines for people, and whether that is what was looked for.
struct Finding {
    json: Value,
    lines: Vec<String>,
    answer: Answer,
}

impl InspectArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let mut answer = Answer::Yes;
        for path in &self.files {
            let found = look(path)?;
            let name = path.display();
            if found.answer == Answer::No {
                answer = Answer::No;
                talk.note(format_args!("{name}: no settings inside"));
            }
            if self.json {
                let mut object = Map::new();
                object.insert("file".into(), json!(name.to_string()));
                if let Value::Object(rest) = found.json {
                    object.extend(rest);
                }
                output::print_json(&object)?;
            } else if !found.lines.is_empty() {
                output::print(name)?;
                found.lines.iter().try_for_each(|line| output::print(format_args!("  {line}")))?;
            }
        }
        Ok(answer)
    }
}

fn look(path: &Path) -> anyhow::Result<Finding> {
    if path.is_dir() {
        return folder(path);
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PNG.len() as u64).read_to_end(&mut start))
        .map_err(|source| CoreError::Read { path: path.into(), source })?;
    if start == PNG || start.starts_with(JPEG) {
        picture(path, start == PNG)
    } else if path.extension().is_some_and(|e| e == "safetensors") {
        weights(path)
    } else if path.extension().is_some_and(|e| TORCH.iter().any(|known| e == *known)) {
        torch(path)
    } else {
        let message = format!("{} is neither a picture nor a model", path.display());
        let hint =
            "give a PNG or JPEG picture, a model folder, or a .safetensors, .pth or .bin file";
        Err(hinted(message, hint))
    }
}

fn picture(path: &Path, is_png: bool) -> anyhow::Result<Finding> {
    let (bytes, name) = (fs::read(path)?, path.display().to_string());
    let size = Picture::decode(&bytes, &name)?;
    let texts = if is_png { png::texts(&bytes, &name)? } else { Vec::new() };
    let text = |key: &str| texts.iter().find(|(k, _)| k == key).map(|(_, text)| text);
    let record: Option<Value> = text(TREFOIL).and_then(|json| serde_json::from_str(json).ok());
    let mut lines = Vec::new();
    if let Some(Value::Object(fields)) = &record {
        lines.extend(fields.iter().map(|(key, value)| match value {
            Value::String(text) => format!("{key}: {text}"),
            other => format!("{key}: {other}"),
        }));
    } else if let Some(parameters) = text(PARAMETERS) {
        lines.extend(parameters.lines().map(String::from));
    }
    let answer = if lines.is_empty() { Answer::No } else { Answer::Yes };
    let json = json!({
        "kind": "picture",
        "width": size.width(),
        "height": size.height(),
        "parameters": text(PARAMETERS),
        "trefoil": record,
    });
    Ok(Finding { json, lines, answer })
}

fn weights(path: &Path) -> anyhow::Result<Finding> {
    let header = Header::read(path)?;
    let mut lines =
        vec![format!("{} tensors, {} parameters", header.tensors.len(), header.elements())];
    lines.extend(header.tensors.iter().map(|t| format!("{} {} {:?}", t.name, t.dtype, t.shape)));
    let json = json!({
        "kind": "weights",
        "parameters": header.elements(),
        "bytes": header.bytes,
        "metadata": header.metadata,
        "tensors": header.tensors,
    });
    Ok(Finding { json, lines, answer: Answer::Yes })
}

/// A file of PyTorch, whose pickle is read and not run.
fn torch(path: &Path) -> anyhow::Result<Finding> {
    let file = WeightFile::open(path)?;
    let type_of = |tensor: &StoredTensor| format!("{:?}", tensor.element()).to_uppercase();
    let tensors: Vec<(&str, &StoredTensor)> = file.tensors().collect();
    let parameters: usize = tensors.iter().map(|(_, tensor)| tensor.elements()).sum();
    let mut lines = vec![format!("{} tensors, {parameters} parameters", tensors.len())];
    lines.extend(tensors.iter().map(|(n, t)| format!("{n} {} {:?}", type_of(t), t.shape())));
    let describe = |(name, tensor): &(&str, &StoredTensor)| json!({"name": name, "dtype": type_of(tensor), "shape": tensor.shape()});
    let json = json!({
        "kind": "weights",
        "parameters": parameters,
        "bytes": path.metadata().map_or(0, |metadata| metadata.len()),
        "tensors": tensors.iter().map(describe).collect::<Vec<_>>(),
    });
    Ok(Finding { json, lines, answer: Answer::Yes })
}

fn folder(path: &Path) -> anyhow::Result<Finding> {
    let index = path.join(INDEX);
    if !index.is_file() {
        let message = format!("{} is not a model folder: it has no {INDEX}", path.display());
        return Err(hinted(message, "give the folder that holds model_index.json"));
    }
    let listed: Map<String, Value> = fs::read_json(&index)?;
    let mut components = Vec::new();
    let mut lines = Vec::new();
    let (mut parameters, mut bytes) = (0, 0);
    for (name, class) in listed.iter().filter(|(name, _)| !name.starts_with('_')) {
        let class = class.get(1).and_then(Value::as_str).unwrap_or_default();
        let (own_parameters, own_bytes) = component(&path.join(name))?;
        parameters += own_parameters;
        bytes += own_bytes;
        components.push(json!({
            "name": name, "class": class, "parameters": own_parameters, "bytes": own_bytes,
        }));
        let size = own_bytes as f64 / 1e6;
        lines.push(format!("{name:<22}{own_parameters:>12} parameters {size:>9.2} MB  {class}"));
    }
    let total = "all";
    let size = bytes as f64 / 1e6;
    lines.push(format!("{total:<22}{parameters:>12} parameters {size:>9.2} MB"));
    let licence = files(path)?.into_iter().find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.starts_with("licen") || name.starts_with("copying")
    });
    let licence = licence.map(|p| p.file_name().unwrap_or_default().to_string_lossy().into_owned());
    lines.push(format!("licence: {}", licence.as_deref().unwrap_or("no file")));
    let recommended = Recommended::read(path)?;
    if recommended != Recommended::default() {
        lines.push(format!("recommended: {}", serde_json::to_string(&recommended)?));
    }
    let json = json!({
        "kind": "model",
        "parameters": parameters,
        "bytes": bytes,
        "components": components,
        "licence": licence,
        "recommended": recommended,
    });
    Ok(Finding { json, lines, answer: Answer::Yes })
}

/// Parameters in the weight files of a component, and the size of all its files.
fn component(folder: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut parameters, mut bytes) = (0, 0);
    for file in files(folder)? {
        let fail = |source| CoreError::Read { path: file.clone(), source };
        bytes += file.metadata().map_err(fail)?.len();
        if file.extension().is_some_and(|e| e == "safetensors") {
            parameters += Header::read(&file)?.elements();
        }
    }
    Ok((parameters, bytes))
}

/// The files of a folder, sorted.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let fail = |source| CoreError::Read { path: folder.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
