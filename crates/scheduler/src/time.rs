//! Timeouts: workers stall or fall silent, attempts miss heartbeats.

use std::time::{Duration, Instant};

use crate::{
    effect::{Effect, Kill},
    heartbeat_deadline::{HeartbeatDeadline, Verdict},
    lease::Lease,
    liveness::{Due, Liveness},
    queue::Pending,
    scheduler::Scheduler,
};

impl<B> Scheduler<B> {
    /// When to call [`handle_timeout`](Self::handle_timeout), if ever.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let of_workers = self.roster.summary().deadline;
        of_workers.into_iter().chain(self.flights.poll_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_after_heartbeats(now);
        let (prefetch, silence_limit) = (self.limits.prefetch_budget.prefetch, self.limits.silence_limit);
        let mut effects = Vec::new();
        for (slot, worker) in self.roster.iter_mut().filter(|(_, worker)| !worker.load.is_empty()) {
            if worker.stalls_at().is_some_and(|at| now >= at) {
                worker.load.has_stalled();
                // Without prefetching nothing waits behind the one that runs, and nobody could take it back.
                if prefetch {
                    worker.recalls.ask(0);
                    effects.push(Effect::Recall { slot, at_most: u32::MAX, from: 0 });
                }
            }
            match silence_limit.and_then(|limit| worker.liveness.handle_timeout(now, limit)) {
                Some(Due::Ping) => effects.push(Effect::Ping { slot }),
                Some(Due::CatchUp) => effects.push(Effect::CatchUp { slot }),
                None => {}
            }
        }
        self.effects.extend(effects);
    }

    /// Something came from the worker: a sign of life.
    pub fn heard(&mut self, now: Instant, slot: usize) {
        if let Some(worker) = self.worker_mut(slot) {
            worker.liveness = Liveness::heard(now);
        }
    }

    /// A beat of the attempt under `lease` has come, or it has begun. With a timeout, its silence counts from now on. Its task,
    /// to keep what the beat says; `None` if the lease is stale, or the beat too late to change anything.
    pub fn heartbeat(
        &mut self,
        now: Instant,
        slot: usize,
        lease: Lease,
        timeout: Option<Duration>,
    ) -> Option<&mut Pending<B>> {
        match (self.flights.with_deadline(slot, lease, |deadline| deadline.heard(now)), timeout) {
            (Some(false), _) => return None,
            (None, Some(timeout)) => {
                self.flights.set_deadline(slot, lease, HeartbeatDeadline::new(now, timeout))
            }
            (Some(true), _) | (None, None) => {}
        }
        self.leased_mut(slot, lease)
    }

    /// Everything that the worker had sent by `sent_by` was processed. What has not come by then is missing.
    ///
    /// An attempt whose heartbeat is missing has missed its deadline, and is cancelled; its task ends when it does.
    /// Returns why the worker has to be killed, if it is silent, or if such an attempt has not ended within the grace.
    pub fn caught_up(&mut self, now: Instant, slot: usize, sent_by: Instant) -> Option<Kill> {
        let mut overdue = None;
        for lease in self.flights.on(slot) {
            let grace = self.limits.heartbeat_grace;
            match self
                .flights
                .with_deadline(slot, lease, |deadline| deadline.caught_up(now, sent_by, grace))
                .flatten()
            {
                Some(Verdict::Missed) => self.request_cancel(slot, lease),
                Some(Verdict::Overdue(timeout)) => {
                    overdue.get_or_insert(Kill::HeartbeatMissed { timeout });
                }
                None => {}
            }
        }
        let is_silent = self.worker(slot).is_some_and(|worker| worker.liveness.is_silent(sent_by));
        if is_silent { Some(Kill::Silent) } else { overdue }
    }

    fn look_after_heartbeats(&mut self, now: Instant) {
        while let Some((slot, lease)) = self.flights.next_alarm(now) {
            // It may have beaten since the alarm was set, or have time again.
            if self.flights.with_deadline(slot, lease, |deadline| deadline.handle_timeout(now)) == Some(true)
            {
                self.effects.push_back(Effect::CatchUp { slot });
            }
        }
    }
}
