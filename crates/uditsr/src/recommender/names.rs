//! External ids of users and items, those that came after the training included.

use std::collections::HashMap;

use crate::data::Ids;

/// Numbers of ids, and ids of numbers.
#[derive(Debug)]
pub(super) struct Names {
    base: Ids,
    extra: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    pub(super) fn new(base: Ids) -> Self {
        Self { base, extra: Vec::new(), numbers: HashMap::new() }
    }

    pub(super) fn get(&self, number: u32) -> &str {
        match (number as usize).checked_sub(self.base.len()) {
            Some(extra) => &self.extra[extra],
            None => self.base.get(number),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.base.find(name).or_else(|| self.numbers.get(name).copied())
    }

    pub(super) fn find_or_add(&mut self, name: &str) -> u32 {
        self.find(name).unwrap_or_else(|| self.add(name))
    }

    /// Gives a name that came after the training a new number; the old one keeps its name.
    pub(super) fn add(&mut self, name: &str) -> u32 {
        let number = (self.base.len() + self.extra.len()) as u32;
        self.extra.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Those of the training, then those that came after.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.base.iter().chain(self.extra.iter().map(String::as_str))
    }
}
