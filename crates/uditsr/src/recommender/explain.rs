//! Why an item is answered.

use serde::{Deserialize, Serialize};

use super::Recommender;
use super::answer::{RequestOptions, UserKind};
use super::top::{Found, best};
use crate::matrix::row;
use crate::model::translation;
use crate::real::{add_scaled, dot};
use crate::{Error, Result};

/// Words and neighbours that are named.
const NAMED: usize = 5;
/// Items that a distance is compared with.
const SAMPLE: usize = 1000;

/// Where the score of an item comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What is known about the user.
    pub user: UserKind,
    /// The score that the item is ranked by: the sum of the next two.
    pub score: f64,
    /// Part of the network.
    pub head: f64,
    /// Part of the translation, zero in models without it.
    pub translation: f64,
    /// `e*_u . e*_i`: what the user likes in general.
    pub inherent: f64,
    /// `q . e*_i`: what the user wants now, by the query or as generated.
    pub demand: f64,
    /// `|e*_u + q - e*_i|^2 / dim`: how far the item is from the translated point.
    pub residual: f64,
    /// Share of the items that are farther away.
    pub closer_than: f64,
    /// The words whose vectors are nearest to the demand, by cosine after subtraction of the mean word.
    pub demand_words: Vec<Weighted>,
    /// Attention of the user on the words by which the item was found; empty in a search.
    pub attention: Vec<Weighted>,
    /// The events of the user that speak most for the item, or against it.
    pub neighbours: Vec<Neighbour>,
    /// Words of the query that the model did not look at.
    pub unmatched_terms: Vec<String>,
    /// Whether the item has no event, so that its vector comes from its words.
    pub is_cold: bool,
}

/// A word and how much it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weighted {
    /// The word.
    pub word: String,
    /// Its weight.
    pub weight: f64,
}

/// An earlier event of the user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The shop's id of its item.
    pub item: String,
    /// Title of the item.
    pub title: String,
    /// Its query, empty if there was none.
    pub query: String,
    /// `(e*_j - q_e) . e*_i / n`, its part in the product of user and item.
    pub contribution: f64,
}

impl Recommender {
    /// Explains the score of an item for a user, in a search or, without a query, in recommendations.
    ///
    /// # Errors
    /// An item that is not in the catalogue, or a query without a word that the model knows.
    pub fn explain(
        &self,
        user: Option<&str>,
        item: &str,
        query: Option<&str>,
    ) -> Result<Explanation> {
        self.explain_with(user, item, query, &RequestOptions::default())
    }

    /// As [`Self::explain`], after the history of a request.
    ///
    /// # Errors
    /// As [`Self::explain`], or an item of the history that is not in the catalogue.
    pub fn explain_with(
        &self,
        user: Option<&str>,
        item: &str,
        query: Option<&str>,
        options: &RequestOptions,
    ) -> Result<Explanation> {
        let (scorer, item) = (&self.state.scorer, self.item_number(item)?);
        let (kind, vectors) = self.user_of(user, options)?;
        let view = vectors.view();
        let terms = query.map(|query| self.terms(query));
        if terms.as_ref().is_some_and(|terms| terms.known.is_empty()) {
            return Err(Error::config("query", "has no word that the model knows"));
        }
        let asked = terms.as_ref().map(|terms| scorer.query(&terms.known));
        let mut score = [0.0];
        scorer.score_of(view, asked.as_deref(), &[item], &mut score);
        let demand = asked.clone().unwrap_or_else(|| scorer.demand_of(view, &[item]));
        let star = scorer.item(item);
        let config = scorer.config();
        let weight = scorer.translation_weight(asked.is_some());
        let term =
            weight * f64::from(translation(config.translation_term, view.star, star, &demand));
        let target: Vec<f32> = view.star.iter().zip(&demand).map(|(&u, &q)| u + q).collect();
        let distance = |item: u32| {
            let rest = target.iter().zip(scorer.item(item)).map(|(t, i)| f64::from(t - i).powi(2));
            rest.sum::<f64>() / config.dim as f64
        };
        let residual = distance(item);
        let step = self.items().div_ceil(SAMPLE).max(1);
        let others: Vec<u32> =
            (0..self.items() as u32).step_by(step).filter(|&other| other != item).collect();
        let farther = others.iter().filter(|&&other| distance(other) > residual).count();
        let word = |word: u32| self.words.words()[word as usize].clone();
        let attention = if asked.is_some() { Vec::new() } else { scorer.attention(view, item) };
        let number = user
            .and_then(|user| self.users.find(user))
            .filter(|&user| (user as usize) < self.state.users.len());
        let mut parts = number.map_or_else(Vec::new, |user| self.state.contributions(user, item));
        parts.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.id.cmp(&b.0.id)));
        let neighbours = parts.into_iter().take(NAMED).map(|(edge, contribution)| Neighbour {
            item: self.items.get(edge.item).to_owned(),
            title: self.catalogue.get(edge.item).title.clone(),
            query: edge.query.iter().map(|&w| word(w)).collect::<Vec<_>>().join(" "),
            contribution,
        });
        Ok(Explanation {
            user: kind,
            score: f64::from(score[0]),
            head: f64::from(score[0]) - term,
            translation: term,
            inherent: f64::from(dot(view.star, star)),
            demand: f64::from(dot(&demand, star)),
            residual,
            closer_than: farther as f64 / others.len().max(1) as f64,
            demand_words: self.nearest_words(&demand),
            attention: attention
                .into_iter()
                .map(|(w, weight)| Weighted { word: word(w), weight })
                .collect(),
            neighbours: neighbours.collect(),
            unmatched_terms: terms.map_or_else(Vec::new, super::ask::Terms::not_looked_at),
            is_cold: self.state.is_cold(item),
        })
    }

    fn nearest_words(&self, demand: &[f32]) -> Vec<Weighted> {
        let (table, d) = (&self.state.scorer.parameters().words, demand.len());
        let first = self.first_word();
        let count = table.len() / d;
        let mut mean = vec![0.0; d];
        for word in first..count {
            add_scaled(&mut mean, 1.0 / (count - first).max(1) as f32, row(table, d, word));
        }
        let centred = |v: &[f32]| v.iter().zip(&mean).map(|(v, m)| v - m).collect::<Vec<f32>>();
        let length = |v: &[f32]| dot(v, v).sqrt().max(f32::MIN_POSITIVE);
        let demand = centred(demand);
        let cosine = |word: usize| {
            let word = centred(row(table, d, word));
            dot(&word, &demand) / (length(&word) * length(&demand))
        };
        let all = (first..count).map(|word| Found { score: cosine(word), item: word as u32 });
        let weighted = |found: Found| Weighted {
            word: self.words.words()[found.item as usize].clone(),
            weight: f64::from(found.score),
        };
        best(all, NAMED).into_iter().map(weighted).collect()
    }
}
