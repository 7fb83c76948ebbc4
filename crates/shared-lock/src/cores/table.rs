//! All keys of one place, and the requests of its members: what a broker or an engine serves.
//!
//! Members are named by whoever serves them, and each numbers its requests. A repeated command changes nothing, so a member
//! that misses an answer sends its commands again. The answer is always the *state* of its requests; so an answer that is
//! lost is made good by the next.
//!
//! Invariants:
//! - A key has an entry exactly while it is held. What happens to a key is decided by [`LockedKey`], as in a
//!   [`LocalState`](crate::LocalState).
//! - A request of a member waits or is granted here exactly while it does so in its key's state. The grants of a member that
//!   has ended stay there alone, until their delay is over.
//! - Fences come from reserved blocks, in order. None is used twice.
//! - Each change of a request has a larger version than all changes before. Nothing iterates in the order of hashes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    ops::{Range, RangeBounds},
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{Answer, Blocked, Grant, KeyState, Left, LockedKey, Owned, WaitGraph, first_request};
use crate::{Counters, Fence, Mode};

#[cfg(test)]
mod tests;

/// The number of a request. Each member gives each of its requests a larger one than all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The id of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a member wants of one of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockOp<K, O> {
    /// Asks for a key, and waits if it is not free. In the name of an owner, it takes part in the search for deadlocks.
    Request {
        /// The key.
        key: K,
        /// How to hold it.
        mode: Mode,
        /// The owner, if it is known.
        owner: Option<O>,
    },
    /// Asks for a key, and ends as [`Taken`](RequestEnd::Taken) if it is not free.
    Try {
        /// The key.
        key: K,
        /// How to hold it.
        mode: Mode,
        /// The owner, if it is known.
        owner: Option<O>,
    },
    /// Ends the request in whichever state it is: a grant is released, and a wait is cancelled.
    ///
    /// There is one operation for both, because a member cannot know whether a grant is under way to it.
    #[doc(alias("cancel", "release"))]
    Leave,
    /// Turns an exclusive grant into a shared one, without a gap.
    Downgrade,
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestState<K, O> {
    /// It waits.
    Waiting {
        /// The fence that its grant will have.
        fence: Fence,
    },
    /// It holds its key.
    Granted {
        /// The grant's fence.
        fence: Fence,
        /// How it holds the key.
        mode: Mode,
    },
    /// It has ended.
    Ended(RequestEnd<K, O>),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestEnd<K, O> {
    /// The key was not free, and the request was not to wait.
    Taken,
    /// Its wait would have closed this cycle, which begins with its owner.
    WouldDeadlock(Vec<Blocked<K, O>>),
    /// It was waiting when the member left it.
    Cancelled,
    /// It was granted, and the member left it.
    Released,
    /// The table was closed.
    Closed,
}

/// Why an operation was not carried out. Nothing has changed then.
#[doc(alias = "LockOpRefused")]
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LockOpError {
    /// The request has ended, and the member has confirmed that, or it has made one with a larger number.
    #[error("request {} is unknown, and the member has come to request {} already", request.0, last.0)]
    Outdated {
        /// The request.
        request: RequestId,
        /// The member's last one.
        last: RequestId,
    },
    /// The member has as many requests as it may have, counting those whose end it has not confirmed.
    #[error("the member has {limit} requests, and may not have more")]
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// The table has used all fences that are reserved.
    #[error("all reserved fences are used")]
    NoFences,
}

workfleet_causes::readable!(LockOpError { Outdated { request, last }, TooMany { limit }, NoFences });

/// The states of a member's requests that have changed since a version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes<K, O> {
    /// The version of this answer. Asking for what has changed since then confirms it.
    pub version: u64,
    /// The requests, in the order of their last changes.
    pub requests: Vec<(RequestId, RequestState<K, O>)>,
}

/// Who holds a key or waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requester<M, O> {
    /// The member.
    pub member: M,
    /// The member's request.
    pub request: RequestId,
    /// The owner, if it is known.
    pub owner: Option<O>,
    /// Since when it has been holding the key, or waiting for it.
    pub since: Instant,
}

impl<M, O: Clone> Owned for Requester<M, O> {
    type Owner = O;

    fn owner(&self) -> Option<&O> {
        self.owner.as_ref()
    }
}

/// The state of one key in a [`LockTable`].
pub type TableKey<M, O> = KeyState<Requester<M, O>, Requester<M, O>>;

/// Locks by the keys `K`, for the members `M` with the owners `O`.
///
/// A member is what ends as a whole: a program's connection, or its lease. An owner is what waits as a whole: a task. An
/// owner belongs to one member, which makes its name known to the table.
///
/// The driver [applies](Self::apply) what members want, [learns](Self::poll_changed) whose requests have changed, sends each
/// of those its [changes](Self::changes), and [ends](Self::end_member) members. The order of grants and the deadlocks are
/// those of a [`LocalState`](crate::LocalState), whose decisions it shares.
///
/// ```
/// use std::time::Instant;
/// use workfleet_shared_lock::{Mode, cores::{LockOp, LockTable, RequestId, RequestState}};
///
/// let (now, first) = (Instant::now(), RequestId::new(1));
/// let mut table = LockTable::<&str, &str, u32>::new(1..1000, 100);
/// let ask = LockOp::Request { key: "dataset/42", mode: Mode::Exclusive, owner: None };
/// table.apply(now, &"ann", first, ask.clone())?;
/// table.apply(now, &"bob", first, ask)?;
/// let before = table.changes(&"bob", 0);
/// assert!(matches!(before.requests[..], [(_, RequestState::Waiting { .. })]));
///
/// table.apply(now, &"ann", first, LockOp::Leave)?;
/// let after = table.changes(&"bob", before.version);
/// assert!(matches!(after.requests[..], [(_, RequestState::Granted { .. })]));
/// # Ok::<(), workfleet_shared_lock::cores::LockOpError>(())
/// ```
#[derive(Debug)]
pub struct LockTable<K, M, O> {
    keys: BTreeMap<K, TableKey<M, O>>,
    graph: WaitGraph<K, O>,
    members: BTreeMap<M, Member<K, O>>,
    /// Of members that have ended: when which grant of theirs ends.
    delays: BTreeMap<(Instant, Fence), K>,
    /// Whose requests have changed since the driver learnt of it. Each is in `members`.
    changed: BTreeSet<M>,
    /// Those that are reserved and not used.
    fences: Range<u64>,
    /// Of the last change.
    version: u64,
    requests_per_member: usize,
    closed: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Member<K, O> {
    /// The largest number that it has used.
    last: RequestId,
    /// Those that have not ended, and those that have, until the member confirms that.
    requests: BTreeMap<RequestId, Request<K, O>>,
    /// The same requests by the versions of their last changes.
    changes: BTreeMap<u64, RequestId>,
}

#[derive(Debug)]
struct Request<K, O> {
    key: K,
    state: RequestState<K, O>,
    version: u64,
}

impl<K, O> Request<K, O> {
    /// Its place at its key; none if it has ended.
    fn fence(&self) -> Option<Fence> {
        match self.state {
            RequestState::Waiting { fence } | RequestState::Granted { fence, .. } => Some(fence),
            RequestState::Ended(_) => None,
        }
    }
}

impl<K: Ord + Clone, M: Ord + Clone, O: Ord + Clone> LockTable<K, M, O> {
    /// A table in which nothing is held. It may use these fences, and no member may have more than so many requests.
    #[must_use]
    pub fn new(fences: Range<u64>, requests_per_member: usize) -> Self {
        Self {
            keys: BTreeMap::new(),
            graph: WaitGraph::new(),
            members: BTreeMap::new(),
            delays: BTreeMap::new(),
            changed: BTreeSet::new(),
            fences,
            version: 0,
            requests_per_member,
            closed: false,
            counters: Counters::default(),
        }
    }

    /// How many fences are left of those that are reserved. Each request that is granted or waits takes one.
    #[must_use]
    pub fn fences_left(&self) -> u64 {
        self.fences.end.saturating_sub(self.fences.start)
    }

    /// Fences up to this number may be used from now on. A driver whose fences must outlive it makes that durable first.
    pub fn reserve_fences(&mut self, end: u64) {
        self.fences.end = self.fences.end.max(end);
    }

    /// Carries out what a member wants of its request. A repetition has no effect.
    ///
    /// A member sends its requests in the order of their numbers. To leave a request that the table has not seen ends it
    /// before it begins: if it comes later, it is outdated.
    ///
    /// # Errors
    ///
    /// - [`LockOpError::Outdated`] for a new request whose number is not larger than those before;
    /// - [`LockOpError::TooMany`] for a new request of a member that has as many as it may have;
    /// - [`LockOpError::NoFences`] for a new request when all fences are used.
    pub fn apply(
        &mut self,
        now: Instant,
        member: &M,
        request: RequestId,
        op: LockOp<K, O>,
    ) -> Result<(), LockOpError> {
        match op {
            LockOp::Request { key, mode, owner } => self.ask(now, member, request, key, mode, owner, true),
            LockOp::Try { key, mode, owner } => self.ask(now, member, request, key, mode, owner, false),
            LockOp::Leave => {
                self.leave(now, member, request);
                Ok(())
            }
            LockOp::Downgrade => {
                self.downgrade(now, member, request);
                Ok(())
            }
        }
    }

    /// Ends a member and all its requests: its waits at once, and its grants at `until`, or at once if that is not later
    /// than `now`.
    ///
    /// A member that says goodbye needs no delay. One whose lease ran out may still believe that it holds its locks, for as
    /// long as its clock and its last message may be late. The driver gives no other member this name again.
    pub fn end_member(&mut self, now: Instant, member: &M, until: Instant) {
        let Some(gone) = self.members.remove(member) else { return };
        self.changed.remove(member);
        let mut grants = Vec::new();
        // The waits first, and the last of them first: so none of them is granted by the end of another of the member's.
        for request in gone.requests.into_values().rev() {
            match request.state {
                RequestState::Waiting { fence } => drop(self.end(now, &request.key, fence)),
                RequestState::Granted { fence, .. } => grants.push((fence, request.key)),
                RequestState::Ended(_) => {}
            }
        }
        for (fence, key) in grants {
            if until > now {
                self.delays.insert((until, fence), key);
            } else {
                self.end(now, &key, fence);
            }
        }
    }

    /// When the next grant of a member that has ended is to end; none if there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.delays.first_key_value().map(|((until, _), _)| *until)
    }

    /// Ends the grants of ended members whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(delay) = self.delays.first_entry().filter(|delay| delay.key().0 <= now) {
            let ((_, fence), key) = delay.remove_entry();
            self.end(now, &key, fence);
        }
    }

    /// Sends all waiters away. From now on, each request ends as [`Closed`](RequestEnd::Closed). What is held stays held.
    pub fn close(&mut self) {
        self.closed = true;
        let mut closed = Vec::new();
        for (key, state) in &mut self.keys {
            let locked = LockedKey { key, state, graph: &mut self.graph, counters: &mut self.counters };
            locked.close(|waiter| closed.push((waiter.member, waiter.request)));
        }
        for (member, request) in closed {
            self.change(&member, request, RequestState::Ended(RequestEnd::Closed));
        }
    }

    /// A member whose requests have changed since it was returned here last.
    pub fn poll_changed(&mut self) -> Option<M> {
        self.changed.pop_first()
    }

    /// The requests of the member that have changed since this version, which confirms what it was told before: the table
    /// forgets requests whose end was told. Version 0 is before everything.
    pub fn changes(&mut self, member: &M, since: u64) -> Changes<K, O> {
        let mut changes = Changes { version: self.version, requests: Vec::new() };
        let Some(member) = self.members.get_mut(member) else { return changes };
        member.confirm(since);
        let news = member.changes.range(since.saturating_add(1)..);
        changes
            .requests
            .extend(news.filter_map(|(_, id)| Some((*id, member.requests.get(id)?.state.clone()))));
        changes
    }

    /// Whether a request of this mode would be granted at once.
    #[must_use]
    pub fn is_free(&self, key: &K, mode: Mode) -> bool {
        self.keys.get(key).is_none_or(|state| state.is_free(mode))
    }

    /// All keys that are held, in order, with their holders and waiters.
    pub fn keys(&self) -> impl Iterator<Item = (&K, &TableKey<M, O>)> {
        self.keys.iter()
    }

    /// Those of the keys that are held which are in this range, in order.
    ///
    /// # Panics
    ///
    /// As [`BTreeMap::range`]: if the range starts behind its end, or excludes one key as both.
    pub fn keys_in(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &TableKey<M, O>)> {
        self.keys.range(range)
    }

    /// What happened since the table was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of two operations that differ in the last")]
    fn ask(
        &mut self,
        now: Instant,
        member: &M,
        id: RequestId,
        key: K,
        mode: Mode,
        owner: Option<O>,
        to_wait: bool,
    ) -> Result<(), LockOpError> {
        if let Some(known) = self.members.get(member) {
            if known.requests.contains_key(&id) {
                return Ok(());
            }
            known.check_new(id, self.requests_per_member)?;
        } else if self.requests_per_member == 0 {
            return Err(LockOpError::TooMany { limit: 0 });
        }
        let state = if self.closed {
            RequestState::Ended(RequestEnd::Closed)
        } else {
            let fence = self.fences.clone().next().map(Fence::new).ok_or(LockOpError::NoFences)?;
            let requester = Requester { member: member.clone(), request: id, owner, since: now };
            self.answer(fence, &key, mode, requester, to_wait)
        };
        let request = Request { key, state: state.clone(), version: 0 };
        let known = self.members.entry(member.clone()).or_insert_with(|| Member::new(id));
        known.last = id;
        known.requests.insert(id, request);
        self.change(member, id, state);
        Ok(())
    }

    fn answer(
        &mut self,
        fence: Fence,
        key: &K,
        mode: Mode,
        requester: Requester<M, O>,
        to_wait: bool,
    ) -> RequestState<K, O> {
        let counters = &mut self.counters;
        let answer = if let Some(state) = self.keys.get_mut(key) {
            let locked = LockedKey { key, state, graph: &mut self.graph, counters };
            let (owner, kept) = (requester.owner.clone(), || requester);
            locked.ask(fence, mode, owner.as_ref(), to_wait, kept.clone(), kept)
        } else {
            self.keys.insert(key.clone(), first_request(fence, mode, requester, counters));
            Ok(Answer::Granted)
        };
        let state = match answer {
            Ok(Answer::Granted) => RequestState::Granted { fence, mode },
            Ok(Answer::Waits) => RequestState::Waiting { fence },
            Ok(Answer::Taken) => return RequestState::Ended(RequestEnd::Taken),
            Err(cycle) => return RequestState::Ended(RequestEnd::WouldDeadlock(cycle)),
        };
        self.fences.next();
        state
    }

    fn leave(&mut self, now: Instant, member: &M, id: RequestId) {
        let known = self.members.entry(member.clone()).or_insert_with(|| Member::new(id));
        known.last = known.last.max(id);
        let Some(request) = known.requests.get(&id) else { return };
        let (Some(fence), key) = (request.fence(), request.key.clone()) else { return };
        let end = match self.end(now, &key, fence) {
            Some(Left::Holder(_)) => RequestEnd::Released,
            Some(Left::Waiter(..)) => RequestEnd::Cancelled,
            None => unreachable!("what has not ended has a place"),
        };
        self.change(member, id, RequestState::Ended(end));
    }

    fn downgrade(&mut self, now: Instant, member: &M, id: RequestId) {
        let Some(request) = self.members.get(member).and_then(|known| known.requests.get(&id)) else {
            return;
        };
        let (Some(fence), key) = (request.fence(), request.key.clone()) else { return };
        if self.at_key(now, &key, |locked, on_grant| locked.downgrade(fence, on_grant)) == Some(true) {
            self.change(member, id, RequestState::Granted { fence, mode: Mode::Shared });
        }
    }

    /// Ends the place of a request at its key. The request's own state is the caller's to change.
    fn end(&mut self, now: Instant, key: &K, fence: Fence) -> Option<Left<Requester<M, O>, Requester<M, O>>> {
        let left = self.at_key(now, key, |locked, on_grant| locked.leave(fence, on_grant)).flatten();
        if self.keys.get(key).is_some_and(KeyState::is_idle) {
            self.keys.remove(key);
        }
        left
    }

    /// Carries out a command at a key that is held, and changes the requests that are granted by it.
    fn at_key<T>(
        &mut self,
        now: Instant,
        key: &K,
        command: impl FnOnce(Locked<'_, K, M, O>, &mut OnGrant<'_, M, O>) -> T,
    ) -> Option<T> {
        let state = self.keys.get_mut(key)?;
        let mut granted = Vec::new();
        let mut on_grant = |grant: Grant<Requester<M, O>>| {
            let Requester { since, .. } = grant.waiter;
            let holder = Requester { since: now, ..grant.waiter };
            granted.push((holder.member.clone(), holder.request, grant.fence, grant.mode));
            (holder, Some(now.saturating_duration_since(since)))
        };
        let locked = LockedKey { key, state, graph: &mut self.graph, counters: &mut self.counters };
        let result = command(locked, &mut on_grant);
        for (member, id, fence, mode) in granted {
            self.change(&member, id, RequestState::Granted { fence, mode });
        }
        Some(result)
    }

    fn change(&mut self, member: &M, id: RequestId, state: RequestState<K, O>) {
        let known = self.members.get_mut(member);
        let Some(known) = known else {
            unreachable!("the requests of a member end with it, but for its grants")
        };
        let Some(request) = known.requests.get_mut(&id) else { unreachable!("it is known until it ends") };
        self.version += 1;
        known.changes.remove(&request.version);
        known.changes.insert(self.version, id);
        request.version = self.version;
        request.state = state;
        self.changed.insert(member.clone());
    }
}

type Locked<'a, K, M, O> = LockedKey<'a, K, Requester<M, O>, Requester<M, O>, &'a mut WaitGraph<K, O>>;

type OnGrant<'a, M, O> = dyn FnMut(Grant<Requester<M, O>>) -> (Requester<M, O>, Option<Duration>) + 'a;

impl<K, O> Member<K, O> {
    fn new(last: RequestId) -> Self {
        Self { last, requests: BTreeMap::new(), changes: BTreeMap::new() }
    }

    /// Whether it may make this request, which is new.
    fn check_new(&self, request: RequestId, limit: usize) -> Result<(), LockOpError> {
        if request <= self.last {
            Err(LockOpError::Outdated { request, last: self.last })
        } else if self.requests.len() >= limit {
            Err(LockOpError::TooMany { limit })
        } else {
            Ok(())
        }
    }

    /// It has been told everything up to this version.
    fn confirm(&mut self, version: u64) {
        let Self { requests, changes, .. } = self;
        let has_ended = |id| requests.get(id).is_some_and(|request| request.fence().is_none());
        let told = changes.range(..=version).filter(|(_, id)| has_ended(*id));
        for (version, id) in Vec::from_iter(told.map(|(version, id)| (*version, *id))) {
            changes.remove(&version);
            requests.remove(&id);
        }
    }
}
