//! How often one token's beats go out.
//!
//! Invariants:
//! - The first goes at once; between two that go, at least the interval passes.
//! - Of those that are held back, only the latest is kept, and it goes as soon as the interval has passed.

use std::time::{Duration, Instant};

/// Lets the first beat pass at once. After that it lets one beat pass in each interval: the latest.
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_heartbeat::cores::Throttle;
///
/// let (start, ms) = (Instant::now(), Duration::from_millis);
/// let mut throttle = Throttle::new(ms(50));
/// assert_eq!(throttle.offer(start, 1), Some(1));
/// assert_eq!(throttle.offer(start + ms(20), 2), None);
/// assert_eq!(throttle.offer(start + ms(30), 3), None);
/// assert_eq!(throttle.poll_timeout(), Some(start + ms(50)));
/// assert_eq!(throttle.handle_timeout(start + ms(50)), Some(3));
/// ```
#[derive(Clone, Debug)]
pub struct Throttle<D> {
    interval: Duration,
    sent_at: Option<Instant>,
    held: Option<D>,
}

impl<D> Throttle<D> {
    /// A throttle that has let nothing pass yet. With an interval of zero, it holds nothing back.
    pub fn new(interval: Duration) -> Self {
        Self { interval, sent_at: None, held: None }
    }

    /// A beat has come. Returns the beat to send now, if any.
    pub fn offer(&mut self, now: Instant, details: D) -> Option<D> {
        if self.opens_at().is_some_and(|at| now < at) {
            self.held = Some(details);
            return None;
        }
        self.sent_at = Some(now);
        // What was held, and not asked for in time, is older.
        self.held = None;
        Some(details)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): the held beat may pass then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.as_ref().and_then(|_| self.opens_at())
    }

    /// Time has passed. Returns the beat to send now, if any.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<D> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return None;
        }
        self.sent_at = Some(now);
        self.held.take()
    }

    /// Takes out the held beat, without regard to the interval: for a flush, for a failure, or to drop it.
    pub fn take(&mut self) -> Option<D> {
        self.held.take()
    }

    /// When a beat may pass; none if it may at any time, or will not in any that can be told.
    fn opens_at(&self) -> Option<Instant> {
        let sent_at = self.sent_at.filter(|_| !self.interval.is_zero())?;
        // What no clock can tell is as good as forever: a century.
        Some(sent_at.checked_add(self.interval).unwrap_or_else(|| sent_at + CENTURY))
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How the interval of a task's throttle follows from its timeout. The rules and defaults are those of Temporal's
/// workers (`max_heartbeat_throttle_interval`, `default_heartbeat_throttle_interval`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// The longest interval: 60 s by default.
    pub most: Duration,
    /// The interval where there is no timeout: 30 s by default.
    pub without_timeout: Duration,
}

impl Default for ThrottleLimits {
    fn default() -> Self {
        Self { most: Duration::from_secs(60), without_timeout: Duration::from_secs(30) }
    }
}

impl ThrottleLimits {
    /// Four fifths of the timeout, or what stands for none, but no more than the longest.
    ///
    /// ```
    /// use std::time::Duration;
    /// use workfleet_heartbeat::cores::ThrottleLimits;
    ///
    /// let limits = ThrottleLimits::default();
    /// assert_eq!(limits.interval(Some(Duration::from_secs(10))), Duration::from_secs(8));
    /// assert_eq!(limits.interval(Some(Duration::from_secs(600))), Duration::from_secs(60));
    /// assert_eq!(limits.interval(None), Duration::from_secs(30));
    /// ```
    pub fn interval(&self, timeout: Option<Duration>) -> Duration {
        let interval = timeout.map_or(self.without_timeout, |timeout| timeout / 5 * 4);
        interval.min(self.most)
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn two_beats_within_the_interval_are_exactly_two_sends() {
        let start = Instant::now();
        let mut throttle = Throttle::new(ms(50));
        let mut sent = Vec::new();
        for at in 0..1000 {
            let now = start + ms(at);
            sent.extend(throttle.handle_timeout(now).map(|details| (at, details)));
            if let Some(details) = [(0, 'a'), (20, 'b')].into_iter().find(|beat| beat.0 == at) {
                sent.extend(throttle.offer(now, details.1).map(|details| (at, details)));
            }
        }
        assert_eq!(sent, [(0, 'a'), (50, 'b')]);
        assert_eq!(throttle.poll_timeout(), None);
    }

    #[test]
    fn fifty_beats_in_a_tight_loop_are_the_first_and_then_the_last() {
        let start = Instant::now();
        let mut throttle = Throttle::new(ms(50));
        let mut sent: Vec<u32> = (1..=50).filter_map(|beat| throttle.offer(start, beat)).collect();
        let due = throttle.poll_timeout().expect("the last is held");
        assert_eq!(throttle.handle_timeout(due - ms(1)), None);
        sent.extend(throttle.handle_timeout(due));
        assert_eq!(sent, [1, 50]);
        assert_eq!(throttle.handle_timeout(due + ms(50)), None, "there is nothing more");
    }

    #[test]
    fn what_is_held_can_be_taken_at_any_time_once() {
        let start = Instant::now();
        let mut throttle = Throttle::new(ms(50));
        assert_eq!(throttle.take(), None);
        throttle.offer(start, 1);
        throttle.offer(start, 2);
        assert_eq!(throttle.take(), Some(2));
        assert_eq!((throttle.take(), throttle.poll_timeout()), (None, None));
        assert_eq!(throttle.offer(start + ms(49), 3), None, "the interval goes on");
    }

    #[test]
    fn a_late_driver_sends_the_latest_only() {
        let start = Instant::now();
        let mut throttle = Throttle::new(ms(50));
        throttle.offer(start, 1);
        throttle.offer(start + ms(10), 2);
        assert_eq!(throttle.offer(start + ms(70), 3), Some(3));
        assert_eq!(throttle.handle_timeout(start + ms(80)), None);
    }

    #[test]
    fn without_an_interval_every_beat_passes_and_a_very_long_one_is_no_panic() {
        let start = Instant::now();
        let mut open = Throttle::new(Duration::ZERO);
        assert_eq!((open.offer(start, 1), open.offer(start, 2)), (Some(1), Some(2)));
        let mut closed = Throttle::new(Duration::MAX);
        assert_eq!((closed.offer(start, 1), closed.offer(start, 2)), (Some(1), None));
        assert_eq!(closed.take(), Some(2));
    }
}
