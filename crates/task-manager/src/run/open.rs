//! The attempts of a worker that may still say something.

/// Attempts that have begun and not ended, each with the index of the next child that it schedules.
#[derive(Debug, Default)]
pub(crate) struct OpenAttempts {
    attempts: Vec<(u64, u32)>,
}

impl OpenAttempts {
    /// The attempt under `lease` begins.
    pub(crate) fn open(&mut self, lease: u64) {
        self.attempts.push((lease, 0));
    }

    /// The attempt has ended.
    pub(crate) fn close(&mut self, lease: u64) {
        self.attempts.retain(|&(open, _)| open != lease);
    }

    pub(crate) fn is_open(&self, lease: u64) -> bool {
        self.attempts.iter().any(|&(open, _)| open == lease)
    }

    /// The index of the attempt's next child; it is used up by setting it one higher. None if the attempt has ended.
    pub(crate) fn next_child(&mut self, lease: u64) -> Option<&mut u32> {
        self.attempts.iter_mut().find(|(open, _)| *open == lease).map(|(_, next)| next)
    }
}
