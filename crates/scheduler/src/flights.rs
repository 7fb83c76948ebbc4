//! The tasks in flight: leased to a worker, and not ended.
//!
//! Invariants:
//! - A fence stands for one lease, so what is said of a lease that has ended finds nothing.
//! - An attempt that has to beat has at most one alarm, and that is never later than its [deadline](Watch::poll_timeout).

use std::{collections::BTreeSet, time::Instant};

use crate::{lease::Lease, queue::Pending, watch::Watch};

#[derive(Debug)]
pub(crate) struct Flight<B> {
    pub(crate) task: Pending<B>,
    seat: u32,
    fence: u32,
    /// What its worker's load counts it as.
    pub(crate) cost_ns: u64,
    pub(crate) cancel_requested: bool,
    /// The index of the attempt's next child, where that is counted here.
    pub(crate) next_child: u32,
    /// Of an attempt that has to beat, and has begun. Boxed: most have none.
    watch: Option<Box<Watched>>,
}

#[derive(Debug)]
struct Watched {
    watch: Watch,
    /// Under which time it stands among the alarms.
    alarm: Option<Instant>,
}

impl<B> Flight<B> {
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref().map(|watched| &watched.watch)
    }
}

#[derive(Debug)]
pub(crate) struct Flights<B> {
    slots: Vec<Option<Flight<B>>>,
    free: Vec<u32>,
    next_fence: u32,
    /// When to look after which slot whose attempt has to beat. One that beats is looked after twice in its timeout.
    alarms: BTreeSet<(Instant, u32)>,
}

impl<B> Flights<B> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), next_fence: 1, alarms: BTreeSet::new() }
    }

    /// Leases a task to the worker on `seat`.
    #[inline]
    pub(crate) fn lease(&mut self, task: Pending<B>, seat: usize, cost_ns: u64) -> (Lease, &Pending<B>) {
        let fence = self.next_fence;
        self.next_fence = fence.checked_add(1).unwrap_or(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let seat = seat as u32;
        let (cancel_requested, next_child, watch) = (false, 0, None);
        let flight = Flight { task, seat, fence, cost_ns, cancel_requested, next_child, watch };
        let flight = self.slots[slot as usize].insert(flight);
        (Lease { slot, fence }, &flight.task)
    }

    /// What is in flight under `lease`, if that still stands on `seat`.
    #[inline]
    pub(crate) fn get(&self, seat: usize, lease: Lease) -> Option<&Flight<B>> {
        let flight = self.slots.get(lease.slot as usize)?.as_ref()?;
        (flight.fence == lease.fence && flight.seat as usize == seat).then_some(flight)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, seat: usize, lease: Lease) -> Option<&mut Flight<B>> {
        let flight = self.slots.get_mut(lease.slot as usize)?.as_mut()?;
        (flight.fence == lease.fence && flight.seat as usize == seat).then_some(flight)
    }

    /// Ends a lease, if it still stands on `seat`.
    #[inline]
    pub(crate) fn take(&mut self, seat: usize, lease: Lease) -> Option<Flight<B>> {
        self.get(seat, lease)?;
        let flight = self.slots[lease.slot as usize].take()?;
        if let Some(alarm) = flight.watch.as_ref().and_then(|watched| watched.alarm) {
            self.alarms.remove(&(alarm, lease.slot));
        }
        self.free.push(lease.slot);
        Some(flight)
    }

    /// The leases that stand on `seat`, in the order in which their tasks arrived.
    pub(crate) fn on(&self, seat: usize) -> Vec<Lease> {
        let there = self.iter().filter(|(at, ..)| *at == seat);
        let mut leases: Vec<_> = there.map(|(_, lease, flight)| (flight.task.sequence, lease)).collect();
        leases.sort_unstable();
        leases.into_iter().map(|(_, lease)| lease).collect()
    }

    /// Every flight, with its seat and lease.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, Lease, &Flight<B>)> {
        let flights = self.slots.iter().enumerate();
        flights.filter_map(|(slot, flight)| {
            let flight = flight.as_ref()?;
            let lease = Lease { slot: slot as u32, fence: flight.fence };
            Some((flight.seat as usize, lease, flight))
        })
    }

    /// Has the attempt under `lease` watched by this from now on.
    pub(crate) fn watch(&mut self, seat: usize, lease: Lease, watch: Watch) {
        let watched = Box::new(Watched { watch, alarm: None });
        if let Some(flight) = self.get_mut(seat, lease) {
            flight.watch = Some(watched);
            self.set_alarm(lease);
        }
    }

    /// What watches the attempt under `lease`, to be changed; then its alarm is set anew.
    pub(crate) fn with_watch<R>(
        &mut self,
        seat: usize,
        lease: Lease,
        change: impl FnOnce(&mut Watch) -> R,
    ) -> Option<R> {
        let watched = self.get_mut(seat, lease)?.watch.as_mut()?;
        let changed = change(&mut watched.watch);
        self.set_alarm(lease);
        Some(changed)
    }

    /// The next attempt whose alarm is due. The caller looks after it by [`with_watch`](Self::with_watch).
    pub(crate) fn next_alarm(&mut self, now: Instant) -> Option<(usize, Lease)> {
        while let Some(&(_, slot)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            let Some(flight) = &mut self.slots[slot as usize] else { continue };
            let Some(watched) = &mut flight.watch else { continue };
            watched.alarm = None;
            return Some((flight.seat as usize, Lease { slot, fence: flight.fence }));
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
        let Some(Some(flight)) = self.slots.get_mut(lease.slot as usize) else { return };
        let Some(watched) = &mut flight.watch else { return };
        let wanted = watched.watch.poll_timeout();
        if wanted.is_some() && watched.alarm.is_some() && watched.alarm <= wanted {
            return;
        }
        if let Some(old) = std::mem::replace(&mut watched.alarm, wanted) {
            self.alarms.remove(&(old, lease.slot));
        }
        self.alarms.extend(wanted.map(|at| (at, lease.slot)));
    }
}
