//! Fencing tokens.

use std::fmt;

/// A fencing token: of two grants of one key of which at least one is exclusive, the later has the larger fence.
///
/// A program may be paused between taking a lock and using it. If the lock is granted to another holder meanwhile, the program
/// does not notice; no lock service can prevent that. The store that the lock protects can: it keeps the largest fence that it has
/// seen for a key, and refuses to write under a smaller one. (Martin Kleppmann, *How to do distributed locking*, 2016.)
///
/// A state never uses a fence for two grants. Fences have gaps. Fences of different keys, or of different states, cannot be
/// compared.
///
/// ```
/// # use workfleet_shared_lock::Fence;
/// /// A row, and the largest fence under which it was written.
/// #[derive(Default)]
/// struct Row {
///     value: String,
///     fence: Option<Fence>,
/// }
///
/// impl Row {
///     fn write(&mut self, value: &str, fence: Fence) -> Result<(), String> {
///         if let Some(newer) = self.fence.filter(|seen| *seen > fence) {
///             return Err(format!("fence {fence} is outdated: {newer} was here"));
///         }
///         self.fence = Some(fence);
///         self.value = value.to_owned();
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The fence of this number, for code that drives a [core](crate::cores) or reads fences from a store.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number, to be kept in a store.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
