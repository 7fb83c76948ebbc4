//! Fencing tokens.

use std::fmt;

/// A fencing token: of two grants of one key of which at least one is exclusive, the later has the larger fence.
///
/// A program that was paused between taking a lock and using it does not notice that the lock has gone to somebody else
/// in the meantime; no lock service can prevent that. The store that the lock protects can: it keeps the largest fence
/// that it has seen for a key, and refuses to write under a smaller one. (Martin Kleppmann, *How to do distributed
/// locking*, 2016.)
///
/// No fence is ever used for two grants by one state, whatever becomes of the key in between. Fences have gaps. Those of
/// different keys, or of different states, say nothing about each other.
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
    /// The fence of this number, for who drives a [core](crate::cores) or reads fences from a store.
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
