//! What is lost or broken stands on the standard error of a program that has no subscriber of `tracing`, and nothing else does:
//! this test binary runs parts of itself as programs.

mod support;

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use support::watchdog;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use workfleet_worker_lifecycle::{
    Backoff, ChildSpec, OnStop, QueueConsumer, QueueConsumerWorker, Restart, Worker, WorkerContext,
    WorkerError, WorkerState, Workers, start,
};

/// Names the part that this test binary plays as a program.
const PART: &str = "WORKFLEET_TEST_PART";

/// The part, where this is such a program.
#[test]
fn program() {
    let Ok(part) = env::var(PART) else { return };
    match part.as_str() {
        "discards" => {
            let queue = QueueConsumer::unbounded();
            let sender = queue.sender();
            (0..3).for_each(|number| sender.send(number).expect("it is open"));
            drop(queue);
        }
        "fails-unwatched" => runtime().block_on(async {
            let worker = start(failing).await.expect("it starts");
            RUNS.acquire().await.expect("it is open").forget();
            release();
            // Nobody waits for the worker by this, but it tells that it has ended.
            ENDED.get().expect("it runs").cancelled().await;
            drop(worker);
        }),
        "fails-watched" => runtime().block_on(async {
            let worker = start(failing).await.expect("it starts");
            let waited = tokio::join!(worker.wait_for_shutdown(), async { release() }).0;
            assert_eq!(waited.state(), WorkerState::Failed);
        }),
        "does-not-start" => runtime().block_on(async {
            let group = Workers::new("group").with_child(|_: WorkerContext| async { broken() });
            start(group.with_child(Unstartable)).await.expect_err("it fails");
        }),
        "forgets" => runtime().block_on(async {
            start(stopping).await.expect("it starts").detach();
        }),
        "stops" => runtime().block_on(async {
            start(stopping).await.expect("it starts").shutdown().await.expect("it ends");
        }),
        "restarts" => runtime().block_on(restarts(broken)),
        "restarts-what-ends" => runtime().block_on(restarts(|| Ok(()))),
        "handler-fails" => runtime().block_on(handle(QueueConsumerWorker::new(|()| async { broken() }))),
        "handler-fails-and-says-so" => {
            runtime()
                .block_on(handle(QueueConsumerWorker::new(|()| async { broken() }).with_on_failure(|_| {})));
        }
        "report-panics" => {
            let worker = QueueConsumerWorker::new(|()| async { broken() });
            runtime().block_on(handle(worker.with_on_failure(|_| panic!("on purpose"))));
        }
        "is-stuck" => is_stuck(),
        #[cfg(feature = "systemd")]
        "stops-as-a-service" => runtime().block_on(async {
            let notifier = workfleet_worker_lifecycle::SystemdNotifier::new();
            start(notifier).await.expect("it starts").shutdown().await.expect("it ends");
        }),
        other => panic!("no part {other}"),
    }
    println!("\ndone");
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Its source says what its text does not.
#[derive(Debug, thiserror::Error)]
#[error("the table cannot be read")]
struct Unreadable(#[source] std::io::Error);

fn broken() -> Result<(), WorkerError> {
    Err(Unreadable(std::io::ErrorKind::NotFound.into()).into())
}

static RUNS: Semaphore = Semaphore::const_new(0);
static RELEASED: Semaphore = Semaphore::const_new(0);

fn release() {
    RELEASED.add_permits(1);
}

static ENDED: OnceLock<CancellationToken> = OnceLock::new();

async fn failing(cx: WorkerContext) -> Result<(), WorkerError> {
    ENDED.get_or_init(|| cx.cancellation_token());
    RUNS.add_permits(1);
    RELEASED.acquire().await.expect("it is open").forget();
    broken()
}

async fn stopping(cx: WorkerContext) {
    cx.stopping().await;
}

struct Unstartable;

impl Worker for Unstartable {
    async fn on_startup(&mut self, _: &WorkerContext) -> Result<(), WorkerError> {
        broken()
    }

    async fn run(&mut self, _: &WorkerContext) -> Result<(), WorkerError> {
        Ok(())
    }
}

/// A child that ends at once in its first life, and stops the group in its second.
async fn restarts(first: fn() -> Result<(), WorkerError>) {
    let again = Arc::new(AtomicBool::new(false));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let child = ChildSpec::new(move || {
        let (again, tell) = (again.swap(true, Ordering::Relaxed), tell.clone());
        move |cx: WorkerContext| async move {
            if !again {
                return first();
            }
            tell.send(()).expect("somebody waits");
            cx.stopping().await;
            Ok(())
        }
    });
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let group = Workers::new("group").with_backoff(backoff).with_child(child.with_restart(Restart::Always));
    let group = start(group).await.expect("it starts");
    told.recv().await.expect("it is started again");
    group.shutdown().await.expect("it ends").into_result().expect("well");
}

async fn handle<F, Fut>(worker: QueueConsumerWorker<(), F>)
where
    F: FnMut(()) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), WorkerError>> + Send + 'static,
{
    let worker = worker.with_on_stop(OnStop::Drain);
    let sender = worker.sender();
    let worker = start(worker).await.expect("it starts");
    sender.send(()).expect("it runs");
    worker.shutdown().await.expect("it ends");
}

/// A child blocks its thread until its group has given it up.
fn is_stuck() {
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let runtime = runtime();
    runtime.block_on(async {
        let child = ChildSpec::once(|_: WorkerContext| async move {
            tell.send(()).expect("somebody waits");
            // An error means that this was given up.
            let _ = released.recv();
        });
        let group = start(Workers::new("group").with_child(child)).await.expect("it starts");
        tokio::task::spawn_blocking(move || told.recv()).await.expect("it ends").expect("it runs");
        let outcome = group.shutdown_within(Duration::ZERO).await.expect("a group is not stuck");
        assert_eq!(outcome.state(), WorkerState::ForceStopped);
    });
    drop(release);
}

fn command(part: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["program", "--exact", "--nocapture"]).env(PART, part).env_remove("WORKFLEET_WARNINGS");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The lines that stand on the standard error of the program, once it has got to its end.
fn said(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success() && stdout.contains("\ndone\n"), "{}\n{stdout}\n{stderr}", output.status);
    stderr.lines().filter_map(|line| line.strip_prefix("workfleet: ")).map(str::to_owned).collect()
}

#[test]
fn what_nobody_else_is_told_is_said() {
    let _watchdog = watchdog();
    for (part, expected) in [
        ("discards", "a queue consumer stopped and discarded what was in its queue (messages=3)"),
        (
            "fails-unwatched",
            "a worker failed: run failed: the table cannot be read: entity not found (worker=",
        ),
        (
            "forgets",
            "a worker was ended before it had stopped: forced shutdown: its runtime was shut down (worker=",
        ),
        (
            "restarts",
            "a child is restarted, because it failed: run failed: the table cannot be read: entity not found (child=",
        ),
        ("handler-fails", "a handler failed: the table cannot be read: entity not found (handler="),
        ("report-panics", "the report of a failure panicked: on purpose (handler="),
        ("is-stuck", "a child is stuck: it blocks its thread and cannot be aborted (child="),
    ] {
        let said = said(&mut command(part));
        let [line] = &said[..] else { panic!("{part}: {said:?}") };
        assert!(line.starts_with(expected), "{part}: {line}");
    }
}

#[test]
fn what_the_program_is_told_itself_is_not_said() {
    let _watchdog = watchdog();
    for part in
        ["fails-watched", "does-not-start", "stops", "restarts-what-ends", "handler-fails-and-says-so"]
    {
        assert_eq!(said(&mut command(part)), [""; 0], "{part}");
    }
}

#[test]
fn it_can_be_switched_off() {
    let _watchdog = watchdog();
    for part in ["discards", "fails-unwatched", "forgets"] {
        assert_eq!(said(command(part).env("WORKFLEET_WARNINGS", "off")), [""; 0], "{part}");
    }
}

#[cfg(feature = "systemd")]
#[test]
fn a_service_manager_that_cannot_be_told_is_named() {
    let _watchdog = watchdog();
    let said = said(command("stops-as-a-service").env("NOTIFY_SOCKET", "/nowhere/at-all"));
    assert!(said.iter().all(|line| line.starts_with("cannot notify the service manager: ")), "{said:?}");
    assert!(!said.is_empty());
}
