//! Values that a manager gives to the sessions of its workers.

mod support;

use std::{ops::Deref, process, time::Duration};

use serde::{Deserialize, Serialize};
use support::tasks::Die;
use workfleet_heartbeat::Event;
use workfleet_task_manager::{
    ClosePolicy, ManagerStartError, NullManager, Pool, ProcessManager, Registry, StartFailure, Task,
    TaskContext, TaskError, TaskSpec, ThreadManager,
};

/// Who has built the registry.
#[derive(Serialize, Deserialize)]
struct Origin {
    pid: u32,
    /// Much.
    ballast: Vec<u8>,
}

const BALLAST_BYTES: usize = 5 << 20;

/// A session.
struct Built(Origin);

/// Events that a session is made with.
#[derive(Serialize, Deserialize)]
struct Bells {
    asked: Event,
    answered: Event,
    fails: bool,
}

/// Another session.
struct Bell(Event);

fn registry() -> Registry {
    let asked = Event::new();
    asked.set().expect("it is here");
    registry_with(Bells { asked, answered: Event::new(), fails: false })
}

fn registry_with(bells: Bells) -> Registry {
    let origin = Origin { pid: process::id(), ballast: vec![7; BALLAST_BYTES] };
    tasks().session_with(origin, |origin| Ok(Built(origin))).session_with(bells, |bells: Bells| {
        // The worker makes its sessions, and is served meanwhile.
        bells.asked.blocking_wait()?;
        if bells.fails {
            bells.answered.set()?;
            return Err("no bell today".into());
        }
        Ok(Bell(bells.answered))
    })
}

fn tasks() -> Registry {
    Registry::new().task::<WhoBuilt>().task::<Die>().task::<Ring>()
}

workfleet_task_manager::test_worker!(registry());

/// The process that has built what the session was made of, and the one that runs this.
#[derive(Debug, Serialize, Deserialize)]
struct WhoBuilt;

impl TaskSpec for WhoBuilt {
    const NAME: &'static str = "who-built";
    type Output = (u32, usize, u32);
}

impl Task for WhoBuilt {
    fn run(self, cx: &TaskContext) -> Result<(u32, usize, u32), TaskError> {
        let Built(origin) = cx.session()?;
        Ok((origin.pid, origin.ballast.len(), process::id()))
    }
}

/// Sets the event in the session.
#[derive(Debug, Serialize, Deserialize)]
struct Ring;

impl TaskSpec for Ring {
    const NAME: &'static str = "ring";
    type Output = ();
}

impl Task for Ring {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let Bell(event) = cx.session()?;
        Ok(event.set()?)
    }
}

fn who_built(manager: &impl Deref<Target = Pool>) -> (u32, usize, u32) {
    manager.submit(WhoBuilt).expect("it is open").wait().expect("it runs")
}

#[test]
fn every_worker_process_gets_the_managers_value_however_large_and_whenever_it_is_started() {
    let builder = ProcessManager::builder(registry()).workers(1).crash_limit(1).frame_limit(64 << 10);
    let manager = builder.start().expect("workers start");
    let (built_by, ballast_bytes, first) = who_built(&manager);
    assert_eq!((built_by, ballast_bytes), (process::id(), BALLAST_BYTES));
    assert_ne!(first, process::id());
    manager.submit(Die).expect("it is open").wait().expect_err("its worker dies");
    let (built_by, ballast_bytes, second) = who_built(&manager);
    assert_eq!((built_by, ballast_bytes), (process::id(), BALLAST_BYTES));
    assert_ne!(second, first, "another worker");
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn threads_and_contexts_without_a_worker_make_their_sessions_of_the_same_values() {
    let manager = ThreadManager::builder(registry()).workers(2).start().expect("workers start");
    assert_eq!(who_built(&manager), (process::id(), BALLAST_BYTES, process::id()));
    manager.close(ClosePolicy::Join).expect("it closes");

    let cx = TaskContext::detached_with(NullManager, &registry()).expect("sessions are made");
    assert_eq!(WhoBuilt.run(&cx).expect("it runs").1, BALLAST_BYTES);
}

#[test]
fn an_event_in_a_value_is_the_same_event_in_every_worker_from_the_making_of_its_sessions_on() {
    let (asked, answered) = (Event::new(), Event::new());
    let bells = || Bells { asked: asked.clone(), answered: answered.clone(), fails: false };
    asked.set().expect("it is here");
    let processes =
        ProcessManager::builder(registry_with(bells())).workers(1).start().expect("workers start");
    assert!(!answered.is_set());
    processes.submit(Ring).expect("it is open").wait().expect("it runs");
    answered.blocking_wait().expect("it is set there");
    processes.close(ClosePolicy::Join).expect("it closes");

    answered.clear().expect("it is here");
    let threads = ThreadManager::builder(registry_with(bells())).workers(1).start().expect("workers start");
    threads.submit(Ring).expect("it is open").wait().expect("it runs");
    assert!(answered.is_set());
    threads.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn what_a_session_does_with_an_event_counts_also_where_it_then_fails() {
    let (asked, answered) = (Event::new(), Event::new());
    asked.set().expect("it is here");
    let bells = Bells { asked, answered: answered.clone(), fails: true };
    let builder = ProcessManager::builder(registry_with(bells)).workers(1).outage_patience(Duration::ZERO);
    let error = builder.start().expect_err("no session is made");
    assert!(matches!(error, ManagerStartError::Workers(StartFailure::Session { .. })), "{error:?}");
    answered.blocking_wait().expect("the worker has set it");
}

/// A value that postcard would change.
#[derive(Serialize, Deserialize)]
struct Skips {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    size: u32,
}

#[test]
fn a_value_that_cannot_travel_is_an_error_of_the_start_that_names_session_and_value() {
    let registry = || tasks().session_with(Skips { name: None, size: 1 }, |skips: Skips| Ok(skips.size));
    let on_processes = ProcessManager::builder(registry()).start().expect_err("it does not travel");
    let on_threads = ThreadManager::builder(registry()).start().expect_err("it does not travel");
    for error in [on_processes, on_threads] {
        let ManagerStartError::SessionValue { session: "u32", source, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains("Skips"), "{source}");
    }
    let error = TaskContext::detached_with(NullManager, &registry()).expect_err("it does not travel");
    assert!(error.to_string().contains("Skips"), "{error}");
}

/// The reason for which no worker of this registry starts, where workers have that of [`registry`].
fn refusal(managers: Registry) -> String {
    // Certain: it is not waited for.
    match ProcessManager::builder(managers).workers(2).start() {
        Err(ManagerStartError::Workers(StartFailure::SessionValue { reason, .. })) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_takes_other_values_than_it_is_given_does_not_start_and_says_which() {
    let bells = || Bells { asked: Event::new(), answered: Event::new(), fails: false };
    let bell = || tasks().session_with(bells(), |bells: Bells| Ok(Bell(bells.answered)));
    let other_type =
        refusal(bell().session_with(1_u64, |pid| Ok(Built(Origin { pid: pid as u32, ballast: Vec::new() }))));
    assert!(
        other_type.contains("Built") && other_type.contains("Origin") && other_type.contains("u64"),
        "{other_type}"
    );

    let none = refusal(bell().session(|| Ok(Built(Origin { pid: 0, ballast: Vec::new() }))));
    assert!(none.contains("Built") && none.contains("Origin") && none.contains("none"), "{none}");

    let more = refusal(registry().session_with(1_u8, |byte: u8| Ok(u16::from(byte))));
    assert!(more.contains("u16") && more.contains("u8"), "{more}");
}
