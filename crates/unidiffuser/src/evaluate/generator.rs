//! Who draws and writes: the solver, or one pass.

use trefoil_eval::{Measure, Row, Unit};

/// What turns noise into samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// The solver with the guided network.
    ManySteps,
    /// One pass of the model's one-step generator.
    OneStep,
}

impl Generator {
    /// What the names of its rows begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::ManySteps => "",
            Self::OneStep => "one step, ",
        }
    }

    /// What the names of its files end with.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::ManySteps => "",
            Self::OneStep => "-one-step",
        }
    }
}

/// How long a generator took.
pub(super) struct Speed {
    pub(super) generator: Generator,
    /// For all pictures, and for all captions.
    pub(super) seconds: [f64; 2],
    pub(super) count: usize,
}

impl Measure for Speed {
    fn rows(&self) -> Vec<Row> {
        let names = ["time of a picture", "time of a caption"];
        let row = |(name, seconds): (&str, f64)| {
            let metric = format!("{}{name}", self.generator.prefix());
            let value = seconds / self.count.max(1) as f64;
            Row::lower_is_better(metric, Unit::Seconds, value, self.count)
        };
        names.into_iter().zip(self.seconds).map(row).collect()
    }
}
