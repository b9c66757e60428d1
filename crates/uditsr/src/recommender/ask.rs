//! Search, recommendation and similar items.

use std::collections::HashMap;

use rayon::prelude::*;

use super::Recommender;
use super::answer::{Answer, Hit, Order, RequestOptions, Retrieval, Source, UserKind};
use super::catalogue::Allowed;
use super::diversity::diversify;
use super::state::{Edge, UserVectors};
use super::top::{Found, Top, best};
use crate::data::words;
use crate::{Error, Result};

/// Items of one task of the heads.
const TASK: usize = 128;
/// Candidates of an answer that is to be diverse, for each item that was asked for.
const POOL: usize = 5;
/// Constant of reciprocal-rank fusion (<https://doi.org/10.1145/1571941.1572114>).
const FUSION: f32 = 60.0;
/// Length of the orders that are fused for users whom training did not know.
const FUSED: usize = 100;
/// Latest items of such a user whose neighbours are looked for.
const LATEST: usize = 5;

/// The words of a query, by who knows them.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// All of them.
    pub(super) all: Vec<String>,
    /// Those that the model looks at.
    pub(super) known: Vec<u32>,
    /// Those that only titles have.
    text_only: Vec<String>,
    /// Those that nothing has.
    unmatched: Vec<String>,
}

impl Terms {
    /// Words that the model has no vector for or no place.
    pub(super) fn not_looked_at(self) -> Vec<String> {
        [self.text_only, self.unmatched].concat()
    }
}

/// Items in order, and what they were chosen from.
pub(super) struct Ranked {
    pub(super) found: Vec<Found>,
    retrieval: Retrieval,
}

impl Recommender {
    /// Answers a query, for a user or for nobody in particular.
    ///
    /// # Errors
    /// A query without words, an item of the history that is not in the catalogue, or options out of
    /// range. Users and words that nobody knows are no errors: the answer names them.
    pub fn search(
        &self,
        user: Option<&str>,
        query: &str,
        k: usize,
        options: &RequestOptions,
    ) -> Result<Answer> {
        let terms = self.terms(query);
        if terms.all.is_empty() {
            return Err(Error::config("query", "has no words"));
        }
        let limit = Self::pool(k, options)?;
        let (kind, user) = self.user_of(user, options)?;
        let seen = if options.exclude_seen.unwrap_or(false) { &user.seen[..] } else { &[] };
        let allowed = self.catalogue.allowed(&options.filter, &self.items, seen);
        let limit_of_text = self.options.text_candidates;
        let by_text =
            |terms| self.catalogue.text.search(terms, limit_of_text, &|item| allowed.has(item));
        // Words that the model does not know are left to the text, and count there once more.
        let is_mixed = !terms.known.is_empty() && !terms.text_only.is_empty();
        let rest = if is_mixed { by_text(&terms.text_only) } else { Vec::new() };
        let is_fused = self.options.fuse_text || terms.known.is_empty();
        let text = if is_mixed && !is_fused { rest.clone() } else { by_text(&terms.all) };
        let (order, retrieval, found) = if terms.known.is_empty() {
            (Order::Text, Retrieval::Candidates(text.len()), text.clone())
        } else {
            let query = self.state.scorer.query(&terms.known);
            let mut lists = match (is_fused, is_mixed) {
                (true, _) => vec![text.clone(), rest],
                (false, true) => vec![rest],
                (false, false) => Vec::new(),
            };
            lists.retain(|list| !list.is_empty());
            let limit = if lists.is_empty() { limit } else { limit.max(limit_of_text) };
            let Ranked { found, retrieval } =
                self.rank(&user, Some(&query), &text, &allowed, limit, options.exact);
            if lists.is_empty() {
                (Order::Model, retrieval, found)
            } else {
                lists.push(found);
                (Order::ModelAndText, retrieval, fuse(&lists))
            }
        };
        let hits = self.hits(found, k, options, |item| {
            let is_text = text.iter().any(|found| found.item == item);
            match (order, is_text) {
                (Order::Text, _) => Source::Text,
                (_, true) => Source::Both,
                (_, false) => Source::Model,
            }
        });
        Ok(Answer {
            hits,
            user: kind,
            retrieval,
            order,
            unmatched_terms: terms.unmatched,
            text_only_terms: terms.text_only,
            model: self.fingerprint.clone(),
        })
    }

    /// Recommends items to a user: by the model, and to those whom training did not know also by what is like
    /// their latest items; what is popular to somebody of whom nothing is known.
    ///
    /// # Errors
    /// As [`Self::search`], without a query.
    pub fn recommend(
        &self,
        user: Option<&str>,
        k: usize,
        options: &RequestOptions,
    ) -> Result<Answer> {
        let (kind, user) = self.user_of(user, options)?;
        let seen = if options.exclude_seen.unwrap_or(true) { &user.seen[..] } else { &[] };
        let allowed = self.catalogue.allowed(&options.filter, &self.items, seen);
        let limit = Self::pool(k, options)?;
        let (order, source, ranked) = if kind == UserKind::Stranger {
            let all = allowed.list(self.items()).into_iter();
            let found =
                best(all.map(|item| Found { score: self.state.degree(item) as f32, item }), limit);
            (
                Order::Popularity,
                Source::Popularity,
                Ranked { found, retrieval: Retrieval::Everything },
            )
        } else if kind == UserKind::Trained {
            (
                Order::Model,
                Source::Model,
                self.rank(&user, None, &[], &allowed, limit, options.exact),
            )
        } else {
            // What is like the latest items steadies what is known from a few events.
            let limit = limit.max(FUSED);
            let Ranked { found, retrieval } =
                self.rank(&user, None, &[], &allowed, limit, options.exact);
            let mut lists = self.neighbours(&user.seen, &allowed, limit);
            lists.push(found);
            let found = fuse(&lists);
            (Order::ModelAndNeighbours, Source::Model, Ranked { found, retrieval })
        };
        Ok(self.answer(
            self.hits(ranked.found, k, options, |_| source),
            kind,
            ranked.retrieval,
            order,
        ))
    }

    /// Items whose propagated vectors point in the direction of that of an item, which is not among
    /// them.
    ///
    /// # Errors
    /// An item that is not in the catalogue.
    pub fn similar(&self, item: &str, k: usize, options: &RequestOptions) -> Result<Answer> {
        let item = self.item_number(item)?;
        let allowed = self.catalogue.allowed(&options.filter, &self.items, &[item]);
        let limit = Self::pool(k, options)?;
        let Ranked { found, retrieval } = self.near(item, &allowed, limit);
        Ok(self.answer(
            self.hits(found, k, options, |_| Source::Model),
            UserKind::Stranger,
            retrieval,
            Order::Similarity,
        ))
    }

    /// Other items by the cosine of their propagated vectors with that of an item.
    fn near(&self, item: u32, allowed: &Allowed, limit: usize) -> Ranked {
        let target = self.state.scorer.item(item);
        let count = limit.max(self.options.candidates.min(100));
        let candidates =
            self.index.similar(target, count, &|other| other != item && allowed.has(other));
        let length = |v: &[f32]| crate::real::dot(v, v).sqrt().max(f32::MIN_POSITIVE);
        let exact = candidates.iter().map(|found| {
            let other = self.state.scorer.item(found.item);
            let score = crate::real::dot(target, other) / (length(target) * length(other));
            Found { score, item: found.item }
        });
        let retrieval = Retrieval::Candidates(candidates.len());
        Ranked { found: best(exact, limit), retrieval }
    }

    /// Items like each of the latest that a user had to do with.
    fn neighbours(&self, seen: &[u32], allowed: &Allowed, limit: usize) -> Vec<Vec<Found>> {
        let mut latest: Vec<u32> = Vec::new();
        for &item in seen.iter().rev() {
            if latest.len() < LATEST && !latest.contains(&item) {
                latest.push(item);
            }
        }
        latest.into_iter().map(|item| self.near(item, allowed, limit).found).collect()
    }

    fn answer(&self, hits: Vec<Hit>, user: UserKind, retrieval: Retrieval, order: Order) -> Answer {
        let model = self.fingerprint.clone();
        Answer {
            hits,
            user,
            retrieval,
            order,
            unmatched_terms: Vec::new(),
            text_only_terms: Vec::new(),
            model,
        }
    }

    pub(super) fn item_number(&self, item: &str) -> Result<u32> {
        self.items
            .find(item)
            .ok_or_else(|| Error::config("item", format!("`{item}` is not in the catalogue")))
    }

    /// The words of a query.
    pub(super) fn terms(&self, query: &str) -> Terms {
        let mut terms = Terms { all: words(query), ..Terms::default() };
        let first = self.first_word();
        let places = self.state.scorer.config().query_words;
        for term in &terms.all {
            match self.words.find(term).filter(|&word| word as usize >= first) {
                Some(word) if terms.known.len() < places => terms.known.push(word),
                _ if self.catalogue.text.has(term) => terms.text_only.push(term.clone()),
                _ => terms.unmatched.push(term.clone()),
            }
        }
        terms
    }

    /// Number of the first word that can be in a text.
    pub(super) fn first_word(&self) -> usize {
        self.words.first_word()
    }

    /// The user of a request.
    pub(super) fn user_of(
        &self,
        user: Option<&str>,
        options: &RequestOptions,
    ) -> Result<(UserKind, UserVectors)> {
        let number =
            user.and_then(|user| self.users.find(user)).filter(|&user| self.is_somebody(user));
        let mut history = Vec::new();
        for event in &options.history {
            let query = self.words.encode(&event.query).words.into();
            history.push(Edge { id: 0, item: self.item_number(&event.item)?, time: -1, query });
        }
        let kind = match number {
            Some(number) if self.is_trained(number) => UserKind::Trained,
            Some(_) => UserKind::Recorded,
            None if history.is_empty() => UserKind::Stranger,
            None => UserKind::Session,
        };
        Ok((kind, self.state.session(number, &history)))
    }

    /// Whether training knew a user who was not erased since.
    fn is_trained(&self, user: u32) -> bool {
        (user as usize) < self.trained[0] && !self.state.is_forgotten(user)
    }

    /// Whether something is known of a user.
    fn is_somebody(&self, user: u32) -> bool {
        self.is_trained(user)
            || self.state.users.get(user as usize).is_some_and(|node| !node.edges.is_empty())
    }

    /// How many items are ranked for an answer of `k`.
    fn pool(k: usize, options: &RequestOptions) -> Result<usize> {
        if !(0.0..=1.0).contains(&options.diversity) {
            return Err(Error::config(
                "diversity",
                format!("between 0 and 1, found {}", options.diversity),
            ));
        }
        Ok(if options.diversity > 0.0 { POOL * k } else { k })
    }

    /// The best allowed items by the heads.
    pub(super) fn rank(
        &self,
        user: &UserVectors,
        query: Option<&[f32]>,
        text: &[Found],
        allowed: &Allowed,
        limit: usize,
        exact: bool,
    ) -> Ranked {
        let count = self.options.candidates.max(limit);
        let everything = allowed.at_most(self.items());
        let (items, retrieval) = if exact || everything <= 2 * count {
            (allowed.list(self.items()), Retrieval::Everything)
        } else {
            let expansion = self.state.scorer.expand(user.view(), query, self.index.centres());
            let candidates = self.index.candidates(&expansion, count, &|item| allowed.has(item));
            let mut items: Vec<u32> =
                candidates.iter().chain(text).map(|found| found.item).collect();
            items.sort_unstable();
            items.dedup();
            let count = items.len();
            (items, Retrieval::Candidates(count))
        };
        let task = |mut top: Top, items: &[u32]| {
            let mut scores = vec![0.0; items.len()];
            self.state.scorer.score_of(user.view(), query, items, &mut scores);
            items.iter().zip(scores).for_each(|(&item, score)| top.push(Found { score, item }));
            top
        };
        let tops = items.par_chunks(TASK).fold(|| Top::new(limit), task);
        Ranked { found: tops.reduce(|| Top::new(limit), Top::merge).into_sorted(), retrieval }
    }

    fn hits(
        &self,
        found: Vec<Found>,
        k: usize,
        options: &RequestOptions,
        source: impl Fn(u32) -> Source,
    ) -> Vec<Hit> {
        let mut found = found;
        if options.diversity > 0.0 {
            found = diversify(found, k, options.diversity, |item| self.state.scorer.item(item));
        }
        found.truncate(k);
        let hit = |Found { score, item }: Found| Hit {
            item: self.items.get(item).to_owned(),
            title: self.catalogue.get(item).title.clone(),
            score: f64::from(score),
            source: source(item),
            is_cold: self.state.is_cold(item),
        };
        found.into_iter().map(hit).collect()
    }
}

/// Reciprocal-rank fusion of several orders.
fn fuse(lists: &[Vec<Found>]) -> Vec<Found> {
    let mut sums: HashMap<u32, f32> = HashMap::new();
    for list in lists {
        for (rank, found) in list.iter().enumerate() {
            *sums.entry(found.item).or_default() += 1.0 / (FUSION + rank as f32 + 1.0);
        }
    }
    let count = sums.len();
    best(sums.into_iter().map(|(item, score)| Found { score, item }), count)
}
