//! Properties that hold for every input.

use proptest::prelude::*;
use trefoil_eval::{
    Features, Gaussian, RetrievalReport, Truth, frechet_distance, ranks, token_f1, wilson_interval,
};

/// Vectors of dimension 4: 2 to 19 rows, so some covariances are rank-deficient.
fn vectors() -> impl Strategy<Value = Vec<f32>> {
    (2_usize..20).prop_flat_map(|rows| prop::collection::vec(-3.0_f32..3.0, 4 * rows))
}

fn fit(values: &[f32]) -> Gaussian {
    Gaussian::fit(Features::new("vectors", values, 4).unwrap()).unwrap()
}

/// A retrieval of 12 small integer vectors, which have many exact ties, and two permutations.
#[derive(Debug, Clone)]
struct Task {
    queries: Vec<f32>,
    candidates: Vec<f32>,
    groups: Vec<u32>,
    query_order: Vec<usize>,
    candidate_order: Vec<usize>,
}

const COUNT: usize = 12;

fn task() -> impl Strategy<Value = Task> {
    let vectors = || prop::collection::vec(1_u8..4, 3 * COUNT);
    let order = || Just((0..COUNT).collect::<Vec<_>>()).prop_shuffle();
    (vectors(), vectors(), prop::collection::vec(0_u32..6, COUNT), order(), order()).prop_map(
        |(queries, candidates, groups, query_order, candidate_order)| Task {
            queries: queries.into_iter().map(f32::from).collect(),
            candidates: candidates.into_iter().map(f32::from).collect(),
            groups,
            query_order,
            candidate_order,
        },
    )
}

fn reorder(values: &[f32], order: &[usize]) -> Vec<f32> {
    order.iter().flat_map(|&i| values[3 * i..3 * i + 3].to_vec()).collect()
}

proptest! {
    #[test]
    fn frechet_is_symmetric_and_not_negative(a in vectors(), b in vectors()) {
        let (a, b) = (fit(&a), fit(&b));
        let forwards = frechet_distance(&a, &b).unwrap();
        let backwards = frechet_distance(&b, &a).unwrap();
        prop_assert!(forwards >= 0.0);
        // Rank-deficient roots carry errors of the square root of the rounding.
        prop_assert!((forwards - backwards).abs() < 1e-6, "{} and {}", forwards, backwards);
    }

    #[test]
    fn frechet_of_the_same_data_is_zero(a in vectors()) {
        let a = fit(&a);
        prop_assert!(frechet_distance(&a, &a).unwrap() < 1e-12);
    }

    #[test]
    fn a_shift_adds_its_squared_length(a in vectors(), shift in -4_i8..5) {
        let a = fit(&a);
        let mut b = a.clone();
        b.mean.iter_mut().for_each(|mean| *mean += f64::from(shift));
        let expected = 4.0 * f64::from(shift).powi(2);
        let found = frechet_distance(&a, &b).unwrap();
        prop_assert!((found - expected).abs() < 1e-10, "{} against {}", found, expected);
    }

    #[test]
    fn retrieval_does_not_depend_on_the_order(task in task()) {
        let place = |candidate: usize| {
            task.candidate_order.iter().position(|&c| c == candidate).unwrap()
        };
        let targets: Vec<usize> = task.query_order.iter().map(|&query| place(query)).collect();
        let groups: Vec<u32> = task.candidate_order.iter().map(|&c| task.groups[c]).collect();
        let shuffled_queries = reorder(&task.queries, &task.query_order);
        let shuffled_candidates = reorder(&task.candidates, &task.candidate_order);

        let plain = Truth::paired(COUNT).unwrap();
        let shuffled = Truth::new(COUNT, &targets).unwrap();
        let pairs = [
            (plain.clone(), shuffled.clone()),
            (plain.with_groups(&task.groups).unwrap(), shuffled.with_groups(&groups).unwrap()),
        ];
        let view = |values| Features::new("vectors", values, 3).unwrap();
        for (plain, shuffled) in &pairs {
            for retrieval in [RetrievalReport::cosine, RetrievalReport::nearest] {
                let before = retrieval(plain, view(&task.queries), view(&task.candidates)).unwrap();
                let after =
                    retrieval(shuffled, view(&shuffled_queries), view(&shuffled_candidates))
                        .unwrap();
                prop_assert_eq!(&before, &after);
            }
        }
    }

    #[test]
    fn ranks_of_one_query_over_all_targets_sum_to_a_permutation(
        scores in prop::collection::vec(0_u8..5, 1..30),
    ) {
        // Half of each tie for either side: the ranks always sum to n (n + 1) / 2.
        let n = scores.len();
        let found = ranks(&Truth::paired(n).unwrap(), |_, c| f64::from(scores[c])).unwrap();
        prop_assert_eq!(found.iter().sum::<f64>(), (n * (n + 1)) as f64 / 2.0);
    }

    #[test]
    fn token_f1_is_symmetric_and_bounded(a in "[ab ,]{0,12}", b in "[ab ,]{0,12}") {
        let score = token_f1(&a, &b);
        prop_assert!((0.0..=1.0).contains(&score));
        prop_assert_eq!(score, token_f1(&b, &a));
        prop_assert_eq!(token_f1(&a, &a), 1.0);
    }

    #[test]
    fn wilson_contains_the_proportion(successes in 0_usize..500, failures in 1_usize..500) {
        let trials = successes + failures;
        let interval = wilson_interval(successes, trials).unwrap();
        let p = successes as f64 / trials as f64;
        prop_assert!(interval.low <= p && p <= interval.high);
        prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
    }
}
