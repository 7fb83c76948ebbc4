//! Whether a token has been silent for too long.
//!
//! Invariants:
//! - Each silence is reported once.
//! - None is reported by time in which the one who reports it did not run: see [`Patience`].

use std::time::{Duration, Instant};

use super::Patience;

/// Watches for a silence longer than a timeout. A beat that ends a silence that was reported is late; with it, the watch
/// begins again. If [`handle_timeout`](Self::handle_timeout) was called too late, because the program did not run, the
/// timeout begins again as well.
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_heartbeat::cores::Silence;
///
/// let (start, s) = (Instant::now(), Duration::from_secs);
/// let mut silence = Silence::new(start, s(10));
/// assert!(!silence.heard(start + s(5)), "in time");
/// assert!(!silence.handle_timeout(start + s(14)));
/// assert!(silence.handle_timeout(start + s(15)), "missed");
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

    /// If the judge was away when the timeout passed, the timeout begins again. True if it does.
    pub fn excuse(&mut self, now: Instant) -> bool {
        !self.reported && self.patience.excuse(now)
    }

    /// Time has passed. True if the silence is to be reported now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let missed = !self.reported && self.patience.handle_timeout(now);
        self.reported |= missed;
        missed
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_silence_after_a_late_beat_is_another_one() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut silence = Silence::new(start, s(1));
        assert!(silence.handle_timeout(start + s(1)));
        assert!(silence.heard(start + s(2)));
        assert!(!silence.heard(start + s(2)), "only the first beat is late");
        assert_eq!(silence.poll_timeout(), Some(start + s(3)));
        assert!(silence.handle_timeout(start + s(3)));
        assert_eq!(silence.poll_timeout(), None);
    }

    #[test]
    fn a_silence_in_which_nobody_looked_begins_again_and_is_reported_once() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut silence = Silence::new(start, s(1));
        assert!(!silence.handle_timeout(start + s(5)), "stopped for as long as that");
        assert_eq!((silence.heard_at(), silence.poll_timeout()), (start, Some(start + s(6))));
        assert!(!silence.handle_timeout(start + s(9)), "and stopped again");
        assert!(silence.handle_timeout(start + s(10)));
        assert!(!silence.excuse(start + s(99)), "it was reported");
        assert!(silence.heard(start + s(99)));
    }

    #[test]
    fn a_beat_that_was_overtaken_moves_nothing_back() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut silence = Silence::new(start, s(10));
        assert!(!silence.heard(start + s(9)));
        assert!(!silence.heard(start + s(1)));
        assert_eq!(silence.poll_timeout(), Some(start + s(19)));
    }

    #[test]
    fn a_timeout_that_no_clock_can_tell_never_comes() {
        let start = Instant::now();
        let mut silence = Silence::new(start, Duration::MAX);
        assert_eq!(silence.poll_timeout(), None);
        assert!(!silence.handle_timeout(start + Duration::from_secs(1 << 30)));
    }
}
