//! Items that come, change and go while the model serves.

use super::Recommender;
use super::cold::mean_of_words;
use super::events::Record;
use crate::data::CatalogueItem;
use crate::model::places;
use crate::{Error, Result};

impl Recommender {
    /// Adds an item to the catalogue. Until it has events its vector comes from its words.
    ///
    /// # Errors
    /// An item that is there already, or a journal that cannot be written.
    pub fn add_item(&mut self, item: CatalogueItem) -> Result<()> {
        if self.items.find(&item.id).is_some() {
            return Err(Error::config(
                "item",
                format!("`{}` is in the catalogue already", item.id),
            ));
        }
        let record = Record::Item { item };
        self.append(std::slice::from_ref(&record))?;
        self.apply(&record)?;
        self.records.push(record);
        Ok(())
    }

    /// Adds an item, or replaces what is known of it. Words and tags count at once; the vector of an item with events
    /// stays what its events say, that of one without follows its words.
    ///
    /// # Errors
    /// The journal cannot be written: then nothing has changed.
    pub fn put_item(&mut self, item: CatalogueItem) -> Result<()> {
        self.keep(Record::Item { item })
    }

    /// Takes an item out of the catalogue: it is in no answer any more, and has no new events. What users did with it
    /// still tells about them.
    ///
    /// # Errors
    /// An item that is not in the catalogue, or a journal that cannot be written.
    pub fn remove_item(&mut self, id: &str) -> Result<()> {
        self.item_number(id)?;
        self.keep(Record::Removed { item: id.to_owned() })
    }

    fn keep(&mut self, record: Record) -> Result<()> {
        self.append(std::slice::from_ref(&record))?;
        self.apply(&record)?;
        self.records.push(record);
        Ok(())
    }

    /// Applies what [`Self::put_item`] has recorded.
    pub(super) fn set_item(&mut self, item: CatalogueItem) {
        match self.items.find(&item.id) {
            None => self.push_items(vec![item]),
            // Its vector comes from its words, so it gets a new number.
            Some(number) if self.state.is_cold(number) => {
                self.catalogue.withdraw(number, true);
                self.items.add(&item.id);
                self.push_items(vec![item]);
            }
            Some(number) => {
                self.catalogue.withdraw(number, false);
                self.catalogue.replace(number, item);
            }
        }
    }

    /// Adds items without events.
    pub(super) fn push_items(&mut self, items: Vec<CatalogueItem>) {
        let config = self.state.scorer.config().clone();
        let first_word = self.first_word();
        let (mut embeddings, mut stars, mut all_words) = (Vec::new(), Vec::new(), Vec::new());
        let first = self.items() as u32;
        for item in items {
            let mut words = self.words.encode(&item.text()).words;
            words.retain(|&word| word as usize >= first_word);
            let table = &self.state.scorer.parameters().words;
            let mean =
                mean_of_words(table, config.dim, &words).unwrap_or_else(|| vec![0.0; config.dim]);
            embeddings.extend(self.cold_maps[0].apply(&mean));
            stars.extend(self.cold_maps[1].apply(&mean));
            all_words.extend(places(config.padding, &words, config.item_words));
            self.items.find_or_add(&item.id);
            self.catalogue.push(item, []);
        }
        self.state.push_items(&embeddings, &stars, &all_words);
        for item in first..self.items() as u32 {
            self.index.push(&self.state.scorer, item);
        }
    }
}
