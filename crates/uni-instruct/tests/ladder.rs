//! The verification ladder, level by level.

use uni_instruct::verify;

fn passes(level: &str) {
    let checks = verify::run(Some(level), &mut |_| {}).expect(level);
    assert!(checks.iter().all(verify::Check::passes), "\n{}", verify::to_markdown(&checks));
}

#[test]
fn weights_of_divergences() {
    passes("V0");
}

#[test]
fn expansion_along_the_diffusion() {
    passes("V1");
}

#[test]
fn gradient_terms() {
    passes("V2");
}

#[test]
fn special_cases() {
    passes("V3");
}

#[test]
fn weighted_paths() {
    passes("V4");
}

#[test]
fn fixed_points() {
    passes("V5");
}

#[test]
fn learned_networks() {
    passes("V6-V7");
}

#[test]
fn closed_forms() {
    passes("V11");
}
