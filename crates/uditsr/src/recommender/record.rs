//! What happens after the training.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::Path;

use super::Recommender;
use super::cold::mean_of_words;
use super::events::{Erase, Event, EventId, Receipt, Record};
use super::journal::{Access, Journal, Recovery};
use super::state::Edge;
use crate::data::{CatalogueItem, words};
use crate::model::places;
use crate::{Error, Result};

impl Recommender {
    /// Records an event: the next answer knows it. When this returns, the event is in the journal.
    ///
    /// # Errors
    /// An item that is not in the catalogue, or a journal that cannot be written: then nothing has
    /// changed.
    pub fn record(&mut self, event: Event) -> Result<Receipt> {
        let mut receipts = self.record_all(vec![event])?;
        receipts.pop().unwrap_or_else(|| Err(Error::config("event", "was lost")))
    }

    /// Records events with one write of the journal. An event that is refused does not keep the others
    /// from being recorded.
    ///
    /// # Errors
    /// The journal cannot be written: then nothing has changed.
    pub fn record_all(&mut self, events: Vec<Event>) -> Result<Vec<Result<Receipt>>> {
        let (mut receipts, mut records) = (Vec::new(), Vec::new());
        let mut keys: HashMap<String, EventId> = HashMap::new();
        for event in events {
            if let Err(error) = self.item_number(&event.item) {
                receipts.push(Err(error));
                continue;
            }
            let unmatched_terms = self.words.encode(&event.query).unmatched;
            let known =
                event.key.as_ref().and_then(|key| self.keys.get(key).or_else(|| keys.get(key)));
            if let Some(&id) = known {
                receipts.push(Ok(Receipt { id, is_duplicate: true, unmatched_terms }));
                continue;
            }
            let id = self.next_event + records.len() as u64;
            if let Some(key) = &event.key {
                keys.insert(key.clone(), id);
            }
            records.push(Record::Event { id, event });
            receipts.push(Ok(Receipt { id, is_duplicate: false, unmatched_terms }));
        }
        self.append(&records)?;
        for record in records {
            self.apply(&record)?;
            self.records.push(record);
        }
        Ok(receipts)
    }

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

    /// Forgets events: answers are as if they had never been, and the journal is written without them.
    /// Of events and users of the training only numbers are noted, until the next training. Returns
    /// how many events were forgotten.
    ///
    /// # Errors
    /// An event or user that does not exist, or a journal that cannot be written.
    pub fn erase(&mut self, what: &Erase) -> Result<usize> {
        self.check_access()?;
        let unknown = |what: String| Error::config("erase", format!("{what} is not known"));
        let (user, ids): (u32, HashSet<EventId>) = match what {
            Erase::Event(id) => {
                let has = |edges: &[Edge]| edges.iter().any(|edge| edge.id == *id);
                let user = (0..).zip(&self.state.users).find(|(_, node)| has(&node.edges));
                let (user, _) = user.ok_or_else(|| unknown(format!("event {id}")))?;
                (user, HashSet::from([*id]))
            }
            Erase::User(name) => {
                let user =
                    self.users.find(name).ok_or_else(|| unknown(format!("user `{name}`")))?;
                let node = self.state.users.get(user as usize);
                (user, node.into_iter().flat_map(|node| &node.edges).map(|edge| edge.id).collect())
            }
        };
        let mut old: Vec<EventId> =
            ids.iter().copied().filter(|id| *id < self.first_recorded).collect();
        old.sort_unstable();
        let is_forgotten = matches!(what, Erase::User(_)) && (user as usize) < self.trained[0];
        let keeps =
            |record: &&Record| !matches!(record, Record::Event { id, .. } if ids.contains(id));
        let mut records: Vec<Record> = self.records.iter().filter(keeps).cloned().collect();
        let erased = Record::Erased { ids: old, user: is_forgotten.then_some(user) };
        if let Record::Erased { ids, user } = &erased
            && (!ids.is_empty() || user.is_some())
        {
            records.push(erased.clone());
        }
        if let Some(journal) = &mut self.journal {
            journal.rewrite(&records)?;
        }
        self.forget_words(user, |edge| ids.contains(&edge.id));
        self.records = records;
        self.keys.retain(|_, id| !ids.contains(id));
        self.change(user, |edge| ids.contains(&edge.id), Vec::new());
        if is_forgotten {
            self.state.forget(user);
        }
        Ok(ids.len())
    }

    /// Events of a user with their numbers, oldest first.
    pub fn events_of(&self, user: &str) -> Vec<(EventId, Event)> {
        let number = self.users.find(user).and_then(|user| self.state.users.get(user as usize));
        let edges = number.into_iter().flat_map(|node| &node.edges);
        edges.map(|edge| (edge.id, self.event(user, edge))).collect()
    }

    /// Writes all events, those of the training and those since, one JSON object a line, for the next
    /// preparation. Queries of the training are their known words. Returns how many.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn export_events(&self, path: &Path) -> Result<usize> {
        let texts: HashMap<EventId, &Event> = self.recorded().collect();
        let edges = self.state.edges();
        let mut lines = Vec::new();
        for (user, edge) in &edges {
            let event = self.event(self.users.get(*user), edge);
            let query = texts.get(&edge.id).map_or(&event.query, |recorded| &recorded.query);
            let mut line =
                serde_json::json!({ "user": event.user, "item": event.item, "query": query });
            if edge.time >= 0 {
                line["time"] = edge.time.into();
            }
            let written = writeln!(lines, "{line}");
            written.map_err(|source| Error::Write { path: path.into(), source })?;
        }
        crate::files::write_atomic(path, &lines)?;
        Ok(edges.len())
    }

    /// Counts the words of items again, clusters all items again and computes everything from the
    /// events. Takes as long as opening; between two calls words of new searches belong to their users
    /// at once, but not to their items.
    pub fn refresh(&mut self) {
        self.state.refresh();
        self.index = super::index::Index::new(&self.state.scorer);
    }

    fn event(&self, user: &str, edge: &Edge) -> Event {
        let words = edge.query.iter().map(|&word| self.words.words()[word as usize].as_str());
        let query = words.collect::<Vec<_>>().join(" ");
        let (user, item) = (user.to_owned(), self.items.get(edge.item).to_owned());
        Event { user, item, query, time: edge.time, key: None }
    }

    fn recorded(&self) -> impl Iterator<Item = (EventId, &Event)> {
        self.records.iter().filter_map(|record| match record {
            Record::Event { id, event } => Some((*id, event)),
            _ => None,
        })
    }

    fn check_access(&self) -> Result<()> {
        match self.options.access {
            Access::Append => Ok(()),
            Access::Read => Err(Error::config("access", "the journal was opened to be read")),
        }
    }

    fn append(&mut self, records: &[Record]) -> Result<()> {
        self.check_access()?;
        match &mut self.journal {
            Some(journal) if !records.is_empty() => journal.append(records),
            _ => Ok(()),
        }
    }

    /// Opens the journal and applies what is in it.
    pub(super) fn open_journal(&mut self) -> Result<()> {
        let base = Record::Base { model: self.fingerprint.clone() };
        let Some(path) = self.options.journal.clone() else {
            self.records.push(base);
            return Ok(());
        };
        let (mut journal, mut records, mut recovery) = match self.options.access {
            Access::Append => {
                let (journal, records, recovery) = Journal::open(&path, self.options.durability)?;
                (Some(journal), records, recovery)
            }
            Access::Read => {
                let (records, recovery) = Journal::read(&path)?;
                (None, records, recovery)
            }
        };
        if records.is_empty() {
            if let Some(journal) = &mut journal {
                journal.append(std::slice::from_ref(&base))?;
            }
            records.push(base.clone());
        } else if records[0] != base {
            let reason = format!("{} belongs to another model", path.display());
            return Err(Error::config("journal", reason));
        }
        recovery.records = records.len() - 1;
        for record in &records {
            self.apply(record)?;
        }
        self.recovery = Recovery { ..recovery };
        (self.journal, self.records) = (journal, records);
        Ok(())
    }

    /// Applies a record that is in the journal.
    fn apply(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Base { .. } => {}
            Record::Event { id, event } => {
                let item = self.item_number(&event.item)?;
                let user = self.users.find_or_add(&event.user);
                let query = self.words.encode(&event.query).words.into();
                self.next_event = id + 1;
                if let Some(key) = &event.key {
                    self.keys.insert(key.clone(), *id);
                }
                self.catalogue.text.add(item, words(&event.query));
                self.change(user, |_| false, vec![Edge { id: *id, item, time: event.time, query }]);
            }
            Record::Erased { ids, user } => {
                let of =
                    |edges: &[Edge]| edges.iter().any(|edge| ids.binary_search(&edge.id).is_ok());
                let users = (0..).zip(&self.state.users).filter(|(_, node)| of(&node.edges));
                let users: Vec<u32> = users.map(|(user, _)| user).collect();
                for user in users {
                    self.forget_words(user, |edge| ids.binary_search(&edge.id).is_ok());
                    self.change(user, |edge| ids.binary_search(&edge.id).is_ok(), Vec::new());
                }
                if let Some(user) = *user {
                    self.state.forget(user);
                }
            }
            Record::Item { item } => self.push_items(vec![item.clone()]),
        }
        Ok(())
    }

    /// The words that an event added to its item.
    fn words_of(&self, edge: &Edge) -> Vec<String> {
        let recorded = self.recorded().find(|(id, _)| *id == edge.id);
        if let (true, Some((_, event))) = (edge.id >= self.first_recorded, recorded) {
            return words(&event.query);
        }
        let known = edge.query.iter().filter(|&&word| word as usize >= self.first_word());
        known.map(|&word| self.words.words()[word as usize].clone()).collect()
    }

    /// Takes the words of a user's events away from their items.
    fn forget_words(&mut self, user: u32, is_erased: impl Fn(&Edge) -> bool) {
        let edges = self.state.users.get(user as usize).map_or(&[][..], |node| &node.edges);
        let erased = edges.iter().filter(|edge| is_erased(edge));
        let words: Vec<(u32, Vec<String>)> =
            erased.map(|edge| (edge.item, self.words_of(edge))).collect();
        for (item, words) in words {
            self.catalogue.text.remove(item, words.iter().map(String::as_str));
        }
    }

    fn change(&mut self, user: u32, erased: impl Fn(&Edge) -> bool, inserted: Vec<Edge>) {
        for item in self.state.change(user, erased, inserted) {
            self.index.set(item, self.state.scorer.item(item));
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
