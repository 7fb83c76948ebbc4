//! One worker's life: its hooks, its stop, its outcome, and who is told.

mod support;

use std::{future::pending, sync::Arc, time::Duration};

use support::{Act, Explosive, Journal, Scripted, blocker, ends, seconds, two_threads, watchdog};
use tokio::{sync::Notify, time::Instant};
use workfleet_worker_lifecycle::{
    Ending, Hook, OutcomeError, StartError, WorkerContext, WorkerFailureCause, WorkerHandle, WorkerState,
    start, worker_fn,
};

#[tokio::test(start_paused = true)]
async fn hooks_are_called_in_turn() {
    let journal = Journal::default();
    let worker = start(Scripted::new("w", &journal)).await.expect("it starts");
    assert_eq!(worker.state(), WorkerState::Running);
    let outcome = ends(worker.shutdown()).await.expect("it stops");
    assert_eq!(
        (outcome.state(), outcome.ending(), outcome.code()),
        (WorkerState::Stopped, Ending::Requested, 0)
    );
    assert_eq!(
        journal.lines(),
        [
            "w on_startup",
            "w up",
            "w run",
            "w on_shutdown",
            "w down",
            "w after_shutdown 0 normal shutdown",
            "w dropped"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_by_itself_is_stopped() {
    let worker = start(Scripted::new("w", &Journal::default()).run(Act::Return)).await.expect("it starts");
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), outcome.ending()), (WorkerState::Stopped, Ending::ByItself));
}

// aio-fluid: waiting in Init returns.
#[tokio::test(start_paused = true)]
async fn before_the_start_waiting_and_stopping_return_at_once() {
    let worker = WorkerHandle::new(Scripted::new("w", &Journal::default()));
    assert!(!worker.state().has_started());
    assert_eq!(ends(worker.wait_for_shutdown()).await.ending(), Ending::NeverStarted);
    assert_eq!(ends(worker.shutdown()).await.expect("nothing to stop").state(), WorkerState::Init);
    assert!(!worker.gracefully_stop());
    worker.abort();
    assert_eq!(worker.state(), WorkerState::Init);
    worker.startup().await.expect("nothing has happened to it");
    assert!(worker.state().is_running());
}

// aio-fluid: a double start is an error.
#[tokio::test(start_paused = true)]
async fn a_second_start_is_an_error_with_the_state() {
    let worker = WorkerHandle::new(Scripted::new("w", &Journal::default()));
    worker.startup().await.expect("it starts");
    let error = worker.startup().await.expect_err("it runs");
    assert_eq!(error.to_string(), "the worker `w` was started already: it is running");
    worker.shutdown().await.expect("it stops");
    let error = worker.startup().await.expect_err("it has run");
    assert!(matches!(error, StartError::AlreadyStarted { state: WorkerState::Stopped, .. }), "{error}");
}

#[test]
fn without_a_runtime_the_worker_stays_in_its_handle() {
    let handle = WorkerHandle::new(Scripted::new("w", &Journal::default()));
    let mut startup = std::pin::pin!(handle.startup());
    let polled = startup.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(polled, std::task::Poll::Ready(Err(StartError::NoRuntime { .. }))), "{polled:?}");
    assert_eq!(handle.state(), WorkerState::Init);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(handle.startup()).expect("it starts");
}

// aio-fluid: a deaf worker ends force-stopped.
#[tokio::test(start_paused = true)]
async fn a_deaf_worker_is_aborted_at_its_deadline() {
    let journal = Journal::default();
    let worker = start(Scripted::new("w", &journal).run(Act::Deaf).grace(7)).await.expect("it starts");
    let begun = Instant::now();
    let outcome = ends(worker.shutdown()).await.expect("it is aborted");
    assert_eq!(
        (outcome.state(), outcome.ending(), outcome.code()),
        (WorkerState::ForceStopped, Ending::Forced, 1)
    );
    assert!(begun.elapsed() >= seconds(7) && begun.elapsed() < seconds(8), "{:?}", begun.elapsed());
    assert_eq!(
        journal.lines()[3..],
        ["w on_shutdown", "w down", "w after_shutdown 1 forced shutdown", "w dropped"]
    );
}

#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_a_failed_run_skips_on_shutdown() {
    for (run, reason) in [(Act::Fail, "run failed: as told"), (Act::Panic, "run panicked: as told")] {
        let journal = Journal::default();
        let worker = start(Scripted::new("w", &journal).run(run)).await.expect("it starts");
        let outcome = ends(worker.wait_for_shutdown()).await;
        assert_eq!((outcome.state(), outcome.code()), (WorkerState::Failed, 2));
        let after = format!("w after_shutdown 2 {reason}");
        assert_eq!(journal.lines()[3..], ["w on_shutdown", "w down", &after, "w dropped"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_the_error_is_lost_if_nobody_waited_in_time() {
    let worker = start(Scripted::new("w", &Journal::default()).run(Act::Fail)).await.expect("it starts");
    let mut states = worker.watch_state();
    while states.changed().await.is_some() {}
    // Late, and more than once.
    for _ in 0..2 {
        let failed: OutcomeError =
            ends(worker.wait_for_shutdown()).await.into_result().expect_err("it failed");
        assert_eq!(failed.to_string(), "run failed: as told");
        assert_eq!(ends(worker.shutdown()).await.expect("it has ended").state(), WorkerState::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn aio_fluid_fault_an_idle_stop_takes_half_a_second() {
    let handle = start(Scripted::new("w", &Journal::default())).await.expect("it starts");
    tokio::time::sleep(seconds(60)).await;
    let begun = Instant::now();
    assert!(handle.gracefully_stop());
    assert_eq!(ends(handle.wait_for_shutdown()).await.state(), WorkerState::Stopped);
    assert_eq!(begun.elapsed(), Duration::ZERO, "it waited for a timer");
}

#[test]
fn a_runtime_without_a_timer_is_refused_at_the_start_and_the_worker_stays_in_its_handle() {
    let journal = Journal::default();
    let timeless = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let group = workfleet_worker_lifecycle::Workers::new("group").with_child(Scripted::new("w", &journal));
    for handle in [WorkerHandle::new(Scripted::new("w", &journal)), WorkerHandle::new(group)] {
        let error = timeless.block_on(handle.startup()).expect_err("it has no timer");
        let StartError::NoTimer { name } = &error else { panic!("{error}") };
        assert_eq!(name, handle.name());
        assert!(error.to_string().contains("call `enable_time`"), "{error}");
        assert_eq!((handle.state(), journal.lines().len()), (WorkerState::Init, 0));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_time().build().expect("a runtime");
        runtime.block_on(handle.startup()).expect("it starts");
        // It can be waited for with a limit, and stopped, where there is no timer.
        assert!(timeless.block_on(handle.wait_timeout(Duration::from_millis(1))).is_none());
        let outcome = timeless.block_on(handle.shutdown()).expect("it obeys");
        assert_eq!(outcome.state(), WorkerState::Stopped);
        journal.take();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_on_shutdown_is_kept_beside_that_of_run() {
    let worker = Scripted::new("w", &Journal::default()).run(Act::Fail).on_shutdown(Act::Panic);
    let worker = start(worker.after_shutdown(Act::Panic)).await.expect("it starts");
    let outcome = ends(worker.wait_for_shutdown()).await;
    let hooks: Vec<Hook> = outcome.failures().iter().map(|failure| failure.hook()).collect();
    assert_eq!(hooks, [Hook::Run, Hook::OnShutdown, Hook::AfterShutdown]);
    let shown = outcome.into_result().expect_err("it failed").to_string();
    assert_eq!(
        shown,
        "run failed: as told; then on_shutdown panicked: as told; then after_shutdown panicked: as told"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_up_is_what_start_returns() {
    for act in [Act::Fail, Act::Panic] {
        let journal = Journal::default();
        let handle = WorkerHandle::new(Scripted::new("w", &journal).on_startup(act.clone()));
        let error = ends(handle.startup()).await.expect_err("it does not start");
        let StartError::Failed { name, failure } = &error else { panic!("{error}") };
        assert_eq!((name.as_str(), failure.is_panic()), ("w", matches!(act, Act::Panic)));
        // Neither run nor on_shutdown.
        assert_eq!(journal.lines().len(), 3, "{:?}", journal.lines());
        assert_eq!(ends(handle.wait_for_shutdown()).await.state(), WorkerState::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_start_up_skips_run_and_cleans_up() {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let handle = WorkerHandle::new(Scripted::new("w", &journal).on_startup(Act::Await(Arc::clone(&gate))));
    let (started, ()) = tokio::join!(handle.startup(), async {
        tokio::task::yield_now().await;
        assert!(handle.gracefully_stop());
        assert!(handle.state().is_stopping());
        gate.notify_one();
    });
    assert!(matches!(started, Err(StartError::Stopped { .. })), "{started:?}");
    assert_eq!(handle.outcome().expect("it ended").state(), WorkerState::Stopped);
    assert_eq!(
        journal.lines(),
        [
            "w on_startup",
            "w up",
            "w on_shutdown",
            "w down",
            "w after_shutdown 0 normal shutdown",
            "w dropped"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_up_that_outlasts_the_deadline_is_aborted_and_not_cleaned_up() {
    let journal = Journal::default();
    let handle = WorkerHandle::new(Scripted::new("w", &journal).on_startup(Act::Deaf));
    let (started, stopped) = tokio::join!(ends(handle.startup()), async {
        tokio::task::yield_now().await;
        ends(handle.shutdown()).await
    });
    assert!(matches!(started, Err(StartError::Stopped { .. })), "{started:?}");
    assert_eq!(stopped.expect("it is aborted").state(), WorkerState::ForceStopped);
    assert_eq!(journal.lines(), ["w on_startup", "w after_shutdown 1 forced shutdown", "w dropped"]);
}

#[tokio::test(start_paused = true)]
async fn an_abort_during_on_shutdown_still_ends_with_after_shutdown() {
    let journal = Journal::default();
    let worker = start(Scripted::new("w", &journal).on_shutdown(Act::Deaf)).await.expect("it starts");
    let outcome = ends(worker.shutdown()).await.expect("it is aborted");
    assert_eq!(outcome.state(), WorkerState::ForceStopped);
    assert_eq!(journal.lines()[3..], ["w on_shutdown", "w after_shutdown 1 forced shutdown", "w dropped"]);
}

#[tokio::test(start_paused = true)]
async fn after_an_abort_of_run_on_shutdown_is_polled_once() {
    let journal = Journal::default();
    let worker = Scripted::new("w", &journal).run(Act::Deaf).on_shutdown(Act::Deaf);
    let worker = start(worker).await.expect("it starts");
    let begun = Instant::now();
    worker.abort();
    assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::ForceStopped);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(journal.lines()[3..], ["w on_shutdown", "w after_shutdown 1 forced shutdown", "w dropped"]);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_worker_that_fails_on_the_way_is_failed_and_aborted() {
    let worker = Scripted::new("w", &Journal::default()).run(Act::Deaf).on_shutdown(Act::Fail);
    let worker = start(worker).await.expect("it starts");
    worker.abort();
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), outcome.is_aborted()), (WorkerState::Failed, true));
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_has_no_deadline_and_a_shutdown_gives_it_one() {
    let worker = start(Scripted::new("w", &Journal::default()).run(Act::Deaf)).await.expect("it starts");
    assert!(worker.gracefully_stop());
    assert!(!worker.gracefully_stop(), "it was asked before");
    assert!(worker.wait_timeout(seconds(3600)).await.is_none());
    assert_eq!(worker.state(), WorkerState::Stopping);
    assert_eq!(ends(worker.shutdown()).await.expect("it is aborted").state(), WorkerState::ForceStopped);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_counts() {
    let worker =
        start(Scripted::new("w", &Journal::default()).run(Act::Deaf).grace(100)).await.expect("it starts");
    let begun = Instant::now();
    let (long, short) = tokio::join!(worker.shutdown(), async {
        tokio::task::yield_now().await;
        worker.shutdown_within(seconds(1)).await
    });
    assert_eq!(long.expect("it stops").state(), short.expect("it stops").state());
    assert!(begun.elapsed() < seconds(2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_shutdown_takes_nothing_back() {
    let worker =
        start(Scripted::new("w", &Journal::default()).run(Act::Deaf).grace(5)).await.expect("it starts");
    assert!(tokio::time::timeout(seconds(1), worker.shutdown()).await.is_err());
    assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::ForceStopped);
}

// aio-fluid: an error or a self-cancel in `run` surfaces from wait.
#[tokio::test(start_paused = true)]
async fn a_worker_can_stop_itself() {
    let worker = start(|cx: WorkerContext| async move {
        cx.stop();
        assert!(cx.is_stopping() && cx.deadline().is_some());
        pending::<()>().await;
    });
    let worker = worker.await.expect("it starts");
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), worker.state()), (WorkerState::ForceStopped, WorkerState::ForceStopped));
}

#[tokio::test(start_paused = true)]
async fn functions_are_workers_too() {
    let text = String::from("moved in");
    let worker = start(move |_cx: WorkerContext| async move {
        match text.as_str() {
            "moved in" => Err(std::io::Error::other("an error")),
            _ => Ok(()),
        }
    });
    let worker = worker.await.expect("it starts");
    assert_eq!(worker.name(), "functions_are_workers_too");
    let failed = ends(worker.wait_for_shutdown()).await.into_result().expect_err("it failed");
    let WorkerFailureCause::Error(error) = failed.outcome().failures()[0].cause() else { panic!("{failed}") };
    assert!(error.as_dyn().downcast_ref::<std::io::Error>().is_some());

    let named = worker_fn(|cx: WorkerContext| async move { cx.stopping().await }).with_name("waiter");
    assert_eq!(start(named).await.expect("it starts").name(), "waiter");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_stops_the_worker_and_detaching_does_not() {
    for act in [Act::Obey, Act::Deaf] {
        let worker = start(Scripted::new("w", &Journal::default()).run(act)).await.expect("it starts");
        let watched = worker.worker();
        drop(worker);
        assert!(watched.state().is_stopping());
        assert!(ends(watched.wait_for_shutdown()).await.state().is_stopped());
    }
    let worker = start(Scripted::new("w", &Journal::default())).await.expect("it starts");
    let worker = worker.detach();
    assert!(worker.wait_timeout(seconds(3600)).await.is_none());
    assert!(worker.state().is_running());
}

#[test]
fn a_handle_can_be_dropped_in_another_runtime_and_outside_any() {
    let _watchdog = watchdog();
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .expect("a runtime")
    };
    let (home, abroad) = (build(), build());
    let journal = Journal::default();
    for outside in [true, false] {
        let worker = home.block_on(start(Scripted::new("w", &journal))).expect("it starts");
        let watched = worker.worker();
        if outside {
            drop(worker);
        } else {
            abroad.block_on(async move { drop(worker) });
        }
        // Waited for in the other runtime.
        assert_eq!(abroad.block_on(watched.wait_for_shutdown()).state(), WorkerState::Stopped);
    }
}

/// Shuts a runtime down under a worker that is up; returns its outcome and what happened then. Whether `run` was called before
/// is up to the runtime.
fn shut_down_under(
    mut builder: tokio::runtime::Builder,
    worker: impl FnOnce(Scripted) -> Scripted,
) -> (workfleet_worker_lifecycle::Outcome, Vec<String>) {
    let journal = Journal::default();
    let runtime = builder.enable_time().build().expect("a runtime");
    let worker = runtime.block_on(start(worker(Scripted::new("w", &journal)))).expect("it starts");
    drop(runtime);
    let outcome = worker.outcome().expect("it has ended");
    let after = journal.lines().into_iter().skip_while(|line| line != "w up").skip(1);
    (outcome, after.filter(|line| line != "w run").collect())
}

fn builders() -> [tokio::runtime::Builder; 2] {
    let mut two_threads = tokio::runtime::Builder::new_multi_thread();
    two_threads.worker_threads(2);
    [tokio::runtime::Builder::new_current_thread(), two_threads]
}

#[test]
fn a_runtime_that_is_shut_down_ends_its_workers_and_skips_no_on_shutdown() {
    for builder in builders() {
        let (outcome, lines) = shut_down_under(builder, |worker| worker);
        assert_eq!((outcome.state(), outcome.ending()), (WorkerState::ForceStopped, Ending::RuntimeGone));
        let reason = "w after_shutdown 1 forced shutdown: its runtime was shut down";
        assert_eq!(lines, ["w on_shutdown", "w down", reason, "w dropped"]);
    }
}

#[test]
fn an_on_shutdown_that_waits_is_polled_once_when_the_runtime_is_shut_down() {
    // The second waits for a timer of the runtime that is being dropped.
    for act in [Act::Deaf, Act::Linger(seconds(1))] {
        for builder in builders() {
            let (outcome, lines) = shut_down_under(builder, |worker| worker.on_shutdown(act.clone()));
            assert_eq!((outcome.state(), outcome.ending()), (WorkerState::ForceStopped, Ending::RuntimeGone));
            let reason = "w after_shutdown 1 forced shutdown: its runtime was shut down";
            assert_eq!(lines, ["w on_shutdown", reason, "w dropped"]);
        }
    }
}

#[test]
fn an_on_shutdown_that_fails_when_the_runtime_is_shut_down_is_in_the_outcome() {
    for act in [Act::Fail, Act::Panic] {
        for builder in builders() {
            let (outcome, lines) = shut_down_under(builder, |worker| worker.on_shutdown(act.clone()));
            assert_eq!((outcome.state(), outcome.is_aborted()), (WorkerState::Failed, true));
            assert_eq!(outcome.failures()[0].hook(), Hook::OnShutdown);
            assert_eq!((lines.len(), &*lines[0]), (3, "w on_shutdown"), "{lines:?}");
        }
    }
}

#[test]
fn a_runtime_that_is_shut_down_calls_no_on_shutdown_again_and_none_without_a_start_up() {
    for (act, start_up) in [(Act::Return, Act::Deaf), (Act::Deaf, Act::Return)] {
        let journal = Journal::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let worker = Scripted::new("w", &journal).on_startup(start_up).on_shutdown(act);
        let handle = WorkerHandle::new(worker);
        runtime.block_on(async {
            let mut startup = std::pin::pin!(handle.startup());
            // As far as the start-up comes.
            tokio::select! {
                biased;
                _ = &mut startup => {}
                () = async { for _ in 0..10 { tokio::task::yield_now().await } } => {}
            }
            handle.gracefully_stop();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
        let before = journal.lines();
        drop(runtime);
        let after = &journal.lines()[before.len()..];
        assert_eq!(after, ["w after_shutdown 1 forced shutdown: its runtime was shut down", "w dropped"]);
    }
}

#[test]
fn a_runtime_that_is_shut_down_before_the_first_poll_ends_the_worker_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let handle = WorkerHandle::new(Scripted::new("w", &Journal::default()));
    {
        let _context = runtime.enter();
        let mut startup = std::pin::pin!(handle.startup());
        assert!(
            startup.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
        );
    }
    drop(runtime);
    assert_eq!(handle.outcome().expect("it has ended").ending(), Ending::RuntimeGone);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_owns_is_gone_when_its_outcome_is_there() {
    let owned = Arc::new(());
    let held = Arc::clone(&owned);
    let worker = start(move |cx: WorkerContext| async move {
        let _held = held;
        cx.stopping().await;
    });
    let worker = worker.await.expect("it starts");
    assert_eq!(Arc::strong_count(&owned), 2);
    worker.shutdown().await.expect("it stops");
    assert_eq!(Arc::strong_count(&owned), 1);
}

struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destructor_that_panics_is_an_outcome() {
    // In a field, dropped with the worker.
    struct Carrier(Option<Bomb>);
    impl workfleet_worker_lifecycle::Worker for Carrier {
        async fn run(&mut self, _cx: &WorkerContext) -> Result<(), workfleet_worker_lifecycle::WorkerError> {
            assert!(self.0.is_some());
            Ok(())
        }
    }
    let worker = start(Carrier(Some(Bomb))).await.expect("it starts");
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!(outcome.failures()[0].hook(), Hook::Drop);
    // In `run`, dropped by the abort.
    let worker = start(|_cx: WorkerContext| async move {
        let _bomb = Bomb;
        pending::<()>().await;
    });
    let worker = worker.await.expect("it starts");
    worker.abort();
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!((outcome.state(), outcome.failures()[0].hook()), (WorkerState::Failed, Hook::Run));
}

#[tokio::test(start_paused = true)]
async fn a_panic_whose_value_panics_again_and_again_when_dropped_is_an_outcome() {
    let worker = start(|cx: WorkerContext| async move {
        if cx.state().is_running() {
            std::panic::panic_any(Explosive);
        }
    });
    let outcome = ends(worker.await.expect("it starts").wait_for_shutdown()).await;
    assert_eq!(outcome.to_string(), "run panicked: a value that is no text");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_cancelled_at_the_end_and_cancelling_it_does_not_stop_the_worker() {
    let (tokens, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let done = Arc::new(Notify::new());
    let go = Arc::clone(&done);
    let worker = start(move |cx: WorkerContext| async move {
        cx.cancellation_token().cancel();
        assert!(!cx.is_stopping());
        tokens.send(cx.cancellation_token()).expect("the test waits");
        go.notified().await;
    });
    let worker = worker.await.expect("it starts");
    let token = ends(sent.recv()).await.expect("a token");
    assert!(!token.is_cancelled() && worker.state().is_running());
    done.notify_one();
    assert_eq!(ends(worker.wait_for_shutdown()).await.ending(), Ending::ByItself);
    assert!(token.is_cancelled());
}

#[test]
fn a_worker_that_blocks_its_thread_is_reported_stuck_by_name() {
    let _watchdog = watchdog();
    let runtime = two_threads();
    let (blocker, release) = blocker();
    runtime.block_on(async {
        // It blocks in the first poll of `run`, on the thread that told of its start-up: who waits for that comes on.
        let worker = tokio::spawn(start(blocker)).await.expect("no panic").expect("it starts");
        let stuck = worker.shutdown_within(Duration::ZERO).await.expect_err("nothing can abort it");
        assert_eq!(stuck.name, "blocker");
        assert!(worker.state().is_stopping() && worker.outcome().is_none());
        // If it ever returns, its end is told like any other.
        drop(release);
        assert_eq!(worker.wait_for_shutdown().await.ending(), Ending::Requested);
    });
}

/// An error that runs a function when it is shown.
struct Shown<F>(F);

impl<F: Fn()> std::fmt::Display for Shown<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0)();
        f.write_str("shown")
    }
}

impl<F> std::fmt::Debug for Shown<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl<F: Fn()> std::error::Error for Shown<F> {}

/// Formats whatever is logged.
struct Formatting;

impl tracing::Subscriber for Formatting {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event
            .record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| drop(format!("{value:?}")));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn an_error_that_uses_its_worker_when_it_is_logged_hangs_nothing() {
    let _watchdog = watchdog();
    let _logged = tracing::subscriber::set_default(Formatting);
    let worker = start(|cx: WorkerContext| async move {
        let worker = cx.worker();
        Err::<(), _>(Shown(move || {
            worker.gracefully_stop();
        }))
    });
    let worker = worker.await.expect("it starts");
    assert_eq!(ends(worker.wait_for_shutdown()).await.state(), WorkerState::Failed);
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_may_use_the_worker() {
    let _watchdog = watchdog();
    let worker = start(|cx: WorkerContext| async move { cx.stopping().await }).await.expect("it starts");
    let mut watch = worker.watch_state();
    let stopped = watch.wait_for(|state| {
        worker.gracefully_stop();
        state.is_stopped()
    });
    assert_eq!(ends(stopped).await, Some(WorkerState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_it_is_shown_skips_nothing() {
    let _logged = tracing::subscriber::set_default(Formatting);
    let journal = Journal::default();

    struct Bad(Journal);
    impl workfleet_worker_lifecycle::Worker for Bad {
        async fn run(&mut self, _cx: &WorkerContext) -> Result<(), workfleet_worker_lifecycle::WorkerError> {
            Err(Shown(|| panic!("as told")).into())
        }

        fn after_shutdown(&mut self, reason: &str, code: u8) {
            self.0.add(format!("after_shutdown {code} {reason}"));
        }
    }

    let worker = start(Bad(journal.clone())).await.expect("it starts");
    let outcome = ends(worker.wait_for_shutdown()).await;
    assert_eq!(outcome.failures().len(), 1, "{outcome}");
    assert_eq!(journal.lines(), ["after_shutdown 2 run failed: (an error that cannot be shown)"]);
}

#[test]
fn a_stuck_worker_whose_runtime_was_shut_down_is_reported_all_the_same() {
    let _watchdog = watchdog();
    let home = two_threads();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (blocks, blocked) = std::sync::mpsc::channel::<()>();
    let blocker = worker_fn(move |_cx: WorkerContext| async move {
        blocks.send(()).expect("the test waits");
        // The error is the release.
        let _ = released.recv();
    });
    let worker =
        home.block_on(async { tokio::spawn(start(blocker)).await.expect("no panic").expect("it starts") });
    blocked.recv().expect("it runs");
    home.shutdown_background();
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    other.block_on(async {
        worker.shutdown_within(Duration::ZERO).await.expect_err("nothing can abort it");
        drop(release);
        worker.wait_for_shutdown().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_later_deadline_does_not_replace_an_earlier_one() {
    let begin = Instant::now();
    let deaf = worker_fn(|_cx: WorkerContext| pending::<()>()).with_grace(seconds(2));
    let worker = start(deaf).await.expect("it starts").detach();
    let (first, second) = tokio::join!(worker.shutdown(), worker.shutdown_within(seconds(60)));
    assert_eq!(first.expect("it is not stuck").ending(), Ending::Forced);
    assert_eq!(second.expect("it is not stuck").ending(), Ending::Forced);
    assert_eq!(begin.elapsed(), seconds(2));
}
