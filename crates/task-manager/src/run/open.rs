//! The attempts of a worker that may still say something.

/// Attempts that have begun and not ended, by their leases, and what the worker keeps of each.
#[derive(Debug)]
pub(crate) struct OpenAttempts<T = ()> {
    attempts: Vec<(u64, T)>,
}

impl<T> OpenAttempts<T> {
    /// The attempt under `lease` begins.
    pub(crate) fn open(&mut self, lease: u64, kept: T) {
        self.attempts.push((lease, kept));
    }

    /// The attempt has ended. What was kept of it; none if it had ended before.
    pub(crate) fn close(&mut self, lease: u64) -> Option<T> {
        let place = self.attempts.iter().position(|open| open.0 == lease)?;
        Some(self.attempts.swap_remove(place).1)
    }

    pub(crate) fn is_open(&self, lease: u64) -> bool {
        self.attempts.iter().any(|open| open.0 == lease)
    }

    /// What is kept of the attempt; none if it has ended.
    pub(crate) fn get(&mut self, lease: u64) -> Option<&mut T> {
        self.attempts.iter_mut().find(|open| open.0 == lease).map(|open| &mut open.1)
    }
}

impl<T> Default for OpenAttempts<T> {
    fn default() -> Self {
        Self { attempts: Vec::new() }
    }
}
