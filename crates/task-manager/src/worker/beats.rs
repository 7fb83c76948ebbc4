//! How often the heartbeats of attempts go out of a worker process.
//!
//! Each attempt has its interval: what it says goes out at once, or takes the place of what it said before until that may go.
//! The outbox says what time it is, and how much room there is.
//!
//! Invariants:
//! - Of what an attempt says, no more than the latest is kept: beats take bounded memory however many they are.
//! - What an attempt said last goes out, or is handed over at its end.

use std::time::{Duration, Instant};

use workfleet_heartbeat::{Details, cores::Throttle};

use crate::{
    kinds,
    protocol::{self, HeartbeatFrame},
    sys::outgoing::Outgoing,
};

/// What the heartbeats of attempts say that has not gone out.
#[derive(Debug, Default)]
pub(super) struct HeldBeats {
    /// By lease, the attempts that have beaten: most never do.
    attempts: Vec<(u64, Beats)>,
}

/// The heartbeats of one attempt.
#[derive(Debug)]
struct Beats {
    throttle: Throttle<Details>,
    /// To go out as soon as there is room; older than what is throttled.
    passed: Option<Details>,
}

impl HeldBeats {
    /// The attempt under `lease`, which is open, beats; between two of its beats, `interval` is to pass. When what it says is to
    /// go out, unless it may now.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        lease: u64,
        interval: Duration,
        details: Details,
    ) -> Option<Instant> {
        let place = self.attempts.iter().position(|(of, _)| *of == lease).unwrap_or_else(|| {
            self.attempts.push((lease, Beats { throttle: Throttle::new(interval), passed: None }));
            self.attempts.len() - 1
        });
        let Beats { throttle, passed } = &mut self.attempts[place].1;
        match throttle.offer(now, details) {
            Some(details) => {
                *passed = Some(details);
                None
            }
            None => throttle.poll_timeout(),
        }
    }

    /// The attempt has ended. What it said last, if that has not gone out.
    pub(super) fn end(&mut self, lease: u64) -> Option<Details> {
        let place = self.attempts.iter().position(|(of, _)| *of == lease)?;
        self.attempts.swap_remove(place).1.take()
    }

    /// Lets pass what was held back long enough; when the next may.
    pub(super) fn let_pass(&mut self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        // Most often there is none: the clock is not asked then.
        self.due()?;
        let now = now();
        for (_, beats) in &mut self.attempts {
            if let Some(details) = beats.throttle.handle_timeout(now) {
                beats.passed = Some(details);
            }
        }
        self.due()
    }

    /// When the next that is held back may go.
    fn due(&self) -> Option<Instant> {
        self.attempts.iter().filter_map(|(_, beats)| beats.throttle.poll_timeout()).min()
    }

    /// Lets pass what is held back, of the attempt under `lease` or of all.
    pub(super) fn flush(&mut self, lease: Option<u64>) {
        let meant = self.attempts.iter_mut().filter(|(of, _)| lease.is_none_or(|lease| *of == lease));
        meant.for_each(|(_, beats)| beats.passed = beats.take());
    }

    /// Appends what may go while no more than this waits. The rest goes when the socket has taken that, or something later in its
    /// place.
    pub(super) fn push_passed(&mut self, outgoing: &mut Outgoing, limit_bytes: usize) {
        for (lease, beats) in &mut self.attempts {
            if outgoing.waiting_bytes() <= limit_bytes
                && let Some(details) = beats.passed.take()
            {
                push(outgoing, *lease, Some(&details));
            }
        }
    }
}

impl Beats {
    /// Takes the latest, whether it may go out or not.
    fn take(&mut self) -> Option<Details> {
        let passed = self.passed.take();
        self.throttle.take().or(passed)
    }
}

/// Appends the heartbeat of an attempt, or tells its begin.
pub(super) fn push(outgoing: &mut Outgoing, lease: u64, details: Option<&Details>) {
    let frame = HeartbeatFrame { lease, details: details.map(Details::as_bytes) };
    if let Err(error) = protocol::push(kinds::HEARTBEAT, &frame, outgoing.buffer()) {
        // Numbers and bytes always encode.
        workfleet_notice::error!(%error, "a heartbeat was lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn details(number: u32) -> Details {
        Details::encode(&number).expect("a number")
    }

    #[test]
    fn each_attempt_has_its_own_interval_and_takes_its_own_last_words_along() {
        let (mut held, now) = (HeldBeats::default(), Instant::now());
        assert_eq!(held.let_pass(|| unreachable!("nothing is held back")), None);
        for (lease, interval) in [(1, HOUR), (2, 2 * HOUR)] {
            assert_eq!(held.offer(now, lease, interval, details(0)), None, "the first goes at once");
            for number in 1..3 {
                assert_eq!(held.offer(now, lease, interval, details(number)), Some(now + interval));
            }
        }
        assert_eq!(held.let_pass(|| now + HOUR), Some(now + 2 * HOUR));
        let mut outgoing = Outgoing::default();
        // There is room for one: the other's first waits, beside its last.
        held.push_passed(&mut outgoing, 0);
        assert!(!outgoing.is_empty());
        assert_eq!(held.end(1), None, "what it said last has gone out");
        assert_eq!(held.end(2), Some(details(2)));
        assert_eq!(held.end(2), None);
        assert_eq!(held.let_pass(|| unreachable!("nothing is held back")), None);
    }
}
