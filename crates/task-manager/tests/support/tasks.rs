//! Tasks that several tests need.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Condvar, Mutex, PoisonError},
    thread,
};

use super::{append_line, process::signal_itself, task::task};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use workfleet_task_manager::{Pool, Registry, Task, TaskContext, TaskError, TaskMessage, TaskSpec};

pub(crate) fn registry() -> Registry {
    Registry::new().task::<Gate>().task::<Mark>().task::<Say>().task::<Fail>().task::<Nest>()
}

/// A message that is a text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Text(pub(crate) String);

impl TaskMessage for Text {
    const NAME: &'static str = "text";
}

/// The next message; its task has not to have ended.
pub(crate) fn next_text(manager: &Pool) -> String {
    manager.messages::<Text>().next().expect("a task is pending").expect("it is a message").content.0
}

/// Says "begun", then runs until it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Gate {
    /// Ends as a cancelled task does.
    Obey,
    /// Ends as if nothing had happened: what the tests release it by. The request travels on the same connection
    /// as tasks and recalls, so whatever was decided before has reached the worker before the gate opens.
    Finish,
    /// Does not end; on a thread of the test, it does with the test.
    Ignore,
}

impl TaskSpec for Gate {
    const NAME: &'static str = "gate";
    type Output = ();
}

impl Task for Gate {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text("begun".into()))?;
        if let Self::Ignore = self {
            ignore_everything();
            return Ok(());
        }
        wait_for_cancellation(cx)?;
        if let Self::Obey = self {
            cx.check_cancelled()?;
        }
        Ok(())
    }
}

/// The tests that have ended in this process: never one in a worker process.
static TESTS_ENDED: Mutex<u64> = Mutex::new(0);
static TEST_ENDED: Condvar = Condvar::new();

/// Blocks the thread until the test has ended: what can be killed does not return.
pub(crate) fn ignore_everything() {
    let ended = TESTS_ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = *ended;
    drop(TEST_ENDED.wait_while(ended, |ended| *ended == now).unwrap_or_else(PoisonError::into_inner));
}

/// Ends every [`Gate::Ignore`] that was abandoned on a thread of this process.
pub(crate) fn end_the_abandoned() {
    *TESTS_ENDED.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    TEST_ENDED.notify_all();
}

/// Blocks the task's thread until the task is cancelled.
pub(crate) fn wait_for_cancellation(cx: &TaskContext) -> Result<(), TaskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(cx.cancellation_token().cancelled());
    Ok(())
}

/// Appends a line to a file: counts how often it is run, and in which order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) file: PathBuf,
    pub(crate) line: String,
}

impl TaskSpec for Mark {
    const NAME: &'static str = "mark";
    type Output = ();
}

impl Task for Mark {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(append_line(&self.file, &self.line)?)
    }
}

/// Sends a text as often as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Say {
    pub(crate) text: String,
    pub(crate) times: u32,
}

impl TaskSpec for Say {
    const NAME: &'static str = "say";
    type Output = ();
}

impl Task for Say {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let message = Text(self.text);
        (0..self.times).try_for_each(|_| cx.send_message(&message))?;
        Ok(())
    }
}

/// Fails.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fail(pub(crate) u32);

impl TaskSpec for Fail {
    const NAME: &'static str = "fail";
    type Output = ();
}

impl Task for Fail {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Err(format!("failure {}", self.0).into())
    }
}

/// Kills its worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Die;
task!(Die, "die", (), |self, _cx| signal_itself(Signal::KILL));

/// Does nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Nothing;
task!(Nothing, "nothing", (), |self, _cx| Ok(()));

/// Starts a process in its worker's group, says both process ids, and does not end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Nest;

impl TaskSpec for Nest {
    const NAME: &'static str = "nest";
    type Output = ();
}

impl Task for Nest {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let grandchild = Command::new("sleep").arg("100000").spawn()?;
        cx.send_message(&Text(format!("{} {}", std::process::id(), grandchild.id())))?;
        loop {
            thread::park();
        }
    }
}
