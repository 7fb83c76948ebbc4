//! A timeout that does not count the time in which this program was stopped.
//!
//! Invariants:
//! - A wait is checked in parts: when half of it is over, then when half of the rest is, down to an eighth. A stop that begins after
//!   one check and is over before the next is not noticed. So it costs at most half of the wait, and at most an eighth if it is over
//!   just before the end of the wait.
//! - If a check comes more than [`AWAY`] late, the program did not run, and it is not known since when. So that part of the wait
//!   does not count: it begins again.
//! - Each time that happens, the next check may be twice as late. So a program that is always late still reaches the end of a wait.

use std::time::{Duration, Instant};

/// If a check is no later than this, the program was not stopped before it.
pub const AWAY: Duration = Duration::from_millis(10);

/// The rest of a wait is not divided any more once it is this part of the whole.
const LEAST_PART: u32 = 8;

/// A timeout for a peer that has to show a sign of life, to answer, or to end.
///
/// A program can be stopped and continued as a whole: by SIGSTOP, a container's freezer or a debugger. In that time neither the peer
/// nor the waiter could do anything. The waiter notices it because it wakes too late. For that, it wakes a few times within a wait.
///
/// One stop, of any length and at any time, does not make a peer silent that shows a sign of life at least every half of the limit,
/// less [`AWAY`], counted while the program runs.
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
/// assert!(patience.handle_timeout(start + s(64)), "no check was late, and nothing came");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    limit: Duration,
    /// When the part of the wait that lasts began.
    begun: Instant,
    part: Duration,
    /// What follows it. The part is zero as well once the wait is over.
    rest: Duration,
    /// How late a check may be before its part of the wait begins again.
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

    /// A sign of life: the wait begins again, now.
    pub fn restart(&mut self, now: Instant) {
        // Signs may be reported in another order than they were seen.
        *self = Self::new(self.begun.max(now), self.limit);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if no sign of life comes. `None` if that time is beyond the clock's range.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.begun.checked_add(self.part)
    }

    /// Time has passed. Returns whether the wait is over; it stays over until it is [restarted](Self::restart).
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

/// How long to wait before the next check, when this much of the limit is left.
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
