"""Golden numbers for the Frechet distance tests of trefoil-eval.

Two sets of 12 vectors in 8 dimensions with two decimals (rounded to f32, as the crate reads them),
their Gaussian fits with n - 1 normalisation, and the Frechet distance by scipy's matrix square root:

    d2 = |mu1 - mu2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))

Run with numpy and scipy installed:  python reference/frechet.py
The output is the Rust source of crates/trefoil-eval/tests/reference_data/mod.rs.
"""

import numpy as np
from scipy.linalg import sqrtm

ROWS, DIM = 12, 8


def samples(rng, mean_scale):
    mixing = rng.normal(size=(DIM, DIM)) / np.sqrt(DIM)
    mean = mean_scale * rng.normal(size=DIM)
    return np.round(rng.normal(size=(ROWS, DIM)) @ mixing + mean, 2).astype(np.float32)


def frechet(mu1, s1, mu2, s2):
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real))


def print_rows(name, doc, rows):
    print(f"/// {doc}")
    print("#[rustfmt::skip]")
    print(f"pub(crate) const {name}: [f32; {ROWS * DIM}] = [")
    for row in rows:
        print("    " + ", ".join(f"{v:.2f}" for v in row) + ",")
    print("];\n")


def print_number(name, doc, value):
    print(f"/// {doc}\npub(crate) const {name}: f64 = {value!r};")


def main():
    rng = np.random.default_rng(20230306)
    a, b = samples(rng, 0.5), samples(rng, 0.5)
    mu1, mu2 = a.astype(np.float64).mean(0), b.astype(np.float64).mean(0)
    s1, s2 = (np.cov(x.astype(np.float64), rowvar=False) for x in (a, b))
    print("//! Printed by `reference/frechet.py`; do not edit by hand.\n")
    print(f"/// Dimension of every vector.\npub(crate) const DIM: usize = {DIM};\n")
    print_rows("FIRST", "First set, row-major `[12, 8]`.", a)
    print_rows("SECOND", "Second set, row-major `[12, 8]`.", b)
    print_number("FIRST_MEAN_3", "Mean of component 3 of the first set.", float(mu1[3]))
    print_number("FIRST_COV_2_5", "Covariance of components 2 and 5 of the first set.", float(s1[2, 5]))
    print_number("FIRST_TRACE", "Trace of the covariance of the first set.", float(np.trace(s1)))
    print_number("DISTANCE", "Frechet distance (squared form) of the two fits.", frechet(mu1, s1, mu2, s2))


if __name__ == "__main__":
    main()
