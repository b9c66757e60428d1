//! What the server counts, as Prometheus reads it.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of the times of requests, in seconds.
const SECONDS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Upper ends of the rows of a batch.
const ROWS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Bytes of a page of memory.
const PAGE: i64 = 4096;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Route {
    /// The address with its variable parts in braces.
    pub(crate) route: String,
    /// GET, POST, ...
    pub(crate) method: String,
}

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    /// As in [`Route`].
    pub(crate) route: String,
    /// As in [`Route`].
    pub(crate) method: String,
    /// The status code.
    pub(crate) status: u16,
}

/// Which recommender.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Model {
    /// Its name.
    pub(crate) model: String,
}

/// Which recommender answered what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    /// Its name.
    pub(crate) model: String,
    /// `search`, `recommend`, ...
    pub(crate) kind: &'static str,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    /// `succeeded`, `failed`, `cancelled`.
    pub(crate) status: &'static str,
}

/// Histograms of one form.
type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// All that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<Answered, Counter>,
    pub(crate) request_seconds: Times<Route>,
    pub(crate) waiting: Gauge<i64, AtomicI64>,
    pub(crate) running: Gauge<i64, AtomicI64>,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) samples: Counter,
    pub(crate) batch_rows: Histogram,
    pub(crate) jobs: Family<Ended, Counter>,
    pub(crate) answers: Family<Asked, Counter>,
    pub(crate) answer_seconds: Times<Asked>,
    pub(crate) events: Family<Model, Counter>,
    pub(crate) clicks: Family<Model, Counter>,
    pub(crate) click_ranks: Family<Model, Counter<f64, AtomicU64>>,
    pub(crate) skipped: Family<Model, Counter>,
    pub(crate) items: Gauge<i64, AtomicI64>,
    pub(crate) swaps: Family<Ended, Counter>,
    memory: Gauge<i64, AtomicI64>,
}

fn times() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut new = Self {
            registry: Registry::with_prefix("trefoil"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(times),
            waiting: Gauge::default(),
            running: Gauge::default(),
            connections: Gauge::default(),
            samples: Counter::default(),
            batch_rows: Histogram::new(ROWS),
            jobs: Family::default(),
            answers: Family::default(),
            answer_seconds: Family::new_with_constructor(times),
            events: Family::default(),
            clicks: Family::default(),
            click_ranks: Family::default(),
            skipped: Family::default(),
            items: Gauge::default(),
            swaps: Family::default(),
            memory: Gauge::default(),
        };
        macro_rules! register {
            ($($field:ident $name:literal $help:literal,)+) => {
                $(new.registry.register($name, $help, new.$field.clone());)+
            };
        }
        register! {
            requests "http_requests" "Requests by route, method and status",
            request_seconds "http_request_seconds" "Time of requests",
            waiting "queue_waiting" "Requests that wait for the device",
            running "queue_running" "Requests that the device works on",
            connections "connections" "Open connections",
            samples "samples" "Pictures and captions that were made",
            batch_rows "batch_rows" "Samples that went through the network together",
            jobs "jobs" "Jobs by how they ended",
            answers "answers" "Answers of recommenders",
            answer_seconds "answer_seconds" "Time of answers of recommenders",
            events "events" "Accepted events, by the recommender of their user",
            clicks "answer_clicks" "Events with an item of the last answer to their user",
            click_ranks "answer_click_reciprocal_rank" "Sum of reciprocal ranks of these items",
            skipped "events_skipped" "Events with items that the recommender does not know",
            items "items" "Items of the catalogue",
            swaps "model_loads" "Models loaded while running, by how it ended",
            memory "process_resident_memory_bytes" "Resident memory",
        }
        new
    }
}

impl Metrics {
    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        if let Some(bytes) = resident() {
            self.memory.set(bytes);
        }
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Counts an answer of a recommender.
    pub(crate) fn answered(&self, model: &str, kind: &'static str, time: Duration) {
        let asked = Asked { model: model.to_owned(), kind };
        self.answers.get_or_create(&asked).inc();
        self.answer_seconds.get_or_create(&asked).observe(time.as_secs_f64());
    }
}

/// Resident memory of this process in bytes, where the system says it.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<i64>().ok().map(|pages| pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::default();
        metrics.answered("a", "search", Duration::from_millis(3));
        metrics.answered("a", "search", Duration::from_millis(30));
        metrics.waiting.set(4);
        let text = metrics.text();
        for line in [
            "trefoil_answers_total{model=\"a\",kind=\"search\"} 2",
            "trefoil_answer_seconds_bucket{le=\"0.005\",model=\"a\",kind=\"search\"} 1",
            "trefoil_answer_seconds_bucket{le=\"0.05\",model=\"a\",kind=\"search\"} 2",
            "trefoil_queue_waiting 4",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
