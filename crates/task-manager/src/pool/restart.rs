//! When a worker that died or did not start is replaced, and when to give up hope. A core: no clock, no randomness.
//!
//! Invariants:
//! - A worker that ran a task before it died is replaced at once.
//! - Delays grow with every start in a row that came to nothing, up to a limit.
//! - Deaths that somebody else may have caused, however many, exhaust nothing before [`KILLED_LIMIT`] has passed: who
//!   kills workers as fast as they start has not shown that they cannot run.

use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// For how long every worker has to have been killed before it had begun anything.
const KILLED_LIMIT: Duration = Duration::from_secs(10);

/// How a worker's life went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It never became ready, and said or showed why.
    NotStarted,
    /// It was ended by a signal before it was ready, or died with tasks in hand before it began one.
    Killed,
    /// It died before it was handed a task.
    DiedIdle,
    /// It ran at least one task.
    Ran,
}

/// The lives of a pool's workers, as far as they tell what the next is worth.
#[derive(Debug)]
pub(super) struct Restarts {
    /// Lives in a row in which nothing was run.
    barren: u32,
    /// Those among them that did not start.
    failures: u32,
    /// Those among them that were killed, and when the first of them was.
    killed: u32,
    killed_since: Option<Instant>,
    failure_limit: u32,
}

impl Restarts {
    pub(super) fn new(failure_limit: u32) -> Self {
        Self { barren: 0, failures: 0, killed: 0, killed_since: None, failure_limit }
    }

    /// A life has ended: how long to wait before the next. `jitter` is from 0 to 255 and spreads the delay over its
    /// upper half, so that workers which failed together do not come back together.
    pub(super) fn ended(&mut self, now: Instant, life: Life, jitter: u8) -> Duration {
        match life {
            Life::Ran => {
                self.progress();
                return Duration::ZERO;
            }
            Life::DiedIdle => {}
            Life::NotStarted => self.failures = self.failures.saturating_add(1),
            Life::Killed => {
                self.killed = self.killed.saturating_add(1);
                self.killed_since.get_or_insert(now);
            }
        }
        let delay = FIRST_DELAY.saturating_mul(1 << self.barren.min(16)).min(LONGEST_DELAY);
        self.barren = self.barren.saturating_add(1);
        delay / 2 + delay / 2 * u32::from(jitter) / 255
    }

    /// A task has ended: workers work.
    pub(super) fn progress(&mut self) {
        *self = Self::new(self.failure_limit);
    }

    /// So many starts in a row came to nothing that nobody should wait for the next.
    pub(super) fn exhausted(&self, now: Instant) -> bool {
        let killed_for =
            self.killed_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.failures >= self.failure_limit
            || (self.failures.saturating_add(self.killed) >= self.failure_limit && killed_for >= KILLED_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_worked_is_replaced_at_once() {
        let now = Instant::now();
        let mut restarts = Restarts::new(3);
        restarts.ended(now, Life::NotStarted, 0);
        assert_eq!(restarts.ended(now, Life::Ran, 255), Duration::ZERO);
        assert_eq!(restarts.ended(now, Life::NotStarted, 255), FIRST_DELAY);
    }

    #[test]
    fn delays_double_up_to_a_limit() {
        let now = Instant::now();
        let mut restarts = Restarts::new(3);
        let delays: Vec<_> = (0..20).map(|_| restarts.ended(now, Life::NotStarted, 255)).collect();
        assert_eq!(delays[..3], [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]);
        assert_eq!(delays[19], LONGEST_DELAY);
        assert_eq!(restarts.ended(now, Life::NotStarted, 0), LONGEST_DELAY / 2);
    }

    #[test]
    fn idle_deaths_exhaust_nothing() {
        let now = Instant::now();
        let mut restarts = Restarts::new(2);
        for _ in 0..9 {
            restarts.ended(now, Life::DiedIdle, 0);
        }
        restarts.ended(now, Life::NotStarted, 0);
        assert!(!restarts.exhausted(now + KILLED_LIMIT));
        restarts.ended(now, Life::NotStarted, 0);
        assert!(restarts.exhausted(now));
        restarts.progress();
        assert!(!restarts.exhausted(now));
    }

    #[test]
    fn a_burst_of_kills_exhausts_nothing_and_killing_without_end_does() {
        let now = Instant::now();
        let mut restarts = Restarts::new(2);
        for _ in 0..1000 {
            restarts.ended(now, Life::Killed, 0);
        }
        assert!(!restarts.exhausted(now + KILLED_LIMIT - Duration::from_millis(1)));
        assert!(restarts.exhausted(now + KILLED_LIMIT));
    }
}
