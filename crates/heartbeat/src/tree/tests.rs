//! Processes in memory: nodes that are joined by queues, whose frames arrive when the test says so.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use workfleet_wire::{
    Kind,
    kinds::{Direction, EVENT_KINDS},
    message,
};

use super::{
    Child, ChildConnection, Parent, ParentConnection, ProtocolError,
    frames::{self, ATTACH, Attach, BEATS, DETACH, OPERATION, STATE, What},
    node::{Node, Passage},
};
use crate::{
    Details, Event,
    address::Address,
    cores::{Key, Table},
    ports::{Arrived, BeatSink, Replica, TokenPlace, Unanswered},
    sent,
};

fn node() -> Arc<Node> {
    Node::new(sent::event_at)
}

type Frames = Mutex<VecDeque<(Kind, Vec<u8>)>>;
type CaughtUp = Box<dyn FnOnce() + Send>;

/// The connection between two processes, as both see it.
#[derive(Default)]
struct Wire {
    up: Frames,
    down: Frames,
    catch_ups: Mutex<Vec<CaughtUp>>,
    beats: AtomicBool,
}

struct LowerEnd(Arc<Wire>);
struct UpperEnd(Arc<Wire>, String);

impl ParentConnection for LowerEnd {
    fn send(&self, kind: Kind, payload: &[u8]) {
        self.0.up.lock().unwrap().push_back((kind, payload.to_vec()));
    }

    fn expect_answer(&self) {}

    fn wake(&self) {
        self.0.beats.store(true, Ordering::Relaxed);
    }

    fn reads_here(&self) -> bool {
        false
    }
}

impl ChildConnection for UpperEnd {
    fn name(&self) -> &str {
        &self.1
    }

    fn send(&self, kind: Kind, payload: &[u8]) {
        self.0.down.lock().unwrap().push_back((kind, payload.to_vec()));
    }

    fn catch_up(&self, done: CaughtUp) {
        self.0.catch_ups.lock().unwrap().push(done);
    }
}

/// A process below another, and the wire between them.
struct Link {
    wire: Arc<Wire>,
    upper: Arc<Node>,
    lower: Arc<Node>,
    parent: Parent,
    child: Option<Child>,
}

impl Link {
    fn below(upper: &Arc<Node>, name: &str) -> Self {
        Self::join(upper, node(), None, name)
    }

    /// A way out of `lower`, to what is in `scope` or everything else.
    fn join(upper: &Arc<Node>, lower: Arc<Node>, scope: Option<u128>, name: &str) -> Self {
        let wire = Arc::new(Wire::default());
        let parent = Parent::new(&lower, scope, Arc::new(LowerEnd(Arc::clone(&wire))));
        let parent = parent.expect("it has no such way");
        let child = Child::new(upper, Arc::new(UpperEnd(Arc::clone(&wire), name.to_owned())));
        Self { wire, upper: Arc::clone(upper), lower, parent, child: Some(child) }
    }

    /// Everything that was sent to the parent arrives.
    fn rise(&self) -> bool {
        let mut any = false;
        while let Some((kind, payload)) = { self.wire.up.lock().unwrap().pop_front() } {
            let child = self.child.as_ref().expect("it is there");
            child.on_frame(kind, &payload).expect("an honest process");
            any = true;
        }
        for done in std::mem::take(&mut *self.wire.catch_ups.lock().unwrap()) {
            done();
            any = true;
        }
        any
    }

    /// Everything that was sent child arrives.
    fn fall(&self) -> bool {
        let mut any = false;
        while let Some((kind, payload)) = { self.wire.down.lock().unwrap().pop_front() } {
            self.parent.on_frame(kind, &payload).expect("an honest process");
            any = true;
        }
        any
    }

    /// The process is killed: what it had not sent is gone, what it had sent arrives.
    fn kill(&mut self) {
        self.rise();
        self.child = None;
        for done in std::mem::take(&mut *self.wire.catch_ups.lock().unwrap()) {
            done();
        }
    }

    fn events(&self) -> (usize, usize) {
        (self.wire.up.lock().unwrap().len(), self.wire.down.lock().unwrap().len())
    }
}

/// Until nothing is on its way; beats only wait.
fn settle(links: &[&Link]) {
    while links.iter().any(|link| link.rise() || link.fall()) {}
}

/// What a heartbeater has got.
#[derive(Default)]
struct Inbox {
    beats: Mutex<Vec<u32>>,
    superseded: AtomicUsize,
}

impl BeatSink for Inbox {
    fn beats(self: Arc<Self>, beats: std::vec::Drain<'_, Arrived>) -> u64 {
        for Arrived { details, superseded, .. } in beats {
            self.beats.lock().unwrap().push(details.decode().expect("a number"));
            self.superseded.fetch_add(superseded as usize, Ordering::Relaxed);
        }
        0
    }
}

/// Of any token: these are told apart by their channels.
fn key() -> Key {
    let options = crate::HeartbeaterOptions::new();
    Table::new().register(std::time::Instant::now(), "a".into(), options, ()).expect("it is free")
}

fn beat(channel: &Arc<dyn Passage>, number: u32) {
    channel.beat(Details::encode(&number).expect("it encodes")).expect("there is a way");
}

/// Its number on the only way out of the process that it is in.
fn number_of(node: &Node) -> u64 {
    node.lock_tables().numbers.keys().next().expect("it leads out").1
}

fn export(node: &Arc<Node>, event: &Event) {
    let replica: Arc<dyn Replica> = Arc::clone(&event.shared) as _;
    event.shared.place(|| node.export_event(Arc::downgrade(&replica)));
}

fn event_of(node: &Arc<Node>, address: Address) -> Event {
    sent::event(node.event(address))
}

fn flush(token: &Arc<dyn TokenPlace>) -> (Box<dyn Unanswered>, Arc<AtomicBool>) {
    let done = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&done);
    (token.flush(Box::new(move || tell.store(true, Ordering::Relaxed))), done)
}

/// The ways of one token in two processes.
type Both = [Arc<dyn Passage>; 2];

/// Home, a worker of it, and a worker of that worker; a token that both use.
fn three() -> (Arc<Inbox>, Arc<dyn TokenPlace>, Link, Link, Both) {
    let home = node();
    let inbox = Arc::new(Inbox::default());
    let token = home.export_channel(Arc::clone(&inbox) as _, key());
    let worker = Link::below(&home, "worker");
    let inner = Link::below(&worker.lower, "inner");
    let there = worker.lower.channel(token.address()).expect("there is a way up");
    let inside = inner.lower.channel(token.address()).expect("there is a way up");
    (inbox, token, worker, inner, [there, inside])
}

#[test]
fn beats_of_a_process_two_below_reach_home_and_the_latest_wins() {
    let (inbox, _token, worker, inner, [_, inside]) = three();
    settle(&[&worker, &inner]);
    for number in 1..=10 {
        beat(&inside, number);
    }
    assert!(inner.wire.beats.load(Ordering::Relaxed), "somebody is told that a beat waits");
    assert!(inner.parent.send_beats());
    assert!(!inner.parent.send_beats(), "nothing is left");
    settle(&[&worker, &inner]);
    assert!(worker.parent.send_beats());
    settle(&[&worker, &inner]);
    assert_eq!(*inbox.beats.lock().unwrap(), [10]);
    assert_eq!(inbox.superseded.load(Ordering::Relaxed), 9);
}

#[test]
fn a_flush_brings_in_what_waits_in_every_process_below() {
    let (inbox, token, worker, inner, [there, inside]) = three();
    // Nothing of this has arrived anywhere when the flush begins, not even that the token is used there.
    beat(&inside, 1);
    beat(&there, 2);
    let (flush, done) = flush(&token);
    assert_eq!(flush.names(), ["worker"]);
    worker.rise();
    assert!(!done.load(Ordering::Relaxed));
    assert_eq!(flush.names(), ["worker"], "it was found to use the token");
    settle(&[&worker, &inner]);
    assert!(done.load(Ordering::Relaxed));
    assert!(flush.names().is_empty());
    let beats = inbox.beats.lock().unwrap().clone();
    assert!(beats.contains(&1) || inbox.superseded.load(Ordering::Relaxed) == 1, "{beats:?}");
    assert_eq!(beats.len() + inbox.superseded.load(Ordering::Relaxed), 2);
}

#[test]
fn a_flush_waits_for_the_living_and_not_for_the_dead() {
    let (_inbox, token, mut worker, mut inner, _channels) = three();
    settle(&[&worker, &inner]);
    let (flush, done) = flush(&token);
    worker.rise();
    worker.fall();
    inner.kill();
    settle(&[&worker]);
    assert!(done.load(Ordering::Relaxed), "the worker has heard of the end of its own");

    let (again, done) = self::flush(&token);
    worker.rise();
    assert_eq!(again.names(), ["worker"]);
    worker.kill();
    assert!(done.load(Ordering::Relaxed));
    drop(flush);
}

#[test]
fn a_flush_that_is_given_up_leaves_nothing_behind_and_its_late_answer_is_ignored() {
    let (_inbox, token, worker, inner, _channels) = three();
    settle(&[&worker, &inner]);
    let (flush, done) = flush(&token);
    worker.rise();
    assert_eq!(worker.upper.flushes.unanswered(), 1);
    drop(flush);
    assert_eq!(worker.upper.flushes.unanswered(), 0);
    settle(&[&worker, &inner]);
    assert!(!done.load(Ordering::Relaxed));
}

#[test]
fn a_flush_whose_time_is_over_when_it_is_about_to_ask_has_timed_out() {
    /// Is slow to be asked.
    struct Slow(Mutex<std::sync::mpsc::Receiver<()>>);

    impl ChildConnection for Slow {
        fn name(&self) -> &str {
            if std::thread::current().name() == Some("asks") {
                let _ = self.0.lock().unwrap().recv();
            }
            "slow"
        }

        fn send(&self, _kind: Kind, _payload: &[u8]) {}

        fn catch_up(&self, done: CaughtUp) {
            // This process is the node: others, on paused time, may not wait for a thread.
            match std::thread::current().name() {
                Some("workfleet-heartbeat") => {
                    std::thread::Builder::new().name("asks".into()).spawn(done).expect("there is a thread");
                }
                _ => done(),
            }
        }
    }

    let heartbeaters = crate::Heartbeaters::new().expect("there is a thread");
    let sender = heartbeaters.register("a", |_| ()).expect("it is new");
    let (let_go, wait) = std::sync::mpsc::channel();
    let child = Child::new(sent::own(), Arc::new(Slow(Mutex::new(wait))));
    let attach = frames::encode(&Attach {
        number: 1,
        what: What::Sender,
        address: sent::place_of(&sender).expect("it is registered").address().clone(),
    });
    child.on_frame(ATTACH, &attach).expect("it may");
    let after = std::time::Duration::from_millis(300);
    let outcome = heartbeaters.blocking_unregister_timeout("a", after);
    assert!(matches!(outcome, Err(crate::UnregisterError::FlushTimedOut { .. })), "{outcome:?}");
    drop(let_go);
}

#[test]
fn nobody_is_asked_who_does_not_use_the_token() {
    let (_inbox, token, worker, inner, channels) = three();
    settle(&[&worker, &inner]);
    drop(channels);
    settle(&[&worker, &inner]);
    let (_flush, done) = flush(&token);
    worker.rise();
    assert!(done.load(Ordering::Relaxed), "only what was on its way was taken in");
    assert_eq!(worker.events(), (0, 0));
}

#[test]
fn what_was_sent_before_a_sender_was_dropped_arrives() {
    let (inbox, _token, worker, inner, [there, inside]) = three();
    beat(&there, 7);
    drop((there, inside));
    worker.parent.send_beats();
    settle(&[&worker, &inner]);
    assert_eq!(*inbox.beats.lock().unwrap(), [7]);
    let (up, _) = worker.events();
    assert_eq!(up, 0);
}

#[test]
fn beats_of_a_token_that_was_gone_before_are_counted_at_home() {
    let (_inbox, token, worker, inner, channels) = three();
    let (home, address) = (Arc::clone(&worker.upper), token.address().clone());
    settle(&[&worker, &inner]);
    drop((channels, token));
    settle(&[&worker, &inner]);
    let late = inner.lower.channel(&address).expect("there is a way up");
    (1..=3).for_each(|number| beat(&late, number));
    inner.parent.send_beats();
    settle(&[&worker, &inner]);
    worker.parent.send_beats();
    settle(&[&worker, &inner]);
    assert_eq!(home.beats_ignored(), 3);
    assert_eq!(home.channel(&address).err().expect("it is gone"), super::NoChannel::Gone);
    assert_eq!(node().channel(&address).err().expect("it is elsewhere"), super::NoChannel::NotConnected);
}

#[test]
fn a_beat_that_supersedes_one_whose_sender_is_still_at_it_is_there_for_a_flush() {
    const ROUNDS: usize = 60_000;
    let home = node();
    let token = home.export_channel(Arc::new(Inbox::default()), key());
    let worker = Link::below(&home, "worker");
    let there = worker.lower.channel(token.address()).expect("there is a way up");
    let (stop, mut left_behind) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        // More of them than there are processors, so that they are interrupted anywhere.
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    beat(&there, 1);
                }
            });
        }
        for _ in 0..ROUNDS {
            beat(&there, 2);
            // As a flush does. This beat leaves, or one that has superseded it.
            left_behind += usize::from(!worker.parent.flush_beats());
            worker.wire.up.lock().unwrap().clear();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(left_behind, 0, "of {ROUNDS}");
}

#[test]
fn a_new_sender_is_not_cut_off_by_the_end_of_the_last() {
    let (inbox, token, worker, inner, [there, inside]) = three();
    drop(inside);
    for number in 1..=100 {
        let again = inner.lower.channel(token.address()).expect("there is a way up");
        beat(&again, number);
        inner.parent.send_beats();
        drop(again);
    }
    settle(&[&worker, &inner]);
    worker.parent.send_beats();
    settle(&[&worker, &inner]);
    assert_eq!(inbox.beats.lock().unwrap().last(), Some(&100));
    drop(there);
}

fn at(node: &Arc<Node>, event: &Event) -> Event {
    // As if it had been made by that process's `Node::own`.
    let address = event.shared.place(|| unreachable!("it was exported")).address().clone();
    event_of(node, address)
}

#[test]
fn an_event_is_one_in_three_processes() {
    let home = node();
    let event = Event::new();
    export(&home, &event);
    let worker = Link::below(&home, "worker");
    let inner = Link::below(&worker.lower, "inner");
    let far = at(&inner.lower, &event);
    event.set().expect("it is at home");
    settle(&[&worker, &inner]);
    assert!(far.is_set());
    far.clear().expect("it has a way home");
    assert!(!far.is_set() && event.is_set(), "its own change is seen there at once");
    settle(&[&worker, &inner]);
    assert!(!event.is_set());
    drop(far);
    settle(&[&worker, &inner]);
    event.set().expect("it is at home");
    assert_eq!(worker.events(), (0, 0), "nobody below has it any more");
}

#[test]
fn what_was_done_to_an_event_arrives_although_its_last_holder_is_gone() {
    let home = node();
    let worker = Link::below(&home, "worker");
    let inner = Link::below(&worker.lower, "inner");
    let event = Event::new();
    export(&home, &event);
    let far = at(&inner.lower, &event);
    far.set().expect("it has a way home");
    // The first is not answered yet: this one has to wait.
    far.clear().expect("it has a way home");
    drop(far);
    settle(&[&worker, &inner]);
    assert!(!event.is_set());
    event.set().expect("it is at home");
    assert_eq!(worker.events(), (0, 0), "and then nobody below has it any more");
}

#[test]
fn what_was_done_to_an_event_arrives_although_the_process_has_ended() {
    let home = node();
    let worker = Link::below(&home, "worker");
    let mut inner = Link::below(&worker.lower, "inner");
    let event = Event::new();
    export(&home, &event);
    let far = at(&inner.lower, &event);
    far.set().expect("it has a way home");
    settle(&[&inner]);
    far.clear().expect("it has a way home");
    settle(&[&inner]);
    // The worker has not heard from home yet.
    inner.kill();
    settle(&[&worker]);
    assert!(!event.is_set());
    event.set().expect("it is at home");
    assert_eq!(worker.events(), (0, 0), "and then nobody below has it any more");
}

#[test]
fn an_event_in_a_process_that_has_no_way_home_is_lost_at_once() {
    let (home, stranger) = (node(), node());
    let event = Event::new();
    export(&home, &event);
    let there = at(&stranger, &event);
    assert!(!there.is_set());
    assert!(there.set().is_err() && there.blocking_wait().is_err());
}

#[test]
fn an_event_that_is_gone_is_lost_for_those_further_down_too() {
    let home = node();
    let worker = Link::below(&home, "worker");
    let inner = Link::below(&worker.lower, "inner");
    let event = Event::new();
    export(&home, &event);
    let address = event.shared.place(|| unreachable!("it was exported")).address().clone();
    drop(event);
    let far = event_of(&inner.lower, address);
    settle(&[&worker, &inner]);
    assert!(far.blocking_wait().is_err());
}

#[test]
fn an_event_stays_lost_whatever_comes_from_below() {
    let home = node();
    let worker = Link::below(&home, "worker");
    let inner = Link::below(&worker.lower, "inner");
    let address = home.new_address();
    let there = event_of(&worker.lower, address.clone());
    let far = event_of(&inner.lower, address);
    far.clear().expect("it has not heard of its loss");
    worker.rise();
    worker.fall();
    let wait = || there.blocking_wait_timeout(std::time::Duration::ZERO);
    assert!(matches!(wait(), Err(crate::WaitError::Lost(_))));
    settle(&[&worker, &inner]);
    assert!(matches!(wait(), Err(crate::WaitError::Lost(_))), "and not forever");
    assert!(far.set().is_err());
}

#[test]
fn whoever_attaches_an_event_while_it_is_being_lost_is_told() {
    let mut left_waiting = 0;
    for _ in 0..1_000 {
        let home = node();
        let worker = Link::below(&home, "worker");
        let inner = Link::below(&worker.lower, "inner");
        let address = home.new_address();
        let there = worker.lower.event(address.clone());
        // The answer, that it is not there, is on its way while others attach it.
        worker.rise();
        let attached = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while attached.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                worker.fall();
            });
            let child = inner.child.as_ref().expect("it is there");
            while inner.events().1 == 0 {
                let number = attached.fetch_add(1, Ordering::Relaxed) as u64;
                let attach = frames::encode(&Attach { number, what: What::Event, address: address.clone() });
                child.on_frame(ATTACH, &attach).expect("it may");
            }
        });
        let there = sent::event(there);
        assert!(there.set().is_err(), "it is lost");
        left_waiting += attached.into_inner() - inner.events().1;
    }
    assert_eq!(left_waiting, 0);
}

#[test]
fn names_are_found_in_the_scope_that_is_nearest() {
    let home = node();
    let scope = super::Scope::new(&home, 1);
    let worker = Link::below(&home, "worker");
    let name = |node: &Arc<Node>| sent::event(node.named_event(1, "go").expect("a short name"));
    let there = name(&worker.lower);
    there.set().expect("it has a way home");
    drop(there);
    settle(&[&worker]);
    assert!(name(&home).is_set(), "nobody has held it meanwhile");
    name(&home).clear().expect("it is at home");
    assert!(!name(&home).is_set());
    drop(scope);
    assert!(name(&home).set().is_err(), "its pool is gone");
}

#[test]
fn a_process_that_lies_about_superseded_beats_overflows_no_count() {
    let (inbox, token, worker, inner, _channels) = three();
    settle(&[&worker, &inner]);
    let lie = |link: &Link, number| {
        let details = Details::encode(&1_u32).expect("it encodes");
        let beats = frames::encode(&frames::Beat { number, superseded: u64::MAX, details });
        link.child.as_ref().expect("it is there").on_frame(BEATS, &beats).expect("no rule is broken");
    };
    for _ in 0..2 {
        lie(&inner, number_of(&inner.lower));
        lie(&inner, u64::MAX);
    }
    worker.parent.send_beats();
    settle(&[&worker, &inner]);
    assert_eq!(inbox.superseded.load(Ordering::Relaxed), usize::MAX);
    lie(&worker, number_of(&worker.lower));
    lie(&worker, u64::MAX);
    drop(token);
}

#[test]
fn each_end_takes_the_kinds_that_the_table_sends_there_and_no_others() {
    let home = node();
    let worker = Link::below(&home, "worker");
    let child = worker.child.as_ref().expect("it is there");
    for kind in (0..=u8::MAX).map(Kind) {
        let [above, below] = [
            (child.on_frame(kind, &[]), Direction::ToManager),
            (worker.parent.on_frame(kind, &[]), Direction::ToWorker),
        ]
        .map(|(taken, direction)| {
            let goes_there = frames::TABLE.check(kind, direction, 1).is_ok();
            assert_eq!(
                matches!(taken, Err(ProtocolError::Direction { .. })),
                !goes_there,
                "{kind} {direction}"
            );
            goes_there
        });
        assert!(!(above && below), "{kind}");
        assert!(EVENT_KINDS.contains(&kind.0) || !(above || below), "{kind}");
    }
}

#[test]
fn a_process_that_breaks_the_rules_is_told_how() {
    let home = node();
    let worker = Link::below(&home, "worker");
    let child = worker.child.as_ref().expect("it is there");
    let attach = |number, address| {
        message::encode(&Attach { number, what: What::Event, address }).expect("it encodes")
    };
    let named = |name: &str| Address::Named { scope: 1, name: name.to_owned() };
    for (kind, payload) in [
        (ATTACH, vec![]),
        (ATTACH, vec![0xff; 40]),
        (DETACH, vec![]),
        (OPERATION, vec![1]),
        (BEATS, vec![1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        (BEATS, vec![1, 0, 2, 7]),
    ] {
        assert!(matches!(child.on_frame(kind, &payload), Err(ProtocolError::Payload { .. })), "{kind}");
    }
    assert!(matches!(child.on_frame(STATE, &[1, 0, 0]), Err(ProtocolError::Direction { kind: STATE })));
    assert!(matches!(child.on_frame(Kind(0x3f), &[]), Err(ProtocolError::Direction { .. })));
    let long = named(&"n".repeat(frames::NAME_LIMIT_BYTES + 1));
    assert!(matches!(child.on_frame(ATTACH, &attach(1, long)), Err(ProtocolError::Attachment { .. })));
    child.on_frame(ATTACH, &attach(2, named("a"))).expect("it is answered");
    assert!(matches!(child.on_frame(ATTACH, &attach(2, named("b"))), Err(ProtocolError::Attachment { .. })));
    // What is about nothing that was attached is late, not wrong.
    child.on_frame(DETACH, &message::encode(&9_u64).expect("it encodes")).expect("ignored");
    let mut beats = message::encode(&(9_u64, 0_u64)).expect("it encodes");
    beats.extend(message::encode(&Details::encode(&1_u8).expect("it encodes")).expect("it encodes"));
    child.on_frame(BEATS, &beats).expect("ignored");
    let long_details = message::encode(&(9_u64, 0_u64, vec![0_u8; crate::DETAILS_LIMIT_BYTES + 1]));
    assert!(child.on_frame(BEATS, &long_details.expect("it encodes")).is_err());
}

#[test]
fn what_is_not_at_home_leaves_by_the_way_that_leads_to_its_address() {
    let (parent, broker) = (node(), node());
    let scopes = [super::Scope::new(&parent, 1), super::Scope::new(&broker, 2)];
    let up = Link::below(&parent, "worker");
    let beside = Link::join(&broker, Arc::clone(&up.lower), Some(2), "member");
    let inner = Link::below(&up.lower, "inner");
    let all = [&up, &beside, &inner];
    let again = Parent::new(&up.lower, Some(2), Arc::new(LowerEnd(Arc::default())));
    assert!(again.is_none(), "the scope has a way");
    let named = |node: &Arc<Node>, scope| sent::event(node.named_event(scope, "go").expect("a short name"));

    // A name of either pool, from two processes down, and a token.
    let far = [named(&inner.lower, 1), named(&inner.lower, 2)];
    let inbox = Arc::new(Inbox::default());
    let token = parent.export_channel(Arc::clone(&inbox) as _, key());
    let there = inner.lower.channel(token.address()).expect("there is a way");
    settle(&all);
    far[1].set().expect("it has a way home");
    beat(&there, 7);
    inner.parent.send_beats();
    settle(&all);
    assert!(!beside.parent.send_beats(), "the token is elsewhere");
    assert!(up.parent.send_beats());
    settle(&all);
    assert_eq!((named(&parent, 1).is_set(), named(&broker, 2).is_set()), (false, true));
    assert!(
        !named(&broker, 1).is_set() && named(&broker, 1).set().is_err(),
        "nobody has told the broker of it"
    );
    assert_eq!(*inbox.beats.lock().unwrap(), [7]);
    named(&parent, 1).set().expect("it is at home");
    settle(&all);
    assert!(far[0].is_set());

    // The same number on another connection is something else.
    let of_parent = |(out, _): &&(u64, u64)| *out == up.parent.outlet_id();
    let number = up.lower.lock_tables().numbers.keys().find(of_parent).expect("the name of the parent's").1;
    beside.parent.on_frame(frames::GONE, &frames::encode(&number)).expect("no rule is broken");
    assert!(far[0].set().is_ok());
    drop(scopes);
}
