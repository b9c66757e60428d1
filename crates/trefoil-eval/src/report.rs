//! A table of measurements that cannot hide how many samples, which split and which seeds it is of.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::interval::Interval;

/// What a value is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A part of one; shown in percent.
    Fraction,
    /// A place, from 1.
    Rank,
    /// dB.
    Decibel,
    /// s.
    Seconds,
    /// A distance or similarity in the space of the features, without a unit of its own.
    Distance,
    /// A training or evaluation loss, in nats where it is a log-likelihood.
    Loss,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Fraction => format!("{:.2} %", 100.0 * value),
            Self::Rank => format!("{value:.1}"),
            Self::Decibel => format!("{value:.2} dB"),
            Self::Seconds => format!("{value:.4} s"),
            Self::Distance | Self::Loss => format!("{value:.4}"),
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured, e.g. `retrieval recall@1`.
    pub metric: String,
    /// The data it was measured on, e.g. `test`.
    pub split: String,
    /// The measured value.
    pub value: f64,
    /// Unit of `value` and `interval`.
    pub unit: Unit,
    /// Number of samples behind the value.
    pub samples: usize,
    /// 95 % confidence interval, for values that have one.
    pub interval: Option<Interval>,
    /// Whether a larger value is the better one.
    pub higher_is_better: bool,
    /// What else a reader must know; may be empty.
    pub note: String,
}

impl Row {
    /// A value that should be large.
    pub fn higher_is_better(
        metric: impl Into<String>,
        unit: Unit,
        value: f64,
        samples: usize,
    ) -> Self {
        Self {
            metric: metric.into(),
            split: String::new(),
            value,
            unit,
            samples,
            interval: None,
            higher_is_better: true,
            note: String::new(),
        }
    }

    /// A value that should be small.
    pub fn lower_is_better(
        metric: impl Into<String>,
        unit: Unit,
        value: f64,
        samples: usize,
    ) -> Self {
        Self { higher_is_better: false, ..Self::higher_is_better(metric, unit, value, samples) }
    }

    /// Sets the interval.
    #[must_use]
    pub fn with_interval(mut self, interval: Option<Interval>) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the note.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A result that can stand in a report: implement this in the file of a new metric.
pub trait Measure {
    /// Its rows; the report fills in the split.
    fn rows(&self) -> Vec<Row>;
}

/// Measurements with what is needed to repeat them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Heading of the report.
    pub title: String,
    /// Measurements in the order in which they were added.
    pub rows: Vec<Row>,
    /// Seeds of the samples.
    pub seeds: Vec<u64>,
    /// Everything else that a value depends on: model, steps, guidance, preprocessing.
    pub settings: Map<String, Value>,
}

impl Report {
    /// An empty report.
    pub fn new(title: &str, seeds: &[u64]) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
            seeds: seeds.to_vec(),
            settings: Map::new(),
        }
    }

    /// Records one setting.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the rows of `measure` for `split`.
    ///
    /// # Errors
    /// A value that is not finite (JSON has no such numbers); nothing is added then.
    pub fn add(&mut self, split: &str, measure: &impl Measure) -> Result<()> {
        let rows = measure.rows();
        let ends = |row: &Row| row.interval.is_none_or(|i| i.low.is_finite() && i.high.is_finite());
        if let Some(bad) = rows.iter().position(|row| !row.value.is_finite() || !ends(row)) {
            return Err(Error::NotFinite { what: "rows of a measurement", row: bad, column: 0 });
        }
        self.rows.extend(rows.into_iter().map(|row| Row { split: split.to_owned(), ..row }));
        Ok(())
    }

    /// Indented JSON; [`Report`] reads it back with serde.
    ///
    /// # Errors
    /// Only if serialisation fails.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// A Markdown section with a table of the rows, then seeds and settings.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        text += "| metric | split | value | 95 % interval | samples | better | note |\n";
        text += "|---|---|---:|---|---:|---|---|\n";
        for row in &self.rows {
            text += &markdown_row(row);
        }
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        if !seeds.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\nSeeds: {}\n", seeds.join(", "));
        }
        if !self.settings.is_empty() {
            text += "\nSettings:\n\n";
            for (name, value) in &self.settings {
                let _ = writeln!(text, "- {name}: {}", show_setting(value));
            }
        }
        text
    }
}

fn markdown_row(row: &Row) -> String {
    let interval = row.interval.map_or_else(
        || "–".to_owned(),
        |interval| format!("{} to {}", row.unit.show(interval.low), row.unit.show(interval.high)),
    );
    let better = if row.higher_is_better { "higher" } else { "lower" };
    let cells = [
        escape(&row.metric),
        escape(&row.split),
        row.unit.show(row.value),
        interval,
        row.samples.to_string(),
        better.to_owned(),
        escape(&row.note),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Keeps text inside of its table cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn show_setting(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<Row>);

    impl Measure for Fixed {
        fn rows(&self) -> Vec<Row> {
            self.0.clone()
        }
    }

    fn report() -> Report {
        let mut report = Report::new("Shapes", &[1, 2])
            .with_setting("guidance_scale", 2.5)
            .with_setting("solver", "dpm-solver++");
        let recall = Row::higher_is_better("recall@1", Unit::Fraction, 0.125, 80)
            .with_interval(Some(Interval { low: 0.1, high: 0.25 }))
            .with_note("a|b");
        let distance = Row::lower_is_better("distance", Unit::Distance, 3.5, 7);
        report.add("test", &Fixed(vec![recall, distance])).unwrap();
        report
    }

    #[test]
    fn markdown_is_a_table_with_seeds_and_settings() {
        let expected = "\
## Shapes

| metric | split | value | 95 % interval | samples | better | note |
|---|---|---:|---|---:|---|---|
| recall@1 | test | 12.50 % | 10.00 % to 25.00 % | 80 | higher | a\\|b |
| distance | test | 3.5000 | – | 7 | lower |  |

Seeds: 1, 2

Settings:

- guidance_scale: 2.5
- solver: dpm-solver++
";
        assert_eq!(report().to_markdown(), expected);
    }

    #[test]
    fn json_reads_back_and_names_its_fields() {
        let report = report();
        let json = report.to_json().unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["rows"][0]["unit"], "fraction");
        assert_eq!(value["rows"][0]["interval"]["high"], 0.25);
        assert_eq!(value["rows"][1]["higher_is_better"], false);
        assert_eq!(value["settings"]["solver"], "dpm-solver++");
    }

    #[test]
    fn infinite_values_are_refused_whole() {
        let mut report = report();
        let good = Row::higher_is_better("good", Unit::Rank, 1.0, 1);
        let bad = Row::higher_is_better("bad", Unit::Decibel, f64::INFINITY, 1);
        assert!(matches!(
            report.add("test", &Fixed(vec![good, bad])),
            Err(Error::NotFinite { row: 1, .. })
        ));
        assert_eq!(report.rows.len(), 2);
    }
}
