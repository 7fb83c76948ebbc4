//! All keys of a state: a table in shards, each behind a lock of its own. It drives the cores, which decide.
//!
//! The state of a key is *in* the table's entry; a key that nobody holds has none. Taking a free key is one look at one
//! table, and for a short key no allocation.
//!
//! Invariants:
//! - An entry is there exactly while its key is held. It is made and removed under the shard's lock, together with the
//!   grant or the release that is the reason for it.
//! - Locks are taken in the order shard, graph, wait cell; never two shards at once. What changes a key and what the
//!   graph learns of it happen under the same lock of the shard.
//! - Under these locks no code of a user runs: no waker, no destructor, no tracing subscriber.
//! - In a fork of the process that made the state, none of these locks is taken: another thread may have held it.
//! - A table that has become much too large for what is in it shrinks.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use hashbrown::{HashTable, hash_table::Entry as TableEntry};
use workfleet_fork::Home;

use super::{
    clock::{Clock, Stamp},
    key::Key,
    owner::Owner,
    waiter::WaitCell,
    wakes::Wakes,
};
use crate::{
    Counters, Cycle, CycleLink, Fence, KeySnapshot, LockFailed, LockRequestError, Mode, Party, Snapshot,
    cores::{Answer, Blocked, Grant, KeyState, LockedKey, Owned, SharedGraph, WaitGraph, first_request},
    sync::{AtomicBool, HashState, Mutex, Ordering},
};

/// Enough that a few threads rarely meet, and a closing or a snapshot still looks at few. A power of two.
pub(super) const DEFAULT_SHARDS: usize = 64;

/// Tables up to this size are not worth shrinking.
const KEPT_CAPACITY: usize = 64;

/// What all handles, guards and waiters of one state share.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Shard]>,
    hash: HashState,
    /// Of the waits of known owners. Who asks without a name locks it only to grant a known owner's request.
    graph: Mutex<WaitGraph<Key, Owner>>,
    /// Whether the graph has anything in it; written under its lock. Who finds it false under the lock of a shard knows
    /// that no known owner waits for a key in that shard.
    known_waits: AtomicBool,
    clock: Clock,
    key_limit_bytes: usize,
    home: Home,
}

/// A line of the processor's cache, or two, of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Table>);

/// Changed under the shard's lock, all of it.
#[derive(Debug)]
struct Table {
    entries: HashTable<Entry>,
    /// The number of the next request. It differs from all other shards' numbers, and from those of the past.
    next: u64,
    closed: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    state: KeyState<Holder, Waiter>,
}

#[derive(Debug)]
struct Holder {
    owner: Option<Owner>,
    since: Stamp,
}

#[derive(Debug)]
struct Waiter {
    owner: Option<Owner>,
    since: Stamp,
    cell: Arc<WaitCell>,
}

impl Owned for Holder {
    type Owner = Owner;

    fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

impl Owned for Waiter {
    type Owner = Owner;

    fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

impl SharedGraph<Key, Owner> for &Shards {
    fn with<T>(&mut self, change: impl FnOnce(&mut WaitGraph<Key, Owner>) -> T) -> T {
        let mut graph = self.graph.lock();
        let result = change(&mut graph);
        self.known_waits.store(!graph.is_empty(), Ordering::Relaxed);
        result
    }

    fn has_waits(&self) -> bool {
        self.known_waits.load(Ordering::Relaxed)
    }
}

/// A request's place among the holders or waiters of its key. It is left when this is dropped: a grant is released, a
/// waiting request is cancelled, and one that has ended stays so.
#[derive(Debug)]
pub(super) struct Place {
    shards: Arc<Shards>,
    key: Key,
    hash: u64,
    fence: Fence,
}

#[cfg(all(test, not(workfleet_loom)))]
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

/// What became of a request.
#[derive(Debug)]
pub(super) enum Asked {
    Granted(Place),
    Waits(Place, Arc<WaitCell>),
    /// Somebody has it, and the request was not to wait.
    Taken,
}

impl Shards {
    pub(super) fn new(shards: usize, key_limit_bytes: usize, ages: bool) -> Self {
        let shard = |index: u64| {
            Shard(Mutex::new(Table {
                entries: HashTable::new(),
                next: index + 1,
                closed: false,
                counters: Counters::default(),
            }))
        };
        Self {
            shards: (0..).take(shards.next_power_of_two()).map(shard).collect(),
            hash: HashState::default(),
            graph: Mutex::new(WaitGraph::new()),
            known_waits: AtomicBool::new(false),
            clock: Clock::new(ages),
            key_limit_bytes,
            home: Home::here(),
        }
    }

    /// Whether this process made the state, and is no fork of that one.
    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.home.is_here()
    }

    #[inline]
    fn check_home(&self) -> Result<(), LockFailed> {
        if self.is_here() { Ok(()) } else { Err(LockFailed::Forked) }
    }

    pub(super) fn key_limit_bytes(&self) -> usize {
        self.key_limit_bytes
    }

    /// Asks for a key. If it is not free, the request takes a place in its queue; or, if it is not to wait, none at all.
    pub(super) fn ask(
        self: &Arc<Self>,
        owner: Option<&Owner>,
        key: &str,
        mode: Mode,
        or_wait: bool,
    ) -> Result<Asked, LockFailed> {
        self.check_home()?;
        LockRequestError::check(key, self.key_limit_bytes)?;
        let hash = self.hash.hash_one(key.as_bytes());
        let since = self.clock.now();
        let mut table = self.shard(hash).lock();
        if table.closed {
            return Err(LockFailed::Closed);
        }
        let fence = Fence::new(table.next);
        let Table { entries, next, counters, .. } = &mut *table;
        let same = |entry: &Entry| entry.key.as_bytes() == key.as_bytes();
        let holder = || Holder { owner: owner.cloned(), since };
        let mut cell = None;
        let (key, answer) = match entries.entry(hash, same, |entry| self.hash.hash_one(&entry.key)) {
            TableEntry::Vacant(vacant) => {
                let key = Key::from(key);
                let state = first_request(fence, mode, holder(), counters);
                vacant.insert(Entry { key: key.clone(), state });
                (key, Answer::Granted)
            }
            TableEntry::Occupied(occupied) => {
                let Entry { key, state } = occupied.into_mut();
                let waiter = || {
                    let cell = Arc::clone(cell.insert(Arc::new(WaitCell::new())));
                    Waiter { owner: owner.cloned(), since, cell }
                };
                let locked = LockedKey { key, state, graph: &**self, counters };
                let asked = locked.ask(fence, mode, owner, or_wait, holder, waiter);
                (key.clone(), asked.map_err(would_deadlock)?)
            }
        };
        if answer == Answer::Taken {
            return Ok(Asked::Taken);
        }
        *next += self.shards.len() as u64;
        drop(table);
        let place = Place { shards: Arc::clone(self), key, hash, fence };
        Ok(match cell {
            None => Asked::Granted(place),
            Some(cell) => Asked::Waits(place, cell),
        })
    }

    /// Whether a request would be granted at once.
    pub(super) fn is_free(&self, key: &str, mode: Mode) -> Result<bool, LockFailed> {
        self.check_home()?;
        LockRequestError::check(key, self.key_limit_bytes)?;
        let hash = self.hash.hash_one(key.as_bytes());
        let table = self.shard(hash).lock();
        let entry = table.entries.find(hash, |entry| entry.key.as_bytes() == key.as_bytes());
        Ok(entry.is_none_or(|entry| entry.state.is_free(mode)))
    }

    /// Lets nobody in from now on, and sends all waiters away.
    ///
    /// They are woken when all shards are closed: a waker may panic, or ask for a key of another shard.
    pub(super) fn close(&self) {
        if !self.is_here() {
            return;
        }
        let mut wakes = Wakes::default();
        for shard in &self.shards {
            let mut table = shard.0.lock();
            let Table { entries, counters, closed, .. } = &mut *table;
            *closed = true;
            for Entry { key, state } in entries.iter_mut().filter(|entry| entry.state.has_waiters()) {
                let locked = LockedKey { key, state, graph: self, counters };
                locked.close(|waiter| wakes.push(waiter.cell.close()));
            }
        }
        wakes.wake();
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, LockFailed> {
        self.check_home()?;
        let now = self.clock.now();
        let mut keys = Vec::new();
        for shard in &self.shards {
            let table = shard.0.lock();
            keys.extend(table.entries.iter().map(|entry| self.snapshot_of(entry, now)));
        }
        Ok(Snapshot::new(keys))
    }

    fn snapshot_of(&self, Entry { key, state }: &Entry, now: Stamp) -> KeySnapshot {
        let party = |owner: &Option<Owner>, mode, fence, since| Party {
            owner: owner.as_ref().map(|owner| Arc::clone(owner.label())),
            mode,
            fence,
            age: self.clock.between(since, now),
        };
        let mode = state.mode().unwrap_or_default();
        let holders = state.holders();
        let waiters = state.waiters();
        KeySnapshot {
            key: key.to_shared(),
            mode,
            holders: holders.map(|(fence, holder)| party(&holder.owner, mode, fence, holder.since)).collect(),
            waiters: waiters
                .map(|(fence, mode, waiter)| party(&waiter.owner, mode, fence, waiter.since))
                .collect(),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        if !self.is_here() {
            return sum;
        }
        sum.add_wait_time(self.clock.between(Stamp::default(), Stamp::default()));
        for shard in &self.shards {
            sum.add(&shard.0.lock().counters);
        }
        sum
    }

    /// How many keys the tables have room for.
    #[cfg(all(test, not(workfleet_loom)))]
    pub(super) fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().entries.capacity()).sum()
    }

    /// Whether no owner is known to wait.
    #[cfg(test)]
    pub(super) fn graph_is_empty(&self) -> bool {
        self.graph.lock().is_empty()
    }

    /// Two keys that do not share a lock.
    #[cfg(all(test, workfleet_loom))]
    pub(super) fn keys_of_two_shards(&self) -> (&'static str, &'static str) {
        let shard = |key: &str| std::ptr::from_ref(self.shard(self.hash.hash_one(key.as_bytes())));
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let other = keys.into_iter().find(|key| shard(key) != shard(keys[0]));
        (keys[0], other.expect("not all of them are in one shard"))
    }

    /// By bits of the hash that the table within the shard hardly uses.
    fn shard(&self, hash: u64) -> &Mutex<Table> {
        let index = (hash >> 40) as usize & (self.shards.len() - 1);
        &self.shards[index].0
    }
}

impl Place {
    pub(super) fn key(&self) -> &str {
        self.key.as_str()
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    /// Turns an exclusive grant into a shared one.
    pub(super) fn downgrade(&self) {
        if !self.shards.is_here() {
            return;
        }
        let mut handover = Handover::new(&self.shards.clock);
        let mut table = self.shards.shard(self.hash).lock();
        let Table { entries, counters, .. } = &mut *table;
        if let Some(Entry { key, state }) = entries.find_mut(self.hash, |entry| entry.key == self.key) {
            let locked = LockedKey { key, state, graph: &*self.shards, counters };
            locked.downgrade(self.fence, |grant| handover.grant(grant));
        }
        drop(table);
        handover.wakes.wake();
    }

    /// Whether the process that asked is this one.
    pub(super) fn is_here(&self) -> bool {
        self.shards.is_here()
    }

    fn leave(&self) {
        if !self.is_here() {
            return;
        }
        let mut handover = Handover::new(&self.shards.clock);
        let mut table = self.shards.shard(self.hash).lock();
        let Table { entries, counters, .. } = &mut *table;
        let Ok(mut entry) = entries.find_entry(self.hash, |entry| entry.key == self.key) else {
            return;
        };
        let Entry { key, state } = entry.get_mut();
        let locked = LockedKey { key, state, graph: &*self.shards, counters };
        let left = locked.leave(self.fence, |grant| handover.grant(grant));
        let removed = if state.is_idle() {
            let removed = entry.remove().0;
            self.shards.shrink(entries);
            Some(removed)
        } else {
            None
        };
        drop(table);
        // Destructors: of the key's text, of what was kept for the request, and of the waker in its cell.
        drop((removed, left));
        handover.wakes.wake();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Shards {
    /// Gives memory back when an eighth of it would do with room to spare; so the cost is spread over as many removals.
    fn shrink(&self, entries: &mut HashTable<Entry>) {
        let capacity = entries.capacity();
        if capacity > KEPT_CAPACITY && entries.len() < capacity / 8 {
            entries.shrink_to(capacity / 4, |entry| self.hash.hash_one(&entry.key));
        }
    }
}

fn would_deadlock(cycle: Vec<Blocked<Key, Owner>>) -> LockFailed {
    let link = |link: Blocked<Key, Owner>| CycleLink {
        owner: Arc::clone(link.owner.label()),
        key: link.key.to_shared(),
    };
    LockFailed::WouldDeadlock(Cycle::new(cycle.into_iter().map(link)))
}

/// The grants that one command brings about.
struct Handover<'a> {
    clock: &'a Clock,
    /// Of the first grant: the clock is read at most once.
    now: Option<Stamp>,
    wakes: Wakes,
}

impl<'a> Handover<'a> {
    fn new(clock: &'a Clock) -> Self {
        Self { clock, now: None, wakes: Wakes::default() }
    }

    /// Under the shard's lock: the waiter becomes a holder, and will be told. Returns how long it waited, too.
    fn grant(&mut self, grant: Grant<Waiter>) -> (Holder, Option<Duration>) {
        let Waiter { owner, since, cell } = grant.waiter;
        let now = *self.now.get_or_insert_with(|| self.clock.now());
        self.wakes.push(cell.grant());
        (Holder { owner, since: now }, self.clock.between(since, now))
    }
}
