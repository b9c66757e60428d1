//! Length-normalised beam search over the text decoder.

use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::{Error, Result};

use super::{BeamOptions, CaptionDecoder};

/// One caption of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Beam {
    /// Token ids, the end token included when it was reached.
    pub tokens: Vec<u32>,
    /// Mean log-probability per token; the beams of a search are sorted by it, best first.
    pub score: f64,
    stopped: bool,
}

impl CaptionDecoder {
    /// All beams of every sample, best first.
    ///
    /// With `S` the summed log-probability and `L` the length of a beam, each step extends every
    /// unfinished beam by every token and keeps the `W` candidates with the largest `S / L`; a beam
    /// ends with the token `eos` and then competes unchanged. The search of a sample ends when all its
    /// beams have, or after `max_tokens`. Samples are independent: a batch gives what each gives alone.
    ///
    /// # Shapes
    /// - `code`: `[B, prefix_length, prefix_hidden_dim]`
    ///
    /// # Errors
    /// [`Error::Config`] when an option is out of range or the caption would outgrow the position
    /// table; [`Error::NonFinite`] when the network returns something that is not a number.
    pub fn beam_search(
        &self,
        code: Tensor<3>,
        eos: u32,
        options: &BeamOptions,
    ) -> Result<Vec<Vec<Beam>>> {
        let [samples, prefix, _] = code.dims();
        options.check(self.gpt().vocabulary())?;
        self.check_length(prefix, options.max_tokens - 1)?;
        let device = code.device();
        let (last, mut cache) = self.gpt().prefill(self.decode_prefix.forward(code));
        let logits = Logits::read(self.gpt().head(last), options.temperature)?;
        let mut searches: Vec<Search> =
            (0..samples).map(|i| Search::start(logits.row(i), eos, options.beams)).collect();

        // The samples that are still searched, as they stand in the cache.
        let mut active: Vec<usize> = (0..samples).collect();
        for _ in 1..options.max_tokens {
            let kept: Vec<usize> =
                (0..active.len()).filter(|&i| !searches[active[i]].is_done()).collect();
            if kept.is_empty() {
                break;
            }
            let rows = kept.iter().flat_map(|&i| {
                searches[active[i]].sources.iter().map(move |source| i * options.beams + source)
            });
            cache.reorder(indices(kept.iter().copied(), &device), indices(rows, &device));
            active = kept.iter().map(|&i| active[i]).collect();

            let tokens: Vec<i64> = active.iter().flat_map(|&i| searches[i].inputs()).collect();
            let tokens = TensorData::new(tokens, [active.len(), options.beams]);
            let hidden = self.gpt().step(Tensor::from_data(tokens, &device), &mut cache);
            let logits = Logits::read(self.gpt().head(hidden), options.temperature)?;
            for (i, &sample) in active.iter().enumerate() {
                searches[sample].advance(|beam| logits.row(i * options.beams + beam), eos);
            }
        }
        Ok(searches.into_iter().map(Search::finish).collect())
    }
}

fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|v| v as i64).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// Next-token logits on the host, one row per beam.
struct Logits {
    values: Vec<f32>,
    vocabulary: usize,
    temperature: f64,
}

/// One row, and what turns a logit into a log-probability.
struct Row<'a> {
    logits: &'a [f32],
    temperature: f64,
    log_sum: f64,
}

impl Logits {
    fn read(logits: Tensor<3>, temperature: f64) -> Result<Self> {
        let vocabulary = logits.dims()[2];
        let values: Vec<f32> = logits.into_data().convert::<f32>().iter::<f32>().collect();
        if values.iter().any(|v| v.is_nan()) {
            return Err(Error::NonFinite { what: "a logit of the text decoder".into() });
        }
        Ok(Self { values, vocabulary, temperature })
    }

    fn row(&self, index: usize) -> Row<'_> {
        let logits = &self.values[index * self.vocabulary..][..self.vocabulary];
        let max = logits.iter().fold(f32::NEG_INFINITY, |max, &v| max.max(v));
        let scaled = |v: f32| f64::from(v - max) / self.temperature;
        let sum: f64 = logits.iter().map(|&v| scaled(v).exp()).sum();
        let log_sum = sum.ln() + f64::from(max) / self.temperature;
        Row { logits, temperature: self.temperature, log_sum }
    }
}

impl Row<'_> {
    /// The `count` most likely tokens with their log-probabilities, best first; of equals, the first.
    fn best(&self, count: usize) -> Vec<(u32, f64)> {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
        for (token, &logit) in (0u32..).zip(self.logits) {
            if best.len() == count && best.last().is_some_and(|&(_, worst)| logit <= worst) {
                continue;
            }
            let place = best.partition_point(|&(_, other)| other >= logit);
            best.insert(place, (token, logit));
            best.truncate(count);
        }
        let log_probability = |v: f32| f64::from(v) / self.temperature - self.log_sum;
        best.into_iter().map(|(token, logit)| (token, log_probability(logit))).collect()
    }
}

/// The state of one sample's search.
struct Search {
    beams: Vec<Beam>,
    /// For each beam, the beam of the step before that it extends.
    sources: Vec<usize>,
}

impl Search {
    fn start(row: Row<'_>, eos: u32, width: usize) -> Self {
        let beam = |(token, score)| Beam { tokens: vec![token], score, stopped: token == eos };
        Self { beams: row.best(width).into_iter().map(beam).collect(), sources: vec![0; width] }
    }

    fn is_done(&self) -> bool {
        self.beams.iter().all(|beam| beam.stopped)
    }

    /// The last token of each beam; a finished beam is fed token 0, which nobody reads.
    fn inputs(&self) -> impl Iterator<Item = i64> {
        self.beams.iter().map(|beam| match beam.tokens.last() {
            Some(&token) if !beam.stopped => i64::from(token),
            _ => 0,
        })
    }

    fn advance<'a>(&mut self, row: impl Fn(usize) -> Row<'a>, eos: u32) {
        let width = self.beams.len();
        // A beam can fill at most all places, so its best `width` extensions are enough.
        let mut candidates: Vec<(usize, Option<u32>, f64)> = Vec::with_capacity(width * width);
        for (source, beam) in self.beams.iter().enumerate() {
            if beam.stopped {
                candidates.push((source, None, beam.score));
                continue;
            }
            let length = beam.tokens.len() as f64;
            let extend = |(token, log_probability): (u32, f64)| {
                (source, Some(token), (beam.score * length + log_probability) / (length + 1.0))
            };
            candidates.extend(row(source).best(width).into_iter().map(extend));
        }
        candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
        candidates.truncate(width);
        self.sources = candidates.iter().map(|&(source, _, _)| source).collect();
        self.beams = candidates
            .into_iter()
            .map(|(source, token, score)| {
                let mut tokens = self.beams[source].tokens.clone();
                tokens.extend(token);
                Beam { tokens, score, stopped: token.is_none_or(|token| token == eos) }
            })
            .collect();
    }

    fn finish(mut self) -> Vec<Beam> {
        self.beams.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.beams
    }
}
