//! Words and their numbers.

use std::collections::HashMap;

use super::options::WordIds;
use super::text;

/// Number of the word that fills up short lists.
pub const PADDING: u32 = 0;
/// Number of all words that are not in the vocabulary.
pub const UNKNOWN_WORD: u32 = 1;
/// Strings of the two; no text has such a word.
pub(crate) const RESERVED: [&str; 2] = ["[pad]", "[unk]"];

/// Words by number, and numbers by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    words: Vec<String>,
    numbers: HashMap<String, u32>,
    kind: WordIds,
}

/// The words of a text as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Numbers of the known words in their order; [`UNKNOWN_WORD`] alone if none is known.
    pub words: Vec<u32>,
    /// Words that are not in the vocabulary.
    pub unmatched: Vec<String>,
}

impl Vocabulary {
    /// A vocabulary of these words, the reserved ones included.
    pub(crate) fn new(words: Vec<String>, kind: WordIds) -> Self {
        let numbers = words.iter().zip(0..).map(|(word, number)| (word.clone(), number)).collect();
        Self { words, numbers, kind }
    }

    /// Learns a vocabulary of at most `max_words` from words and how often each comes in queries
    /// and in the catalogue. Words of queries come first, the more frequent before the less
    /// frequent, equally frequent ones in their own order.
    pub(crate) fn learn(
        counts: HashMap<String, [u64; 2]>,
        max_words: usize,
        min_count: u32,
    ) -> Self {
        let mut words: Vec<(String, [u64; 2])> = counts
            .into_iter()
            .filter(|(_, [queries, items])| queries + items >= u64::from(min_count))
            .collect();
        words.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
        words.truncate(max_words - RESERVED.len());
        let reserved = RESERVED.iter().map(ToString::to_string);
        Self::new(
            reserved.chain(words.into_iter().map(|(word, _)| word)).collect(),
            WordIds::Learned,
        )
    }

    /// Number of words, the reserved ones included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words by number.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The number of a word, none if it is unknown or reserved.
    pub fn find(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// Where word numbers come from.
    pub fn kind(&self) -> WordIds {
        self.kind
    }

    /// Number of the first word that can be in a text.
    pub fn first_word(&self) -> usize {
        match self.kind {
            WordIds::Learned => UNKNOWN_WORD as usize + 1,
            WordIds::Given => 0,
        }
    }

    /// The words of a text as numbers. Unknown words do not take the place of known ones, since a
    /// model looks at the first few only.
    pub fn encode(&self, text: &str) -> Encoded {
        let mut encoded = Encoded::default();
        for word in text::words(text) {
            match self.find(&word) {
                Some(number) => encoded.words.push(number),
                None => encoded.unmatched.push(word),
            }
        }
        if encoded.words.is_empty()
            && !encoded.unmatched.is_empty()
            && self.kind == WordIds::Learned
        {
            encoded.words.push(UNKNOWN_WORD);
        }
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_words_of_queries_come_first() {
        let counts =
            [("b", [2, 0]), ("a", [2, 0]), ("title", [0, 9]), ("rare", [1, 0]), ("c", [3, 1])];
        let counts = counts.iter().map(|&(word, n)| (word.to_owned(), n)).collect();
        let vocabulary = Vocabulary::learn(counts, 6, 2);
        assert_eq!(vocabulary.words(), ["[pad]", "[unk]", "c", "a", "b", "title"]);
        let encoded = vocabulary.encode("A rare TITLE");
        assert_eq!(encoded.words, [3, 5]);
        assert_eq!(encoded.unmatched, ["rare"]);
        assert_eq!(vocabulary.encode("[unk] rare").words, [UNKNOWN_WORD]);
        assert_eq!(vocabulary.encode(""), Encoded::default());
    }
}
