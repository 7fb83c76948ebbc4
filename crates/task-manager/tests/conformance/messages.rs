//! What tasks say while they run, in which order they run, and that nobody waits for anybody who waits for them.

use std::{
    collections::{HashMap, HashSet},
    fs::read_to_string,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, EncodedMessage, FailureCause, ManagerExt, MessageError, MessageSendError, NoMessage,
    Priority, Proxy, Registry, Task, TaskContext, TaskError, TaskMessage, TaskSpec,
};

use crate::{
    Manager, builder,
    support::{
        all_ready, alone, assert_balanced,
        tasks::{Fail, Gate, Mark, Say, Text, next_text},
        until,
    },
};

const NORMAL: Priority = Priority(1);
const URGENT: Priority = Priority(0);

/// A message that counts.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count(u32);

impl TaskMessage for Count {
    const NAME: &'static str = "count";
}

/// Another type of the same name, which no [`Text`] decodes as.
#[derive(Debug, Serialize, Deserialize)]
struct NoText(bool, bool);

impl TaskMessage for NoText {
    const NAME: &'static str = Text::NAME;
}

/// Sends the numbers below its own.
#[derive(Debug, Serialize, Deserialize)]
struct CountTo(u32);

impl TaskSpec for CountTo {
    const NAME: &'static str = "count-to";
    type Output = ();
}

impl Task for CountTo {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok((0..self.0).try_for_each(|n| cx.send_message(&Count(n)))?)
    }
}

/// Says its depth and schedules three of the next lower one.
#[derive(Debug, Serialize, Deserialize)]
struct Tree(u32);

impl TaskSpec for Tree {
    const NAME: &'static str = "tree";
    type Output = ();
}

impl Task for Tree {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Count(self.0))?;
        if let Some(depth) = self.0.checked_sub(1) {
            (0..3).try_for_each(|_| cx.schedule_with(Tree(depth), NORMAL))?;
        }
        Ok(())
    }
}

/// The proxy of a task that has ended.
static LEFT: Mutex<Option<Proxy>> = Mutex::new(None);

/// Sends from another thread, and leaves its proxy to whoever comes after it on this worker.
#[derive(Debug, Serialize, Deserialize)]
struct LeaveProxy;

impl TaskSpec for LeaveProxy {
    const NAME: &'static str = "leave-proxy";
    type Output = ();
}

impl Task for LeaveProxy {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let proxy = cx.proxy();
        *LEFT.lock().map_err(|error| error.to_string())? = Some(proxy.clone());
        let thread = thread::spawn(move || {
            proxy.send_message(&Count(1))?;
            proxy.schedule_with(CountTo(1), URGENT)?;
            Ok::<_, TaskError>(())
        });
        thread.join().map_err(|_panic| "the thread panicked")??;
        Ok(())
    }
}

/// Uses what [`LeaveProxy`] left; says what became of a message and of a task.
#[derive(Debug, Serialize, Deserialize)]
struct UseProxy;

impl TaskSpec for UseProxy {
    const NAME: &'static str = "use-proxy";
    type Output = (String, String);
}

impl Task for UseProxy {
    fn run(self, _cx: &TaskContext) -> Result<(String, String), TaskError> {
        let left = LEFT.lock().map_err(|error| error.to_string())?.take().ok_or("nothing was left")?;
        let sent = match left.send_message(&Count(9)) {
            Err(MessageSendError::AttemptEnded) => "attempt ended".to_owned(),
            other => format!("{other:?}"),
        };
        let scheduled =
            format!("{:?}", left.schedule_with(CountTo(9), NORMAL).map_err(|error| error.into_task().0));
        left.flush()?;
        Ok((sent, scheduled))
    }
}

/// Sends a kilobyte so many times, says so, and waits to be cancelled.
#[derive(Debug, Serialize, Deserialize)]
struct Flood {
    kilobytes: u32,
}

impl TaskSpec for Flood {
    const NAME: &'static str = "flood";
    type Output = u32;
}

impl Task for Flood {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        let message = Text("x".repeat(1000));
        (0..self.kilobytes).try_for_each(|_| cx.send_message(&message))?;
        Ok(self.kilobytes)
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<CountTo>().task::<Tree>().task::<LeaveProxy>().task::<UseProxy>().task::<Flood>()
}

fn start(workers: usize) -> Manager {
    builder(workers).start().expect("it starts")
}

fn join(manager: &Manager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

/// All the counts that are in the inbox until every task has ended.
fn counts(manager: &Manager) -> Vec<u32> {
    manager.messages::<Count>().map(|message| message.expect("it is a message").content.0).collect()
}

#[test]
fn the_messages_of_a_task_come_in_order_and_name_it() {
    let _alone = alone();
    let manager = start(2);
    for _ in 0..5 {
        manager.schedule_with(CountTo(2000), NORMAL).expect("it is taken");
    }
    let handle = manager.submit(CountTo(2000)).expect("it is taken");
    let mut next = HashMap::new();
    for message in manager.messages::<Count>() {
        let message = message.expect("it is a message");
        let next = next.entry(message.task.expect("a task sent it")).or_insert(0);
        assert_eq!((message.content.0, message.attempt), (*next, 1));
        *next += 1;
    }
    assert_eq!(next.len(), 6);
    assert!(next.values().all(|&count| count == 2000));
    assert!(next.contains_key(&handle.id()));
    join(&manager);
}

#[test]
fn the_messages_of_no_task_end_at_once() {
    let _alone = alone();
    let manager = start(1);
    assert!(manager.messages::<Text>().next().is_none());
    manager.send_message(&Text("to myself".into())).expect("it is sent");
    let own = manager.messages::<Text>().next().expect("one is there").expect("it is a message");
    assert_eq!((own.content.0.as_str(), own.task, own.attempt), ("to myself", None, 0));
    assert!(manager.messages::<Text>().next().is_none());
    join(&manager);
}

#[test]
fn the_messages_end_after_the_last_child_of_a_child() {
    let _alone = alone();
    let manager = start(2);
    for _ in 0..3 {
        manager.schedule_with(Tree(5), NORMAL).expect("it is taken");
        let mut by_depth = [0; 6];
        counts(&manager).into_iter().for_each(|depth| by_depth[depth as usize] += 1);
        assert_eq!(by_depth, [243, 81, 27, 9, 3, 1]);
        assert_eq!(manager.stats().tasks.pending, 0);
    }
    join(&manager);
}

#[test]
fn the_loop_over_the_messages_may_schedule_more() {
    let _alone = alone();
    let manager = start(2);
    manager.schedule_with(Say { text: "s".into(), times: 1 }, NORMAL).expect("it is taken");
    let mut longest = 0;
    for message in manager.messages::<Text>() {
        let text = message.expect("it is a message").content.0;
        longest = longest.max(text.len());
        if text.len() < 200 {
            manager.schedule_with(Say { text: text + "s", times: 1 }, NORMAL).expect("it is taken");
        }
    }
    assert_eq!(longest, 200);
    join(&manager);
}

#[test]
fn each_failure_of_a_scheduled_task_comes_once_and_that_of_a_submitted_one_only_to_its_handle() {
    let _alone = alone();
    let manager = start(2);
    let handles: Vec<_> = (0..50).map(|n| manager.submit(Fail(1000 + n)).expect("it is taken")).collect();
    (0..200).for_each(|n| manager.schedule_with(Fail(n), NORMAL).expect("it is taken"));
    let mut failures = HashSet::new();
    for item in manager.messages::<NoMessage>() {
        let Err(MessageError::Failed(failure)) = item else { panic!("{item:?}") };
        let FailureCause::Error { chain, .. } = &failure.cause else { panic!("{failure}") };
        assert!(failures.insert(chain[0].clone()), "{failure} came twice");
    }
    assert_eq!(failures, (0..200).map(|n| format!("failure {n}")).collect());
    for (n, handle) in handles.into_iter().enumerate() {
        assert!(handle.wait().expect_err("it fails").to_string().contains(&format!("failure {}", 1000 + n)));
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.failed, report.failures.len()), (250, 0));
}

#[test]
fn a_message_that_its_reader_does_not_know_is_an_error_of_that_one_item() {
    let _alone = alone();
    let manager = start(1);
    let unknown = manager.submit(CountTo(1)).expect("it is taken");
    let known = manager.submit(Say { text: "\u{7f}".into(), times: 1 }).expect("it is taken");
    let ids = [unknown.id(), known.id()];
    unknown.wait().expect("it is done");
    known.wait().expect("it is done");
    manager.send_message(&Text("\u{7f}".into())).expect("it is sent");
    manager.send_message(&NoText(true, false)).expect("it is sent");

    let mut items = manager.messages::<NoText>();
    match items.next().expect("the first") {
        Err(MessageError::Unexpected { message, expected, .. }) => {
            assert_eq!((expected, message.task, message.attempt), ("text", Some(ids[0]), 1));
            // Nothing of it is lost.
            assert_eq!(message.decode::<Count>().expect("it is one").content, Count(0));
        }
        other => panic!("{other:?}"),
    }
    match items.next().expect("the second") {
        Err(error @ MessageError::Malformed { .. }) => {
            let message = error.into_message().expect("it is handed back");
            assert_eq!(message.task, Some(ids[1]));
            assert_eq!(message.decode::<Text>().expect("it is one").content.0, "\u{7f}");
        }
        other => panic!("{other:?}"),
    }
    let third = items.next().expect("the third").expect_err("it is no such message");
    assert_eq!(third.into_message().expect("it is handed back").task, None);
    assert!(items.next().expect("the last").expect("it decodes").content.0);
    assert!(items.next().is_none());
    join(&manager);
}

#[test]
fn a_reader_of_any_message_gets_all_with_their_names_and_bytes_and_decodes_as_asked() {
    let _alone = alone();
    let manager = start(1);
    let tasks = [
        manager.submit(CountTo(1)).expect("it is taken"),
        manager.submit(Say { text: "said".into(), times: 1 }).expect("it is taken"),
    ];
    let ids = tasks.map(|task| {
        let id = task.id();
        task.wait().expect("it is done");
        id
    });
    manager.schedule_with(Fail(7), NORMAL).expect("it is taken");

    let mut items = manager.messages::<EncodedMessage>();
    let first = items.next().expect("one is there").expect("it is a message");
    assert_eq!((first.content.name(), first.content.as_bytes()), ("count", &[0][..]));
    assert_eq!((first.task, first.attempt), (Some(ids[0]), 1));
    // Asked for as another type, it comes back; then it decodes.
    let Err(MessageError::Unexpected { message, expected: "text", .. }) = first.decode::<Text>() else {
        panic!("it is no text");
    };
    assert_eq!(message.decode::<Count>().expect("it is one").content, Count(0));
    let second = items.next().expect("one is there").expect("it is a message");
    assert_eq!(second.task, Some(ids[1]));
    // Of its name, but another type.
    let Err(error @ MessageError::Malformed { .. }) = second.decode::<NoText>() else { panic!("it is none") };
    let second = error.into_message().expect("it is handed back");
    assert_eq!(second.decode::<Text>().expect("it is one").content.0, "said");
    assert!(matches!(items.next(), Some(Err(MessageError::Failed(_)))));
    assert!(items.next().is_none());
    join(&manager);
}

#[test]
fn readers_by_type_and_of_any_message_take_nothing_from_one_another() {
    let _alone = alone();
    let manager = start(1);
    let send = |n: u32| {
        manager.send_message(&Count(n)).expect("it is sent");
        manager.send_message(&Text(n.to_string())).expect("it is sent");
    };
    let mut counts = manager.messages::<Count>();
    // While there is no reader of any, what nobody claims is for every reader.
    send(0);
    assert_eq!(counts.next().expect("one is there").expect("it is one").content, Count(0));
    let other = counts.next().expect("one is there").expect_err("it is no count");
    assert_eq!(other.into_message().expect("it is handed back").content.name(), "text");
    // From now on it is for those, also while none of them is open.
    drop(manager.messages::<EncodedMessage>());
    send(1);
    assert_eq!(counts.next().expect("one is there").expect("it is one").content, Count(1));
    assert!(counts.next().is_none());
    let mut any = manager.messages::<EncodedMessage>();
    assert_eq!(any.next().expect("one is there").expect("it is one").content.name(), "text");
    assert!(any.next().is_none());
    // A type that is claimed is so for good.
    drop(counts);
    send(2);
    assert_eq!(any.next().expect("one is there").expect("it is one").content.name(), "text");
    assert!(any.next().is_none());
    let left = manager.messages::<Count>().next().expect("one is there").expect("it is one");
    assert_eq!(left.content, Count(2));
    join(&manager);
}

#[test]
fn reading_by_blocking_is_refused_where_a_runtime_polls_and_works_on_its_threads_for_blocking() {
    let _alone = alone();
    let manager = Arc::new(start(1));
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let current = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for runtime in [&multi, &current] {
        manager.submit(CountTo(3)).expect("it is taken").wait().expect("it is done");
        runtime.block_on(async {
            let mut items = manager.messages::<Count>();
            assert!(matches!(items.next(), Some(Err(MessageError::InsideRuntime))));
            assert!(items.next().is_none());
            assert!(items.next().is_none());
        });
        // Nothing was lost.
        let reads = Arc::clone(&manager);
        let read = tokio::task::spawn_blocking;
        let read = runtime.block_on(async { read(move || counts(&reads)).await.expect("it does not panic") });
        assert_eq!(read, [0, 1, 2]);
    }
    manager.submit(CountTo(3)).expect("it is taken").wait().expect("it is done");
    let in_place = multi.block_on(async { tokio::task::block_in_place(|| counts(&manager)) });
    assert_eq!(in_place, [0, 1, 2]);
    join(&manager);
}

#[test]
fn a_stream_of_messages_can_be_dropped_and_made_again() {
    let _alone = alone();
    let manager = start(2);
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let current = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for runtime in [multi, current] {
        runtime.block_on(async {
            let gate = manager.submit(Gate::Finish).expect("it is taken");
            manager.schedule_with(CountTo(1000), NORMAL).expect("it is taken");
            let (mut seen, mut begun) = (Vec::new(), 0);
            while seen.len() < 1000 || begun < 1 {
                // A stream of its own for each.
                match manager.message_stream::<Count>().next().await.expect("the gate is pending") {
                    Ok(message) => seen.push(message.content.0),
                    Err(MessageError::Unexpected { .. }) => begun += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(seen, (0..1000).collect::<Vec<_>>());
            // One that waits is dropped; what comes afterwards is not lost with it.
            let mut waiting = manager.message_stream::<Count>();
            assert!(waiting.next().now_or_never().is_none());
            drop(waiting);
            manager.schedule_with(CountTo(1), NORMAL).expect("it is taken");
            let mut stream = manager.message_stream::<Count>();
            assert_eq!(stream.next().await.expect("one is sent").expect("a message").content, Count(0));
            gate.cancel();
            gate.await.expect("it finishes");
            assert!(stream.next().await.is_none());
            assert!(stream.next().await.is_none());
        });
    }
    join(&manager);
}

#[test]
fn two_readers_share_the_messages_and_both_see_the_end() {
    let _alone = alone();
    let manager = start(2);
    for _ in 0..20 {
        (0..4).for_each(|_| manager.schedule_with(CountTo(250), NORMAL).expect("it is taken"));
        let (mut one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let stream = manager.message_stream::<Count>();
                let counts = stream.map(|message| message.expect("it is a message").content.0);
                runtime.block_on(counts.collect::<Vec<_>>())
            });
            (counts(&manager), other.join().expect("it does not panic"))
        });
        one.extend(other);
        one.sort_unstable();
        assert_eq!(one, (0..1000).map(|n| n / 4).collect::<Vec<_>>());
    }
    join(&manager);
}

#[test]
fn readers_of_several_types_take_nothing_from_one_another() {
    let _alone = alone();
    let manager = start(2);
    for lasts in [false, true] {
        let texts = if lasts { manager.messages_until_close::<Text>() } else { manager.messages() };
        let counts =
            if lasts { manager.message_stream_until_close::<Count>() } else { manager.message_stream() };
        let failures = if lasts { manager.messages_until_close::<NoMessage>() } else { manager.messages() };
        for n in 0..20 {
            manager.schedule_with(Say { text: "said".into(), times: 50 }, NORMAL).expect("it is taken");
            manager.schedule_with(CountTo(50), NORMAL).expect("it is taken");
            manager.schedule_with(Fail(n), NORMAL).expect("it is taken");
        }
        thread::scope(|scope| {
            let texts = scope.spawn(move || texts.inspect(|item| assert!(item.is_ok())).count());
            let counts = scope.spawn(move || {
                let counts = counts.map(|item| item.expect("a count").content.0);
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(counts.collect::<Vec<_>>()).len()
            });
            let failures = scope.spawn(move || {
                failures.inspect(|item| assert!(matches!(item, Err(MessageError::Failed(_))))).count()
            });
            if lasts {
                join(&manager);
            }
            let read = [texts, counts, failures].map(|reader| reader.join().expect("it does not panic"));
            assert_eq!(read, [1000, 1000, 20]);
        });
    }
}

#[test]
fn a_reader_that_lasts_is_there_before_the_work_and_ends_with_the_manager() {
    let _alone = alone();
    let manager = start(2);
    let read = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            manager
                .messages_until_close::<Count>()
                .map(|item| item.expect("a count").content.0)
                .collect::<Vec<_>>()
        });
        for _ in 0..3 {
            manager.submit(CountTo(100)).expect("it is taken").wait().expect("it is done");
            until(|| manager.stats().inbox == 0);
        }
        // Nothing is pending, and it lasts.
        assert!(!reader.is_finished());
        manager.close(ClosePolicy::Join).expect("it closes");
        reader.join().expect("it does not panic")
    });
    assert_eq!(read, (0..3).flat_map(|_| 0..100).collect::<Vec<_>>());
    assert!(manager.messages_until_close::<Count>().next().is_none(), "it has closed");
}

/// A service whose reader ended with the first task stalled for good, once the inbox was full.
#[test]
fn a_service_whose_inbox_is_read_goes_on_beyond_the_limit() {
    let _alone = alone();
    let manager = builder(2).inbox_limit(4096).start().expect("it starts");
    thread::scope(|scope| {
        let reader =
            scope.spawn(|| manager.messages_until_close::<Text>().filter(|item| item.is_ok()).count());
        for _ in 0..100 {
            let said = manager.submit(Say { text: "x".repeat(1000), times: 3 }).expect("it is taken");
            said.wait().expect("it is done");
        }
        join(&manager);
        assert_eq!(reader.join().expect("it does not panic"), 300);
    });
}

#[test]
fn every_close_leaves_to_a_reader_that_lasts_what_it_takes_and_reports_the_rest() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager = start(1);
        // It is held by the thread that closes, and read afterwards only.
        let mut texts = manager.messages_until_close::<Text>();
        drop(manager.message_stream::<Count>());
        for task in 0..3 {
            let said = manager.submit(Say { text: format!("{task}"), times: 2 }).expect("it is taken");
            said.wait().expect("it is done");
            manager.submit(CountTo(5)).expect("it is taken").wait().expect("it is done");
        }
        let report = manager.close(policy).expect("it closes");
        assert_balanced(&report);
        assert_eq!(report.unread_messages, 15, "{policy:?}");
        let read: Vec<_> = texts.by_ref().map(|item| item.expect("a text").content.0).collect();
        assert_eq!(read, ["0", "0", "1", "1", "2", "2"]);
        assert!(texts.next().is_none());
    }
}

#[test]
fn join_does_not_hang_for_a_reader_that_is_open_and_not_read() {
    let _alone = alone();
    let manager = builder(1).inbox_limit(4096).grace(Duration::from_millis(20)).start().expect("it starts");
    let texts = manager.messages_until_close::<Text>();
    for _ in 0..20 {
        manager.schedule_with(Say { text: "x".repeat(1000), times: 3 }, NORMAL).expect("it is taken");
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.tasks.done, 20);
    // Whatever was left to it is still there, and nothing is counted twice.
    let left = texts.filter(Result::is_ok).count() as u64;
    assert_eq!(report.unread_messages + left, 60);
}

#[test]
fn a_full_inbox_shows_in_the_statistics_until_it_is_read() {
    let _alone = alone();
    let manager = builder(1).inbox_limit(4096).start().expect("it starts");
    assert!(!manager.stats().inbox_full);
    let said = manager.submit(Say { text: "x".repeat(1000), times: 5 }).expect("it is taken");
    said.wait().expect("it is done");
    assert!(manager.stats().inbox_full);
    let waits = manager.submit(CountTo(1)).expect("it is taken");
    until(|| manager.stats().queued == 1);
    let mut texts = manager.messages::<Text>();
    (0..5).for_each(|_| drop(texts.next().expect("one is there").expect("a text")));
    waits.wait().expect("it is done");
    assert!(!manager.stats().inbox_full);
    join(&manager);
}

#[test]
fn a_proxy_sends_from_any_thread_and_only_while_its_attempt_lasts() {
    let _alone = alone();
    let manager = start(1);
    manager.submit(LeaveProxy).expect("it is taken").wait().expect("it is done");
    let (sent, scheduled) = manager.submit(UseProxy).expect("it is taken").wait().expect("it is done");
    assert_eq!((sent.as_str(), scheduled.as_str()), ("attempt ended", "Err(9)"));
    let mut counts = counts(&manager);
    counts.sort_unstable();
    assert_eq!(counts, [0, 1], "the message and that of the scheduled task");
    join(&manager);
}

#[test]
fn a_full_inbox_pauses_dispatching_and_holds_up_nothing_that_runs() {
    let _alone = alone();
    let limit_bytes = 16 * 1024;
    let manager = builder(2).inbox_limit(limit_bytes).start().expect("it starts");
    // Far more than the limit, than the socket and than the worker's own buffer: they end although nobody reads.
    let floods: Vec<_> =
        (0..2).map(|_| manager.submit(Flood { kilobytes: 4000 }).expect("it is taken")).collect();
    // One may have found the inbox full: it is begun when there is room again, which nobody makes yet.
    until(|| floods.iter().any(|flood| flood.is_finished()));
    let paused = manager.submit(CountTo(1)).expect("it is taken");
    until(|| {
        let stats = manager.stats();
        stats.tasks.done + stats.queued as u64 == 3
    });
    assert!(!paused.is_finished());
    let (mut texts, mut counts) = (0, 0);
    for item in manager.messages::<Text>() {
        match item {
            Ok(_) => texts += 1,
            Err(MessageError::Unexpected { .. }) => counts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((texts, counts), (8000, 1));
    floods.into_iter().for_each(|flood| assert_eq!(flood.wait().expect("it is done"), 4000));
    paused.wait().expect("it is done");
    join(&manager);
}

#[test]
fn an_inbox_of_any_limit_lets_everything_through_that_is_read() {
    let _alone = alone();
    for limit_bytes in [0, 1, 500, 5000] {
        let manager = builder(2).inbox_limit(limit_bytes).start().expect("it starts");
        for n in 0..200 {
            manager.schedule_with(Say { text: "x".repeat(n * 7), times: 3 }, NORMAL).expect("it is taken");
            manager.schedule_with(Fail(1), NORMAL).expect("it is taken");
        }
        manager.schedule_with(Tree(4), NORMAL).expect("it is taken");
        let (mut texts, mut counts, mut failures) = (0, 0, 0);
        for item in manager.messages::<Text>() {
            match item {
                Ok(_) => texts += 1,
                Err(MessageError::Unexpected { .. }) => counts += 1,
                Err(MessageError::Failed(_)) => failures += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((texts, counts, failures), (600, 121, 200), "with {limit_bytes} bytes");
        join(&manager);
    }
}

#[test]
fn a_result_arrives_while_the_next_task_of_its_worker_blocks() {
    let _alone = alone();
    let manager = start(1);
    for _ in 0..30 {
        let quick = manager.submit(CountTo(0)).expect("it is taken");
        let gate = manager.submit(Gate::Finish).expect("it is taken");
        quick.wait().expect("it is done although the gate is shut");
        assert_eq!(next_text(&manager), "begun");
        gate.cancel();
        gate.wait().expect("it finishes");
    }
    join(&manager);
}

#[test]
fn messages_arrive_while_their_task_runs() {
    let _alone = alone();
    let manager = start(1);
    let gate = manager.submit(Gate::Finish).expect("it is taken");
    // The gate neither flushes nor ends.
    assert_eq!(next_text(&manager), "begun");
    assert!(!gate.is_finished());
    gate.cancel();
    gate.wait().expect("it finishes");
    join(&manager);
}

/// Marks of several levels, scheduled behind a gate; in which order they were run.
fn order_behind_a_gate(levels: &[(u8, u32)], learnt: bool, stalled: bool) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("marks");
    let manager = builder(1).priority_levels(2).start().expect("it starts");
    let mark = |line: String| Mark { file: file.clone(), line };
    if learnt {
        // That a mark is short: then many are handed out together.
        let first = Mark { file: "/dev/null".into(), line: String::new() };
        manager.submit(first).expect("it is taken").wait().expect("it is done");
    }
    let gate = manager.submit_with(Gate::Finish, Priority(0)).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    let last = levels.len() - 1;
    for (place, &(level, count)) in levels.iter().enumerate() {
        if place == last && stalled {
            until(|| manager.stats().workers[0].in_flight == 1);
        }
        for n in 0..count {
            manager.schedule_with(mark(format!("{level}.{n}")), Priority(level)).expect("it is taken");
        }
    }
    gate.cancel();
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.tasks.failed, 0);
    read_to_string(&file).expect("marks").lines().map(str::to_owned).collect()
}

/// Compares two long lists; says where they part.
fn assert_same(found: &[String], expected: &[String], what: &str) {
    let parting = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(place) = parting {
        let end = (place + 5).min(found.len());
        panic!("{what}: at {place} {:?}, not {:?}", &found[place..end], expected[place]);
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

fn lines(level: u8, count: u32) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{level}.{n}"))
}

#[test]
fn urgent_tasks_overtake_and_those_of_one_level_keep_their_order() {
    let _alone = alone();
    for (learnt, stalled) in [(false, false), (true, false), (false, true), (true, true)] {
        let order = order_behind_a_gate(&[(1, 300), (0, 300)], learnt, stalled);
        let expected: Vec<_> = (0..2).flat_map(|level| lines(level, 300)).collect();
        assert_same(&order, &expected, &format!("learnt: {learnt}, stalled: {stalled}"));
    }
}

#[test]
fn one_worker_runs_the_tasks_of_one_level_in_the_order_they_were_scheduled_in() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("marks");
    let manager = start(1);
    for n in 0..3000_u32 {
        manager.schedule_with(Mark { file: file.clone(), line: n.to_string() }, NORMAL).expect("it is taken");
    }
    join(&manager);
    let order: Vec<_> = read_to_string(&file).expect("marks").lines().map(str::to_owned).collect();
    let expected: Vec<_> = (0..3000_u32).map(|n| n.to_string()).collect();
    assert_same(&order, &expected, "all of one level");
}

#[test]
fn tasks_behind_one_that_blocks_are_run_by_another_worker() {
    let _alone = alone();
    let manager = start(2);
    all_ready(&manager, 2);
    for round in 0..10 {
        let gate = manager.submit(Gate::Finish).expect("it is taken");
        let behind: Vec<_> = (0..100).map(|_| manager.submit(CountTo(0)).expect("it is taken")).collect();
        behind.into_iter().for_each(|task| task.wait().expect("it is done although the gate is shut"));
        assert!(!gate.is_finished(), "round {round}");
        // It may not even have begun, if the others were faster.
        assert_eq!(next_text(&manager), "begun");
        gate.cancel();
        gate.wait().expect("it finishes");
    }
    join(&manager);
}

#[test]
fn a_reader_that_waits_sees_the_end_when_another_thread_closes() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager = start(1);
        let gate = manager.submit(Gate::Finish).expect("it is taken");
        thread::scope(|scope| {
            let (tell, begun) = mpsc::channel();
            let reader = scope.spawn(|| {
                let tell = tell;
                for message in manager.messages::<Text>() {
                    let _ = tell.send(message);
                }
            });
            begun.recv().expect("it reads").expect("it is a message");
            if policy == ClosePolicy::Join {
                gate.cancel();
            }
            manager.close(policy).expect("it closes");
            reader.join().expect("it ends");
        });
    }
}
