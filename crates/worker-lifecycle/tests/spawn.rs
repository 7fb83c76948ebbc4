//! What a worker spawns ends with it, and fails it.

mod support;

use std::{future::pending, sync::Arc, time::Duration};

use support::{Journal, ends};
use tokio::{sync::Notify, time::Instant};
use workfleet_worker_lifecycle::{
    ChildSpec, Hook, Worker, WorkerContext, WorkerError, WorkerState, Workers, start, worker_fn,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Notes when it is dropped.
struct Noted(Journal, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.add(self.1);
    }
}

/// Spawns one task, runs until it is asked to stop, and notes its clean-up.
struct Spawner<F>(Option<F>, Journal);

impl<F> Worker for Spawner<F>
where
    F: FnOnce(WorkerContext) -> std::pin::Pin<Box<dyn Future<Output = Result<(), WorkerError>> + Send>>
        + Send
        + 'static,
{
    fn grace(&self) -> Option<Duration> {
        Some(seconds(10))
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        let _run = Noted(self.1.clone(), "run ended");
        if let Some(task) = self.0.take() {
            assert!(cx.spawn(task(cx.clone())));
        }
        cx.stopping().await;
        Ok(())
    }

    async fn on_shutdown(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        self.1.add("on_shutdown");
        let late = Noted(self.1.clone(), "late task dropped");
        assert!(!cx.spawn(async move { drop(late) }), "it would outlive the worker");
        Ok(())
    }
}

fn spawner<Fut>(journal: &Journal, task: impl FnOnce(WorkerContext) -> Fut + Send + 'static) -> impl Worker
where
    Fut: Future<Output = Result<(), WorkerError>> + Send + 'static,
{
    let task = |cx| -> std::pin::Pin<Box<dyn Future<Output = Result<(), WorkerError>> + Send>> {
        Box::pin(task(cx))
    };
    Spawner(Some(task), journal.clone())
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_tasks_that_end_within_the_grace() {
    let journal = Journal::default();
    let noted = journal.clone();
    let worker = spawner(&journal, |cx| async move {
        cx.stopping().await;
        tokio::time::sleep(seconds(3)).await;
        noted.add("task ended");
        Ok(())
    });
    let worker = start(worker).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(worker.shutdown()).await.expect("it is not stuck");
    assert_eq!((outcome.state(), begun.elapsed()), (WorkerState::Stopped, seconds(3)));
    assert_eq!(journal.take(), ["run ended", "task ended", "on_shutdown", "late task dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_dropped_at_the_deadline_before_on_shutdown() {
    let journal = Journal::default();
    let noted = Noted(journal.clone(), "task dropped");
    let worker = spawner(&journal, |_| async move {
        let _noted = noted;
        pending::<Result<(), WorkerError>>().await
    });
    let worker = start(worker).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(worker.shutdown()).await.expect("it is not stuck");
    assert_eq!((outcome.state(), begun.elapsed().as_secs()), (WorkerState::ForceStopped, 10));
    assert_eq!(journal.take(), ["run ended", "task dropped", "on_shutdown", "late task dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_by_itself_does_not_wait_for_its_tasks() {
    let journal = Journal::default();
    let noted = Noted(journal.clone(), "task dropped");
    let worker = worker_fn(|cx: WorkerContext| async move {
        let inner = cx.clone();
        cx.spawn(async move {
            let _noted = noted;
            inner.stopping().await;
        });
        tokio::task::yield_now().await;
    });
    let worker = start(worker).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), begun.elapsed()), (WorkerState::Stopped, Duration::ZERO));
    assert_eq!(journal.take(), ["task dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_or_panics_fails_its_worker() {
    for (is_panic, expected) in
        [(false, "a spawned task failed: as told"), (true, "a spawned task panicked: as told")]
    {
        let journal = Journal::default();
        let worker = spawner(&journal, move |cx| async move {
            let other = cx.clone();
            cx.spawn(async move { other.stopping().await });
            tokio::time::sleep(seconds(2)).await;
            assert!(!is_panic, "as told");
            Err("as told".into())
        });
        let worker = start(worker).await.expect("it starts");
        let begun = Instant::now();
        let outcome = ends(worker.wait_for_shutdown()).await;
        assert_eq!(
            (outcome.state(), worker.state(), begun.elapsed()),
            (WorkerState::Failed, WorkerState::Failed, seconds(2))
        );
        assert_eq!((outcome.failures()[0].hook(), outcome.to_string().as_str()), (Hook::Task, expected));
        assert_eq!(journal.take(), ["run ended", "on_shutdown", "late task dropped"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_restarts_a_child_whose_task_failed() {
    let journal = Journal::default();
    let noted = journal.clone();
    let child = ChildSpec::new(move || {
        let noted = noted.clone();
        |cx: WorkerContext| async move {
            noted.add("life");
            if noted.lines().len() == 1 {
                cx.spawn(async { Err("as told") });
            }
            cx.stopping().await;
        }
    });
    let group = start(Workers::default().with_child(child)).await.expect("it starts");
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(journal.take(), ["life", "life"]);
    assert_eq!(ends(group.shutdown()).await.expect("groups are not stuck").state(), WorkerState::Stopped);
}

/// Spawns while it starts up, and does not come up, or is stopped meanwhile.
struct Starting(Journal, Arc<Notify>, bool);

impl Worker for Starting {
    async fn on_startup(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        let (cx, noted) = (cx.clone(), Noted(self.0.clone(), "task dropped"));
        let tasks = cx.clone();
        tasks.spawn(async move {
            let _noted = noted;
            cx.stopping().await;
        });
        self.1.notified().await;
        if self.2 { Err("as told".into()) } else { Ok(()) }
    }

    async fn run(&mut self, _: &WorkerContext) -> Result<(), WorkerError> {
        unreachable!("it was stopped before")
    }

    async fn on_shutdown(&mut self, _: &WorkerContext) -> Result<(), WorkerError> {
        self.0.add("on_shutdown");
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_start_up_spawned_does_not_outlive_a_worker_that_never_runs() {
    for fails in [true, false] {
        let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
        let worker = workfleet_worker_lifecycle::WorkerHandle::new(Starting(
            journal.clone(),
            Arc::clone(&gate),
            fails,
        ));
        let (started, ()) = tokio::join!(ends(worker.startup()), async {
            tokio::task::yield_now().await;
            assert!(journal.lines().is_empty());
            if !fails {
                worker.gracefully_stop();
            }
            gate.notify_one();
        });
        assert!(started.is_err());
        let expected: &[&str] = if fails { &["task dropped"] } else { &["task dropped", "on_shutdown"] };
        assert_eq!(journal.take(), expected);
    }
}

#[test]
fn a_runtime_that_is_shut_down_takes_the_tasks_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let journal = Journal::default();
    let noted = Noted(journal.clone(), "task dropped");
    let worker = spawner(&journal, |_| async move {
        let _noted = noted;
        pending::<Result<(), WorkerError>>().await
    });
    let worker = runtime.block_on(async {
        let worker = start(worker).await.expect("it starts");
        tokio::task::yield_now().await;
        worker
    });
    drop(runtime);
    assert!(worker.is_stopped());
    assert!(journal.take().contains(&"task dropped".to_owned()));
}
