//! Sending to consumers through their handles, and through whatever takes messages.

mod support;

use std::{num::NonZeroUsize, sync::Arc};

use support::{Journal, ends};
use workfleet_worker_lifecycle::{
    AsyncConsumer, AsyncDispatcher, ConsumerHandle, EventMessage, MessageConsumer, MessageProducer, OnStop,
    QueueConsumer, QueueConsumerWorker, QueueSendErrorKind, QueueSender, Worker, WorkerContext, WorkerError,
    WorkerState, Workers, start, start_consumer,
};

struct Note(&'static str);

impl EventMessage for Note {
    fn event_type(&self) -> &str {
        "note"
    }
}

/// Takes messages itself.
struct Own(QueueConsumer<Note>, Journal);

impl Worker for Own {
    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        while let Some(note) = self.0.next_while_running(cx).await {
            self.1.add(note.0);
        }
        Ok(())
    }
}

impl MessageConsumer for Own {
    type Message = Note;

    fn sender(&self) -> QueueSender<Note> {
        self.0.sender()
    }
}

fn listening(
    journal: &Journal,
) -> QueueConsumerWorker<Note, impl FnMut(Note) -> std::future::Ready<()> + use<>> {
    let journal = journal.clone();
    QueueConsumerWorker::new(move |note: Note| {
        journal.add(note.0);
        std::future::ready(())
    })
    .with_on_stop(OnStop::Drain)
}

fn fanning(journal: &Journal) -> AsyncConsumer<Note> {
    let (dispatcher, journal) = (AsyncDispatcher::new(), journal.clone());
    let handler = move |note: Arc<Note>| {
        journal.add(note.0);
        std::future::ready(())
    };
    dispatcher.register_handler("note.keep", handler).expect("an event");
    AsyncConsumer::new(dispatcher).with_on_stop(OnStop::Drain)
}

fn own(journal: &Journal) -> Own {
    Own(QueueConsumer::unbounded().with_on_stop(OnStop::Drain), journal.clone())
}

async fn send_and_drain(handle: ConsumerHandle<Note>) {
    handle.send(Note("sent")).expect("it runs");
    handle.send_wait(Note("waited")).await.expect("it runs");
    assert_eq!(ends(handle.shutdown()).await.expect("it stops").state(), WorkerState::Stopped);
    let error = handle.send(Note("late")).expect_err("it has stopped");
    assert_eq!((error.kind(), error.into_message().0), (QueueSendErrorKind::Stopped, "late"));
    assert_eq!((handle.sender().leftovers().len(), handle.sender().discarded()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_handle_of_each_running_consumer_sends_to_it() {
    let journal = Journal::default();
    send_and_drain(start_consumer(listening(&journal)).await.expect("it starts")).await;
    assert_eq!(journal.take(), ["sent", "waited"]);
    send_and_drain(start_consumer(fanning(&journal)).await.expect("it starts")).await;
    assert_eq!(journal.take(), ["sent", "waited"]);
    send_and_drain(start_consumer(own(&journal)).await.expect("it starts")).await;
    assert_eq!(journal.take(), ["sent", "waited"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_a_handle_before_the_start_is_kept() {
    let journal = Journal::default();
    let handle = ConsumerHandle::new(listening(&journal));
    handle.send(Note("early")).expect("it is open");
    handle.startup().await.expect("it starts");
    ends(handle.shutdown()).await.expect("it stops");
    assert_eq!(journal.take(), ["early"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_stops_the_consumer_and_detaching_does_not() {
    let journal = Journal::default();
    let handle = start_consumer(listening(&journal)).await.expect("it starts");
    let worker = handle.worker();
    drop(handle);
    assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::Stopped);

    let handle = start_consumer(listening(&journal)).await.expect("it starts");
    let (sender, worker) = (handle.sender().clone(), handle.detach());
    sender.send(Note("to a detached one")).expect("it runs");
    assert!(worker.is_running());
    ends(worker.shutdown()).await.expect("it stops");
    assert_eq!(journal.take(), ["to a detached one"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_hands_the_message_back_through_the_handle() {
    let one = NonZeroUsize::MIN;
    let handle = ConsumerHandle::new(QueueConsumerWorker::bounded(one, |_: u8| async {}));
    handle.send(1).expect("there is room");
    let error = handle.send(2).expect_err("it is full");
    assert_eq!((error.kind(), error.into_message()), (QueueSendErrorKind::Full, 2));
}

#[tokio::test(start_paused = true)]
async fn whatever_takes_messages_is_a_producer() {
    let journal = Journal::default();
    let (listener, fan, bare) = (listening(&journal), fanning(&journal), own(&journal));
    let handle = ConsumerHandle::new(own(&journal));
    let sender = listener.sender();
    let producers: [&dyn MessageProducer<Note>; 5] = [&listener, &fan, &bare.0, &handle, &sender];
    for producer in producers {
        producer.send(Note("one")).expect("it is open");
    }
    let group = start(Workers::default().with_child(listener).with_child(fan).with_child(bare)).await;
    let group = group.expect("it starts");
    handle.startup().await.expect("it starts");
    ends(handle.shutdown()).await.expect("it stops");
    ends(group.shutdown()).await.expect("groups are not stuck");
    assert_eq!(journal.take().len(), 5);
}
