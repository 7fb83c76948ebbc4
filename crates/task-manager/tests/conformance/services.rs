//! Services on a manager's connections, and their other halves in the workers.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    CloseError, ClosePolicy, Extension, ManagerStartError, MessageSendError, Peer, Registry, Service,
    ServiceSender, Task, TaskContext, TaskError, TaskSpec, WorkerIncarnation,
};
use workfleet_wire::Kind;

use crate::{
    Manager, builder,
    support::{
        alone, assert_balanced,
        echo::{CLOSE, ECHO, Echo, EchoExtension, EchoService, PANIC},
        tasks::{self, Gate, Text, next_text},
        until,
    },
};

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
            Err(MessageSendError::ForeignKind { kind, .. }) => format!("foreign: {}", kind.0),
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
            Err(MessageSendError::TooLarge { limit_bytes, .. }) => Ok(Some(limit_bytes)),
            _ => Ok(None),
        }
    }
}

/// An extension of a range that belongs to the pool itself.
struct Intruder(ServiceSender);

impl Extension for Intruder {
    const KINDS: RangeInclusive<u8> = 0..=0xff;

    fn attach(line: ServiceSender) -> Self {
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
        let taken = pools.filter(|&kind| {
            !matches!(intruder.0.send(Kind(kind), b"x"), Err(MessageSendError::ForeignKind { .. }))
        });
        Ok(taken.count())
    }
}

/// On which worker this is, and which extension its task has.
#[derive(Debug, Serialize, Deserialize)]
struct WhichExtension;

impl TaskSpec for WhichExtension {
    const NAME: &'static str = "which-extension";
    type Output = (String, usize);
}

impl Task for WhichExtension {
    fn run(self, cx: &TaskContext) -> Result<(String, usize), TaskError> {
        let (one, other) = (cx.extension::<EchoExtension>(), cx.extension::<EchoExtension>());
        assert!(Arc::ptr_eq(&one, &other));
        Ok((cx.worker().to_owned(), Arc::as_ptr(&one) as usize))
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Echo>().task::<SendOf>().task::<SendTooMuch>().task::<Intrude>().task::<WhichExtension>()
}

fn start(workers: usize) -> (Arc<EchoService>, Manager) {
    let service = Arc::new(EchoService::default());
    let mounted: Arc<dyn Service> = service.clone();
    let manager = builder(workers).service(mounted).start().expect("it starts");
    (service, manager)
}

fn join(manager: &Manager) {
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
    let manager = builder(1).frame_limit(10_000).service(mounted).start().expect("it starts");
    assert!(manager.submit(Echo(vec![10_000])).expect("it is taken").wait().expect("it is done"));
    let limit_bytes = manager.submit(SendTooMuch(10_001)).expect("it is taken").wait().expect("it is done");
    assert_eq!(limit_bytes, Some(10_000));
    let peer = service.peers.lock().expect("no panic")[0].clone();
    assert_eq!(peer.worker(), "worker-0");
    let refused = peer.send(ECHO, &[0; 10_001]);
    assert!(matches!(refused, Err(MessageSendError::TooLarge { len_bytes: 10_001, .. })), "{refused:?}");
    join(&manager);
    let refused = peer.send(ECHO, b"late");
    assert!(matches!(refused, Err(MessageSendError::WorkerGone)), "{refused:?}");
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
        assert!(matches!(refused, Err(MessageSendError::ForeignKind { .. })), "{refused:?}");
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
        fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {}
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
        let builder =
            claims.iter().fold(builder(1), |builder, kinds| builder.service(Arc::new(Claims(kinds.clone()))));
        let refused = builder.start().map(drop);
        assert!(matches!(refused, Err(ManagerStartError::ServiceKinds { .. })), "{claims:?}: {refused:?}");
    }
    let neighbours = builder(1).service(Arc::new(Claims(0x20..=0x2f))).service(Arc::new(Claims(0x40..=0x67)));
    neighbours.start().expect("they do not overlap");
}

#[test]
fn the_tasks_of_a_worker_share_one_extension() {
    let _alone = alone();
    let (_service, manager) = start(2);
    let tasks: Vec<_> = (0..100).map(|_| manager.submit(WhichExtension).expect("it is taken")).collect();
    let mut by_worker = HashMap::new();
    for task in tasks {
        let (worker, extension) = task.wait().expect("it is done");
        assert_eq!(*by_worker.entry(worker).or_insert(extension), extension);
    }
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
fn a_service_cannot_close_its_manager() {
    let _alone = alone();
    let (service, manager) = start(1);
    let manager = Arc::new(manager);
    let weak = Arc::downgrade(&manager);
    let close = move || match weak.upgrade().expect("it is there").close(ClosePolicy::Kill) {
        Err(CloseError::OwnThread) => "refused".to_owned(),
        other => format!("{other:?}"),
    };
    assert!(service.close.set(Box::new(close)).is_ok(), "once");
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
