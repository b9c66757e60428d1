//! The page: tables from the cells, and sentences that follow from them.

use std::fmt::Write as _;
use std::path::Path;

use uditsr::Protocol;

use crate::Result;
use crate::arms::{Arm, BATCH, DIM, EPOCHS, Group, PUBLISHED, Settings, arms};
use crate::cells::{Cell, Cells, Measures};
use crate::plan::{Plan, best_trial, measured};
use crate::worlds::{WORLDS, World};

/// Mean and standard deviation over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    mean: f64,
    deviation: f64,
    count: usize,
}

impl Spread {
    fn new(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (squares / count.saturating_sub(1).max(1) as f64).sqrt();
        (count > 0).then_some(Self { mean, deviation, count })
    }
}

/// A column of the tables: protocol, segments over which is averaged, metric.
struct Column {
    title: &'static str,
    protocol: Protocol,
    segments: &'static [&'static str],
    metric: fn(&Measures) -> f64,
}

const MAIN: [Column; 7] = [
    column("search ndcg@5", Protocol::Sampled, &["search"], |m| m.ndcg5),
    column("recommend ndcg@5", Protocol::Sampled, &["recommend"], |m| m.ndcg5),
    column("mean ndcg@5", Protocol::Sampled, &["search", "recommend"], |m| m.ndcg5),
    column("mean hit@5", Protocol::Sampled, &["search", "recommend"], |m| m.hit5),
    column("search ndcg@10", Protocol::Full, &["search"], |m| m.ndcg10),
    column("recommend ndcg@10", Protocol::Full, &["recommend"], |m| m.ndcg10),
    column("mean ndcg@10", Protocol::Full, &["search", "recommend"], |m| m.ndcg10),
];

const SEGMENT_COLUMNS: [Column; 6] = [
    column("search, new", Protocol::Sampled, &["search, new"], |m| m.ndcg5),
    column("search, old", Protocol::Sampled, &["search, old"], |m| m.ndcg5),
    column("recommend, new", Protocol::Sampled, &["recommend, new"], |m| m.ndcg5),
    column("recommend, old", Protocol::Sampled, &["recommend, old"], |m| m.ndcg5),
    column("search auc", Protocol::Sampled, &["search"], |m| m.auc),
    column("recommend auc", Protocol::Sampled, &["recommend"], |m| m.auc),
];

/// The columns by which winners are named.
const SAMPLED_MEAN: &Column = &MAIN[2];
const FULL_MEAN: &Column = &MAIN[6];

const fn column(
    title: &'static str,
    protocol: Protocol,
    segments: &'static [&'static str],
    metric: fn(&Measures) -> f64,
) -> Column {
    Column { title, protocol, segments, metric }
}

impl Column {
    /// The mean over the segments that a seed has.
    fn value(&self, cell: &Cell) -> Option<f64> {
        let of = |segment: &&str| cell.measures.get(&measured(self.protocol, segment));
        let values: Vec<f64> = self.segments.iter().filter_map(of).map(self.metric).collect();
        Spread::new(&values).map(|spread| spread.mean)
    }

    fn spread(&self, cells: &Cells, world: &str, arm: &str) -> Option<Spread> {
        let values: Vec<f64> =
            cells.seeds(world, arm).into_iter().filter_map(|cell| self.value(cell)).collect();
        Spread::new(&values)
    }
}

/// Writes the page under another name and renames it.
pub(crate) fn write(path: &Path, cells: &Cells, plan: &Plan) -> Result<()> {
    let mut text = introduction(cells, plan);
    let shown: Vec<&World> =
        WORLDS.iter().filter(|world| !cells.seeds(world.name, PUBLISHED).is_empty()).collect();
    summary(&mut text, cells, &shown);
    for world in &shown {
        section(&mut text, cells, world);
    }
    text.push_str(include_str!("closing.md"));
    let next = path.with_extension("md.tmp");
    std::fs::write(&next, text)?;
    std::fs::rename(&next, path)?;
    Ok(())
}

fn introduction(cells: &Cells, plan: &Plan) -> String {
    let (first, hours) = (Settings::of_trial(0), cells.seconds() / 3600.0);
    let (trials, seeds) = (plan.trials, plan.seeds);
    format!(
        include_str!("opening.md"),
        trials = trials,
        seeds = seeds,
        dim = DIM,
        batch = BATCH,
        epochs = EPOCHS,
        middle = first.learning_rate,
        hours = hours,
    )
}

/// The best arm of each log by a column, and where the published model stands.
fn summary(text: &mut String, cells: &Cells, worlds: &[&World]) {
    text.push_str("## Who wins\n\n");
    let columns = [SAMPLED_MEAN, FULL_MEAN];
    for column in columns {
        let _ = writeln!(
            text,
            "By {} ({}), mean of the scenarios that the log has:\n\n\
             | log | best | | best UDITSR | | best baseline | | UDITSR as published | place |\n\
             | --- | --- | ---: | --- | ---: | --- | ---: | ---: | ---: |",
            column.title.trim_start_matches("mean "),
            column.protocol,
        );
        for world in worlds {
            let ranked = ranking(cells, world, column);
            let best = |keep: &dyn Fn(Group) -> bool| {
                let found = ranked.iter().find(|(arm, _)| keep(arm.group));
                found.map_or("– | –".to_owned(), |(arm, s)| {
                    format!("{} | {:.3}", arm.name, s.mean)
                })
            };
            let own = ranked.iter().position(|(arm, _)| arm.name == PUBLISHED);
            let value =
                own.map_or("–".to_owned(), |place| format!("{:.3}", ranked[place].1.mean));
            let place =
                own.map_or("–".to_owned(), |at| format!("{} of {}", at + 1, ranked.len()));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {value} | {place} |",
                world.name,
                best(&|_| true),
                best(&|group| matches!(
                    group,
                    Group::Published | Group::Correction | Group::Ablation
                )),
                best(&|group| group == Group::Baseline),
            );
        }
        text.push('\n');
    }
}

/// All arms that were run on a log, the best first.
fn ranking(cells: &Cells, world: &World, column: &Column) -> Vec<(Arm, Spread)> {
    let of = |arm: Arm| column.spread(cells, world.name, arm.name).map(|spread| (arm, spread));
    let mut ranked: Vec<(Arm, Spread)> = arms().into_iter().filter_map(of).collect();
    ranked.sort_by(|a, b| b.1.mean.total_cmp(&a.1.mean));
    ranked
}

fn section(text: &mut String, cells: &Cells, world: &World) {
    let _ = writeln!(text, "## {}\n\n{}\n", world.name, one_line(world.about));
    if let Some(facts) = cells.facts(world.name) {
        let _ = writeln!(text, "{facts}\n");
    }
    text.push_str(
        "Sampled: one positive among 99 sampled negatives. Full: among all items, those of the user's \
         training masked.\n\n",
    );
    table(text, cells, world, &MAIN);
    text.push_str("\nBy user, ndcg@5 of the sampled protocol:\n\n");
    table(text, cells, world, &SEGMENT_COLUMNS);
    settings(text, cells, world);
}

fn table(text: &mut String, cells: &Cells, world: &World, columns: &[Column]) {
    text.push_str("| model |");
    for column in columns {
        let protocol = match column.protocol {
            Protocol::Sampled => "sampled",
            Protocol::Full => "full",
        };
        let _ = write!(text, " {protocol}: {} |", column.title);
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: |".repeat(columns.len()));
    text.push('\n');
    let best: Vec<f64> = columns
        .iter()
        .map(|column| ranking(cells, world, column).first().map_or(0.0, |(_, s)| s.mean))
        .collect();
    for group in Group::ALL {
        let members: Vec<Arm> = arms().into_iter().filter(|arm| arm.group == group).collect();
        let members = members.iter().filter(|arm| !cells.seeds(world.name, arm.name).is_empty());
        for (index, arm) in members.enumerate() {
            if index == 0 && group != Group::Published {
                let _ = writeln!(text, "| *{}* |{}", group.title(), " |".repeat(columns.len()));
            }
            let _ = write!(text, "| {} |", arm.name);
            for (column, &best) in columns.iter().zip(&best) {
                let _ =
                    write!(text, " {} |", number(column.spread(cells, world.name, arm.name), best));
            }
            text.push('\n');
        }
    }
}

/// Mean and spread, bold if it is the best.
fn number(spread: Option<Spread>, best: f64) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { mean, deviation, count }) => {
            let mark = if mean >= best { "**" } else { "" };
            let spread = if count > 1 { format!(" ± {deviation:.3}") } else { String::new() };
            format!("{mark}{mean:.3}{mark}{spread}")
        }
    }
}

/// The settings that the validation chose.
fn settings(text: &mut String, cells: &Cells, world: &World) {
    text.push_str(
        "\nSettings that the validation rows chose (trial: learning rate, decay, strength): ",
    );
    let chosen = arms().into_iter().filter(Arm::is_searched).filter_map(|arm| {
        let trial = best_trial(cells, world.name, arm.name)?;
        let Settings { learning_rate, weight_decay, strength } = Settings::of_trial(trial);
        Some(format!("{} {trial}: {learning_rate:.4}, {weight_decay:.4}, {strength:.2}", arm.name))
    });
    let _ = writeln!(text, "{}.\n", chosen.collect::<Vec<_>>().join("; "));
}

/// Text without the line breaks of the source.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cells::{Key, Run};
    use crate::plan::SEGMENTS;

    #[test]
    fn spread_is_that_of_a_sample() {
        let spread = Spread::new(&[1.0, 2.0, 6.0]).unwrap();
        assert_eq!((spread.mean, spread.count), (3.0, 3));
        assert!((spread.deviation - 7.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Spread::new(&[0.5]).unwrap().deviation, 0.0);
        assert_eq!(Spread::new(&[]), None);
    }

    #[test]
    fn columns_average_scenarios_then_seeds_and_the_best_is_bold() {
        let folder = tempfile::tempdir().unwrap();
        let mut cells = Cells::open(&folder.path().join("cells.jsonl")).unwrap();
        let measures = |ndcg5: f64| Measures {
            rows: 10,
            tied: 0,
            hit5: 0.0,
            ndcg5,
            ndcg10: 0.0,
            mrr: 0.0,
            auc: 0.5,
            gauc: None,
        };
        for (seed, search, recommend) in [(1, 0.2, 0.4), (2, 0.4, 0.6)] {
            let measures = BTreeMap::from([
                (measured(Protocol::Sampled, SEGMENTS[0]), measures(search)),
                (measured(Protocol::Sampled, SEGMENTS[1]), measures(recommend)),
            ]);
            let key =
                Key { world: WORLDS[0].name.into(), arm: PUBLISHED.into(), run: Run::Seed(seed) };
            cells.add(key, Cell { measures, ..Cell::default() }).unwrap();
        }
        let spread = SAMPLED_MEAN.spread(&cells, WORLDS[0].name, PUBLISHED).unwrap();
        assert!((spread.mean - 0.4).abs() < 1e-12);
        assert_eq!(number(Some(spread), 0.4), "**0.400** ± 0.141");
        let page = folder.path().join("page.md");
        write(&page, &cells, &Plan::default()).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("| UDITSR | **0.300** ± 0.141 |"), "{text}");
    }
}
