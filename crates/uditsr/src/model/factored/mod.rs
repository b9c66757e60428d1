//! The same losses and gradients as [`super::Direct`] with far less work: demand intents enter the
//! layers only through two means per node, the generator runs once for each recommended pair of the
//! receptive field, and what depends on one node or word is computed once for it.
//!
//! All sums have an order that the data alone decides, so results do not depend on threads.

mod demand;
mod field;
mod folded;
mod kernel;
mod layers;
mod network_demand;
mod pairs;
mod search;
mod word_demand;
mod word_places;

use super::Step;
use super::batch::Batch;
use super::config::{EdgeQueries, Generator, ModelConfig};
use super::gradients::{Gradients, RowGradients};
use super::graph::{Graph, NONE};
use super::objective::{Losses, RowVectors, objective};
use super::parameters::Parameters;
use crate::matrix::{gather_rows, row, zeros};
use crate::real::{Real, add};
use crate::{Error, Result};
use demand::{Context, Demand};
use field::Field;
use layers::{Layers, Nodes, divide};
use network_demand::NetworkDemand;
use pairs::{AllPairs, StepPairs};
use search::{SearchWords, add_query_words};
use word_demand::WordDemand;

/// The fast computation, with buffers that are kept from step to step.
pub struct Factored<T> {
    config: ModelConfig,
    pairs: AllPairs,
    searches: SearchWords,
    demand: Box<dyn Demand<T>>,
    /// Means of the generated demand of each node, if they are not computed in each step.
    kept: Option<Nodes<T>>,
    field: Field,
    /// Rows of the batch that the field is of, until the step is taken.
    reached: Option<Vec<u32>>,
    step_pairs: StepPairs,
    layers: Layers<T>,
    base: Nodes<T>,
    means: Nodes<T>,
    stars: Nodes<T>,
    of_stars: Nodes<T>,
    of_means: Nodes<T>,
    batch_demand: Vec<T>,
}

/// For each row of a batch its place among the requested pairs, with the positive and the negative.
struct Requests {
    pairs: Vec<(u32, u32)>,
    positives: Vec<u32>,
    negatives: Vec<u32>,
}

impl<T: Real> Factored<T> {
    /// The computation of a model on a graph.
    ///
    /// # Errors
    /// A configuration that is out of range, or edge queries that change from layer to layer.
    pub fn new(config: &ModelConfig, graph: &Graph) -> Result<Self> {
        config.validate()?;
        if config.edge_queries == EdgeQueries::EachLayer {
            let reason = "`each-layer` needs the direct computation".to_owned();
            return Err(Error::Config { field: "edge_queries".to_owned(), reason });
        }
        let demand: Box<dyn Demand<T>> = match config.generator {
            Generator::Network => Box::new(NetworkDemand::new(config)),
            Generator::UserWords => Box::new(WordDemand::default()),
        };
        Ok(Self {
            config: config.clone(),
            pairs: AllPairs::new(graph),
            searches: SearchWords::new(graph),
            demand,
            kept: None,
            field: Field::default(),
            reached: None,
            step_pairs: StepPairs::default(),
            layers: Layers::default(),
            base: Nodes::default(),
            means: Nodes::default(),
            stars: Nodes::default(),
            of_stars: Nodes::default(),
            of_means: Nodes::default(),
            batch_demand: Vec::new(),
        })
    }

    /// Computes the generated demand on all edges and keeps it: later steps use it as a constant
    /// instead of running the generator on the graph.
    pub fn keep_intents(&mut self, graph: &Graph, parameters: &Parameters<T>) {
        self.kept = None;
        self.propagate_all(graph, parameters, true);
    }

    /// Propagated users `[users, dim]` and items `[items, dim]`.
    pub(crate) fn nodes(&mut self, graph: &Graph, parameters: &Parameters<T>) -> [Vec<T>; 2] {
        let kept = self.kept.take();
        self.propagate_all(graph, parameters, false);
        self.kept = kept;
        [std::mem::take(&mut self.stars.users), std::mem::take(&mut self.stars.items)]
    }

    fn propagate_all(&mut self, graph: &Graph, parameters: &Parameters<T>, keep: bool) {
        self.field.all(graph, self.config.layers);
        self.forward(graph, parameters, &[], keep);
    }

    /// Stars of the field, and the demand of the requested pairs.
    fn forward(
        &mut self,
        graph: &Graph,
        parameters: &Parameters<T>,
        requests: &[(u32, u32)],
        keep: bool,
    ) {
        let d = self.config.dim;
        let has_queries = self.config.edge_queries != EdgeQueries::Absent;
        let runs_generator = has_queries && self.kept.is_none() && self.config.layers > 0;
        self.step_pairs.select(&self.pairs, &self.field, runs_generator, requests);
        let context = Context { graph, parameters, field: &self.field, pairs: &self.step_pairs };
        self.demand.forward(context, &mut self.means, &mut self.batch_demand);
        if keep {
            self.kept = Some(self.means.clone());
            let Some(kept) = &mut self.kept else { return };
            divide(&mut kept.users, d, |node| share(graph.user_recommended[node]));
            divide(&mut kept.items, d, |node| share(graph.item_recommended[node]));
        } else if let Some(kept) = &self.kept {
            let kinds = [
                (&mut self.means.users, &self.field.users, &kept.users, &graph.user_recommended),
                (&mut self.means.items, &self.field.items, &kept.items, &graph.item_recommended),
            ];
            for (means, reached, kept, counts) in kinds {
                for (slot, mean) in means.chunks_exact_mut(d).enumerate() {
                    let node = reached.nodes[slot] as usize;
                    mean.copy_from_slice(row(kept, d, node));
                    crate::real::scale(mean, T::of(f64::from(counts[node])));
                }
            }
        }
        if has_queries {
            add_query_words(graph, &self.field, &parameters.words, &mut self.means, d);
        }
        self.divide_by_degrees(graph);
        gather_rows(&mut self.base.users, &parameters.users, d, &self.field.users.nodes);
        gather_rows(&mut self.base.items, &parameters.items, d, &self.field.items.nodes);
        self.layers.forward((graph, &self.field), d, &self.base, &self.means, &mut self.stars);
    }

    fn divide_by_degrees(&mut self, graph: &Graph) {
        let d = self.config.dim;
        let (users, items) = (&self.field.users.nodes, &self.field.items.nodes);
        divide(&mut self.means.users, d, |slot| share(graph.user_degrees[users[slot] as usize]));
        divide(&mut self.means.items, d, |slot| share(graph.item_degrees[items[slot] as usize]));
    }

    /// Pairs of the batch whose demand the losses need.
    fn requests(&self, batch: &Batch) -> Requests {
        let n = batch.len();
        let mut requests =
            Requests { pairs: Vec::new(), positives: vec![NONE; n], negatives: vec![NONE; n] };
        let slots = |user: u32, item: u32| {
            (self.field.users.slots[user as usize], self.field.items.slots[item as usize])
        };
        for r in 0..n {
            if !batch.searches[r] || self.config.sg_lambda > 0.0 {
                requests.positives[r] = requests.pairs.len() as u32;
                requests.pairs.push(slots(batch.users[r], batch.items[r]));
            }
            if !batch.searches[r] {
                requests.negatives[r] = requests.pairs.len() as u32;
                requests.pairs.push(slots(batch.users[r], batch.negatives[r]));
            }
        }
        requests
    }

    fn row_vectors(
        &self,
        parameters: &Parameters<T>,
        batch: &Batch,
        requests: &Requests,
    ) -> RowVectors<T> {
        let (d, n) = (self.config.dim, batch.len());
        let demand = |places: &[u32]| {
            let mut out = vec![T::ZERO; n * d];
            for (out, &place) in out.chunks_exact_mut(d).zip(places) {
                if place != NONE {
                    let pair = self.step_pairs.requests[place as usize] as usize;
                    out.copy_from_slice(row(&self.batch_demand, d, pair));
                }
            }
            out
        };
        let pick = |stars: &[T], slots: &[u32], nodes: &[u32]| -> Vec<T> {
            nodes
                .iter()
                .flat_map(|&node| row(stars, d, slots[node as usize] as usize))
                .copied()
                .collect()
        };
        let mut real = vec![T::ZERO; n * d];
        for r in (0..n).filter(|&r| batch.searches[r]) {
            for word in batch.words_of(r) {
                add(&mut real[r * d..(r + 1) * d], row(&parameters.words, d, word));
            }
        }
        RowVectors {
            users: pick(&self.stars.users, &self.field.users.slots, &batch.users),
            items: pick(&self.stars.items, &self.field.items.slots, &batch.items),
            negatives: pick(&self.stars.items, &self.field.items.slots, &batch.negatives),
            real,
            generated: demand(&requests.positives),
            generated_negative: demand(&requests.negatives),
        }
    }

    /// Gradients of the rows to those of the stars, of the batch's pairs and of query words.
    fn scatter_rows(
        &mut self,
        batch: &Batch,
        requests: &Requests,
        back: &RowVectors<T>,
        words: &mut [T],
    ) -> Vec<T> {
        let d = self.config.dim;
        self.of_stars.clear(self.stars.users.len(), self.stars.items.len());
        let mut of_pairs = vec![T::ZERO; self.step_pairs.batch.len() * d];
        for r in 0..batch.len() {
            let user = self.field.users.slot(batch.users[r]);
            let item = self.field.items.slot(batch.items[r]);
            let negative = self.field.items.slot(batch.negatives[r]);
            add(&mut self.of_stars.users[user * d..(user + 1) * d], row(&back.users, d, r));
            add(&mut self.of_stars.items[item * d..(item + 1) * d], row(&back.items, d, r));
            add(
                &mut self.of_stars.items[negative * d..(negative + 1) * d],
                row(&back.negatives, d, r),
            );
            let demands = [
                (requests.positives[r], &back.generated),
                (requests.negatives[r], &back.generated_negative),
            ];
            for (place, gradient) in demands {
                if place != NONE {
                    let pair = self.step_pairs.requests[place as usize] as usize;
                    add(&mut of_pairs[pair * d..(pair + 1) * d], row(gradient, d, r));
                }
            }
            if batch.searches[r] {
                for word in batch.words_of(r) {
                    add(&mut words[word * d..(word + 1) * d], row(&back.real, d, r));
                }
            }
        }
        of_pairs
    }
}

fn share<T: Real>(count: u32) -> T {
    T::of(1.0 / f64::from(count.max(1)))
}

impl<T: Real> Step<T> for Factored<T> {
    fn reach(&mut self, graph: &Graph, batch: &Batch) -> [&[u32]; 2] {
        let items = batch.items.iter().chain(&batch.negatives);
        self.field.of(graph, self.config.layers, batch.users.iter(), items);
        self.reached = Some(batch.rows.clone());
        [&self.field.users.slots, &self.field.items.slots]
    }

    fn step(
        &mut self,
        graph: &Graph,
        parameters: &Parameters<T>,
        batch: &Batch,
        gradients: &mut Gradients<T>,
    ) -> Result<Losses> {
        let d = self.config.dim;
        gradients.clear();
        if graph.any_removed {
            self.pairs.count(&batch.rows, true);
        }
        if self.reached.take().as_ref() != Some(&batch.rows) {
            self.reach(graph, batch);
            self.reached = None;
        }
        let requests = self.requests(batch);
        self.forward(graph, parameters, &requests.pairs, false);
        if graph.any_removed {
            self.pairs.count(&batch.rows, false);
        }
        let vectors = self.row_vectors(parameters, batch, &requests);
        let (losses, _, back) = objective(
            &self.config,
            &parameters.network,
            &batch.searches,
            &vectors,
            &mut gradients.network,
        );
        let of_pairs = self.scatter_rows(batch, &requests, &back, &mut gradients.words);

        zeros(&mut self.base.users, self.field.users.len() * d);
        zeros(&mut self.base.items, self.field.items.len() * d);
        let (field, layers) = (&self.field, &mut self.layers);
        layers.backward((graph, field), d, &self.of_stars, &mut self.base, &mut self.of_means);
        std::mem::swap(&mut self.means, &mut self.of_means);
        self.divide_by_degrees(graph);
        if self.config.edge_queries == EdgeQueries::Absent {
            self.means.clear(0, 0);
        } else {
            let words = &mut gradients.words;
            self.searches.backward(graph, &self.field, &self.means, words, d);
        }
        let context = Context { graph, parameters, field: &self.field, pairs: &self.step_pairs };
        self.demand.backward(context, (&self.means, &of_pairs), gradients, &mut self.base);
        for (rows, reached, base) in [
            (&mut gradients.users, &self.field.users, &mut self.base.users),
            (&mut gradients.items, &self.field.items, &mut self.base.items),
        ] {
            let RowGradients { slots, values } = rows;
            slots.clone_from(&reached.slots);
            std::mem::swap(values, base);
        }
        Ok(losses)
    }
}
