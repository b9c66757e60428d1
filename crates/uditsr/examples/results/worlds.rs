//! The logs: three real ones, reduced to what a core trains on in minutes, and a generated one.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use uditsr::data::synthetic::SyntheticConfig;
use uditsr::data::{MinWeight, Prepare, PrepareOptions, Queries, SplitRule};
use uditsr::{Dataset, Interactions, Ranking};

use crate::Result;

/// Most validation and test rows of a scenario.
const VALID_ROWS: usize = 300;
const TEST_ROWS: usize = 500;

/// A log and how it is prepared.
pub(crate) struct World {
    pub(crate) name: &'static str,
    /// What it is, and what was done with it, for readers.
    pub(crate) about: &'static str,
    /// Words of a query that UDITSR looks at.
    pub(crate) query_words: usize,
    source: Source,
}

enum Source {
    /// A folder of the data; of its users, every so many-th.
    Folder {
        every: usize,
        options: fn() -> PrepareOptions,
    },
    Generated,
}

/// All logs. A new one is a row here.
pub(crate) const WORLDS: [World; 4] = [
    World {
        name: "lastfm-hetrec",
        about: "Last.fm of HetRec 2011: listening is a recommendation, the tags of a post are a search. \
                Every sixth user; users and artists with at least five events; a user's artists are divided 60/20/20 \
                at random, so a pair of user and artist is on one side only.",
        query_words: 6,
        source: Source::Folder {
            every: 6,
            options: || PrepareOptions {
                split: Some(SplitRule::Pairs { valid: 0.2, test: 0.2 }),
                queries: Queries::Joined,
                core: Some(5),
                ..PrepareOptions::default()
            },
        },
    },
    World {
        name: "ml-latest-small",
        about: "MovieLens latest-small: a rating of at least 4 is a recommendation, a tag is a search (58 \
                users wrote tags, so the searches say little about most users). Every third user; users \
                and films with at least five events; a user's films are divided 60/20/20 at random.",
        query_words: 3,
        source: Source::Folder {
            every: 3,
            options: || PrepareOptions {
                split: Some(SplitRule::Pairs { valid: 0.2, test: 0.2 }),
                min_weights: Some(vec![MinWeight { kind: Some("rec".into()), weight: 4.0 }]),
                core: Some(5),
                ..PrepareOptions::default()
            },
        },
    },
    World {
        name: "boxgnn-eshop",
        about: "E-shop of BoxGNN: every event has a Chinese tag as its query. Half of the queries are \
                hidden, by lot, and become recommendations whose demand was real. Every fourth user; users \
                and items with at least three events; a user's items are divided 80/10/10 at random.",
        query_words: 8,
        source: Source::Folder {
            every: 4,
            options: || PrepareOptions {
                split: Some(SplitRule::Pairs { valid: 0.1, test: 0.1 }),
                mask_queries: 0.5,
                core: Some(3),
                ..PrepareOptions::default()
            },
        },
    },
    World {
        name: "synthetic",
        about: "A generated log with known intents: 300 users, 1,000 items, 3,000 training events of which \
                60 % are searches; held-out events are all recommendations.",
        query_words: 3,
        source: Source::Generated,
    },
];

impl World {
    /// Reads and prepares it.
    pub(crate) fn dataset(&self, data: Option<&Path>) -> Result<Dataset> {
        let mut dataset = match self.source {
            Source::Generated => SyntheticConfig::default().generate()?.dataset,
            Source::Folder { every, options } => {
                let data = data.ok_or(format!("{} needs --data DIR", self.name))?;
                let folder = data.join(self.name);
                let file = tempfile::Builder::new().suffix(".tsv").tempfile()?;
                let path = folder.join("events.tsv");
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                file.as_file().write_all(some_users(&text, every).as_bytes())?;
                let mut prepare = Prepare::new([file.path()]);
                prepare.catalogue = Some(folder.join("items.tsv"));
                prepare.options = options();
                prepare.prepare()?.dataset
            }
        };
        dataset.valid = thin(&dataset.valid, VALID_ROWS);
        dataset.test = thin(&dataset.test, TEST_ROWS);
        Ok(dataset)
    }
}

/// The header, and the rows of every so many-th user in the order of their first rows.
fn some_users(text: &str, every: usize) -> String {
    let mut users: HashMap<&str, usize> = HashMap::new();
    let mut kept = String::new();
    for (number, line) in text.lines().enumerate() {
        let next = users.len();
        let user = line.split('\t').next().unwrap_or_default();
        if number == 0 || users.entry(user).or_insert(next).is_multiple_of(every) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// At most `most` rows of each scenario, evenly spaced.
fn thin(ranking: &Ranking, most: usize) -> Ranking {
    let log = &ranking.positives;
    let mut rows = Vec::new();
    for is_search in [true, false] {
        let of: Vec<usize> =
            (0..log.len()).filter(|&row| log.is_search(row) == is_search).collect();
        let count = of.len().min(most);
        rows.extend((0..count).map(|k| of[k * of.len() / count]));
    }
    rows.sort_unstable();
    Ranking {
        positives: Interactions {
            users: rows.iter().map(|&row| log.users[row]).collect(),
            items: rows.iter().map(|&row| log.items[row]).collect(),
            queries: rows.iter().map(|&row| log.queries.row(row)).collect(),
            times: rows.iter().map(|&row| log.times[row]).collect(),
        },
        negatives: rows.iter().map(|&row| ranking.negatives.row(row)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_kept_whole_and_by_first_row() {
        let text = "user\titem\nb\t1\na\t2\nb\t3\nc\t4\na\t5\n";
        assert_eq!(some_users(text, 2), "user\titem\nb\t1\nb\t3\nc\t4\n");
        assert_eq!(some_users(text, 1), text);
    }

    #[test]
    fn rows_are_thinned_by_scenario_and_evenly() {
        let queries = (0..12_u32).map(|row| if row < 10 { vec![] } else { vec![1] });
        let ranking = Ranking {
            positives: Interactions {
                users: (0..12).collect(),
                items: (20..32).collect(),
                queries: queries.collect(),
                times: vec![-1; 12],
            },
            negatives: (0..12_u32).map(|row| [row + 40]).collect(),
        };
        let thinned = thin(&ranking, 5);
        assert_eq!(thinned.positives.users, [0, 2, 4, 6, 8, 10, 11]);
        assert_eq!(thinned.positives.items[6], 31);
        assert_eq!(thinned.negatives.row(5), [50]);
        assert!(thinned.positives.is_search(5) && !thinned.positives.is_search(4));
    }
}
