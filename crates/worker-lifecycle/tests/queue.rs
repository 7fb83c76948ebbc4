//! Queue consumers: what is sent is handled, handed back or counted, and never lost.

mod support;
#[path = "../../heartbeat/src/testing.rs"]
mod testing;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use support::{Explosive, Journal, ends, two_threads, watchdog};
use testing::cases;
use tokio::{sync::Notify, time::Instant};
use workfleet_worker_lifecycle::{
    OnStop, QueueConsumer, QueueConsumerWorker, QueueSendErrorKind, WorkerFunction, WorkerHandle,
    WorkerState, start,
};

fn bound(messages: usize) -> NonZeroUsize {
    NonZeroUsize::new(messages).expect("it is not zero")
}

/// A consumer that writes down what it is sent.
fn recorder(
    journal: &Journal,
) -> QueueConsumerWorker<u32, impl FnMut(u32) -> std::future::Ready<()> + Send + 'static> {
    let journal = journal.clone();
    QueueConsumerWorker::new(move |message: u32| {
        journal.add(message.to_string());
        std::future::ready(())
    })
}

// aio-fluid: a message sent before start is delivered, and the queue is back to 0.
#[tokio::test(start_paused = true)]
async fn what_is_sent_before_the_start_is_handled() {
    let journal = Journal::default();
    let consumer = recorder(&journal).with_on_stop(OnStop::Drain);
    let sender = consumer.sender();
    sender.send(1).expect("it is open");
    assert_eq!((consumer.queue_size(), sender.queue_size()), (1, 1));
    let worker = WorkerHandle::new(consumer);
    assert_eq!(worker.status().queue_size, Some(1));
    worker.startup().await.expect("it starts");
    sender.send(2).expect("it is open");
    ends(worker.shutdown()).await.expect("it stops");
    assert_eq!(journal.lines(), ["1", "2"]);
    assert_eq!((sender.queue_size(), worker.status().queue_size), (0, Some(0)));
}

#[test]
fn aio_fluid_fault_thread_safe_send_is_not() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 2_000;
    let _watchdog = watchdog();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::new(Notify::new());
    let (record, reached) = (Arc::clone(&seen), Arc::clone(&all));
    let consumer = QueueConsumerWorker::new(move |message: u32| {
        let mut seen = record.lock().expect("no panic");
        seen.push(message);
        if seen.len() == (SENDERS * EACH) as usize {
            reached.notify_one();
        }
        std::future::ready(())
    });
    let sender = consumer.sender();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let worker = start(consumer).await.expect("it starts");
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let sender = sender.clone();
                // Threads without any runtime.
                thread::spawn(move || {
                    (0..EACH).for_each(|n| sender.send(number * EACH + n).expect("it is open"))
                })
            })
            .collect();
        all.notified().await;
        worker.shutdown().await.expect("it stops");
        senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
    });
    let seen = seen.lock().expect("no panic").clone();
    // Each sender's messages come in its order.
    for number in 0..SENDERS {
        let of_one: Vec<u32> = seen.iter().copied().filter(|message| message / EACH == number).collect();
        assert_eq!(of_one, Vec::from_iter(number * EACH..(number + 1) * EACH));
    }
}

#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_one_handlers_error_kills_the_consumer_while_send_still_accepts() {
    let (journal, failures) = (Journal::default(), Journal::default());
    let (handled, noted) = (journal.clone(), failures.clone());
    let consumer = QueueConsumerWorker::new(move |message: u32| {
        let handled = handled.clone();
        // The third does not even return a future.
        assert_ne!(message, 3, "as told");
        async move {
            match message {
                1 => return Err("as told"),
                2 => panic!("as told"),
                _ => handled.add(message.to_string()),
            }
            Ok(())
        }
    });
    let consumer =
        consumer.with_on_stop(OnStop::Drain).with_on_failure(move |cause| noted.add(format!("{cause:?}")));
    let sender = consumer.sender();
    let worker = start(consumer).await.expect("it starts");
    (1..=4).for_each(|message| sender.send(message).expect("it is open"));
    let outcome = ends(worker.shutdown()).await.expect("it stops");
    assert_eq!(outcome.state(), WorkerState::Stopped);
    assert_eq!(journal.lines(), ["4"]);
    assert_eq!(failures.lines().len(), 3, "{:?}", failures.lines());
    assert_eq!(worker.status().details["failures"], "3");
}

#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_leftovers_are_silently_dropped() {
    for on_stop in [OnStop::Discard, OnStop::Drain, OnStop::HandBack] {
        let journal = Journal::default();
        let consumer = recorder(&journal).with_on_stop(on_stop);
        let sender = consumer.sender();
        let worker = start(consumer).await.expect("it starts");
        // Asked to stop before it has seen any of them.
        (1..=3).for_each(|message| sender.send(message).expect("it is open"));
        ends(worker.shutdown()).await.expect("it stops");
        let (handled, left) = (journal.lines().len(), Vec::from_iter(sender.leftovers()));
        match on_stop {
            OnStop::Discard => assert_eq!((handled, sender.discarded(), left), (0, 3, vec![])),
            OnStop::Drain => assert_eq!((handled, sender.discarded(), left), (3, 0, vec![])),
            OnStop::HandBack => assert_eq!((handled, sender.discarded(), left), (0, 0, vec![1, 2, 3])),
        }
        let refused = sender.send(9).expect_err("it has stopped");
        assert_eq!((refused.kind(), refused.into_message()), (QueueSendErrorKind::Stopped, 9));
        assert!(sender.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_drained_in_time_is_handed_back() {
    let consumer = QueueConsumerWorker::new(|_: u32| tokio::time::sleep(Duration::from_secs(4)));
    let consumer = consumer.with_on_stop(OnStop::Drain).with_grace(Duration::from_secs(10));
    let sender = consumer.sender();
    let worker = start(consumer).await.expect("it starts");
    (1..=5).for_each(|message| sender.send(message).expect("it is open"));
    let outcome = ends(worker.shutdown()).await.expect("it is aborted");
    assert_eq!(outcome.state(), WorkerState::ForceStopped);
    // Two were handled, the third was being handled when it was aborted.
    assert_eq!(Vec::from_iter(sender.leftovers()), [4, 5]);
    assert_eq!(worker.status().queue_size, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_was_never_started_hands_back_too() {
    let consumer = recorder(&Journal::default()).with_on_stop(OnStop::HandBack);
    let sender = consumer.sender();
    sender.send(1).expect("it is open");
    drop(WorkerHandle::new(consumer));
    assert_eq!(Vec::from_iter(sender.leftovers()), [1]);
    assert_eq!(sender.send(2).expect_err("it is gone").kind(), QueueSendErrorKind::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_hands_the_message_back_or_awaits() {
    let gate = Arc::new(Notify::new());
    let wait = Arc::clone(&gate);
    let consumer = QueueConsumerWorker::bounded(bound(2), move |_: u32| {
        let wait = Arc::clone(&wait);
        async move { wait.notified().await }
    });
    let sender = consumer.sender();
    sender.send(1).expect("there is room");
    sender.send(2).expect("there is room");
    assert_eq!(sender.send(3).expect_err("there is none").kind(), QueueSendErrorKind::Full);
    let worker = start(consumer).await.expect("it starts");
    ends(sender.send_wait(3)).await.expect("the first is being handled");
    assert_eq!(sender.send(4).expect_err("there is none").into_message(), 4);

    // A sender that waits when the consumer stops gets its message back.
    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send_wait(5).await }
    });
    tokio::task::yield_now().await;
    worker.gracefully_stop();
    gate.notify_one();
    let refused = ends(waiting).await.expect("no panic").expect_err("it has stopped");
    assert_eq!((refused.kind(), refused.into_message()), (QueueSendErrorKind::Stopped, 5));
    ends(worker.shutdown()).await.expect("it stops");
    assert_eq!(sender.discarded(), 2);
}

#[tokio::test(start_paused = true)]
async fn getting_a_message_waits_as_long_as_it_is_told() {
    let mut queue = QueueConsumer::unbounded();
    let begun = Instant::now();
    assert_eq!(queue.get_message(Duration::from_millis(500)).await, None::<u32>);
    assert_eq!(begun.elapsed().as_millis(), 500);
    queue.sender().send(7).expect("it is open");
    assert_eq!(queue.get_message(Duration::ZERO).await, Some(7));
    queue.close();
    assert_eq!(ends(queue.next()).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_never_empty_lets_others_run() {
    let consumer = QueueConsumerWorker::new(|_: u32| std::future::ready(()));
    let sender = consumer.sender();
    (0..100_000).for_each(|message| sender.send(message).expect("it is open"));
    let worker = start(consumer).await.expect("it starts");
    tokio::task::yield_now().await;
    // This runs before the queue is empty, and the stop is seen at once.
    worker.gracefully_stop();
    ends(worker.wait_for_shutdown()).await;
    assert!(sender.discarded() > 50_000, "{}", sender.discarded());
}

#[tokio::test(start_paused = true)]
async fn a_worker_function_calls_and_sleeps_until_it_is_stopped() {
    let journal = Journal::default();
    for (heartbeat, calls) in [(Duration::from_secs(10), 3), (Duration::from_secs(3600), 1)] {
        let noted = journal.clone();
        let function = WorkerFunction::new(move || {
            noted.add("called");
            std::future::ready(())
        });
        let worker = start(function.with_interval(heartbeat)).await.expect("it starts");
        assert!(worker.wait_timeout(Duration::from_secs(25)).await.is_none());
        let begun = Instant::now();
        ends(worker.shutdown()).await.expect("it stops");
        // The stop interrupts the sleep.
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(journal.take().len(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_function_without_interval_lets_others_run_and_fails_with_its_error() {
    let mut left = 1_000;
    let function = WorkerFunction::new(move || {
        left -= 1;
        std::future::ready(if left == 0 { Err("as told") } else { Ok(()) })
    });
    let worker = start(function).await.expect("it starts");
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!(outcome.into_result().expect_err("it failed").to_string(), "run failed: as told");
}

/// What happens to a queue, step by step.
#[derive(Clone, Debug)]
enum Step {
    Send,
    SendWait,
    Yield,
    Stop,
    Abort,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Send),
        4 => Just(Step::SendWait),
        4 => Just(Step::Yield),
        1 => Just(Step::Stop),
        1 => Just(Step::Abort),
    ];
    prop::collection::vec(step, 0..40)
}

/// Runs the steps, then stops the consumer, and returns where every message went.
async fn where_messages_go(steps: &[Step], on_stop: OnStop, bounded: Option<usize>) {
    let begun = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&begun);
    let handle_one = move |message: u32| {
        record.lock().expect("no panic").push(message);
        async move {
            // Some take longer than others, some are slow.
            for _ in 0..message % 3 {
                tokio::task::yield_now().await;
            }
            if message.is_multiple_of(5) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    let consumer = match bounded {
        None => QueueConsumerWorker::new(handle_one),
        Some(messages) => QueueConsumerWorker::bounded(bound(messages), handle_one),
    };
    let consumer = consumer.with_on_stop(on_stop).with_grace(Duration::from_secs(2));
    let sender = consumer.sender();
    let worker = start(consumer).await.expect("it starts");
    let (mut sent, mut seen, mut waiting) = (0, Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Send => {
                sent += 1;
                seen.extend(sender.send(sent).err().map(|refused| refused.into_message()));
            }
            Step::SendWait => {
                sent += 1;
                let (sender, message) = (sender.clone(), sent);
                waiting.push(tokio::spawn(async move { sender.send_wait(message).await }));
            }
            Step::Yield => tokio::task::yield_now().await,
            Step::Stop => drop(worker.gracefully_stop()),
            Step::Abort => worker.abort(),
        }
    }
    ends(worker.shutdown()).await.expect("nobody blocks");
    for waiting in waiting {
        seen.extend(ends(waiting).await.expect("no panic").err().map(|refused| refused.into_message()));
    }
    seen.extend(begun.lock().expect("no panic").iter());
    seen.extend(sender.leftovers());
    let discarded = sender.discarded();
    seen.sort_unstable();
    let distinct = {
        let mut distinct = seen.clone();
        distinct.dedup();
        distinct.len()
    };
    assert_eq!(seen.len(), distinct, "a message went two ways");
    assert_eq!(seen.len() + discarded, sent as usize, "a message was lost");
    if on_stop != OnStop::Discard {
        assert_eq!(discarded, 0);
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_send_that_races_the_stop_is_handled_handed_back_or_counted(
        steps in steps(),
        on_stop in prop_oneof![Just(OnStop::Discard), Just(OnStop::Drain), Just(OnStop::HandBack)],
        bounded in prop::option::of(1_usize..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(where_messages_go(&steps, on_stop, bounded));
    }
}

#[test]
fn a_send_on_another_thread_that_races_the_stop_is_handled_handed_back_or_counted() {
    let _watchdog = watchdog();
    let runtime = two_threads();
    for on_stop in [OnStop::Discard, OnStop::Drain, OnStop::HandBack].repeat(30) {
        let journal = Journal::default();
        let consumer = recorder(&journal).with_on_stop(on_stop);
        let sender = consumer.sender();
        let racing = sender.clone();
        // Sends until it is refused: so some were sent, and one came back.
        let racer = thread::spawn(move || (0..).take_while(|message| racing.send(*message).is_ok()).count());
        runtime.block_on(async {
            let worker = start(consumer).await.expect("it starts");
            worker.shutdown().await.expect("it stops");
        });
        let sent = racer.join().expect("no panic");
        assert_eq!(journal.lines().len() + sender.leftovers().len() + sender.discarded(), sent);
    }
}

/// A second panic while the first goes on ends the program.
#[tokio::test(start_paused = true)]
async fn messages_that_panic_when_they_are_dropped_are_discarded_all_the_same() {
    let consumer = QueueConsumerWorker::new(|_: Explosive| async {}).with_on_stop(OnStop::Discard);
    let sender = consumer.sender();
    let worker = start(consumer).await.expect("it starts");
    for _ in 0..3 {
        sender.send(Explosive).map_err(std::mem::forget).expect("it is open");
    }
    worker.gracefully_stop();
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), sender.discarded()), (WorkerState::Stopped, 3));
}
