//! The places of the status page: which attempt stands where.

use std::sync::{Mutex, PoisonError};

/// The place in the status page for the task that has the thread to itself; those that share it have the others.
pub(super) const SINGLE: usize = 0;

/// The places in the status page in which a task that shares the thread stands.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The lease at each place after [`SINGLE`]; 0 where none is.
    leases: Mutex<Vec<u64>>,
}

impl Places {
    /// Finds a place for an attempt.
    pub(super) fn take(&self, lease: u64) -> usize {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let free = leases.iter().position(|&taken| taken == 0).unwrap_or_else(|| {
            leases.push(0);
            leases.len() - 1
        });
        leases[free] = lease;
        SINGLE + 1 + free
    }

    pub(super) fn give_back(&self, lease: u64) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.iter_mut().filter(|taken| **taken == lease).for_each(|taken| *taken = 0);
    }
}
