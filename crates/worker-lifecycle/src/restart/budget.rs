//! How often something may be restarted within a time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// At most `limit` restarts within any `window`: OTP's intensity and period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    limit: u32,
    window: Duration,
}

impl Budget {
    /// At most `limit` restarts within any `window`. A limit of 0 allows none.
    pub const fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window }
    }

    /// How many restarts it allows within its window.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Its window.
    pub const fn window(&self) -> Duration {
        self.window
    }
}

/// Five within a minute.
impl Default for Budget {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(60))
    }
}

/// What was charged to a [`Budget`].
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_worker_lifecycle::{Budget, Charges};
///
/// let mut charges = Charges::new(Budget::new(2, Duration::from_secs(10)));
/// let now = Instant::now();
/// assert!(charges.charge(now) && charges.charge(now));
/// assert!(!charges.charge(now + Duration::from_secs(9)));
/// assert!(charges.charge(now + Duration::from_secs(10)));
/// ```
#[derive(Clone, Debug)]
pub struct Charges {
    budget: Budget,
    /// When the restarts were that still count: at most `limit` of them.
    times: VecDeque<Instant>,
}

impl Charges {
    /// Nothing yet.
    pub fn new(budget: Budget) -> Self {
        Self { budget, times: VecDeque::new() }
    }

    /// The budget.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Charges one restart, if the budget allows it, and says whether it does. `now` never goes back.
    pub fn charge(&mut self, now: Instant) -> bool {
        let window = self.budget.window;
        while self.times.front().is_some_and(|time| now.saturating_duration_since(*time) >= window) {
            self.times.pop_front();
        }
        let allows = self.times.len() < self.budget.limit as usize;
        if allows {
            self.times.push_back(now);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::cases;

    proptest! {
        #![proptest_config(cases())]

        /// In virtual time, against the plainest model: a list of every restart there was.
        #[test]
        fn no_window_has_more_restarts_than_the_limit_and_none_is_refused_needlessly(
            limit in 0_u32..6,
            window in 0_u64..50,
            steps in prop::collection::vec(0_u64..20, 0..100),
        ) {
            let begin = Instant::now();
            let mut charges = Charges::new(Budget::new(limit, Duration::from_millis(window)));
            let (mut now, mut allowed) = (0, Vec::<u64>::new());
            for step in steps {
                now += step;
                let recent = allowed.iter().filter(|time| now - **time < window).count();
                let allows = charges.charge(begin + Duration::from_millis(now));
                prop_assert_eq!(allows, recent < limit as usize);
                if allows {
                    allowed.push(now);
                }
                prop_assert!(charges.times.len() <= limit as usize);
            }
        }
    }
}
