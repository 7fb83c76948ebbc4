//! Dispatchers and the consumer that fans out.

mod support;

use std::sync::Arc;

use support::{Explosive, Journal, ends};
use tokio::sync::{Barrier, Notify};
use workfleet_worker_lifecycle::{
    AsyncConsumer, AsyncDispatcher, Dispatcher, EventMessage, OnStop, WorkerFailureCause, WorkerState, start,
};

#[derive(Debug, PartialEq)]
struct Message(&'static str, u32);

impl EventMessage for Message {
    fn event_type(&self) -> &str {
        self.0
    }
}

#[test]
fn every_handler_of_the_type_is_called_and_no_other() {
    let (journal, dispatcher) = (Journal::default(), Dispatcher::new());
    for event in ["foo", "foo.first", "foo.second", "bar"] {
        let journal = journal.clone();
        let replaced = dispatcher
            .register_handler(event, move |message: &Message| journal.add(format!("{event} {}", message.1)));
        assert!(replaced.expect("an event").is_none());
    }
    let dispatched = dispatcher.dispatch(&Message("foo", 1));
    assert_eq!((dispatched.ran, dispatched.failures.len()), (3, 0));
    assert_eq!(journal.take(), ["foo 1", "foo.first 1", "foo.second 1"]);
    assert_eq!(dispatcher.dispatch(&Message("nobody", 1)).ran, 0);

    let removed = dispatcher.unregister_handler("foo.first").expect("an event").expect("it was there");
    assert!(dispatcher.unregister_handler("foo.first").expect("an event").is_none());
    assert!(dispatcher.unregister_handler("gone").expect("an event").is_none());
    removed(&Message("foo", 2)).expect("it is the handler");
    assert_eq!(journal.take(), ["foo.first 2"]);
    assert_eq!(dispatcher.dispatch(&Message("foo", 3)).ran, 2);
}

#[test]
fn registering_returns_the_handler_it_replaces() {
    let (journal, dispatcher) = (Journal::default(), Dispatcher::new());
    for name in ["old", "new"] {
        let journal = journal.clone();
        let replaced = dispatcher.register_handler("foo.x", move |_: &Message| journal.add(name));
        if let Some(replaced) = replaced.expect("an event") {
            replaced(&Message("foo", 0)).expect("it does not fail");
        }
    }
    assert_eq!(journal.take(), ["old"]);
    assert_eq!(dispatcher.dispatch(&Message("foo", 0)).ran, 1);
    assert_eq!(journal.take(), ["new"]);
}

#[test]
fn malformed_events_are_refused() {
    let dispatcher = AsyncDispatcher::<Message>::new();
    for event in ["", "foo.", ".tag", "foo.tag.more"] {
        let refused = dispatcher.register_handler(event, |_| async {});
        let Err(error) = refused else { panic!("{event:?} is no event") };
        assert_eq!(error.text(), event);
        assert!(dispatcher.unregister_handler(event).is_err());
    }
}

#[test]
fn a_synchronous_handler_that_fails_stops_no_other() {
    let (journal, dispatcher) = (Journal::default(), Dispatcher::new());
    dispatcher.register_handler("foo.a", |_: &Message| Err("as told")).expect("an event");
    dispatcher
        .register_handler("foo.b", |_: &Message| {
            if true {
                panic!("as told")
            }
        })
        .expect("an event");
    let noted = journal.clone();
    dispatcher.register_handler("foo.c", move |_: &Message| noted.add("c")).expect("an event");
    let dispatched = dispatcher.dispatch(&Message("foo", 0));
    let failures: Vec<String> = dispatched.failures.iter().map(ToString::to_string).collect();
    assert_eq!(
        failures,
        ["the handler of `foo.a` failed: as told", "the handler of `foo.b` panicked: as told"]
    );
    assert_eq!((dispatched.ran, journal.lines()), (3, vec!["c".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_message_run_concurrently_and_are_awaited() {
    let (journal, dispatcher) = (Journal::default(), AsyncDispatcher::new());
    // Neither can pass without the other.
    let barrier = Arc::new(Barrier::new(2));
    for event in ["foo.a", "foo.b"] {
        let (journal, barrier) = (journal.clone(), Arc::clone(&barrier));
        let handler = move |_: Arc<Message>| {
            let (journal, barrier) = (journal.clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                journal.add(event);
            }
        };
        dispatcher.register_handler(event, handler).expect("an event");
    }
    assert_eq!(ends(dispatcher.dispatch(Message("foo", 0))).await.ran, 2);
    assert_eq!(journal.lines().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_handler_stops_neither_the_others_nor_the_consumer() {
    let (journal, failures) = (Journal::default(), Journal::default());
    let dispatcher = AsyncDispatcher::new();
    dispatcher.register_handler("foo.a", |_: Arc<Message>| async { Err("as told") }).expect("an event");
    dispatcher
        .register_handler("foo.b", |_: Arc<Message>| async {
            if true {
                panic!("as told")
            }
        })
        .expect("an event");
    let handled = journal.clone();
    let handler = move |message: Arc<Message>| {
        let handled = handled.clone();
        async move { handled.add(message.1.to_string()) }
    };
    dispatcher.register_handler("foo.c", handler).expect("an event");

    let noted = failures.clone();
    let consumer = AsyncConsumer::new(dispatcher.clone()).with_on_stop(OnStop::Drain);
    let consumer = consumer.with_on_failure(move |failure| {
        let how = if matches!(failure.cause, WorkerFailureCause::Panic(_)) { "panicked" } else { "failed" };
        noted.add(format!("{} {how}", failure.event));
    });
    let sender = consumer.sender();
    let worker = start(consumer).await.expect("it starts");
    for message in [Message("foo", 1), Message("bar", 2), Message("foo", 3)] {
        sender.send(message).expect("it is open");
    }
    let outcome = ends(worker.shutdown()).await.expect("it stops");
    assert_eq!(outcome.state(), WorkerState::Stopped);
    assert_eq!(journal.lines(), ["1", "3"]);
    assert_eq!(failures.lines(), ["foo.a failed", "foo.b panicked", "foo.a failed", "foo.b panicked"]);
}

#[tokio::test(start_paused = true)]
async fn handlers_come_and_go_while_the_consumer_runs() {
    let reached = Arc::new(Notify::new());
    let consumer = AsyncConsumer::new(AsyncDispatcher::new());
    let (sender, dispatcher) = (consumer.sender(), consumer.dispatcher());
    let worker = start(consumer).await.expect("it starts");
    let notify = Arc::clone(&reached);
    let handler = move |_: Arc<Message>| {
        notify.notify_one();
        std::future::ready(())
    };
    dispatcher.register_handler("foo", handler).expect("an event");
    sender.send(Message("foo", 1)).expect("it is open");
    ends(reached.notified()).await;
    dispatcher.unregister_handler("foo").expect("an event").expect("it was there");
    assert_eq!(dispatcher.dispatch(Message("foo", 2)).await.ran, 0);
    ends(worker.shutdown()).await.expect("it stops");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_panics_when_it_is_dropped_stops_neither_handlers_nor_the_consumer() {
    struct Bad(&'static str, Explosive);
    impl EventMessage for Bad {
        fn event_type(&self) -> &str {
            self.0
        }
    }
    let (journal, dispatcher) = (Journal::default(), AsyncDispatcher::new());
    let handled = journal.clone();
    let handler = move |message: Arc<Bad>| {
        handled.add(message.0);
        let _explosive: &Explosive = &message.1;
        async {}
    };
    dispatcher.register_handler("foo", handler).expect("an event");
    for event in ["foo", "nobody", "foo"] {
        let dispatched = ends(dispatcher.dispatch(Bad(event, Explosive))).await;
        assert!(dispatched.failures.is_empty());
    }
    assert_eq!(journal.lines(), ["foo", "foo"]);
}

#[tokio::test(start_paused = true)]
async fn by_default_what_a_stopped_consumer_has_not_begun_is_discarded_and_counted() {
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let consumer = AsyncConsumer::new(AsyncDispatcher::new());
    let (journal, tell, wait) = (Journal::default(), Arc::clone(&begun), Arc::clone(&gate));
    let handled = journal.clone();
    let handler = move |message: Arc<Message>| {
        let (handled, tell, wait) = (handled.clone(), Arc::clone(&tell), Arc::clone(&wait));
        async move {
            handled.add(message.1.to_string());
            tell.notify_one();
            wait.notified().await;
        }
    };
    consumer.dispatcher().register_handler("foo", handler).expect("an event");
    let sender = consumer.sender();
    for number in 0..3 {
        sender.send(Message("foo", number)).expect("it is open");
    }
    let worker = start(consumer).await.expect("it starts");
    ends(begun.notified()).await;
    worker.gracefully_stop();
    gate.notify_one();
    assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::Stopped);
    assert_eq!(journal.lines(), ["0"]);
    assert_eq!((sender.discarded(), sender.leftovers().len()), (2, 0));
}
