//! Registration of the operations on rows and their gradients in the graph.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, unary};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, TensorMetadata};

use super::IndexKernels;
use crate::graph::{record, second_derivative};

#[derive(Debug)]
struct GatherStep;

impl<B: IndexKernels> Backward<B, 1> for GatherStep {
    /// Indices and number of rows of the table.
    type State = (IntTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (indices, rows) = ops.state;
        let step = |grad| B::fused_scatter_add_rows(grad, indices, rows);
        unary::<B, _>(ops.parents, ops.node, grads, step);
    }
}

#[derive(Debug)]
struct ScatterAddStep;

impl<B: IndexKernels> Backward<B, 1> for ScatterAddStep {
    /// Indices.
    type State = IntTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let indices = ops.state;
        let step = |grad| B::fused_gather_rows(grad, indices);
        unary::<B, _>(ops.parents, ops.node, grads, step);
    }
}

#[derive(Debug)]
struct SegmentMeanStep;

impl<B: IndexKernels> Backward<B, 1> for SegmentMeanStep {
    /// Offsets, indices and number of rows.
    type State = (IntTensor<B>, IntTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (offsets, indices, count) = ops.state;
        let step = |grad| B::fused_segment_mean_backward(grad, offsets, indices, count);
        unary::<B, _>(ops.parents, ops.node, grads, step);
    }
}

impl<B: IndexKernels, C: CheckpointStrategy> IndexKernels for Autodiff<B, C> {
    fn fused_gather_rows(table: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self> {
        let (table, node) = table.into_parts();
        let rows = table.shape()[0];
        let state = (indices.clone(), rows);
        record!(GatherStep, C, [node], state, B::fused_gather_rows(table, indices))
    }

    fn fused_scatter_add_rows(
        values: FloatTensor<Self>,
        indices: IntTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self> {
        let (values, node) = values.into_parts();
        let state = indices.clone();
        record!(ScatterAddStep, C, [node], state, B::fused_scatter_add_rows(values, indices, rows))
    }

    fn fused_segment_mean(
        rows: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let (rows, node) = rows.into_parts();
        let state = (offsets.clone(), indices.clone(), rows.shape()[0]);
        let step = SegmentMeanStep;
        record!(step, C, [node], state, B::fused_segment_mean(rows, offsets, indices))
    }

    fn fused_segment_mean_backward(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: IntTensor<Self>,
        _: usize,
    ) -> FloatTensor<Self> {
        second_derivative("segment_mean")
    }
}
