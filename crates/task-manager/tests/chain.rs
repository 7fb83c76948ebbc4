//! Chains: the order of their links, which of them failed, and that they are one task to everybody else.

#[path = "support/both.rs"]
mod both;
mod support;

use std::path::PathBuf;

use both::{Door, Kind, messages, on_both, start};
use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::{alone, process::signal_itself, task::task, tasks::Text};
use workfleet_task_manager::{
    AsyncTask, CHAIN_NESTING_LIMIT, Chain, ChainOutputError, ChainOutputs, ClosePolicy, FailureCause,
    FailureReport, MessageError, Pool, Priority, Registry, TaskContext, TaskError, TaskFailure, TaskSpec,
};

/// Says something.
#[derive(Debug, Serialize, Deserialize)]
struct Say(String);
task!(Say, "say", (), |self, cx| Ok(cx.send_message(&Text(self.0))?));

/// Doubles a number.
#[derive(Debug, Serialize, Deserialize)]
struct Double(u32);
task!(Double, "double", u32, |self, _cx| Ok(2 * self.0));

/// Turns a text round.
#[derive(Debug, Serialize, Deserialize)]
struct Reverse(String);
task!(Reverse, "reverse", String, |self, _cx| Ok(self.0.chars().rev().collect()));

#[derive(Debug, Serialize, Deserialize)]
struct Fail;
task!(Fail, "fail", (), |self, _cx| Err("no luck".into()));

#[derive(Debug, Serialize, Deserialize)]
struct Panic;
task!(Panic, "panic", (), |self, _cx| panic!("out of luck"));

/// Encodes as a number that its own reader refuses.
#[derive(Debug)]
struct Garbled;
impl Serialize for Garbled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(7)
    }
}
impl<'de> Deserialize<'de> for Garbled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            7 => Err(serde::de::Error::custom("it is garbled")),
            _ => Ok(Self),
        }
    }
}
task!(Garbled, "garbled", (), |self, _cx| unreachable!("it does not decode"));

/// Yields that many bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Bytes(usize);
task!(Bytes, "bytes", Vec<u8>, |self, _cx| Ok(vec![7; self.0]));

/// What no registry here knows.
#[derive(Debug, Serialize, Deserialize)]
struct Unregistered;
task!(Unregistered, "unregistered", (), |self, _cx| unreachable!("nobody knows it"));

/// Kills its worker in the first attempts, when all that was said has arrived.
#[derive(Debug, Serialize, Deserialize)]
struct DieInFirst {
    attempts: u32,
}
task!(DieInFirst, "die-in-first", u32, |self, cx| {
    if cx.attempt() <= self.attempts {
        cx.flush()?;
        signal_itself(Signal::KILL);
    }
    Ok(cx.attempt())
});

/// Schedules tasks that say something.
#[derive(Debug, Serialize, Deserialize)]
struct Schedule(Vec<String>);
task!(Schedule, "schedule", (), |self, cx| {
    self.0.into_iter().try_for_each(|text| cx.schedule(Say(text)))?;
    Ok(())
});

/// Says "begun", waits to be cancelled, and then obeys or ends well all the same.
#[derive(Debug, Serialize, Deserialize)]
struct AwaitCancellation {
    obey: bool,
}
task!(AwaitCancellation, "await-cancellation", (), |self, cx| {
    cx.send_message(&Text("begun".into()))?;
    support::tasks::wait_for_cancellation(cx)?;
    if self.obey {
        cx.check_cancelled()?;
    }
    Ok(())
});

/// Says something after it has left its thread to others for a moment.
#[derive(Debug, Serialize, Deserialize)]
struct SayLater(String);
impl TaskSpec for SayLater {
    const NAME: &'static str = "say-later";
    type Output = usize;
}
impl AsyncTask for SayLater {
    async fn run(self, cx: &TaskContext) -> Result<usize, TaskError> {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let length = self.0.len();
        cx.send_message(&Text(self.0))?;
        Ok(length)
    }
}

/// Waits at a door and leaves its thread to others.
#[derive(Debug, Serialize, Deserialize)]
struct Linger(PathBuf);
impl TaskSpec for Linger {
    const NAME: &'static str = "linger";
    type Output = ();
}
impl AsyncTask for Linger {
    async fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(both::come_to(&self.0, "linger").await?)
    }
}

fn registry() -> Registry {
    Registry::new()
        .task::<Say>()
        .task::<Double>()
        .task::<Reverse>()
        .task::<Fail>()
        .task::<Panic>()
        .task::<Garbled>()
        .task::<Bytes>()
        .task::<DieInFirst>()
        .task::<Schedule>()
        .task::<AwaitCancellation>()
        .async_task::<SayLater>()
        .async_task::<Linger>()
}
workfleet_task_manager::test_worker!(registry());

/// A chain with one more link.
trait With: Sized {
    fn with<T: TaskSpec>(self, task: T) -> Self;
}

impl With for Chain {
    fn with<T: TaskSpec>(self, task: T) -> Self {
        self.then(&task).expect("it encodes")
    }
}

fn say(text: &str) -> Say {
    Say(text.to_owned())
}

fn texts(pool: &Pool) -> Vec<String> {
    messages::<Text>(pool).into_iter().map(|message| message.content.0).collect()
}

fn run(pool: &Pool, chain: Chain) -> Result<ChainOutputs, TaskFailure> {
    pool.submit(chain).expect("it is taken").wait()
}

/// The links that a failure names, as index and name.
fn links(failure: &FailureReport) -> Vec<(u32, &str)> {
    failure.links.iter().map(|link| (link.index, &*link.name)).collect()
}

on_both!(
    links_of_any_types_run_in_order_and_yield_their_outputs,
    an_empty_chain_does_nothing,
    a_failure_names_the_links_of_nested_chains_outermost_first,
    the_first_failure_skips_the_rest,
    an_output_that_fits_no_frame_is_lost_and_harms_nobody_else,
    a_chain_with_an_unregistered_link_does_nothing_at_all,
    a_chain_that_was_scheduled_names_its_failed_link_in_the_inbox,
    a_cancellation_between_two_links_ends_the_chain_before_the_next,
    a_cancellation_within_a_link_names_the_link,
    an_asynchronous_link_runs_to_its_end_before_the_next,
    an_asynchronous_link_runs_beside_other_asynchronous_tasks,
    the_children_of_all_links_are_counted_together,
    ten_thousand_links_run_in_order,
    a_chain_of_a_sequence_runs_in_its_order_and_yields_all_outputs,
    a_chain_of_an_empty_sequence_does_nothing,
    chains_within_chains_a_hundred_deep,
    a_chain_has_one_priority,
);

fn links_of_any_types_run_in_order_and_yield_their_outputs(kind: Kind) {
    let manager = start!(kind, registry(), workers(2));
    let inner = Chain::new().with(say("three")).with(Double(4));
    let chain = Chain::new().with(Double(21)).with(say("one")).with(Reverse("owt".into())).with(say("two"));
    let chain = chain.with(inner);
    assert_eq!((chain.len(), chain.is_empty()), (5, false));
    assert_eq!(format!("{chain:?}"), "Chain[double, say, reverse, say, workfleet.chain]");

    let outputs = run(&manager, chain).expect("it is done");
    assert_eq!(texts(&manager), ["one", "two", "three"]);
    assert_eq!((outputs.len(), outputs.is_empty()), (5, false));
    assert_eq!(outputs.get::<Double>(0).expect("it is there"), 42);
    outputs.get::<Say>(1).expect("it is there");
    assert_eq!(outputs.get::<Reverse>(2).expect("it is there"), "two");
    let inner = outputs.get::<Chain>(4).expect("it is there");
    assert_eq!(inner.get::<Double>(1).expect("it is there"), 8);
    assert!(matches!(outputs.get::<Say>(5), Err(ChainOutputError::NoLink { index: 5, len: 5, .. })));
    assert!(matches!(outputs.get::<Reverse>(0), Err(ChainOutputError::Decode { index: 0, .. })));
}

fn an_empty_chain_does_nothing(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let outputs = run(&manager, Chain::new()).expect("it is done");
    assert!(outputs.is_empty());
    assert!(matches!(outputs.get::<Say>(0), Err(ChainOutputError::NoLink { index: 0, len: 0, .. })));
    let nested = run(&manager, Chain::new().with(Chain::new())).expect("it is done");
    assert!(nested.get::<Chain>(0).expect("it is there").is_empty());
}

fn a_failure_names_the_links_of_nested_chains_outermost_first(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let innermost = Chain::new().with(Fail).with(say("never"));
    let inner = Chain::new().with(say("two")).with(Double(1)).with(innermost);
    let chain = Chain::new().with(say("one")).with(inner).with(say("never"));
    let failure = run(&manager, chain).expect_err("its innermost link fails");
    assert_eq!((&*failure.name, failure.attempt), ("workfleet.chain", 1));
    assert_eq!(links(&failure), [(1, "workfleet.chain"), (2, "workfleet.chain"), (0, "fail")]);
    assert_eq!(failure.debug, "Chain[say, workfleet.chain, say]");
    assert!(matches!(&failure.cause, FailureCause::Error { chain, .. } if chain == &["no luck"]));
    let expected = format!(
        "task {} Chain[say, workfleet.chain, say], attempt 1 on worker-0, link 1 Chain[say, double, workfleet.chain], \
         link 2 Chain[fail, say], link 0 Fail: no luck",
        failure.task
    );
    // A backtrace, if the environment asks for one, comes below.
    assert_eq!(failure.to_string().lines().next(), Some(&*expected));
    assert_eq!(texts(&manager), ["one", "two"]);
}

fn the_first_failure_skips_the_rest(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let failed = |chain: Chain| {
        let failure = run(&manager, chain.with(say("never"))).expect_err("its link fails");
        assert_eq!(texts(&manager), ["begins"]);
        failure
    };
    let begun = || Chain::new().with(say("begins"));

    let failure = failed(begun().with(Fail));
    assert_eq!(links(&failure), [(1, "fail")]);
    assert!(matches!(&failure.cause, FailureCause::Error { .. }), "{failure}");

    let failure = failed(begun().with(Panic));
    assert_eq!((links(&failure), &*failure.links[0].debug), (vec![(1, "panic")], "Panic"));
    assert!(
        matches!(&failure.cause, FailureCause::Panicked { message, location: Some(location), .. }
            if message == "out of luck" && location.contains("chain.rs")),
        "{failure}"
    );

    let failure = failed(begun().with(Garbled));
    assert_eq!(links(&failure), [(1, "garbled")]);
    assert!(matches!(&failure.cause, FailureCause::Rejected { .. }), "{failure}");

    run(&manager, begun()).expect("the worker lives on");
}

fn an_output_that_fits_no_frame_is_lost_and_harms_nobody_else(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), frame_limit(8 * 1024));
    // Alone, and only together.
    for chain in [Chain::new().with(Bytes(10_000)), Chain::new().with(Bytes(5000)).with(Bytes(5000))] {
        let failure = run(&manager, chain).expect_err("its outputs are too large");
        assert!(
            matches!(&failure.cause, FailureCause::OutputTooLarge { limit_bytes: 8192, .. }),
            "{failure}"
        );
    }
    let outputs = run(&manager, Chain::new().with(Bytes(5000)).with(Bytes(3000))).expect("they fit");
    assert_eq!(outputs.get::<Bytes>(0).expect("it is there"), [7; 5000]);
    // An output that nobody waits for goes nowhere.
    manager.schedule(Chain::new().with(Bytes(10_000))).expect("it is taken");
    assert_eq!(texts(&manager), [""; 0]);
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.failed), (2, 2));
}

fn a_chain_with_an_unregistered_link_does_nothing_at_all(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let chain = Chain::new().with(say("never")).with(say("never")).with(Unregistered).with(say("never"));
    let failure = run(&manager, chain).expect_err("nobody knows one of its links");
    assert_eq!(links(&failure), [(2, "unregistered")]);
    let named = |reason: &str| reason.contains("\"unregistered\"");
    assert!(matches!(&failure.cause, FailureCause::Rejected { reason, .. } if named(reason)), "{failure}");
    assert_eq!(texts(&manager), [""; 0]);
}

fn a_chain_that_was_scheduled_names_its_failed_link_in_the_inbox(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let chain = Chain::new().with(say("one")).with(Fail).with(say("never"));
    manager.schedule_with(chain, Priority(0)).expect("it is taken");
    let mut items = manager.messages::<Text>();
    assert_eq!(items.next().expect("it says one").expect("a message").content, Text("one".into()));
    match items.next() {
        Some(Err(MessageError::Failed(failure))) => assert_eq!(links(&failure), [(1, "fail")]),
        other => panic!("{other:?}"),
    }
    assert!(items.next().is_none());
}

fn a_cancellation_between_two_links_ends_the_chain_before_the_next(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let inner = Chain::new().with(AwaitCancellation { obey: false }).with(say("never"));
    let handle = manager.submit(Chain::new().with(inner).with(say("never"))).expect("it is taken");
    let mut items = manager.messages::<Text>();
    assert_eq!(items.next().expect("it begins").expect("a message").content, Text("begun".into()));
    handle.cancel();
    let failure = handle.wait().expect_err("it is cancelled");
    assert_eq!(failure.cause, FailureCause::Cancelled);
    assert_eq!(links(&failure), [(0, "workfleet.chain"), (1, "say")]);
    assert!(items.next().is_none());
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(report.tasks.cancelled, 1);
}

fn a_cancellation_within_a_link_names_the_link(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let chain = Chain::new().with(Double(1)).with(AwaitCancellation { obey: true }).with(say("never"));
    let handle = manager.submit(chain).expect("it is taken");
    let mut items = manager.messages::<Text>();
    assert_eq!(items.next().expect("it begins").expect("a message").content, Text("begun".into()));
    handle.cancel();
    let failure = handle.wait().expect_err("it is cancelled");
    assert_eq!(failure.cause, FailureCause::Cancelled);
    assert_eq!(links(&failure), [(1, "await-cancellation")]);
    assert!(items.next().is_none());
}

fn an_asynchronous_link_runs_to_its_end_before_the_next(kind: Kind) {
    for async_tasks in [1, 8] {
        let manager = start!(kind, registry(), workers(1), async_tasks(async_tasks));
        let later = |text: &str| SayLater(text.to_owned());
        let chain = Chain::new().with(later("one")).with(say("two")).with(later("three")).with(say("four"));
        let outputs = run(&manager, chain).expect("it is done");
        assert_eq!(outputs.get::<SayLater>(2).expect("it is there"), 5);
        assert_eq!(texts(&manager), ["one", "two", "three", "four"]);
    }
}

fn an_asynchronous_link_runs_beside_other_asynchronous_tasks(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), async_tasks(8));
    let door = Door::new();
    let lingering = manager.submit(Linger(door.path())).expect("it is taken");
    let guest = door.next();
    let chain = Chain::new().with(SayLater("one".into())).with(say("two"));
    let outputs = run(&manager, chain).expect("it is done");
    assert_eq!(outputs.get::<SayLater>(0).expect("it is there"), 3);
    guest.go_on();
    lingering.wait().expect("it is done");
    assert_eq!(texts(&manager), ["one", "two"]);
}

fn the_children_of_all_links_are_counted_together(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let schedule = |texts: &[&str]| Schedule(texts.iter().map(|&text| text.to_owned()).collect());
    let chain = Chain::new().with(schedule(&["a", "b"])).with(Double(1)).with(schedule(&["c"]));
    // In a process, the first two attempts die between the third child and the fourth; the others are of the third.
    let deaths = if kind == Kind::Processes { 2 } else { 0 };
    let chain = chain.with(DieInFirst { attempts: deaths }).with(schedule(&["d", "e"]));
    let outputs = run(&manager, chain).expect("it is done");
    assert_eq!(outputs.get::<DieInFirst>(3).expect("it is there"), deaths + 1);
    let mut texts = texts(&manager);
    texts.sort_unstable();
    assert_eq!(texts, ["a", "b", "c", "d", "e"]);
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.scheduled, report.tasks.done), (6, 6));
}

fn ten_thousand_links_run_in_order(kind: Kind) {
    const LINKS: u32 = 10_000;
    let manager = start!(kind, registry(), workers(2));
    let long = (0..LINKS).fold(Chain::new(), |chain, n| chain.with(Say(n.to_string())).with(Double(n)));
    let outputs = run(&manager, long).expect("it is done");
    assert_eq!(texts(&manager), (0..LINKS).map(|n| n.to_string()).collect::<Vec<_>>());
    for n in 0..LINKS {
        assert_eq!(outputs.get::<Double>(2 * n as usize + 1).expect("it is there"), 2 * n);
    }
}

fn a_chain_of_a_sequence_runs_in_its_order_and_yields_all_outputs(kind: Kind) {
    let manager = start!(kind, registry(), workers(2));
    let chain = Chain::of(["one", "two", "three"].map(|text| Say(text.to_owned()))).expect("they travel");
    assert_eq!(format!("{chain:?}"), "Chain[say, say, say]");
    run(&manager, chain).expect("it is done");
    assert_eq!(texts(&manager), ["one", "two", "three"]);

    let numbers = Chain::of((1..6).map(Double)).expect("they travel");
    assert_eq!(numbers, (1..6).fold(Chain::new(), |chain, n| chain.with(Double(n))));
    let outputs = run(&manager, numbers).expect("it is done");
    assert_eq!(outputs.all::<Double>().expect("they are numbers"), [2, 4, 6, 8, 10]);
    assert!(matches!(outputs.all::<Reverse>(), Err(ChainOutputError::Decode { index: 0, .. })));

    // More of other types, and sequences, behind it.
    let more = Chain::of([Double(1)]).expect("it travels").with(Reverse("owt".into()));
    let more = more.with(Chain::of([Double(2), Double(3)]).expect("they travel"));
    let outputs = run(&manager, more).expect("it is done");
    assert_eq!(outputs.get::<Chain>(2).expect("a chain").all::<Double>().expect("two numbers"), [4, 6]);

    // All or none: the sequence is asked for nothing behind one that does not travel.
    let deepest = (0..CHAIN_NESTING_LIMIT).fold(Chain::new(), |inner, _| Chain::new().with(inner));
    let nothing = std::iter::from_fn(|| unreachable!("it is asked for more"));
    Chain::of(std::iter::once(deepest).chain(nothing)).expect_err("it is too deep for a link");
}

fn a_chain_of_an_empty_sequence_does_nothing(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let chain = Chain::of(std::iter::empty::<Double>()).expect("there is nothing to encode");
    assert_eq!((&chain, chain.is_empty()), (&Chain::new(), true));
    let outputs = run(&manager, chain).expect("there is nothing to fail");
    assert_eq!(outputs.all::<Double>().expect("there is nothing to decode"), []);
}

fn chains_within_chains_a_hundred_deep(kind: Kind) {
    let manager = start!(kind, registry(), workers(1));
    let nest =
        |innermost: Chain| (0..100).fold(innermost, |inner, n| Chain::new().with(Double(n)).with(inner));
    let mut outputs = run(&manager, nest(Chain::new().with(Double(1000)))).expect("it is done");
    for n in (0..100).rev() {
        assert_eq!(outputs.get::<Double>(0).expect("it is there"), 2 * n);
        outputs = outputs.get::<Chain>(1).expect("it is there");
    }
    assert_eq!(outputs.get::<Double>(0).expect("it is there"), 2000);

    let failure = run(&manager, nest(Chain::new().with(Fail))).expect_err("the innermost link fails");
    let mut expected = vec![(1, "workfleet.chain"); 100];
    expected.push((0, "fail"));
    assert_eq!(links(&failure), expected);
}

fn a_chain_has_one_priority(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), priority_levels(3));
    // The cancellation that opens it comes on the same connection as the tasks, so they are all there by then.
    let gate = manager.submit_with(AwaitCancellation { obey: false }, Priority(0)).expect("it is taken");
    let begun = manager.messages::<Text>().next().expect("it begins").expect("a message");
    assert_eq!(begun.content, Text("begun".into()));
    let chain = |name: &str| {
        let texts = (0..3).map(|n| format!("{name} {n}"));
        texts.fold(Chain::new(), |chain, text| chain.with(Say(text)))
    };
    for (name, priority) in [("last", 2), ("second", 1), ("third", 1), ("first", 0)] {
        manager.schedule_with(chain(name), Priority(priority)).expect("it is taken");
    }
    manager.schedule(say("between")).expect("it is taken");
    gate.cancel();
    gate.wait().expect("it ends well");
    let names = |text: String| text.split(' ').next().map(str::to_owned);
    let mut order: Vec<_> = texts(&manager).into_iter().filter_map(names).collect();
    order.dedup();
    assert_eq!(order, ["first", "second", "third", "between", "last"]);
}

#[test]
fn a_chain_whose_worker_dies_is_tried_again_from_its_first_link() {
    let _alone = alone();
    let manager = start!(Kind::Processes, registry(), workers(2));
    let chain = |attempts| {
        Chain::new().with(say("one")).with(Double(1)).with(DieInFirst { attempts }).with(say("last"))
    };
    let said = |pool: &Pool| -> Vec<_> {
        messages::<Text>(pool).into_iter().map(|message| (message.content.0, message.attempt)).collect()
    };
    let text = str::to_owned;

    let outputs = run(&manager, chain(1)).expect("the second attempt ends well");
    assert_eq!(outputs.get::<DieInFirst>(2).expect("it is there"), 2);
    assert_eq!(said(&manager), [(text("one"), 1), (text("one"), 2), (text("last"), 2)]);

    let failure = run(&manager, chain(u32::MAX)).expect_err("it is given up");
    assert_eq!((&failure.cause, failure.attempt, failure.deaths.len()), (&FailureCause::WorkerDied, 3, 3));
    assert!(failure.deaths.iter().all(|death| death.charged == Some(failure.task)));
    assert_eq!(said(&manager), [(text("one"), 1), (text("one"), 2), (text("one"), 3)]);
}

/// Deaths in different links are deaths of the chain.
#[test]
fn the_crash_limit_counts_for_the_whole_chain() {
    let _alone = alone();
    let manager = start!(Kind::Processes, registry(), workers(1));
    let chain = Chain::new().with(DieInFirst { attempts: 1 }).with(DieInFirst { attempts: 2 });
    let outputs = run(&manager, chain.clone()).expect("its third attempt is its last");
    assert_eq!(outputs.get::<DieInFirst>(0).expect("it is there"), 3);
    let failure = run(&manager, chain.with(DieInFirst { attempts: 3 })).expect_err("one death too many");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3));
}
