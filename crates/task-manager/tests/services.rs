//! Services on the connections of worker processes, which may be killed, stopped, or say what they must not.

mod support;

use std::{sync::Arc, time::Duration};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, assert_balanced, builder,
    echo::{ECHO, Echo, EchoExtension, EchoService, PANIC_THERE, STRANGE},
    process::signal,
    tasks::{self, Gate, next_text},
    until,
};
use workfleet_task_manager::{
    ClosePolicy, FailureCause, ProcessManager, Registry, SendError, Service, Task, TaskContext, TaskError,
    TaskSpec,
};
use workfleet_wire::Kind;

/// Sends a frame of some kind, and waits for an answer that does not come: for its own end.
#[derive(Debug, Serialize, Deserialize)]
struct SendAndWait(u8);

impl TaskSpec for SendAndWait {
    const NAME: &'static str = "send-and-wait";
    type Output = ();
}

impl Task for SendAndWait {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let echo = cx.extension::<EchoExtension>();
        echo.line.send(Kind(self.0), b"x")?;
        echo.take(usize::MAX);
        Ok(())
    }
}

fn registry() -> Registry {
    tasks::registry().task::<Echo>().task::<SendAndWait>()
}
workfleet_task_manager::test_worker!(registry());

fn start(workers: usize) -> (Arc<EchoService>, ProcessManager) {
    let service = Arc::new(EchoService::default());
    let mounted: Arc<dyn Service> = service.clone();
    let manager = builder(registry(), workers).service(mounted).start().expect("it starts");
    (service, manager)
}

fn join(manager: &ProcessManager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

#[test]
fn a_worker_that_takes_nothing_is_sent_no_more_than_a_bounded_amount() {
    let _alone = alone();
    let service = Arc::new(EchoService::default());
    let mounted: Arc<dyn Service> = service.clone();
    let manager = builder(registry(), 1).frame_limit(1 << 20).service(mounted).start().expect("it starts");
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it is done"));
    let peer = service.peers.lock().expect("no panic")[0].clone();
    let worker = manager.stats().workers[0].pid.expect("it lives");
    signal(worker, Signal::STOP);
    let refused = (0..100).find_map(|_| peer.send(ECHO, &[0; 1 << 20]).err());
    assert!(
        matches!(refused, Some(SendError::Full { limit_bytes, .. }) if limit_bytes == 16 << 20),
        "{refused:?}"
    );
    signal(worker, Signal::CONT);
    // Once it goes on, everything is taken, and tasks come through as before.
    manager.submit(Gate::Finish).expect("it is taken").cancel();
    join(&manager);
}

#[test]
fn a_service_hears_once_of_each_incarnation_that_is_gone() {
    let _alone = alone();
    let (service, manager) = start(2);
    for round in 1..=10 {
        let pids = all_ready(&manager, 2);
        assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it is done"));
        pids.iter().for_each(|&pid| signal(pid, Signal::KILL));
        until(|| service.gone.lock().expect("no panic").len() == 2 * round);
    }
    all_ready(&manager, 2);
    join(&manager);
    let mut gone = service.gone.lock().expect("no panic").clone();
    assert_eq!(gone.len(), 22);
    gone.sort_unstable();
    gone.dedup();
    assert_eq!(gone.len(), 22, "none is reported twice");
    let spoke = service.by_incarnation.lock().expect("no panic").keys().copied().collect::<Vec<_>>();
    assert!(spoke.iter().all(|incarnation| gone.contains(incarnation)));
}

#[test]
fn a_frame_that_no_service_expects_costs_its_worker_and_no_other() {
    let _alone = alone();
    // Nothing is mounted.
    let manager = builder(registry(), 2).crash_limit(2).start().expect("it starts");
    let gate = manager.submit(Gate::Finish).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    let failure = manager.submit(SendAndWait(ECHO.0)).expect("it is taken").wait().expect_err("it is killed");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 2));
    gate.cancel();
    gate.wait().expect("its worker lives");
    join(&manager);
}

#[test]
fn a_frame_that_no_extension_expects_costs_its_worker_and_no_other() {
    let _alone = alone();
    let (service, manager) = start(1);
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it is done"));
    let peer = service.peers.lock().expect("no panic")[0].clone();
    peer.send(STRANGE, b"x").expect("it is some service's");
    until(|| service.gone.lock().expect("no panic").contains(&peer.incarnation()));
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("another took its place"));
    join(&manager);
}

#[test]
fn an_extension_that_panics_ends_its_worker_with_its_words() {
    let _alone = alone();
    let service: Arc<dyn Service> = Arc::new(EchoService::default());
    // Not by its silence, which would be noticed too, much later.
    let manager = builder(registry(), 1)
        .silence_limit(Duration::from_secs(3600))
        .service(service)
        .start()
        .expect("it starts");
    let failure =
        manager.submit(SendAndWait(PANIC_THERE.0)).expect("it is taken").wait().expect_err("its worker dies");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3));
    assert!(
        failure.deaths.iter().all(|death| death.stderr_tail.contains("an extension that fails")),
        "{failure}"
    );
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("another took its place"));
    join(&manager);
}
