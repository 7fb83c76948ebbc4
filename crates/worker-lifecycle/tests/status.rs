//! What a worker says about itself: its state, by name and by predicate, and its status.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use support::{Act, Journal, Scripted, ends};
use tokio::sync::Notify;
use workfleet_worker_lifecycle::{
    AsyncConsumer, AsyncDispatcher, Backoff, ChildSpec, EventMessage, QueueConsumer, QueueConsumerWorker,
    RestartStrategy, Status, StatusReason, StatusSource, StoppedBy, Worker, WorkerContext, WorkerError,
    WorkerHandle, WorkerRef, WorkerState, Workers, start,
};

fn of_handle(handle: &WorkerHandle) -> [bool; 4] {
    [handle.has_started(), handle.is_running(), handle.is_stopping(), handle.is_stopped()]
}

fn of_context(cx: &WorkerContext) -> [bool; 4] {
    [cx.has_started(), cx.is_running(), cx.is_stopping(), cx.is_stopped()]
}

fn of_state(state: WorkerState) -> [bool; 4] {
    [state.has_started(), state.is_running(), state.is_stopping(), state.is_stopped()]
}

#[tokio::test(start_paused = true)]
async fn handle_context_and_state_answer_the_same_four_questions() {
    let (kept, gate) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
    let handle = WorkerHandle::new({
        let (kept, gate) = (Arc::clone(&kept), Arc::clone(&gate));
        |cx: WorkerContext| async move {
            *kept.lock().expect("it is whole") = Some(cx.clone());
            cx.stopping().await;
            gate.notified().await;
        }
    });
    assert_eq!(of_handle(&handle), [false, false, false, false]);
    handle.startup().await.expect("it starts");
    tokio::task::yield_now().await;
    let cx: WorkerContext = kept.lock().expect("it is whole").clone().expect("it runs");
    assert_eq!(
        (of_handle(&handle), of_context(&cx)),
        ([true, true, false, false], [true, true, false, false])
    );
    assert!(handle.gracefully_stop());
    assert_eq!(
        (of_handle(&handle), of_context(&cx)),
        ([true, false, true, false], [true, false, true, false])
    );
    gate.notify_one();
    ends(handle.wait_for_shutdown()).await;
    assert_eq!(of_handle(&handle), [true, false, false, true]);
    assert_eq!(of_handle(&handle), of_state(handle.state()));
    // What a worker leaves behind is to stop as well.
    assert_eq!(of_context(&cx), [true, false, true, true]);
}

#[cfg(feature = "serde")]
#[test]
fn a_state_is_serialised_as_it_is_written() {
    for state in WorkerState::ALL {
        let json = serde_json::to_string(&state).expect("it is serialised");
        assert_eq!(json, format!("\"{state}\""));
        assert_eq!(serde_json::from_str::<WorkerState>(&json).expect("it is read"), state);
        assert_eq!(json.trim_matches('"').parse::<WorkerState>(), Ok(state));
    }
}

fn says_mood(status: &mut Status) {
    status.details.insert("mood".into(), "fine".into());
    // It knows nothing of the queue.
    status.queue_size = None;
}

/// Takes messages itself, and says something about itself as well.
struct Moody(QueueConsumer<u8>);

impl Worker for Moody {
    fn status(&self) -> Option<Arc<dyn StatusSource>> {
        Some(Arc::new(says_mood))
    }

    fn queue(&self) -> Option<Arc<dyn StatusSource>> {
        Some(self.0.status())
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        cx.stopping().await;
        Ok(())
    }
}

struct Note;

impl EventMessage for Note {
    fn event_type(&self) -> &str {
        "note"
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_with_a_status_of_its_own_keeps_its_queue_size() {
    let queue = QueueConsumer::unbounded();
    queue.sender().send(1).expect("it is open");
    let own = WorkerHandle::new(Moody(queue));

    let ready = QueueConsumerWorker::new(|_: u8| async {}).with_status(says_mood);
    ready.sender().send(1).expect("it is open");
    let ready = WorkerHandle::new(ready);

    let fanned = AsyncConsumer::new(AsyncDispatcher::new()).with_status(says_mood);
    fanned.sender().send(Note).expect("it is open");
    let fanned = WorkerHandle::new(fanned);

    for handle in [own, ready, fanned] {
        let status = handle.status();
        assert_eq!((status.queue_size, &*status.details["mood"]), (Some(1), "fine"), "{status}");
        handle.startup().await.expect("it starts");
        ends(handle.shutdown()).await.expect("it stops");
        let status = handle.status();
        assert_eq!((status.queue_size, &*status.details["mood"]), (Some(0), "fine"), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_queue_has_no_size_of_one() {
    let worker = start(Scripted::new("plain", &Journal::default()).run(Act::Obey)).await.expect("it starts");
    assert_eq!(worker.status().queue_size, None);
    ends(worker.shutdown()).await.expect("it stops");
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn why(worker: &WorkerRef) -> StatusReason {
    worker.status().reason
}

#[tokio::test(start_paused = true)]
async fn a_status_says_since_when_and_why() {
    let begun = SystemTime::now();
    let worker = Scripted::new("w", &Journal::default()).run(Act::Linger(seconds(3)));
    let handle = WorkerHandle::new(worker);
    assert_eq!(why(&handle), StatusReason::NotStarted);
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(handle.status().to_string(), "w init for 2.0s");
    handle.startup().await.expect("it starts");
    tokio::time::sleep(seconds(90)).await;
    let status = handle.status();
    assert_eq!((status.to_string(), status.reason), ("w running for 1min 30s".into(), StatusReason::Started));
    assert!(status.since.is_some_and(|since| since >= begun && since <= SystemTime::now()));
    handle.gracefully_stop();
    tokio::time::sleep(seconds(1)).await;
    // The first to ask is who stopped it.
    handle.abort();
    assert_eq!(handle.status().to_string(), "w stopping for 1.0s, stopped by a caller");
    ends(handle.wait_for_shutdown()).await;
    tokio::time::sleep(seconds(7200)).await;
    let status = handle.status();
    assert_eq!(status.reason, StatusReason::Aborted(StoppedBy::Caller));
    assert_eq!(
        status.to_string(),
        "w force_stopped for 2h 0min, aborted at its deadline, after it was stopped by a caller"
    );
}

#[tokio::test(start_paused = true)]
async fn each_end_has_its_reason() {
    let journal = Journal::default();
    let scripted = |run| start(Scripted::new("w", &journal).run(run));
    let by_itself = scripted(Act::Return).await.expect("it starts");
    let failing = scripted(Act::Last(seconds(1), true)).await.expect("it starts");
    let dropped = scripted(Act::Obey).await.expect("it starts");
    let asked = scripted(Act::Obey).await.expect("it starts");
    let itself = start(|cx: WorkerContext| async move { cx.stop() }).await.expect("it starts");
    let dropped_ref = dropped.worker();
    drop(dropped);
    asked.shutdown().await.expect("it stops");
    for worker in [by_itself.worker(), failing.worker(), dropped_ref.clone(), itself.worker()] {
        ends(worker.wait_for_shutdown()).await;
    }
    assert_eq!(why(&by_itself), StatusReason::EndedByItself);
    assert_eq!(why(&failing), StatusReason::Failed("run failed: as told".into()));
    assert_eq!(why(&dropped_ref), StatusReason::StopRequested(StoppedBy::HandleDropped));
    assert_eq!(why(&asked), StatusReason::StopRequested(StoppedBy::Caller));
    assert_eq!(why(&itself), StatusReason::StopRequested(StoppedBy::Itself));
    assert_eq!(failing.status().to_string(), "w failed for 0ms, run failed: as told");
}

#[test]
fn a_worker_whose_runtime_went_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let worker = Scripted::new("w", &Journal::default()).run(Act::Deaf);
    let handle = runtime.block_on(start(worker)).expect("it starts");
    drop(runtime);
    assert_eq!(why(&handle), StatusReason::RuntimeGone);
}

#[tokio::test(start_paused = true)]
async fn in_a_group_the_reason_names_the_group_or_the_child() {
    let journal = Journal::default();
    let (failing, helped) = (journal.clone(), journal.clone());
    let group = Workers::new("site")
        .with_strategy(RestartStrategy::OneForAll)
        .with_backoff(Backoff::new(seconds(2), seconds(60)).with_spread(0))
        .with_child(ChildSpec::new(move || {
            Scripted::new("failing", &failing).run(Act::Last(seconds(5), true))
        }))
        .with_child(ChildSpec::new(move || Scripted::new("helper", &helped).run(Act::Linger(seconds(1)))))
        .with_child(Scripted::new("once", &journal));
    let control = group.control();
    let group = start(group).await.expect("it starts");
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    let children = group.status().children;
    assert_eq!(children[0].reason, StatusReason::Failed("run failed: as told".into()));
    assert_eq!(children[1].reason, StatusReason::StopRequested(StoppedBy::RestartWithAnother));
    tokio::time::sleep(seconds(4)).await;
    let children = group.status().children;
    assert_eq!([&children[0].reason, &children[1].reason], [&StatusReason::Restarted(1); 2]);
    assert_eq!(children[2].reason, StatusReason::Started);

    let added = ends(control.add(Scripted::new("added", &journal))).await.expect("it comes up");
    ends(control.remove(added.id)).await.expect("it is a member");
    assert_eq!(why(&added.worker), StatusReason::StopRequested(StoppedBy::Removed));

    let ends_all = Scripted::new("short", &journal).run(Act::Last(Duration::from_millis(10), false));
    ends(control.add(ends_all)).await.expect("it comes up");
    ends(group.wait_for_shutdown()).await;
    assert_eq!(why(&group), StatusReason::StopRequested(StoppedBy::Child("short".into())));
    let once = group.workers().into_iter().find(|worker| worker.name() == "once").expect("it is there");
    assert_eq!(why(&once), StatusReason::StopRequested(StoppedBy::Group("site".into())));
}
