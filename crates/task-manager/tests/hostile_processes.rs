//! Tasks that make processes of their own: forks that live on, return, exit or talk; groups and sessions; a manager
//! inside a task. None of them is taken for the worker, and none outlives it that stays in its group.

mod support;

use std::{
    io::{self, Read, Write},
    mem,
    path::PathBuf,
    process,
    time::Duration,
};

use rustix::process::{Signal, getpgid, getppid, setpgid, setsid};
use serde::{Deserialize, Serialize};
use support::{
    acts::{self, Act, Done},
    alone, assert_stopped, close,
    gate::{Gate, Hold, wait_at},
    only_worker,
    process::{Watched, fork, is_alive, pause, reap, signal, signal_child},
    tasks::{self, Text, next_text},
    without_leaks,
};
use workfleet_task_manager::{
    ClosePolicy, ExitStatus, FailureCause, Message, MessageSendError, ProcessManager, Registry,
    ScheduleErrorKind, Task, TaskContext, TaskError, TaskHandle, TaskSpec,
};

/// What an [`Act`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Deed {
    Nothing,
    /// The forked process stays where it is forever; the task returns, or dies.
    ForkAndStay {
        die: bool,
    },
    /// The forked process ends the task as well, and the task waits until it is gone.
    ForkAndEnd(CopyEnds),
    /// The forked process sends, schedules and flushes, and then the task does.
    ForkAndTalk,
    /// A forked process begins a session of its own and keeps all of the worker's descriptors.
    Daemonise {
        die: bool,
    },
    /// The worker leaves its group for that of its manager, and stops.
    LeaveGroup,
    /// Tries to begin a session of the worker's own.
    BeginSession,
}

/// How a task ends in a forked process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum CopyEnds {
    Returning,
    Failing,
    Panicking,
    Exiting,
}

/// A forked process that a test has forgotten goes after this.
const DAEMON_LIFE_SECONDS: u32 = 100;

impl acts::Deed for Deed {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        match self {
            Self::Nothing => {}
            Self::ForkAndStay { die } => {
                tell(cx, fork(|| pause()))?;
                if die {
                    process::abort();
                }
            }
            Self::ForkAndEnd(ends) => {
                // SAFETY: the copy has one thread and goes on as a task would: what that leads to is what is tested.
                match unsafe { libc::fork() } {
                    0 => return ends.end(),
                    child => {
                        let child = child.try_into()?;
                        tell(cx, child)?;
                        assert_eq!(reap(child), 0, "it exited with code 0");
                    }
                }
            }
            Self::ForkAndTalk => {
                cx.send_message(&Text("before".into()))?;
                let child = fork(|| assert_refused(cx));
                assert_eq!(reap(child), 0, "it exited with code 0");
                cx.send_message(&Text("after".into()))?;
                cx.schedule(Act::once(Self::Nothing))?;
                cx.flush()?;
            }
            Self::Daemonise { die } => {
                let (mut begun, begin) = io::pipe()?;
                let daemon = fork(|| {
                    setsid().expect("it leads no group");
                    // SAFETY: it takes a number and changes nothing of ours.
                    unsafe { libc::alarm(DAEMON_LIFE_SECONDS) };
                    (&begin).write_all(b"!").expect("the task reads");
                    pause();
                });
                begun.read_exact(&mut [0])?;
                tell(cx, daemon)?;
                if die {
                    process::abort();
                }
            }
            Self::LeaveGroup => {
                setpgid(None, Some(getpgid(getppid())?))?;
                signal(process::id(), Signal::STOP);
                // Another thread may be the one that takes the signal.
                pause();
            }
            Self::BeginSession => {
                assert_eq!(setsid(), Err(rustix::io::Errno::PERM), "it leads a group");
            }
        }
        Ok(())
    }
}

impl CopyEnds {
    fn end(self) -> Result<(), TaskError> {
        match self {
            Self::Returning => Ok(()),
            Self::Failing => Err("in the copy".into()),
            Self::Panicking => panic!("in the copy"),
            Self::Exiting => process::exit(0),
        }
    }
}

/// Says a process id, and is sure that it was heard.
fn tell(cx: &TaskContext, pid: u32) -> Result<(), TaskError> {
    cx.send_message(&Text(pid.to_string()))?;
    Ok(cx.flush()?)
}

/// The copy of a worker has no attempt of its own.
fn assert_refused(cx: &TaskContext) {
    let sent = cx.send_message(&Text("from the copy".into()));
    let scheduled = cx.schedule(Act::once(Deed::Nothing)).expect_err("it is refused");
    let refused = matches!(sent, Err(MessageSendError::AttemptEnded))
        && matches!(scheduled.kind(), ScheduleErrorKind::AttemptEnded)
        && matches!(cx.flush(), Err(MessageSendError::AttemptEnded));
    if !refused {
        // SAFETY: it ends the process and runs nothing.
        unsafe { libc::_exit(1) };
    }
}

/// Has a manager of its own. Its first attempt leaves tasks at the gate and then does as it is told; others close.
#[derive(Debug, Serialize, Deserialize)]
struct Nested {
    gate: PathBuf,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Then {
    Wait,
    Exit,
    /// Forgets its manager and returns.
    Return,
}

const NESTED_WORKERS: usize = 2;

impl TaskSpec for Nested {
    const NAME: &'static str = "nested";
    type Output = u64;
}

impl Task for Nested {
    fn run(self, cx: &TaskContext) -> Result<u64, TaskError> {
        let manager = support::builder(registry(), NESTED_WORKERS).start()?;
        for _ in 0..10 {
            let done = manager.submit(Act::once(Deed::Nothing))?.wait()?;
            assert_ne!(done.pid, process::id());
        }
        if cx.attempt() > 1 {
            return Ok(manager.close(ClosePolicy::Join)?.tasks.done);
        }
        let held: Vec<_> =
            (0..NESTED_WORKERS).map(|_| manager.submit(Hold(self.gate.clone()))).collect::<Result<_, _>>()?;
        cx.send_message(&Text("nested".into()))?;
        match self.then {
            Then::Wait => {
                held.into_iter().try_for_each(TaskHandle::wait)?;
                Ok(manager.close(ClosePolicy::Join)?.tasks.done)
            }
            Then::Exit => {
                // Once they are there, as the test will see: both say so at their gate.
                cx.send_message(&Text("exits".into()))?;
                wait_at(&self.gate)?;
                process::exit(3)
            }
            Then::Return => {
                mem::forget(manager);
                Ok(0)
            }
        }
    }
}

fn registry() -> Registry {
    tasks::registry().task::<Act<Deed>>().task::<Hold>().task::<Nested>()
}
workfleet_task_manager::test_worker!(registry());

fn start() -> ProcessManager {
    support::builder(registry(), 1).start().expect("it starts")
}

fn submit(manager: &ProcessManager, deed: Deed) -> TaskHandle<Done> {
    manager.submit(Act::once(deed)).expect("it is taken")
}

/// The manager works, and so does its only worker.
fn assert_healthy(manager: &ProcessManager, pid: u32) {
    let handles: Vec<_> = (0..30).map(|_| submit(manager, Deed::Nothing)).collect();
    for handle in handles {
        assert_eq!(handle.wait().expect("it is done"), Done { attempt: 1, pid });
    }
}

/// The process that the next text names.
fn told(manager: &ProcessManager) -> u32 {
    next_text(manager).parse().expect("a process id")
}

#[test]
fn a_forked_process_that_lives_on_goes_with_its_worker() {
    let _alone = alone();
    without_leaks(|| {
        let manager = start();
        let pid = only_worker(&manager).expect("it has just started");
        let act = submit(&manager, Deed::ForkAndStay { die: false });
        let forked = Watched::new(told(&manager));
        assert_eq!(act.wait().expect("it is done"), Done { attempt: 1, pid });
        assert_healthy(&manager, pid);
        // It holds the worker's connection and its output: neither holds up the end.
        close(&manager);
        forked.wait();
    });
    let manager = start();
    let act = submit(&manager, Deed::ForkAndStay { die: true });
    let forked = told(&manager);
    assert_eq!(act.wait().expect("its second attempt lives").attempt, 2);
    assert!(!is_alive(forked), "it was killed before the task was tried again");
    close(&manager);
}

#[test]
fn a_forked_process_that_ends_the_task_is_not_taken_for_the_worker() {
    let _alone = alone();
    for ends in [CopyEnds::Returning, CopyEnds::Failing, CopyEnds::Panicking, CopyEnds::Exiting] {
        without_leaks(|| {
            let manager = start();
            let pid = only_worker(&manager).expect("it has just started");
            for _ in 0..3 {
                let act = submit(&manager, Deed::ForkAndEnd(ends));
                let behind: Vec<_> = (0..30).map(|_| submit(&manager, Deed::Nothing)).collect();
                assert_eq!(act.wait().expect("it is done"), Done { attempt: 1, pid }, "{ends:?}");
                for handle in behind {
                    assert_eq!(handle.wait().expect("it is done"), Done { attempt: 1, pid }, "{ends:?}");
                }
                assert!(!is_alive(told(&manager)));
            }
            let report = close(&manager);
            assert_eq!((report.tasks.done, report.unread_messages), (93, 0));
        });
    }
}

#[test]
fn a_forked_process_cannot_speak_for_the_task() {
    let _alone = alone();
    let manager = start();
    let pid = only_worker(&manager).expect("it has just started");
    for _ in 0..10 {
        let act = submit(&manager, Deed::ForkAndTalk);
        assert_eq!(act.wait().expect("it is done"), Done { attempt: 1, pid });
        let said = manager.messages().map(|message: Result<Message<Text>, _>| message.expect("a text"));
        assert_eq!(said.map(|message| message.content.0).collect::<Vec<_>>(), ["before", "after"]);
    }
    assert_eq!(close(&manager).tasks.done, 20);
}

/// Who leaves the group on purpose stays: that is what a daemon does it for. It holds up nothing.
#[test]
fn a_process_that_leaves_its_workers_group_outlives_it() {
    let _alone = alone();
    for die in [false, true] {
        let before = support::process::descriptors();
        let manager = start();
        let act = submit(&manager, Deed::Daemonise { die });
        let daemon = told(&manager);
        let watched = Watched::new(daemon);
        assert_eq!(act.wait().expect("it is done").attempt, if die { 2 } else { 1 });
        let pid = only_worker(&manager).expect("it works");
        assert_healthy(&manager, pid);
        close(&manager);
        assert!(is_alive(daemon));
        signal(daemon, Signal::KILL);
        watched.wait();
        drop(watched);
        support::until(|| support::process::descriptors() <= before);
    }
}

#[test]
fn a_worker_that_leaves_its_group_is_killed_all_the_same() {
    let _alone = alone();
    // SAFETY: it takes and returns no pointer.
    if unsafe { libc::getpgrp() } == 0 {
        // Its leader is outside this PID namespace: nobody could join this group.
        setpgid(None, None).expect("this process leads no session");
    }
    let limit = Duration::from_millis(300);
    let manager =
        support::builder(registry(), 1).crash_limit(1).silence_limit(limit).start().expect("it starts");
    let failure = submit(&manager, Deed::LeaveGroup).wait().expect_err("it dies");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 1), "{failure}");
    let death = &failure.deaths[0];
    assert_eq!(death.status, ExitStatus::Signaled(libc::SIGKILL), "{death}");
    assert_stopped(death, libc::SIGSTOP, limit);
    support::assert_reaped(&[death.pid]);
    let after = submit(&manager, Deed::Nothing).wait().expect("it is done");
    assert_healthy(&manager, after.pid);
    close(&manager);
}

#[test]
fn a_worker_cannot_begin_a_session() {
    let _alone = alone();
    let manager = start();
    let pid = only_worker(&manager).expect("it has just started");
    assert_eq!(submit(&manager, Deed::BeginSession).wait().expect("it is done"), Done { attempt: 1, pid });
    assert_healthy(&manager, pid);
    close(&manager);
}

/// However the worker that has a manager inside ends: the workers of that manager end too.
#[test]
fn a_manager_inside_a_task_works_and_its_workers_go_with_the_outer_one() {
    let _alone = alone();
    for how in ["killed", "exits", "closed", "forgotten"] {
        let gate = Gate::new();
        let manager = start();
        let then = match how {
            "exits" => Then::Exit,
            "forgotten" => Then::Return,
            _ => Then::Wait,
        };
        let nested = manager.submit(Nested { gate: gate.path(), then }).expect("it is taken");
        assert_eq!(next_text(&manager), "nested");
        let outer = only_worker(&manager).expect("it runs");
        if how == "exits" {
            assert_eq!(next_text(&manager), "exits");
        }
        let waiting = if how == "exits" { NESTED_WORKERS + 1 } else { NESTED_WORKERS };
        let waiting: Vec<_> = (0..waiting).map(|_| gate.wait()).collect();
        let inner: Vec<_> =
            waiting.iter().map(|task| task.pid).filter(|&pid| pid != outer).map(Watched::new).collect();
        assert_eq!(inner.len(), NESTED_WORKERS);
        match how {
            "killed" => {
                signal_child(outer, Signal::KILL);
                assert_eq!(nested.wait().expect("its second attempt closes"), 10);
            }
            "exits" => {
                waiting.into_iter().filter(|task| task.pid == outer).for_each(|task| task.go_on());
                assert_eq!(nested.wait().expect("its second attempt closes"), 10);
            }
            "forgotten" => assert_eq!(nested.wait().expect("it returns"), 0),
            _ => {
                manager.close(ClosePolicy::Kill).expect("it closes");
                assert_eq!(nested.wait().expect_err("it was killed").cause, FailureCause::Cancelled);
            }
        }
        manager.close(ClosePolicy::Join).expect("it closes");
        inner.iter().for_each(Watched::wait);
    }
}
