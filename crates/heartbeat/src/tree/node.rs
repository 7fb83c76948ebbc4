//! A process as a node in the tree of processes that a program starts: the events and tokens that it shares with other
//! processes, its outlets, and its child processes.
//!
//! An event or token with another home is reached by the outlet for its address ([`Node::route`]). An outlet serves the
//! named events of some pools; the parent's serves everything else.
//!
//! Invariants:
//! - An event is attached to an outlet under the tables' lock, before other code can find it. It is detached under that
//!   lock when no copy of it is held here.
//! - Locks are taken in the order: an event's core, the tables, a connection; and: what is being sent, a channel's beat, the
//!   list of those that wait. Nothing that may be the last to hold an event or a channel is dropped under any of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use workfleet_fork::Home;
use workfleet_wire::Kind;

use super::{
    batch::Batch,
    connection::{ChildConnection, ParentConnection},
    outlet::Outlet,
    rounds::Flushes,
};
use crate::{
    Details,
    address::Address,
    cores::event::Copy,
    ports::{Done, EventPlace, Replica, TokenPlace},
};

/// The way of a token's beats, as the child processes and those behind a way out see it.
pub(super) trait Passage: TokenPlace {
    /// Passes on a beat that came with others.
    fn arrived(&self, batch: &mut Batch, details: Details, superseded: u64);

    /// The child processes that send beats of this token.
    fn add_copy(&self, copy: Copy);

    fn remove_copy(&self, copy: Copy);

    /// As [`TokenPlace::flush`], for a caller that needs no names.
    fn flush_to_the_end(&self, done: Done);
}

/// Makes the event that is found at a place.
pub(crate) type MakeEvent = fn(Box<dyn EventPlace>) -> Arc<dyn Replica>;

pub(crate) struct Node {
    /// Names this process among all others.
    home: u128,
    /// The process that it stands for. In a fork of that process, the node is a copy that no thread serves.
    process: Home,
    next_number: AtomicU64,
    tables: Mutex<Tables>,
    children: Mutex<BTreeMap<u64, Arc<dyn ChildConnection>>>,
    pub(super) flushes: Flushes,
    /// Of tokens that were gone when their sender came here.
    beats_ignored: AtomicU64,
    pub(super) make_event: MakeEvent,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) events: HashMap<Address, Weak<dyn Replica>>,
    pub(super) channels: HashMap<Address, Weak<dyn Passage>>,
    /// Of copies, by the way out and their number there.
    pub(super) numbers: HashMap<(u64, u64), Attached>,
    /// The copies that have something to send home as soon as home has answered, by their number.
    pub(super) kept_copies: HashMap<u64, Arc<dyn Replica>>,
    /// The pools whose named events are at home here, with those that are set.
    pub(super) scopes: HashMap<u128, HashMap<String, Arc<dyn Replica>>>,
    /// The way out for everything that has no other: to the process that has started this one.
    parent: Option<Arc<Outlet>>,
    /// The ways out to the named events of other pools.
    ways: HashMap<u128, Arc<Outlet>>,
}

/// What is attached to a way out.
#[derive(Clone)]
pub(super) enum Attached {
    Event(Weak<dyn Replica>),
    Channel(Weak<dyn Passage>),
}

impl Tables {
    /// The way out that leads to this address, which is not at home here.
    pub(super) fn route(&self, address: &Address) -> Option<&Arc<Outlet>> {
        match address {
            Address::Made { .. } => self.parent.as_ref(),
            Address::Named { scope, .. } => self.ways.get(scope).or(self.parent.as_ref()),
        }
    }
}

impl Node {
    pub(crate) fn new(make_event: MakeEvent) -> Arc<Self> {
        let random = RandomState::new();
        let half = |part: u8| u128::from(random.hash_one((std::process::id(), part)));
        Arc::new(Self {
            home: half(0) << 64 | half(1),
            process: Home::here(),
            next_number: AtomicU64::new(1),
            tables: Mutex::default(),
            children: Mutex::default(),
            flushes: Flushes::default(),
            beats_ignored: AtomicU64::new(0),
            make_event,
        })
    }

    /// Whether it is this process's, and not that of one of which this is a fork: there, another thread may have held a lock of
    /// it, and its connections are not ours.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_here()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether what was made there was made here.
    pub(super) fn is_home(&self, home: u128) -> bool {
        self.home == home
    }

    /// An address at which nothing is yet.
    pub(crate) fn new_address(&self) -> Address {
        Address::Made { home: self.home, number: self.next_number() }
    }

    /// A way out: to the named events of this pool, or for everything that has no other way. None if there is one already.
    pub(super) fn connect(&self, scope: Option<u128>, up: Arc<dyn ParentConnection>) -> Option<Arc<Outlet>> {
        let outlet = Arc::new(Outlet::new(self.next_number(), up));
        let mut tables = self.lock_tables();
        let free = match scope {
            None => tables.parent.is_none(),
            Some(scope) => !tables.ways.contains_key(&scope),
        };
        if !free {
            return None;
        }
        match scope {
            None => tables.parent = Some(Arc::clone(&outlet)),
            Some(scope) => drop(tables.ways.insert(scope, Arc::clone(&outlet))),
        }
        Some(outlet)
    }

    /// What is attached to this way out under this number.
    pub(super) fn attached(&self, outlet: &Outlet, number: u64) -> Option<Attached> {
        self.lock_tables().numbers.get(&(outlet.id(), number)).cloned()
    }

    pub(super) fn add_child(&self, id: u64, child: Arc<dyn ChildConnection>) {
        self.lock_children().insert(id, child);
    }

    pub(super) fn remove_child(&self, id: u64) -> Option<Arc<dyn ChildConnection>> {
        self.lock_children().remove(&id)
    }

    /// Every process child, in the order in which they came.
    pub(super) fn children(&self) -> Vec<(u64, Arc<dyn ChildConnection>)> {
        self.lock_children().iter().map(|(id, child)| (*id, Arc::clone(child))).collect()
    }

    pub(super) fn child(&self, id: u64) -> Option<Arc<dyn ChildConnection>> {
        self.lock_children().get(&id).cloned()
    }

    /// Sends a frame to a process child, if it is still there.
    pub(super) fn send_to_child(&self, id: u64, kind: Kind, payload: &[u8]) {
        if let Some(child) = self.child(id) {
            child.send(kind, payload);
        }
    }

    /// A pool's named events are at home here from now on.
    pub(super) fn open_scope(&self, scope: u128) {
        self.lock_tables().scopes.entry(scope).or_default();
    }

    pub(super) fn close_scope(&self, scope: u128) {
        if !self.is_here() {
            return;
        }
        let kept = self.lock_tables().scopes.remove(&scope);
        drop(kept);
    }

    /// Beats came of a token that is gone.
    pub(crate) fn ignore_beats(&self, beats: u64) {
        self.beats_ignored.fetch_add(beats, Ordering::Relaxed);
    }

    pub(crate) fn beats_ignored(&self) -> u64 {
        self.beats_ignored.load(Ordering::Relaxed)
    }

    pub(super) fn lock_tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_children(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn ChildConnection>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:032x})", self.home)
    }
}
