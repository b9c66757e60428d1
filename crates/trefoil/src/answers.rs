//! What the commands share that ask a recommender: which one, which items, and how answers look.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use uditsr::recommender::{
    Access, Answer, Explanation, Filter, Order, PastEvent, RequestOptions, Weighted,
};
use uditsr::{Recommender, RecommenderOptions};

use crate::args::at_least_one;
use crate::hints::hinted;
use crate::output::{self, Talk};

/// Which recommender.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct RecommenderArgs {
    /// Model folder that `trefoil train uditsr` made
    #[arg(short, long, env = "TREFOIL_RECOMMENDER", hide_env_values = true, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Events since the training, which `trefoil event` writes [default: the model folder with `.journal`]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

impl RecommenderArgs {
    /// The folder of the model.
    pub(crate) fn folder(&self) -> anyhow::Result<&Path> {
        let hint = "train one with `trefoil train uditsr`, then name it with `--model DIR` or in \
                    TREFOIL_RECOMMENDER";
        match &self.model {
            None => Err(hinted("no recommender was named", hint)),
            Some(folder) if !folder.is_dir() => {
                Err(hinted(format!("no such model folder: {}", folder.display()), hint))
            }
            Some(folder) => Ok(folder),
        }
    }

    /// Opens it, with the events since the training.
    pub(crate) fn open(&self, access: Access) -> anyhow::Result<Recommender> {
        let folder = self.folder()?;
        let journal = self.journal.clone().unwrap_or_else(|| {
            let mut name = OsString::from(folder.components().as_path());
            name.push(".journal");
            name.into()
        });
        let options =
            RecommenderOptions { journal: Some(journal), access, ..RecommenderOptions::default() };
        let recommender = Recommender::open(folder, options)?;
        let recovery = recommender.recovery();
        tracing::info!("{} events and changes since the training", recovery.records);
        Ok(recommender)
    }
}

/// What to do with items that the user had to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Seen {
    /// They may come again
    Keep,
    /// They are left out
    Drop,
}

/// How many items, and which.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Answer")]
pub(crate) struct RequestArgs {
    /// How many items
    #[arg(short = 'k', long, default_value = "10", value_name = "N", value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Only items with this tag; with several, items with all of them
    #[arg(long = "tag", value_name = "TAG")]
    all_tags: Vec<String>,
    /// Only items with at least one of these tags
    #[arg(long, value_name = "TAG")]
    any_tag: Vec<String>,
    /// No items with this tag
    #[arg(long, value_name = "TAG")]
    no_tag: Vec<String>,
    /// Only these items
    #[arg(long, value_name = "ITEM")]
    only: Vec<String>,
    /// Not these items
    #[arg(long, value_name = "ITEM")]
    without: Vec<String>,
    /// Items that the user had to do with [default: drop in recommendations, keep in searches]
    #[arg(long, value_name = "WHAT")]
    seen: Option<Seen>,
    /// From 0, the order of the scores, to 1, items as different from each other as possible
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    diversity: f64,
    /// What the user just did, oldest first: ITEM, or ITEM=QUERY if a search led to it. It counts, and
    /// is not kept
    #[arg(long, value_name = "ITEM", value_parser = past_event)]
    history: Vec<PastEvent>,
    /// Rank all items instead of candidates
    #[arg(long)]
    exact: bool,
    /// Print one JSON object with everything that is known about the answer
    #[arg(long)]
    pub(crate) json: bool,
}

impl RequestArgs {
    /// As the library takes them.
    pub(crate) fn options(&self) -> RequestOptions {
        RequestOptions {
            filter: Filter {
                any_tag: self.any_tag.clone(),
                all_tags: self.all_tags.clone(),
                no_tag: self.no_tag.clone(),
                items: self.only.clone(),
                not_items: self.without.clone(),
            },
            exclude_seen: self.seen.map(|seen| seen == Seen::Drop),
            diversity: self.diversity,
            history: self.history.clone(),
            exact: self.exact,
        }
    }
}

/// A question for a recommender: somebody, and which items.
#[derive(Debug, Args)]
pub(crate) struct QuestionArgs {
    /// The shop's id of the user [default: nobody in particular]
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    /// Say for each item why it is there
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

impl QuestionArgs {
    /// Asks for what the user may like, or for what fits a query, and prints the answer.
    pub(crate) fn ask(&self, query: Option<&str>, talk: Talk) -> anyhow::Result<crate::Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let (user, count) = (self.user.as_deref(), self.request.count);
        let options = self.request.options();
        let answer = match query {
            Some(query) => recommender.search(user, query, count, &options)?,
            None => recommender.recommend(user, count, &options)?,
        };
        let explain = |item: &str| recommender.explain_with(user, item, query, &options);
        let explain = self.explain.then_some(&explain as Explain<'_>);
        print_answer(&answer, self.request.json, talk, explain)
    }
}

/// An item, and the query that led to it after a `=`.
fn past_event(text: &str) -> Result<PastEvent, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err("expected ITEM or ITEM=QUERY".into()),
        (item, query) => Ok(PastEvent { item: item.into(), query: query.into() }),
    }
}

/// An answer with an explanation of each of its items.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Vec<Explanation>>,
}

/// Says why an item is in an answer.
type Explain<'a> = &'a dyn Fn(&str) -> uditsr::Result<Explanation>;

/// Prints an answer; `explain` says why an item is in it, if that was asked for.
pub(crate) fn print_answer(
    answer: &Answer,
    json: bool,
    talk: Talk,
    explain: Option<Explain<'_>>,
) -> anyhow::Result<crate::Answer> {
    // BM25 and popularity have no intents to tell of.
    let is_of_model = matches!(answer.order, Order::Model | Order::ModelAndText);
    let why = explain.filter(|_| is_of_model).map(|explain| {
        answer.hits.iter().map(|hit| explain(&hit.item)).collect::<uditsr::Result<Vec<_>>>()
    });
    let why = why.transpose()?;
    if json {
        output::print_json(&Explained { answer, why })?;
    } else {
        let mut text = String::new();
        for (place, hit) in answer.hits.iter().enumerate() {
            let cold = if hit.is_cold { " new" } else { "" };
            let _ = writeln!(
                text,
                "{}\t{}\t{:.4}\t{}{cold}",
                one_line(&hit.item),
                one_line(&hit.title),
                hit.score,
                hit.source
            );
            if let Some(why) = &why {
                text.push_str(&explanation(&why[place], "    "));
            }
        }
        output::print_bytes(text.as_bytes())?;
        describe(answer, talk);
    }
    Ok(if answer.hits.is_empty() { crate::Answer::No } else { crate::Answer::Yes })
}

/// Says how an answer was found.
fn describe(answer: &Answer, talk: Talk) {
    let words = |words: &[String]| words.join(", ");
    if answer.order == Order::Similarity {
        talk.note(format_args!("ordered by {} among {}", answer.order, answer.retrieval));
    } else {
        let Answer { user, order, retrieval, .. } = answer;
        talk.note(format_args!("user: {user}; ordered by {order} among {retrieval}"));
    }
    if !answer.text_only_terms.is_empty() {
        let terms = words(&answer.text_only_terms);
        talk.note(format_args!("looked for in titles and tags only: {terms}"));
    }
    if !answer.unmatched_terms.is_empty() {
        talk.warn(format_args!("nothing has these words: {}", words(&answer.unmatched_terms)));
    }
    if answer.hits.is_empty() {
        talk.note("nothing was found");
    }
}

/// An explanation in lines that start with `indent`.
pub(crate) fn explanation(why: &Explanation, indent: &str) -> String {
    let list = |words: &[Weighted]| {
        let word = |word: &Weighted| format!("{} {:.2}", word.word, word.weight);
        words.iter().map(word).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        format!(
            "score {:.4} = head {:.4} + translation {:.4}",
            why.score, why.head, why.translation
        ),
        format!("inherent intent (what the user likes) {:.4}", why.inherent),
        format!(
            "demand intent (what is wanted now) {:.4}: {}",
            why.demand,
            list(&why.demand_words)
        ),
    ];
    if !why.attention.is_empty() {
        lines.push(format!("attention on words of the item: {}", list(&why.attention)));
    }
    let percent = 100.0 * why.closer_than;
    lines.push(format!("distance {:.4}, closer than {percent:.0} % of the items", why.residual));
    for neighbour in &why.neighbours {
        let name = if neighbour.title.is_empty() { &neighbour.item } else { &neighbour.title };
        let query = match neighbour.query.as_str() {
            "" => String::new(),
            query => format!(" (searched: {query})"),
        };
        lines.push(format!("event {:+.4}: {}{query}", neighbour.contribution, one_line(name)));
    }
    if why.is_cold {
        lines.push("the item has no event: its vector comes from its words".into());
    }
    let lines: Vec<String> = lines.into_iter().map(|line| format!("{indent}{line}\n")).collect();
    lines.concat()
}

/// A text whose line breaks and tabs, which separate results, are blanks.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}
