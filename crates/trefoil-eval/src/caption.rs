//! Agreement of generated captions with their references.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough, same_size};
use crate::interval::{Interval, MeanEstimate, mean_estimate, wilson_interval};
use crate::report::{Measure, Row, Unit};

/// Lower case, with runs of whitespace as one space and none at the ends.
pub fn normalise(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lower-case words: maximal runs of letters and digits.
pub fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// F1 of the bags of words of two texts, as SQuAD defines it (<https://arxiv.org/abs/1606.05250>)
/// but keeping the articles: with `common` the size of the intersection of the bags,
/// `2 common / (words in a + words in b)`. Two texts without words agree.
pub fn token_f1(a: &str, b: &str) -> f64 {
    let (a, b) = (words(a), words(b));
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let mut bag: HashMap<&str, usize> = HashMap::new();
    for word in &a {
        *bag.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in &b {
        if let Some(left) = bag.get_mut(word.as_str()).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    (2 * common) as f64 / (a.len() + b.len()) as f64
}

/// Agreement of captions with their references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionReport {
    /// Number of captions.
    pub samples: usize,
    /// Part of the captions that equal a reference after [`normalise`].
    pub exact_match: f64,
    /// Wilson interval of `exact_match`.
    pub exact_match_interval: Interval,
    /// Mean over the captions of the largest [`token_f1`] over the references.
    pub token_f1: MeanEstimate,
}

/// Compares each caption with its references.
///
/// # Errors
/// No captions, another number of reference lists, a caption without references.
pub fn captions<S: AsRef<str>>(generated: &[S], references: &[Vec<S>]) -> Result<CaptionReport> {
    enough("captions", 1, generated.len())?;
    same_size("lists of references", generated.len(), references.len())?;
    let mut matches = 0;
    let mut scores = Vec::with_capacity(generated.len());
    for (sample, (caption, references)) in generated.iter().zip(references).enumerate() {
        if references.is_empty() {
            return Err(Error::NoReference { sample });
        }
        let caption = caption.as_ref();
        let normal = normalise(caption);
        matches += usize::from(references.iter().any(|r| normalise(r.as_ref()) == normal));
        scores.push(references.iter().map(|r| token_f1(caption, r.as_ref())).fold(0.0, f64::max));
    }
    Ok(CaptionReport {
        samples: generated.len(),
        exact_match: matches as f64 / generated.len() as f64,
        exact_match_interval: wilson_interval(matches, generated.len())?,
        token_f1: mean_estimate(&scores)?,
    })
}

impl Measure for CaptionReport {
    fn rows(&self) -> Vec<Row> {
        vec![
            Row::higher_is_better(
                "caption exact match",
                Unit::Fraction,
                self.exact_match,
                self.samples,
            )
            .with_interval(Some(self.exact_match_interval)),
            Row::higher_is_better(
                "caption token F1",
                Unit::Fraction,
                self.token_f1.mean,
                self.samples,
            )
            .with_interval(self.token_f1.interval),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_ignores_case_and_spaces_only() {
        assert_eq!(normalise("  A red\t\nCircle "), "a red circle");
        assert_ne!(normalise("a red circle."), normalise("a red circle"));
        assert_eq!(words("It's 2 red-ish CIRCLES!"), ["it", "s", "2", "red", "ish", "circles"]);
    }

    #[test]
    fn f1_counts_words_with_their_multiplicity() {
        assert_eq!(token_f1("a red circle", "Circle, red: a!"), 1.0);
        // Three of four and of three words: 2 * 3 / 7 - but "a" may be used once only.
        assert_eq!(token_f1("a a red circle", "a red circle"), 6.0 / 7.0);
        assert_eq!(token_f1("a a a", "a b"), 2.0 / 5.0);
        assert_eq!(token_f1("blue", "red"), 0.0);
        assert_eq!(token_f1("", "red"), 0.0);
        assert_eq!(token_f1("...", ""), 1.0);
    }

    #[test]
    fn the_best_reference_counts() {
        let report = captions(
            &["a red circle", "A  Blue square"],
            &[vec!["green", "a red square"], vec!["a blue square", "nothing"]],
        )
        .unwrap();
        assert_eq!(report.samples, 2);
        assert_eq!(report.exact_match, 0.5);
        assert!((report.token_f1.mean - f64::midpoint(2.0 / 3.0, 1.0)).abs() < 1e-15);
        let half = 0.5 * 1.96 / (2.0 + 1.96_f64 * 1.96).sqrt();
        assert!((report.exact_match_interval.low - (0.5 - half)).abs() < 1e-12);
    }

    #[test]
    fn missing_references_are_named() {
        assert!(matches!(
            captions(&["a", "b"], &[vec!["a"], vec![]]),
            Err(Error::NoReference { sample: 1 })
        ));
        assert!(matches!(
            captions(&["a", "b"], &[vec!["a"]]),
            Err(Error::SizeMismatch { expected: 2, found: 1, .. })
        ));
        assert!(matches!(captions::<&str>(&[], &[]), Err(Error::TooFewSamples { .. })));
    }
}
