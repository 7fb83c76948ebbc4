//! What all ready-made workers have in common: a name, a grace period, and themselves as their only worker.

mod support;

use std::{
    future::{pending, ready},
    sync::Arc,
    time::Duration,
};

use support::{Act, Journal, Scripted, ends};
use tokio::time::Instant;
use workfleet_worker_lifecycle::{
    AsyncConsumer, AsyncDispatcher, EventMessage, QueueConsumerWorker, WorkerContext, WorkerFunction,
    WorkerHandle, WorkerState, start, worker_fn,
};

struct Message;

impl EventMessage for Message {
    fn event_type(&self) -> &str {
        "message"
    }
}

#[test]
fn their_names_are_those_of_their_types_or_those_that_they_are_given() {
    let function = || WorkerFunction::new(|| ready(()));
    let consumer = || QueueConsumerWorker::new(|_: u32| ready(()));
    let fan_out = || AsyncConsumer::<Message>::new(AsyncDispatcher::new());
    let by_themselves =
        [WorkerHandle::new(function()), WorkerHandle::new(consumer()), WorkerHandle::new(fan_out())];
    let names = ["worker_function", "queue_consumer_worker", "async_consumer"];
    assert_eq!(by_themselves.each_ref().map(|handle| handle.name()), names);
    let given = [
        WorkerHandle::new(function().with_name("a")),
        WorkerHandle::new(consumer().with_name("b")),
        WorkerHandle::new(fan_out().with_name("c")),
    ];
    assert_eq!(given.each_ref().map(|handle| handle.name()), ["a", "b", "c"]);
    assert_eq!(given.map(|handle| handle.status().name), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn they_are_aborted_after_the_grace_that_they_are_given() {
    let grace = Duration::from_secs(3);
    let function = WorkerFunction::new(pending::<()>).with_grace(grace);
    let consumer = QueueConsumerWorker::new(|_: u32| pending::<()>()).with_grace(grace);
    consumer.sender().send(1).expect("it is open");
    let dispatcher = AsyncDispatcher::new();
    dispatcher.register_handler("message", |_: Arc<Message>| pending::<()>()).expect("an event");
    let fan_out = AsyncConsumer::new(dispatcher).with_grace(grace);
    fan_out.sender().send(Message).expect("it is open");
    let by_function = worker_fn(|_: WorkerContext| pending::<()>()).with_grace(grace);
    let workers = [
        WorkerHandle::new(function),
        WorkerHandle::new(consumer),
        WorkerHandle::new(fan_out),
        WorkerHandle::new(by_function),
    ];
    for handle in workers {
        ends(handle.startup()).await.expect("it starts");
        // Each has begun what never ends.
        assert!(handle.wait_timeout(Duration::from_secs(1)).await.is_none());
        let begun = Instant::now();
        let outcome = ends(handle.shutdown()).await.expect("it waits");
        assert_eq!(
            (outcome.state(), begun.elapsed()),
            (WorkerState::ForceStopped, grace),
            "{}",
            handle.name()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_no_group_is_its_own_only_worker() {
    let worker = start(Scripted::new("w", &Journal::default()).run(Act::Obey)).await.expect("it starts");
    let workers = worker.workers();
    assert_eq!(workers.iter().map(|worker| worker.name()).collect::<Vec<_>>(), ["w"]);
    assert!(workers[0].gracefully_stop());
    assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::Stopped);
}
