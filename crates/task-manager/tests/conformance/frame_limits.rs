//! A limit means what it says: a payload of exactly the frame limit passes, one byte more fails, and the error has both
//! numbers.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use workfleet_heartbeat::{Details, DetailsError};
use workfleet_task_manager::{
    Chain, ClosePolicy, EncodedMessage, FailureCause, MessageSendError, NoMessage, Registry,
    ScheduleErrorKind, Task, TaskContext, TaskError, TaskHeartbeatError, TaskMessage, TaskSpec,
};
use workfleet_wire::message::encode;

use crate::{
    Manager, builder,
    support::{alone, assert_balanced},
};

/// The smallest that there is; lengths of two bytes and of three; and one beyond what every frame may have.
const LIMITS: [u64; 4] = [4096, 16_390, 20_000, 70_000];

const DETAILS_LIMIT: u64 = 64 << 10;

/// A payload of any length, encoded.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Blob(String);

impl Blob {
    /// It has exactly so many bytes when it is encoded.
    fn of(len_bytes: u64) -> Self {
        let around = len_bytes as usize;
        let of = |len: usize| Self("x".repeat(len));
        let fits = |blob: &Self| encode(blob).expect("it encodes").len() as u64 == len_bytes;
        (around.saturating_sub(6)..=around).map(of).find(fits).expect("a length of that many bytes")
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl TaskSpec for Blob {
    const NAME: &'static str = "limit-blob";
    type Output = ();
}

impl Task for Blob {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }
}

impl TaskMessage for Blob {
    const NAME: &'static str = "a-message-whose-name-is-not-a-part-of-what-is-limited";
}

/// Does something that has so many bytes; returns its length and the limit if it is refused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Try {
    Send(u64),
    Schedule(u64),
    Beat(u64),
}

impl TaskSpec for Try {
    const NAME: &'static str = "limit-try";
    type Output = Option<(u64, u64)>;
}

impl Task for Try {
    fn run(self, cx: &TaskContext) -> Result<Option<(u64, u64)>, TaskError> {
        match self {
            Self::Send(len) => match cx.send_message(&Blob::of(len)) {
                Ok(()) => Ok(None),
                Err(MessageSendError::TooLarge { len_bytes, limit_bytes, .. }) => {
                    Ok(Some((len_bytes, limit_bytes)))
                }
                Err(error) => Err(error.into()),
            },
            Self::Schedule(len) => match cx.schedule(Blob::of(len)) {
                Ok(()) => Ok(None),
                Err(error) => match *error.kind() {
                    ScheduleErrorKind::TooLarge { len_bytes, limit_bytes, .. } => {
                        Ok(Some((len_bytes, limit_bytes)))
                    }
                    _ => Err(error.into()),
                },
            },
            Self::Beat(len) => match cx.heartbeat(&Blob::of(len)) {
                Ok(()) => Ok(None),
                Err(TaskHeartbeatError::Details(DetailsError::TooLarge {
                    len_bytes, limit_bytes, ..
                })) => Ok(Some((len_bytes as u64, limit_bytes as u64))),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// Returns so many bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Yield(u64);

impl TaskSpec for Yield {
    const NAME: &'static str = "limit-yield";
    type Output = Blob;
}

impl Task for Yield {
    fn run(self, _cx: &TaskContext) -> Result<Blob, TaskError> {
        Ok(Blob::of(self.0))
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Blob>().task::<Try>().task::<Yield>()
}

/// Runs `test` with each limit and the lengths around it: it says what it was refused by, if it was.
fn at_each_limit(test: impl Fn(&Manager, u64) -> Option<(u64, u64)>) {
    let _alone = alone();
    for limit in LIMITS {
        let manager = builder(1).frame_limit(limit).start().expect("it starts");
        for len in around(limit) {
            let refused = test(&manager, len);
            assert_eq!(refused, (len > limit).then_some((len, limit)), "{len} of {limit}");
        }
        assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
    }
}

fn around(limit: u64) -> RangeInclusive<u64> {
    limit - 2..=limit + 2
}

/// Its length and the limit, if a task is refused for them; one that is taken is run.
fn refused(manager: &Manager, task: impl TaskSpec) -> Option<(u64, u64)> {
    match manager.submit(task) {
        Ok(handle) => {
            handle.wait().expect("what was taken is run");
            None
        }
        Err(error) => match *error.kind() {
            ScheduleErrorKind::TooLarge { len_bytes, limit_bytes, .. } => Some((len_bytes, limit_bytes)),
            _ => panic!("{error}"),
        },
    }
}

#[test]
fn a_task_has_at_most_the_limit() {
    at_each_limit(|manager, len| refused(manager, Blob::of(len)));
}

#[test]
fn a_child_has_at_most_the_limit() {
    at_each_limit(|manager, len| {
        let refused = manager.submit(Try::Schedule(len)).expect("it is small").wait().expect("it is done");
        assert_eq!(manager.messages::<NoMessage>().count(), 0, "no child failed");
        refused
    });
}

#[test]
fn a_chain_has_at_most_the_limit() {
    at_each_limit(|manager, len| {
        // A chain is a little longer than its link.
        let of = |link| Chain::new().then(&Blob::of(link)).expect("it encodes");
        let encoded = |chain: &Chain| encode(chain).expect("it encodes").len() as u64;
        let chain =
            (len - 100..len).map(of).find(|chain| encoded(chain) == len).expect("one has this length");
        refused(manager, chain)
    });
}

#[test]
fn an_output_has_at_most_the_limit() {
    at_each_limit(|manager, len| match manager.submit(Yield(len)).expect("it is small").wait() {
        Ok(output) => {
            assert_eq!(output, Blob::of(len));
            None
        }
        Err(failure) => match failure.cause {
            FailureCause::OutputTooLarge { len_bytes, limit_bytes, .. } => Some((len_bytes, limit_bytes)),
            _ => panic!("{failure}"),
        },
    });
}

#[test]
fn a_message_has_at_most_the_limit_whoever_sends_it() {
    at_each_limit(|manager, len| {
        let refused = manager.submit(Try::Send(len)).expect("it is small").wait().expect("it is done");
        let own = match manager.send_message(&Blob::of(len)) {
            Ok(()) => None,
            Err(MessageSendError::TooLarge { len_bytes, limit_bytes, .. }) => Some((len_bytes, limit_bytes)),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(own, refused);
        let read: Vec<_> =
            manager.messages::<EncodedMessage>().map(|message| message.expect("it is one")).collect();
        assert_eq!(read.len(), if refused.is_some() { 0 } else { 2 });
        assert!(read.iter().all(|message| message.content.as_bytes().len() as u64 == len));
        refused
    });
}

/// They have a limit of their own, however small that of frames is.
#[test]
fn the_details_of_a_heartbeat_have_at_most_their_own_limit() {
    let _alone = alone();
    for frame_limit in LIMITS {
        let manager = builder(1).frame_limit(frame_limit).start().expect("it starts");
        for len in around(DETAILS_LIMIT) {
            let handle = manager.submit(Try::Beat(len)).expect("it is small");
            let refused = handle.wait().expect("it is done");
            assert_eq!(refused, (len > DETAILS_LIMIT).then_some((len, DETAILS_LIMIT)), "{len}");
        }
        assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
    }
    let details = Details::encode(&Blob::of(DETAILS_LIMIT)).expect("it is within the limit");
    assert_eq!(details.as_bytes().len() as u64, DETAILS_LIMIT);
}
