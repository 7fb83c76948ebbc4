//! The clock that all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock: comparable between processes, unlike an `Instant`, which cannot travel.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative on this clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::now_ns;

    #[test]
    fn it_does_not_go_back() {
        let first = now_ns();
        assert!(first > 0);
        assert!(now_ns() >= first);
    }
}
