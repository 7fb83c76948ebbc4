//! Who gets which task, and who has to make way.
//!
//! A task goes to the worker with the least in hand, urgent ones first. Workers take turns: a turn is a share of what
//! waits, so that a short queue is spread evenly and a long one goes out in large pieces. What was handed out too early is
//! asked back: for an idle worker, or for something more urgent.

use std::time::Instant;

use crate::{
    effect::{Dispatch, Effect},
    queue::Lane,
    roster::Summary,
    scheduler::Scheduler,
};

impl<B> Scheduler<B> {
    /// The next task to hand to a worker. The driver sends it before it calls again.
    pub fn next_dispatch(&mut self, now: Instant) -> Option<Dispatch<'_, B>> {
        if !self.dispatches() {
            return None;
        }
        if self.queue.first(Lane::Suspect).is_none() {
            // The one that waited may have been cancelled.
            self.reserved = None;
        }
        let (lane, slot) = self.next_place()?;
        let task = self.queue.lease(lane)?;
        if lane == Lane::Suspect {
            self.reserved = None;
        }
        let cost_ns = self.estimates.of(task.class);
        if let Some(worker) = self.worker_mut(slot) {
            worker.give(now, &task, cost_ns);
        }
        let (lease, task) = self.flights.lease(task, slot, cost_ns);
        Some(Dispatch { slot, lease, attempt: task.attempt_number(), task })
    }

    /// Which lane's first task goes where.
    fn next_place(&mut self) -> Option<(Lane, usize)> {
        if self.queue.holds_only(Lane::Single) {
            return Some((Lane::Single, self.slot_in_turn()?));
        }
        self.lanes().find_map(|lane| Some((lane, self.slot_for(lane)?)))
    }

    /// The lanes that hold tasks, the one whose first task is the most urgent and oldest at the front.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = Lane> + use<B> {
        let first = |lane| self.queue.first(lane).map(|task| (task.priority, task.sequence, lane));
        let mut lanes = Lane::ALL.map(first);
        if lanes[1].is_some() || lanes[2].is_some() {
            lanes.sort_unstable();
        }
        lanes.into_iter().flatten().map(|(.., lane)| lane)
    }

    /// Where the first task of a lane may go.
    fn slot_for(&mut self, lane: Lane) -> Option<usize> {
        match lane {
            Lane::Single => self.slot_in_turn(),
            Lane::Concurrent => self.least_laden(lane),
            Lane::Suspect => self.queue.first(lane).is_some().then(|| self.reserve())?,
        }
    }

    /// A slot whose worker has nothing in hand; if there is none, one is reserved, so that there will be.
    fn reserve(&mut self) -> Option<usize> {
        let candidates = self.roster.iter().filter(|(_, worker)| worker.may_become_empty());
        let (slot, least_laden) = candidates.min_by_key(|(_, worker)| worker.load.len())?;
        if least_laden.load.is_empty() {
            return Some(slot);
        }
        self.reserved.get_or_insert(slot);
        None
    }

    /// Who gets the first task of a lane, if anybody takes it.
    fn least_laden(&mut self, lane: Lane) -> Option<usize> {
        let task = self.queue.first(lane)?;
        match self.reserved {
            Some(reserved) => self.roster.least_laden_but(reserved, task),
            None => self.roster.least_laden(task),
        }
    }

    /// The slot being filled while its turn lasts, then the one with the least in hand.
    fn slot_in_turn(&mut self) -> Option<usize> {
        let Some(task) = self.queue.first(Lane::Single) else {
            self.filling = None;
            return None;
        };
        if let Some((slot, left)) = self.filling
            && left > 0
            && self.reserved != Some(slot)
            && self.worker(slot).is_some_and(|worker| worker.takes(task))
        {
            self.filling = Some((slot, left - 1));
            return Some(slot);
        }
        let Some(slot) = self.least_laden(Lane::Single) else {
            // The turn is over: what comes later goes to the worker that has the least in hand then.
            self.filling = None;
            return None;
        };
        let turn = (self.queue.len() / (2 * self.roster.summary().workers as usize)).max(1);
        self.filling = Some((slot, turn - 1));
        Some(slot)
    }

    /// An idle worker with nothing left in the queue gets half of what waits behind the busiest one.
    pub(crate) fn balance(&mut self) {
        if let Some(first) = self.queue.first(Lane::Single) {
            let urgent = first.priority;
            return self.make_way(urgent);
        }
        let Summary { idle, recalling, .. } = *self.roster.summary();
        for _ in recalling..idle {
            let Some(slot) = self.roster.summary().busiest() else { return };
            let Some(victim) = self.roster.get_mut(slot) else { return };
            victim.recalls.ask(0);
            let at_most = victim.load.queue_len().div_ceil(2);
            self.effects.push_back(Effect::Recall { slot, at_most, from: 0 });
        }
    }

    /// Tasks that have to wait here are not overtaken by less urgent ones that a worker has prefetched.
    fn make_way(&mut self, urgent: u8) {
        if !self.roster.summary().is_in_the_way_of(urgent) {
            return;
        }
        for (slot, worker) in self.roster.iter_mut() {
            if worker.in_the_way_of() >= Some(urgent) {
                worker.recalls.none_is_less_urgent_than(urgent);
                let at_most = worker.load.beyond(urgent);
                if at_most > 0 {
                    let from = urgent + 1;
                    worker.recalls.ask(from);
                    self.effects.push_back(Effect::Recall { slot, at_most, from });
                }
            }
        }
    }
}
