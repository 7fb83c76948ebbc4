//! Whether a token has been silent for too long.
//!
//! Invariants:
//! - Each silence is reported once.
//! - Time in which this program did not run makes no silence: see [`Patience`].

use std::time::{Duration, Instant};

use super::Patience;

/// Notices a silence that is longer than a timeout. A beat that ends a reported silence is late; after it, the timeout begins again.
/// Time in which the program did not run does not count.
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_heartbeat::cores::Silence;
///
/// let (start, s) = (Instant::now(), Duration::from_secs);
/// let mut silence = Silence::new(start, s(8));
/// assert!(!silence.heard(start + s(5)), "in time");
/// while let Some(at) = silence.poll_timeout().filter(|&at| at < start + s(13)) {
///     assert!(!silence.handle_timeout(at));
/// }
/// assert!(silence.handle_timeout(start + s(13)), "missed");
/// assert!(!silence.handle_timeout(start + s(99)), "and reported once");
/// assert!(silence.heard(start + s(100)), "late");
/// ```
#[derive(Clone, Debug)]
pub struct Silence {
    patience: Patience,
    heard_at: Instant,
    reported: bool,
}

impl Silence {
    /// The watch begins now: a token that never beats is silent from here.
    pub fn new(now: Instant, timeout: Duration) -> Self {
        Self { patience: Patience::new(now, timeout), heard_at: now, reported: false }
    }

    /// How long a silence may be.
    pub fn timeout(&self) -> Duration {
        self.patience.limit()
    }

    /// When the last beat came, or the watch began.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// A beat came. True if it is late: its silence has been reported.
    pub fn heard(&mut self, now: Instant) -> bool {
        // Who looked at the clock first may come last.
        self.heard_at = self.heard_at.max(now);
        self.patience.restart(now);
        std::mem::take(&mut self.reported)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; never once the silence was reported, or if that
    /// is beyond what a clock can tell.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.reported { None } else { self.patience.poll_timeout() }
    }

    /// Time has passed. True if [`handle_timeout`](Self::handle_timeout) would have the silence reported.
    pub fn would_miss(&mut self, now: Instant) -> bool {
        !self.reported && self.patience.handle_timeout(now)
    }

    /// Time has passed. True if the silence is to be reported now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let missed = self.would_miss(now);
        self.reported |= missed;
        missed
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_silence_after_a_late_beat_is_another_one() {
        let start = Instant::now();
        let mut silence = Silence::new(start, 8 * MS);
        assert!(silence.handle_timeout(start + 8 * MS));
        assert!(silence.heard(start + 20 * MS));
        assert!(!silence.heard(start + 20 * MS), "only the first beat is late");
        assert_eq!(silence.poll_timeout(), Some(start + 24 * MS));
        assert!(silence.handle_timeout(start + 28 * MS));
        assert_eq!(silence.poll_timeout(), None);
    }

    #[test]
    fn a_silence_in_which_nobody_looked_goes_on_and_is_reported_once() {
        let start = Instant::now();
        let mut silence = Silence::new(start, 80 * MS);
        assert!(!silence.handle_timeout(start + 500 * MS), "stopped for as long as that");
        assert_eq!((silence.heard_at(), silence.poll_timeout()), (start, Some(start + 540 * MS)));
        assert!(!silence.handle_timeout(start + 900 * MS), "and stopped again");
        for look in [940, 960, 970] {
            assert!(!silence.would_miss(start + look * MS));
        }
        assert!(silence.would_miss(start + 980 * MS));
        assert!(silence.handle_timeout(start + 980 * MS));
        assert!(!silence.would_miss(start + 990 * MS), "it was reported");
        assert!(silence.heard(start + 990 * MS));
    }

    #[test]
    fn a_beat_that_was_overtaken_moves_nothing_back() {
        let start = Instant::now();
        let mut silence = Silence::new(start, 10 * MS);
        assert!(!silence.heard(start + 9 * MS));
        assert!(!silence.heard(start + MS));
        assert_eq!((silence.heard_at(), silence.poll_timeout()), (start + 9 * MS, Some(start + 14 * MS)));
    }

    #[test]
    fn a_timeout_that_no_clock_can_tell_never_comes() {
        let start = Instant::now();
        let mut silence = Silence::new(start, Duration::MAX);
        assert_eq!(silence.poll_timeout(), None);
        assert!(!silence.handle_timeout(start + Duration::from_secs(1 << 30)));
    }
}
