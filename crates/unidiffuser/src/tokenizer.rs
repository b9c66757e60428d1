//! The two tokenizers of UniDiffuser: CLIP's, for prompts, and GPT-2's, for captions.
//!
//! Both are byte-pair encodings over bytes. CLIP's lower-cases, joins white space, marks the end of
//! each word with `</w>` and frames a text with start and end tokens; GPT-2's keeps every byte and gets
//! one more token, `<|EOS|>`, that ends a caption.

mod bpe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;
use trefoil_core::{Error, Result, fs};

use self::bpe::{Bpe, END_OF_WORD, tokenizer_json};

const CLIP_BOS: &str = "<|startoftext|>";
const END_OF_TEXT: &str = "<|endoftext|>";
const CAPTION_EOS: &str = "<|EOS|>";
/// Texts that are encoded at a time while a vocabulary is learnt.
const CHUNK: usize = 4096;

/// Which of the two tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Prompts.
    Clip,
    /// Captions.
    Gpt2,
}

/// Whether decoding removes the blank that tokenizers leave before punctuation and contractions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanUp {
    /// As the authors' version of the library did.
    #[default]
    Yes,
    /// As newer versions do.
    No,
}

/// An encoded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids with their frame.
    pub ids: Vec<u32>,
    /// Tokens of the text that did not fit.
    pub dropped: usize,
}

/// A tokenizer with its special tokens.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    flavour: Flavour,
    bos: (String, u32),
    eos: (String, u32),
    pad: (String, u32),
    origin: PathBuf,
}

impl Tokenizer {
    /// Opens a folder with `tokenizer.json`, or with `vocab.json` and `merges.txt`.
    ///
    /// A GPT-2 vocabulary without `<|EOS|>` gets it as its last token.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Format`] with the file.
    pub fn open(folder: &Path, flavour: Flavour) -> Result<Self> {
        let names = SpecialNames::read(folder, flavour)?;
        let path = folder.join("tokenizer.json");
        if path.is_file() {
            return Self::new(&fs::read(&path)?, flavour, &names, path);
        }
        let path = folder.join("vocab.json");
        let vocab: Map<String, Value> = fs::read_json(&path)?;
        let merges = read_merges(&folder.join("merges.txt"))?;
        Self::from_vocabulary(vocab, merges, flavour, &names, path)
    }

    /// Learns CLIP's kind of tokenizer from captions, with at most `vocab_size` tokens: 256 bytes, 256
    /// bytes at the end of a word, merges, start and end.
    ///
    /// # Errors
    /// [`Error::Config`] when `vocab_size` does not even hold the bytes.
    pub fn train_clip(captions: &[String], vocab_size: usize) -> Result<Self> {
        Self::train(captions, vocab_size, Flavour::Clip)
    }

    /// Learns GPT-2's kind of tokenizer from captions, with at most `vocab_size` tokens: 256 bytes,
    /// merges, the end of a text and the end of a caption.
    ///
    /// # Errors
    /// [`Error::Config`] when `vocab_size` does not even hold the bytes.
    pub fn train_gpt2(captions: &[String], vocab_size: usize) -> Result<Self> {
        Self::train(captions, vocab_size, Flavour::Gpt2)
    }

    fn train(captions: &[String], vocab_size: usize, flavour: Flavour) -> Result<Self> {
        let mut bpe = Bpe::bytes(flavour);
        let smallest = bpe.tokens.len() + 2;
        if vocab_size < smallest {
            let reason = format!("expected at least {smallest}, found {vocab_size}");
            return Err(Error::config("vocab_size", reason));
        }
        let bytes_only = Self::from_bpe(&bpe, flavour)?;
        bpe.learn(bytes_only.count_words(captions)?, vocab_size - 2);
        Self::from_bpe(&bpe, flavour)
    }

    /// How often each word occurs, as symbols of a vocabulary without merges.
    fn count_words(&self, captions: &[String]) -> Result<BTreeMap<Vec<u32>, u64>> {
        let mut words = BTreeMap::new();
        for chunk in captions.chunks(CHUNK) {
            let texts: Vec<&str> = chunk.iter().map(String::as_str).collect();
            let encodings = self.inner.encode_batch(texts, false).map_err(|e| self.fail(&e))?;
            for encoding in encodings {
                let symbols = encoding.get_ids().iter().zip(encoding.get_word_ids());
                let symbols: Vec<(u32, Option<u32>)> =
                    symbols.map(|(&id, &word)| (id, word)).collect();
                for word in symbols.chunk_by(|a, b| a.1 == b.1).filter(|word| word[0].1.is_some()) {
                    let word = word.iter().map(|&(id, _)| id).collect();
                    *words.entry(word).or_default() += 1;
                }
            }
        }
        Ok(words)
    }

    fn from_bpe(bpe: &Bpe, flavour: Flavour) -> Result<Self> {
        let names = SpecialNames::of(flavour);
        let in_vocabulary: &[&str] = match flavour {
            Flavour::Clip => &[CLIP_BOS, END_OF_TEXT],
            Flavour::Gpt2 => &[END_OF_TEXT],
        };
        let tokens = bpe.tokens.iter().map(String::as_str).chain(in_vocabulary.iter().copied());
        let vocab = tokens.zip(0u32..).map(|(token, id)| (token.to_string(), id.into())).collect();
        let merges = bpe.merges.iter().map(|pair| json!(pair)).collect();
        Self::from_vocabulary(vocab, merges, flavour, &names, "a trained tokenizer".into())
    }

    fn from_vocabulary(
        vocab: Map<String, Value>,
        merges: Vec<Value>,
        flavour: Flavour,
        names: &SpecialNames,
        origin: PathBuf,
    ) -> Result<Self> {
        let id = |token: &str| {
            let id = vocab.get(token).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| Error::format(&origin, format!("the token `{token}` is missing")))
        };
        // GPT-2's pipeline does not frame a text, so its end token may still be unknown here.
        let eos = if flavour == Flavour::Clip { &names.eos } else { &names.bos };
        let frame = [(names.bos.as_str(), id(&names.bos)?), (eos.as_str(), id(eos)?)];
        let json = tokenizer_json(flavour, vocab, merges, frame);
        Self::new(json.to_string().as_bytes(), flavour, names, origin)
    }

    fn new(json: &[u8], flavour: Flavour, names: &SpecialNames, origin: PathBuf) -> Result<Self> {
        let fail = |e: tokenizers::Error| Error::format(&origin, e.to_string());
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(fail)?;
        // Frame, truncation and padding are ours, so that what is cut off can be told.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(fail)?;
        let mut specials = vec![&names.bos, &names.pad];
        if flavour == Flavour::Clip {
            specials.push(&names.eos);
        }
        if let Some(token) = specials.iter().find(|token| inner.token_to_id(token).is_none()) {
            return Err(Error::format(&origin, format!("the token `{token}` is missing")));
        }
        let added = [&names.bos, &names.pad, &names.eos]
            .map(|token| AddedToken::from(token.clone(), true).normalized(false));
        inner.add_special_tokens(added).map_err(fail)?;
        let special = |token: &String| {
            let id = inner.token_to_id(token);
            let id = id.ok_or_else(|| Error::format(&origin, format!("no token `{token}`")))?;
            Ok((token.clone(), id))
        };
        let [bos, eos, pad] = [special(&names.bos)?, special(&names.eos)?, special(&names.pad)?];
        if let Some(expected) = names.eos_id.filter(|&id| id != eos.1) {
            let reason = format!("`{}`: expected id {expected}, found {}", eos.0, eos.1);
            return Err(Error::format(&origin, reason));
        }
        Ok(Self { inner, flavour, bos, eos, pad, origin })
    }

    /// Which tokenizer this is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The start token.
    pub fn bos(&self) -> u32 {
        self.bos.1
    }

    /// The end token: `<|endoftext|>` of CLIP, `<|EOS|>` of captions.
    pub fn eos(&self) -> u32 {
        self.eos.1
    }

    /// The token that fills up short prompts.
    pub fn pad(&self) -> u32 {
        self.pad.1
    }

    /// Encodes a text within `context_length` tokens; what does not fit is cut off before the end token.
    ///
    /// A prompt becomes start, text, end and padding up to `context_length`; a caption becomes text and
    /// end, without padding.
    ///
    /// # Errors
    /// [`Error::Config`] when `context_length` does not hold the frame, [`Error::Format`] when the
    /// vocabulary cannot express the text.
    pub fn encode(&self, text: &str, context_length: usize) -> Result<Encoded> {
        Ok(self.encode_all(&[text], context_length)?.remove(0))
    }

    /// The ids of [`Self::encode`] for many texts.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_batch(&self, texts: &[String], context_length: usize) -> Result<Vec<Vec<u32>>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = self.encode_all(&texts, context_length)?;
        Ok(encoded.into_iter().map(|encoded| encoded.ids).collect())
    }

    fn encode_all(&self, texts: &[&str], context_length: usize) -> Result<Vec<Encoded>> {
        let frame = match self.flavour {
            Flavour::Clip => 2,
            Flavour::Gpt2 => 1,
        };
        if context_length < frame {
            let reason = format!("expected at least {frame}, found {context_length}");
            return Err(Error::config("context_length", reason));
        }
        let encodings =
            self.inner.encode_batch_fast(texts.to_vec(), false).map_err(|e| self.fail(&e))?;
        let encoded = encodings.iter().map(|encoding| {
            let body = encoding.get_ids();
            let kept = body.len().min(context_length - frame);
            let mut ids = Vec::with_capacity(context_length);
            if self.flavour == Flavour::Clip {
                ids.push(self.bos());
            }
            ids.extend(&body[..kept]);
            ids.push(self.eos());
            if self.flavour == Flavour::Clip {
                ids.resize(context_length, self.pad());
            }
            Encoded { ids, dropped: body.len() - kept }
        });
        Ok(encoded.collect())
    }

    /// The text of some tokens, without the special ones.
    ///
    /// # Errors
    /// [`Error::Format`] when the decoder of the file fails.
    pub fn decode(&self, ids: &[u32], clean_up: CleanUp) -> Result<String> {
        let mut text = self.inner.decode(ids, true).map_err(|e| self.fail(&e))?;
        if self.flavour == Flavour::Clip {
            text = text.replace(END_OF_WORD, " ").trim().to_string();
        }
        Ok(match clean_up {
            CleanUp::Yes => remove_blanks(text),
            CleanUp::No => text,
        })
    }

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

    fn fail(&self, error: &tokenizers::Error) -> Error {
        Error::format(&self.origin, error.to_string())
    }
}

/// The special tokens of a folder by name.
#[derive(Debug)]
struct SpecialNames {
    bos: String,
    eos: String,
    pad: String,
    /// What `added_tokens.json` says about the end token.
    eos_id: Option<u32>,
}

impl SpecialNames {
    fn of(flavour: Flavour) -> Self {
        let (bos, eos) = match flavour {
            Flavour::Clip => (CLIP_BOS, END_OF_TEXT),
            Flavour::Gpt2 => (END_OF_TEXT, CAPTION_EOS),
        };
        Self { bos: bos.into(), eos: eos.into(), pad: END_OF_TEXT.into(), eos_id: None }
    }

    /// What the files beside the vocabulary say; the end of a caption is always `<|EOS|>`.
    fn read(folder: &Path, flavour: Flavour) -> Result<Self> {
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
fn read_merges(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|line| match line.split_once(' ') {
            Some((left, right)) => Ok(json!([left, right])),
            None => Err(Error::format(path, format!("expected two symbols, found `{line}`"))),
        })
        .collect()
}

/// `a cat , it 's here .` to `a cat, it's here.`
fn remove_blanks(text: String) -> String {
    const JOINED: [&str; 9] = [".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"];
    let text = JOINED[..4].iter().fold(text, |text, mark| text.replace(&format!(" {mark}"), mark));
    let text = text.replace(" ' ", "'");
    JOINED[4..].iter().fold(text, |text, part| text.replace(&format!(" {part}"), part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions() -> Vec<String> {
        [
            "a cat on a mat",
            "A cat, and the Cat's hat!",
            "the mat and the hat",
            "na\u{ef}ve \u{4f60}",
        ]
        .map(String::from)
        .to_vec()
    }

    #[test]
    fn training_is_reproducible_and_bounded() {
        let [a, b] = [(); 2].map(|()| Tokenizer::train_clip(&captions(), 540).unwrap());
        assert_eq!(a.inner.to_string(false).unwrap(), b.inner.to_string(false).unwrap());
        assert!((515..=540).contains(&a.vocab_size()), "{}", a.vocab_size());
        let words = a.encode("the cat", 16).unwrap().ids;
        assert_eq!(words.iter().position(|&id| id == a.eos()), Some(3), "{words:?}");
        assert_eq!((a.bos() + 1, a.eos() as usize + 1), (a.eos(), a.vocab_size()));
        assert!(Tokenizer::train_clip(&captions(), 513).is_err());
        let gpt2 = Tokenizer::train_gpt2(&captions(), 270).unwrap();
        assert_eq!((gpt2.vocab_size(), gpt2.eos()), (270, 269));
    }

    #[test]
    fn prompts_are_framed_cut_and_padded() {
        let clip = Tokenizer::train_clip(&captions(), 514).unwrap();
        let (bos, eos) = (clip.bos(), clip.eos());
        let cat = clip.encode(" CAT ", 8).unwrap();
        assert_eq!(cat.ids.len(), 8);
        assert_eq!((cat.ids[0], cat.dropped), (bos, 0));
        assert_eq!(cat.ids[4..], [eos; 4]);
        let cut = clip.encode("cat", 4).unwrap();
        assert_eq!((cut.ids.len(), cut.ids[3], cut.dropped), (4, eos, 1));
        assert_eq!(clip.decode(&cut.ids, CleanUp::No).unwrap(), "ca");
        assert!(clip.encode("cat", 1).is_err());
    }

    #[test]
    fn captions_survive_a_round_trip_through_a_folder() {
        let texts = captions();
        let dir = tempfile::tempdir().unwrap();
        let gpt2 = Tokenizer::train_gpt2(&texts, 300).unwrap();
        gpt2.save(dir.path(), 67).unwrap();
        let from_json = Tokenizer::open(dir.path(), Flavour::Gpt2).unwrap();
        std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
        let from_vocab = Tokenizer::open(dir.path(), Flavour::Gpt2).unwrap();
        let ids = gpt2.encode_batch(&texts, 67).unwrap();
        assert_eq!(ids, from_json.encode_batch(&texts, 67).unwrap());
        assert_eq!(ids, from_vocab.encode_batch(&texts, 67).unwrap());
        for (ids, text) in ids.iter().zip(&texts) {
            assert_eq!(ids.last(), Some(&gpt2.eos()));
            assert_eq!(from_vocab.decode(ids, CleanUp::No).unwrap(), *text);
        }
    }

    #[test]
    fn clean_up_joins_punctuation_and_contractions() {
        let text = "a cat , it 's here ! i do n't know . we 're done ?";
        assert_eq!(remove_blanks(text.into()), "a cat, it's here! i don't know. we're done?");
    }

    #[test]
    fn a_folder_without_vocabulary_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tokenizer::open(dir.path(), Flavour::Clip).unwrap_err().to_string();
        assert!(error.contains("vocab.json"), "{error}");
        std::fs::write(dir.path().join("vocab.json"), r#"{"a": 0}"#).unwrap();
        std::fs::write(dir.path().join("merges.txt"), "#version: 0.2\n").unwrap();
        let error = Tokenizer::open(dir.path(), Flavour::Clip).unwrap_err().to_string();
        assert!(error.contains("<|startoftext|>"), "{error}");
    }
}
