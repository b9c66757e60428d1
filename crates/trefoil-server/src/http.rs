//! What every request passes on its way, and the sockets that they come from.

pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod trace;
