//! Rows by their index, and means over neighbours.

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use trefoil_kernels::{gather_rows, scatter_add_rows, segment_mean};

use crate::fixture::{Case, gradient};
use crate::support::{assert_close, compare, normal, value_and_gradients, values};

/// Numbers below `limit`, the same at every call with the same seed.
fn numbers(count: usize, limit: usize, seed: u64) -> Vec<i32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 33) as usize % limit) as i32
    };
    (0..count).map(|_| next()).collect()
}

fn indices(count: usize, limit: usize, seed: u64) -> Tensor<1, Int> {
    Tensor::from_ints(numbers(count, limit, seed).as_slice(), &Device::flex())
}

/// Offsets of `nodes` nodes, some without neighbours, and their neighbours.
fn graph(nodes: usize, edges: usize, rows: usize, seed: u64) -> [Tensor<1, Int>; 2] {
    let mut inner = numbers(nodes.saturating_sub(1), edges + 1, seed);
    inner.sort_unstable();
    let offsets: Vec<i32> = [vec![0], inner, vec![edges as i32]].concat();
    [Tensor::from_ints(offsets.as_slice(), &Device::flex()), indices(edges, rows, seed + 1)]
}

#[test]
fn rows_match_pytorch() {
    let case = Case::open("gather");
    let table = case.tracked::<2>("table");
    let y = gather_rows(table.clone(), case.integers("indices"));
    case.check(y, &[("table", &gradient(&table))], 1e-6);

    let case = Case::open("scatter_add");
    let values = case.tracked::<2>("values");
    let y = scatter_add_rows(values.clone(), case.integers("indices"), 11);
    case.check(y, &[("values", &gradient(&values))], 1e-6);

    let case = Case::open("segment_mean");
    let rows = case.tracked::<2>("rows");
    let y = segment_mean(rows.clone(), case.integers("offsets"), case.integers("indices"));
    case.check(y, &[("rows", &gradient(&rows))], 1e-6);
}

#[test]
fn gather_and_scatter_match_the_framework() {
    for [n, d, m] in [[1, 1, 1], [5, 3, 40], [300, 17, 9], [40, 64, 20_000], [3, 9000, 50]] {
        let picked = indices(m, n, 7);
        compare(
            &format!("gather_rows {n} {d} {m}"),
            &[normal([n * d], 1)],
            |x| gather_rows(x[0].clone().reshape([n, d]), picked.clone()),
            |x| x[0].clone().reshape([n, d]).select(0, picked.clone()),
            2e-6,
        );
        compare(
            &format!("scatter_add_rows {n} {d} {m}"),
            &[normal([m * d], 1)],
            |x| scatter_add_rows(x[0].clone().reshape([m, d]), picked.clone(), n),
            |x| {
                let zeros = Tensor::<2>::zeros([n, d], &x[0].device());
                let rows = x[0].clone().reshape([m, d]);
                zeros.select_assign(0, picked.clone(), rows, IndexingUpdateOp::Add)
            },
            2e-6,
        );
    }
}

/// The mean as a product with the matrix of the graph.
#[test]
fn segment_mean_matches_the_framework() {
    for [nodes, rows, edges, d] in [[1, 1, 1, 1], [6, 4, 0, 3], [40, 30, 700, 33], [9, 50, 90, 65]]
    {
        let [offsets, neighbours] = graph(nodes, edges, rows, 5);
        let numbers = |x: &Tensor<1, Int>| -> Vec<usize> {
            x.clone().into_data().iter::<i64>().map(|x| x as usize).collect()
        };
        let (bounds, targets) = (numbers(&offsets), numbers(&neighbours));
        let mut matrix = vec![0.0_f32; nodes * rows];
        for (node, pair) in bounds.windows(2).enumerate() {
            for &target in &targets[pair[0]..pair[1]] {
                matrix[node * rows + target] += 1.0 / (pair[1] - pair[0]) as f32;
            }
        }
        let matrix = Tensor::<1>::from_floats(matrix.as_slice(), &Device::flex());
        compare(
            &format!("segment_mean {nodes} {rows} {edges} {d}"),
            &[normal([rows * d], 1)],
            |x| segment_mean(x[0].clone().reshape([rows, d]), offsets.clone(), neighbours.clone()),
            |x| {
                let matrix = Tensor::<1>::from_data(matrix.clone().into_data(), &x[0].device());
                matrix.reshape([nodes, rows]).matmul(x[0].clone().reshape([rows, d]))
            },
            2e-6,
        );
    }
}

#[test]
fn views_other_precisions_and_wide_indices() {
    let table = normal([8, 12], 1);
    let picked = indices(30, 12, 2);
    let copy = Tensor::<2>::from_data(table.clone().transpose().into_data(), &Device::flex());
    let expected = values(gather_rows(copy.clone(), picked.clone()));
    assert_eq!(values(gather_rows(table.clone().transpose(), picked.clone())), expected);
    let narrow = gather_rows(copy.clone(), picked.clone().narrow(0, 10, 7));
    assert_eq!(values(narrow), expected[10 * 8..17 * 8]);
    let wide = gather_rows(copy.clone(), picked.clone().cast(DType::I64));
    assert_eq!(values(wide), expected);
    let small = gather_rows(copy.clone(), picked.clone().cast(DType::I16));
    assert_eq!(values(small), expected);

    let [offsets, neighbours] = graph(5, 30, 12, 3);
    let mean = values(segment_mean(copy.clone(), offsets.clone(), neighbours.clone()));
    let double = segment_mean(copy.cast(DType::F64), offsets, neighbours);
    assert_eq!(double.dtype(), DType::F64);
    assert_close("segment_mean", &values(double.cast(DType::F32)), &mean, 2e-6);
}

#[test]
#[should_panic(expected = "gather_rows: index 4 is not below 4")]
fn indices_are_checked() {
    let _ = gather_rows(normal([4, 2], 1), Tensor::from_ints([0, 4], &Device::flex()));
}

#[test]
#[should_panic(expected = "segment_mean: the offsets must ascend from 0 to 2")]
fn offsets_are_checked() {
    let device = Device::flex();
    let (offsets, picked) =
        (Tensor::from_ints([0, 2, 1], &device), Tensor::from_ints([0, 1], &device));
    let _ = segment_mean(normal([4, 2], 1), offsets, picked);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn threads_do_not_matter(
        n in 1_usize..200, d in 1_usize..70, m in 0_usize..3000, seed in 1_u64..1000,
    ) {
        let [offsets, neighbours] = graph(n, m, n, seed);
        let inputs = [normal([n * d], seed)];
        let run = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                value_and_gradients(&inputs, |x| {
                    let rows = x[0].clone().reshape([n, d]);
                    let mean = segment_mean(rows.clone(), offsets.clone(), neighbours.clone());
                    let gathered = gather_rows(rows, neighbours.clone());
                    mean + scatter_add_rows(gathered, neighbours.clone(), n)
                })
            })
        };
        prop_assert!(run(1) == run(3));
    }
}
