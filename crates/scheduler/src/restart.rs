//! When a worker that died or did not start is replaced, and when what waits for a worker is given up. A core: no clock,
//! no randomness.
//!
//! Each slot has delays of its own, which grow while its starts come to nothing. The pool has one outage at most, with one
//! clock for all slots: it runs while no worker is up.
//!
//! Invariants:
//! - While a worker is up, nothing is given up.
//! - Nothing is given up while the first try on a slot is under way, which may be the one that works, nor before some try has
//!   failed after the patience was over.
//! - What may pass is waited for as long as the patience says, however many tries that takes.
//! - Time in which this program did not run, as far as it noticed, counts for no outage.
//! - Only a worker that was of use ends an outage: it began a task, or was up for [`STEADY_AFTER`], or nobody waited for
//!   it. Workers that greet and die at once, again and again, use up the patience.

use std::time::{Duration, Instant};

use workfleet_worker_lifecycle::Backoff;

/// How long to wait before the next try: per slot, so that one that works does not have the others try without pause.
pub const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), LONGEST_DELAY);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// How long what waits is kept, by default, while no worker is up.
pub const OUTAGE_PATIENCE: Duration = Duration::from_secs(60);

/// The same before the first worker has come up, unless the other patience is shorter.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that was up for so long shows that workers can be, whatever it did.
const STEADY_AFTER: Duration = LONGEST_DELAY;

/// A pause that takes longer than it should by so much was lengthened by a stop of this whole program.
pub const AWAY: Duration = Duration::from_secs(1);

/// What the failure of a start says about the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// What it failed by may pass.
    MayPass,
    /// The next will fail by the same.
    Certain,
}

/// What an incarnation of a worker did that had come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerUse {
    /// It died before it began anything, although something waited.
    Unused,
    /// It died when nothing waited.
    Idle,
    /// It began at least one task.
    Ran,
}

/// Why what waits is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No slot can start a worker, and that will not pass.
    Certain,
    /// No worker was up for this long.
    Waited(Duration),
}

/// What follows from the end of a worker incarnation, or of a failed start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// How long to wait before the next try on that slot.
    pub delay: Duration,
    /// Whether what waits is given up.
    pub verdict: Option<Verdict>,
}

/// The worker incarnations of a pool, as far as they say whether to start the next.
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
    /// What lies before this was excused already.
    excused_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    place: Place,
    /// Starts and incarnations in a row that came to nothing.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first try after an incarnation that came to something, or the first of all.
    Trying,
    Up(Instant),
    /// The last try, or the last incarnation, came to nothing.
    Failed(Prospect),
}

impl Restarts {
    /// Those of a pool without slots.
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self { patience, slots: Vec::new(), up: 0, has_come_up: false, since: Some(now), excused_until: now }
    }

    /// One more slot, on which the first worker is about to be tried. Returns its number.
    pub fn add_slot(&mut self) -> usize {
        self.slots.push(Slot { place: Place::Trying, failures: 0 });
        self.slots.len() - 1
    }

    /// Whether a worker has come up at some time: this program can be a worker.
    pub fn has_come_up(&self) -> bool {
        self.has_come_up
    }

    /// A worker has come up on `slot`.
    pub fn ready(&mut self, now: Instant, slot: usize) {
        self.leave(slot);
        self.slots[slot].place = Place::Up(now);
        self.up += 1;
        self.has_come_up = true;
    }

    /// A try on `slot` has failed. `jitter` spreads the delay over its upper half, so that workers which failed together
    /// do not come back together.
    pub fn start_failed(&mut self, now: Instant, slot: usize, prospect: Prospect, jitter: u8) -> Next {
        self.leave(slot);
        let delay = self.failed(slot, prospect, jitter);
        Next { delay, verdict: self.verdict(now) }
    }

    /// The worker on `slot` is gone.
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

    /// Somebody who wanted to look at the first of these times did so at the second, because this program did not run: it is
    /// no part of an outage. Several may say so of one time.
    pub fn excuse(&mut self, wanted: Instant, now: Instant) {
        let from = wanted.max(self.excused_until);
        let not_run = now.saturating_duration_since(from);
        self.excused_until = self.excused_until.max(now);
        // What began after that was not there to be lengthened by it.
        if let Some(since) = self.since.filter(|since| *since <= from) {
            self.since = Some((since + not_run).min(now));
        }
    }

    /// An attempt has ended: the worker that ran it is of use.
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
