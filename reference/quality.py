"""Golden numbers for the metrics of sets of pictures in trefoil-eval.

Two sets of 40 and 36 feature vectors in 4 dimensions and 30 distributions over 5 classes, rounded to a few
decimals, with Frechet distances (scipy's sqrtm), kernel distances, precision and recall and Inception Scores
written out in numpy; and small .npz files in the forms that numpy writes.

    python reference/quality.py        # needs numpy and scipy

writes crates/trefoil-eval/tests/reference_data/quality.json and numpy*.npz.
"""

import json
import math
from pathlib import Path

import numpy as np
from scipy.linalg import sqrtm

OUT = Path(__file__).parent.parent / "crates/trefoil-eval/tests/reference_data"


def frechet(a, b, ddof):
    s1, s2 = np.cov(a.T, ddof=ddof), np.cov(b.T, ddof=ddof)
    return float(np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2))))


def kernel(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def off_diagonal(k):
    return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))


def kernel_distance(x, y):
    return float(off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean())


def coverage(manifold, probes, k=3):
    within = np.linalg.norm(manifold[:, None] - manifold[None], axis=-1)
    radii = np.sort(within, axis=1)[:, k]
    between = np.linalg.norm(probes[:, None] - manifold[None], axis=-1)
    return float((between <= radii[None]).any(axis=1).mean())


def inception_score(p, parts):
    scores = []
    for i in range(parts):
        rows = p[i * len(p) // parts : (i + 1) * len(p) // parts]
        scores.append(math.exp((rows * np.log(rows / rows.mean(0))).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def main():
    rng = np.random.default_rng(7)
    real = np.round(rng.normal(size=(40, 4)), 4)
    generated = np.round(rng.normal(size=(36, 4)) * 0.9 + 0.2, 4)
    probabilities = np.abs(rng.normal(size=(30, 5))) + 0.05
    probabilities = np.round(probabilities / probabilities.sum(1, keepdims=True), 6)
    probabilities /= probabilities.sum(1, keepdims=True)
    values = {
        "real": real.tolist(),
        "gen": generated.tolist(),
        "fid_ddof0": frechet(real, generated, 0),
        "fid_ddof1": frechet(real, generated, 1),
        "kid_unbiased_unequal": kernel_distance(generated, real),
        "kid_stylegan_one_subset_m36_first36": kernel_distance(generated, real[:36]),
        "precision_k3": coverage(real, generated),
        "recall_k3": coverage(generated, real),
        "probs": probabilities.tolist(),
        "inception_score_splits1": inception_score(probabilities, 1),
        "inception_score_splits3": inception_score(probabilities, 3),
    }
    (OUT / "quality.json").write_text(json.dumps(values, separators=(",", ":")))

    mu, sigma = np.array([0.5, -1.25]), np.array([[2.0, 0.25], [0.25, 3.5]])
    np.savez(OUT / "numpy.npz", mu=mu, sigma=np.asfortranarray(sigma))
    np.savez_compressed(OUT / "numpy_compressed.npz", mu=mu.astype("f4"), sigma=sigma.astype("f4"))
    np.savez(OUT / "numpy_absent.npz", mu=mu)
    np.savez(OUT / "numpy_misshapen.npz", mu=mu, sigma=np.ones((2, 3)))


if __name__ == "__main__":
    main()
