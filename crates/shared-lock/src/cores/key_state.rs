//! One key: who holds it, who waits for it, and who is next.
//!
//! Invariants:
//! - One exclusive holder, or any number of shared ones, never both.
//! - *Arrival order.* Requests are numbered as they arrive, and the number stays with the request when it is granted.
//!   Nobody is overtaken: all holders have smaller numbers than all waiters. So the numbers of exclusive grants
//!   increase, and serve as fences.
//! - *Nobody waits for nothing.* After each command, the first waiter could not be granted. So a key with waiters has
//!   holders.

use std::{collections::BTreeMap, fmt};

use super::queue::Queue;
use crate::{Fence, Mode};

/// The state of one key. `H` is what the driver keeps for each holder, `W` for each waiter.
///
/// Requests are named by their [`Fence`]: the driver gives each a number larger than all it has given out for this key
/// before. A new request is [granted](Self::grant) if the key is [free](Self::is_free) for it, and [waits](Self::wait)
/// otherwise. Later commands call `on_grant` for each waiter that they grant, in the order of arrival; that turns
/// what was kept for the waiter into what is kept for the holder.
///
/// ```
/// use workfleet_shared_lock::{Fence, Mode, cores::{Grant, KeyState}};
///
/// let mut key = KeyState::new();
/// key.grant(Fence::new(1), Mode::Shared, "ann");
/// key.wait(Fence::new(2), Mode::Exclusive, "bob");
/// assert!(!key.is_free(Mode::Shared)); // nobody overtakes bob
/// key.wait(Fence::new(3), Mode::Shared, "cid");
///
/// let mut granted = Vec::new();
/// let mut on_grant = |grant: Grant<&'static str>| {
///     granted.push(grant.waiter);
///     grant.waiter
/// };
/// key.release(Fence::new(1), &mut on_grant);
/// key.release(Fence::new(2), &mut on_grant);
/// assert_eq!(granted, ["bob", "cid"]);
/// ```
pub struct KeyState<H, W> {
    /// How the holders hold it. Without holders it means nothing.
    mode: Mode,
    /// The holder with the smallest number; `None` only if there is none at all.
    first: Option<(Fence, H)>,
    /// What an uncontended key does without.
    crowd: Option<Box<Crowd<H, W>>>,
}

/// Holders beside the first, and waiters. It is kept while the key is, so that a contended key allocates it once.
struct Crowd<H, W> {
    holders: BTreeMap<Fence, H>,
    waiters: Queue<Waiter<W>>,
}

struct Waiter<W> {
    mode: Mode,
    data: W,
}

/// A request that waited and is granted now.
#[derive(Debug)]
pub struct Grant<W> {
    /// Its number.
    pub fence: Fence,
    /// How the key is held by it.
    pub mode: Mode,
    /// What was kept for the waiter.
    pub waiter: W,
}

/// What a request was when it [left](KeyState::expire).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left<H, W> {
    /// It was granted, and had not been released.
    Holder(H),
    /// It was waiting, to hold the key in this mode.
    Waiter(Mode, W),
}

impl<H, W> KeyState<H, W> {
    /// A key that nobody holds. Drivers keep none of those.
    #[must_use]
    pub const fn new() -> Self {
        Self { mode: Mode::Exclusive, first: None, crowd: None }
    }

    /// A key that this request holds, and nobody else.
    #[must_use]
    pub const fn held(fence: Fence, mode: Mode, holder: H) -> Self {
        Self { mode, first: Some((fence, holder)), crowd: None }
    }

    /// Whether nobody holds it, and so nobody waits for it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.first.is_none()
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.crowd.as_ref().is_some_and(|crowd| !crowd.waiters.is_empty())
    }

    /// How it is held; `None` if nobody holds it.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.first.as_ref().map(|_| self.mode)
    }

    /// The holders in the order of arrival.
    pub fn holders(&self) -> impl Iterator<Item = (Fence, &H)> {
        let more = self.crowd.iter().flat_map(|crowd| &crowd.holders);
        self.first.iter().map(|(fence, data)| (*fence, data)).chain(more.map(|(fence, data)| (*fence, data)))
    }

    /// The waiters in the order of arrival.
    pub fn waiters(&self) -> impl Iterator<Item = (Fence, Mode, &W)> {
        let waiters = self.crowd.iter().flat_map(|crowd| crowd.waiters.iter());
        waiters.map(|(fence, waiter)| (fence, waiter.mode, &waiter.data))
    }

    /// Whether a request of this mode would be granted at once.
    #[must_use]
    pub fn is_free(&self, mode: Mode) -> bool {
        self.joins(mode) && !self.has_waiters()
    }

    /// Grants a request at once.
    ///
    /// # Panics
    ///
    /// If the key is not [free](Self::is_free) for that, or the number is not larger than those before.
    pub fn grant(&mut self, fence: Fence, mode: Mode, holder: H) {
        assert!(self.is_free(mode), "{fence} would overtake or disturb somebody");
        self.assert_new(fence);
        self.hold(fence, mode, holder);
    }

    /// Puts a request at the end of the queue.
    ///
    /// # Panics
    ///
    /// If the key is [free](Self::is_free) for it, or the number is not larger than those before.
    pub fn wait(&mut self, fence: Fence, mode: Mode, waiter: W) {
        assert!(!self.is_free(mode), "{fence} would wait for nobody");
        self.assert_new(fence);
        self.crowd().waiters.push(fence, Waiter { mode, data: waiter });
    }

    /// Up to which request's end a new request of this mode would have to wait; `None` if it would be granted at once.
    ///
    /// An exclusive request waits for everybody before it, a shared one for everybody up to the last exclusive one.
    #[must_use]
    pub fn waits_until(&self, mode: Mode) -> Option<Fence> {
        if mode.is_alone() { self.last() } else { self.last_exclusive(|_| true) }
    }

    /// The last exclusive request, holder or waiter, with a smaller number than this.
    #[must_use]
    pub fn exclusive_before(&self, fence: Fence) -> Option<Fence> {
        self.last_exclusive(|other| other < fence)
    }

    /// Ends a grant, and returns what was kept for it; `None` if there is no such holder.
    pub fn release(&mut self, fence: Fence, on_grant: &mut impl FnMut(Grant<W>) -> H) -> Option<H> {
        let released = self.take_holder(fence)?;
        self.settle(on_grant);
        Some(released)
    }

    /// Takes a request back that waits, and returns its mode and what was kept for it; `None` if there is no such waiter.
    ///
    /// Those behind it may be granted by that.
    pub fn cancel(&mut self, fence: Fence, on_grant: &mut impl FnMut(Grant<W>) -> H) -> Option<(Mode, W)> {
        let waiter = self.crowd.as_mut()?.waiters.remove(fence)?;
        self.settle(on_grant);
        Some((waiter.mode, waiter.data))
    }

    /// Ends a request in whichever state it is, because whoever made it is gone; `None` if it had ended already.
    pub fn expire(&mut self, fence: Fence, on_grant: &mut impl FnMut(Grant<W>) -> H) -> Option<Left<H, W>> {
        match self.release(fence, on_grant) {
            Some(holder) => Some(Left::Holder(holder)),
            None => self.cancel(fence, on_grant).map(|(mode, waiter)| Left::Waiter(mode, waiter)),
        }
    }

    /// Turns an exclusive grant into a shared one, which lets in the shared waiters at the head of the queue, and
    /// nobody behind the first exclusive waiter. False if there is no such holder, or if it holds the key shared.
    pub fn downgrade(&mut self, fence: Fence, on_grant: &mut impl FnMut(Grant<W>) -> H) -> bool {
        let holds = self.first.as_ref().is_some_and(|(first, _)| *first == fence);
        if !holds || !self.mode.is_alone() {
            return false;
        }
        self.mode = Mode::Shared;
        self.settle(on_grant);
        true
    }

    /// Takes all waiters back at once, in the order of arrival. The holders stay.
    pub fn cancel_all(&mut self) -> impl Iterator<Item = (Fence, Mode, W)> + use<H, W> {
        let waiters = self.crowd.as_mut().map(|crowd| crowd.waiters.drain());
        waiters.into_iter().flatten().map(|(fence, waiter)| (fence, waiter.mode, waiter.data))
    }

    fn last_exclusive(&self, among: impl Fn(Fence) -> bool) -> Option<Fence> {
        let mut waiters = self.crowd.iter().flat_map(|crowd| crowd.waiters.iter().rev());
        let waiter = waiters.find(|(fence, waiter)| waiter.mode.is_alone() && among(*fence));
        let holder = self.first.as_ref().filter(|(fence, _)| self.mode.is_alone() && among(*fence));
        waiter.map(|(fence, _)| fence).or(holder.map(|(fence, _)| *fence))
    }

    /// Whether somebody who asks in this mode may hold the key beside its holders.
    fn joins(&self, mode: Mode) -> bool {
        self.first.is_none() || mode.joins(self.mode)
    }

    fn hold(&mut self, fence: Fence, mode: Mode, data: H) {
        debug_assert!(self.joins(mode), "{fence} joins holders who do not share");
        if self.first.is_none() {
            self.mode = mode;
            self.first = Some((fence, data));
        } else {
            self.crowd().holders.insert(fence, data);
        }
    }

    fn take_holder(&mut self, fence: Fence) -> Option<H> {
        if self.first.as_ref()?.0 != fence {
            return self.crowd.as_mut()?.holders.remove(&fence);
        }
        let next = self.crowd.as_mut().and_then(|crowd| crowd.holders.pop_first());
        std::mem::replace(&mut self.first, next).map(|(_, data)| data)
    }

    /// Grants from the head of the queue what can be granted.
    #[inline]
    fn settle(&mut self, on_grant: &mut impl FnMut(Grant<W>) -> H) {
        // Most keys are left with nobody waiting: that costs no call.
        if self.has_waiters() {
            self.grant_waiters(on_grant);
        }
    }

    fn grant_waiters(&mut self, on_grant: &mut impl FnMut(Grant<W>) -> H) {
        while let Some((fence, mode, waiter)) = self.next() {
            let holder = on_grant(Grant { fence, mode, waiter });
            self.hold(fence, mode, holder);
        }
    }

    /// Takes the first waiter out of the queue, if it can be granted.
    fn next(&mut self) -> Option<(Fence, Mode, W)> {
        let mode = self.crowd.as_ref()?.waiters.first()?.mode;
        if !self.joins(mode) {
            return None;
        }
        let (fence, waiter) = self.crowd.as_mut()?.waiters.pop()?;
        Some((fence, waiter.mode, waiter.data))
    }

    fn assert_new(&self, fence: Fence) {
        assert!(self.last().is_none_or(|last| last < fence), "{fence} is not a new number");
    }

    /// The largest number of any request here.
    fn last(&self) -> Option<Fence> {
        let crowd = self.crowd.as_ref();
        let waiter = crowd.and_then(|crowd| crowd.waiters.last());
        let holder = crowd.and_then(|crowd| crowd.holders.keys().next_back().copied());
        waiter.or(holder).or(self.first.as_ref().map(|(fence, _)| *fence))
    }

    fn crowd(&mut self) -> &mut Crowd<H, W> {
        self.crowd.get_or_insert_with(|| Box::new(Crowd { holders: BTreeMap::new(), waiters: Queue::new() }))
    }
}

impl<H, W> Default for KeyState<H, W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: fmt::Debug, W: fmt::Debug> fmt::Debug for KeyState<H, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyState")
            .field("mode", &self.mode())
            .field("holders", &Vec::from_iter(self.holders()))
            .field("waiters", &Vec::from_iter(self.waiters()))
            .finish()
    }
}
