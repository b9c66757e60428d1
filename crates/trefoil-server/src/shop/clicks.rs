//! Whether people take what they were answered.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// Users whose last answers are remembered.
const USERS: usize = 10_000;

/// The last answer to each of the latest users.
#[derive(Debug, Default)]
pub(super) struct Clicks {
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    of_user: HashMap<String, (u64, Vec<String>)>,
    /// Users in the order of their answers; an entry whose number is not the latest of its user is void.
    order: VecDeque<(u64, String)>,
    next: u64,
}

impl Clicks {
    /// Remembers an answer.
    pub(super) fn answered(&self, user: String, items: Vec<String>) {
        let mut answers = self.answers.lock();
        let number = answers.next;
        answers.next += 1;
        answers.order.push_back((number, user.clone()));
        answers.of_user.insert(user, (number, items));
        while answers.of_user.len() > USERS || answers.order.len() > 2 * USERS {
            let Some((number, user)) = answers.order.pop_front() else { break };
            if answers.of_user.get(&user).is_some_and(|(latest, _)| *latest == number) {
                answers.of_user.remove(&user);
            }
        }
    }

    /// Place of an item in the last answer to a user, from 0. It counts once.
    pub(super) fn rank(&self, user: &str, item: &str) -> Option<usize> {
        let mut answers = self.answers.lock();
        let (_, items) = answers.of_user.get_mut(user)?;
        let rank = items.iter().position(|other| other == item)?;
        // An empty id is nobody's: the places of the others stay.
        items[rank].clear();
        Some(rank)
    }

    /// Forgets a user.
    pub(super) fn forget(&self, user: &str) {
        let mut answers = self.answers.lock();
        answers.of_user.remove(user);
        answers.order.retain(|(_, other)| other != user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_the_last_answer_counts_once() {
        let clicks = Clicks::default();
        let items = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        clicks.answered("u".into(), items(&["a", "b"]));
        assert_eq!(clicks.rank("u", "b"), Some(1));
        assert_eq!(
            (clicks.rank("u", "b"), clicks.rank("u", "c"), clicks.rank("v", "a")),
            (None, None, None)
        );
        clicks.answered("u".into(), items(&["b"]));
        assert_eq!((clicks.rank("u", "a"), clicks.rank("u", "b")), (None, Some(0)));
        clicks.forget("u");
        for n in 0..3 * USERS {
            clicks.answered(format!("{}", n % (2 * USERS)), items(&["a"]));
        }
        let answers = clicks.answers.lock();
        assert!(answers.of_user.len() <= USERS && answers.order.len() <= 2 * USERS);
    }
}
