//! Ranking metrics against scikit-learn (`reference/ranking.py`).

use std::path::Path;

use serde_json::Value;
use trefoil_eval::{GroupAuc, Position, RankingReport};

#[test]
fn metrics_agree_with_scikit_learn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference_data/ranking.json");
    let data: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut pools = GroupAuc::default();
    let mut positions = Vec::new();
    for (row, group) in data["groups"].as_array().unwrap().iter().enumerate() {
        let scores = group["scores"].as_array().unwrap().iter();
        let scores: Vec<f32> = scores.map(|score| score.as_f64().unwrap() as f32).collect();
        pools.push(group["user"].as_u64().unwrap() as u32, scores[0], &scores[1..]);
        positions.push(Position::new(row, scores[0], &scores[1..]).unwrap());
    }
    let report = RankingReport::new("test", &positions, &[5], pools.mean()).unwrap();
    assert!(report.tied_groups > 5);
    let at = report.at[0];
    let pairs = [
        ("auc", report.auc),
        ("gauc", report.gauc.unwrap()),
        ("hit5", at.hit.value),
        ("ndcg5", at.ndcg.value),
        ("expected_ndcg5", at.ndcg.expected),
        ("mrr", report.mrr.value),
        ("average_position", report.average_position.value),
    ];
    for (name, found) in pairs {
        let expected = data["expected"][name].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{name}: {found} for {expected}");
    }
}
