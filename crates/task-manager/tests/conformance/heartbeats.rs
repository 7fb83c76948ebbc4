//! What tasks say of how far they are, and what becomes of those that say nothing for too long.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use workfleet_task_manager::{
    Chain, ClosePolicy, FailureCause, KillReason, Manager as _, Proxy, Registry, Task, TaskContext,
    TaskError, TaskFailure, TaskHandle, TaskHeartbeatError, TaskSpec,
};

use crate::{
    KIND, Manager, builder,
    support::{
        Kind, all_ready, alone, assert_balanced, let_pass,
        tasks::{Text, ignore_everything, next_text, wait_for_cancellation},
        until,
    },
};

/// How long a [`Timed`] may be silent.
const TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Act {
    /// Says a number and ends, or fails.
    Say(u32),
    SayAndFail(u32),
    /// Says a number, waits to be cancelled, and ends as if nothing had happened, or as a cancelled task does.
    SayAndFinish(u32),
    SayAndObey(u32),
    /// Says a number and does not end.
    SayAndIgnore(u32),
    /// Waits to be cancelled, says so, and is silent for longer than it may.
    GoOnInSilence,
    /// Says a number again and again for longer than it may be silent.
    SayOften,
    /// Tries to say what it cannot, and tells what came of it.
    SayTooMuch,
    SayWhatCannotBeSaid,
    /// Keeps its proxy for the next task of its process, which speaks for it.
    LeaveProxy,
    UseProxy,
}

/// May be silent.
#[derive(Debug, Serialize, Deserialize)]
struct Free(Act);

impl TaskSpec for Free {
    const NAME: &'static str = "heartbeat-free";
    type Output = String;
}

impl Task for Free {
    fn run(self, cx: &TaskContext) -> Result<String, TaskError> {
        act(&self.0, cx)
    }
}

/// May not be silent for long.
#[derive(Debug, Serialize, Deserialize)]
struct Timed(Act);

impl TaskSpec for Timed {
    const NAME: &'static str = "heartbeat-timed";
    type Output = String;
    const HEARTBEAT_TIMEOUT: Option<Duration> = Some(TIMEOUT);
}

impl Task for Timed {
    fn run(self, cx: &TaskContext) -> Result<String, TaskError> {
        act(&self.0, cx)
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Free>().task::<Timed>()
}

static PROXY: Mutex<Option<Proxy>> = Mutex::new(None);

struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("never"))
    }
}

fn act(act: &Act, cx: &TaskContext) -> Result<String, TaskError> {
    assert_eq!(cx.last_heartbeat::<u32>()?, None, "it is the first attempt");
    match *act {
        Act::Say(number) => cx.heartbeat(&number)?,
        Act::SayAndFail(number) => {
            (0..=number).try_for_each(|number| cx.heartbeat(&number))?;
            return Err("it fails".into());
        }
        Act::SayAndFinish(number) | Act::SayAndObey(number) => {
            cx.heartbeat(&number)?;
            cx.send_message(&Text("begun".into()))?;
            wait_for_cancellation(cx)?;
            cx.heartbeat(&(number + 1))?;
            if let Act::SayAndObey(_) = act {
                cx.check_cancelled()?;
            }
        }
        Act::SayAndIgnore(number) => {
            cx.heartbeat(&number)?;
            ignore_everything();
        }
        Act::GoOnInSilence => {
            cx.send_message(&Text("begun".into()))?;
            wait_for_cancellation(cx)?;
            let_pass(3 * TIMEOUT);
        }
        Act::SayOften => {
            let end = Instant::now() + 3 * TIMEOUT;
            while Instant::now() < end {
                cx.heartbeat(&1_u32)?;
                let_pass(Duration::from_millis(5));
            }
        }
        Act::SayTooMuch => {
            let refused = cx.heartbeat(&vec![0_u8; 64 << 10]).expect_err("it is too large");
            assert!(matches!(refused, TaskHeartbeatError::Details(_)));
            return Ok(refused.to_string());
        }
        Act::SayWhatCannotBeSaid => {
            return Ok(cx.heartbeat(&Refuses).expect_err("it is refused").to_string());
        }
        Act::LeaveProxy => {
            *PROXY.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.proxy());
        }
        Act::UseProxy => {
            let proxy = PROXY.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or("none is left")?;
            assert!(proxy.priority_levels() > 0);
            return Ok(format!("{:?}", proxy.heartbeat(&1_u32)));
        }
    }
    Ok("done".into())
}

fn start(workers: usize) -> Manager {
    builder(workers).start().expect("it starts")
}

fn join(manager: &Manager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

fn said(handle: &TaskHandle<String>) -> Option<u32> {
    handle.last_heartbeat().map(|details| details.decode().expect("it is a number"))
}

fn last_words(failure: &TaskFailure) -> Option<u32> {
    failure.last_heartbeat.as_ref().map(|details| details.decode().expect("it is a number"))
}

fn assert_timed_out(failure: &TaskFailure, last: Option<u32>) {
    assert!(
        matches!(failure.cause, FailureCause::HeartbeatTimeout { timeout, .. } if timeout == TIMEOUT),
        "{failure}"
    );
    assert_eq!((failure.attempt, &*failure.worker.clone().expect("it ran")), (1, "worker-0"), "{failure}");
    assert_eq!(last_words(failure), last);
}

#[test]
fn what_a_running_task_says_is_in_its_handle_and_goes_when_it_is_done() {
    let _alone = alone();
    let manager = start(1);
    let mut handle = manager.submit(Free(Act::SayAndFinish(7))).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    until(|| said(&handle) == Some(7));
    handle.cancel();
    until(|| handle.is_finished());
    assert_eq!(said(&handle), None);
    handle.wait_timeout(Duration::ZERO).expect("it has ended").expect("it is done");
    assert_eq!(said(&handle), None);
    let silent = manager.submit(Free(Act::Say(1))).expect("it is taken");
    silent.wait().expect("it is done");
    join(&manager);
}

#[test]
fn a_failure_has_the_last_that_its_task_said() {
    let _alone = alone();
    let manager = start(1);
    for last in [0, 1, 100] {
        let handle = manager.submit(Free(Act::SayAndFail(last))).expect("it is taken");
        until(|| handle.is_finished());
        assert_eq!(said(&handle), Some(last));
        let failure = handle.wait().expect_err("it fails");
        assert_eq!(last_words(&failure), Some(last));
    }
    let handle = manager.submit(Timed(Act::SayAndObey(3))).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    handle.cancel();
    let failure = handle.wait().expect_err("it is cancelled");
    assert_eq!((&failure.cause, last_words(&failure)), (&FailureCause::Cancelled, Some(4)));
    join(&manager);
}

#[test]
fn what_cannot_be_said_is_an_error_of_the_task_alone() {
    let _alone = alone();
    let manager = start(1);
    let refused = [
        (Act::SayTooMuch, "the details have 65539 bytes, of 65536 that are allowed"),
        (Act::SayWhatCannotBeSaid, "the details cannot be encoded: `"),
    ];
    for (act, text) in refused {
        let said = manager.submit(Free(act)).expect("it is taken").wait().expect("it goes on");
        assert!(said.starts_with(text), "{said}");
    }
    join(&manager);
}

#[test]
fn who_speaks_for_an_attempt_that_has_ended_is_refused() {
    let _alone = alone();
    let manager = start(1);
    manager.submit(Free(Act::LeaveProxy)).expect("it is taken").wait().expect("it is done");
    let refused = manager.submit(Free(Act::UseProxy)).expect("it is taken").wait().expect("it is done");
    assert_eq!(refused, "Err(the attempt that this heartbeat is of has ended)");
    join(&manager);
}

#[test]
fn a_task_that_beats_goes_on_beyond_its_timeout_and_one_that_waits_for_its_turn_is_not_late() {
    let _alone = alone();
    let manager = start(1);
    let beats = manager.submit(Timed(Act::SayOften)).expect("it is taken");
    let behind = manager.submit(Timed(Act::Say(1))).expect("it is taken");
    beats.wait().expect("it beats");
    behind.wait().expect("it had not begun");
    join(&manager);
}

#[test]
fn a_task_that_is_silent_for_too_long_has_failed_whatever_it_returns() {
    let _alone = alone();
    let manager = start(1);
    // The last that they say comes too late.
    for act in [Act::SayAndFinish(7), Act::SayAndObey(7)] {
        let handle = manager.submit(Timed(act)).expect("it is taken");
        assert_eq!(next_text(&manager), "begun");
        let failure = handle.wait().expect_err("it is silent");
        assert_timed_out(&failure, Some(7));
        assert_eq!(failure.deaths, []);
    }
    assert_eq!(manager.stats().tasks.failed, 2);
    join(&manager);
}

#[test]
fn a_cancellation_does_not_stop_the_clock() {
    let _alone = alone();
    let manager = start(1);
    let handle = manager.submit(Timed(Act::GoOnInSilence)).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    handle.cancel();
    assert_timed_out(&handle.wait().expect_err("it is silent"), None);
    join(&manager);
}

#[test]
fn a_chain_may_be_silent_whatever_its_links_are() {
    let _alone = alone();
    let manager = start(1);
    let chain = Chain::new().then(&Free(Act::Say(1))).expect("it encodes");
    let chain = chain.then(&Timed(Act::GoOnInSilence)).expect("it encodes");
    let handle = manager.submit(chain).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    until(|| handle.last_heartbeat().is_some());
    handle.cancel();
    handle.wait().expect("it has no timeout");
    join(&manager);
}

#[test]
fn a_task_that_ignores_its_timeout_costs_its_worker_and_another_takes_its_place() {
    let _alone = alone();
    let manager = builder(1).heartbeat_grace(Duration::from_millis(50)).start().expect("it starts");
    let ignores = manager.submit(Timed(Act::SayAndIgnore(7))).expect("it is taken");
    let behind = manager.submit(Free(Act::Say(1))).expect("it is taken");
    let failure = ignores.wait().expect_err("it is silent");
    assert_timed_out(&failure, Some(7));
    match KIND {
        Kind::Processes => {
            let death = &failure.deaths[0];
            assert_eq!(failure.deaths.len(), 1);
            assert_eq!(death.killed_because, Some(KillReason::HeartbeatMissed(TIMEOUT)), "{death}");
            assert_eq!(death.charged, Some(failure.task), "{death}");
        }
        Kind::Threads => assert_eq!(failure.deaths, []),
    }
    behind.wait().expect("it is done by the next");
    all_ready(&manager, 1);
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    let abandoned: Vec<_> = report.abandoned.iter().map(|abandoned| abandoned.task).collect();
    assert_eq!(abandoned, if KIND == Kind::Threads { vec![failure.task] } else { Vec::new() });
}
