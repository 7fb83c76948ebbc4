//! When a worker that died or did not start is replaced, and when waiting tasks are given up. A core: no clock, no
//! randomness.
//!
//! Each slot has its own delays, which grow while its starts fail. The pool has at most one outage, whose time is
//! counted for all slots together while no worker is up.
//!
//! Invariants:
//! - While a worker is up, nothing is given up.
//! - Nothing is given up while the first start in a slot is under way, because it may succeed. Nothing is given up
//!   before a start has failed after the patience was over.
//! - If the reason may pass, starts are tried again for as long as the patience says, however many they are.
//! - Time in which this program did not run is not counted, where that was noticed.
//! - Only a worker that was of use ends an outage: it began a task, or was up for [`STEADY_AFTER`], or no task waited.
//!   Workers that come up and die at once, again and again, do not.

use std::time::{Duration, Instant};

use workfleet_worker_lifecycle::Backoff;

/// How long to wait before the next start. It is counted for each slot, so that a slot that works does not make the
/// others try without pause.
pub const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), LONGEST_DELAY);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// How long waiting tasks are kept by default while no worker is up.
pub const OUTAGE_PATIENCE: Duration = Duration::from_secs(60);

/// The same before the first worker has come up, unless the other patience is shorter.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that was up for this long shows that workers can start, even if it began no task.
const STEADY_AFTER: Duration = LONGEST_DELAY;

/// If a pause takes longer than it should by at least this much, the whole program was stopped meanwhile.
pub const AWAY: Duration = Duration::from_secs(1);

/// What the failure of a start says about the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// The reason may pass.
    MayPass,
    /// The next start will fail for the same reason.
    Certain,
}

/// What use a worker was that had come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerUse {
    /// It died before it began anything, although something waited.
    Unused,
    /// It died when nothing waited.
    Idle,
    /// It began at least one task.
    Ran,
}

/// Why waiting tasks are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No slot can start a worker, and the reason will not pass.
    Certain,
    /// No worker was up for this long.
    Waited(Duration),
}

/// What follows from a worker's end, or from a failed start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// How long to wait before the next start in that slot.
    pub delay: Duration,
    /// Whether waiting tasks are given up, and why.
    pub verdict: Option<Verdict>,
}

/// The starts and ends of a pool's workers: they decide when the next worker is started, and when waiting tasks are
/// given up.
#[derive(Debug)]
pub struct Restarts {
    patience: Duration,
    slots: Vec<Slot>,
    /// How many of them are [`Place::Up`].
    up: usize,
    /// A worker has come up at some time.
    has_come_up: bool,
    /// Since when no worker was up, or none that was of use; later by the time in which this program did not run.
    since: Option<Instant>,
    /// Time before this was excused already.
    excused_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    place: Place,
    /// Failed starts, and workers that were of no use, in a row.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first start of all, or the first after a worker that was of use.
    Trying,
    Up(Instant),
    /// The last start failed, or the last worker was of no use.
    Failed(Prospect),
}

impl Restarts {
    /// For a pool without slots.
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self { patience, slots: Vec::new(), up: 0, has_come_up: false, since: Some(now), excused_until: now }
    }

    /// Adds a slot, in which a first worker is about to be started. Returns its number.
    pub fn add_slot(&mut self) -> usize {
        self.slots.push(Slot { place: Place::Trying, failures: 0 });
        self.slots.len() - 1
    }

    /// Whether a worker has ever come up, which shows that this program can be a worker.
    pub fn has_come_up(&self) -> bool {
        self.has_come_up
    }

    /// A worker has come up in `slot`.
    pub fn ready(&mut self, now: Instant, slot: usize) {
        self.leave(slot);
        self.slots[slot].place = Place::Up(now);
        self.up += 1;
        self.has_come_up = true;
    }

    /// A start in `slot` has failed. `jitter` spreads the delay over its upper half, so that workers that failed
    /// together are not started together.
    pub fn start_failed(&mut self, now: Instant, slot: usize, prospect: Prospect, jitter: u8) -> Next {
        self.leave(slot);
        let delay = self.failed(slot, prospect, jitter);
        Next { delay, verdict: self.verdict(now) }
    }

    /// The worker in `slot` is gone.
    pub fn died(&mut self, now: Instant, slot: usize, worker_use: WorkerUse, jitter: u8) -> Next {
        let steady = match self.slots[slot].place {
            Place::Up(since) => now.saturating_duration_since(since) >= STEADY_AFTER,
            Place::Trying | Place::Failed(_) => false,
        };
        self.leave(slot);
        if steady || worker_use != WorkerUse::Unused {
            self.since = None;
        }
        if self.up == 0 {
            self.since.get_or_insert(now);
        }
        if steady || worker_use == WorkerUse::Ran {
            self.slots[slot].failures = 0;
        }
        if worker_use == WorkerUse::Ran {
            self.slots[slot].place = Place::Trying;
            return Next { delay: Duration::ZERO, verdict: None };
        }
        let delay = self.failed(slot, Prospect::MayPass, jitter);
        // Where nothing waits, there is nothing to be given up.
        let verdict = if worker_use == WorkerUse::Unused { self.verdict(now) } else { None };
        Next { delay, verdict }
    }

    /// A timer for the time `wanted` ran at `now`, because this program did not run in between: that time is no part of
    /// an outage. Several callers may report the same time.
    pub fn excuse(&mut self, wanted: Instant, now: Instant) {
        let from = wanted.max(self.excused_until);
        let not_run = now.saturating_duration_since(from);
        self.excused_until = self.excused_until.max(now);
        // What began after that was not there to be lengthened by it.
        if let Some(since) = self.since.filter(|since| *since <= from) {
            self.since = Some((since + not_run).min(now));
        }
    }

    /// An attempt has ended: its worker is of use.
    pub fn progress(&mut self) {
        // While one is up, nobody asks since when none is.
        if self.up > 0 {
            self.since = None;
        }
    }

    fn leave(&mut self, slot: usize) {
        if let Place::Up(_) = self.slots[slot].place {
            self.up -= 1;
        }
    }

    fn failed(&mut self, slot: usize, prospect: Prospect, jitter: u8) -> Duration {
        let slot = &mut self.slots[slot];
        let delay = BACKOFF.delay(slot.failures, jitter);
        *slot = Slot { place: Place::Failed(prospect), failures: slot.failures.saturating_add(1) };
        delay
    }

    fn verdict(&mut self, now: Instant) -> Option<Verdict> {
        if self.up > 0 {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let mut certain = true;
        for slot in &self.slots {
            match slot.place {
                Place::Failed(prospect) => certain &= prospect == Prospect::Certain,
                Place::Trying | Place::Up(_) => return None,
            }
        }
        let waited = now.saturating_duration_since(since);
        match certain {
            true => Some(Verdict::Certain),
            false => (waited >= self.patience_now()).then_some(Verdict::Waited(waited)),
        }
    }

    fn patience_now(&self) -> Duration {
        if self.has_come_up { self.patience } else { first_patience(self.patience) }
    }
}

/// How long to wait for the first worker, where the patience is this one.
pub fn first_patience(patience: Duration) -> Duration {
    patience.min(FIRST_PATIENCE)
}

#[cfg(test)]
mod tests;
