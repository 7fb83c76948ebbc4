//! Events in tasks' payloads and by name, in worker processes and in processes that those start.

mod support;

use std::{ops::RangeInclusive, path::PathBuf};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, builder,
    gate::{Gate, wait_at},
    process::{await_stop, signal, signal_child},
};
use workfleet_heartbeat::{Event, remote::NAME_LIMIT_BYTES};
use workfleet_task_manager::{
    Chain, ClosePolicy, Extension, FailureCause, KillReason, ProcessManager, Registry, ServiceSender, Task,
    TaskContext, TaskError, TaskSpec,
};
use workfleet_wire::{Kind, kinds::EVENT_KINDS};

fn registry() -> Registry {
    Registry::new().task::<Do>().task::<Nest>()
}

workfleet_task_manager::test_worker!(registry());

/// One step of a task with an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Set,
    Clear,
    Wait,
    /// The output is whether it is set.
    Look,
    /// Let the test do something.
    Meet(PathBuf),
    /// From here on, it is about the event of this name.
    Name(String),
    /// Say what no worker says.
    Lie(u8, Vec<u8>),
    /// The same for one whose bytes came otherwise than in the payload.
    Decode(Vec<u8>),
}

/// Sends frames that are not its own.
struct Liar(ServiceSender);

impl Extension for Liar {
    const KINDS: RangeInclusive<u8> = EVENT_KINDS;

    fn attach(line: ServiceSender) -> Self {
        Self(line)
    }

    fn on_frame(&self, _kind: Kind, _payload: &[u8]) {}
}

/// Does this with the event; its output is what the last look saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Do(Option<Event>, Vec<Step>);

impl TaskSpec for Do {
    const NAME: &'static str = "do";
    type Output = bool;
}

impl Task for Do {
    fn run(self, cx: &TaskContext) -> Result<bool, TaskError> {
        let mut event = self.0.unwrap_or_default();
        let mut seen = false;
        for step in self.1 {
            match step {
                Step::Set => event.set()?,
                Step::Clear => event.clear()?,
                Step::Wait => event.blocking_wait()?,
                Step::Look => seen = event.is_set(),
                Step::Meet(gate) => wait_at(&gate)?,
                Step::Name(name) => event = cx.event(&name)?,
                Step::Lie(kind, payload) => cx.extension::<Liar>().0.send(Kind(kind), &payload)?,
                Step::Decode(bytes) => event = workfleet_wire::message::decode(&bytes)?,
            }
        }
        Ok(seen)
    }
}

/// Does it in a process that this task starts.
#[derive(Debug, Serialize, Deserialize)]
struct Nest(Do);

impl TaskSpec for Nest {
    const NAME: &'static str = "nest";
    type Output = bool;
}

impl Task for Nest {
    fn run(self, _cx: &TaskContext) -> Result<bool, TaskError> {
        let manager = ProcessManager::builder(registry()).workers(1).start()?;
        let seen = manager.submit(self.0)?.wait()?;
        manager.close(ClosePolicy::Join)?;
        Ok(seen)
    }
}

fn done(event: &Event, steps: impl IntoIterator<Item = Step>) -> Do {
    Do(Some(event.clone()), steps.into_iter().collect())
}

fn named(name: &str, steps: impl IntoIterator<Item = Step>) -> Do {
    Do(None, [Step::Name(name.to_owned())].into_iter().chain(steps).collect())
}

fn start(workers: usize) -> ProcessManager {
    builder(registry(), workers).start().expect("a manager")
}

#[test]
fn a_worker_waits_for_what_its_manager_sets() {
    let _alone = alone();
    let (manager, event, gate) = (start(1), Event::new(), Gate::new());
    let task = manager.submit(done(&event, [Step::Look, Step::Meet(gate.path()), Step::Wait, Step::Look]));
    let waiting = gate.wait();
    waiting.go_on();
    event.set().expect("it is at home here");
    assert!(task.expect("it is taken").wait().expect("it was set"));
}

#[test]
fn what_a_worker_sets_is_seen_once_its_task_has_ended() {
    let _alone = alone();
    let (manager, event) = (start(1), Event::new());
    for _ in 0..200 {
        event.clear().expect("it is at home here");
        assert!(!event.is_set());
        let handle = manager.submit(done(&event, [Step::Set])).expect("it is taken");
        handle.wait().expect("it is set there");
        assert!(event.is_set(), "whoever has the outcome finds what the task did before");
    }
}

#[test]
fn the_first_look_in_a_worker_sees_what_is() {
    let _alone = alone();
    let manager = start(2);
    for set in [true, false].into_iter().cycle().take(100) {
        let event = Event::new();
        event.set().expect("it is at home here");
        if !set {
            event.clear().expect("it is at home here");
        }
        let handle = manager.submit(done(&event, [Step::Look])).expect("it is taken");
        assert_eq!(handle.wait().expect("it looks"), set);
    }
}

#[test]
fn one_worker_wakes_another() {
    let _alone = alone();
    let (manager, there, gate) = (start(2), Event::new(), Gate::new());
    let other = manager.submit(done(&there, [Step::Meet(gate.path()), Step::Wait, Step::Look]));
    let waiting = gate.wait();
    waiting.go_on();
    manager.schedule(done(&there, [Step::Set])).expect("it is taken");
    assert!(other.expect("it is taken").wait().expect("it is woken"));
}

#[test]
fn whoever_waits_anywhere_learns_of_a_set_that_is_cleared_at_once() {
    let _alone = alone();
    let (manager, event, gate) = (start(2), Event::new(), Gate::new());
    // It has looked, so it knows; that it waits by now shows nowhere, and a wait that begins later finds no pulse. So
    // the pulses come until it has ended.
    let mut handle =
        manager.submit(done(&event, [Step::Look, Step::Meet(gate.path()), Step::Wait])).expect("it is taken");
    gate.wait().go_on();
    while handle.wait_timeout(std::time::Duration::from_millis(1)).is_none() {
        event.set().expect("it is at home here");
        event.clear().expect("it is at home here");
    }
}

#[test]
fn names_are_shared_by_the_tasks_of_one_manager_and_by_nobody_else() {
    let _alone = alone();
    let (manager, other) = (start(2), start(1));
    let handle = manager.submit(named("go", [Step::Wait, Step::Look])).expect("it is taken");
    manager.submit(named("go", [Step::Set])).expect("it is taken").wait().expect("it is set");
    assert!(handle.wait().expect("it is woken"));
    // Nobody holds it any more, and it is set all the same.
    assert!(manager.event("go").expect("a short name").is_set());
    assert!(!other.event("go").expect("a short name").is_set());
    assert!(!other.submit(named("go", [Step::Look])).expect("it is taken").wait().expect("it looks"));
    manager.submit(named("go", [Step::Clear])).expect("it is taken").wait().expect("it is cleared");
    assert!(!manager.event("go").expect("a short name").is_set());
}

#[test]
fn a_name_that_is_too_long_is_an_error_to_who_asks_for_it() {
    let _alone = alone();
    let manager = start(1);
    let name = "n".repeat(NAME_LIMIT_BYTES + 1);
    assert_eq!(manager.event(&name).expect_err("one byte too many").len_bytes, NAME_LIMIT_BYTES + 1);
    let failure = manager.submit(named(&name, [])).expect("it is taken").wait().expect_err("it fails");
    assert!(matches!(&failure.cause, FailureCause::Error { chain, .. } if chain[0].contains("1025 bytes")));
    manager.event(&name[1..]).expect("it just fits");
}

#[test]
fn an_event_works_in_a_process_that_a_worker_starts() {
    let _alone = alone();
    let (manager, event, gate) = (start(1), Event::new(), Gate::new());
    let inner = done(&event, [Step::Look, Step::Meet(gate.path()), Step::Wait, Step::Clear, Step::Look]);
    let handle = manager.submit(Nest(inner)).expect("it is taken");
    gate.wait().go_on();
    event.set().expect("it is at home here");
    assert!(!handle.wait().expect("it was set and then cleared"));
    assert!(!event.is_set());
    let handle = manager.submit(Nest(done(&event, [Step::Set]))).expect("it is taken");
    handle.wait().expect("it is set two processes away");
    event.blocking_wait().expect("it is at home here");
}

#[test]
fn an_event_is_kept_by_the_tasks_that_carry_it() {
    let _alone = alone();
    let (manager, gate) = (start(1), Gate::new());
    let busy = manager.submit(done(&Event::new(), [Step::Meet(gate.path())])).expect("it is taken");
    let waiting = gate.wait();
    let event = Event::new();
    let chained = Chain::new().then(&done(&event, [Step::Set])).expect("it encodes");
    let set = manager.submit(chained).expect("it is taken");
    let wait = manager.submit(done(&event, [Step::Wait, Step::Look])).expect("it is taken");
    drop(event);
    waiting.go_on();
    busy.wait().expect("that one needed no event");
    set.wait().expect("it is set");
    assert!(wait.wait().expect("it was set by a task that has ended"));
}

#[test]
fn an_event_that_everybody_has_let_go_of_is_lost_and_nobody_waits_for_it() {
    let _alone = alone();
    let manager = start(1);
    let bytes = workfleet_wire::message::encode(&Event::new()).expect("it encodes");
    let task = Do(None, vec![Step::Decode(bytes), Step::Wait]);
    let failure = manager.submit(task).expect("it is taken").wait().expect_err("nobody could set it");
    assert!(
        matches!(&failure.cause, FailureCause::Error { chain, .. } if chain[0].contains("out of reach")),
        "{failure}"
    );
}

#[test]
fn a_killed_holder_disturbs_nobody() {
    let _alone = alone();
    let (manager, event, gate) = (start(2), Event::new(), Gate::new());
    let steps = [Step::Meet(gate.path()), Step::Wait, Step::Look];
    let first = manager.submit(done(&event, steps.clone())).expect("it is taken");
    let second = manager.submit(done(&event, steps)).expect("it is taken");
    let killed = gate.wait();
    signal(killed.pid, Signal::KILL);
    // Its task is tried again elsewhere, and comes here again.
    let (one, other) = (gate.wait(), gate.wait());
    one.go_on();
    other.go_on();
    event.set().expect("it is at home here");
    assert!(first.wait().expect("one of them was tried again"));
    assert!(second.wait().expect("one of them was tried again"));
}

#[test]
fn a_stopped_worker_costs_no_memory_however_often_an_event_changes() {
    let _alone = alone();
    let (manager, event, gate) = (start(1), Event::new(), Gate::new());
    let pids = all_ready(&manager, 1);
    let steps = [Step::Look, Step::Meet(gate.path()), Step::Wait, Step::Look];
    let handle = manager.submit(done(&event, steps)).expect("it is taken");
    let waiting = gate.wait();
    signal_child(pids[0], Signal::STOP);
    await_stop(pids[0]);
    let before = support::process::status("VmRSS");
    for _ in 0..1_000_000 {
        event.set().expect("it is at home here");
        event.clear().expect("it is at home here");
    }
    event.set().expect("it is at home here");
    let grown_kib = support::process::status("VmRSS").saturating_sub(before);
    assert!(grown_kib < 4096, "{grown_kib} KiB for a worker that takes nothing");
    signal_child(pids[0], Signal::CONT);
    waiting.go_on();
    assert!(handle.wait().expect("it goes on"));
}

#[test]
fn a_worker_that_lies_about_events_is_killed_and_nobody_waits_for_it() {
    let _alone = alone();
    let manager = builder(registry(), 1).crash_limit(1).start().expect("a manager");
    let event = Event::new();
    // An attachment and a beat that do not decode, and a state, which only comes from above.
    for (kind, payload) in [(0x30, vec![0xff]), (0x34, vec![1, 0, 2, 7]), (0x38, vec![1, 0, 0])] {
        let task = done(&event, [Step::Look, Step::Lie(kind, payload), Step::Wait]);
        let failure = manager.submit(task).expect("it is taken").wait().expect_err("its worker is killed");
        assert_eq!(failure.cause, FailureCause::WorkerDied);
        assert_eq!(failure.deaths[0].killed_because, Some(KillReason::ProtocolViolated));
    }
    event.set().expect("it is at home here");
    assert!(manager.submit(done(&event, [Step::Look])).expect("it is taken").wait().expect("another worker"));
}
