//! Every kernel against the framework's own operations: values, gradients, views, threads.

mod attention;
mod elementwise;
mod norms;
mod optimizer;
mod support;
