//! The rates of series: a bucket of tokens for each, of which every lease takes one.
//!
//! The bucket is kept as the instant at which it would be full (the generic cell rate algorithm, ITU-T I.371).

use std::time::{Duration, Instant};

use crate::{Rate, cores::timers::after};

/// What is known of one series.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// How many of its tasks have not ended.
    pub(crate) open: usize,
    /// Its rate, and when its bucket will be full.
    bucket: Option<(Rate, Instant)>,
    /// When its timer is set.
    pub(crate) timer: Option<Instant>,
}

impl Series {
    /// From now on it has this rate. What was taken before stays taken.
    pub(crate) fn set_rate(&mut self, now: Instant, rate: Rate) {
        let full = self.bucket.map_or(now, |(_, full)| full);
        self.bucket = Some((rate, full.min(after(now, rate.per))));
    }

    /// When there is a token in the bucket; none if there is one now.
    pub(crate) fn next_token(&self, now: Instant) -> Option<Instant> {
        let (rate, full) = self.bucket?;
        let missing = full.saturating_duration_since(now);
        let may_miss = rate.per.saturating_sub(interval(rate));
        let wait = missing.checked_sub(may_miss).filter(|wait| !wait.is_zero())?;
        Some(after(now, wait))
    }

    /// Takes a token.
    pub(crate) fn take(&mut self, now: Instant) {
        if let Some((rate, full)) = &mut self.bucket {
            *full = after((*full).max(now), interval(*rate));
        }
    }

    /// When there is nothing left to be known of it; none if it has open tasks.
    pub(crate) fn idle_at(&self, now: Instant) -> Option<Instant> {
        (self.open == 0).then(|| self.bucket.map_or(now, |(_, full)| full.max(now)))
    }
}

/// In which time one token comes.
fn interval(rate: Rate) -> Duration {
    rate.per / rate.count.max(1)
}
