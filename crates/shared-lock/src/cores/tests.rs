//! The cores together against a model, and each by itself where that says more.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Grant, KeyState, Left, WaitGraph};
use crate::{
    Mode,
    testing::{Model, OwnerNumber, Request, cases, fence, mode},
};

#[derive(Clone, Copy, Debug)]
enum Command {
    Request {
        key: u8,
        owner: OwnerNumber,
        mode: Mode,
    },
    /// Of one of the holders, whichever this number falls upon; and so on.
    Release(usize),
    Cancel(usize),
    Expire(usize),
    Downgrade(usize),
    CancelAll {
        key: u8,
    },
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let which = 0..1000_usize;
    let command = prop_oneof![
        12 => (0..3_u8, 0..5_u8, mode()).prop_map(|(key, owner, mode)| Command::Request { key, owner, mode }),
        4 => which.clone().prop_map(Command::Release),
        2 => which.clone().prop_map(Command::Cancel),
        2 => which.clone().prop_map(Command::Expire),
        2 => which.prop_map(Command::Downgrade),
    ];
    let rare = (0..3_u8).prop_map(|key| Command::CancelAll { key });
    prop::collection::vec(prop_oneof![60 => command, 1 => rare], 0..120)
}

/// The cores and the model, and the rules by which a driver connects the former.
#[derive(Default)]
struct Pair {
    keys: BTreeMap<u8, KeyState<OwnerNumber, OwnerNumber>>,
    graph: WaitGraph<u8, OwnerNumber>,
    model: Model<u8>,
    next: usize,
}

impl Pair {
    fn run(commands: &[Command]) {
        let mut pair = Self::default();
        for command in commands {
            pair.carry_out(command);
            pair.check();
        }
        // Everybody leaves, and nothing is left.
        while let Some((key, request)) = pair.pick(0, true).or(pair.pick(0, false)) {
            pair.expire(key, request);
            pair.check();
        }
        assert!(pair.keys.is_empty() && pair.graph.is_empty(), "{:?} {:?}", pair.keys, pair.graph);
    }

    fn carry_out(&mut self, command: &Command) {
        match *command {
            Command::Request { key, owner, mode } => self.request(key, owner, mode),
            Command::Release(which) => {
                if let Some((key, request)) = self.pick(which, true) {
                    let (state, graph) = (self.keys.get_mut(&key).unwrap(), &mut self.graph);
                    let mut granted = Vec::new();
                    let on_grant = &mut |grant| on_grant(key, graph, &mut granted, grant);
                    assert_eq!(state.cancel(fence(request.id), on_grant), None, "a holder is no waiter");
                    assert_eq!(state.release(fence(request.id), on_grant), Some(request.owner));
                    self.left(key, request, granted);
                }
            }
            Command::Cancel(which) => {
                if let Some((key, request)) = self.pick(which, false) {
                    let (state, graph) = (self.keys.get_mut(&key).unwrap(), &mut self.graph);
                    let mut granted = Vec::new();
                    let on_grant = &mut |grant| on_grant(key, graph, &mut granted, grant);
                    assert_eq!(state.release(fence(request.id), on_grant), None, "a waiter is no holder");
                    assert!(!state.downgrade(fence(request.id), on_grant), "a waiter is no holder");
                    assert_eq!(
                        state.cancel(fence(request.id), on_grant),
                        Some((request.mode, request.owner))
                    );
                    self.left(key, request, granted);
                }
            }
            Command::Expire(which) => {
                if let Some((key, request)) = self.pick(which, which % 2 == 0) {
                    self.expire(key, request);
                }
            }
            Command::Downgrade(which) => {
                if let Some((key, request)) = self.pick(which, true) {
                    let (state, graph) = (self.keys.get_mut(&key).unwrap(), &mut self.graph);
                    let mut granted = Vec::new();
                    let on_grant = &mut |grant| on_grant(key, graph, &mut granted, grant);
                    let changed = state.downgrade(fence(request.id), on_grant);
                    assert_eq!(changed, request.mode == Mode::Exclusive);
                    assert_eq!(granted, self.model.downgrade(&key, request.id));
                }
            }
            Command::CancelAll { key } => {
                let Some(state) = self.keys.get_mut(&key) else { return };
                let mut cancelled = Vec::new();
                for (fence, mode, owner) in state.cancel_all() {
                    if owner != 0 {
                        self.graph.leave(&key, fence);
                    }
                    cancelled.push(Request { id: fence.get() as usize, owner, mode });
                }
                assert_eq!(cancelled, self.model.cancel_all(&key));
            }
        }
    }

    fn request(&mut self, key: u8, owner: OwnerNumber, mode: Mode) {
        let id = self.next;
        self.next += 1;
        let state = self.keys.entry(key).or_default();
        let free = state.is_free(mode);
        assert_eq!(free, self.model.is_free(&key, mode));
        assert_eq!(state.waits_until(mode).is_none(), free || !self.model_waits(key, mode));
        let state = self.keys.entry(key).or_default();
        if free {
            state.grant(fence(id), mode, owner);
        } else {
            if owner != 0 {
                let until = state.waits_until(mode).expect("it waits for somebody");
                let holders = state.holders().map(|(fence, owner)| (fence, *owner));
                let waiters = state.waiters().map(|(fence, _, owner)| (fence, *owner));
                let ahead = Vec::from_iter(holders.chain(waiters).filter(|(_, owner)| *owner != 0));
                let waited = self.graph.wait(&key, fence(id), owner, mode, until, ahead);
                assert_eq!(
                    waited.is_err(),
                    self.model.would_deadlock(&key, owner, mode),
                    "{key} {owner} {mode} {:?}",
                    self.model
                );
                if let Err(cycle) = waited {
                    assert_eq!((cycle[0].owner, cycle[0].key), (owner, key), "the youngest is refused");
                    self.model.add(&key, Request { id, owner, mode });
                    self.model.assert_cycle(&Vec::from_iter(cycle.iter().map(|link| (link.owner, link.key))));
                    self.model.remove(&key, id);
                    return;
                }
            }
            state.wait(fence(id), mode, owner);
        }
        assert_eq!(self.model.add(&key, Request { id, owner, mode }), free);
    }

    /// Whether a request of this mode has somebody to wait for: an exclusive one if there is anybody, a shared one if
    /// there is anybody exclusive.
    fn model_waits(&self, key: u8, mode: Mode) -> bool {
        self.model.line(&key).iter().any(|other| mode.stronger(other.mode) == Mode::Exclusive)
    }

    fn expire(&mut self, key: u8, request: Request) {
        let (state, graph) = (self.keys.get_mut(&key).unwrap(), &mut self.graph);
        let held = state.holders().any(|(held, _)| held == fence(request.id));
        let mut granted = Vec::new();
        let on_grant = &mut |grant| on_grant(key, graph, &mut granted, grant);
        let left = state.expire(fence(request.id), on_grant);
        assert_eq!(
            left,
            Some(if held { Left::Holder(request.owner) } else { Left::Waiter(request.mode, request.owner) })
        );
        assert_eq!(state.expire(fence(request.id), on_grant), None, "it has ended");
        self.left(key, request, granted);
    }

    fn left(&mut self, key: u8, request: Request, granted: Vec<usize>) {
        if request.owner != 0 {
            self.graph.leave(&key, fence(request.id));
        }
        if let Some(until) = self.keys[&key].exclusive_before(fence(request.id))
            && request.mode == Mode::Exclusive
        {
            self.graph.shorten(&key, fence(request.id), until);
        }
        if self.keys[&key].is_idle() {
            self.keys.remove(&key);
        }
        assert_eq!(granted, self.model.remove(&key, request.id));
    }

    fn pick(&self, which: usize, holder: bool) -> Option<(u8, Request)> {
        let mut all = Vec::new();
        for (key, line) in &self.model.lines {
            let requests = if holder { Model::<u8>::holders(line) } else { Model::<u8>::waiters(line) };
            all.extend(requests.iter().map(|request| (*key, *request)));
        }
        (!all.is_empty()).then(|| all[which % all.len()])
    }

    fn check(&self) {
        assert!(self.keys.values().all(|state| !state.is_idle() || !state.has_waiters()));
        assert_eq!(self.keys.keys().filter(|key| !self.keys[key].is_idle()).count(), self.model.lines.len());
        let mut known_wait = false;
        for (key, line) in &self.model.lines {
            let state = &self.keys[key];
            let (holders, waiters) = (Model::<u8>::holders(line), Model::<u8>::waiters(line));
            let held = state.holders().map(|(fence, owner)| (fence, *owner));
            assert!(
                held.eq(holders.iter().map(|request| (fence(request.id), request.owner))),
                "{state:?} {line:?}"
            );
            let waiting = state.waiters().map(|(fence, mode, owner)| (fence, mode, *owner));
            let expected = waiters.iter().map(|request| (fence(request.id), request.mode, request.owner));
            assert!(waiting.eq(expected), "{state:?} {line:?}");
            assert_eq!(state.mode(), holders.first().map(|request| request.mode));
            assert_eq!(state.has_waiters(), !waiters.is_empty());
            known_wait |= waiters.iter().any(|request| request.owner != 0);
        }
        // Neither a grant nor anything else has closed a cycle unnoticed.
        for owner in 1..5 {
            assert!(!self.model.is_deadlocked(owner), "{owner} in {:?}", self.model);
        }
        assert_eq!(self.graph.is_empty(), !known_wait, "{:?}", self.graph);
    }
}

fn on_grant(
    key: u8,
    graph: &mut WaitGraph<u8, OwnerNumber>,
    granted: &mut Vec<usize>,
    grant: Grant<OwnerNumber>,
) -> OwnerNumber {
    if grant.waiter != 0 {
        graph.granted(&key, grant.fence);
    }
    granted.push(grant.fence.get() as usize);
    grant.waiter
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_the_cores_do_what_the_model_says(commands in commands()) {
        Pair::run(&commands);
    }
}

#[test]
#[should_panic(expected = "3 is not a new number")]
fn a_number_is_used_once() {
    let mut key = KeyState::<(), ()>::new();
    key.grant(fence(3), Mode::Exclusive, ());
    key.wait(fence(3), Mode::Exclusive, ());
}

#[test]
#[should_panic(expected = "2 would overtake or disturb somebody")]
fn a_driver_cannot_grant_what_is_not_free() {
    let mut key = KeyState::<(), ()>::new();
    key.grant(fence(1), Mode::Shared, ());
    key.grant(fence(2), Mode::Exclusive, ());
}

#[test]
#[should_panic(expected = "1 would wait for nobody")]
fn a_driver_cannot_let_somebody_wait_for_nobody() {
    KeyState::<(), ()>::new().wait(fence(1), Mode::Exclusive, ());
}

#[test]
fn the_shortest_cycle_is_the_one_that_is_told() {
    let mut graph = WaitGraph::new();
    // 2 waits for 1 over a; 3 waits for 2 over b and for 1 over c.
    graph.wait(&'a', fence(10), 2, Mode::Exclusive, fence(1), [(fence(1), 1)]).unwrap();
    graph.wait(&'b', fence(11), 3, Mode::Shared, fence(2), [(fence(2), 2)]).unwrap();
    graph.wait(&'c', fence(12), 3, Mode::Exclusive, fence(3), [(fence(3), 1)]).unwrap();
    // 1 waits for 3 over d: 1 → 3 → 1, not 1 → 3 → 2 → 1.
    let cycle = graph.wait(&'d', fence(13), 1, Mode::Exclusive, fence(4), [(fence(4), 3)]).unwrap_err();
    assert_eq!(Vec::from_iter(cycle.iter().map(|link| (link.owner, link.key))), [(1, 'd'), (3, 'c')]);
    // Who was refused has left no trace.
    graph.leave(&'a', fence(10));
    graph.granted(&'b', fence(11));
    graph.leave(&'c', fence(12));
    assert!(graph.is_empty(), "{graph:?}");
}
