//! Every name that the facade gives something, used once.

use std::any::{TypeId, type_name};

use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct Double(u32);
impl TaskSpec for Double {
    const NAME: &'static str = "double";
    type Output = u32;
}
impl Task for Double {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        cx.send_message(&Doubling(self.0))?;
        Ok(2 * self.0)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Doubling(u32);
impl TaskMessage for Doubling {
    const NAME: &'static str = "doubling";
}

fn registry() -> Registry {
    Registry::new().task::<Double>()
}
workfleet::test_worker!(registry());

#[test]
fn the_prelude_is_enough_for_a_program() {
    // Not called: a process that calls it is a program, whose workers get its arguments, and this one is a test binary.
    let _: fn(&Registry) = workfleet::init;
    let manager = ProcessManager::builder(registry()).workers(1).start().expect("it starts");
    let handle: TaskHandle<u32> = manager.submit_with(Double(21), Priority(0)).expect("it is taken");
    let messages: Result<Vec<Message<Doubling>>, MessageError> = manager.messages().collect();
    let contents: Vec<Doubling> =
        messages.expect("they are").into_iter().map(|message| message.content).collect();
    assert_eq!(contents, [Doubling(21)]);
    let output: Result<u32, TaskFailure> = handle.wait();
    assert_eq!(output.expect("it is done"), 42);
    assert!(manager.messages::<NoMessage>().next().is_none());
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(report.tasks.done, 1);
}

#[derive(Debug, Serialize, Deserialize)]
struct DoubleLater(u32);
impl TaskSpec for DoubleLater {
    const NAME: &'static str = "double-later";
    type Output = u32;
}
impl AsyncTask for DoubleLater {
    async fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        Ok(2 * self.0)
    }
}

#[test]
fn the_prelude_has_chains_asynchronous_tasks_and_threads() {
    let registry = Registry::new().task::<Double>().async_task::<DoubleLater>();
    let manager = ThreadManager::builder(registry).workers(1).start().expect("it starts");
    let chain = Chain::new().then(&Double(1)).and_then(|chain| chain.then(&DoubleLater(2)));
    let outputs =
        manager.submit(chain.expect("it encodes")).expect("it is taken").wait().expect("it is done");
    assert_eq!(outputs.get::<DoubleLater>(1).expect("it is there"), 4);
}

#[test]
fn the_traits_of_the_prelude_have_their_methods() {
    fn levels(manager: &dyn workfleet::task::Manager) -> u8 {
        manager.priority_levels()
    }
    fn send<M: workfleet::task::Manager>(manager: &M) {
        manager.send_message(&Doubling(1)).expect("it is taken");
    }
    let manager = ProcessManager::builder(registry()).workers(1).start().expect("it starts");
    assert_eq!(levels(&manager), 2);
    send(&manager);
    let cause = manager.messages::<NoMessage>().next().expect("a message is there");
    assert!(matches!(cause, Err(MessageError::Unexpected { .. })));
    let never = FailureCause::Cancelled;
    assert_eq!(never.to_string(), "cancelled");
}

/// Fails to compile if a name is missing, and returns how many there are.
macro_rules! types {
    ($($type:ty),* $(,)?) => { [$((type_name::<$type>(), TypeId::of::<$type>())),*] };
}

#[test]
fn task_is_the_task_manager() {
    use workfleet::task::*;

    // Traits.
    fn _traits<S: TaskSpec, T: Task, U: AsyncTask, M: TaskMessage, R: ReadMessage>() {}
    fn _managers<A: Manager, B: ManagerExt, C: Service, D: Extension>() {}
    // Functions and macros.
    let _: fn(&Registry) = init;
    #[expect(unused_imports, reason = "that the name is there is what is tested")]
    use workfleet::task::test_worker as _;

    let names = types![
        Abandoned,
        CancelledError,
        Chain,
        ChainOutputError,
        ChainOutputs,
        CloseError,
        ClosePolicy,
        CloseReport,
        CloseRequest<'static>,
        DeathCertificate,
        EncodedMessage,
        EncodedTask,
        ExitStatus,
        FailedLink,
        FailureCause,
        FailureReport,
        FinishedTask<'static>,
        InboxOverflow,
        WorkerIncarnation,
        KillReason,
        ManagerStartError,
        Message<()>,
        MessageError,
        MessageSendError,
        MessageStream<NoMessage>,
        Messages<'static, NoMessage>,
        NextTask<'static>,
        NoMessage,
        NullManager,
        Peer,
        Pool,
        Priority,
        ProcessManager,
        ProcessManagerBuilder,
        Proxy,
        ReceivedTask<'static>,
        Registry,
        RegistryError,
        ScheduleError<()>,
        ScheduleErrorKind,
        ScopeError<()>,
        ServiceSender,
        SessionError,
        SpecInfo,
        StartFailure,
        Stats,
        TaskContext,
        TaskCounts,
        TaskError,
        TaskFailure,
        TaskHandle<()>,
        TaskHeartbeatError,
        TaskId,
        ThreadManager,
        ThreadManagerBuilder,
        WorkerLoop,
        WorkerLoopError,
        WorkerStats,
    ];
    for (name, _) in names {
        assert!(name.starts_with("workfleet_task_manager::"), "{name}");
    }
    assert_eq!(NAME_LIMIT_BYTES, 1024);
}

#[cfg(feature = "lock")]
#[test]
fn lock_is_the_shared_lock() {
    use workfleet::lock::*;

    // Traits.
    fn _traits<S: SharedState, G: LockGuard>(_: &dyn DynSharedState) {}

    let names = types![
        Counters,
        Cycle,
        CycleLink,
        Fence,
        Guards<()>,
        KeySnapshot,
        LocalGuard,
        LocalState,
        LocalStateBuilder,
        LockFailed,
        LockRequestError,
        Mode,
        Party,
        Snapshot,
        cores::Blocked<(), ()>,
        cores::Changes<(), ()>,
        cores::Grant<()>,
        cores::KeyState<(), ()>,
        cores::Left<(), ()>,
        cores::LockOp<(), ()>,
        cores::LockOpError,
        cores::LockTable<(), (), ()>,
        cores::RequestEnd<(), ()>,
        cores::RequestId,
        cores::RequestState<(), ()>,
        cores::Requester<(), ()>,
        cores::TableKey<(), ()>,
        cores::WaitGraph<(), ()>,
    ];
    for (name, _) in names {
        assert!(name.starts_with("workfleet_shared_lock::"), "{name}");
    }
    assert_eq!(LocalState::new().key_limit_bytes(), DEFAULT_KEY_LIMIT_BYTES);
}

#[cfg(feature = "lock")]
#[test]
fn the_prelude_is_enough_for_a_lock() {
    let locks: LocalLocks = workfleet::lock::LocalState::new();
    let mode: LockMode = workfleet::lock::Mode::Exclusive;
    let guard = locks.blocking_lock("k", mode).expect("it is free");
    assert_eq!(guard.key(), "k");
    let refused: Result<_, LockFailed> = locks.blocking_try_lock("", LockMode::Shared);
    assert!(refused.is_err());
}

#[cfg(feature = "lock")]
#[test]
fn the_lock_has_timeouts() {
    use workfleet::lock::{LocalState, Mode};

    let state = LocalState::new();
    drop(state.lock_timeout("k", Mode::Shared, std::time::Duration::ZERO));
}

#[test]
fn wire_is_the_wire() {
    use workfleet::wire::*;

    let names = types![
        DecodeError,
        Decoder,
        EncodeError,
        Frame,
        FrameError,
        FrameRef<'static>,
        Kind,
        ReceiveError,
        Row,
        Rule,
        SendError,
        Table,
        Violation,
        blocking::Reader<std::io::Empty>,
        kinds::Direction,
        message::EncodeErrorKind,
        message::Member,
        message::Place,
    ];
    for (name, _) in names {
        assert!(name.starts_with("workfleet_wire::"), "{name}");
    }

    // Functions and constants: a frame goes out and comes back.
    let mut encoded = Vec::new();
    let payload = message::encode(&7_u8).expect("it encodes");
    encode_frame(undr::MESSAGE, &payload, &mut encoded);
    assert_eq!(encoded.len(), HEADER_LEN_BYTES + 1);
    assert_eq!(encoded[..HEADER_LEN_BYTES], encode_header(undr::MESSAGE, 1));
    let mut same = Vec::new();
    encode_frame_with(undr::MESSAGE, &mut same, |out| message::encode_into(&7_u8, out)).expect("it encodes");
    assert_eq!(same, encoded);
    check_frame_len(undr::MESSAGE, 1, DEFAULT_FRAME_LIMIT_BYTES).expect("it is within the limit");
    undr::check(undr::MESSAGE, kinds::Direction::ToManager, 1).expect("it goes this way");

    // The kinds of each protocol stand with its owner.
    let pool = workfleet::task::kinds::TABLE.named(workfleet::task::kinds::MESSAGE);
    let events = workfleet::heartbeat::remote::TABLE.named(Kind(*kinds::EVENT_KINDS.start()));
    assert_eq!((pool.to_string(), events.to_string()), ("0x6d (MESSAGE)".into(), "0x30 (ATTACH)".into()));
}

#[cfg(feature = "worker")]
#[test]
fn worker_is_the_worker_lifecycle() {
    use std::{future::Ready, time::Duration};
    use workfleet::worker::*;

    // Traits, which the prelude has in part.
    fn _traits<
        W: Worker,
        I: IntoWorker<ByFunction>,
        C: IntoChild<BySpec>,
        H: HookOutput,
        E: EventMessage,
        S: StatusSource,
        M: MessageConsumer,
        P: MessageProducer<()>,
    >() {
    }
    struct Idle;
    impl workfleet::prelude::Worker for Idle {
        async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
            cx.stopping().await;
            Ok(())
        }
    }
    let handle: WorkerHandle = WorkerHandle::new(Idle);
    assert_eq!((handle.name(), handle.state()), ("idle", WorkerState::Init));
    // Functions and constants.
    drop(start(Idle));
    drop(start_consumer(QueueConsumerWorker::new(|()| async {})));
    assert_eq!(worker_fn(|_: WorkerContext| async {}).with_name("f").name(), "f");
    assert_eq!(GRACE_PERIOD_VARIABLE, "WORKFLEET_STOPPING_GRACE_PERIOD");
    assert_eq!(Backoff::default().delay(0, 255), Duration::from_millis(100));

    let names = types![
        AddAllError,
        AddError,
        AsyncConsumer<()>,
        AsyncDispatcher<()>,
        Backoff,
        Budget,
        ByTrait,
        Charge,
        Charges,
        Child,
        ChildId,
        ChildReport,
        ChildSpec,
        ConsumerHandle<()>,
        DispatchEvent,
        DispatchEventError,
        Dispatched,
        Dispatcher<()>,
        Ending,
        FnWorker<()>,
        GracePeriodError,
        GroupError,
        HandlerFailure,
        HeldUp,
        Hook,
        Leftovers<()>,
        Lifecycle,
        LifecycleEvent,
        OnStop,
        Outcome,
        OutcomeError,
        QueueConsumer<()>,
        QueueConsumerWorker<(), fn(()) -> Ready<()>>,
        QueueSendError<()>,
        QueueSendErrorKind,
        QueueSender<()>,
        RemoveError,
        Restart,
        RestartStrategy,
        StartError,
        StateWatch,
        Status,
        StatusReason,
        Step,
        StopHookFailure,
        StopOrder,
        StopReport,
        StoppedBy,
        StoppingChild,
        Streak,
        StuckError,
        TransitionError,
        WorkerFailure,
        WorkerFailureCause,
        WorkerFunction<fn() -> Ready<()>>,
        WorkerRef,
        WorkerStateError,
        Workers,
        WorkersControl,
    ];
    for (name, _) in names {
        assert!(name.starts_with("workfleet_worker_lifecycle::"), "{name}");
    }
    // Aliases of functions behind pointers.
    let _: [(&str, TypeId); 2] = types![Handler<()>, AsyncHandler<()>];
}

#[cfg(feature = "task-signal")]
#[test]
fn a_pool_closes_on_a_signal() {
    use workfleet::task::{ClosePolicy, Pool, SignalWatch};
    let _: fn(&Pool, ClosePolicy) -> std::io::Result<SignalWatch> = Pool::close_on_signal;
}

#[cfg(feature = "worker-signal")]
#[test]
fn workers_run_until_a_signal() {
    use workfleet::worker::{
        RunEnded, RunError, RunOptions, Workers, run_until_signal, run_until_signal_with,
    };
    drop(run_until_signal(Workers::new("nobody")));
    drop(run_until_signal_with(Workers::new("nobody"), RunOptions::default()));
    for (name, _) in types![RunEnded, RunError, RunOptions] {
        assert!(name.starts_with("workfleet_worker_lifecycle::"), "{name}");
    }
}

#[cfg(feature = "worker-probe")]
#[test]
fn the_probe_is_there() {
    assert!(type_name::<workfleet::worker::Probe>().starts_with("workfleet_worker_lifecycle::"));
}

#[cfg(feature = "worker-systemd")]
#[test]
fn the_notifier_is_there() {
    assert!(type_name::<workfleet::worker::SystemdNotifier>().starts_with("workfleet_worker_lifecycle::"));
}

#[cfg(feature = "worker-serde")]
#[test]
fn a_status_can_be_serialised() {
    use workfleet::{
        wire::message::{decode, encode},
        worker::{Status, WorkerHandle, Workers, worker_fn},
    };
    let group = Workers::new("group").with_child(worker_fn(|_: WorkerContext| async {}));
    let status = WorkerHandle::new(group).status();
    assert_eq!(status.name, "group");
    let encoded = encode(&status).expect("it encodes");
    assert_eq!(decode::<Status>(&encoded).expect("it decodes"), status);
    assert_eq!(encode(&WorkerState::Init).expect("it encodes"), [0]);
}

#[cfg(feature = "wire-tokio")]
#[test]
fn the_asynchronous_wire_is_there() {
    use workfleet::wire::asynchronous::Reader;
    assert!(type_name::<Reader<()>>().starts_with("workfleet_wire::asynchronous::"));
}

#[cfg(feature = "wire-codec")]
#[test]
fn the_codec_is_there() {
    use workfleet::wire::codec::FrameCodec;
    assert!(type_name::<FrameCodec>().starts_with("workfleet_wire::codec::"));
}

#[test]
fn heartbeaters_and_events_are_found() {
    let heartbeaters = Heartbeaters::new().expect("it starts");
    let (tell, told) = std::sync::mpsc::channel();
    let report = move |report| tell.send(report).expect("the test waits");
    let sender: HeartbeatSender = heartbeaters.register("import", report).expect("a new token");
    sender.send(&1_u8).expect("it is taken");
    heartbeaters.blocking_unregister("import").expect("it is registered");
    let report: workfleet::heartbeat::Report = told.recv().expect("it is reported");
    assert!(matches!(report, workfleet::heartbeat::Report::Beat(details) if details.decode() == Ok(1_u8)));
    let event = workfleet::heartbeat::Event::new();
    event.set().expect("it is at home");
    assert!(event.is_set());
}

#[cfg(feature = "engine")]
#[test]
fn engines_are_found() {
    use workfleet::engine::{EngineOptions, EngineTime, Join, MemberId, cores::EngineCore};
    let (now, time) = (std::time::Instant::now(), EngineTime::from_unix_ms(1_790_000_000_000));
    let mut engine = EngineCore::new(EngineOptions::default(), now, time);
    let member = MemberId::generate(time).expect("there are random bits");
    let joined = engine.join(now, Join { member, name: "a program".into() }).expect("it is new");
    assert_eq!(joined.lease, engine.options().lease);
    assert!(type_name::<dyn workfleet::engine::Engine>().ends_with("workfleet_engine::port::Engine"));
}

#[cfg(feature = "engine-memory")]
#[tokio::test]
async fn engines_in_memory_are_found() {
    use workfleet::engine::{Engine as _, EngineOptions, memory::Memory, repeat::Repeating};
    let engine = Repeating::new(std::sync::Arc::new(Memory::new(EngineOptions::default())));
    assert_eq!(engine.inspect().await.expect("it answers").books.enqueued, 0);
}

#[cfg(feature = "engine-conformance")]
#[test]
fn the_conformance_suite_of_engines_is_found() {
    assert!(type_name::<dyn workfleet::engine::conformance::Subject>().contains("conformance"));
    assert!(type_name::<workfleet::engine::faults::Faulty>().starts_with("workfleet_engine::faults::"));
}

#[cfg(feature = "engine-cron")]
#[test]
fn schedules_are_found() {
    use workfleet::engine::{EngineTime, schedule::Schedule};
    let schedule = Schedule::new("each minute", "* * * * *").expect("it is an expression");
    assert_eq!(schedule.next_after(EngineTime::from_unix_ms(1)), Some(EngineTime::from_unix_ms(60_000)));
}
