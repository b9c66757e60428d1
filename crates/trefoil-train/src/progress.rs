//! How a long run talks, on standard error: a bar on a terminal, plain lines in a log.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgressMode {
    /// A bar when standard error is a terminal, else lines.
    #[default]
    Auto,
    /// A bar.
    Bar,
    /// A line every half minute.
    Lines,
    /// Nothing.
    Quiet,
}

/// Progress towards a known number of units.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    unit: &'static str,
    total: u64,
    first: u64,
    start: Instant,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
    Quiet,
}

impl Progress {
    /// Starts at `done` of `total` units; `unit` is their plural, such as `samples`.
    pub fn new(mode: ProgressMode, unit: &'static str, done: u64, total: u64) -> Self {
        let bar = match mode {
            ProgressMode::Auto => std::io::stderr().is_terminal(),
            ProgressMode::Bar => true,
            ProgressMode::Lines | ProgressMode::Quiet => false,
        };
        let display = if bar {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{bar:24} {pos}/{len} {wide_msg}";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_position(done);
            Display::Bar(bar)
        } else if mode == ProgressMode::Quiet {
            Display::Quiet
        } else {
            Display::Lines { last: None }
        };
        Self { display, unit, total, first: done, start: Instant::now() }
    }

    /// Shows that `done` units are done, with a short text such as the loss.
    pub fn update(&mut self, done: u64, text: &str) {
        let text = format!("{} {text}", self.pace(done));
        match &mut self.display {
            Display::Quiet => {}
            Display::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(text);
            }
            Display::Lines { last } => {
                let now = Instant::now();
                if done >= self.total || last.is_none_or(|last| now - last >= LINE_EVERY) {
                    *last = Some(now);
                    print(&format!("{done}/{} {text}", self.total));
                }
            }
        }
    }

    /// Says something that stays on the screen.
    pub fn say(&self, text: &str) {
        match &self.display {
            Display::Quiet => {}
            Display::Bar(bar) => bar.suspend(|| print(text)),
            Display::Lines { .. } => print(text),
        }
    }

    /// Leaves the display as it is and ends.
    pub fn finish(self) {
        if let Display::Bar(bar) = self.display {
            bar.abandon();
        }
    }

    /// Units per second since the start.
    pub fn rate(&self, done: u64) -> f64 {
        done.saturating_sub(self.first) as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    fn pace(&self, done: u64) -> String {
        let rate = self.rate(done);
        let left = self.total.saturating_sub(done) as f64 / rate;
        format!("{} {}/s, {} left", significant(rate), self.unit, clock(left))
    }
}

/// Three significant digits or whole numbers.
fn significant(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Seconds as `1:02:03`; `?` while nothing is known.
fn clock(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    let s = seconds.round() as u64;
    let (hours, minutes, seconds) = (s / 3600, s / 60 % 60, s % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A closed standard error is no reason to stop a training.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_short() {
        assert_eq!(clock(3723.4), "1:02:03");
        assert_eq!(clock(59.6), "1:00");
        assert_eq!(clock(f64::INFINITY), "?");
        assert_eq!(
            [significant(1234.5), significant(12.34), significant(0.1234)],
            ["1234", "12.3", "0.12"]
        );
    }
}
