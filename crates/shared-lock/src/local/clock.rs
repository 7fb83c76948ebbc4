//! The ages of holders and waiters, for who asked for them.
//!
//! Invariant: without ages nobody reads the clock.

use std::time::{Duration, Instant};

/// Counts from when the state was made, or not at all.
#[derive(Debug)]
pub(super) struct Clock(Option<Instant>);

/// When something began, in nanoseconds of a [`Clock`]; zero without ages.
///
/// Half the size of an instant, of which every holder has one. It lasts for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Clock {
    pub(super) fn new(ages: bool) -> Self {
        Self(ages.then(Instant::now))
    }

    pub(super) fn now(&self) -> Stamp {
        let elapsed = self.0.map(|start| start.elapsed().as_nanos());
        Stamp(elapsed.map_or(0, |nanos| u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The time from one stamp to another; `None` without ages.
    pub(super) fn between(&self, since: Stamp, now: Stamp) -> Option<Duration> {
        self.0.map(|_| Duration::from_nanos(now.0.saturating_sub(since.0)))
    }
}
