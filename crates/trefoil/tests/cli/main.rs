//! The program as its users see it: exit code, standard output, standard error, files.

mod data;
mod distill;
mod edm;
mod errors;
mod generate;
mod help;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod models;
mod scenes;
mod shipped;
mod shop;
mod support;
mod texts;
mod tour;
mod train;
mod verify;
