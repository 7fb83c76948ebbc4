//! A lease, and the books of what became of every task.

/// One lease of one task to one worker: what fences the worker's reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// Where the task stands in the table of tasks in flight.
    pub(crate) index: u32,
    /// How many leases the scheduler had granted before, in 32 bits, and never 0.
    pub(crate) fence: u32,
}

impl Lease {
    /// The lease as it travels; never 0.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.fence) << 32) | u64::from(self.index)
    }

    /// A lease as it came. One that was never granted is stale.
    pub fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, fence: (bits >> 32) as u32 }
    }
}

/// How often each thing has happened to a task. At any time, scheduled = done + failed + cancelled + returned + pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Tasks that the scheduler has taken.
    pub scheduled: u64,
    /// Tasks that ended with an output.
    pub done: u64,
    /// Tasks that ended without one, and were not cancelled.
    pub failed: u64,
    /// Tasks that were cancelled before they ended otherwise.
    pub cancelled: u64,
    /// Tasks that were never begun, because their manager halted.
    pub returned: u64,
}

impl Books {
    /// Tasks that have not ended.
    pub fn pending(&self) -> u64 {
        self.scheduled - self.done - self.failed - self.cancelled - self.returned
    }
}
