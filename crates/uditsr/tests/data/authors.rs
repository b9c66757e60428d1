//! The random numbers of the authors' program, from CPython and NumPy themselves.

use serde::Deserialize;
use uditsr::data::Mt19937;
use uditsr::data::compat::{EpochOrder, NegativeStream};

use super::fixture;

#[derive(Deserialize)]
struct Streams {
    python_seed0_choice_4059: Vec<u32>,
    python_seed1099511627781_choice_1000: Vec<u32>,
    numpy_seed0_shuffle_10_epochs: Vec<Vec<u32>>,
}

fn streams() -> Streams {
    serde_json::from_slice(&std::fs::read(fixture("mt19937.json")).unwrap()).unwrap()
}

#[test]
fn choices_are_those_of_python() {
    let expected = streams();
    let mut generator = Mt19937::python(0);
    let drawn: Vec<u32> = (0..20).map(|_| generator.choice(4059)).collect();
    assert_eq!(drawn, expected.python_seed0_choice_4059);
    let mut generator = Mt19937::python((1 << 40) + 5);
    let drawn: Vec<u32> = (0..5).map(|_| generator.choice(1000)).collect();
    assert_eq!(drawn, expected.python_seed1099511627781_choice_1000);
}

#[test]
fn orders_of_epochs_are_those_of_numpy() {
    let mut order = EpochOrder::first(10);
    for expected in streams().numpy_seed0_shuffle_10_epochs {
        assert_eq!(order.rows(), expected);
        order.advance();
    }
}

#[test]
fn negatives_skip_known_items_and_give_up() {
    let drawn = streams().python_seed0_choice_4059;
    let mut negatives = NegativeStream::new(4059);
    assert_eq!(negatives.next(100, |item| item == drawn[0] || item == drawn[1]), Some(drawn[2]));
    assert_eq!(negatives.next(100, |_| false), Some(drawn[3]));
    assert_eq!(negatives.next(100, |_| true), None);
}
