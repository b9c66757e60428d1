//! Two columns of times and what they say.

use crate::bench::Case;

/// One benchmark over all rounds.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The file it stands in.
    pub(crate) bench: &'static str,
    /// What it is.
    pub(crate) case: Case,
    /// Median of each round in milliseconds.
    pub(crate) ours: Vec<f64>,
    /// The same for PyTorch; empty when it was not run.
    pub(crate) torch: Vec<f64>,
    /// Peak of resident memory in bytes, where it was asked for.
    pub(crate) memory: Option<u64>,
    /// The same for PyTorch.
    pub(crate) torch_memory: Option<u64>,
}

impl Comparison {
    /// Before the first round.
    pub(crate) fn new(bench: &'static str, case: &Case) -> Self {
        let case = case.clone();
        let (ours, torch) = (Vec::new(), Vec::new());
        Self { bench, case, ours, torch, memory: None, torch_memory: None }
    }

    /// Milliseconds of ours and of PyTorch; the latter is not a number when it was not run.
    pub(crate) fn medians(&self) -> [f64; 2] {
        [median(&self.ours), median(&self.torch)]
    }

    /// Lowest, median and highest ratio of the rounds.
    pub(crate) fn ratios(&self) -> [f64; 3] {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.torch).map(|(a, b)| a / b).collect();
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [lowest, median(&ratios), highest]
    }

    /// Billions of floating-point operations in a second.
    pub(crate) fn gflops(&self) -> f64 {
        self.case.operations / median(&self.ours) / 1e6
    }

    /// Billions of bytes in a second.
    pub(crate) fn bandwidth(&self) -> f64 {
        self.case.bytes / median(&self.ours) / 1e6
    }
}

/// The middle value, or the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (n, middle) if n % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn comparison(torch: &[f64]) -> Comparison {
        let case = serde_json::from_value(json!({
            "id": "uvit/train", "shape": "batch 2", "parameters": 7, "torch": {},
            "operations": 4e9, "bytes": 0.0,
        }));
        let mut comparison = Comparison::new("networks", &case.unwrap());
        comparison.ours = vec![1.0, 3.0, 2.0];
        comparison.torch = torch.to_vec();
        comparison
    }

    #[test]
    fn ratios_are_those_of_the_rounds() {
        assert_eq!(comparison(&[2.0, 3.0, 8.0]).ratios(), [0.25, 0.5, 1.0]);
        assert!(comparison(&[]).ratios()[1].is_nan());
    }

    #[test]
    fn speed_is_work_over_the_median() {
        assert_eq!(comparison(&[]).gflops(), 2000.0);
        assert_eq!(comparison(&[]).bandwidth(), 0.0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[5.0]), 5.0);
        assert!(median(&[]).is_nan());
    }
}
