//! `trefoil evaluate uditsr`: how good a recommender is on events that were held out, beside what it has to beat.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use trefoil_core::fs;
use uditsr::baselines::{Baseline, FitConfig};
use uditsr::recommender::{Bundle, History, Recall};
use uditsr::{
    Dataset, Evaluation, Protocol, Ranker, Recommender, RecommenderOptions, Split, evaluate,
};

use crate::Answer;
use crate::answers::RecommenderArgs;
use crate::args::at_least_one;
use crate::output::{self, Talk};

/// Name of all baselines together.
const ALL: &str = "all";

/// Measure a recommender on events that were held out
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil evaluate uditsr --model runs/shop/model
  trefoil evaluate uditsr --model runs/shop/model --protocol sampled --baseline popularity --baseline bm25
  trefoil evaluate uditsr --model runs/shop/model --baseline all -o evaluation/

The held-out events are those that `trefoil prepare` chose and training never saw. `full` ranks each of them among
all items but those of the user's training events, `sampled` among its negatives, which flatters. Baselines are
trained here on the same events. The last lines say how much of the exact answers the candidates have.")]
pub(super) struct UditsrArgs {
    /// Which held-out events
    #[arg(long, default_value = "test", value_name = "SPLIT")]
    split: SplitArg,
    /// What an event is ranked among
    #[arg(long, default_value = "full", value_name = "PROTOCOL")]
    protocol: ProtocolArg,
    /// Measure a baseline too, such as popularity, bm25, item-neighbours, light-gcn-all or fusion, or all
    /// of them; may be repeated
    #[arg(long = "baseline", value_name = "NAME", value_parser = baselines)]
    baselines: Vec<Baselines>,
    /// Requests for the recall of candidates
    #[arg(long, default_value = "200", value_name = "N", value_parser = at_least_one)]
    requests: usize,
    /// Folder for report.md and report.json
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

/// Events that were held out.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SplitArg {
    /// Those that chose the best epoch
    Valid,
    /// Those that nothing was chosen by
    Test,
}

/// What a positive is ranked among.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProtocolArg {
    /// All items
    Full,
    /// The negatives of the preparation
    Sampled,
}

/// One baseline or all.
#[derive(Debug, Clone)]
struct Baselines(Vec<Baseline>);

/// The name of a baseline on the command line.
fn name_of(baseline: Baseline) -> String {
    match serde_json::to_value(baseline) {
        Ok(serde_json::Value::String(name)) => name,
        _ => baseline.name().to_owned(),
    }
}

fn baselines(name: &str) -> Result<Baselines, String> {
    let chosen = Baseline::ALL.into_iter().filter(|&one| name == ALL || name_of(one) == name);
    let chosen: Vec<Baseline> = chosen.collect();
    if chosen.is_empty() {
        return Err(format!("expected {ALL} or one of {}", Baseline::ALL.map(name_of).join(", ")));
    }
    Ok(Baselines(chosen))
}

/// What was measured of one ranker.
#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    evaluation: Evaluation,
}

/// All that was measured.
#[derive(Serialize)]
struct Table {
    rows: Vec<Row>,
    candidates: Recall,
}

impl UditsrArgs {
    /// Runs the command.
    pub(super) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let folder = self.recommender.folder()?;
        let Bundle { scorer, prepared, fingerprint } = Bundle::load(folder)?;
        let mut rows = vec![self.row("UDITSR", &scorer, &prepared.dataset)?];
        let mut chosen: Vec<Baseline> = Vec::new();
        for &baseline in self.baselines.iter().flat_map(|Baselines(names)| names) {
            if !chosen.contains(&baseline) {
                chosen.push(baseline);
            }
        }
        for baseline in chosen {
            talk.note(format_args!("training {}", baseline.name()));
            let ranker = baseline.fit(&prepared.dataset, &FitConfig::default())?;
            rows.push(self.row(baseline.name(), ranker.as_ref(), &prepared.dataset)?);
        }
        let options =
            RecommenderOptions { history: History::Training, ..RecommenderOptions::default() };
        let recommender = Recommender::new(Bundle { scorer, prepared, fingerprint }, options)?;
        let candidates = recommender.candidate_recall(self.requests, 20);
        let table = Table { rows, candidates };
        let (markdown, json) = (markdown(&table), serde_json::to_string(&table)?);
        if let Some(folder) = &self.output {
            fs::create_dir_all(folder)?;
            for (name, text) in [("report.md", &markdown), ("report.json", &json)] {
                fs::write_atomic(&folder.join(name), |out| out.write_all(text.as_bytes()))?;
            }
        }
        output::print(if self.json { json } else { markdown })?;
        Ok(Answer::Yes)
    }

    fn row(&self, name: &str, ranker: &dyn Ranker, dataset: &Dataset) -> anyhow::Result<Row> {
        let split = match self.split {
            SplitArg::Valid => Split::Valid,
            SplitArg::Test => Split::Test,
        };
        let protocol = match self.protocol {
            ProtocolArg::Full => Protocol::Full,
            ProtocolArg::Sampled => Protocol::Sampled,
        };
        let evaluation = evaluate(ranker, dataset, split, protocol, None)?;
        Ok(Row { name: name.to_owned(), evaluation })
    }
}

/// The table for people. Ties count against the positive.
fn markdown(table: &Table) -> String {
    let mut text = String::new();
    if let Some(first) = table.rows.first() {
        let _ = writeln!(text, "Ranked among {}.\n", first.evaluation.protocol);
    }
    text.push_str(
        "| model | scenario | events | hit@5 | hit@20 | ndcg@5 | ndcg@20 | mrr | auc |\n",
    );
    text.push_str("|---|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for Row { name, evaluation } in &table.rows {
        let scenarios = [("search", &evaluation.search), ("recommendation", &evaluation.recommend)];
        for (scenario, report) in scenarios {
            let Some(report) = report else { continue };
            let number = |value: Option<f64>| {
                value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
            };
            let _ = writeln!(
                text,
                "| {name} | {scenario} | {} | {} | {} | {} | {} | {:.4} | {:.4} |",
                report.groups,
                number(report.hit(5)),
                number(report.hit(20)),
                number(report.ndcg(5)),
                number(report.ndcg(20)),
                report.mrr.value,
                report.auc
            );
        }
    }
    let Recall { k, search, recommend, requests } = table.candidates;
    let share = |share: Option<f64>, count: usize| {
        share.map_or_else(|| "no request".to_owned(), |s| format!("{s:.4} over {count} requests"))
    };
    let _ = write!(
        text,
        "\nCandidates have of the exact first {k}: search {}, recommendation {}.",
        share(search, requests[0]),
        share(recommend, requests[1])
    );
    text
}
