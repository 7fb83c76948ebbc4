//! The attempts of a worker that may still say something.
//!
//! Invariant: of what an attempt's heartbeats say, no more than the latest is held back.

use std::time::{Duration, Instant};

use workfleet_heartbeat::{Details, cores::Throttle};

/// Attempts that have begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct OpenAttempts {
    attempts: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    lease: u64,
    /// The index of the next child that it schedules.
    next_child: u32,
    beats: Beats,
}

/// What an attempt's heartbeats say that has not gone out.
#[derive(Debug)]
pub(crate) struct Beats {
    interval: Duration,
    /// Boxed: most attempts never beat.
    throttle: Option<Box<Throttle<Details>>>,
    /// To go out as soon as there is room; older than what is throttled.
    passed: Option<Details>,
}

impl OpenAttempts {
    /// The attempt under `lease` begins; between two of its heartbeats, `interval` is to pass.
    pub(crate) fn open(&mut self, lease: u64, interval: Duration) {
        let beats = Beats { interval, throttle: None, passed: None };
        self.attempts.push(Open { lease, next_child: 0, beats });
    }

    /// The attempt has ended. What it said last, if that has not gone out.
    pub(crate) fn close(&mut self, lease: u64) -> Option<Details> {
        let place = self.attempts.iter().position(|open| open.lease == lease)?;
        self.attempts.swap_remove(place).beats.take()
    }

    pub(crate) fn is_open(&self, lease: u64) -> bool {
        self.attempts.iter().any(|open| open.lease == lease)
    }

    /// The index of the attempt's next child; it is used up by setting it one higher. None if the attempt has ended.
    pub(crate) fn next_child(&mut self, lease: u64) -> Option<&mut u32> {
        self.attempts.iter_mut().find(|open| open.lease == lease).map(|open| &mut open.next_child)
    }

    /// The attempt's heartbeats. None if it has ended.
    pub(crate) fn beats(&mut self, lease: u64) -> Option<&mut Beats> {
        self.attempts.iter_mut().find(|open| open.lease == lease).map(|open| &mut open.beats)
    }

    /// Those of every attempt, with its lease.
    pub(crate) fn all_beats(&mut self) -> impl Iterator<Item = (u64, &mut Beats)> {
        self.attempts.iter_mut().map(|open| (open.lease, &mut open.beats))
    }
}

impl Beats {
    /// The attempt beats. When what it says is to go out, unless it may now.
    pub(crate) fn offer(&mut self, now: Instant, details: Details) -> Option<Instant> {
        let throttle = self.throttle.get_or_insert_with(|| Box::new(Throttle::new(self.interval)));
        match throttle.offer(now, details) {
            Some(details) => {
                self.passed = Some(details);
                None
            }
            None => throttle.poll_timeout(),
        }
    }

    /// When something that is held back is to go out.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.throttle.as_ref()?.poll_timeout()
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(details) = self.throttle.as_mut().and_then(|throttle| throttle.handle_timeout(now)) {
            self.passed = Some(details);
        }
    }

    /// What is held back may go now.
    pub(crate) fn flush(&mut self) {
        self.passed = self.take();
    }

    /// Takes what may go out.
    pub(crate) fn take_passed(&mut self) -> Option<Details> {
        self.passed.take()
    }

    /// Takes the latest, whether it may go out or not.
    fn take(&mut self) -> Option<Details> {
        let passed = self.passed.take();
        self.throttle.as_mut().and_then(|throttle| throttle.take()).or(passed)
    }
}
