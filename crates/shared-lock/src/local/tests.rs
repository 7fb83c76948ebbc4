//! A whole state against the model, one step of one future after another; and what only shows from inside.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use proptest::prelude::*;

use super::*;
use crate::{
    Fence, KeySnapshot,
    testing::{Model, OwnerNumber, Request, cases, mode},
};

const KEYS: [&str; 3] = ["a", "b", "a key that is too long to be copied"];

#[derive(Clone, Copy, Debug)]
enum Command {
    Lock {
        key: usize,
        owner: OwnerNumber,
        mode: Mode,
    },
    Try {
        key: usize,
        owner: OwnerNumber,
        mode: Mode,
    },
    TryMany {
        owner: OwnerNumber,
        modes: [Option<Mode>; KEYS.len()],
    },
    /// Of the futures, whichever this number falls upon; with a new waker or with the one from before. And so on.
    Poll {
        which: usize,
        new_waker: bool,
    },
    DropFuture(usize),
    Release(usize),
    Downgrade(usize),
    Close,
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let asked = || (0..KEYS.len(), 0..4_u8, mode());
    let which = 0..1000_usize;
    let modes = prop::array::uniform3(prop::option::of(mode()));
    let command = prop_oneof![
        12 => asked().prop_map(|(key, owner, mode)| Command::Lock { key, owner, mode }),
        2 => asked().prop_map(|(key, owner, mode)| Command::Try { key, owner, mode }),
        2 => (0..4_u8, modes).prop_map(|(owner, modes)| Command::TryMany { owner, modes }),
        6 => (which.clone(), any::<bool>()).prop_map(|(which, new_waker)| Command::Poll { which, new_waker }),
        3 => which.clone().prop_map(Command::DropFuture),
        4 => which.clone().prop_map(Command::Release),
        2 => which.prop_map(Command::Downgrade),
    ];
    prop::collection::vec(prop_oneof![400 => command, 1 => Just(Command::Close)], 0..150)
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A future that has not been ready yet, and the flag that its last waker sets.
struct Waiting {
    request: Request,
    key: usize,
    future: Pin<Box<dyn Future<Output = Result<LocalGuard, LockFailed>>>>,
    woken: Arc<Flag>,
}

struct Pair {
    state: LocalState,
    owners: Vec<LocalState>,
    model: Model<usize>,
    waiting: Vec<Waiting>,
    guards: Vec<(Request, usize, LocalGuard)>,
    next: usize,
    closed: bool,
    /// The largest fence of any grant of each key, and the largest of an exclusive one.
    fences: BTreeMap<usize, (Fence, Fence)>,
    deadlocks: u64,
}

impl Pair {
    fn run(commands: &[Command]) {
        let state = LocalState::builder().shards(2).build();
        let owners =
            std::iter::once(state.clone()).chain((1..4).map(|n| state.owner(&n.to_string()))).collect();
        let mut pair = Self {
            state,
            owners,
            model: Model::default(),
            waiting: Vec::new(),
            guards: Vec::new(),
            next: 0,
            closed: false,
            fences: BTreeMap::new(),
            deadlocks: 0,
        };
        for command in commands {
            pair.carry_out(*command);
            pair.check();
        }
        // Everybody leaves, and nothing is left.
        while !pair.waiting.is_empty() || !pair.guards.is_empty() {
            pair.carry_out(Command::DropFuture(0));
            pair.carry_out(Command::Release(0));
            pair.check();
        }
        assert_eq!(pair.state.blocking_snapshot().unwrap().keys, []);
        assert!(pair.state.shards.graph_is_empty());
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Lock { key, owner, mode } => self.lock(key, owner, mode),
            Command::Try { key, owner, mode } => {
                let tried = self.owners[owner as usize].blocking_try_lock(KEYS[key], mode);
                if self.closed {
                    assert_eq!(tried.unwrap_err(), LockFailed::Closed);
                } else if self.model.is_free(&key, mode) {
                    let request = self.request(owner, mode);
                    self.model.add(&key, request);
                    self.granted(request, key, tried.unwrap().expect("it is free"));
                } else {
                    assert!(tried.unwrap().is_none());
                }
            }
            Command::TryMany { owner, modes } => self.try_many(owner, modes),
            Command::Poll { which, new_waker } => {
                if !self.waiting.is_empty() {
                    let waiting = self.waiting.swap_remove(which % self.waiting.len());
                    self.poll(waiting, new_waker);
                }
            }
            Command::DropFuture(which) => {
                if !self.waiting.is_empty() {
                    let waiting = self.waiting.swap_remove(which % self.waiting.len());
                    let (id, key) = (waiting.request.id, waiting.key);
                    let queued = self.model.line(&key).iter().any(|request| request.id == id);
                    drop(waiting);
                    if queued {
                        let granted = self.model.remove(&key, id);
                        self.assert_woken(&granted);
                    }
                }
            }
            Command::Release(which) => {
                if !self.guards.is_empty() {
                    let (request, key, guard) = self.guards.swap_remove(which % self.guards.len());
                    drop(guard);
                    let granted = self.model.remove(&key, request.id);
                    self.assert_woken(&granted);
                }
            }
            Command::Downgrade(which) => {
                if !self.guards.is_empty() {
                    let index = which % self.guards.len();
                    let (request, key, guard) = &mut self.guards[index];
                    guard.downgrade();
                    request.mode = Mode::Shared;
                    assert_eq!(guard.mode(), Mode::Shared);
                    let granted = self.model.downgrade(key, request.id);
                    self.assert_woken(&granted);
                }
            }
            Command::Close => {
                self.state.close();
                self.closed = true;
                for key in 0..KEYS.len() {
                    let cancelled =
                        Vec::from_iter(self.model.cancel_all(&key).iter().map(|request| request.id));
                    self.assert_woken(&cancelled);
                }
            }
        }
    }

    /// What it takes for a moment, until it finds a key that is not free, wakes nobody.
    fn try_many(&mut self, owner: OwnerNumber, modes: [Option<Mode>; KEYS.len()]) {
        let asked = || modes.into_iter().enumerate().filter_map(|(key, mode)| Some((key, mode?)));
        let named = asked().map(|(key, mode)| (KEYS[key], mode));
        let tried = self.owners[owner as usize].blocking_try_lock_many(named);
        if self.closed && asked().next().is_some() {
            assert_eq!(tried.unwrap_err(), LockFailed::Closed);
        } else if asked().all(|(key, mode)| self.model.is_free(&key, mode)) {
            let guards = tried.unwrap().expect("all are free").into_vec();
            let mut keys = Vec::from_iter(asked());
            keys.sort_unstable_by_key(|(key, _)| KEYS[*key]);
            assert_eq!(guards.len(), keys.len());
            for (guard, (key, mode)) in guards.into_iter().zip(keys) {
                let request = self.request(owner, mode);
                self.model.add(&key, request);
                self.granted(request, key, guard);
            }
        } else {
            assert!(tried.unwrap().is_none());
        }
    }

    fn request(&mut self, owner: OwnerNumber, mode: Mode) -> Request {
        self.next += 1;
        Request { id: self.next, owner, mode }
    }

    fn lock(&mut self, key: usize, owner: OwnerNumber, mode: Mode) {
        let state = self.owners[owner as usize].clone();
        let request = self.request(owner, mode);
        let future = Box::pin(async move { state.lock(KEYS[key], mode).await });
        let mut waiting = Waiting { request, key, future, woken: Arc::default() };
        if self.closed || owner != 0 && self.model.would_deadlock(&key, owner, mode) {
            let waker = Waker::from(Arc::clone(&waiting.woken));
            let poll = waiting.future.as_mut().poll(&mut Context::from_waker(&waker));
            match poll {
                Poll::Ready(Err(LockFailed::Closed)) => assert!(self.closed),
                Poll::Ready(Err(LockFailed::WouldDeadlock(cycle))) => {
                    assert!(!self.closed);
                    self.deadlocks += 1;
                    self.model.add(&key, request);
                    let links = cycle.links().iter();
                    let index = |key: &str| KEYS.iter().position(|known| *known == key).unwrap();
                    let links = links.map(|link| (link.owner.parse().unwrap(), index(&link.key)));
                    let links: Vec<(OwnerNumber, usize)> = links.collect();
                    assert_eq!(links[0], (owner, key), "the youngest is refused");
                    self.model.assert_cycle(&links);
                    self.model.remove(&key, request.id);
                }
                other => panic!("{other:?}"),
            }
        } else {
            self.model.add(&key, request);
            self.poll(waiting, true);
        }
    }

    fn poll(&mut self, mut waiting: Waiting, new_waker: bool) {
        if new_waker {
            waiting.woken = Arc::default();
        }
        let waker = Waker::from(Arc::clone(&waiting.woken));
        let poll = waiting.future.as_mut().poll(&mut Context::from_waker(&waker));
        let (key, request) = (waiting.key, waiting.request);
        let line = self.model.line(&key);
        match line.iter().position(|other| other.id == request.id) {
            None => assert_eq!(poll.map(Result::unwrap_err), Poll::Ready(LockFailed::Closed)),
            Some(index) if Model::<usize>::holds(line, index) => match poll {
                Poll::Ready(Ok(guard)) => self.granted(request, key, guard),
                other => panic!("{other:?}"),
            },
            Some(_) => {
                assert!(poll.is_pending());
                self.waiting.push(waiting);
            }
        }
    }

    fn granted(&mut self, request: Request, key: usize, guard: LocalGuard) {
        assert_eq!((guard.key(), guard.mode()), (KEYS[key], request.mode));
        let fence = guard.fence();
        if let Some((any, exclusive)) = self.fences.get(&key) {
            // Grants are noticed in the order of polls, and shared ones are granted together.
            let before = if request.mode == Mode::Exclusive { any } else { exclusive };
            assert!(fence > *before, "{fence} after {before}");
        }
        let (any, exclusive) = self.fences.entry(key).or_insert((fence, Fence::new(0)));
        *any = fence.max(*any);
        if request.mode == Mode::Exclusive {
            *exclusive = fence;
        }
        self.guards.push((request, key, guard));
    }

    /// That whoever was granted, or sent away, was told.
    fn assert_woken(&self, ids: &[usize]) {
        for waiting in self.waiting.iter().filter(|waiting| ids.contains(&waiting.request.id)) {
            assert!(waiting.woken.0.load(Ordering::Relaxed), "{:?}", waiting.request);
        }
    }

    fn check(&self) {
        let snapshot = self.state.blocking_snapshot().unwrap();
        assert_eq!(snapshot.keys.len(), self.model.lines.len(), "idle keys are gone");
        let owners = |requests: &[Request]| {
            let owner = |owner: OwnerNumber| (owner != 0).then(|| owner.to_string());
            Vec::from_iter(requests.iter().map(|request| (owner(request.owner), request.mode)))
        };
        let parties = |parties: &[crate::Party]| {
            let owner = |party: &crate::Party| party.owner.as_ref().map(|owner| owner.to_string());
            Vec::from_iter(parties.iter().map(|party| (owner(party), party.mode)))
        };
        let (mut held, mut waiting) = (0, 0);
        for (key, line) in &self.model.lines {
            let KeySnapshot { holders, waiters, mode, .. } = snapshot.key(KEYS[*key]).expect("it is in use");
            assert_eq!(parties(holders), owners(Model::<usize>::holders(line)));
            assert_eq!(parties(waiters), owners(Model::<usize>::waiters(line)));
            assert_eq!(Some(*mode), line.first().map(|request| request.mode));
            held += holders.len() as u64;
            waiting += waiters.len() as u64;
        }
        for (index, key) in KEYS.iter().enumerate() {
            for mode in Mode::ALL {
                let free = self.state.blocking_is_free(key, mode).unwrap();
                assert_eq!(free, self.model.is_free(&index, mode));
            }
        }
        let counters = self.state.counters();
        assert_eq!(counters.exclusive_grants + counters.shared_grants, counters.releases + held);
        let ended = counters.waits_granted + counters.waits_cancelled + counters.waits_closed;
        assert_eq!(counters.waits, ended + waiting);
        assert_eq!(counters.deadlocks, self.deadlocks);
        // Who waits and was not told, waits rightly.
        for waiting in &self.waiting {
            let line = self.model.line(&waiting.key);
            let waits = Model::<usize>::waiters(line).iter().any(|request| request.id == waiting.request.id);
            assert_eq!(waits, !waiting.woken.0.load(Ordering::Relaxed), "{:?}", waiting.request);
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_the_state_does_what_the_model_says(commands in commands()) {
        Pair::run(&commands);
    }
}

#[test]
fn tables_give_their_memory_back() {
    let state = LocalState::builder().shards(1).build();
    let guards: Vec<_> =
        (0..5000).map(|n| state.blocking_lock(&n.to_string(), Mode::Exclusive).unwrap()).collect();
    assert!(state.shards.capacity() >= 5000);
    drop(guards);
    assert!(state.shards.capacity() <= 128, "{}", state.shards.capacity());
}

/// As the crate's documentation says.
#[cfg(target_pointer_width = "64")]
#[test]
fn the_size_of_what_is_kept_is_known() {
    assert_eq!((shards::ENTRY_BYTES, size_of::<LocalGuard>()), (72, 56));
}

#[test]
fn without_ages_nobody_looks_at_the_clock() {
    let parties = |state: &LocalState| {
        let guard = state.blocking_lock("a", Mode::Shared).unwrap();
        let age = state.blocking_snapshot().unwrap().key("a").unwrap().holders[0].age;
        drop(guard);
        (age.is_some(), state.counters().wait_time.is_some())
    };
    assert_eq!(parties(&LocalState::new()), (false, false));
    assert_eq!(parties(&LocalState::builder().ages(true).build()), (true, true));
}
