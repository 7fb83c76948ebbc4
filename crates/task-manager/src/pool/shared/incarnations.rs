//! What worker slots report: a worker has come up, has failed to start, or is gone.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use workfleet_scheduler::{AWAY, Gone, Lease, Next, Verdict, WorkerUse};

use super::{ReadyWorker, Shared, core::Core, jitter, worker_name};
use workfleet_causes::with_sources;

use crate::{
    failure::{DeathCertificate, KillReason},
    ids::TaskId,
    pool::{given_up::GivenUp, report::Abandoned, start::StartFailure},
};

impl Shared {
    /// Adds slots, on each of which the manager's thread keeps a worker from now on.
    pub(super) fn hire(&self, workers: usize) {
        let mut core = self.lock_core();
        for _ in 0..workers {
            core.restarts.add_slot();
            core.slots.push(None);
        }
        self.slots.send_replace(core.slots.len());
    }

    /// A worker sits down.
    pub(crate) fn worker_ready(&self, slot: usize, ready: ReadyWorker) {
        self.run_scheduler(|core, _| {
            let now = Instant::now();
            core.slots[slot] = Some(ready);
            core.restarts.ready(now, slot);
            core.scheduler.worker_ready(now, slot);
        });
    }

    /// A worker did not start.
    pub(crate) fn start_failed(&self, slot: usize, failure: &StartFailure) -> Next {
        self.run_scheduler(|core, _| {
            let prospect = failure.prospect(core.restarts.has_come_up());
            let next = core.restarts.start_failed(Instant::now(), slot, prospect, jitter());
            core.give_up(next.verdict, || with_sources(failure));
            next
        })
    }

    /// A slot has paused until then, or for longer because this program did not run.
    pub(crate) fn waited_until(&self, end: Instant) {
        let now = Instant::now();
        if now.saturating_duration_since(end) > AWAY {
            self.lock_core().restarts.excuse(end, now);
        }
    }

    /// A worker is dead and everything it had sent was handled. Returns how long to wait before the next one.
    pub(crate) fn worker_gone(
        &self,
        slot: usize,
        running: &[u64],
        certificate: DeathCertificate,
    ) -> (DeathCertificate, Duration) {
        self.run_scheduler(|core, _| {
            core.slots[slot] = None;
            let mut certificate = certificate;
            let running: Vec<Lease> = running.iter().map(|&lease| Lease::from_bits(lease)).collect();
            let gone = match certificate.killed_because {
                Some(KillReason::HeartbeatMissed(_)) => Gone::Overdue,
                _ => Gone::Died,
            };
            let had = core.scheduler.worker_gone(slot, &running, gone, |task| {
                certificate.charged.get_or_insert(TaskId::new(self.id, task.sequence));
                task.body.history.get_or_insert_default().deaths.push(certificate.clone());
            });
            let next = core.died(slot, running.is_empty(), had);
            core.give_up(next.verdict, || certificate.to_string());
            (certificate, next.delay)
        })
    }

    /// A worker thread has ended, or is left alone with what it still runs.
    pub(crate) fn thread_gone(&self, slot: usize, running: &[u64], gone: Gone) {
        self.run_scheduler(|core, _| {
            core.slots[slot] = None;
            let running: Vec<Lease> = running.iter().map(|&lease| Lease::from_bits(lease)).collect();
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            for &lease in &running {
                // What was not late itself is tried again.
                let ends = gone == Gone::Died || core.scheduler.has_missed(slot, lease);
                if let Some((task, _)) = core.scheduler.leased(slot, lease).filter(|_| ends) {
                    left.abandoned.push(Abandoned {
                        worker: worker_name(slot),
                        task: TaskId::new(self.id, task.sequence),
                        name: task.body.task.name().to_owned(),
                    });
                }
            }
            drop(left);
            core.scheduler.worker_gone(slot, &running, gone, |_| ());
            // A thread ends when its work is done, or is given up for what it did: the next comes at once.
            core.restarts.died(Instant::now(), slot, WorkerUse::Ran, 0);
        });
    }

    /// The manager's thread has failed: ends every task, so that no caller waits for one.
    pub(crate) fn abandon(&self) {
        self.refuse_newcomers();
        self.run_scheduler(|core, _| {
            core.scheduler.halt();
            for slot in 0..core.slots.len() {
                core.slots[slot] = None;
                core.scheduler.worker_gone(slot, &[], Gone::Died, |_| ());
            }
        });
    }
}

impl Core {
    /// A worker that had come up has ended. It had `had` tasks; it may have begun none of them.
    fn died(&mut self, slot: usize, began_nothing: bool, had: usize) -> Next {
        let worker_use = if !began_nothing {
            WorkerUse::Ran
        } else if had == 0 && self.scheduler.books().pending() == 0 {
            WorkerUse::Idle
        } else {
            WorkerUse::Unused
        };
        self.restarts.died(Instant::now(), slot, worker_use, jitter())
    }

    /// Ends what waits if that is the verdict: no worker is up and none will start, for this reason.
    fn give_up(&mut self, verdict: Option<Verdict>, reason: impl FnOnce() -> String) {
        let Some(verdict) = verdict else { return };
        self.why_none_starts = GivenUp::new(verdict, &reason());
        self.scheduler.fail_queued();
    }
}
