//! Failures in a row: how long to wait before the next try, and when to give up.

use std::time::{Duration, Instant};

use crate::restart::Backoff;

/// How the end of one try counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It does not count as a failure. The delay grows all the same.
    Free,
    /// It counts as a failure.
    Certain,
    /// It may be the failure of something else, for example because it was killed. It counts once the first such end in the streak
    /// is as long ago as the streak's patience.
    Doubtful,
}

/// A row of failures of one thing that is started again and again.
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_worker_lifecycle::{Backoff, Charge, Streak};
///
/// let mut streak = Streak::new(Backoff::new(Duration::from_millis(10), Duration::from_secs(1)), 3);
/// let now = Instant::now();
/// for delay_ms in [10, 20, 40] {
///     assert!(!streak.is_exhausted(now));
///     assert_eq!(streak.ended(now, Charge::Certain, 255), Duration::from_millis(delay_ms));
/// }
/// assert!(streak.is_exhausted(now));
/// streak.progress();
/// assert!(!streak.is_exhausted(now));
/// ```
#[derive(Clone, Debug)]
pub struct Streak {
    backoff: Backoff,
    limit: u32,
    patience: Duration,
    /// Ends in a row, of any charge.
    ends: u32,
    /// Those among them that count.
    certain: u32,
    /// Those among them that may count, and when the first of them was.
    doubtful: u32,
    doubtful_since: Option<Instant>,
}

impl Streak {
    /// Nothing yet. `limit` ends in a row that count exhaust it. Doubtful ones count at once; see
    /// [`with_patience`](Self::with_patience).
    pub const fn new(backoff: Backoff, limit: u32) -> Self {
        Self {
            backoff,
            limit,
            patience: Duration::ZERO,
            ends: 0,
            certain: 0,
            doubtful: 0,
            doubtful_since: None,
        }
    }

    /// Sets how long ago the first doubtful end has to be for them to count.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A life has ended and came to nothing: how long to wait before the next. `jitter` is random and spreads the delay.
    pub fn ended(&mut self, now: Instant, charge: Charge, jitter: u8) -> Duration {
        match charge {
            Charge::Free => {}
            Charge::Certain => self.certain = self.certain.saturating_add(1),
            Charge::Doubtful => {
                self.doubtful = self.doubtful.saturating_add(1);
                self.doubtful_since.get_or_insert(now);
            }
        }
        let delay = self.backoff.delay(self.ends, jitter);
        self.ends = self.ends.saturating_add(1);
        delay
    }

    /// A try has succeeded: the streak begins again.
    pub fn progress(&mut self) {
        *self = Self::new(self.backoff, self.limit).with_patience(self.patience);
    }

    /// Whether so many tries in a row have failed that it is time to give up.
    pub fn is_exhausted(&self, now: Instant) -> bool {
        let doubt_lasts =
            self.doubtful_since.is_some_and(|since| now.saturating_duration_since(since) >= self.patience);
        let doubtful = if doubt_lasts { self.doubtful } else { 0 };
        self.certain.saturating_add(doubtful) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::cases;

    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn streak(limit: u32) -> Streak {
        Streak::new(Backoff::new(FIRST, LONGEST), limit).with_patience(PATIENCE)
    }

    #[test]
    fn delays_double_up_to_a_limit() {
        let (now, mut streak) = (Instant::now(), streak(3));
        let delays: Vec<_> = (0..20).map(|_| streak.ended(now, Charge::Certain, 255)).collect();
        assert_eq!(delays[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(delays[19], LONGEST);
        assert_eq!(streak.ended(now, Charge::Certain, 0), LONGEST / 2);
    }

    #[test]
    fn a_burst_of_kills_exhausts_nothing_and_killing_without_end_does() {
        let (now, mut streak) = (Instant::now(), streak(2));
        for _ in 0..1000 {
            streak.ended(now, Charge::Doubtful, 0);
        }
        assert!(!streak.is_exhausted(now + PATIENCE - Duration::from_millis(1)));
        assert!(streak.is_exhausted(now + PATIENCE));
    }

    #[derive(Clone, Copy, Debug)]
    enum Input {
        Ended(Charge),
        Progress,
    }

    fn input() -> impl Strategy<Value = Input> {
        let charge = prop_oneof![Just(Charge::Free), Just(Charge::Certain), Just(Charge::Doubtful)];
        prop_oneof![6 => charge.prop_map(Input::Ended), 1 => Just(Input::Progress)]
    }

    proptest! {
        #![proptest_config(cases())]

        /// In virtual time, against the plainest model: the list of ends since the last progress.
        #[test]
        fn a_streak_is_what_its_list_of_ends_says(
            limit in 1_u32..6,
            inputs in prop::collection::vec((0_u64..4_000, input()), 0..40),
        ) {
            let begin = Instant::now();
            let (mut streak, mut now, mut ends) = (streak(limit), begin, Vec::new());
            for (after, input) in inputs {
                now += Duration::from_millis(after);
                match input {
                    Input::Ended(charge) => {
                        let expected = Backoff::new(FIRST, LONGEST).delay(ends.len() as u32, 77);
                        prop_assert_eq!(streak.ended(now, charge, 77), expected);
                        ends.push((now, charge));
                    }
                    Input::Progress => {
                        streak.progress();
                        ends.clear();
                    }
                }
                let of = |wanted| ends.iter().filter(move |(_, charge)| *charge == wanted);
                let first_doubt = of(Charge::Doubtful).map(|(at, _)| *at).next();
                let doubtful = match first_doubt {
                    Some(first) if now - first >= PATIENCE => of(Charge::Doubtful).count(),
                    _ => 0,
                };
                let counted = of(Charge::Certain).count() + doubtful;
                prop_assert_eq!(streak.is_exhausted(now), counted >= limit as usize);
            }
        }
    }
}
