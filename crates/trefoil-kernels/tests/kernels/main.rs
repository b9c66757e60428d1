//! Every kernel against the framework's own operations, and some against PyTorch: values, gradients,
//! views, threads.

mod attention;
mod convolution;
mod elementwise;
mod fixture;
mod indexing;
mod linear;
mod norms;
mod optimizer;
mod pytorch;
mod support;
