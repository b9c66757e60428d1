//! Every kernel against the framework's own operations: values, gradients, views, threads.

mod attention;
mod convolution;
mod elementwise;
mod norms;
mod optimizer;
mod support;
