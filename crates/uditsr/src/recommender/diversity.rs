//! Maximal marginal relevance (<https://doi.org/10.1145/290941.291025>).

use super::top::Found;
use crate::real::dot;

/// Picks `k` of the candidates one by one: each time the one whose score, scaled to `0..=1`, less its
/// largest cosine with what was picked is best; `diversity` says how much the cosine counts.
pub(super) fn diversify<'a>(
    candidates: Vec<Found>,
    k: usize,
    diversity: f64,
    vector: impl Fn(u32) -> &'a [f32],
) -> Vec<Found> {
    let (Some(first), Some(last)) = (candidates.first(), candidates.last()) else {
        return candidates;
    };
    let (lowest, range) = (last.score, (first.score - last.score).max(f32::MIN_POSITIVE));
    let length = |v: &[f32]| dot(v, v).sqrt().max(f32::MIN_POSITIVE);
    // Candidate, its score, its largest cosine with a picked one.
    let mut rest: Vec<(Found, f64, f64)> =
        candidates.into_iter().map(|c| (c, f64::from((c.score - lowest) / range), 0.0)).collect();
    let mut picked = Vec::new();
    while picked.len() < k && !rest.is_empty() {
        let value = |&(_, score, cosine): &(Found, f64, f64)| {
            (1.0 - diversity) * score - diversity * cosine
        };
        let best = (1..rest.len()).fold(0, |best, next| {
            if value(&rest[next]) > value(&rest[best]) { next } else { best }
        });
        let chosen = rest.remove(best).0;
        let own = vector(chosen.item);
        for (other, _, cosine) in &mut rest {
            let other = vector(other.item);
            *cosine = cosine.max(f64::from(dot(own, other) / (length(own) * length(other))));
        }
        picked.push(chosen);
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_of_the_best_gives_way_to_something_else() {
        let vectors = [[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [-1.0, 0.0]];
        let all: Vec<Found> = [1.0, 0.9, 0.5, 0.0]
            .iter()
            .zip(0..)
            .map(|(&score, item)| Found { score, item })
            .collect();
        let order = |diversity| {
            let picked = diversify(all.clone(), 3, diversity, |item| &vectors[item as usize]);
            picked.iter().map(|found| found.item).collect::<Vec<_>>()
        };
        assert_eq!(order(0.0), [0, 1, 2]);
        assert_eq!(order(0.5), [0, 2, 3]);
        assert!(diversify(Vec::new(), 3, 0.5, |_| &[]).is_empty());
    }
}
