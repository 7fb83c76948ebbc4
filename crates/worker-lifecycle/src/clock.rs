//! The clock of deadlines: tokio's, without the time in which this program did not run.
//!
//! A program that is stopped (SIGSTOP, a debugger, a container's freezer) would find all deadlines passed when it goes on,
//! although no worker had the time. So a wait for a deadline wakes up now and then, and what it takes too long is no part of
//! the time that passes here.
//!
//! Invariants:
//! - A deadline is an [`Instant`] of this clock everywhere in this crate. Users are given tokio's.
//! - A reading of this clock leaves out all time that was missed before it.
//! - No more is missed than a wait took too long. Mere load takes a deadline no further than the program was late.
//! - Nothing wakes up for this unless somebody waits for a deadline.
//! - A clock that a test has paused is read as it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{self, Duration},
};

use tokio::time::{Instant, Sleep};
use workfleet_fork::PerProcess;

/// A wait that is late by no more than this is on time.
const TOLERANCE: Duration = Duration::from_millis(200);
/// A clock that is further from the real one than this is a paused one.
const PAUSED_BEYOND: Duration = Duration::from_millis(100);
/// A wait wakes up after this part of what is left of it, and no sooner than after the least.
const PARTS: u32 = 16;
const LEAST_PART: Duration = Duration::from_millis(50);

/// How long after its deadline a worker that was told to end and does not is called stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_millis(100);
/// No clock reaches it.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

static ACCOUNT: PerProcess<Mutex<Account>> = PerProcess::new();

/// What this program has missed.
#[derive(Debug, Default)]
struct Account {
    /// When each wait of now should wake up.
    waits: BTreeMap<u64, time::Instant>,
    next: u64,
    missed: Duration,
}

impl Account {
    /// Notices what was missed. Returns all of it.
    fn look(&mut self, now: time::Instant) -> Duration {
        let Some(&due) = self.waits.values().min() else { return self.missed };
        let late = now.saturating_duration_since(due);
        if late > TOLERANCE {
            self.missed += late;
            // They wake up now: what is late of that is missed again.
            self.waits.values_mut().for_each(|due| *due = now.max(*due));
        }
        self.missed
    }

    fn begin(&mut self, now: time::Instant, part: Duration) -> u64 {
        self.look(now);
        self.next += 1;
        self.waits.insert(self.next, now + part);
        self.next
    }

    fn end(&mut self, now: time::Instant, wait: u64) {
        self.look(now);
        self.waits.remove(&wait);
    }
}

fn with_account<R>(change: impl FnOnce(&mut Account) -> R) -> R {
    let account = ACCOUNT.get_or_init(Mutex::default);
    change(&mut account.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A part of a wait, while it lasts.
struct Part(u64);

impl Drop for Part {
    fn drop(&mut self) {
        with_account(|account| account.end(time::Instant::now(), self.0));
    }
}

/// How much of the time until this one on tokio's clock was missed.
fn missed(now: Instant) -> Duration {
    let real = time::Instant::now();
    if is_paused(now, real) { Duration::ZERO } else { with_account(|account| account.look(real)) }
}

fn is_paused(now: Instant, real: time::Instant) -> bool {
    let now = now.into_std();
    now.saturating_duration_since(real).max(real.saturating_duration_since(now)) > PAUSED_BEYOND
}

/// Now.
pub(crate) fn now() -> Instant {
    let now = Instant::now();
    now.checked_sub(missed(now)).unwrap_or(now)
}

/// This long from now, by this clock; a time that no clock reaches counts as thirty years.
pub(crate) fn after(period: Duration) -> Instant {
    now() + period.min(FAR)
}

/// When tokio's clock will reach a time of this one, if the program runs on.
pub(crate) fn on_tokios(time: Instant) -> Instant {
    time + missed(Instant::now())
}

/// Waits until then, by timers that `sleep` makes, of tokio's clock.
pub(crate) async fn sleep_until(time: Instant, sleep: impl Fn(Instant) -> Sleep) {
    loop {
        let left = time.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        let part = (left / PARTS).max(LEAST_PART).min(left);
        let (now, real) = (Instant::now(), time::Instant::now());
        let wait = (!is_paused(now, real)).then(|| Part(with_account(|account| account.begin(real, part))));
        sleep(now + part).await;
        drop(wait);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::testing::cases;

    #[test]
    fn what_a_wait_takes_too_long_is_missed_whoever_looks_first() {
        let begin = time::Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut account = Account::default();
        let long = account.begin(at(0), Duration::from_millis(600));
        let short = account.begin(at(0), Duration::from_millis(50));
        assert_eq!(account.look(at(250)), Duration::ZERO, "it is on time");
        assert_eq!(account.look(at(2_050)), Duration::from_millis(2_000));
        account.end(at(2_060), short);
        account.end(at(2_070), long);
        assert_eq!(account.look(at(9_000)), Duration::from_millis(2_000), "nobody waits");
    }

    proptest! {
        #![proptest_config(cases())]

        /// Several wait, each in parts of its own, and the program is stopped now and then.
        #[test]
        fn what_is_missed_is_what_the_program_was_stopped_but_for_a_part_and_the_tolerance(
            parts_ms in vec(1_u64..700, 1..4),
            stops in vec((0_u64..3_000, 0_u64..5_000), 0..6),
        ) {
            let begin = time::Instant::now();
            let at = |ms| begin + Duration::from_millis(ms);
            let mut account = Account::default();
            let start = |account: &mut Account, who: usize, ms| {
                (account.begin(at(ms), Duration::from_millis(parts_ms[who])), ms + parts_ms[who])
            };
            let mut waits: Vec<_> = (0..parts_ms.len()).map(|who| start(&mut account, who, 0)).collect();
            let (mut now_ms, mut stopped_ms, mut unnoticed_ms) = (0, 0, 0);
            for (runs_ms, stops_ms) in stops {
                let until_ms = now_ms + runs_ms;
                while let Some(who) = (0..waits.len()).min_by_key(|&who| waits[who].1)
                    && waits[who].1 <= until_ms
                {
                    // At once when the program goes on, if that is later.
                    now_ms = now_ms.max(waits[who].1);
                    account.end(at(now_ms), waits[who].0);
                    waits[who] = start(&mut account, who, now_ms);
                }
                now_ms = until_ms + stops_ms;
                stopped_ms += stops_ms;
                unnoticed_ms += stops_ms.min(700 + TOLERANCE.as_millis() as u64);
            }
            let missed_ms = account.look(at(now_ms)).as_millis() as u64;
            prop_assert!(missed_ms <= stopped_ms && missed_ms + unnoticed_ms >= stopped_ms, "{missed_ms} of {stopped_ms}");
        }
    }
}
