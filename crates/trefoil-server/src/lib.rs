//! Pictures, captions, search and recommendations over HTTP.
//!
//! ```text
//! socket ─► http (time limits, tokens, log) ─► routes ─┬─► drawing ─► paint::queue ─► the device
//!                                                      ├─► shop ─► a recommender, on threads of its own
//!                                                      └─► jobs
//!                    store (redb or PostgreSQL) ◄── shop's writer, jobs, tokens
//! ```
//!
//! A picture is drawn by the one thread of its device; everything else goes on meanwhile. What was acknowledged is in
//! the [`store`].

mod app;
pub mod auth;
mod catalogue;
pub mod config;
mod copied;
mod drawing;
mod error;
mod extract;
mod http;
mod jobs;
mod metrics;
mod names;
mod paint;
mod routes;
mod serve;
mod shop;
pub mod store;
mod swap;

pub use self::config::{Config, Limits, Sheet};
pub use self::error::ApiError;
pub use self::serve::{ServeError, serve};
