//! What all modules with backward passes share: how an operation and its gradients enter the graph.

pub(crate) use burn::backend::autodiff::ops::OpsKind;

/// Adds each gradient to its parent, if that is tracked.
macro_rules! register {
    ($ops:expr, $grads:expr, $backend:ty, [$($gradient:expr),+]) => {
        for (parent, gradient) in $ops.parents.into_iter().zip([$($gradient),+]) {
            if let Some(parent) = parent {
                $grads.register::<$backend>(parent.id, gradient);
            }
        }
    };
}

/// Puts an operation with one output into the graph: the state is built only if it is needed.
macro_rules! record {
    ($step:expr, $strategy:ty, [$($node:ident),+], $state:expr, $output:expr) => {
        match $step.prepare::<$strategy>([$($node),+]).compute_bound().stateful() {
            $crate::graph::OpsKind::Tracked(prep) => {
                let state = $state;
                prep.finish(state, $output)
            }
            $crate::graph::OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}

pub(crate) use {record, register};

/// A gradient that is itself recorded would need second derivatives.
pub(crate) fn second_derivative(operation: &str) -> ! {
    panic!("trefoil-kernels: the gradient of {operation} cannot be differentiated again");
}
