//! The table against the model of the locks, with members that end, repeat themselves and miss answers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    state::in_safe_order,
    testing::{self, Model, OwnerNumber, cases, mode},
};

type MemberNumber = u8;
type Table = LockTable<u8, MemberNumber, OwnerNumber>;
type State = RequestState<u8, OwnerNumber>;

const LIMIT: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Command {
    Ask {
        member: MemberNumber,
        key: u8,
        /// Which of the member's owners; none if 0.
        owner: u8,
        mode: Mode,
        to_wait: bool,
    },
    /// Of the requests that have not ended, whichever this number falls upon; and so on.
    Leave(usize),
    Downgrade(usize),
    /// Any command from before, again.
    Repeat(usize),
    /// Leaves a request that was never made.
    LeaveUnseen(MemberNumber),
    /// The member reads its changes, or it reads them and the answer is lost.
    Read {
        member: MemberNumber,
        lost: bool,
    },
    EndMember {
        member: MemberNumber,
        delay_secs: u64,
    },
    Advance,
    Close,
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let member = 0..3_u8;
    let which = 0..1000_usize;
    let ask = (member.clone(), 0..3_u8, 0..3_u8, mode(), 0..6_u8);
    let command = prop_oneof![
        12 => ask.prop_map(|(member, key, owner, mode, to_wait)| Command::Ask {
            member, key, owner, mode, to_wait: to_wait != 0,
        }),
        6 => which.clone().prop_map(Command::Leave),
        2 => which.clone().prop_map(Command::Downgrade),
        2 => which.prop_map(Command::Repeat),
        1 => member.clone().prop_map(Command::LeaveUnseen),
        4 => (member.clone(), any::<bool>()).prop_map(|(member, lost)| Command::Read { member, lost }),
        1 => (member, 0..3_u64).prop_map(|(member, delay_secs)| Command::EndMember { member, delay_secs }),
        2 => Just(Command::Advance),
    ];
    prop::collection::vec(prop_oneof![300 => command, 1 => Just(Command::Close)], 0..150)
}

/// What the model knows of a request.
#[derive(Clone, Debug)]
struct Known {
    key: u8,
    mode: Mode,
    op: LockOp<u8, OwnerNumber>,
    state: State,
    /// The member may have forgotten it: its end was told and confirmed.
    confirmed: bool,
}

/// What a member has been told.
#[derive(Debug, Default)]
struct Told {
    version: u64,
    states: BTreeMap<RequestId, State>,
}

struct Pair {
    table: Table,
    now: Instant,
    model: Model<u8>,
    /// By the numbers of the model's requests, which are the requests' fences too.
    placed: BTreeMap<usize, (MemberNumber, RequestId)>,
    known: BTreeMap<(MemberNumber, RequestId), Known>,
    told: BTreeMap<MemberNumber, Told>,
    last: BTreeMap<MemberNumber, u64>,
    /// Of each member's name in the commands, the name that it has in its present life.
    lives: [MemberNumber; 3],
    /// The numbers of the members' owners.
    owners: BTreeMap<(MemberNumber, u8), OwnerNumber>,
    delays: BTreeSet<(Instant, usize, u8)>,
    next_fence: usize,
    /// The largest fence of any grant of each key, and the largest of an exclusive one.
    fences: BTreeMap<u8, (Fence, Fence)>,
    /// The states when whoever had news was polled last.
    shown: BTreeMap<(MemberNumber, RequestId), State>,
    deadlocks: u64,
    closed: bool,
}

impl Pair {
    fn run(commands: &[Command]) {
        let mut pair = Self {
            table: LockTable::new(1..10, LIMIT),
            now: Instant::now(),
            model: Model::default(),
            placed: BTreeMap::new(),
            known: BTreeMap::new(),
            told: BTreeMap::new(),
            last: BTreeMap::new(),
            lives: [0, 1, 2],
            owners: BTreeMap::new(),
            delays: BTreeSet::new(),
            next_fence: 1,
            fences: BTreeMap::new(),
            shown: BTreeMap::new(),
            deadlocks: 0,
            closed: false,
        };
        for command in commands {
            pair.carry_out(*command);
            pair.check();
        }
        // Everybody ends, and nothing is left.
        for member in 0..3 {
            pair.carry_out(Command::EndMember { member, delay_secs: 1 });
            pair.check();
        }
        while !pair.delays.is_empty() {
            pair.carry_out(Command::Advance);
            pair.check();
        }
        let LockTable { keys, graph, members, delays, changed, .. } = &pair.table;
        assert!(keys.is_empty() && graph.is_empty() && members.is_empty());
        assert!(delays.is_empty() && changed.is_empty());
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Ask { member, key, owner, mode, to_wait } => {
                let member = self.lives[usize::from(member)];
                let next = self.owners.len() as OwnerNumber + 1;
                let owner = (owner > 0).then(|| *self.owners.entry((member, owner)).or_insert(next));
                let id = RequestId::new(self.last.get(&member).copied().unwrap_or(0) + 1);
                let op = if to_wait {
                    LockOp::Request { key, mode, owner }
                } else {
                    LockOp::Try { key, mode, owner }
                };
                if self.table.fences_left() == 0 && !self.closed && self.kept(member) < LIMIT {
                    let refused = self.table.apply(self.now, &member, id, op.clone());
                    assert_eq!(refused, Err(LockOpError::NoFences));
                    self.table.reserve_fences(self.next_fence as u64 + 10);
                }
                self.ask(member, id, key, owner, mode, op);
            }
            Command::Leave(which) => {
                if let Some((member, id)) = self.pick(which) {
                    self.leave(member, id);
                }
            }
            Command::Downgrade(which) => {
                if let Some((member, id)) = self.pick(which) {
                    self.downgrade(member, id);
                }
            }
            Command::Repeat(which) => {
                let all = Vec::from_iter(self.known.iter().map(|(at, known)| (*at, known.clone())));
                if !all.is_empty() {
                    let ((member, id), known) = &all[which % all.len()];
                    let repeated = self.table.apply(self.now, member, *id, known.op.clone());
                    match repeated {
                        Ok(()) => assert!(!known.confirmed),
                        Err(LockOpError::Outdated { request, .. }) => {
                            assert!(known.confirmed && request == *id);
                        }
                        Err(other) => panic!("{other}"),
                    }
                    if matches!(known.state, RequestState::Ended(_)) {
                        self.apply(*member, *id, LockOp::Leave);
                        self.apply(*member, *id, LockOp::Downgrade);
                    }
                }
            }
            Command::LeaveUnseen(member) => {
                let member = self.lives[usize::from(member)];
                let last = self.last.entry(member).or_default();
                *last += 1;
                let id = RequestId::new(*last);
                self.apply(member, id, LockOp::Downgrade);
                self.apply(member, id, LockOp::Leave);
                let late = LockOp::Request { key: 0, mode: Mode::Shared, owner: None };
                let refused = LockOpError::Outdated { request: id, last: id };
                assert_eq!(self.table.apply(self.now, &member, id, late), Err(refused));
            }
            Command::Read { member, lost } => self.read(self.lives[usize::from(member)], lost),
            Command::EndMember { member, delay_secs } => {
                let next = self.lives.iter().max().expect("there are three") + 1;
                let life = std::mem::replace(&mut self.lives[usize::from(member)], next);
                self.end_member(life, Duration::from_secs(delay_secs));
            }
            Command::Advance => {
                self.now += Duration::from_secs(1);
                assert_eq!(self.table.poll_timeout(), self.delays.first().map(|(until, ..)| *until));
                self.table.handle_timeout(self.now);
                while let Some((until, id, key)) = self.delays.pop_first() {
                    if until > self.now {
                        self.delays.insert((until, id, key));
                        break;
                    }
                    let granted = self.model.remove(&key, id);
                    self.granted(&granted);
                }
            }
            Command::Close => {
                self.table.close();
                self.closed = true;
                for key in 0..3 {
                    for request in self.model.cancel_all(&key) {
                        self.end(request.id, RequestEnd::Closed);
                    }
                }
            }
        }
    }

    fn apply(&mut self, member: MemberNumber, id: RequestId, op: LockOp<u8, OwnerNumber>) {
        assert_eq!(self.table.apply(self.now, &member, id, op), Ok(()));
    }

    /// How many requests the table keeps of a member.
    fn kept(&self, member: MemberNumber) -> usize {
        self.known.iter().filter(|((of, _), known)| *of == member && !known.confirmed).count()
    }

    fn ask(
        &mut self,
        member: MemberNumber,
        id: RequestId,
        key: u8,
        owner: Option<OwnerNumber>,
        mode: Mode,
        op: LockOp<u8, OwnerNumber>,
    ) {
        let kept = self.kept(member);
        let asked = self.table.apply(self.now, &member, id, op.clone());
        if kept == LIMIT {
            assert_eq!(asked, Err(LockOpError::TooMany { limit: LIMIT }));
            return;
        }
        assert_eq!(asked, Ok(()));
        *self.last.entry(member).or_default() += 1;
        let number = owner.unwrap_or(0);
        let fence = testing::fence(self.next_fence);
        let request = testing::Request { id: self.next_fence, owner: number, mode };
        let state = if self.closed {
            RequestState::Ended(RequestEnd::Closed)
        } else if self.model.is_free(&key, mode) {
            RequestState::Granted { fence, mode }
        } else if matches!(op, LockOp::Try { .. }) {
            RequestState::Ended(RequestEnd::Taken)
        } else if number != 0 && self.model.would_deadlock(&key, number, mode) {
            self.deadlocks += 1;
            let RequestState::Ended(RequestEnd::WouldDeadlock(cycle)) = self.state(member, id) else {
                panic!("it would close a cycle");
            };
            assert_eq!((cycle[0].owner, cycle[0].key), (number, key), "the youngest is refused");
            self.model.add(&key, request);
            self.model.assert_cycle(&Vec::from_iter(cycle.iter().map(|link| (link.owner, link.key))));
            self.model.remove(&key, request.id);
            RequestState::Ended(RequestEnd::WouldDeadlock(cycle))
        } else {
            RequestState::Waiting { fence }
        };
        if !matches!(state, RequestState::Ended(_)) {
            self.next_fence += 1;
            self.model.add(&key, request);
            self.placed.insert(request.id, (member, id));
        }
        self.known.insert((member, id), Known { key, mode, op, state: state.clone(), confirmed: false });
        if let RequestState::Granted { .. } = state {
            self.fence(key, fence, mode);
        }
    }

    fn leave(&mut self, member: MemberNumber, id: RequestId) {
        self.apply(member, id, LockOp::Leave);
        let Known { key, state, .. } = self.known[&(member, id)].clone();
        let (fence, end) = match state {
            RequestState::Waiting { fence } => (fence, RequestEnd::Cancelled),
            RequestState::Granted { fence, .. } => (fence, RequestEnd::Released),
            RequestState::Ended(_) => unreachable!("it was picked"),
        };
        self.end(fence.get() as usize, end);
        let granted = self.model.remove(&key, fence.get() as usize);
        self.granted(&granted);
    }

    fn downgrade(&mut self, member: MemberNumber, id: RequestId) {
        self.apply(member, id, LockOp::Downgrade);
        let known = self.known.get_mut(&(member, id)).expect("it was picked");
        let RequestState::Granted { fence, mode } = &mut known.state else { return };
        *mode = Mode::Shared;
        let (key, fence) = (known.key, fence.get() as usize);
        let granted = self.model.downgrade(&key, fence);
        self.granted(&granted);
    }

    fn end_member(&mut self, member: MemberNumber, delay: Duration) {
        self.table.end_member(self.now, &member, self.now + delay);
        self.told.remove(&member);
        self.known.retain(|(of, _), _| *of != member);
        let of_member = |placed: &BTreeMap<usize, (MemberNumber, RequestId)>| {
            Vec::from_iter(placed.iter().filter(|(_, (of, _))| *of == member).map(|(id, _)| *id))
        };
        for waits in [true, false] {
            for id in of_member(&self.placed).into_iter().rev() {
                let lines = self.model.lines.iter();
                let mut at = lines.filter_map(|(key, line)| {
                    let index = line.iter().position(|request| request.id == id)?;
                    Some((*key, Model::<u8>::holds(line, index)))
                });
                let Some((key, holds)) = at.next() else { continue };
                if waits != holds {
                    if holds && !delay.is_zero() {
                        self.delays.insert((self.now + delay, id, key));
                    } else {
                        let granted = self.model.remove(&key, id);
                        self.placed.remove(&id);
                        self.granted(&granted);
                    }
                }
            }
        }
        self.placed.retain(|_, (of, _)| *of != member);
    }

    /// The model's request has ended.
    fn end(&mut self, id: usize, end: RequestEnd<u8, OwnerNumber>) {
        let at = self.placed.remove(&id).expect("it has a place");
        self.known.get_mut(&at).expect("its member lives").state = RequestState::Ended(end);
    }

    fn granted(&mut self, ids: &[usize]) {
        for id in ids {
            let known = self.known.get_mut(&self.placed[id]).expect("its member lives");
            let (fence, mode, key) = (testing::fence(*id), known.mode, known.key);
            known.state = RequestState::Granted { fence, mode };
            self.fence(key, fence, mode);
        }
    }

    fn fence(&mut self, key: u8, fence: Fence, mode: Mode) {
        let (any, exclusive) = self.fences.entry(key).or_insert((Fence::new(0), Fence::new(0)));
        assert!(fence > *exclusive, "a fence decreased");
        assert!(mode == Mode::Shared || fence > *any, "a fence decreased");
        *any = fence.max(*any);
        if mode == Mode::Exclusive {
            *exclusive = fence;
        }
    }

    /// What the member would be told of its request, without confirming anything.
    fn state(&mut self, member: MemberNumber, id: RequestId) -> State {
        let news = self.table.changes(&member, 0).requests;
        news.into_iter().find(|(other, _)| *other == id).expect("it is known").1
    }

    fn read(&mut self, member: MemberNumber, lost: bool) {
        let told = self.told.entry(member).or_default();
        let changes = self.table.changes(&member, told.version);
        // To have asked since a version has confirmed it.
        for ((of, id), known) in &mut self.known {
            let is_told = told.states.get(id).is_some_and(|state| matches!(state, RequestState::Ended(_)));
            known.confirmed |= *of == member && is_told;
        }
        told.states.retain(|_, state| !matches!(state, RequestState::Ended(_)));
        if !lost {
            told.version = changes.version;
            let is_news = |(id, state): &(_, _)| told.states.get(id) != Some(state);
            assert!(changes.requests.iter().all(is_news), "it was told before");
            told.states.extend(changes.requests);
            // Whoever reads all answers knows the state of all.
            let known = self.known.iter().filter(|((of, _), known)| *of == member && !known.confirmed);
            let known = known.map(|((_, id), known)| (*id, known.state.clone()));
            assert_eq!(told.states, known.collect());
        }
    }

    fn pick(&self, which: usize) -> Option<(MemberNumber, RequestId)> {
        let living = self.known.iter().filter(|(_, known)| !matches!(known.state, RequestState::Ended(_)));
        let all = Vec::from_iter(living.map(|(at, _)| *at));
        (!all.is_empty()).then(|| all[which % all.len()])
    }

    fn check(&mut self) {
        assert!(self.table.keys().map(|(key, _)| key).eq(self.model.lines.keys()), "idle keys are gone");
        let (mut held, mut waiting) = (0, 0);
        for (key, line) in &self.model.lines {
            let state = &self.table.keys[key];
            let (holders, waiters) = (Model::<u8>::holders(line), Model::<u8>::waiters(line));
            let ids = |requests: &[testing::Request]| {
                Vec::from_iter(requests.iter().map(|request| testing::fence(request.id)))
            };
            assert_eq!(Vec::from_iter(state.holders().map(|(fence, _)| fence)), ids(holders));
            assert_eq!(Vec::from_iter(state.waiters().map(|(fence, ..)| fence)), ids(waiters));
            held += holders.len() as u64;
            waiting += waiters.len() as u64;
        }
        for key in 0..3 {
            for mode in Mode::ALL {
                assert_eq!(self.table.is_free(&key, mode), self.model.is_free(&key, mode));
            }
        }
        for owner in self.owners.values().copied() {
            assert!(!self.model.is_deadlocked(owner), "{owner} in {:?}", self.model);
        }
        let counters = self.table.counters();
        assert_eq!(counters.exclusive_grants + counters.shared_grants, counters.releases + held);
        let ended = counters.waits_granted + counters.waits_cancelled + counters.waits_closed;
        assert_eq!((counters.waits, counters.deadlocks), (ended + waiting, self.deadlocks));
        for ((member, id), known) in &self.known {
            let request = self.table.members[member].requests.get(id);
            assert_eq!(request.is_none(), known.confirmed, "{member} {id:?}");
            assert!(request.is_none_or(|request| request.state == known.state), "{member} {id:?}");
        }
        let changed = BTreeSet::from_iter(std::iter::from_fn(|| self.table.poll_changed()));
        let news = self.known.iter().filter(|(at, known)| self.shown.get(at) != Some(&known.state));
        assert_eq!(changed, news.map(|((member, _), _)| *member).collect());
        self.shown = self.known.iter().map(|(at, known)| (*at, known.state.clone())).collect();
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_the_table_does_what_the_model_says(commands in commands()) {
        Pair::run(&commands);
    }
}

#[test]
fn a_reader_no_longer_waits_for_a_reader_once_the_writer_between_them_has_left() {
    let now = Instant::now();
    let mut table = LockTable::<&str, u8, &str>::new(1..100, 10);
    let ask = |table: &mut LockTable<_, _, _>, member, id, key, mode, owner| {
        let op = LockOp::Request { key, mode, owner };
        table.apply(now, &member, RequestId::new(id), op).expect("there is room");
    };
    ask(&mut table, 0, 1, "b", Mode::Exclusive, Some("bob"));
    ask(&mut table, 0, 2, "a", Mode::Exclusive, None);
    ask(&mut table, 0, 3, "a", Mode::Shared, Some("ann"));
    ask(&mut table, 0, 4, "a", Mode::Exclusive, None);
    ask(&mut table, 0, 5, "a", Mode::Shared, Some("bob"));
    table.apply(now, &0, RequestId::new(4), LockOp::Leave).expect("it is known");
    // Ann and bob will be granted together. So ann may wait for what bob holds.
    ask(&mut table, 0, 6, "b", Mode::Exclusive, Some("ann"));
    let states = table.changes(&0, 0).requests;
    let (last, state) = states.last().expect("there are some");
    assert_eq!(*last, RequestId::new(6));
    assert!(matches!(state, RequestState::Waiting { .. }), "{state:?}");
}

/// Members that take several keys each, one after the other, in an order of events that the numbers choose.
struct Many {
    table: LockTable<Box<str>, u8, u8>,
    now: Instant,
    /// What each member wants, in the order in which it takes it.
    plans: Vec<Vec<(Box<str>, Mode)>>,
    /// How many of these each member has asked for.
    asked: Vec<usize>,
}

impl Many {
    fn new(plans: Vec<Vec<(Box<str>, Mode)>>) -> Self {
        let asked = vec![0; plans.len()];
        Self { table: LockTable::new(1..1000, 100), now: Instant::now(), plans, asked }
    }

    fn states(&mut self, member: usize) -> Vec<RequestState<Box<str>, u8>> {
        self.table.changes(&(member as u8), 0).requests.into_iter().map(|(_, state)| state).collect()
    }

    /// The member asks for its next key, if it holds all it has asked for. False once it holds them all.
    fn step(&mut self, member: usize) -> bool {
        let states = self.states(member);
        let holds = states.iter().filter(|state| matches!(state, RequestState::Granted { .. })).count();
        if holds < self.asked[member] {
            assert!(!states.iter().any(|state| matches!(state, RequestState::Ended(_))), "{states:?}");
            return true;
        }
        let Some((key, mode)) = self.plans[member].get(holds).cloned() else { return false };
        self.asked[member] += 1;
        let id = RequestId::new(self.asked[member] as u64);
        let op = LockOp::Request { key, mode, owner: Some(member as u8 + 1) };
        self.table.apply(self.now, &(member as u8), id, op).expect("there is room");
        true
    }
}

fn plans() -> impl Strategy<Value = Vec<Vec<(String, Mode)>>> {
    let key = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")].prop_map(str::to_owned);
    prop::collection::vec(prop::collection::vec((key, mode()), 1..5), 2..6)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whoever_takes_many_keys_in_the_safe_order_gets_all_or_nothing(
        plans in plans(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        gives_up in any::<prop::sample::Index>(),
    ) {
        let plans = Vec::from_iter(plans.into_iter().map(|keys| in_safe_order(keys, 10).unwrap()));
        let count = plans.len();
        let mut many = Many::new(plans);
        for member in order {
            many.step(member.index(count));
        }
        // One gives up, wherever it is, and keeps nothing.
        let gone = gives_up.index(count);
        many.table.end_member(many.now, &(gone as u8), many.now);
        let names = |state: &TableKey<u8, u8>| {
            let holders = state.holders().map(|(_, holder)| holder.member);
            Vec::from_iter(holders.chain(state.waiters().map(|(_, _, waiter)| waiter.member)))
        };
        prop_assert!(many.table.keys().all(|(_, state)| !names(state).contains(&(gone as u8))));
        // All others get everything, in some order: each that holds all lets go.
        let mut left = BTreeSet::from_iter((0..count).filter(|member| *member != gone));
        while !left.is_empty() {
            let before = (left.len(), many.asked.clone());
            left.retain(|member| {
                let goes_on = many.step(*member);
                if !goes_on {
                    many.table.end_member(many.now, &(*member as u8), many.now);
                }
                goes_on
            });
            prop_assert_ne!(before, (left.len(), many.asked.clone()), "nobody can go on: {:?}", many.table);
        }
        prop_assert_eq!(many.table.keys().count(), 0);
        prop_assert_eq!(many.table.counters().deadlocks, 0);
    }
}
