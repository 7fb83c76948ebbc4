//! Events and heartbeat senders in the payloads of tasks, and events by name.

use std::{path::PathBuf, sync::mpsc::channel};

use serde::{Deserialize, Serialize};
use workfleet_heartbeat::{Event, HeartbeatSender, Heartbeaters, Report};
use workfleet_task_manager::{ClosePolicy, NoMessage, Registry, Task, TaskContext, TaskError, TaskSpec};

use crate::{
    Manager, builder,
    support::{
        alone, assert_balanced,
        gate::{Gate, wait_at},
    },
};

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Beat>().task::<PassOn>().task::<SetByName>()
}

fn start(workers: usize) -> Manager {
    builder(workers).start().expect("it starts")
}

fn join(manager: &Manager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

/// Waits for the event, and then beats with each of these numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Beat(Event, HeartbeatSender, Vec<u64>);

impl TaskSpec for Beat {
    const NAME: &'static str = "events-beat";
    type Output = ();
}

impl Task for Beat {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        self.0.blocking_wait()?;
        self.2.iter().try_for_each(|number| self.1.send(number))?;
        Ok(())
    }
}

/// Waits at the gate, passes the event on to a child, and so on, as often as there are gates; the last waits for the event.
#[derive(Debug, Serialize, Deserialize)]
struct PassOn(Event, Vec<PathBuf>);

impl TaskSpec for PassOn {
    const NAME: &'static str = "events-pass-on";
    type Output = ();
}

impl Task for PassOn {
    fn run(mut self, cx: &TaskContext) -> Result<(), TaskError> {
        match self.1.pop() {
            None => self.0.blocking_wait()?,
            Some(gate) => {
                wait_at(&gate)?;
                cx.schedule(self)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct SetByName(String);

impl TaskSpec for SetByName {
    const NAME: &'static str = "events-set-by-name";
    type Output = ();
}

impl Task for SetByName {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.event(&self.0)?.set()?)
    }
}

#[test]
fn an_event_and_a_sender_work_in_the_tasks_that_they_are_sent_to() {
    let _alone = alone();
    let (manager, event) = (start(2), Event::new());
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let (tell, reports) = channel();
    let callback = move |report| tell.send(report).unwrap_or(());
    let sender = heartbeaters.register("import", callback).expect("a new token");
    let submit = |numbers: [u64; 2]| {
        manager.submit(Beat(event.clone(), sender.clone(), numbers.into())).expect("it is taken")
    };
    let handles = [submit([1, 2]), submit([3, 4])];
    event.set().expect("it is at home here");
    for handle in handles {
        handle.wait().expect("it waited and beat");
    }
    heartbeaters.blocking_unregister("import").expect("everybody answers");
    let Some(Report::Beat(last)) = reports.try_iter().last() else { panic!("they beat") };
    assert!([2, 4].contains(&last.decode::<u64>().expect("a number")));
    let stats = heartbeaters.stats();
    assert_eq!((stats.beats, stats.reported + stats.superseded), (4, 4), "{stats:?}");
    join(&manager);
}

#[test]
fn an_event_is_kept_by_the_children_that_it_is_passed_on_to() {
    let _alone = alone();
    let (manager, event, gate) = (start(1), Event::new(), Gate::new());
    event.set().expect("it is at home here");
    let family = PassOn(event.clone(), vec![gate.path(), gate.path()]);
    manager.schedule(family).expect("it is taken");
    let parent = gate.wait();
    // From here on, only the tasks have it.
    drop(event);
    parent.go_on();
    gate.wait().go_on();
    let failures: Vec<_> = manager.messages::<NoMessage>().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{failures:?}");
    join(&manager);
}

#[test]
fn an_event_has_one_name_for_a_manager_and_its_tasks() {
    let _alone = alone();
    let manager = start(1);
    let loaded = manager.event("loaded").expect("a short name");
    manager.submit(SetByName("loaded".into())).expect("it is taken").wait().expect("it is set");
    loaded.blocking_wait().expect("it is at home here");
    let too_long = manager.submit(SetByName("x".repeat(2000))).expect("it is taken").wait();
    assert!(too_long.expect_err("the name is too long").to_string().contains("2000 bytes"));
    join(&manager);
}
