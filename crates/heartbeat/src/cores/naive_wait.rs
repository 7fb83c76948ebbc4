//! A naive `Patience`, for the models of cores that use it, here and in other crates.

use std::time::{Duration, Instant};

/// The parts of a wait; it is checked at the end of each. If the limit is not divisible by eight, nanoseconds are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NaiveWait {
    from: Instant,
    parts: [Duration; 4],
    /// How many of the parts are over.
    over: usize,
    /// How late it may be noticed that a part is over.
    tolerance: Duration,
}

impl NaiveWait {
    pub(crate) fn begin(from: Instant, limit: Duration, tolerance: Duration) -> Self {
        Self { from, parts: [2, 4, 8, 8].map(|part| limit / part), over: 0, tolerance }
    }

    /// When the wait is checked next.
    pub(crate) fn next_look(&self) -> Instant {
        self.from + self.parts[self.over]
    }

    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        while self.over < self.parts.len() && now >= self.next_look() {
            if now > self.next_look() + self.tolerance {
                // The check is late: the program did not run.
                (self.from, self.tolerance) = (now, 2 * self.tolerance);
            } else {
                self.from = self.next_look();
                self.over += 1;
            }
        }
        self.over == self.parts.len()
    }
}
