//! What the tests share: a limit on hanging, and a worker that does as it is told and keeps a journal.

#![allow(dead_code, reason = "each test uses its part of this")]

use std::{
    borrow::Cow,
    future::{Future, pending},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    time::timeout,
};
use workfleet_worker_lifecycle::{Worker, WorkerContext, WorkerError, worker_fn};

/// With a paused clock, this much time passes at once when everybody waits for somebody else.
const HANG_LIMIT: Duration = Duration::from_secs(86_400);

/// The future's output. With a paused clock: fails the test if the future waits for something that never happens.
pub(crate) async fn ends<F: Future>(future: F) -> F::Output {
    timeout(HANG_LIMIT, future).await.expect("it hangs")
}

/// For tests on a real clock: ends the test program if the guard is not dropped in time.
pub(crate) fn watchdog() -> impl Drop {
    struct Watchdog(Option<mpsc::Sender<()>>);
    impl Drop for Watchdog {
        fn drop(&mut self) {
            self.0.take();
        }
    }
    let (alive, ended) = mpsc::channel();
    let test = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{test} hangs");
            std::process::abort();
        }
    });
    Watchdog(Some(alive))
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A runtime on a real clock, of which one thread can be blocked.
pub(crate) fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A worker called "blocker" that blocks its thread, and what releases it when it is dropped.
pub(crate) fn blocker() -> (impl Worker, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let blocker = worker_fn(move |_cx: WorkerContext| async move {
        // The error is the release.
        let _ = released.recv();
    });
    (blocker.with_name("blocker"), release)
}

/// Its destructor panics with another of its kind.
#[derive(Debug)]
pub(crate) struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        std::panic::panic_any(Explosive);
    }
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.lock().expect("it is whole").push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("it is whole").clone()
    }

    pub(crate) fn assert_has(&self, line: &str) {
        let lines = self.lines();
        assert!(lines.iter().any(|written| written == line), "{line:?} is not in {lines:?}");
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("it is whole"))
    }
}

/// What a hook of a [`Scripted`] worker does.
#[derive(Clone, Debug, Default)]
pub(crate) enum Act {
    /// Returns at once.
    #[default]
    Return,
    /// Returns an error.
    Fail,
    /// Panics.
    Panic,
    /// Waits to be asked to stop; then returns.
    Obey,
    /// Waits to be asked to stop; then fails.
    ObeyAndFail,
    /// Waits forever.
    Deaf,
    /// Waits for this to be notified.
    Await(Arc<Notify>),
    /// Waits to be asked to stop, then this long.
    Linger(Duration),
    /// Waits this long, then panics.
    PanicAfter(Duration),
    /// Runs for this long, unless it is asked to stop.
    Last(Duration, bool),
}

impl Act {
    async fn perform(&self, cx: &WorkerContext) -> Result<(), WorkerError> {
        match self {
            Self::Return => {}
            Self::Fail => return Err("as told".into()),
            Self::Panic => panic!("as told"),
            Self::Obey => cx.stopping().await,
            Self::ObeyAndFail => {
                cx.stopping().await;
                return Err("as told".into());
            }
            Self::Deaf => pending().await,
            Self::Await(event) => event.notified().await,
            Self::Linger(time) => {
                cx.stopping().await;
                tokio::time::sleep(*time).await;
            }
            Self::PanicAfter(time) => {
                tokio::time::sleep(*time).await;
                panic!("as told");
            }
            Self::Last(time, fails) => {
                let lasted = cx.until_stopping(tokio::time::sleep(*time)).await;
                if lasted.is_some() && *fails {
                    return Err("as told".into());
                }
            }
        }
        Ok(())
    }
}

/// A worker that does as it is told and writes down which hooks were called and completed.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) name: &'static str,
    pub(crate) journal: Journal,
    pub(crate) on_startup: Act,
    pub(crate) run: Act,
    pub(crate) on_shutdown: Act,
    pub(crate) after_shutdown: Act,
    pub(crate) grace: Option<Duration>,
}

impl Scripted {
    /// It runs until it is asked to stop.
    pub(crate) fn new(name: &'static str, journal: &Journal) -> Self {
        Self {
            name,
            journal: journal.clone(),
            on_startup: Act::Return,
            run: Act::Obey,
            on_shutdown: Act::Return,
            after_shutdown: Act::Return,
            grace: Some(Duration::from_secs(10)),
        }
    }

    pub(crate) fn on_startup(mut self, on_startup: Act) -> Self {
        self.on_startup = on_startup;
        self
    }

    pub(crate) fn run(mut self, run: Act) -> Self {
        self.run = run;
        self
    }

    pub(crate) fn on_shutdown(mut self, on_shutdown: Act) -> Self {
        self.on_shutdown = on_shutdown;
        self
    }

    pub(crate) fn after_shutdown(mut self, after_shutdown: Act) -> Self {
        self.after_shutdown = after_shutdown;
        self
    }

    pub(crate) fn grace(mut self, seconds: u64) -> Self {
        self.grace = Some(Duration::from_secs(seconds));
        self
    }

    fn add(&self, what: impl AsRef<str>) {
        self.journal.add(format!("{} {}", self.name, what.as_ref()));
    }
}

impl Worker for Scripted {
    fn name(&self) -> Cow<'static, str> {
        self.name.into()
    }

    fn grace(&self) -> Option<Duration> {
        self.grace
    }

    async fn on_startup(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        self.add("on_startup");
        self.on_startup.perform(cx).await?;
        self.add("up");
        Ok(())
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        self.add("run");
        self.run.perform(cx).await
    }

    async fn on_shutdown(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        self.add("on_shutdown");
        self.on_shutdown.perform(cx).await?;
        self.add("down");
        Ok(())
    }

    fn after_shutdown(&mut self, reason: &str, code: u8) {
        self.add(format!("after_shutdown {code} {reason}"));
        if let Act::Panic = self.after_shutdown {
            panic!("as told");
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.add("dropped");
    }
}
