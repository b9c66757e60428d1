//! The right factor of a product that is converted part by part.

use super::{Narrow, Numbers};
use crate::matrix::Matrix;
use crate::matrix::tiles::Factor;

/// How the weight of a linear layer lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// `[out, in]`, as PyTorch's `Linear` has it.
    OutIn,
    /// `[in, out]`, as GPT-2's layers have it.
    InOut,
}

/// The weight of a linear layer as the factor `[in, out]`.
pub(crate) struct NarrowFactor<'a> {
    numbers: Numbers<'a>,
    /// Rows and columns in memory.
    shape: [usize; 2],
    order: Order,
}

impl<'a> NarrowFactor<'a> {
    pub(crate) fn new(weight: &'a Narrow, order: Order) -> Self {
        let shape = weight.shape();
        Self { numbers: weight.numbers(), shape: [shape[0], shape[1]], order }
    }
}

impl Factor for NarrowFactor<'_> {
    fn shape(&self) -> [usize; 2] {
        let [rows, columns] = self.shape;
        match self.order {
            Order::OutIn => [columns, rows],
            Order::InOut => [rows, columns],
        }
    }

    fn part<'b>(
        &'b self,
        [row, rows]: [usize; 2],
        [column, columns]: [usize; 2],
        scratch: &'b mut Vec<f32>,
    ) -> Matrix<'b> {
        let stride = self.shape[1];
        let ([line, lines], [first, length]) = match self.order {
            Order::OutIn => ([column, columns], [row, rows]),
            Order::InOut => ([row, rows], [column, columns]),
        };
        if scratch.len() < lines * length {
            scratch.resize(lines * length, 0.0);
        }
        let out = &mut scratch[..lines * length];
        self.numbers.widen_rows(line * stride + first, stride, length.max(1), out);
        let part = Matrix::new(out, [lines, length], [length, 1]);
        match self.order {
            Order::OutIn => part.transpose(),
            Order::InOut => part,
        }
    }

    fn is_converted(&self) -> bool {
        true
    }

    fn has_contiguous_columns(&self) -> bool {
        self.order == Order::OutIn
    }
}
