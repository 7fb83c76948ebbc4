//! Services on a manager's connections, and their other halves in the workers.

mod support;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{
        Arc, Condvar, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, assert_balanced, builder,
    process::signal,
    tasks::{self, Gate, Text, next_text},
    until,
};
use workfleet_task_manager::{
    CloseError, ClosePolicy, Extension, FailureCause, Incarnation, Peer, ProcessManager, Registry, SendError,
    Service, ServiceLine, StartError, Task, TaskContext, TaskError, TaskSpec,
};
use workfleet_wire::Kind;

const ECHO_KINDS: RangeInclusive<u8> = 0x58..=0x5f;
const ECHO: Kind = Kind(0x58);
/// The manager's half answers with a panic.
const PANIC: Kind = Kind(0x59);
/// The manager's half answers with a frame on which the worker's half panics.
const PANIC_THERE: Kind = Kind(0x5a);
/// The manager's half tries to close its manager.
const CLOSE: Kind = Kind(0x5b);
/// Nobody's.
const STRANGE: Kind = Kind(0x60);

/// Sends back what it gets, counts, and notes who is gone.
#[derive(Default)]
struct EchoService {
    frames: AtomicU64,
    by_incarnation: Mutex<HashMap<Incarnation, u64>>,
    gone: Mutex<Vec<Incarnation>>,
    peers: Mutex<Vec<Peer>>,
    manager: OnceLock<Weak<ProcessManager>>,
    closed: Mutex<Vec<String>>,
}

impl Service for EchoService {
    fn kinds(&self) -> RangeInclusive<u8> {
        ECHO_KINDS
    }

    fn on_frame(&self, peer: &Peer, kind: Kind, payload: &[u8]) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        *self.by_incarnation.lock().expect("no panic").entry(peer.incarnation()).or_default() += 1;
        let mut peers = self.peers.lock().expect("no panic");
        if peers.iter().all(|known| known.incarnation() != peer.incarnation()) {
            peers.push(peer.clone());
        }
        drop(peers);
        match kind {
            PANIC => panic!("a service that fails"),
            CLOSE => {
                let manager = self.manager.get().and_then(Weak::upgrade).expect("it is there");
                let closed = match manager.close(ClosePolicy::Kill) {
                    Err(CloseError::OwnThread) => "refused".to_owned(),
                    other => format!("{other:?}"),
                };
                self.closed.lock().expect("no panic").push(closed);
            }
            _ => {
                // It may have died meanwhile.
                let _ = peer.send(kind, payload);
            }
        }
    }

    fn on_worker_gone(&self, incarnation: Incarnation) {
        self.gone.lock().expect("no panic").push(incarnation);
    }
}

/// Keeps the answers for whoever waits for them.
struct EchoExtension {
    line: ServiceLine,
    answers: Mutex<Vec<Vec<u8>>>,
    answered: Condvar,
}

impl Extension for EchoExtension {
    const KINDS: RangeInclusive<u8> = ECHO_KINDS;

    fn attach(line: ServiceLine) -> Self {
        Self { line, answers: Mutex::default(), answered: Condvar::new() }
    }

    fn on_frame(&self, kind: Kind, payload: &[u8]) {
        assert!(kind != PANIC_THERE, "an extension that fails");
        self.answers.lock().expect("no panic").push(payload.to_vec());
        self.answered.notify_all();
    }
}

impl EchoExtension {
    /// Waits, by blocking the task's thread, for so many answers, and takes them.
    fn take(&self, count: usize) -> Vec<Vec<u8>> {
        let answers = self.answers.lock().expect("no panic");
        let mut answers =
            self.answered.wait_while(answers, |answers| answers.len() < count).expect("no panic");
        std::mem::take(&mut *answers)
    }
}

/// Sends payloads of these lengths, each a number's bytes again and again, and waits for all to come back in order.
#[derive(Debug, Serialize, Deserialize)]
struct Echo(Vec<usize>);

impl TaskSpec for Echo {
    const NAME: &'static str = "echo";
    type Output = bool;
}

fn payload(number: usize, len_bytes: usize) -> Vec<u8> {
    vec![number as u8; len_bytes]
}

impl Task for Echo {
    fn run(self, cx: &TaskContext) -> Result<bool, TaskError> {
        let echo = cx.extension::<EchoExtension>();
        for (number, &len_bytes) in self.0.iter().enumerate() {
            echo.line.send(ECHO, &payload(number, len_bytes))?;
        }
        let expected = self.0.iter().enumerate().map(|(number, &len_bytes)| payload(number, len_bytes));
        Ok(echo.take(self.0.len()).into_iter().eq(expected))
    }
}

/// Sends one frame of some kind; says what its extension says.
#[derive(Debug, Serialize, Deserialize)]
struct SendOf(u8);

impl TaskSpec for SendOf {
    const NAME: &'static str = "send-of";
    type Output = String;
}

impl Task for SendOf {
    fn run(self, cx: &TaskContext) -> Result<String, TaskError> {
        let echo = cx.extension::<EchoExtension>();
        let sent = echo.line.send(Kind(self.0), b"x");
        Ok(match sent {
            Ok(()) => "sent".into(),
            Err(SendError::ForeignKind { kind, .. }) => format!("foreign: {}", kind.0),
            Err(error) => error.to_string(),
        })
    }
}

/// Sends a frame that is too large; says the limit.
#[derive(Debug, Serialize, Deserialize)]
struct SendTooMuch(usize);

impl TaskSpec for SendTooMuch {
    const NAME: &'static str = "send-too-much";
    type Output = Option<u64>;
}

impl Task for SendTooMuch {
    fn run(self, cx: &TaskContext) -> Result<Option<u64>, TaskError> {
        match cx.extension::<EchoExtension>().line.send(ECHO, &vec![0; self.0]) {
            Err(SendError::TooLarge { limit_bytes, .. }) => Ok(Some(limit_bytes)),
            _ => Ok(None),
        }
    }
}

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

/// An extension of a range that belongs to the pool itself.
struct Intruder(ServiceLine);

impl Extension for Intruder {
    const KINDS: RangeInclusive<u8> = 0..=0xff;

    fn attach(line: ServiceLine) -> Self {
        Self(line)
    }

    fn on_frame(&self, _kind: Kind, _payload: &[u8]) {}
}

/// Tries to end its own task by a frame of the pool's kinds; in how many it was not refused.
#[derive(Debug, Serialize, Deserialize)]
struct Intrude;

impl TaskSpec for Intrude {
    const NAME: &'static str = "intrude";
    type Output = usize;
}

impl Task for Intrude {
    fn run(self, cx: &TaskContext) -> Result<usize, TaskError> {
        let intruder = cx.extension::<Intruder>();
        let pools = (0..0x20).chain(0x68..=0xff);
        let taken = pools
            .filter(|&kind| !matches!(intruder.0.send(Kind(kind), b"x"), Err(SendError::ForeignKind { .. })));
        Ok(taken.count())
    }
}

/// How many extensions were made in this process, and which this task has.
#[derive(Debug, Serialize, Deserialize)]
struct WhichExtension;

impl TaskSpec for WhichExtension {
    const NAME: &'static str = "which-extension";
    type Output = (u32, usize);
}

impl Task for WhichExtension {
    fn run(self, cx: &TaskContext) -> Result<(u32, usize), TaskError> {
        let (one, other) = (cx.extension::<EchoExtension>(), cx.extension::<EchoExtension>());
        assert!(Arc::ptr_eq(&one, &other));
        Ok((std::process::id(), Arc::as_ptr(&one) as usize))
    }
}

fn registry() -> Registry {
    tasks::registry()
        .task::<Echo>()
        .task::<SendOf>()
        .task::<SendTooMuch>()
        .task::<SendAndWait>()
        .task::<Intrude>()
        .task::<WhichExtension>()
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
fn frames_go_both_ways_in_order_while_the_task_blocks() {
    let _alone = alone();
    let (service, manager) = start(2);
    let echoes: Vec<_> = (0..50).map(|n| manager.submit(Echo(vec![n; 100])).expect("it is taken")).collect();
    echoes.into_iter().for_each(|echo| assert!(echo.wait().expect("it is done")));
    assert_eq!(service.frames.load(Ordering::Relaxed), 5000);
    join(&manager);
}

#[test]
fn frames_of_many_megabytes_go_both_ways() {
    let _alone = alone();
    let (_service, manager) = start(2);
    let echoes: Vec<_> = (0..2)
        .map(|_| manager.submit(Echo(vec![5 << 20, 0, 1, 20 << 20, 7, 3 << 20])).expect("it is taken"))
        .collect();
    echoes.into_iter().for_each(|echo| assert!(echo.wait().expect("it is done")));
    join(&manager);
}

#[test]
fn a_frame_beyond_the_limit_is_refused_on_both_sides() {
    let _alone = alone();
    let service = Arc::new(EchoService::default());
    let mounted: Arc<dyn Service> = service.clone();
    let manager = builder(registry(), 1).frame_limit(10_000).service(mounted).start().expect("it starts");
    assert!(manager.submit(Echo(vec![10_000])).expect("it is taken").wait().expect("it is done"));
    let limit_bytes = manager.submit(SendTooMuch(10_001)).expect("it is taken").wait().expect("it is done");
    assert_eq!(limit_bytes, Some(10_000));
    let peer = service.peers.lock().expect("no panic")[0].clone();
    assert_eq!(peer.worker(), "worker-0");
    let refused = peer.send(ECHO, &[0; 10_001]);
    assert!(matches!(refused, Err(SendError::TooLarge { len_bytes: 10_001, .. })), "{refused:?}");
    join(&manager);
    let refused = peer.send(ECHO, b"late");
    assert!(matches!(refused, Err(SendError::WorkerGone)), "{refused:?}");
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
fn frames_of_foreign_kinds_are_refused_where_they_are_sent() {
    let _alone = alone();
    let (service, manager) = start(1);
    for kind in [0x00, 0x12, 0x57, 0x60, b't', 0x80, 0xff] {
        let said = manager.submit(SendOf(kind)).expect("it is taken").wait().expect("it is done");
        assert_eq!(said, format!("foreign: {kind}"));
    }
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it is done"));
    let peer = service.peers.lock().expect("no panic")[0].clone();
    for kind in [0x00, 0x02, 0x1f, 0x68, b't', 0x80, 0xff] {
        let refused = peer.send(Kind(kind), b"x");
        assert!(matches!(refused, Err(SendError::ForeignKind { .. })), "{refused:?}");
    }
    join(&manager);
}

#[test]
fn an_extension_cannot_send_frames_of_the_pool_itself() {
    let _alone = alone();
    let (_service, manager) = start(1);
    assert_eq!(manager.submit(Intrude).expect("it is taken").wait().expect("it is done"), 0);
    join(&manager);
}

#[test]
fn services_with_foreign_or_shared_kinds_are_refused_at_the_start() {
    struct Claims(RangeInclusive<u8>);
    impl Service for Claims {
        fn kinds(&self) -> RangeInclusive<u8> {
            self.0.clone()
        }
        fn on_frame(&self, _peer: &Peer, _kind: Kind, _payload: &[u8]) {}
        fn on_worker_gone(&self, _incarnation: Incarnation) {}
    }
    let _alone = alone();
    #[expect(clippy::reversed_empty_ranges, reason = "one of the mistakes")]
    let mistakes = [
        vec![0x00..=0xff],
        vec![0x1f..=0x20],
        vec![0x67..=0x68],
        vec![0x30..=0x20],
        vec![0x30..=0x40, 0x40..=0x41],
        vec![0x30..=0x40, 0x31..=0x32],
    ];
    for claims in mistakes {
        let builder = claims
            .iter()
            .fold(builder(registry(), 1), |builder, kinds| builder.service(Arc::new(Claims(kinds.clone()))));
        let refused = builder.start().map(drop);
        assert!(matches!(refused, Err(StartError::ServiceKinds { .. })), "{claims:?}: {refused:?}");
    }
    let neighbours =
        builder(registry(), 1).service(Arc::new(Claims(0x20..=0x30))).service(Arc::new(Claims(0x31..=0x67)));
    neighbours.start().expect("they do not overlap");
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
fn the_tasks_of_a_worker_share_one_extension() {
    let _alone = alone();
    let (_service, manager) = start(2);
    let tasks: Vec<_> = (0..100).map(|_| manager.submit(WhichExtension).expect("it is taken")).collect();
    let mut by_process = HashMap::new();
    for task in tasks {
        let (process, extension) = task.wait().expect("it is done");
        assert_eq!(*by_process.entry(process).or_insert(extension), extension);
    }
    join(&manager);
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
fn a_service_that_panics_harms_neither_its_worker_nor_the_manager() {
    let _alone = alone();
    let (service, manager) = start(1);
    for _ in 0..3 {
        let said = manager.submit(SendOf(PANIC.0)).expect("it is taken").wait().expect("it is done");
        assert_eq!(said, "sent");
    }
    assert!(manager.submit(Echo(vec![1, 2])).expect("it is taken").wait().expect("it is done"));
    assert!(service.gone.lock().expect("no panic").is_empty());
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

#[test]
fn a_service_cannot_close_its_manager() {
    let _alone = alone();
    let (service, manager) = start(1);
    let manager = Arc::new(manager);
    service.manager.set(Arc::downgrade(&manager)).expect("once");
    manager.submit(SendOf(CLOSE.0)).expect("it is taken").wait().expect("it is done");
    until(|| !service.closed.lock().expect("no panic").is_empty());
    assert_eq!(*service.closed.lock().expect("no panic"), ["refused"]);
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it goes on"));
    join(&manager);
}

#[test]
fn a_service_reaches_a_worker_whose_task_runs() {
    let _alone = alone();
    let (service, manager) = start(1);
    // Its extension is attached, and its task thread is busy with something else.
    assert!(manager.submit(Echo(vec![1])).expect("it is taken").wait().expect("it is done"));
    let mut gate = manager.submit(Gate::Finish).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    let peer = service.peers.lock().expect("no panic")[0].clone();
    (0..1000).for_each(|_| peer.send(ECHO, &[7; 100]).expect("it is there"));
    assert!(gate.wait_timeout(Duration::ZERO).is_none());
    gate.cancel();
    gate.wait().expect("it finishes");
    // All of them came before the cancellation did, and are still there.
    let took = manager.submit(tasks::Say { text: "after".into(), times: 1 }).expect("it is taken");
    took.wait().expect("it is done");
    assert_eq!(manager.messages::<Text>().filter_map(Result::ok).count(), 1);
    join(&manager);
}
