//! How a log is cut into training, validation and test.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::time;
use crate::{Error, Result};

/// Which events are held out. Its text form, in parentheses, is that of files and commands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SplitRule {
    /// Of each user and scenario (search, recommendation) with at least three dated events, the
    /// last is for test and the one before for validation (`leave-one-out`).
    LeaveOneOut,
    /// The same, but the two are drawn by lot, for logs without times (`leave-one-out-random`).
    LeaveOneOutAtRandom,
    /// Events from the first date on are for validation, from the second on for test
    /// (`dates:2023-06-09,2023-06-10`).
    Dates {
        /// First second of validation.
        valid: i64,
        /// First second of test.
        test: i64,
    },
    /// The last days of the log are for test, the days before for validation (`days:1,1`).
    Days {
        /// Days of validation.
        valid: u32,
        /// Days of test.
        test: u32,
    },
    /// The latest share of events is for test, the share before for validation
    /// (`latest:0.1,0.1`).
    Latest {
        /// Share of validation.
        valid: f64,
        /// Share of test.
        test: f64,
    },
    /// The items of each user are divided at random, and all events with an item go to its side,
    /// the protocol of HyperSaR (ECIR 2022) for tags (`pairs:0.2,0.2`).
    Pairs {
        /// Share of validation.
        valid: f64,
        /// Share of test.
        test: f64,
    },
    /// The files say it, as those of the authors do; row order and numbers of users and items
    /// are kept too (`given`).
    Given,
}

impl SplitRule {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] of the field `split`.
    pub fn validate(self) -> Result<()> {
        let reason = match self {
            Self::Latest { valid, test } | Self::Pairs { valid, test }
                if !(valid >= 0.0 && test >= 0.0 && valid + test < 1.0) =>
            {
                "shares are between 0 and 1 and leave something for training"
            }
            Self::Dates { valid, test } if valid > test || valid < 0 => {
                "validation starts before test and after 1970"
            }
            Self::Days { valid: 0, test: 0 } => "at least one day is held out",
            _ => return Ok(()),
        };
        Err(Error::config("split", format!("{reason}, found `{self}`")))
    }

    /// Whether it cannot do without times.
    pub(crate) fn needs_times(self) -> bool {
        matches!(
            self,
            Self::LeaveOneOut | Self::Dates { .. } | Self::Days { .. } | Self::Latest { .. }
        )
    }
}

impl fmt::Display for SplitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LeaveOneOut => f.write_str("leave-one-out"),
            Self::LeaveOneOutAtRandom => f.write_str("leave-one-out-random"),
            Self::Dates { valid, test } => write!(f, "dates:{},{}", point(valid), point(test)),
            Self::Days { valid, test } => write!(f, "days:{valid},{test}"),
            Self::Latest { valid, test } => write!(f, "latest:{valid},{test}"),
            Self::Pairs { valid, test } => write!(f, "pairs:{valid},{test}"),
            Self::Given => f.write_str("given"),
        }
    }
}

/// A date where it is midnight in UTC, else seconds.
fn point(seconds: i64) -> String {
    if time::day_start(seconds, 0) == seconds { time::date(seconds) } else { seconds.to_string() }
}

impl FromStr for SplitRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::config(
                "split",
                format!(
                    "expected `leave-one-out`, `leave-one-out-random`, `dates:DATE,DATE`, `days:N,N`, \
                     `latest:SHARE,SHARE`, `pairs:SHARE,SHARE` or `given`, found `{text}`"
                ),
            )
        };
        let (name, numbers) = text.split_once(':').unwrap_or((text, ""));
        let pair = numbers.split_once(',').map(|(a, b)| (a.trim(), b.trim()));
        let rule = match (name.trim(), pair) {
            ("leave-one-out", None) => Self::LeaveOneOut,
            ("leave-one-out-random", None) => Self::LeaveOneOutAtRandom,
            ("given", None) => Self::Given,
            ("dates", Some((a, b))) => {
                let point = |text| time::parse(text, 0).map_err(|_| unknown());
                Self::Dates { valid: point(a)?, test: point(b)? }
            }
            ("days", Some((a, b))) => Self::Days { valid: number(a)?, test: number(b)? },
            ("latest", Some((a, b))) => Self::Latest { valid: number(a)?, test: number(b)? },
            ("pairs", Some((a, b))) => Self::Pairs { valid: number(a)?, test: number(b)? },
            _ => return Err(unknown()),
        };
        rule.validate()?;
        Ok(rule)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::config("split", format!("`{text}` is not such a number")))
}

impl TryFrom<String> for SplitRule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SplitRule> for String {
    fn from(rule: SplitRule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for text in [
            "leave-one-out",
            "leave-one-out-random",
            "dates:2023-06-09,2023-06-10",
            "dates:2023-06-09,1686355201",
            "days:1,1",
            "latest:0.1,0.1",
            "pairs:0.2,0.2",
            "given",
        ] {
            assert_eq!(text.parse::<SplitRule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_rules_name_the_field() {
        for text in
            ["", "days", "days:a,b", "latest:0.6,0.6", "dates:2023-06-10,2023-06-09", "x:1,2"]
        {
            let error = text.parse::<SplitRule>().unwrap_err().to_string();
            assert!(error.starts_with("invalid configuration `split`"), "{error}");
        }
    }
}
