//! The trainings in their order: trials of settings, then seeds with the best of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use uditsr::{Dataset, Judgements, Protocol, Ranker, Split, judge};

use crate::Result;
use crate::arms::{Arm, Settings, arms, selection};
use crate::cells::{Cell, Cells, Key, Measures, Run};
use crate::worlds::{WORLDS, World};

/// What is run.
pub(crate) struct Plan {
    /// Names of logs; all if there are none here.
    pub(crate) worlds: Vec<String>,
    /// Names of arms; all if there are none here.
    pub(crate) arms: Vec<String>,
    /// Settings that are tried for each arm.
    pub(crate) trials: usize,
    /// Seeds with the best settings.
    pub(crate) seeds: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { worlds: Vec::new(), arms: Vec::new(), trials: 4, seeds: 3 }
    }
}

/// Parts of the test rows, by scenario and by how much is known about the user.
pub(crate) const SEGMENTS: [&str; 6] =
    ["search", "recommend", "search, new", "search, old", "recommend, new", "recommend, old"];

/// Key of [`Cell::measures`].
pub(crate) fn measured(protocol: Protocol, segment: &str) -> String {
    let protocol = match protocol {
        Protocol::Sampled => "sampled",
        Protocol::Full => "full",
    };
    format!("{protocol}/{segment}")
}

impl Plan {
    /// Runs what is not in the cells yet.
    pub(crate) fn run(&self, data: Option<&Path>, cells: &mut Cells) -> Result<()> {
        let wanted =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|other| other == name);
        for world in WORLDS.iter().filter(|world| wanted(&self.worlds, world.name)) {
            let mut dataset = None;
            if cells.facts(world.name).is_none() {
                let facts = facts(dataset.insert(world.dataset(data)?));
                cells.add_facts(world.name, facts)?;
            }
            for arm in arms().iter().filter(|arm| wanted(&self.arms, arm.name)) {
                self.run_arm((world, data), &mut dataset, arm, cells)?;
            }
        }
        Ok(())
    }

    fn run_arm(
        &self,
        (world, data): (&World, Option<&Path>),
        dataset: &mut Option<Dataset>,
        arm: &Arm,
        cells: &mut Cells,
    ) -> Result<()> {
        let trials = if arm.is_searched() { self.trials } else { 0 };
        let seeds = if arm.is_learned() { self.seeds } else { 1 };
        let runs = (0..trials).map(Run::Trial).chain((1..=seeds).map(Run::Seed));
        for run in runs {
            let key = Key { world: world.name.into(), arm: arm.name.into(), run };
            if cells.get(&key).is_some() {
                continue;
            }
            let dataset = match dataset {
                Some(dataset) => dataset,
                None => dataset.insert(world.dataset(data)?),
            };
            let start = Instant::now();
            let best = |name: &str| best_trial(cells, world.name, name);
            let mut cell = Cell::default();
            match run {
                Run::Trial(trial) => {
                    let of_trial = |_: &str| Settings::of_trial(trial);
                    let ranker = arm.fit(dataset, world, &of_trial, 0)?;
                    cell.selection = Some(selection(ranker.as_ref(), dataset)?);
                }
                Run::Seed(seed) => {
                    let of_best = |name: &str| Settings::of_trial(best(name).unwrap_or(0));
                    let ranker = arm.fit(dataset, world, &of_best, seed)?;
                    cell.measures = measures(ranker.as_ref(), dataset)?;
                    cell.trial = best(arm.tuned_as);
                }
            }
            cell.seconds = (start.elapsed().as_secs_f64() * 100.0).round() / 100.0;
            let found = cell.selection.or_else(|| mean_ndcg(&cell)).unwrap_or(f64::NAN);
            eprintln!("{}: {}, {run:?}: {found:.4} in {:.1} s", key.world, key.arm, cell.seconds);
            cells.add(key, cell)?;
        }
        Ok(())
    }
}

/// Sizes, and what joint training can hope for.
fn facts(dataset: &Dataset) -> String {
    let log = &dataset.train;
    let mut scenarios = vec![[false; 2]; dataset.users];
    let mut queried = vec![false; dataset.items];
    for row in 0..log.len() {
        scenarios[log.users[row] as usize][usize::from(log.is_search(row))] = true;
        queried[log.items[row] as usize] |= log.is_search(row);
    }
    let searches = (0..log.len()).filter(|&row| log.is_search(row)).count();
    let both = scenarios.iter().filter(|scenarios| scenarios[0] && scenarios[1]).count();
    let queried = queried.iter().filter(|queried| **queried).count();
    let test = &dataset.test.positives;
    let test_searches = (0..test.len()).filter(|&row| test.is_search(row)).count();
    format!(
        "{} users ({both} of them in both scenarios), {} items ({queried} with a training query), {} words; \
         training rows: {searches} searches, {} recommendations; test rows used: {test_searches} searches, {} \
         recommendations (full ranking: every other one).",
        dataset.users,
        dataset.items,
        dataset.words,
        log.len() - searches,
        test.len() - test_searches,
    )
}

/// NDCG at 5 among the sampled negatives, the mean of the scenarios.
pub(crate) fn mean_ndcg(cell: &Cell) -> Option<f64> {
    let values: Vec<f64> = ["search", "recommend"]
        .iter()
        .filter_map(|segment| cell.measures.get(&measured(Protocol::Sampled, segment)))
        .map(|measures| measures.ndcg5)
        .collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The trial of an arm that the validation prefers; none before the first.
pub(crate) fn best_trial(cells: &Cells, world: &str, arm: &str) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for trial in 0.. {
        let key = Key { world: world.into(), arm: arm.into(), run: Run::Trial(trial) };
        let Some(value) = cells.get(&key).and_then(|cell| cell.selection) else { break };
        if best.is_none_or(|(_, other)| value > other) {
            best = Some((trial, value));
        }
    }
    best.map(|(trial, _)| trial)
}

/// All numbers of the test rows.
fn measures(ranker: &dyn Ranker, dataset: &Dataset) -> Result<BTreeMap<String, Measures>> {
    let newcomers = newcomers(dataset);
    let mut all = BTreeMap::new();
    for protocol in [Protocol::Sampled, Protocol::Full] {
        let rows = match protocol {
            Protocol::Sampled => None,
            Protocol::Full => Some(every_other(dataset)),
        };
        let judgements = judge(ranker, dataset, Split::Test, protocol, rows.as_deref())?;
        for segment in SEGMENTS {
            if let Some(measures) = of_segment(&judgements, segment, &newcomers)? {
                all.insert(measured(protocol, segment), measures);
            }
        }
    }
    Ok(all)
}

/// Every other test row of each scenario, since ranking all items takes long.
fn every_other(dataset: &Dataset) -> Vec<usize> {
    let log = &dataset.test.positives;
    let of = |is_search: bool| (0..log.len()).filter(move |&row| log.is_search(row) == is_search);
    of(true).step_by(2).chain(of(false).step_by(2)).collect()
}

fn of_segment(
    judgements: &Judgements,
    segment: &str,
    newcomers: &[bool],
) -> Result<Option<Measures>> {
    let (scenario, age) = segment.split_once(", ").unwrap_or((segment, ""));
    let report = judgements.report(|_, user, is_search| {
        let is_new = newcomers[user as usize];
        is_search == (scenario == "search") && (age.is_empty() || is_new == (age == "new"))
    })?;
    let round = |value: f64| (value * 1e6).round() / 1e6;
    Ok(report.map(|report| Measures {
        rows: report.groups,
        tied: report.tied_groups,
        hit5: round(report.hit(5).unwrap_or(0.0)),
        ndcg5: round(report.ndcg(5).unwrap_or(0.0)),
        ndcg10: round(report.ndcg(10).unwrap_or(0.0)),
        mrr: round(report.mrr.value),
        auc: round(report.auc),
        gauc: report.gauc.map(round),
    }))
}

/// The quarter of the users with the fewest training rows, and those with as many.
pub(crate) fn newcomers(dataset: &Dataset) -> Vec<bool> {
    let mut counts = vec![0_u32; dataset.users];
    for &user in &dataset.train.users {
        counts[user as usize] += 1;
    }
    let mut sorted: Vec<u32> = counts.iter().copied().filter(|count| *count > 0).collect();
    sorted.sort_unstable();
    let limit = sorted.get((sorted.len() / 4).saturating_sub(1)).copied().unwrap_or(0);
    counts.iter().map(|count| *count <= limit).collect()
}
