//! What the tests share: how many cases a property gets, and a model of the locks that is obviously right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed},
};

use crate::{Fence, Mode};

/// 256 cases with a fixed seed, so that a run is repeatable; WORKFLEET_PROPTEST_CASES asks for another number, with
/// fresh seeds.
pub(crate) fn cases() -> Config {
    let cases = std::env::var("WORKFLEET_PROPTEST_CASES");
    let cases = cases.ok().map(|cases| cases.parse().expect("WORKFLEET_PROPTEST_CASES is a number"));
    Config {
        cases: cases.unwrap_or(256),
        rng_seed: if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        ..Config::default()
    }
}

/// Any mode.
pub(crate) fn mode() -> impl Strategy<Value = Mode> + Clone {
    select(&Mode::ALL[..])
}

/// Who asks. Owner 0 is nobody known.
pub(crate) type OwnerNumber = u8;

/// A request that has not ended, in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: usize,
    pub(crate) owner: OwnerNumber,
    pub(crate) mode: Mode,
}

/// All requests that have not ended, for each key in the order of arrival. That is all there is: who holds the key follows
/// from it.
#[derive(Debug, Default)]
pub(crate) struct Model<K> {
    pub(crate) lines: BTreeMap<K, Vec<Request>>,
}

impl<K: Ord + Clone> Model<K> {
    pub(crate) fn line(&self, key: &K) -> &[Request] {
        self.lines.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the request at `index` holds its key: the first does, and so does each that is shared after shared ones
    /// alone.
    pub(crate) fn holds(line: &[Request], index: usize) -> bool {
        index == 0 || line[..=index].iter().all(|request| request.mode == Mode::Shared)
    }

    pub(crate) fn holders(line: &[Request]) -> &[Request] {
        let count = (0..line.len()).take_while(|index| Self::holds(line, *index)).count();
        &line[..count]
    }

    pub(crate) fn waiters(line: &[Request]) -> &[Request] {
        &line[Self::holders(line).len()..]
    }

    /// Whether a request of this mode would hold the key at once.
    pub(crate) fn is_free(&self, key: &K, mode: Mode) -> bool {
        let mut line = self.line(key).to_vec();
        line.push(Request { id: usize::MAX, owner: 0, mode });
        Self::holds(&line, line.len() - 1)
    }

    /// Adds a request, and says whether it holds the key.
    pub(crate) fn add(&mut self, key: &K, request: Request) -> bool {
        let line = self.lines.entry(key.clone()).or_default();
        line.push(request);
        Self::holds(line, line.len() - 1)
    }

    /// Ends a request, and returns those that are granted by that, in order.
    pub(crate) fn remove(&mut self, key: &K, id: usize) -> Vec<usize> {
        self.change(key, |line| line.retain(|request| request.id != id))
    }

    pub(crate) fn downgrade(&mut self, key: &K, id: usize) -> Vec<usize> {
        self.change(key, |line| {
            let held = line.iter_mut().find(|request| request.id == id);
            held.expect("it is in its line").mode = Mode::Shared;
        })
    }

    /// Ends all requests that wait, and returns them.
    pub(crate) fn cancel_all(&mut self, key: &K) -> Vec<Request> {
        let Some(line) = self.lines.get_mut(key) else { return Vec::new() };
        line.split_off(Self::holders(line).len())
    }

    fn change(&mut self, key: &K, change: impl FnOnce(&mut Vec<Request>)) -> Vec<usize> {
        let line = self.lines.get_mut(key).expect("the key is in use");
        let waited: BTreeSet<usize> = Self::waiters(line).iter().map(|request| request.id).collect();
        change(line);
        let granted = Self::holders(line).iter().map(|request| request.id);
        let granted = granted.filter(|id| waited.contains(id)).collect();
        if line.is_empty() {
            self.lines.remove(key);
        }
        granted
    }

    /// For whom the owner waits, over which key, in all of its waiting requests: those before it in the line, and for a shared
    /// one those up to the last exclusive one.
    pub(crate) fn waits_for(&self, owner: OwnerNumber) -> BTreeSet<(K, OwnerNumber)> {
        let mut edges = BTreeSet::new();
        for (key, line) in &self.lines {
            for (index, request) in line.iter().enumerate() {
                if request.owner != owner || owner == 0 || Self::holds(line, index) {
                    continue;
                }
                let blockers = match request.mode {
                    Mode::Exclusive => &line[..index],
                    Mode::Shared => {
                        let last = line[..index].iter().rposition(|other| other.mode == Mode::Exclusive);
                        &line[..=last.expect("else it would hold the key")]
                    }
                };
                edges.extend(
                    blockers.iter().filter(|other| other.owner != 0).map(|other| (key.clone(), other.owner)),
                );
            }
        }
        edges
    }

    /// Whether the owner waits for itself in the end.
    pub(crate) fn is_deadlocked(&self, owner: OwnerNumber) -> bool {
        let mut reached = BTreeSet::new();
        let mut pending = vec![owner];
        while let Some(waiter) = pending.pop() {
            for (_, blocker) in self.waits_for(waiter) {
                if blocker == owner {
                    return true;
                }
                if reached.insert(blocker) {
                    pending.push(blocker);
                }
            }
        }
        false
    }

    /// Whether a request of the owner would close a cycle.
    pub(crate) fn would_deadlock(&mut self, key: &K, owner: OwnerNumber, mode: Mode) -> bool {
        self.add(key, Request { id: usize::MAX, owner, mode });
        let deadlock = self.is_deadlocked(owner);
        self.remove(key, usize::MAX);
        deadlock
    }

    /// That a cycle is one: each owner waits over its key for the next, and the last for the first.
    pub(crate) fn assert_cycle(&self, cycle: &[(OwnerNumber, K)])
    where
        K: std::fmt::Debug,
    {
        assert!(!cycle.is_empty());
        for (index, (owner, key)) in cycle.iter().enumerate() {
            let next = cycle[(index + 1) % cycle.len()].0;
            assert!(self.waits_for(*owner).contains(&(key.clone(), next)), "{cycle:?} in {self:?}");
        }
    }
}

/// The fence of the request with this number.
pub(crate) fn fence(id: usize) -> Fence {
    Fence::new(id as u64)
}
