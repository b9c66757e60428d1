//! How the memory of an engine is shared.

use std::fmt;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// A quarter of the memory is for what cannot spill, such as a file in the making; the rest is for
/// what can, in equal shares. With one pool for both, a sort would take all that is left, and the
/// file that its rows go to would have none.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    spilling: FairSpillPool,
    fixed: GreedyMemoryPool,
    bytes: usize,
}

impl SharedMemory {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let fixed = bytes / 4;
        Self {
            spilling: FairSpillPool::new(bytes - fixed),
            fixed: GreedyMemoryPool::new(fixed),
            bytes,
        }
    }

    fn of(&self, consumer: &MemoryConsumer) -> &dyn MemoryPool {
        if consumer.can_spill() { &self.spilling } else { &self.fixed }
    }
}

impl fmt::Display for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.name(), self.bytes)
    }
}

impl MemoryPool for SharedMemory {
    fn name(&self) -> &'static str {
        "shared memory"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.of(consumer).register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.of(consumer).unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.of(reservation.consumer()).grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.of(reservation.consumer()).shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.of(reservation.consumer()).try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.spilling.reserved() + self.fixed.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}
