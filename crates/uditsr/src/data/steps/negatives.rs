//! Items that a user never touched.

use rayon::prelude::*;

use super::lots::{self, RowKey};
use super::tables::Table;
use crate::data::raw::{Event, RawLog};
use crate::{Csr, Split};

/// Draws negatives.
pub(crate) struct Sampler<'a> {
    pub(crate) log: &'a RawLog,
    /// Items that each user of the raw log touched.
    pub(crate) touched: &'a Csr,
    pub(crate) items: &'a Table,
    pub(crate) seed: u64,
    /// How many for each event.
    pub(crate) count: usize,
}

impl Sampler<'_> {
    /// Takes events out of their part if their user has touched so much that there are too few
    /// negatives. Returns these events.
    pub(crate) fn too_few(&self) -> Vec<usize> {
        let held_out = |event: &Event| matches!(event.part, Some(Split::Valid | Split::Test));
        let known = |event: &Event| self.known(event).len();
        let few = |event: &Event| self.items.ids.len() - known(event) < self.count;
        let events = self.log.events.par_iter().enumerate();
        events.filter(|(_, event)| held_out(event) && few(event)).map(|(row, _)| row).collect()
    }

    /// Negatives of each event of a part: distinct, drawn uniformly from the stream of the event's
    /// own content.
    pub(crate) fn draw(&self, part: Split) -> Csr {
        let events: Vec<&Event> =
            self.log.events.iter().filter(|event| event.part == Some(part)).collect();
        let mut drawn = vec![0; events.len() * self.count];
        if self.count > 0 {
            let rows = drawn.par_chunks_mut(self.count);
            rows.zip(&events).for_each(|(row, event)| self.sample(event, row));
        }
        Csr::from_lengths(std::iter::repeat_n(self.count, events.len()), drawn)
            .expect("as many as were asked for")
    }

    /// Row numbers of the items that the user of an event touched, ascending.
    fn known(&self, event: &Event) -> Vec<u32> {
        let touched = self.touched.row(event.user as usize);
        touched.iter().filter_map(|&item| self.items.rows[item as usize]).collect()
    }

    /// Fills a row with the negatives of an event.
    fn sample(&self, event: &Event, row: &mut [u32]) {
        let log = self.log;
        let key = RowKey {
            user: log.users.get(event.user),
            item: log.items.get(event.item),
            query: log.queries.get(event.query),
            time: event.time,
        };
        lots::negatives(self.seed, key, &self.known(event), self.items.ids.len() as u32, row);
    }
}
