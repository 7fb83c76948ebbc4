//! What a worker says about itself: its state, by name and by predicate, and its status.

mod support;

use std::sync::{Arc, Mutex};

use support::{Act, Journal, Scripted, ends};
use tokio::sync::Notify;
use workfleet_worker_lifecycle::{
    AsyncConsumer, AsyncDispatcher, EventMessage, QueueConsumer, QueueConsumerWorker, Status, StatusSource,
    Worker, WorkerContext, WorkerError, WorkerHandle, WorkerState, start,
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
