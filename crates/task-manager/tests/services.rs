//! Services on the connections of worker processes, which may be killed, stopped, or say what they must not.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use both::{Door, wait_at};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, assert_balanced, builder,
    echo::{ECHO, ECHO_KINDS, Echo, EchoExtension, EchoService, PANIC_THERE, STRANGE},
    process::signal,
    tasks::{self, Gate, Text, next_text},
    until,
};
use workfleet_task_manager::{
    ClosePolicy, FailureCause, MessageSendError, Peer, ProcessManager, Registry, Service, Task, TaskContext,
    TaskError, TaskSpec, WorkerIncarnation,
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

/// Sends a frame with which the service keeps the manager, then a message and another frame, and waits at a door.
#[derive(Debug, Serialize, Deserialize)]
struct SendBoth(std::path::PathBuf);

/// What the first of those frames carries.
const KEEP: &[u8] = b"keep";

impl TaskSpec for SendBoth {
    const NAME: &'static str = "send-both";
    type Output = ();
}

impl Task for SendBoth {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let echo = cx.extension::<EchoExtension>();
        echo.line.send(ECHO, KEEP)?;
        // Otherwise the message might be read together with that frame.
        wait_at(&self.0, "kept")?;
        cx.send_message(&Text("both".into()))?;
        echo.line.send(ECHO, b"x")?;
        wait_at(&self.0, "sent")?;
        Ok(())
    }
}

/// Sends many frames, then waits at a door.
#[derive(Debug, Serialize, Deserialize)]
struct SendThenWait(std::path::PathBuf);

/// So many that the socket takes them.
const FRAMES: u64 = 100;

impl TaskSpec for SendThenWait {
    const NAME: &'static str = "send-then-wait";
    type Output = ();
}

impl Task for SendThenWait {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let echo = cx.extension::<EchoExtension>();
        (0..FRAMES).try_for_each(|_| echo.line.send(ECHO, &[0; 64]))?;
        wait_at(&self.0, "sent")?;
        Ok(())
    }
}

fn registry() -> Registry {
    let registry = tasks::registry().task::<Echo>().task::<SendAndWait>();
    registry.task::<SendBoth>().task::<SendThenWait>()
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
        matches!(refused, Some(MessageSendError::Full { limit_bytes, .. }) if limit_bytes == 16 << 20),
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

/// Notes how many items its manager's inbox held when a frame came, and keeps the manager where it is asked to.
struct LooksAround {
    manager: OnceLock<Weak<ProcessManager>>,
    keeps: Mutex<Sender<()>>,
    let_go: Mutex<Receiver<()>>,
    seen: Mutex<Vec<usize>>,
}

impl Service for LooksAround {
    fn kinds(&self) -> RangeInclusive<u8> {
        ECHO_KINDS
    }

    fn on_frame(&self, _peer: &Peer, _kind: Kind, payload: &[u8]) {
        if payload == KEEP {
            self.keeps.lock().expect("no panic").send(()).expect("the test is there");
            return self.let_go.lock().expect("no panic").recv().expect("the test is there");
        }
        let manager = self.manager.get().and_then(Weak::upgrade).expect("it is there");
        self.seen.lock().expect("no panic").push(manager.stats().inbox);
    }

    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
}

#[test]
fn a_service_has_a_frame_before_anybody_reads_what_came_with_it() {
    let _alone = alone();
    let door = Door::new();
    let ((let_go, let_go_of), (keep, kept)) = (channel(), channel());
    let service = Arc::new(LooksAround {
        manager: OnceLock::new(),
        keeps: Mutex::new(keep),
        let_go: Mutex::new(let_go_of),
        seen: Mutex::default(),
    });
    let manager = Arc::new(builder(registry(), 1).service(service.clone()).start().expect("it starts"));
    service.manager.set(Arc::downgrade(&manager)).expect("it is the first");
    for _ in 0..5 {
        let task = manager.submit(SendBoth(door.path())).expect("it is taken");
        let waiting = door.next();
        kept.recv().expect("the service keeps the manager");
        waiting.go_on();
        let sent = door.next();
        // Both are in the socket now, and read at once.
        let_go.send(()).expect("the service waits");
        sent.go_on();
        task.wait().expect("it is done");
        assert_eq!(next_text(&manager), "both");
    }
    assert_eq!(*service.seen.lock().expect("no panic"), [0; 5]);
    join(&manager);
}

/// Asks to catch up, and waits for that.
fn catch_up(peer: &Peer) {
    let (tell, told) = channel();
    peer.catch_up(move || tell.send(()).expect("it waits"));
    told.recv().expect("it is called");
}

#[test]
fn whoever_has_caught_up_has_heard_what_a_worker_had_sent() {
    let _alone = alone();
    let (service, manager) = start(1);
    let door = Door::new();
    for round in 1..=10 {
        let task = manager.submit(SendThenWait(door.path())).expect("it is taken");
        let sent = door.next();
        let peer = service.ready.lock().expect("no panic")[0].clone();
        let (tell, told) = channel();
        let counts = Arc::clone(&service);
        peer.catch_up(move || {
            tell.send(counts.frames.load(Ordering::Relaxed)).expect("it waits");
        });
        assert_eq!(told.recv(), Ok(round * FRAMES));
        sent.go_on();
        task.wait().expect("it is done");
    }
    join(&manager);
}

#[test]
fn whoever_catches_up_with_a_worker_that_is_stopped_or_killed_or_gone_does_not_wait_for_it() {
    let _alone = alone();
    let (service, manager) = start(1);
    let pid = all_ready(&manager, 1)[0];
    let peer = service.ready.lock().expect("no panic")[0].clone();
    signal(pid, Signal::STOP);
    catch_up(&peer);
    signal(pid, Signal::KILL);
    catch_up(&peer);
    until(|| service.gone.lock().expect("no panic").contains(&peer.incarnation()));
    catch_up(&peer);
    until(|| service.ready.lock().expect("no panic").len() == 2);
    let next = service.ready.lock().expect("no panic")[1].clone();
    catch_up(&next);
    // Many ask while it closes.
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| (0..1000).for_each(|_| catch_up(&next)));
        join(&manager);
        asks.join().expect("none waits forever");
    });
    catch_up(&next);
}

#[test]
fn a_panic_of_who_has_caught_up_is_its_own() {
    let _alone = alone();
    let (service, manager) = start(1);
    let peer = service.ready.lock().expect("no panic")[0].clone();
    let (tell, told) = channel::<()>();
    peer.catch_up(move || {
        let _tell = tell;
        panic!("somebody who fails");
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(3600)), Err(RecvTimeoutError::Disconnected));
    catch_up(&peer);
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it is done"));
    join(&manager);
}
