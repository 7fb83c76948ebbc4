//! The clock that all processes of a machine share, and how to measure by it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock: comparable between processes, unlike an `Instant`, which cannot travel.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative on this clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// How long one of so many calls takes on average, in nanoseconds, after some that do not count. Each call is told its
/// number.
pub(crate) fn mean_ns(calls: u64, mut call: impl FnMut(u64)) -> f64 {
    (0..calls / 10).for_each(&mut call);
    let started_ns = now_ns();
    (0..calls).for_each(&mut call);
    (now_ns() - started_ns) as f64 / calls as f64
}

/// Sleeps until every thread that is to wait waits, and the processors sleep.
pub(crate) fn rest() {
    const LONG_ENOUGH: Duration = Duration::from_millis(2);
    #[expect(clippy::disallowed_methods, reason = "nothing tells that others have fallen asleep")]
    std::thread::sleep(LONG_ENOUGH);
}

#[cfg(test)]
mod tests {
    use super::{mean_ns, now_ns};

    #[test]
    fn it_does_not_go_back() {
        let first = now_ns();
        assert!(first > 0);
        assert!(now_ns() >= first);
    }

    #[test]
    fn what_is_measured_is_called_as_often_as_asked_and_before() {
        let mut calls = Vec::new();
        mean_ns(20, |number| calls.push(number));
        let expected: Vec<u64> = (0..2).chain(0..20).collect();
        assert_eq!(calls, expected);
    }
}
