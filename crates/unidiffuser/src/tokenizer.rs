//! The two tokenizers of UniDiffuser: CLIP's, for prompts, and GPT-2's, for captions.
//!
//! Both are byte-pair encodings over bytes. CLIP's lower-cases, joins white space, marks the end of
//! each word with `</w>` and frames a text with start and end tokens; GPT-2's keeps every byte and gets
//! one more token, `<|EOS|>`, that ends a caption.

mod bpe;
mod files;
mod train;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;
use trefoil_core::{Error, Result, fs};

use self::bpe::{Bpe, END_OF_WORD, tokenizer_json};
use self::files::{SpecialNames, read_merges};

const CLIP_BOS: &str = "<|startoftext|>";
const END_OF_TEXT: &str = "<|endoftext|>";
const CAPTION_EOS: &str = "<|EOS|>";

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

    fn fail(&self, error: &tokenizers::Error) -> Error {
        Error::format(&self.origin, error.to_string())
    }
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
