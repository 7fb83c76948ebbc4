//! Tasks that do a deed of their test in their first attempts, and say by which attempt they ended, and where.

use std::{collections::HashSet, fmt, process};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use workfleet_task_manager::{
    DeathCertificate, EncodedTask, ExitStatus, FailureCause, ProcessManager, Task, TaskContext, TaskError,
    TaskSpec,
};

use super::{
    gate::{Gate, Hold},
    process::is_child,
};

/// What an [`Act`] does.
pub(crate) trait Deed: Serialize + DeserializeOwned + fmt::Debug + Clone + Send + 'static {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError>;
}

/// Does its deed in the first attempts; returns in those that follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Act<D> {
    deed: D,
    attempts: u32,
}

impl<D> Act<D> {
    /// In every attempt.
    pub(crate) fn always(deed: D) -> Self {
        Self::in_first(u32::MAX, deed)
    }

    /// In the first attempt alone.
    pub(crate) fn once(deed: D) -> Self {
        Self::in_first(1, deed)
    }

    pub(crate) fn in_first(attempts: u32, deed: D) -> Self {
        Self { deed, attempts }
    }
}

/// By which attempt a task ended, and in which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) attempt: u32,
    pub(crate) pid: u32,
}

impl Done {
    pub(crate) fn by(cx: &TaskContext) -> Self {
        Self { attempt: cx.attempt(), pid: process::id() }
    }
}

impl<D: Deed> TaskSpec for Act<D> {
    const NAME: &'static str = "act";
    type Output = Done;
}

impl<D: Deed> Task for Act<D> {
    fn run(self, cx: &TaskContext) -> Result<Done, TaskError> {
        if cx.attempt() <= self.attempts {
            self.deed.run(cx)?;
        }
        Ok(Done::by(cx))
    }
}

/// How many acts [`check_death`] has done beside the fatal one.
pub(crate) const DONE_BESIDE_A_DEATH: usize = TAUGHT + 1 + 2 * BYSTANDERS + 1;
/// So many short acts teach a manager that acts are short.
const TAUGHT: usize = 20;
const BYSTANDERS: usize = 30;

/// The deed is always a death of its worker, the only one, of which its act alone is charged: not those that wait behind it,
/// which do `nothing`.
pub(crate) fn check_death<D: Deed>(
    manager: &ProcessManager,
    deed: &D,
    nothing: &D,
    check: impl Fn(&DeathCertificate),
) {
    let gate = Gate::new();
    let submit = |act: Act<D>| manager.submit(act).expect("it is taken");
    let bystander = || submit(Act::always(nothing.clone()));
    // Acts are short, the manager learns: so many of them are in hand at once.
    for _ in 0..TAUGHT {
        bystander().wait().expect("it returns");
    }
    let held = manager.submit(Hold(gate.path())).expect("it is taken");
    let waiting = gate.wait();
    let fatal = submit(Act::always(deed.clone()));
    let mut bystanders: Vec<_> = (0..BYSTANDERS).map(|_| bystander()).collect();
    let once = submit(Act::once(deed.clone()));
    bystanders.extend((0..BYSTANDERS).map(|_| bystander()));
    waiting.go_on();
    held.wait().expect("it was let go");

    let failure = fatal.wait().expect_err(&format!("{deed:?} is always a death"));
    assert_eq!(failure.cause, FailureCause::WorkerDied, "{failure}");
    assert_eq!((&*failure.name, failure.attempt), ("act", 3));
    let size = EncodedTask::new(&Act::always(deed.clone())).expect("it encodes").payload().len();
    assert_eq!(failure.debug, format!("act ({size} bytes)"), "its worker had no time to say more");
    assert_eq!(failure.worker.as_deref(), Some("worker-0"));
    assert_eq!(failure.deaths.len(), 3, "{failure}");
    for death in &failure.deaths {
        assert_eq!((&*death.worker, death.charged), ("worker-0", Some(failure.task)), "{failure}");
        assert!(!is_child(death.pid), "{} was not reaped", death.pid);
        check(death);
    }
    let pids: HashSet<u32> = failure.deaths.iter().map(|death| death.pid).collect();
    assert_eq!(pids.len(), 3, "each attempt had a worker of its own");

    assert_eq!(once.wait().expect("its second attempt lives").attempt, 2);
    for bystander in bystanders {
        assert_eq!(bystander.wait().expect("it is only a bystander").attempt, 1);
    }
}

/// The worker exited by itself, with this code.
pub(crate) fn exited(code: i32) -> impl Fn(&DeathCertificate) {
    ended(ExitStatus::Exited(code))
}

/// This signal ended the worker, and the manager has not sent it.
pub(crate) fn signaled(signal: i32) -> impl Fn(&DeathCertificate) {
    ended(ExitStatus::Signaled(signal))
}

fn ended(status: ExitStatus) -> impl Fn(&DeathCertificate) {
    move |death| assert_eq!((death.status, death.killed_because), (status, None), "{death}")
}
