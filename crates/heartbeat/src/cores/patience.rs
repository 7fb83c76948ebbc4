//! How long somebody is waited for, in time that the judge saw pass.
//!
//! Invariants:
//! - A wait whose end was noticed more than [`AWAY`] late is not held against anybody: the judge did not run meanwhile, and
//!   cannot tell since when. It begins again.
//! - Each time that happens, the judge may be twice as late before it counts as away. So a judge that is always late, by
//!   whatever, still comes to a verdict.

use std::time::{Duration, Instant};

/// A judge that looks no later than this after the end of a wait was not away.
pub const AWAY: Duration = Duration::from_millis(10);

/// Waits for a limited time for somebody to show a sign of life, to answer, to end.
///
/// A program can be stopped and continued as a whole, by SIGSTOP, a container's freezer or a debugger. Then time passes in which
/// neither the one who is waited for nor the one who waits could do anything. A judge notices that by waking too late. (It does
/// not notice a stop that is over before the wait would have been.)
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_heartbeat::cores::Patience;
///
/// let (start, s) = (Instant::now(), Duration::from_secs);
/// let mut patience = Patience::new(start, s(10));
/// assert_eq!(patience.poll_timeout(), Some(start + s(10)));
/// // The program was stopped for a minute: the wait begins again.
/// assert!(!patience.handle_timeout(start + s(60)));
/// assert_eq!(patience.poll_timeout(), Some(start + s(70)));
/// assert!(patience.handle_timeout(start + s(70)), "nobody was away, and nothing came");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    limit: Duration,
    /// From when the limit counts.
    since: Instant,
    /// How late the judge may be and was not away.
    tolerance: Duration,
}

impl Patience {
    /// The wait begins now.
    pub fn new(now: Instant, limit: Duration) -> Self {
        Self { limit, since: now, tolerance: AWAY }
    }

    /// How long the wait is.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// A sign of life: the wait begins anew, now.
    pub fn restart(&mut self, now: Instant) {
        // The sign that was seen first may be told last.
        self.since = self.since.max(now);
        self.tolerance = AWAY;
    }

    /// When the wait is over, if nothing comes; none if no clock can tell.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.since.checked_add(self.limit)
    }

    /// If the end of the wait was missed because the judge was away, the wait begins again. True if it does.
    pub fn excuse(&mut self, now: Instant) -> bool {
        let late = self.poll_timeout().map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if late <= self.tolerance {
            return false;
        }
        self.since = now;
        self.tolerance = self.tolerance.saturating_mul(2);
        true
    }

    /// Time has passed. True if the wait is over; false if it is not, or [begins again](Self::excuse).
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|at| now >= at) && !self.excuse(now)
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::testing::cases;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_looks_in_time_is_not_away() {
        let start = Instant::now();
        let mut patience = Patience::new(start, ms(100));
        assert!(!patience.handle_timeout(start + ms(99)));
        assert!(patience.handle_timeout(start + ms(100)));
        assert!(Patience::new(start, ms(100)).handle_timeout(start + ms(100) + AWAY));
        assert!(!Patience::new(start, ms(100)).handle_timeout(start + ms(101) + AWAY));
    }

    #[test]
    fn a_sign_of_life_that_was_overtaken_moves_nothing_back() {
        let start = Instant::now();
        let mut patience = Patience::new(start, ms(100));
        patience.restart(start + ms(50));
        patience.restart(start + ms(10));
        assert_eq!(patience.poll_timeout(), Some(start + ms(150)));
    }

    #[test]
    fn a_limit_that_no_clock_can_tell_never_comes() {
        let start = Instant::now();
        let mut patience = Patience::new(start, Duration::MAX);
        assert_eq!(patience.poll_timeout(), None);
        assert!(!patience.handle_timeout(start + Duration::from_secs(1 << 30)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// The program runs for so long, and the judge looks whenever it is time, up to so much too late.
        Run {
            for_ms: u64,
            late_ms: u64,
        },
        /// The program is stopped for longer than the limit, by so much.
        Freeze {
            longer_ms: u64,
        },
        Sign,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..300, 0_u64..10).prop_map(|(for_ms, late_ms)| Step::Run { for_ms, late_ms }),
            2 => (0_u64..5_000).prop_map(|longer_ms| Step::Freeze { longer_ms }),
            2 => Just(Step::Sign),
        ]
    }

    proptest! {
        #![proptest_config(cases())]

        /// The model sees through it all: it counts the milliseconds in which the program ran.
        #[test]
        fn nobody_is_judged_before_the_program_has_run_for_the_whole_limit(
            limit in 1_u64..200,
            steps in vec(step(), 0..12),
        ) {
            // So long that it is noticed, however often it has been already.
            const LONG_MS: u64 = 10 << 13;
            let start = Instant::now();
            let mut patience = Patience::new(start, ms(limit));
            let (mut at, mut ran) = (0, 0);
            for step in steps {
                match step {
                    Step::Sign => {
                        patience.restart(start + ms(at));
                        ran = 0;
                    }
                    Step::Freeze { longer_ms } => {
                        at += limit + LONG_MS + longer_ms;
                        // It goes on, and looks at once.
                        prop_assert!(!patience.handle_timeout(start + ms(at)));
                    }
                    Step::Run { for_ms, late_ms } => for _ in 0..for_ms {
                        (at, ran) = (at + 1, ran + 1);
                        if at % (late_ms + 1) == 0 && patience.handle_timeout(start + ms(at)) {
                            prop_assert!(ran >= limit, "{ran} ms");
                            return Ok(());
                        }
                    },
                }
                            }
        }

        #[test]
        fn a_judge_that_is_always_late_comes_to_a_verdict(limit in 0_u64..200, late in 0_u64..100_000) {
            let start = Instant::now();
            let mut patience = Patience::new(start, ms(limit));
            let mut excused = 0;
            while let Some(at) = patience.poll_timeout()
                && !patience.handle_timeout(at + ms(late))
            {
                excused += 1;
            }
            prop_assert!(excused <= 14, "{excused} times");
        }
    }
}
