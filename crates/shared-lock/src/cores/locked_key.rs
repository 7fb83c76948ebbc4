//! What becomes of one request for one key, and of the requests behind it.
//!
//! Here, and nowhere else, a key's state and the wait-for graph meet. A table of keys is built on this:
//! [`LockTable`](super::LockTable), and the shards of [`LocalState`](crate::LocalState), which keep a key's state in the entry
//! of a hash table and share one graph between their locks.
//!
//! Invariants:
//! - The graph learns of each wait of a known owner before the request joins the queue, and of each end of one in the same
//!   command that ends it.
//! - Each command counts what it does. So the sums that [`Counters`] promises hold after each command.

use std::time::Duration;

use super::{Blocked, Grant, KeyState, Left, WaitGraph};
use crate::{Counters, Fence, Mode};

/// What a table keeps for a holder or a waiter. It knows the owner, if the request was made in the name of one.
pub(crate) trait Owned {
    type Owner: Clone;

    fn owner(&self) -> Option<&Self::Owner>;
}

/// The way from a key to the graph that all keys of a table share.
pub(crate) trait SharedGraph<K, O> {
    fn with<T>(&mut self, change: impl FnOnce(&mut WaitGraph<K, O>) -> T) -> T;

    /// False only if no known owner waits for the key in question.
    fn has_waits(&self) -> bool;
}

impl<K: Ord + Clone, O: Ord + Clone> SharedGraph<K, O> for &mut WaitGraph<K, O> {
    fn with<T>(&mut self, change: impl FnOnce(&mut WaitGraph<K, O>) -> T) -> T {
        change(self)
    }

    fn has_waits(&self) -> bool {
        !self.is_empty()
    }
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted,
    Waits,
    /// The key is not free, and the request was not to wait.
    Taken,
}

/// One key of a table, for one command.
#[derive(Debug)]
pub(crate) struct LockedKey<'a, K, H, W, G> {
    pub(crate) key: &'a K,
    pub(crate) state: &'a mut KeyState<H, W>,
    pub(crate) graph: G,
    pub(crate) counters: &'a mut Counters,
}

impl<K, H, W, O, G> LockedKey<'_, K, H, W, G>
where
    K: Ord + Clone,
    O: Ord + Clone,
    H: Owned<Owner = O>,
    W: Owned<Owner = O>,
    G: SharedGraph<K, O>,
{
    /// The request `fence` of `owner`: grants it, or puts it into the queue if it is `to_wait`. One of `holder` and
    /// `waiter` makes what is kept for it.
    ///
    /// # Errors
    ///
    /// The cycle that the wait of a known owner would close. Then nothing has changed.
    #[inline]
    pub(crate) fn ask(
        mut self,
        fence: Fence,
        mode: Mode,
        owner: Option<&O>,
        to_wait: bool,
        holder: impl FnOnce() -> H,
        waiter: impl FnOnce() -> W,
    ) -> Result<Answer, Vec<Blocked<K, O>>> {
        if self.state.is_free(mode) {
            self.state.grant(fence, mode, holder());
            self.counters.count_grant(mode);
            return Ok(Answer::Granted);
        }
        if !to_wait {
            return Ok(Answer::Taken);
        }
        if let Some(owner) = owner {
            self.enter_graph(fence, mode, owner)?;
        }
        self.state.wait(fence, mode, waiter());
        self.counters.waits += 1;
        Ok(Answer::Waits)
    }

    fn enter_graph(&mut self, fence: Fence, mode: Mode, owner: &O) -> Result<(), Vec<Blocked<K, O>>> {
        let Some(until) = self.state.waits_until(mode) else { return Ok(()) };
        let holders = self.state.holders().map(|(fence, holder)| (fence, holder.owner()));
        let waiters = self.state.waiters().map(|(fence, _, waiter)| (fence, waiter.owner()));
        let known = holders.chain(waiters).filter_map(|(fence, owner)| Some((fence, owner?.clone())));
        let entered = self.graph.with(|graph| graph.wait(self.key, fence, owner.clone(), mode, until, known));
        entered.inspect_err(|_| self.counters.deadlocks += 1)
    }

    /// Ends a request in whichever state it is: a grant is released, and a wait is cancelled. None if it has ended before.
    ///
    /// `on_grant` is called for each waiter that is granted by that, in the order of arrival. It turns what was kept for
    /// the waiter into what is kept for the holder, and says how long the wait took, where that is known.
    #[inline]
    pub(crate) fn leave(
        mut self,
        fence: Fence,
        mut on_grant: impl FnMut(Grant<W>) -> (H, Option<Duration>),
    ) -> Option<Left<H, W>> {
        let was_waited_for = self.state.has_waiters();
        let Self { key, state, graph, counters } = &mut self;
        let left =
            state.expire(fence, &mut |grant| hand_over(*key, graph, counters, &mut on_grant, grant))?;
        match &left {
            Left::Holder(_) => counters.releases += 1,
            Left::Waiter(..) => counters.waits_cancelled += 1,
        }
        if was_waited_for && graph.has_waits() {
            self.leave_graph(fence, &left);
        }
        Some(left)
    }

    fn leave_graph(&mut self, fence: Fence, left: &Left<H, W>) {
        let owner = match left {
            Left::Holder(holder) => holder.owner(),
            Left::Waiter(_, waiter) => waiter.owner(),
        };
        if owner.is_some() {
            self.graph.with(|graph| graph.leave(self.key, fence));
        }
        if let Left::Waiter(mode, _) = left
            && mode.is_alone()
            && let Some(until) = self.state.exclusive_before(fence)
        {
            self.graph.with(|graph| graph.shorten(self.key, fence, until));
        }
    }

    /// Turns an exclusive grant into a shared one. False if there is no such holder, or if it holds the key shared.
    ///
    /// `on_grant` is as for [`leave`](Self::leave).
    pub(crate) fn downgrade(
        mut self,
        fence: Fence,
        mut on_grant: impl FnMut(Grant<W>) -> (H, Option<Duration>),
    ) -> bool {
        let Self { key, state, graph, counters } = &mut self;
        let changed =
            state.downgrade(fence, &mut |grant| hand_over(*key, graph, counters, &mut on_grant, grant));
        counters.downgrades += u64::from(changed);
        changed
    }

    /// Sends all waiters away, in the order of arrival. The holders stay.
    pub(crate) fn close(mut self, mut on_closed: impl FnMut(W)) {
        for (fence, _, waiter) in self.state.cancel_all() {
            if waiter.owner().is_some() {
                self.graph.with(|graph| graph.leave(self.key, fence));
            }
            self.counters.waits_closed += 1;
            on_closed(waiter);
        }
    }
}

/// A key that was idle, after its first request.
pub(crate) fn first_request<H, W>(
    fence: Fence,
    mode: Mode,
    holder: H,
    counters: &mut Counters,
) -> KeyState<H, W> {
    counters.count_grant(mode);
    KeyState::held(fence, mode, holder)
}

#[inline]
fn hand_over<K, H, W: Owned<Owner = O>, O>(
    key: &K,
    graph: &mut impl SharedGraph<K, O>,
    counters: &mut Counters,
    on_grant: &mut impl FnMut(Grant<W>) -> (H, Option<Duration>),
    grant: Grant<W>,
) -> H
where
    K: Ord + Clone,
    O: Ord + Clone,
{
    if grant.waiter.owner().is_some() {
        graph.with(|graph| graph.granted(key, grant.fence));
    }
    counters.count_grant(grant.mode);
    counters.waits_granted += 1;
    let (holder, waited) = on_grant(grant);
    counters.add_wait_time(waited);
    holder
}
