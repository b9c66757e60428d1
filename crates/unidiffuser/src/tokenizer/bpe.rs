//! Byte-pair encoding: the vocabulary, the text pipeline of each flavour, and learning merges.
//!
//! Sennrich et al., *Neural Machine Translation of Rare Words with Subword Units*,
//! <https://arxiv.org/abs/1508.07909>, over bytes as in GPT-2.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::Flavour;

/// CLIP's word pattern, with its special tokens kept whole.
const CLIP_WORDS: &str = concat!(
    r"<\|startoftext\|>|<\|endoftext\|>",
    r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
);
/// What CLIP appends to the last symbol of a word.
pub(super) const END_OF_WORD: &str = "</w>";
/// A pair that occurs once says nothing about the language.
const MIN_COUNT: u64 = 2;

/// Tokens in the order of their ids, and merges in the order of their rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bpe {
    pub(super) tokens: Vec<String>,
    pub(super) merges: Vec<[String; 2]>,
}

/// The printable character that stands for each byte: itself where it is printable latin-1, else the
/// code points from 256 on, in the order of the bytes. Sorted by code point, as the vocabularies are.
fn byte_characters() -> Vec<char> {
    let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let others = (0..256).filter(|&b| !printable(b)).count() as u32;
    (0..256).filter(|&b| printable(b)).chain(256..256 + others).filter_map(char::from_u32).collect()
}

impl Bpe {
    /// The symbols that every text can be written with.
    pub(super) fn bytes(flavour: Flavour) -> Self {
        let characters = byte_characters();
        let mut tokens: Vec<String> = characters.iter().map(char::to_string).collect();
        if flavour == Flavour::Clip {
            tokens.extend(characters.iter().map(|c| format!("{c}{END_OF_WORD}")));
        }
        Self { tokens, merges: Vec::new() }
    }

    /// Learns merges until there are `size` tokens or no pair occurs twice: the most frequent pair
    /// first, of equals the one with the smaller ids, so that equal texts give equal vocabularies.
    pub(super) fn learn(&mut self, words: BTreeMap<Vec<u32>, u64>, size: usize) {
        let mut ids: HashMap<String, u32> = self.tokens.iter().cloned().zip(0..).collect();
        let mut pairs = Pairs::new(words);
        while self.tokens.len() < size {
            let Some((left, right)) = pairs.most_frequent() else { break };
            let [a, b] = [left, right].map(|id| self.tokens[id as usize].clone());
            let joined = format!("{a}{b}");
            // Two ways of joining can spell the same token.
            let id = *ids.entry(joined).or_insert_with_key(|token| {
                self.tokens.push(token.clone());
                self.tokens.len() as u32 - 1
            });
            self.merges.push([a, b]);
            pairs.merge((left, right), id);
        }
    }
}

type Pair = (u32, u32);

/// Words as symbols, and where each pair of neighbours occurs.
struct Pairs {
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    places: HashMap<Pair, HashSet<usize>>,
    /// May hold outdated counts, which are corrected when they surface.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Pairs {
    fn new(words: BTreeMap<Vec<u32>, u64>) -> Self {
        let mut this = Self {
            words: words.into_iter().collect(),
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for index in 0..this.words.len() {
            this.add(index);
        }
        this.queue = this.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        this
    }

    fn add(&mut self, index: usize) {
        let (symbols, count) = &self.words[index];
        for pair in symbols.windows(2).map(|w| (w[0], w[1])) {
            *self.counts.entry(pair).or_default() += count;
            self.places.entry(pair).or_default().insert(index);
        }
    }

    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let current = self.counts.get(&pair).copied().unwrap_or(0);
            if current == count && count >= MIN_COUNT {
                return Some(pair);
            }
            if current >= MIN_COUNT && current < count {
                self.queue.push((current, Reverse(pair)));
            }
        }
        None
    }

    fn merge(&mut self, pair: Pair, id: u32) {
        let places = self.places.remove(&pair).unwrap_or_default();
        let mut changed: HashSet<Pair> = HashSet::new();
        for index in places {
            let (symbols, count) = &self.words[index];
            let merged = merge_symbols(symbols, pair, id);
            if merged.len() == symbols.len() {
                continue; // an earlier merge took this place
            }
            for old in symbols.windows(2).map(|w| (w[0], w[1])) {
                if let Some(total) = self.counts.get_mut(&old) {
                    *total -= count;
                }
            }
            changed.extend(merged.windows(2).map(|w| (w[0], w[1])));
            self.words[index].0 = merged;
            self.add(index);
        }
        for pair in changed {
            if let Some(&count) = self.counts.get(&pair) {
                self.queue.push((count, Reverse(pair)));
            }
        }
    }
}

fn merge_symbols(symbols: &[u32], (left, right): Pair, id: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(symbols.len());
    let mut rest = symbols;
    while let Some((&first, tail)) = rest.split_first() {
        if first == left && tail.first() == Some(&right) {
            out.push(id);
            rest = &tail[1..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// The whole tokenizer as a `tokenizer.json`.
pub(super) fn tokenizer_json(
    flavour: Flavour,
    vocab: Map<String, Value>,
    merges: Vec<Value>,
    [bos, eos]: [(&str, u32); 2],
) -> Value {
    let byte_level = |add_prefix_space: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
            "use_regex": true,
        })
    };
    let (normalizer, pre_tokenizer, post_processor, suffix, unknown) = match flavour {
        Flavour::Clip => (
            json!({"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ]}),
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": CLIP_WORDS}, "behavior": "Removed",
                 "invert": true},
                byte_level(false),
            ]}),
            json!({"type": "RobertaProcessing", "sep": [eos.0, eos.1], "cls": [bos.0, bos.1],
                   "trim_offsets": false, "add_prefix_space": false}),
            END_OF_WORD,
            json!(eos.0),
        ),
        Flavour::Gpt2 => (Value::Null, byte_level(false), byte_level(true), "", Value::Null),
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "",
            "end_of_word_suffix": suffix, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let characters = byte_characters();
        assert_eq!(characters.len(), 256);
        assert_eq!(characters[0], '!');
        assert_eq!(characters[188], '\u{100}');
        assert!(characters.is_sorted());
    }

    #[test]
    fn merges_follow_frequency_then_ids() {
        // "aab" x 3 and "ab" x 1: the pair (a, b) occurs 4 times, (a, a) 3 times.
        let mut bpe = Bpe { tokens: vec!["a".into(), "b".into()], merges: Vec::new() };
        let words = BTreeMap::from([(vec![0, 0, 1], 3), (vec![0, 1], 1)]);
        bpe.learn(words, 10);
        assert_eq!(bpe.merges, [["a", "b"], ["a", "ab"]].map(|m| m.map(String::from)));
        assert_eq!(bpe.tokens, ["a", "b", "ab", "aab"]);
    }

    #[test]
    fn overlapping_pairs_merge_from_the_left() {
        assert_eq!(merge_symbols(&[7, 7, 7, 7, 7], (7, 7), 9), [9, 9, 7]);
        let mut bpe = Bpe { tokens: vec!["a".into()], merges: Vec::new() };
        bpe.learn(BTreeMap::from([(vec![0; 5], 2)]), 9);
        assert_eq!(bpe.tokens, ["a", "aa", "aaa", "aaaaa"]);
    }
}
