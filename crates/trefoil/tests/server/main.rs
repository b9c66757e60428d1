//! `trefoil serve` as programs see it: the real program, over real sockets.

mod access;
mod bodies;
mod client;
#[cfg(target_os = "linux")]
mod clock;
mod database;
mod deploy;
mod durability;
mod faults;
mod jobs;
mod limits;
mod loading;
mod models;
mod pictures;
mod postgres;
mod process;
mod shop;
mod studio;
mod tls;
