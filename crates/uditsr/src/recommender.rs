//! Answers from a trained model: search, recommendation, similar items, and why.
//!
//! A [`Recommender`] opens a [`Bundle`] and keeps the graph of all events, so that what a user does
//! changes the answers at once, exactly as if the graph had been built with it. Candidates come from
//! one pass over all items in eight bits and, for searches, from BM25 in titles and tags; the heads of
//! the model put them in order. Every answer says what it was found by.

mod answer;
mod ask;
mod bundle;
mod catalogue;
mod cold;
mod diversity;
mod events;
mod explain;
mod index;
mod journal;
mod names;
mod recall;
mod record;
mod state;
mod text;
mod top;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use answer::{
    Answer, Filter, Hit, Order, PastEvent, RequestOptions, Retrieval, Source, UserKind,
};
pub use bundle::Bundle;
pub use events::{Erase, Event, EventId, Receipt};
pub use explain::{Explanation, Neighbour, Weighted};
pub use journal::{Access, Durability, Recovery};
pub use recall::Recall;

use crate::data::{CatalogueItem, Prepared, Vocabulary};
use crate::{Error, Interactions, Result};
use catalogue::Catalogue;
use cold::{ColdMap, mean_of_words};
use events::Record;
use index::Index;
use journal::Journal;
use names::Names;
use state::{Edge, State};

/// Items from which the map of cold items is learned.
const COLD_SAMPLE: usize = 20_000;

/// Which events of the prepared log are history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// Those of the training and those that were held out, after them.
    #[default]
    All,
    /// Those of the training, as in an evaluation.
    Training,
}

/// Settings of a [`Recommender`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommenderOptions {
    /// Candidates that go through the heads; with at most twice as many items all of them do.
    pub candidates: usize,
    /// Candidates of a search that come from titles, tags and the queries that found an item.
    pub text_candidates: usize,
    /// Whether the order of a search is that of model and text together, by reciprocal ranks, or the
    /// model's alone. Together is better on all real logs of `docs/results/uditsr.md` among all items.
    pub fuse_text: bool,
    /// What counts as history.
    pub history: History,
    /// Where events are kept, in memory only if there is no file.
    pub journal: Option<PathBuf>,
    /// When an event is on the disk.
    pub durability: Durability,
    /// Whether the journal is only read.
    pub access: Access,
}

impl Default for RecommenderOptions {
    fn default() -> Self {
        Self {
            candidates: 1000,
            text_candidates: 200,
            fuse_text: true,
            history: History::default(),
            journal: None,
            durability: Durability::default(),
            access: Access::default(),
        }
    }
}

/// A model that answers.
pub struct Recommender {
    options: RecommenderOptions,
    fingerprint: String,
    state: State,
    index: Index,
    users: Names,
    items: Names,
    words: Vocabulary,
    catalogue: Catalogue,
    /// Users and items of the training.
    trained: [usize; 2],
    /// From the mean word of a text to embeddings and propagated vectors of items.
    cold_maps: [ColdMap; 2],
    journal: Option<Journal>,
    /// What is in the journal.
    records: Vec<Record>,
    recovery: Recovery,
    /// Number of the next event, and of the first that the prepared log does not have.
    next_event: EventId,
    first_recorded: EventId,
    keys: HashMap<String, EventId>,
}

fn edges_of(users: usize, parts: &[&Interactions]) -> (Vec<Vec<Edge>>, EventId) {
    let mut edges = vec![Vec::new(); users];
    let mut id = 0;
    for part in parts {
        for row in 0..part.len() {
            let query = part.queries.row(row).into();
            edges[part.users[row] as usize].push(Edge {
                id,
                item: part.items[row],
                time: part.times[row],
                query,
            });
            id += 1;
        }
    }
    (edges, id)
}

impl Recommender {
    /// Opens a folder that [`Bundle::save`] wrote, and the journal if the options name one.
    ///
    /// # Errors
    /// As [`Bundle::load`] and [`Self::new`].
    pub fn open(folder: &Path, options: RecommenderOptions) -> Result<Self> {
        Self::new(Bundle::load(folder)?, options)
    }

    /// A recommender of this model.
    ///
    /// # Errors
    /// A model with more than two layers or with edge queries of each layer, whose answers could not
    /// follow new events; options out of range; a journal that is damaged, in use, or of another model.
    pub fn new(bundle: Bundle, options: RecommenderOptions) -> Result<Self> {
        let Bundle { scorer, prepared, fingerprint } = bundle;
        let Prepared { dataset, users, items, words, catalogue, .. } = prepared;
        if options.candidates == 0 {
            return Err(Error::config("candidates", "must be at least 1, found 0"));
        }
        let config = scorer.config();
        if config.layers > 2 || config.edge_queries == crate::model::EdgeQueries::EachLayer {
            let reason = "answers follow new events only in models of at most two layers whose edge queries are computed once";
            return Err(Error::config("layers", reason));
        }
        let parts = [&dataset.train, &dataset.valid.positives, &dataset.test.positives];
        let parts = if options.history == History::All { &parts[..] } else { &parts[..1] };
        let (edges, next_event) = edges_of(dataset.users, parts);
        let first_word = words.first_word();
        let mut queries: Vec<Vec<u32>> = vec![Vec::new(); dataset.items];
        for edge in edges.iter().flatten() {
            let known = edge.query.iter().filter(|&&word| word as usize >= first_word);
            queries[edge.item as usize].extend(known);
        }
        let dim = scorer.config().dim;
        let state = State::new(scorer, edges);
        let scorer = &state.scorer;
        let step = dataset.items.div_ceil(COLD_SAMPLE).max(1);
        let texts = || {
            let items = (0..dataset.items as u32).step_by(step);
            items.filter(|&item| state.degree(item) > 0).filter_map(|item| {
                let words = dataset.item_words.row(item as usize);
                Some((item, mean_of_words(&scorer.parameters().words, dim, words)?))
            })
        };
        let cold_maps = [
            ColdMap::fit(dim, dim, texts().map(|(item, x)| (x, scorer.item_embedding(item)))),
            ColdMap::fit(dim, dim, texts().map(|(item, x)| (x, scorer.item(item)))),
        ];
        let mut of_item: HashMap<String, CatalogueItem> =
            catalogue.iter().map(|item| (item.id.clone(), item.clone())).collect();
        let mut entries = Catalogue::default();
        for (id, queries) in items.iter().zip(queries) {
            let nameless = || CatalogueItem { id: id.to_owned(), ..CatalogueItem::default() };
            let queries = queries.iter().map(|&word| words.words()[word as usize].as_str());
            entries.push(of_item.remove(id).unwrap_or_else(nameless), queries);
        }
        let index = Index::new(&state.scorer);
        let mut recommender = Self {
            options,
            fingerprint,
            state,
            index,
            trained: [users.len(), items.len()],
            users: Names::new(users),
            items: Names::new(items),
            words,
            catalogue: entries,
            cold_maps,
            journal: None,
            records: Vec::new(),
            recovery: Recovery::default(),
            next_event,
            first_recorded: next_event,
            keys: HashMap::new(),
        };
        let cold = catalogue.into_iter().filter_map(|item| of_item.remove(&item.id)).collect();
        recommender.push_items(cold);
        recommender.open_journal()?;
        Ok(recommender)
    }

    /// Number of items, those without events included.
    pub fn items(&self) -> usize {
        self.catalogue.len()
    }

    /// An item of the catalogue.
    pub fn item(&self, id: &str) -> Option<&CatalogueItem> {
        self.items.find(id).map(|item| self.catalogue.get(item))
    }

    /// SHA-256 of the model and its data.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What was found in the journal when it was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The settings.
    pub fn options(&self) -> &RecommenderOptions {
        &self.options
    }
}

#[cfg(test)]
mod tests;
