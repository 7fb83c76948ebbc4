//! Tasks that are run in place: a context without a worker, and the manager that takes no tasks.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{ops::Deref, sync::Arc, thread};

use both::{GRACE, messages};
use serde::{Deserialize, Serialize};
use support::{alone, builder, tasks::Text};
use workfleet_task_manager::{
    AsyncTask, Chain, ClosePolicy, EncodedMessage, EncodedTask, Manager, ManagerExt, MessageSendError,
    NullManager, Pool, Priority, Registry, ScheduleErrorKind, Task, TaskContext, TaskError,
    TaskHeartbeatError, TaskSpec, ThreadManager,
};

/// Multiplies by what its worker's session says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Multiply(u64);
impl TaskSpec for Multiply {
    const NAME: &'static str = "multiply";
    type Output = u64;
}
impl Task for Multiply {
    fn run(self, cx: &TaskContext) -> Result<u64, TaskError> {
        Ok(self.0 * cx.session::<Factor>()?.0)
    }
}

struct Factor(u64);

/// Says its text and schedules its child.
#[derive(Debug, Serialize, Deserialize)]
struct Tell {
    text: String,
    child: Option<Box<Tell>>,
}
impl TaskSpec for Tell {
    const NAME: &'static str = "tell";
    type Output = ();
}
impl Task for Tell {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text(self.text))?;
        if let Some(child) = self.child {
            cx.schedule(*child)?;
        }
        Ok(cx.flush()?)
    }
}

/// Ends when it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
struct AwaitCancellation;
impl TaskSpec for AwaitCancellation {
    const NAME: &'static str = "await-cancellation";
    type Output = ();
}
impl AsyncTask for AwaitCancellation {
    async fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.cancellation_token().cancelled().await;
        Ok(cx.check_cancelled()?)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Panic;
impl TaskSpec for Panic {
    const NAME: &'static str = "panic";
    type Output = ();
}
impl Task for Panic {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        panic!("out of luck")
    }
}

fn registry() -> Registry {
    Registry::new()
        .task::<Multiply>()
        .task::<Tell>()
        .task::<Panic>()
        .async_task::<AwaitCancellation>()
        .session(|| Ok(Factor(3)))
}
workfleet_task_manager::test_worker!(registry());

fn tell(text: &str, child: Option<Tell>) -> Tell {
    Tell { text: text.to_owned(), child: child.map(Box::new) }
}

#[test]
fn the_null_manager_hands_every_task_back_and_drops_every_message() {
    let error = NullManager.schedule_with(Multiply(7), Priority(0)).expect_err("it has no workers");
    assert!(matches!(error.kind(), ScheduleErrorKind::NoWorkers));
    assert_eq!(error.to_string(), "this manager has no workers");
    assert_eq!(error.into_task(), Multiply(7));

    let object: &dyn Manager = &NullManager;
    let encoded = EncodedTask::new(&Multiply(8)).expect("it encodes");
    let error = object.schedule_encoded(encoded, Priority(255).into()).expect_err("it has no workers");
    assert_eq!(error.into_task().payload(), EncodedTask::new(&Multiply(8)).expect("it encodes").payload());
    assert_eq!(object.priority_levels(), 128);
    NullManager.send_message(&Text("unheard".into())).expect("it is dropped");
    object
        .send_encoded(EncodedMessage::new(&Text("unheard".into())).expect("it encodes"))
        .expect("it is dropped");
}

#[test]
fn a_task_runs_in_place_with_the_session_it_is_given() {
    let cx = TaskContext::detached(NullManager, Factor(2));
    assert_eq!(Multiply(21).run(&cx).expect("it is done"), 42);
    assert_eq!((cx.attempt(), cx.worker(), cx.is_cancelled()), (1, "detached", false));
    let error = Multiply(21).run(&TaskContext::detached(NullManager, ())).expect_err("there is no factor");
    assert!(error.to_string().contains("Factor"), "{error}");
}

#[test]
fn a_registry_makes_its_sessions_for_a_context() {
    let cx = TaskContext::detached_with(NullManager, &registry()).expect("it makes them");
    assert_eq!(Multiply(7).run(&cx).expect("it is done"), 21);
    let failing = Registry::new().session(|| Err::<Factor, _>("there is none today".into()));
    let error = TaskContext::detached_with(NullManager, &failing).expect_err("it cannot be made");
    assert!(error.to_string().ends_with("there is none today"), "{error}");
}

#[test]
fn what_a_task_schedules_in_place_comes_back_from_the_null_manager() {
    let cx = TaskContext::detached(NullManager, ());
    tell("unheard", None).run(&cx).expect("messages are dropped");
    let error = tell("unheard", Some(tell("never", None))).run(&cx).expect_err("there are no workers");
    assert_eq!(error.to_string(), "this manager has no workers");
    let proxy = thread::spawn({
        let proxy = cx.proxy();
        move || proxy.schedule_with(tell("mine", None), Priority(0))
    });
    let error = proxy.join().expect("it does not panic").expect_err("there are no workers");
    assert_eq!(error.into_task().text, "mine");
}

#[test]
fn a_chain_runs_in_place_if_its_links_are_registered() {
    let chain = Chain::new().then(&Multiply(1)).and_then(|chain| chain.then(&Multiply(2)));
    let chain = chain.expect("they encode");
    let cx = TaskContext::detached_with(NullManager, &registry()).expect("it makes its sessions");
    let outputs = chain.clone().run(&cx).expect("it is done");
    let output = |index| outputs.get::<Multiply>(index).expect("it is there");
    assert_eq!([output(0), output(1)], [3, 6]);

    let error = chain.clone().run(&TaskContext::detached(NullManager, Factor(1))).expect_err("no registry");
    assert!(error.to_string().contains("\"multiply\""), "{error}");
    let error = chain.then(&Panic).expect("it encodes").run(&cx).expect_err("its last link panics");
    assert!(error.to_string().contains("out of luck"), "{error}");
}

#[test]
fn a_context_is_cancelled_by_its_own_token() {
    let cx = TaskContext::detached_with(NullManager, &registry()).expect("it makes its sessions");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let task = AwaitCancellation.run(&cx);
        let mut task = std::pin::pin!(task);
        assert!(futures_util::FutureExt::now_or_never(task.as_mut()).is_none());
        cx.cancellation_token().cancel();
        let error = task.await.expect_err("it was cancelled");
        assert_eq!(error.to_string(), "the task was cancelled");
    });
    assert!(cx.is_cancelled() && cx.check_cancelled().is_err());
    // Neither a chain's link nor a second context that was not cancelled.
    let chain = Chain::new().then(&Multiply(1)).expect("it encodes");
    assert_eq!(chain.run(&cx).expect_err("it is cancelled").to_string(), "cancelled");
    assert!(!TaskContext::detached(NullManager, ()).is_cancelled());
}

/// What a task in place says and schedules reaches its pool as if it came from outside.
fn reaches<M: Manager + Deref<Target = Pool> + 'static>(manager: M) {
    let manager = Arc::new(manager);
    let cx = TaskContext::detached(Arc::clone(&manager), ());
    tell("in place", Some(tell("on a worker", None))).run(&cx).expect("it is taken");
    let said = messages::<Text>(&manager);
    let texts: Vec<_> = said.iter().map(|message| (&*message.content.0, message.attempt)).collect();
    assert_eq!(texts, [("in place", 0), ("on a worker", 1)]);
    assert!(said[0].task.is_none() && said[1].task.is_some());

    manager.close(ClosePolicy::Join).expect("it closes");
    let refused = cx.schedule(tell("too late", None)).expect_err("it is closed");
    assert!(matches!(refused.kind(), ScheduleErrorKind::Closed));
    assert_eq!(refused.into_task().text, "too late");
    assert!(matches!(cx.send_message(&Text("too late".into())), Err(MessageSendError::Closed)));
}

#[test]
fn a_pool_of_processes_serves_a_task_in_place() {
    let _alone = alone();
    reaches(builder(registry(), 1).start().expect("it starts"));
}

#[test]
fn a_pool_of_threads_serves_a_task_in_place() {
    let _alone = alone();
    reaches(ThreadManager::builder(registry()).workers(1).grace(GRACE).start().expect("it starts"));
}

#[test]
fn nobody_hears_the_heartbeats_of_a_task_in_place() {
    let cx = TaskContext::detached(NullManager, ());
    cx.heartbeat(&1_u64).expect("it is dropped");
    cx.proxy().heartbeat("half way").expect("it is dropped");
    assert_eq!(cx.last_heartbeat::<u64>(), Ok(None));
    // What no worker would take is not taken here either.
    let refused = cx.heartbeat(&vec![0_u8; 64 << 10]);
    assert!(matches!(refused, Err(TaskHeartbeatError::Details(_))), "{refused:?}");
}
