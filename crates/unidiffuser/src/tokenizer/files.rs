//! The files of a tokenizer's folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use trefoil_core::{Error, Result, fs};

use super::{CAPTION_EOS, CLIP_BOS, END_OF_TEXT, Flavour, Tokenizer};

impl Tokenizer {
    /// Writes `tokenizer.json`, `vocab.json`, `merges.txt` and the two small files beside them, so that
    /// old and new versions of transformers open the folder.
    ///
    /// # Errors
    /// [`Error::Write`] with the file.
    pub fn save(&self, folder: &Path, context_length: usize) -> Result<()> {
        fs::create_dir_all(folder)?;
        let text = self.inner.to_string(true).map_err(|e| self.fail(&e))?;
        let json: Value =
            serde_json::from_str(&text).map_err(|e| Error::format(&self.origin, e.to_string()))?;
        fs::write_json(&folder.join("tokenizer.json"), &json)?;
        let vocab = &json["model"]["vocab"];
        fs::write_json(&folder.join("vocab.json"), vocab)?;
        let merges = json["model"]["merges"].as_array().cloned().unwrap_or_default();
        fs::write_atomic(&folder.join("merges.txt"), |out| {
            writeln!(out, "#version: 0.2")?;
            merges
                .iter()
                .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
                .try_for_each(|(left, right)| writeln!(out, "{left} {right}"))
        })?;
        let mut specials = Map::new();
        specials.insert("bos_token".into(), json!(self.bos.0));
        specials.insert("eos_token".into(), json!(self.eos.0));
        specials.insert("unk_token".into(), json!(END_OF_TEXT));
        if self.flavour == Flavour::Clip {
            specials.insert("pad_token".into(), json!(self.pad.0));
        }
        fs::write_json(&folder.join("special_tokens_map.json"), &specials)?;
        if vocab.get(&self.eos.0).is_none() {
            let added: Map<_, _> = [(self.eos.0.clone(), json!(self.eos.1))].into_iter().collect();
            fs::write_json(&folder.join("added_tokens.json"), &added)?;
        }
        let mut config = specials;
        config.insert("model_max_length".into(), json!(context_length));
        config.insert("errors".into(), json!("replace"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        let class = match self.flavour {
            Flavour::Clip => "CLIPTokenizer",
            Flavour::Gpt2 => "GPT2Tokenizer",
        };
        config.insert("tokenizer_class".into(), json!(class));
        fs::write_json(&folder.join("tokenizer_config.json"), &config)
    }
}

/// The special tokens of a folder by name.
#[derive(Debug)]
pub(super) struct SpecialNames {
    pub(super) bos: String,
    pub(super) eos: String,
    pub(super) pad: String,
    /// What `added_tokens.json` says about the end token.
    pub(super) eos_id: Option<u32>,
}

impl SpecialNames {
    pub(super) fn of(flavour: Flavour) -> Self {
        let (bos, eos) = match flavour {
            Flavour::Clip => (CLIP_BOS, END_OF_TEXT),
            Flavour::Gpt2 => (END_OF_TEXT, CAPTION_EOS),
        };
        Self { bos: bos.into(), eos: eos.into(), pad: END_OF_TEXT.into(), eos_id: None }
    }

    /// What the files beside the vocabulary say; the end of a caption is always `<|EOS|>`.
    pub(super) fn read(folder: &Path, flavour: Flavour) -> Result<Self> {
        let mut names = Self::of(flavour);
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(file);
            if !path.is_file() {
                continue;
            }
            let json: Value = fs::read_json(&path)?;
            let name = |field: &str| {
                let value = json.get(field)?;
                value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
            };
            names.bos = name("bos_token").unwrap_or(names.bos);
            if flavour == Flavour::Clip {
                names.eos = name("eos_token").unwrap_or(names.eos);
                names.pad = name("pad_token").unwrap_or(names.pad);
            }
        }
        let path = folder.join("added_tokens.json");
        if path.is_file() {
            let added: BTreeMap<String, u32> = fs::read_json(&path)?;
            names.eos_id = added.get(&names.eos).copied();
        }
        Ok(names)
    }
}

/// Pairs of symbols, one a line, after a line that names the version.
pub(super) fn read_merges(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|line| match line.split_once(' ') {
            Some((left, right)) => Ok(json!([left, right])),
            None => Err(Error::format(path, format!("expected two symbols, found `{line}`"))),
        })
        .collect()
}
