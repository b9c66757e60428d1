//! How the memory of an engine is shared.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// Consumers that are files in the making have names that begin with this.
const FILES: &str = "ParquetSink";

/// Three pools, since each of these takes all that it can get. Half of the memory is for rows that
/// can be spilled, a quarter to merge what was spilled, and a quarter for files in the making. With
/// one pool for all, the file that the rows of a sort go to would find nothing left.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    rows: FairSpillPool,
    merges: EqualShares,
    files: GreedyMemoryPool,
    bytes: usize,
}

impl SharedMemory {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            rows: FairSpillPool::new(bytes / 2),
            merges: EqualShares::new(bytes / 4),
            files: GreedyMemoryPool::new(bytes / 4),
            bytes,
        }
    }

    fn of(&self, consumer: &MemoryConsumer) -> &dyn MemoryPool {
        if consumer.can_spill() {
            &self.rows
        } else if consumer.name().starts_with(FILES) {
            &self.files
        } else {
            &self.merges
        }
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
        self.rows.reserved() + self.merges.reserved() + self.files.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}

/// So many merges at once share the memory for them at most: two threads with the two sides of a join.
/// Other consumers are registered as well, and hold nothing most of the time.
const MERGES: usize = 4;

/// Each merge gets the same, so that the first merge of several leaves something to the others.
#[derive(Debug)]
struct EqualShares {
    bytes: usize,
    used: AtomicUsize,
    consumers: AtomicUsize,
}

impl EqualShares {
    fn new(bytes: usize) -> Self {
        Self { bytes, used: AtomicUsize::new(0), consumers: AtomicUsize::new(0) }
    }
}

impl fmt::Display for EqualShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.name(), self.bytes)
    }
}

impl MemoryPool for EqualShares {
    fn name(&self) -> &'static str {
        "equal shares"
    }

    fn register(&self, _: &MemoryConsumer) {
        self.consumers.fetch_add(1, Ordering::Relaxed);
    }

    fn unregister(&self, _: &MemoryConsumer) {
        self.consumers.fetch_sub(1, Ordering::Relaxed);
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumers = self.consumers.load(Ordering::Relaxed).clamp(1, MERGES);
        let (share, wanted) = (self.bytes / consumers, reservation.size() + additional);
        let left = self.bytes.saturating_sub(self.used.load(Ordering::Relaxed));
        if wanted > share || additional > left {
            let who = reservation.consumer().name();
            let reason =
                format!("{who} needs {wanted} bytes, its share is {share}, {left} are left");
            return Err(DataFusionError::ResourcesExhausted(reason));
        }
        self.grow(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}
