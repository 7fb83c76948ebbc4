//! How long to wait before the next attempt.

use std::time::Duration;

/// Delays that grow with every attempt in a row, up to a limit, and are spread so that what failed together does not come
/// back together.
///
/// The nth delay (from 0) lies between `100 - spread` per cent and all of `first × factorⁿ`, and that is at most `longest`.
///
/// ```
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::Backoff;
///
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// assert_eq!(backoff.delay(0, 255), Duration::from_millis(100)); // the upper end
/// assert_eq!(backoff.delay(2, 0), Duration::from_millis(200)); // the lower end of 400 ms
/// assert_eq!(backoff.delay(1_000_000, 255), Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    factor: u32,
    spread_percent: u8,
}

impl Backoff {
    /// Delays from `first` to `longest` that double each time and are spread over their upper half.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, factor: 2, spread_percent: 50 }
    }

    /// Sets by how much each delay is longer than the last. The default is 2; 1 keeps them all alike, and so does 0.
    #[must_use]
    pub const fn with_factor(mut self, factor: u32) -> Self {
        self.factor = if factor == 0 { 1 } else { factor };
        self
    }

    /// Sets what part of a delay is random, in per cent. The default is 50; more than 100 counts as 100.
    #[must_use]
    pub const fn with_spread(mut self, percent: u8) -> Self {
        self.spread_percent = if percent > 100 { 100 } else { percent };
        self
    }

    /// The longest delay.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// How long to wait before the next attempt when `attempts` in a row came to nothing before the last one. `jitter` is
    /// random: 0 gives the lower end of the spread, 255 the upper.
    pub fn delay(&self, attempts: u32, jitter: u8) -> Duration {
        let mut whole = self.first.min(self.longest);
        for _ in 0..attempts {
            // Also what makes the loop short, however many attempts there were.
            if self.factor == 1 || whole.is_zero() || whole == self.longest {
                break;
            }
            whole = whole.saturating_mul(self.factor).min(self.longest);
        }
        let spread = whole / 100 * u32::from(self.spread_percent);
        whole - spread + spread.saturating_mul(u32::from(jitter)) / 255
    }
}

/// From 100 ms to 30 s.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::cases;

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn a_delay_is_within_its_spread_and_never_shrinks_with_attempts(
            first in 0_u64..10_000_000_000,
            longest in 0_u64..u64::MAX,
            factor in 0_u32..10,
            spread in 0_u8..=255,
            attempts in 0_u32..100,
            jitter: u8,
        ) {
            let backoff = Backoff::new(Duration::from_nanos(first), Duration::from_nanos(longest));
            let backoff = backoff.with_factor(factor).with_spread(spread);
            let delay = backoff.delay(attempts, jitter);
            prop_assert!(delay <= Duration::from_nanos(longest));
            prop_assert!(backoff.delay(attempts, 0) <= delay && delay <= backoff.delay(attempts, 255));
            prop_assert!(delay <= backoff.delay(attempts + 1, jitter));
            let whole = (0..attempts).fold(u128::from(first), |whole, _| whole.saturating_mul(factor.max(1).into()));
            let whole = whole.min(u128::from(longest));
            // Per cent are taken in whole nanoseconds.
            prop_assert!(backoff.delay(attempts, 255).as_nanos() <= whole);
            prop_assert!(delay.as_nanos() + 100 >= whole * u128::from(100 - spread.min(100)) / 100);
        }
    }

    #[test]
    fn the_longest_of_all_delays_overflows_nothing() {
        let backoff = Backoff::new(Duration::MAX, Duration::MAX).with_spread(100);
        assert_eq!(backoff.delay(u32::MAX, 0), Duration::MAX - Duration::MAX / 100 * 100);
        assert!(backoff.delay(u32::MAX, 255) <= Duration::MAX);
    }
}
