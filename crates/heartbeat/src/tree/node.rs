//! A process as a node in the tree of processes that a program starts: what it knows of events and tokens that others know
//! too, and the connections upwards and downwards.
//!
//! Invariants:
//! - What is attached upwards is attached under the tables' lock, before anybody else can find it; and it is detached under
//!   that lock when nobody here holds it.
//! - Locks are taken in the order: an event's core, the tables, a connection; and: what is being sent, a channel's beat, the
//!   list of those that wait. Nothing that may be the last to hold an event or a channel is dropped under any of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use workfleet_fork::{Home, PerProcess};
use workfleet_wire::Kind;

use super::{
    Up,
    below::Below,
    channel::{Channel, Inlet},
    flush::Flushes,
    frames::{self, ATTACH, Address, Attach, BEATS, DETACH, What},
    place::{Place, Reach},
    waiting::{Count, Waiting},
};
use crate::event::Shared;

/// A frame of beats is sent when it has grown to this. With the largest details as the last, it fits 128 KiB.
const FRAME_BYTES: usize = 32 * 1024;

pub(crate) struct Node {
    /// Names this process among all others.
    home: u128,
    /// The process that it is; in a fork of that one, it is a copy that nobody sees to.
    process: Home,
    next_number: AtomicU64,
    up: OnceLock<Arc<dyn Up>>,
    tables: Mutex<Tables>,
    below: Mutex<BTreeMap<u64, Arc<Below>>>,
    pub(super) flushes: Flushes,
    /// Whose beats wait to go up.
    waiting: Waiting<Arc<Channel>>,
    /// Of tokens that were gone when their sender came here.
    beats_ignored: AtomicU64,
    /// Held while beats are sent; a buffer for their frame.
    sending: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct Tables {
    events: HashMap<Address, Weak<Shared>>,
    channels: HashMap<Address, Weak<Channel>>,
    /// Of copies, by their number on the connection upwards.
    numbers: HashMap<u64, Attached>,
    /// The copies that have something to send home as soon as home has answered.
    kept_copies: HashMap<u64, Arc<Shared>>,
    /// The pools whose named events are at home here, with those that are set.
    scopes: HashMap<u128, HashMap<String, Arc<Shared>>>,
}

/// Why there is no way for the beats of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChannel {
    /// It would end here, and the token is gone.
    Gone,
    /// It would lead upwards, and there is no way up.
    NotConnected,
}

/// What is attached upwards.
#[derive(Clone)]
pub(super) enum Attached {
    Event(Weak<Shared>),
    Channel(Weak<Channel>),
}

impl Node {
    pub(super) fn new() -> Arc<Self> {
        let random = RandomState::new();
        let half = |part: u8| u128::from(random.hash_one((std::process::id(), part)));
        Arc::new(Self {
            home: half(0) << 64 | half(1),
            process: Home::here(),
            next_number: AtomicU64::new(1),
            up: OnceLock::new(),
            tables: Mutex::default(),
            below: Mutex::default(),
            flushes: Flushes::default(),
            waiting: Waiting::new(),
            beats_ignored: AtomicU64::new(0),
            sending: Mutex::default(),
        })
    }

    /// The node that this process is. A fork is another, and begins with nothing.
    pub(crate) fn own() -> &'static Arc<Self> {
        static OWN: PerProcess<Arc<Node>> = PerProcess::new();
        OWN.get_or_init(Node::new)
    }

    /// Whether it is this process's, and not that of one of which this is a fork: there, another thread may have held a lock of
    /// it, and its connections are not ours.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_here()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn up(&self) -> Option<&Arc<dyn Up>> {
        self.up.get()
    }

    /// False if there is a way up already.
    pub(super) fn connect(&self, up: Arc<dyn Up>) -> bool {
        self.up.set(up).is_ok()
    }

    pub(super) fn add_below(&self, below: Arc<Below>) {
        self.lock_below().insert(below.id(), below);
    }

    pub(super) fn remove_below(&self, id: u64) -> Option<Arc<Below>> {
        self.lock_below().remove(&id)
    }

    /// Every process below, in the order in which they came.
    pub(super) fn all_below(&self) -> Vec<Arc<Below>> {
        self.lock_below().values().cloned().collect()
    }

    pub(super) fn below(&self, id: u64) -> Option<Arc<Below>> {
        self.lock_below().get(&id).cloned()
    }

    /// Sends a frame to a process below, if it is still there.
    pub(super) fn send_below(&self, id: u64, kind: Kind, payload: &[u8]) {
        if let Some(below) = self.below(id) {
            below.send(kind, payload);
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

    /// Returns the event that is not kept, or not any more.
    pub(super) fn keep_named(
        &self,
        scope: u128,
        name: &str,
        event: Option<Arc<Shared>>,
    ) -> Option<Arc<Shared>> {
        let mut tables = self.lock_tables();
        let Some(kept) = tables.scopes.get_mut(&scope) else {
            drop(tables);
            return event;
        };
        match event {
            Some(event) => kept.insert(name.to_owned(), event),
            None => kept.remove(name),
        }
    }

    /// The same for a copy.
    pub(super) fn keep_copy(&self, number: u64, event: Option<Arc<Shared>>) -> Option<Arc<Shared>> {
        let mut tables = self.lock_tables();
        match event {
            Some(event) => tables.kept_copies.insert(number, event),
            None => tables.kept_copies.remove(&number),
        }
    }

    /// Where others find an event that was made here.
    pub(crate) fn export_event<'e>(self: &Arc<Self>, event: &'e Arc<Shared>) -> &'e Place {
        event.place(|| {
            let address = Address::Made { home: self.home, number: self.next_number() };
            self.lock_tables().events.insert(address.clone(), Arc::downgrade(event));
            Place { node: Arc::clone(self), address, reach: Reach::Home }
        })
    }

    /// The event at this address.
    pub(crate) fn event(self: &Arc<Self>, address: Address) -> Arc<Shared> {
        let mut tables = self.lock_tables();
        if let Some(found) = tables.events.get(&address).and_then(Weak::upgrade) {
            return found;
        }
        let at_home = match &address {
            // If it was here, nobody holds it any more.
            Address::Made { home, .. } => (*home == self.home).then_some(Reach::None),
            Address::Named { scope, .. } => tables.scopes.contains_key(scope).then_some(Reach::Home),
        };
        let reach = at_home.unwrap_or_else(|| match self.up() {
            Some(_) => Reach::Copy(self.next_number()),
            None => Reach::None,
        });
        let event = Shared::at(Place { node: Arc::clone(self), address: address.clone(), reach });
        if reach == Reach::None {
            return event;
        }
        if let Reach::Copy(number) = reach {
            tables.numbers.insert(number, Attached::Event(Arc::downgrade(&event)));
            self.attach(number, What::Event, address.clone());
        }
        tables.events.insert(address, Arc::downgrade(&event));
        event
    }

    /// An event that nobody can set, attached to nothing.
    pub(super) fn nowhere(self: &Arc<Self>, address: Address) -> Arc<Shared> {
        Shared::at(Place { node: Arc::clone(self), address, reach: Reach::None })
    }

    pub(super) fn forget_event(&self, place: &Place, event: *const Shared) {
        if !self.is_here() {
            return;
        }
        let mut tables = self.lock_tables();
        // Another may have been made at the same address since.
        if tables.events.get(&place.address).is_some_and(|at| std::ptr::eq(at.as_ptr(), event)) {
            tables.events.remove(&place.address);
        }
        if let Reach::Copy(number) = place.reach {
            self.detach(&mut tables, number);
        }
    }

    /// An address at which nothing will ever be.
    pub(crate) fn address_of_nothing(&self) -> Address {
        Address::Made { home: self.home, number: self.next_number() }
    }

    /// A way for beats to a heartbeater that is here.
    pub(crate) fn export_channel(self: &Arc<Self>, inlet: Arc<dyn Inlet>) -> Arc<Channel> {
        let address = Address::Made { home: self.home, number: self.next_number() };
        let channel = Arc::new(Channel::here(Arc::clone(self), address.clone(), inlet));
        self.lock_tables().channels.insert(address, Arc::downgrade(&channel));
        channel
    }

    /// The way for beats to this address.
    pub(crate) fn channel(self: &Arc<Self>, address: &Address) -> Result<Arc<Channel>, NoChannel> {
        let mut tables = self.lock_tables();
        if let Some(found) = tables.channels.get(address).and_then(Weak::upgrade) {
            return Ok(found);
        }
        if matches!(address, Address::Made { home, .. } if *home == self.home) {
            return Err(NoChannel::Gone);
        }
        if self.up().is_none() {
            return Err(NoChannel::NotConnected);
        }
        let number = self.next_number();
        let channel = Arc::new(Channel::up(Arc::clone(self), address.clone(), number));
        tables.numbers.insert(number, Attached::Channel(Arc::downgrade(&channel)));
        self.attach(number, What::Sender, address.clone());
        tables.channels.insert(address.clone(), Arc::downgrade(&channel));
        Ok(channel)
    }

    /// Beats came of a token that is gone.
    pub(crate) fn ignore_beats(&self, beats: u64) {
        self.beats_ignored.fetch_add(beats, Ordering::Relaxed);
    }

    pub(super) fn beats_ignored(&self) -> u64 {
        self.beats_ignored.load(Ordering::Relaxed)
    }

    pub(super) fn forget_channel(&self, channel: &Channel) {
        if !self.is_here() {
            return;
        }
        let mut tables = self.lock_tables();
        if tables.channels.get(channel.address()).is_some_and(|at| std::ptr::eq(at.as_ptr(), channel)) {
            tables.channels.remove(channel.address());
        }
        if let Some(number) = channel.number() {
            self.detach(&mut tables, number);
        }
    }

    /// What is attached upwards under this number.
    pub(super) fn attached(&self, number: u64) -> Option<Attached> {
        self.lock_tables().numbers.get(&number).cloned()
    }

    fn attach(&self, number: u64, what: What, address: Address) {
        if let Some(up) = self.up() {
            up.send(ATTACH, &frames::encode(&Attach { number, what, address }));
            up.expect_answer();
        }
    }

    fn detach(&self, tables: &mut Tables, number: u64) {
        tables.numbers.remove(&number);
        if let Some(up) = self.up() {
            up.send(DETACH, &frames::encode(&number));
        }
    }

    /// A beat is to go up. [`beats_wait`](Self::beats_wait) follows.
    pub(super) fn add_waiting(&self, channel: Arc<Channel>) -> Count {
        self.waiting.add(channel)
    }

    /// So many tokens' beats wait to go up.
    pub(super) fn beats_wait(&self, count: Count) {
        if self.waiting.needs_wake(count)
            && let Some(up) = self.up()
        {
            up.wake();
        }
    }

    /// The turn of the thread that was woken, or looks again. True if it is to look again.
    pub(super) fn send_beats(&self) -> bool {
        let sent = self.send_those(Waiting::turn);
        if sent {
            self.waiting.look_again();
        }
        sent
    }

    /// Sends the beats that wait, out of turn. Returns whether there were any.
    pub(super) fn flush_beats(&self) -> bool {
        self.send_those(Waiting::take)
    }

    fn send_those(&self, who_waits: fn(&Waiting<Arc<Channel>>) -> Vec<Arc<Channel>>) -> bool {
        // Under this lock: who finds nothing left to send can be sure that it has been sent.
        let mut frame = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = who_waits(&self.waiting);
        let Some(up) = self.up().filter(|_| !waiting.is_empty()) else { return false };
        for channel in &waiting {
            channel.take(&mut frame);
            if frame.len() >= FRAME_BYTES {
                up.send(BEATS, &frame);
                frame.clear();
            }
        }
        if !frame.is_empty() {
            up.send(BEATS, &frame);
            frame.clear();
        }
        frame.shrink_to(2 * FRAME_BYTES);
        drop(frame);
        // With what was gathered, the last holder of a channel may go, which detaches it.
        waiting.clear();
        true
    }

    fn lock_tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_below(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Below>>> {
        self.below.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:032x})", self.home)
    }
}
