//! Vocabularies learnt from captions.

use std::collections::BTreeMap;

use trefoil_core::{Error, Result};

use super::bpe::Bpe;
use super::{Flavour, Tokenizer};

/// Texts that are encoded at a time.
const CHUNK: usize = 4096;

impl Tokenizer {
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
}
