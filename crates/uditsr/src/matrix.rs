//! Products of row-major matrices on slices, and sums over lists of rows.
//!
//! Work is cut by sizes alone and partial sums are added in a fixed order, so nothing here depends
//! on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::real::{Real, add, vectorised};

/// Rows of one task of a product.
const ROWS: usize = 256;
/// Entries of a list that are added one after the other; longer lists are added in pieces.
const PIECE: usize = 1024;
/// Largest number of partial matrices of [`outer`].
const PARTS: usize = 64;

/// A row-major matrix.
pub(crate) fn view<T: Real>(data: &[T], columns: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(data, data.len() / columns.max(1), columns)
}

/// `out = a b` or, with [`Accum::Add`], `out += a b`, on one thread.
pub(crate) fn multiply<T: Real>(out: &mut [T], mode: Accum, a: MatRef<'_, T>, b: MatRef<'_, T>) {
    if a.nrows() == 0 || b.ncols() == 0 {
        return;
    }
    let out = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    matmul(out, mode, a, b, T::ONE, Par::Seq);
}

/// As [`multiply`] on all threads, for a row-major `a` with `columns` columns.
pub(crate) fn multiply_rows<T: Real>(
    out: &mut [T],
    mode: Accum,
    a: &[T],
    columns: usize,
    b: MatRef<'_, T>,
) {
    if a.is_empty() || b.ncols() == 0 {
        return;
    }
    out.par_chunks_mut(ROWS * b.ncols())
        .zip(a.par_chunks(ROWS * columns))
        .for_each(|(out, a)| multiply(out, mode, view(a, columns), b));
}

/// `out += a^T b` on all threads, for row-major `a` and `b` with as many rows.
pub(crate) fn outer<T: Real>(out: &mut [T], a: (&[T], usize), b: (&[T], usize)) {
    let ((a, a_columns), (b, b_columns)) = (a, b);
    if a.is_empty() {
        return;
    }
    let rows = (a.len() / a_columns).div_ceil(PARTS).max(4 * ROWS);
    let parts: Vec<Vec<T>> = a
        .par_chunks(rows * a_columns)
        .zip(b.par_chunks(rows * b_columns))
        .map(|(a, b)| {
            let mut part = vec![T::ZERO; a_columns * b_columns];
            for (a, b) in a.chunks(ROWS * a_columns).zip(b.chunks(ROWS * b_columns)) {
                multiply(&mut part, Accum::Add, view(a, a_columns).transpose(), view(b, b_columns));
            }
            part
        })
        .collect();
    sum_parts(out, &parts);
}

/// `out += ` the sum of equally long parts.
pub(crate) fn sum_parts<T: Real, P: AsRef<[T]> + Sync>(out: &mut [T], parts: &[P]) {
    out.par_chunks_mut(4096).enumerate().for_each(|(index, out)| {
        let start = index * 4096;
        for part in parts {
            add(out, &part.as_ref()[start..start + out.len()]);
        }
    });
}

/// `out += ` the sum of all rows of a row-major matrix as wide as `out`.
pub(crate) fn sum_rows<T: Real>(out: &mut [T], rows: &[T]) {
    let width = out.len();
    let parts: Vec<Vec<T>> = rows
        .par_chunks(PIECE * width)
        .map(|rows| {
            let mut part = vec![T::ZERO; width];
            vectorised(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact(width) {
                        add(&mut part, row);
                    }
                },
            );
            part
        })
        .collect();
    for part in &parts {
        add(out, part);
    }
}

/// `out[r] += sum over e in list(r) of what add_entry adds for e`, on all threads, for row-major
/// `out` of `width` columns.
pub(crate) fn reduce_lists<'a, T, E, L, A>(out: &mut [T], width: usize, list: L, add_entry: A)
where
    T: Real,
    E: Sync + 'a,
    L: Fn(usize) -> &'a [E] + Sync,
    A: Fn(&mut [T], &E) + Sync,
{
    const TASK: usize = 32;
    out.par_chunks_mut(TASK * width).enumerate().for_each(|(task, rows)| {
        let short = |row: &mut [T], entries: &[E]| {
            vectorised(
                #[inline(always)]
                || {
                    for entry in entries {
                        add_entry(row, entry);
                    }
                },
            );
        };
        for (index, row) in rows.chunks_exact_mut(width).enumerate() {
            let entries = list(task * TASK + index);
            if entries.len() <= PIECE {
                short(row, entries);
                continue;
            }
            let parts: Vec<Vec<T>> = entries
                .par_chunks(PIECE)
                .map(|entries| {
                    let mut part = vec![T::ZERO; width];
                    short(&mut part, entries);
                    part
                })
                .collect();
            for part in &parts {
                add(row, part);
            }
        }
    });
}

/// Row `index` of a row-major matrix.
#[inline(always)]
pub(crate) fn row<T>(data: &[T], width: usize, index: usize) -> &[T] {
    &data[index * width..(index + 1) * width]
}

/// `out[r] = table[indices[r]]`, on all threads; `out` is resized.
pub(crate) fn gather_rows<T: Real>(out: &mut Vec<T>, table: &[T], width: usize, indices: &[u32]) {
    out.resize(indices.len() * width, T::ZERO);
    out.par_chunks_mut(ROWS * width).zip(indices.par_chunks(ROWS)).for_each(|(out, indices)| {
        for (out, &index) in out.chunks_exact_mut(width).zip(indices) {
            out.copy_from_slice(row(table, width, index as usize));
        }
    });
}

/// Sets a buffer to zeros of this length, in the memory that it has.
pub(crate) fn zeros<T: Real>(buffer: &mut Vec<T>, length: usize) {
    if buffer.len() == length {
        buffer.par_chunks_mut(1 << 16).for_each(|chunk| chunk.fill(T::ZERO));
    } else {
        buffer.clear();
        buffer.resize(length, T::ZERO);
    }
}

/// Splits a slice at the given ends; the last end is the length of the slice.
pub(crate) fn split_at_ends<'a, T>(mut data: &'a mut [T], ends: &[usize]) -> Vec<&'a mut [T]> {
    let mut start = 0;
    let mut parts = Vec::with_capacity(ends.len());
    for &end in ends {
        let (part, rest) = std::mem::take(&mut data).split_at_mut(end - start);
        parts.push(part);
        data = rest;
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_products_and_row_products_agree_with_loops() {
        let (rows, p, q) = (3000, 3, 2);
        let a: Vec<f64> = (0..rows * p).map(|k| ((k * 7) % 11) as f64 - 5.0).collect();
        let b: Vec<f64> = (0..rows * q).map(|k| ((k * 5) % 13) as f64 - 6.0).collect();
        let mut out = vec![1.0; p * q];
        outer(&mut out, (&a, p), (&b, q));
        for i in 0..p {
            for j in 0..q {
                let sum: f64 = (0..rows).map(|r| a[r * p + i] * b[r * q + j]).sum();
                assert_eq!(out[i * q + j], 1.0 + sum);
            }
        }
        let mut product = vec![0.0; rows * q];
        multiply_rows(&mut product, Accum::Replace, &a, p, view(&b[..p * q], q));
        for r in [0, 255, 256, 2999] {
            let expected: f64 = (0..p).map(|k| a[r * p + k] * b[k * q + 1]).sum();
            assert_eq!(product[r * q + 1], expected);
        }
    }

    #[test]
    fn long_lists_are_summed_in_pieces_with_the_same_result() {
        let values: Vec<u32> = (0..5000).collect();
        let mut out = vec![0.0_f64; 2];
        reduce_lists(
            &mut out,
            1,
            |r| &values[..if r == 0 { 5000 } else { 3 }],
            |row, &v| {
                row[0] += f64::from(v);
            },
        );
        assert_eq!(out, [12_497_500.0, 3.0]);
        let mut total = vec![0.0; 2];
        sum_rows(&mut total, &values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        assert_eq!(total, [6_247_500.0, 6_250_000.0]);
    }

    #[test]
    fn slices_split_at_ends() {
        let mut data = [1, 2, 3, 4];
        let parts = split_at_ends(&mut data, &[1, 1, 4]);
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [1, 0, 3]);
    }
}
