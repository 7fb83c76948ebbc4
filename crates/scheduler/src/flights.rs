//! The tasks in flight: leased to a worker, and not ended.
//!
//! Invariants:
//! - A fence stands for one lease, so what is said of a lease that has ended finds nothing.
//! - An attempt that has to beat has at most one alarm, and that is never later than its [deadline](HeartbeatDeadline::poll_timeout).

use std::{collections::BTreeSet, time::Instant};

use crate::{heartbeat_deadline::HeartbeatDeadline, lease::Lease, queue::Pending};

#[derive(Debug)]
pub(crate) struct Flight<B> {
    pub(crate) task: Pending<B>,
    slot: u32,
    fence: u32,
    /// What its worker's load counts it as.
    pub(crate) cost_ns: u64,
    pub(crate) cancel_requested: bool,
    /// The index of the attempt's next child, where that is counted here.
    pub(crate) next_child: u32,
    /// Of an attempt that has to beat, and has begun. Boxed: most have none.
    deadline: Option<Box<Armed>>,
}

#[derive(Debug)]
struct Armed {
    deadline: HeartbeatDeadline,
    /// Under which time it stands among the alarms.
    alarm: Option<Instant>,
}

impl<B> Flight<B> {
    pub(crate) fn deadline(&self) -> Option<&HeartbeatDeadline> {
        self.deadline.as_ref().map(|armed| &armed.deadline)
    }
}

#[derive(Debug)]
pub(crate) struct Flights<B> {
    table: Vec<Option<Flight<B>>>,
    free: Vec<u32>,
    next_fence: u32,
    /// When to look after which index whose attempt has to beat. One that beats is looked after twice in its timeout.
    alarms: BTreeSet<(Instant, u32)>,
}

impl<B> Flights<B> {
    pub(crate) fn new() -> Self {
        Self { table: Vec::new(), free: Vec::new(), next_fence: 1, alarms: BTreeSet::new() }
    }

    /// Leases a task to the worker on `slot`.
    #[inline]
    pub(crate) fn lease(&mut self, task: Pending<B>, slot: usize, cost_ns: u64) -> (Lease, &Pending<B>) {
        let fence = self.next_fence;
        self.next_fence = fence.checked_add(1).unwrap_or(1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            (self.table.len() - 1) as u32
        });
        let slot = slot as u32;
        let (cancel_requested, next_child, deadline) = (false, 0, None);
        let flight = Flight { task, slot, fence, cost_ns, cancel_requested, next_child, deadline };
        let flight = self.table[index as usize].insert(flight);
        (Lease { index, fence }, &flight.task)
    }

    /// What is in flight under `lease`, if that still stands on `slot`.
    #[inline]
    pub(crate) fn get(&self, slot: usize, lease: Lease) -> Option<&Flight<B>> {
        let flight = self.table.get(lease.index as usize)?.as_ref()?;
        (flight.fence == lease.fence && flight.slot as usize == slot).then_some(flight)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize, lease: Lease) -> Option<&mut Flight<B>> {
        let flight = self.table.get_mut(lease.index as usize)?.as_mut()?;
        (flight.fence == lease.fence && flight.slot as usize == slot).then_some(flight)
    }

    /// Ends a lease, if it still stands on `slot`.
    #[inline]
    pub(crate) fn take(&mut self, slot: usize, lease: Lease) -> Option<Flight<B>> {
        let stands = |flight: &mut Flight<B>| flight.fence == lease.fence && flight.slot as usize == slot;
        let flight = self.table.get_mut(lease.index as usize)?.take_if(stands)?;
        if let Some(alarm) = flight.deadline.as_ref().and_then(|armed| armed.alarm) {
            self.alarms.remove(&(alarm, lease.index));
        }
        self.free.push(lease.index);
        Some(flight)
    }

    /// The leases that stand on `slot`, in the order in which their tasks arrived.
    pub(crate) fn on(&self, slot: usize) -> Vec<Lease> {
        let there = self.iter().filter(|(at, ..)| *at == slot);
        let mut leases: Vec<_> = there.map(|(_, lease, flight)| (flight.task.sequence, lease)).collect();
        leases.sort_unstable();
        leases.into_iter().map(|(_, lease)| lease).collect()
    }

    /// Every flight, with its slot and lease.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, Lease, &Flight<B>)> {
        let flights = self.table.iter().enumerate();
        flights.filter_map(|(index, flight)| {
            let flight = flight.as_ref()?;
            let lease = Lease { index: index as u32, fence: flight.fence };
            Some((flight.slot as usize, lease, flight))
        })
    }

    /// Gives the attempt under `lease` a deadline.
    pub(crate) fn set_deadline(&mut self, slot: usize, lease: Lease, deadline: HeartbeatDeadline) {
        let armed = Box::new(Armed { deadline, alarm: None });
        if let Some(flight) = self.get_mut(slot, lease) {
            flight.deadline = Some(armed);
            self.set_alarm(lease);
        }
    }

    /// Changes the deadline of the attempt under `lease`, then sets its alarm anew.
    pub(crate) fn with_deadline<R>(
        &mut self,
        slot: usize,
        lease: Lease,
        change: impl FnOnce(&mut HeartbeatDeadline) -> R,
    ) -> Option<R> {
        let armed = self.get_mut(slot, lease)?.deadline.as_mut()?;
        let changed = change(&mut armed.deadline);
        self.set_alarm(lease);
        Some(changed)
    }

    /// The next attempt whose alarm is due. The caller looks after it by [`with_deadline`](Self::with_deadline).
    pub(crate) fn next_alarm(&mut self, now: Instant) -> Option<(usize, Lease)> {
        while let Some(&(_, index)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            let Some(flight) = &mut self.table[index as usize] else { continue };
            let Some(armed) = &mut flight.deadline else { continue };
            armed.alarm = None;
            return Some((flight.slot as usize, Lease { index, fence: flight.fence }));
        }
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.first().map(|&(at, _)| at)
    }

    #[cfg(test)]
    pub(crate) fn alarms(&self) -> Vec<Instant> {
        self.alarms.iter().map(|&(at, _)| at).collect()
    }

    /// Sees to it that an attempt is looked after in time. An alarm that is early is left: the next beat would put it off
    /// again.
    fn set_alarm(&mut self, lease: Lease) {
        let Some(Some(flight)) = self.table.get_mut(lease.index as usize) else { return };
        let Some(armed) = &mut flight.deadline else { return };
        let wanted = armed.deadline.poll_timeout();
        if wanted.is_some() && armed.alarm.is_some() && armed.alarm <= wanted {
            return;
        }
        if let Some(old) = std::mem::replace(&mut armed.alarm, wanted) {
            self.alarms.remove(&(old, lease.index));
        }
        self.alarms.extend(wanted.map(|at| (at, lease.index)));
    }
}
