//! Values that do not travel: each is a typed error of the one task or message that it belongs to, which is handed back
//! where it would be lost, and nothing else suffers.

use std::{
    error::Error,
    fmt,
    ops::RangeInclusive,
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use workfleet_task_manager::{
    FailureCause, MessageError, MessageSendError, Peer, Priority, Registry, ScheduleErrorKind, Service, Task,
    TaskContext, TaskError, TaskFailure, TaskMessage, TaskSpec, WorkerIncarnation,
};

use crate::{
    Builder, KIND, Manager, builder,
    support::{
        Kind, alone, close,
        gate::{Gate, Hold},
        only_worker,
    },
};

/// A value whose one direction or the other fails, on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fickle {
    Good,
    Unwritable,
    Unreadable,
    PanicsWhenRead,
}

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unwritable => Err(ser::Error::custom("it has no bytes")),
            Self::Good => serializer.serialize_u8(0),
            Self::Unreadable => serializer.serialize_u8(1),
            Self::PanicsWhenRead => serializer.serialize_u8(2),
        }
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Good),
            1 => Err(de::Error::custom("it cannot be read")),
            _ => panic!("read what is not to be read"),
        }
    }
}

/// Bytes that are encoded as one piece: a `Vec<u8>` goes byte by byte, which takes a while for 65 MiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// A task that does what it says with its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Carry {
    fields: Fickle,
    deed: Deed,
    padding: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Deed {
    Yield(OutputKind),
    FailWithText { len_bytes: usize },
    FailWithSources { count: usize },
    PanicWithText { len_bytes: usize },
    SendBadMessages,
    ScheduleBadTasks,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum OutputKind {
    Bytes { len_bytes: usize },
    Unwritable,
    Unreadable,
}

impl Carry {
    fn new(deed: Deed) -> Self {
        Self { fields: Fickle::Good, deed, padding: Bytes::default() }
    }

    fn bytes(len_bytes: usize) -> Self {
        Self::new(Deed::Yield(OutputKind::Bytes { len_bytes }))
    }
}

impl TaskSpec for Carry {
    const NAME: &'static str = "carry";
    type Output = (Fickle, Bytes, u32);
}
impl Task for Carry {
    fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError> {
        let mut output = (Fickle::Good, Bytes::default(), process::id());
        match self.deed {
            Deed::Yield(OutputKind::Bytes { len_bytes }) => output.1 = Bytes(vec![7; len_bytes]),
            Deed::Yield(OutputKind::Unwritable) => output.0 = Fickle::Unwritable,
            Deed::Yield(OutputKind::Unreadable) => output.0 = Fickle::Unreadable,
            Deed::FailWithText { len_bytes } => return Err("é".repeat(len_bytes / 2).into()),
            Deed::FailWithSources { count } => return Err(Nested::new(count).into()),
            Deed::PanicWithText { len_bytes } => panic!("{}", "é".repeat(len_bytes / 2)),
            Deed::SendBadMessages => send_bad_messages(cx)?,
            Deed::ScheduleBadTasks => schedule_bad_tasks(cx)?,
        }
        Ok(output)
    }
}

fn send_bad_messages(cx: &TaskContext) -> Result<(), TaskError> {
    let unwritable = cx.send_message(&Word(Fickle::Unwritable, Vec::new()));
    assert!(matches!(unwritable, Err(MessageSendError::Encode(_))), "{unwritable:?}");
    match cx.send_message(&Word(Fickle::Good, vec![0; LIMIT_BYTES])) {
        Err(MessageSendError::TooLarge { len_bytes, limit_bytes, .. }) => {
            assert!(len_bytes > LIMIT_BYTES as u64, "{len_bytes}");
            assert_eq!(limit_bytes, LIMIT_BYTES as u64);
        }
        other => panic!("{other:?}"),
    }
    cx.send_message(&Word(Fickle::Unreadable, Vec::new()))?;
    cx.send_message(&Foreign)?;
    cx.send_message(&Word(Fickle::Good, vec![1; LIMIT_BYTES / 2]))?;
    Ok(())
}

fn schedule_bad_tasks(cx: &TaskContext) -> Result<(), TaskError> {
    let refuse = |task: Carry, priority: u8| {
        let error = cx.schedule_with(task.clone(), Priority(priority)).expect_err("it is refused");
        let text = error.to_string();
        assert_eq!(error.into_task(), task, "it is handed back");
        text
    };
    assert_eq!(
        refuse(Carry::bytes(0), 2),
        "priority 2 is beyond the manager's 2 levels, of which 1 is the last"
    );
    assert_eq!(refuse(Carry::bytes(0), 200).split(' ').nth(1), Some("200"));
    let text = refuse(Carry { fields: Fickle::Unwritable, ..Carry::bytes(0) }, 0);
    assert!(text.starts_with("the task cannot be encoded: `"), "{text}");
    assert!(text.ends_with("::Carry`: field `fields`: it has no bytes"), "{text}");
    let large = Carry { padding: Bytes(vec![0; LIMIT_BYTES]), ..Carry::bytes(0) };
    assert!(refuse(large, 0).ends_with(&format!("of {LIMIT_BYTES}, which the manager's builder can raise")));
    let error = cx.schedule_with(Unregistered, Priority(0)).expect_err("it is refused");
    assert!(matches!(error.kind(), ScheduleErrorKind::Unregistered { name: "unregistered", .. }), "{error}");
    cx.schedule(Carry::bytes(0))?;
    Ok(())
}

/// An error with many sources.
#[derive(Debug)]
struct Nested(Option<Box<Nested>>);
impl Nested {
    fn new(count: usize) -> Self {
        (0..count).fold(Self(None), |inner, _| Self(Some(Box::new(inner))))
    }
}
impl fmt::Display for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deeper")
    }
}
impl Error for Nested {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|inner| inner as _)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Unregistered;
impl TaskSpec for Unregistered {
    const NAME: &'static str = "unregistered";
    type Output = ();
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word(Fickle, Vec<u8>);
impl TaskMessage for Word {
    const NAME: &'static str = "word";
}

#[derive(Debug, Serialize, Deserialize)]
struct Foreign;
impl TaskMessage for Foreign {
    const NAME: &'static str = "foreign";
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Carry>().task::<Hold>()
}

/// The smallest frame limit there is.
const LIMIT_BYTES: usize = 4096;

fn one_worker() -> Builder {
    builder(1).frame_limit(LIMIT_BYTES as u64)
}

/// Hears of workers that are gone.
#[derive(Default)]
struct Obituaries(AtomicUsize);
impl Service for Obituaries {
    fn kinds(&self) -> RangeInclusive<u8> {
        0x20..=0x20
    }
    fn on_frame(&self, _peer: &Peer, _kind: workfleet_wire::Kind, _payload: &[u8]) {}
    fn on_worker_gone(&self, _incarnation: WorkerIncarnation) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `test` with a manager, whose one worker is then still the same and works.
fn unharmed(test: impl FnOnce(&Manager)) {
    let _alone = alone();
    let gone = Arc::new(Obituaries::default());
    let mounted: Arc<dyn Service> = gone.clone();
    let manager = one_worker().service(mounted).start().expect("it starts");
    let pid = match KIND {
        Kind::Processes => only_worker(&manager).expect("it has just started"),
        Kind::Threads => process::id(),
    };
    test(&manager);
    let task = manager.submit(Carry::bytes(3)).expect("it is taken");
    assert_eq!(task.wait().expect("it is done"), (Fickle::Good, Bytes(vec![7; 3]), pid));
    assert_eq!(gone.0.load(Ordering::Relaxed), 0, "the worker was replaced");
    close(&manager);
    assert_eq!(gone.0.load(Ordering::Relaxed), 1);
}

fn failure(manager: &Manager, task: Carry) -> TaskFailure {
    let failure = manager.submit(task).expect("it is taken").wait().expect_err("it fails");
    assert!(failure.deaths.is_empty(), "{failure}");
    failure
}

#[test]
fn a_task_that_does_not_encode_is_handed_back() {
    unharmed(|manager| {
        let task = Carry { fields: Fickle::Unwritable, ..Carry::bytes(0) };
        let error = manager.submit(task.clone()).map(drop).expect_err("it is refused");
        assert!(matches!(error.kind(), ScheduleErrorKind::Encode(_)), "{error}");
        assert_eq!(error.into_task(), task);
        let error = manager.schedule_with(task.clone(), Priority(0)).expect_err("it is refused");
        assert!(matches!(error.kind(), ScheduleErrorKind::Encode(_)), "{error}");
        assert_eq!(error.into_task(), task);
        assert_eq!(manager.stats().tasks.scheduled, 0);
    });
}

#[test]
fn a_task_that_does_not_decode_is_rejected_by_its_worker() {
    unharmed(|manager| {
        let failure = failure(manager, Carry { fields: Fickle::Unreadable, ..Carry::bytes(0) });
        assert_eq!((failure.attempt, failure.worker.as_deref()), (1, Some("worker-0")));
        match &failure.cause {
            FailureCause::Rejected { .. } => {}
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_task_whose_decoding_panics_has_panicked() {
    unharmed(|manager| {
        let failure = failure(manager, Carry { fields: Fickle::PanicsWhenRead, ..Carry::bytes(0) });
        match &failure.cause {
            FailureCause::Panicked { message, .. } => assert_eq!(message, "read what is not to be read"),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn an_output_that_does_not_travel_is_a_failure() {
    unharmed(|manager| {
        let kinds =
            [OutputKind::Unwritable, OutputKind::Unreadable, OutputKind::Bytes { len_bytes: LIMIT_BYTES }];
        for kind in kinds {
            let failure = failure(manager, Carry::new(Deed::Yield(kind.clone())));
            let too_large = matches!(failure.cause, FailureCause::OutputTooLarge { .. });
            assert_eq!(too_large, matches!(kind, OutputKind::Bytes { .. }), "{kind:?}: {failure}");
            assert!(too_large || matches!(failure.cause, FailureCause::Output { .. }), "{kind:?}: {failure}");
            let reason = match kind {
                OutputKind::Unwritable => "it has no bytes",
                OutputKind::Unreadable => "it cannot be read",
                OutputKind::Bytes { .. } => "beyond the frame_limit of 4096",
            };
            assert!(failure.to_string().contains(reason), "{kind:?}: {failure}");
        }
    });
}

/// Nobody waits for it, so it need not travel.
#[test]
fn the_output_of_a_scheduled_task_is_not_looked_at() {
    unharmed(|manager| {
        let task = Carry::new(Deed::Yield(OutputKind::Unwritable));
        manager.schedule_with(task, Priority(0)).expect("it is taken");
        assert!(manager.messages::<Word>().next().is_none());
        assert_eq!(manager.stats().tasks.done, 1);
    });
}

#[test]
fn outputs_and_tasks_of_every_size_around_the_limit_arrive_or_are_refused() {
    unharmed(|manager| {
        let (mut done, mut lost) = (0, 0);
        for len_bytes in LIMIT_BYTES - 100..LIMIT_BYTES + 10 {
            match manager.submit(Carry::bytes(len_bytes)).expect("it is taken").wait() {
                Ok((_, bytes, _)) => {
                    assert_eq!((bytes.0.len(), lost), (len_bytes, 0));
                    done += 1;
                }
                Err(failure) => {
                    assert!(matches!(failure.cause, FailureCause::OutputTooLarge { .. }), "{failure}");
                    lost += 1;
                }
            }
        }
        assert!(done > 0 && lost > 0, "{done} {lost}");
        let (mut done, mut refused) = (0, 0);
        for len_bytes in LIMIT_BYTES - 100..LIMIT_BYTES + 10 {
            let task = Carry { padding: Bytes(vec![1; len_bytes]), ..Carry::bytes(0) };
            match manager.submit(task) {
                Ok(handle) => {
                    handle.wait().expect("it is done");
                    assert_eq!(refused, 0);
                    done += 1;
                }
                Err(error) => {
                    match error.kind() {
                        ScheduleErrorKind::TooLarge { limit_bytes, .. } => {
                            assert_eq!(*limit_bytes, LIMIT_BYTES as u64);
                        }
                        other => panic!("{other}"),
                    }
                    assert_eq!(error.into_task().padding.0.len(), len_bytes);
                    refused += 1;
                }
            }
        }
        assert!(done > 0 && refused > 0, "{done} {refused}");
    });
}

#[test]
fn a_limit_above_the_default_holds_both_ways() {
    let _alone = alone();
    let len_bytes = 65 << 20;
    let manager = builder(1).frame_limit(66 << 20).start().expect("it starts");
    let task = Carry { padding: Bytes(vec![1; len_bytes]), ..Carry::bytes(len_bytes) };
    let (_, bytes, _) = manager.submit(task).expect("it is taken").wait().expect("it is done");
    assert_eq!(bytes.0.len(), len_bytes);
    close(&manager);
}

#[test]
fn a_priority_beyond_the_levels_is_refused() {
    unharmed(|manager| {
        for priority in [2, 128, 255] {
            let error = manager.submit_with(Carry::bytes(0), Priority(priority)).map(drop);
            let error = error.expect_err("it is refused");
            match error.kind() {
                ScheduleErrorKind::Priority { priority: found, levels, .. } => {
                    assert_eq!((*found, *levels), (Priority(priority), 2));
                }
                other => panic!("{other}"),
            }
            assert_eq!(error.into_task(), Carry::bytes(0));
        }
    });
}

#[test]
fn a_task_that_is_not_registered_is_refused() {
    unharmed(|manager| {
        let error = manager.submit(Unregistered).map(drop).expect_err("it is refused");
        assert!(
            matches!(error.kind(), ScheduleErrorKind::Unregistered { name: "unregistered", .. }),
            "{error}"
        );
    });
}

#[test]
fn bad_messages_are_errors_of_their_own() {
    unharmed(|manager| {
        let task = manager.submit(Carry::new(Deed::SendBadMessages)).expect("it is taken");
        let items: Vec<_> = manager.messages::<Word>().collect();
        match &items[..] {
            [
                Err(MessageError::Malformed { message: first, .. }),
                Err(MessageError::Unexpected { message: second, expected: "word", .. }),
                Ok(message),
            ] => {
                assert_eq!((first.content.name(), second.content.name()), ("word", "foreign"));
                assert_eq!(
                    (first.task, second.task, message.task),
                    (Some(task.id()), Some(task.id()), Some(task.id()))
                );
                assert_eq!(message.content.1.len(), LIMIT_BYTES / 2);
            }
            other => panic!("{other:?}"),
        }
        task.wait().expect("it checked every error");
        let error = manager.send_message(&Word(Fickle::Unwritable, Vec::new()));
        assert!(matches!(error, Err(MessageSendError::Encode(_))), "{error:?}");
    });
}

#[test]
fn tasks_that_a_task_cannot_schedule_are_handed_back_to_it() {
    unharmed(|manager| {
        let task = manager.submit(Carry::new(Deed::ScheduleBadTasks)).expect("it is taken");
        task.wait().expect("it checked every error");
        assert!(manager.messages::<Word>().next().is_none());
        assert_eq!(manager.stats().tasks.done, 2);
    });
}

#[test]
fn a_failure_is_shortened_to_what_fits() {
    unharmed(|manager| {
        let deeds = [
            Deed::FailWithText { len_bytes: 3 * LIMIT_BYTES },
            Deed::FailWithSources { count: LIMIT_BYTES },
            Deed::PanicWithText { len_bytes: 3 * LIMIT_BYTES },
        ];
        for deed in deeds {
            match &failure(manager, Carry::new(deed)).cause {
                FailureCause::Error { chain, .. } => {
                    assert!(chain.concat().len() >= LIMIT_BYTES / 16, "{chain:?}")
                }
                FailureCause::Panicked { message, .. } => assert!(message.len() >= LIMIT_BYTES / 4),
                other => panic!("{other}"),
            }
        }
    });
}

/// A worker that gives back a thousand tasks says so in one frame.
#[test]
fn any_number_of_prefetched_tasks_can_be_given_back() {
    unharmed(|manager| {
        let gate = Gate::new();
        // So short that a thousand of them are in hand.
        for _ in 0..5 {
            let short: Vec<_> =
                (0..2000).map(|_| manager.submit(Carry::bytes(0)).expect("it is taken")).collect();
            let held = manager.submit(Hold(gate.path())).expect("it is taken");
            let behind: Vec<_> =
                (0..2000).map(|_| manager.submit(Carry::bytes(0)).expect("it is taken")).collect();
            let waiting = gate.wait();
            // It stalls: what is behind it is asked for, and comes back.
            while manager.stats().workers[0].in_flight > 1 {
                std::thread::yield_now();
            }
            waiting.go_on();
            for handle in short.into_iter().chain(behind) {
                handle.wait().expect("it is done");
            }
            held.wait().expect("it was let go");
        }
    });
}
