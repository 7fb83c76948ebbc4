//! Who waits for whom, among owners that are known, over all keys: finds the request that would close a cycle.
//!
//! A request waits for those who hold its key and for those who wait for it in front; a shared one not for the shared ones
//! that will be granted together with it. In the numbers of [`KeyState`](super::KeyState) these are the requests of its
//! *line* up to a bound: nobody is let in before it.
//!
//! Invariants:
//! - While a request of a known owner waits for a key, the key has a line here: the requests of known owners that hold it
//!   or wait for it, except those that came later and were never waited for. Other keys have none, and take no memory.
//! - Only a new request adds an edge: its own. A grant turns an edge to a waiter into one to a holder, and a release, a
//!   cancellation or a downgrade takes edges away. So only a new request can close a cycle, and it is then the youngest
//!   waiter in it: refusing it leaves the graph without cycles, always.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};
use std::ops::Bound;

use crate::{Fence, Mode};

/// The wait-for graph of the owners `O` over the keys `K`.
///
/// The driver tells the graph of each request of a known owner that begins to wait, that is granted after waiting, or that
/// ends on a key with waiters. It also tells the graph of each exclusive request, of a known owner or not, that stops waiting
/// without a grant.
///
/// ```
/// use workfleet_shared_lock::{Fence, Mode, cores::WaitGraph};
///
/// let mut graph = WaitGraph::new();
/// // ann holds x and bob holds y; now bob waits for x, behind ann.
/// let until = Fence::new(1);
/// graph.wait(&"x", Fence::new(3), "bob", Mode::Exclusive, until, [(Fence::new(1), "ann")]).unwrap();
/// // ann may not wait for y.
/// let until = Fence::new(2);
/// let blocked = graph.wait(&"y", Fence::new(4), "ann", Mode::Shared, until, [(Fence::new(2), "bob")]);
/// let cycle: Vec<_> = blocked.unwrap_err().into_iter().map(|link| (link.owner, link.key)).collect();
/// assert_eq!(cycle, [("ann", "y"), ("bob", "x")]);
/// ```
#[derive(Debug)]
pub struct WaitGraph<K, O> {
    lines: BTreeMap<K, Line<O>>,
    /// The waits of each owner that has any.
    waits: BTreeMap<O, Vec<(K, Fence)>>,
    /// In how many places of all lines each owner stands. One that stands nowhere is waited for by nobody.
    places: BTreeMap<O, usize>,
}

#[derive(Debug)]
struct Line<O> {
    /// The requests of known owners, holders and waiters alike.
    places: BTreeMap<Fence, O>,
    /// Those that wait.
    waits: BTreeMap<Fence, Wait>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    mode: Mode,
    /// Up to which place it has to wait.
    until: Fence,
}

/// One link of a cycle: an owner waits for a key. The owner of the next link holds that key, or waits for it in front of this
/// one. The last link is followed by the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked<K, O> {
    /// Who waits.
    pub owner: O,
    /// What for.
    pub key: K,
}

impl<K: Ord + Clone, O: Ord + Clone> WaitGraph<K, O> {
    /// A graph in which nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: BTreeMap::new(), waits: BTreeMap::new(), places: BTreeMap::new() }
    }

    /// Whether nobody waits; then it takes no memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.waits.is_empty() && self.places.is_empty()
    }

    /// The request `fence` of `owner` is about to wait for `key`, in this mode, for all requests up to the number `until`
    /// ([`KeyState::waits_until`](super::KeyState::waits_until)).
    ///
    /// `ahead` are the requests of known owners that hold the key or wait for it now. They are asked for only if nobody
    /// known waited so far.
    ///
    /// # Errors
    ///
    /// The shortest cycle that this would close, beginning with `owner`. Then the request must not wait, and the
    /// graph is as it was.
    pub fn wait(
        &mut self,
        key: &K,
        fence: Fence,
        owner: O,
        mode: Mode,
        until: Fence,
        ahead: impl IntoIterator<Item = (Fence, O)>,
    ) -> Result<(), Vec<Blocked<K, O>>> {
        if let Entry::Vacant(vacant) = self.lines.entry(key.clone()) {
            let places = BTreeMap::from_iter(ahead);
            for owner in places.values() {
                *self.places.entry(owner.clone()).or_default() += 1;
            }
            vacant.insert(Line { places, waits: BTreeMap::new() });
        }
        if self.places.contains_key(&owner)
            && let Some(cycle) = self.cycle(key, &owner, until)
        {
            self.drop_line_if_unused(key);
            return Err(cycle);
        }
        if let Some(line) = self.lines.get_mut(key) {
            line.places.insert(fence, owner.clone());
            line.waits.insert(fence, Wait { mode, until });
        }
        *self.places.entry(owner.clone()).or_default() += 1;
        self.waits.entry(owner).or_default().push((key.clone(), fence));
        Ok(())
    }

    /// The request has been granted: it waits for nobody any more, and is still waited for.
    pub fn granted(&mut self, key: &K, fence: Fence) {
        self.end_wait(key, fence);
        self.drop_line_if_unused(key);
    }

    /// The request has ended: released, cancelled or expired. Of no consequence if nobody known waits for the key.
    pub fn leave(&mut self, key: &K, fence: Fence) {
        self.end_wait(key, fence);
        if let Some(owner) = self.lines.get_mut(key).and_then(|line| line.places.remove(&fence)) {
            self.forget_place(&owner);
        }
        self.drop_line_if_unused(key);
    }

    /// The exclusive request `gone`, of whomever, waits no longer and was not granted. Shared requests behind it that still
    /// wait do so no longer for the shared ones before it: only up to `until`, the last exclusive request before
    /// `gone` ([`KeyState::exclusive_before`](super::KeyState::exclusive_before)).
    pub fn shorten(&mut self, key: &K, gone: Fence, until: Fence) {
        let Some(line) = self.lines.get_mut(key) else { return };
        // Behind it come the shared requests that waited up to it, and then another exclusive one.
        for (_, wait) in line.waits.range_mut(gone..).take_while(|(_, wait)| wait.until <= gone) {
            if !wait.mode.is_alone() {
                wait.until = until;
            }
        }
    }

    fn end_wait(&mut self, key: &K, fence: Fence) {
        let Some(line) = self.lines.get_mut(key) else { return };
        if line.waits.remove(&fence).is_none() {
            return;
        }
        let Some(owner) = line.places.get(&fence) else { return };
        if let Some(waits) = self.waits.get_mut(owner) {
            waits.retain(|(waited, number)| (waited, *number) != (key, fence));
            if waits.is_empty() {
                self.waits.remove(owner);
            }
        }
    }

    fn drop_line_if_unused(&mut self, key: &K) {
        if self.lines.get(key).is_some_and(|line| line.waits.is_empty())
            && let Some(line) = self.lines.remove(key)
        {
            for owner in line.places.values() {
                self.forget_place(owner);
            }
        }
    }

    fn forget_place(&mut self, owner: &O) {
        if let Some(count) = self.places.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(owner);
            }
        }
    }

    /// Searches in breadth whom `start` would wait for, directly and through others, until it finds `start` itself.
    ///
    /// Each place of each line is looked at once.
    fn cycle(&self, key: &K, start: &O, until: Fence) -> Option<Vec<Blocked<K, O>>> {
        // By whom each owner was reached, and over which key.
        let mut reached: BTreeMap<&O, (&O, &K)> = BTreeMap::new();
        // Up to which place each line was looked at.
        let mut seen: BTreeMap<&K, Fence> = BTreeMap::new();
        let mut pending = VecDeque::from([(start, key, until)]);
        while let Some((waiter, key, until)) = pending.pop_front() {
            let Some((key, line)) = self.lines.get_key_value(key) else { continue };
            let from = match seen.get(key) {
                Some(seen) if *seen >= until => continue,
                Some(seen) => Bound::Excluded(*seen),
                None => Bound::Unbounded,
            };
            seen.insert(key, until);
            for owner in line.places.range((from, Bound::Included(until))).map(|(_, owner)| owner) {
                if owner == start {
                    return Some(path(&reached, waiter, key, start));
                }
                if let Entry::Vacant(vacant) = reached.entry(owner) {
                    vacant.insert((waiter, key));
                    let waits = self.waits.get(owner).into_iter().flatten();
                    pending.extend(waits.filter_map(|(key, fence)| {
                        let wait = self.lines.get(key)?.waits.get(fence)?;
                        Some((owner, key, wait.until))
                    }));
                }
            }
        }
        None
    }
}

/// The cycle that closes when `last` waits over `key` for `start`.
fn path<'a, K: Clone, O: Ord + Clone>(
    reached: &BTreeMap<&'a O, (&'a O, &'a K)>,
    last: &'a O,
    key: &'a K,
    start: &O,
) -> Vec<Blocked<K, O>> {
    let mut links = Vec::new();
    let (mut owner, mut key) = (last, key);
    loop {
        links.push(Blocked { owner: owner.clone(), key: key.clone() });
        match reached.get(owner) {
            Some((waiter, over)) if owner != start => (owner, key) = (waiter, over),
            _ => break,
        }
    }
    links.reverse();
    links
}

impl<K: Ord + Clone, O: Ord + Clone> Default for WaitGraph<K, O> {
    fn default() -> Self {
        Self::new()
    }
}
