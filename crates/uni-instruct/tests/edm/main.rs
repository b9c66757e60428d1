//! EDM: networks, files, training and drawing; and the network of the published metrics.

mod inception;
mod network;
mod pictures;
mod scenes;
mod support;
mod teacher;
mod training;
