//! `trefoil serve` as programs see it: the real program, over real sockets.

mod access;
mod client;
mod durability;
mod faults;
mod jobs;
mod limits;
mod models;
mod pictures;
mod postgres;
mod process;
mod shop;
mod studio;
