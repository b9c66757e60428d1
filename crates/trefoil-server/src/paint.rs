//! Pictures and captions: the models that make them, and the queue before the device.

pub(crate) mod model;
pub(crate) mod preview;
pub(crate) mod queue;
pub(crate) mod ticket;
