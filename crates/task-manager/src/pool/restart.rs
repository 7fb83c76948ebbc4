//! When a worker that died or did not start is replaced, and when to give up hope: what the ends of workers' lives mean to
//! the core of restarts that supervised groups have too.
//!
//! Invariants:
//! - A worker that ran a task before it died is replaced at once.
//! - Deaths that somebody else may have caused, however many, exhaust nothing before [`KILLED_LIMIT`] has passed: who
//!   kills workers as fast as they start has not shown that they cannot run.

use std::time::{Duration, Instant};

use workfleet_worker_lifecycle::{Backoff, Charge, Streak};

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
    streak: Streak,
}

impl Restarts {
    pub(super) fn new(failure_limit: u32) -> Self {
        let backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        Self { streak: Streak::new(backoff, failure_limit).with_patience(KILLED_LIMIT) }
    }

    /// A life has ended: how long to wait before the next. `jitter` spreads the delay over its upper half, so that
    /// workers which failed together do not come back together.
    pub(super) fn ended(&mut self, now: Instant, life: Life, jitter: u8) -> Duration {
        let charge = match life {
            Life::Ran => {
                self.progress();
                return Duration::ZERO;
            }
            Life::DiedIdle => Charge::Free,
            Life::NotStarted => Charge::Certain,
            Life::Killed => Charge::Doubtful,
        };
        self.streak.ended(now, charge, jitter)
    }

    /// A task has ended: workers work.
    pub(super) fn progress(&mut self) {
        self.streak.progress();
    }

    /// So many starts in a row came to nothing that nobody should wait for the next.
    pub(super) fn exhausted(&self, now: Instant) -> bool {
        self.streak.is_exhausted(now)
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
