//! Moments and Frechet distance against numpy and scipy (`reference/frechet.py`).

mod reference_data;

use reference_data::{DIM, DISTANCE, FIRST, FIRST_COV_2_5, FIRST_MEAN_3, FIRST_TRACE, SECOND};
use trefoil_eval::{Features, Gaussian, frechet_distance};

fn fit(values: &[f32]) -> Gaussian {
    Gaussian::fit(Features::new("reference", values, DIM).unwrap()).unwrap()
}

fn assert_close(found: f64, expected: f64) {
    let difference = (found - expected).abs();
    assert!(difference < 1e-10, "{found} against {expected}: {difference:e}");
}

#[test]
fn moments_equal_numpy() {
    let first = fit(&FIRST);
    assert_eq!(first.samples, 12);
    assert_close(first.mean[3], FIRST_MEAN_3);
    assert_close(first.covariance[2 * DIM + 5], FIRST_COV_2_5);
    assert_close(first.covariance[5 * DIM + 2], FIRST_COV_2_5);
    assert_close(first.covariance.iter().step_by(DIM + 1).sum(), FIRST_TRACE);
}

#[test]
fn frechet_distance_equals_scipy() {
    assert_close(frechet_distance(&fit(&FIRST), &fit(&SECOND)).unwrap(), DISTANCE);
}
