//! How long somebody is waited for, in time that the judge saw pass.
//!
//! Invariants:
//! - A wait is looked at when half of it is over, then when half of the rest is, down to an eighth. So a stop of the program that
//!   nobody notices, because it begins after one look and is over before the next, takes no more than half of the wait; one
//!   that is over just before the end of the wait takes no more than an eighth.
//! - A part of a wait whose end was noticed more than [`AWAY`] late is not held against anybody: the judge did not run meanwhile,
//!   and cannot tell since when. It begins again.
//! - Each time that happens, the judge may be twice as late before it counts as away. So a judge that is always late, by
//!   whatever, still comes to a verdict.

use std::time::{Duration, Instant};

/// A judge that looks no later than this after the end of a part of a wait was not away.
pub const AWAY: Duration = Duration::from_millis(10);

/// A part of a wait that is no longer than one of so many is not divided.
const LEAST_PART: u32 = 8;

/// Waits for a limited time for somebody to show a sign of life, to answer, to end.
///
/// A program can be stopped and continued as a whole, by SIGSTOP, a container's freezer or a debugger. Then time passes in which
/// neither the one who is waited for nor the one who waits could do anything. A judge notices that by waking too late, and so
/// it wakes a few times within a wait. One stop, whenever it was and however long, makes nobody silent who shows a sign of life at
/// least every half of the limit, less [`AWAY`], of the time in which the program runs.
///
/// ```
/// use std::time::{Duration, Instant};
/// use workfleet_heartbeat::cores::Patience;
///
/// let (start, s) = (Instant::now(), Duration::from_secs);
/// let mut patience = Patience::new(start, s(8));
/// assert_eq!(patience.poll_timeout(), Some(start + s(4)));
/// assert!(!patience.handle_timeout(start + s(4)));
/// assert_eq!(patience.poll_timeout(), Some(start + s(6)));
/// // The program was stopped for a minute: this part of the wait begins again.
/// assert!(!patience.handle_timeout(start + s(60)));
/// for look in [62, 63] {
///     assert!(!patience.handle_timeout(start + s(look)));
/// }
/// assert!(patience.handle_timeout(start + s(64)), "nobody was away, and nothing came");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    limit: Duration,
    /// When the part of the wait that lasts began.
    begun: Instant,
    part: Duration,
    /// What follows it. The part is zero as well once the wait is over.
    rest: Duration,
    /// How late the judge may be and was not away.
    tolerance: Duration,
}

impl Patience {
    /// The wait begins now.
    pub fn new(now: Instant, limit: Duration) -> Self {
        let part = part(limit, limit);
        Self { limit, begun: now, part, rest: limit - part, tolerance: AWAY }
    }

    /// How long the wait is.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// A sign of life: the wait begins anew, now.
    pub fn restart(&mut self, now: Instant) {
        // The sign that was seen first may be told last.
        *self = Self::new(self.begun.max(now), self.limit);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if nothing comes; none if no clock can tell.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.begun.checked_add(self.part)
    }

    /// Time has passed. True if the wait is over: then it is until it [begins anew](Self::restart).
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        while let Some(end) = self.poll_timeout()
            && end <= now
        {
            if self.is_over() {
                return true;
            }
            if now - end > self.tolerance {
                self.begun = now;
                self.tolerance = self.tolerance.saturating_mul(2);
            } else {
                self.begun = end;
                self.part = part(self.rest, self.limit);
                self.rest -= self.part;
            }
        }
        false
    }

    fn is_over(&self) -> bool {
        self.part.is_zero() && self.rest.is_zero()
    }
}

/// How much is waited for before the next look, when so much of the limit is left.
fn part(left: Duration, limit: Duration) -> Duration {
    let half = left / 2;
    if left <= limit / LEAST_PART || half.is_zero() { left } else { half }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::testing::cases;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks whenever it is wanted to, so much too late, until the wait is over. Returns when, and how often it looked.
    fn wait(patience: &mut Patience, late: Duration) -> (Instant, u32) {
        for looks in 1..100 {
            let at = patience.poll_timeout().expect("a clock can tell") + late;
            if patience.handle_timeout(at) {
                return (at, looks);
            }
        }
        panic!("it comes to no verdict: {patience:?}");
    }

    #[test]
    fn who_looks_in_time_is_not_away() {
        let start = Instant::now();
        let mut patience = Patience::new(start, ms(800));
        for look in [400, 600, 700] {
            assert!(!patience.handle_timeout(start + ms(look - 1)));
            assert_eq!(patience.poll_timeout(), Some(start + ms(look)));
            assert!(!patience.handle_timeout(start + ms(look) + AWAY));
        }
        assert!(!patience.handle_timeout(start + ms(799)));
        assert!(patience.handle_timeout(start + ms(800) + AWAY));
        assert!(patience.handle_timeout(start + ms(9_000)), "it stays over");
        patience.restart(start + ms(9_000));
        assert!(!patience.handle_timeout(start + ms(9_401) + AWAY), "too late");
        assert_eq!(patience.poll_timeout(), Some(start + ms(9_801) + AWAY));
    }

    #[test]
    fn a_sign_of_life_that_was_overtaken_moves_nothing_back() {
        let start = Instant::now();
        let mut patience = Patience::new(start, ms(100));
        patience.restart(start + ms(50));
        patience.restart(start + ms(10));
        assert_eq!(wait(&mut patience, Duration::ZERO).0, start + ms(150));
    }

    #[test]
    fn the_shortest_and_the_longest_waits_end_as_they_have_to() {
        let start = Instant::now();
        for limit in (0..40).map(Duration::from_nanos) {
            assert_eq!(wait(&mut Patience::new(start, limit), Duration::ZERO).0, start + limit);
        }
        assert!(Patience::new(start, Duration::ZERO).handle_timeout(start + ms(1_000)));
        let mut patience = Patience::new(start, Duration::MAX);
        assert_eq!(patience.poll_timeout(), None, "no clock can tell");
        assert!(!patience.handle_timeout(start + Duration::from_secs(1 << 30)));
    }

    proptest! {
        #![proptest_config(cases())]

        /// Somebody shows signs of life at least every half of the limit, less the tolerance, of the milliseconds in which the
        /// program runs. After a stop, the judge is the first to go on.
        #[test]
        fn who_shows_signs_of_life_is_not_silent_because_of_a_stop(
            eighths in 3_u64..30,
            every in 1_u64..120,
            late_ms in 0_u64..10,
            stops in vec((0_u64..240, 1_u64..2_000), 1..8),
        ) {
            let (limit, start) = (8 * eighths, Instant::now());
            let every = every.min(limit / 2 - 10);
            let mut patience = Patience::new(start, ms(limit));
            let (mut at, mut ran) = (0, 0);
            for (runs_ms, stops_ms) in stops {
                // One stop in a silence: there was a sign since the last, and the judge is as it was.
                for _ in 0..2 * every + runs_ms {
                    (at, ran) = (at + 1, ran + 1);
                    if ran % every == 0 {
                        patience.restart(start + ms(at));
                    }
                    if at % (late_ms + 1) == 0 {
                        prop_assert!(!patience.handle_timeout(start + ms(at)), "{at} ms, {ran} of them run");
                    }
                }
                at += stops_ms;
                prop_assert!(!patience.handle_timeout(start + ms(at)), "{at} ms, {ran} of them run");
            }
        }

        /// Nobody shows any.
        #[test]
        fn nobody_is_judged_before_the_program_has_run_for_the_limit_but_for_what_goes_unnoticed(
            eighths in 1_u64..30,
            stops in vec((0_u64..240, 0_u64..2_000), 0..8),
        ) {
            let (limit, start) = (8 * eighths, Instant::now());
            let mut patience = Patience::new(start, ms(limit));
            let (mut at, mut ran, mut unnoticed) = (0, 0, 0);
            for (runs_ms, stops_ms) in stops.into_iter().chain([(10 * limit, 0)]) {
                for _ in 0..runs_ms {
                    (at, ran) = (at + 1, ran + 1);
                    if patience.handle_timeout(start + ms(at)) {
                        prop_assert!(ran + unnoticed >= limit, "{ran} ms, and {unnoticed}");
                        return Ok(());
                    }
                }
                at += stops_ms;
                // The tolerance doubles with each that is noticed.
                unnoticed += stops_ms.min(limit / 2 + (10 << 8));
                prop_assert!(!patience.handle_timeout(start + ms(at)) || ran + unnoticed >= limit);
            }
            prop_assert!(false, "no verdict");
        }

        #[test]
        fn a_judge_that_is_always_late_comes_to_a_verdict(limit in 0_u64..200, late in 0_u64..100_000) {
            let looks = wait(&mut Patience::new(Instant::now(), ms(limit)), ms(late)).1;
            prop_assert!(looks <= 4 + 14, "{looks} looks");
        }
    }
}
