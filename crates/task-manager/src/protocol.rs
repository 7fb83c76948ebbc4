//! What the frames between a manager and its worker processes carry. The kinds are in [`kinds`].
//!
//! Invariants:
//! - The first frame each way opens with the protocol's version as two little-endian bytes, in every version: so
//!   that two versions can at least tell each other apart.
//! - In the handshake, the names of tasks are sent as a digest; the names themselves follow only if the digests differ.
//!   After that, a task's type is sent as its index in the sorted registry.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use workfleet_heartbeat::{DETAILS_LIMIT_BYTES, Details, DetailsError, cores::ThrottleLimits};
use workfleet_wire::{
    DecodeError, EncodeError, FrameError, Kind,
    kinds::{Direction, EVENT_KINDS},
    message,
};

use crate::{
    bytes::at_once, failure::Failed, ids::ManagerId, kinds, message::NAME_LIMIT_BYTES, mismatch::Names,
};

/// The version of what travels on a worker's connection. A manager and a worker work together only if theirs are equal.
///
/// Raise it with each change after which one side would misread what the other sends, or refuse it: a kind that comes, goes or
/// changes its meaning; a field that comes, goes, moves or changes its type; a variant that comes, goes or moves. That
/// holds for the types within a frame as well ([`Failed`], [`Details`]), and for the frames of events and heartbeats
/// ([`EVENT_KINDS`]), which have no version of their own. Do not raise it for what one side does with a frame that it has read.
pub(crate) const VERSION: u16 = 8;

/// What a worker exits with that could not start.
pub(crate) const EXIT_CODE: i32 = 70;

/// Manager → worker, first: who the worker is. With the frame's first byte comes the status page that it publishes its running
/// attempt in, then its standard output, if that was held back, and then a file with the values for its sessions, if there are any.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) registry_digest: u64,
    pub(crate) worker: String,
    pub(crate) manager: ManagerId,
    pub(crate) priority_levels: u8,
    pub(crate) frame_limit_bytes: u64,
    /// How many tasks one task may schedule.
    pub(crate) children_limit: u32,
    /// How many asynchronous tasks it runs at once.
    pub(crate) async_tasks: u32,
    pub(crate) throttle: Throttle,
    /// Whether failures have backtraces.
    pub(crate) backtraces: bool,
    /// Whether its standard output comes behind the status page.
    pub(crate) holds_stdout: bool,
}

/// How often an attempt's heartbeats go out: [`ThrottleLimits`], as they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Throttle {
    most: Duration,
    without_timeout: Duration,
}

impl From<ThrottleLimits> for Throttle {
    fn from(ThrottleLimits { most, without_timeout }: ThrottleLimits) -> Self {
        Self { most, without_timeout }
    }
}

impl From<Throttle> for ThrottleLimits {
    fn from(Throttle { most, without_timeout }: Throttle) -> Self {
        Self { most, without_timeout }
    }
}

/// Worker → manager, first: what it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) registry_digest: u64,
    /// Empty if the registries agree.
    pub(crate) names: Names,
}

/// Worker → manager, instead of [`kinds::IDLE`]: its sessions could not be made.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartFailed {
    pub(crate) reason: String,
    /// What the manager gives to a session is not what that takes: the next worker will not start either.
    pub(crate) of_value: bool,
}

/// Manager → worker: what comes next.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Next<'a> {
    /// A task for the worker's queue.
    #[serde(borrow)]
    Task(TaskFrame<'a>),
    /// Nothing comes any more: finish what is in hand and exit.
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskFrame<'a> {
    pub(crate) lease: u64,
    pub(crate) sequence: u64,
    pub(crate) attempt: u32,
    pub(crate) task_type: u32,
    pub(crate) priority: u8,
    /// Somebody waits for the output; otherwise it need not travel.
    pub(crate) wants_output: bool,
    /// What the attempts before it said last.
    pub(crate) last_heartbeat: Option<Details>,
    #[serde(serialize_with = "at_once")]
    pub(crate) payload: &'a [u8],
}

/// No more than this comes in a frame beside the payload that is the user's (a task, an output, a message) and the details of
/// a heartbeat: numbers, and the name of a message.
pub(crate) const HEAD_LIMIT_BYTES: u64 = 64 + NAME_LIMIT_BYTES as u64;

/// Manager → worker: give tasks back that have not begun, those that would begin last first.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recall {
    pub(crate) at_most: u32,
    /// None that is more urgent than this.
    pub(crate) from: u8,
}

/// Manager → worker: cancel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cancel {
    /// The attempt under this lease.
    Lease(u64),
    /// What runs; what has not begun is given back.
    All,
}

/// Worker → manager: an attempt ended with its output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultFrame<'a> {
    pub(crate) lease: u64,
    pub(crate) took_ns: u64,
    #[serde(serialize_with = "at_once")]
    pub(crate) output: &'a [u8],
}

/// Worker → manager: an attempt ended without an output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureFrame {
    pub(crate) lease: u64,
    pub(crate) took_ns: u64,
    pub(crate) failed: Box<Failed>,
    /// What the attempt said last, if it was held back.
    pub(crate) last_heartbeat: Option<Details>,
}

/// Worker → manager: an attempt beats; without details, it has begun.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeartbeatFrame<'a> {
    pub(crate) lease: u64,
    #[serde(borrow)]
    pub(crate) details: Option<&'a [u8]>,
}

/// Worker → manager: tasks that had not begun, back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReturnedFrame {
    /// This is the answer to a recall; otherwise to a cancellation.
    pub(crate) recalled: bool,
    pub(crate) leases: Vec<u64>,
}

/// Worker → manager: a message for the inbox.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageFrame<'a> {
    pub(crate) lease: u64,
    pub(crate) name: &'a str,
    #[serde(serialize_with = "at_once")]
    pub(crate) payload: &'a [u8],
}

/// Worker → manager: a task schedules another, its `index`-th.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleFrame<'a> {
    pub(crate) lease: u64,
    pub(crate) index: u32,
    pub(crate) task_type: u32,
    #[serde(serialize_with = "at_once")]
    pub(crate) payload: &'a [u8],
}

/// A frame that its receiver cannot accept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("{}", kinds::TABLE.describe(.0))]
    Frame(FrameError),
    #[error("the frame {} does not decode", kinds::TABLE.named(*.kind))]
    Payload { kind: Kind, source: DecodeError },
    #[error("the frame {} came out of turn", kinds::TABLE.named(*.kind))]
    OutOfTurn { kind: Kind },
    #[error("the frame {} names task type {index}, of {known} that are registered", kinds::TABLE.named(*.kind))]
    TaskType { kind: Kind, index: u32, known: usize },
    #[error("a task was scheduled at priority {priority}, of {levels} levels")]
    Priority { priority: u8, levels: u8 },
    #[error("a task scheduled its child number {index}, of {limit} that it may have")]
    TooManyChildren { index: u32, limit: u32 },
    #[error("the frame {} carries details that nobody could have sent", kinds::TABLE.named(*.kind))]
    Details { kind: Kind, source: DetailsError },
    #[error("the frame {} belongs to no service of this manager", kinds::TABLE.named(*.kind))]
    NoService { kind: Kind },
    #[error(transparent)]
    Events(#[from] workfleet_heartbeat::remote::ProtocolError),
}

impl From<FrameError> for Violation {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// What either side accepts in one frame, if tasks, outputs and messages may have `frame_limit_bytes`: what the pool
/// itself has to say, beside them or of a thousand tasks given back, is not theirs to limit, nor are the details of a
/// heartbeat that travel beside them.
pub(crate) fn limit_bytes(frame_limit_bytes: u64) -> u64 {
    without_details(frame_limit_bytes) + DETAILS_LIMIT_BYTES as u64
}

fn without_details(frame_limit_bytes: u64) -> u64 {
    (frame_limit_bytes + HEAD_LIMIT_BYTES).max(64 << 10)
}

/// Checks the length of a frame that a worker sent: only a failure, a heartbeat, and the beats of senders may be longer by
/// their details.
pub(crate) fn check_len(kind: Kind, payload: &[u8], frame_limit_bytes: u64) -> Result<(), Violation> {
    let (len_bytes, limit_bytes) = (payload.len() as u64, without_details(frame_limit_bytes));
    let has_details = || kind == kinds::FAILURE || kind == kinds::HEARTBEAT || EVENT_KINDS.contains(&kind.0);
    if len_bytes > limit_bytes && !has_details() {
        return Err(FrameError::TooLarge { kind, len_bytes, limit_bytes }.into());
    }
    Ok(())
}

/// The details that a frame of `kind` carries.
pub(crate) fn details(kind: Kind, bytes: &[u8]) -> Result<Details, Violation> {
    Details::from_encoded(bytes).map_err(|source| Violation::Details { kind, source })
}

/// Decodes the payload of a frame of `kind`.
pub(crate) fn decode<'a, T: Deserialize<'a>>(kind: Kind, payload: &'a [u8]) -> Result<T, Violation> {
    message::decode_borrowed(payload).map_err(|source| Violation::Payload { kind, source })
}

/// Checks that a frame may go this way at all.
pub(crate) fn check(kind: Kind, direction: Direction, payload: &[u8]) -> Result<(), Violation> {
    Ok(kinds::check(kind, direction, payload.len() as u64)?)
}

/// Appends a frame with an encoded payload; on an error, `out` is as it was.
pub(crate) fn push<T: Serialize>(kind: Kind, payload: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    workfleet_wire::encode_frame_with(kind, out, |out| message::encode_into(payload, out))
}

/// Appends the first frame of either side.
pub(crate) fn push_greeting<T: Serialize>(
    kind: Kind,
    version: u16,
    payload: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    workfleet_wire::encode_frame_with(kind, out, |out| {
        out.extend_from_slice(&version.to_le_bytes());
        message::encode_into(payload, out)
    })
}

/// The other side's greeting, or its version if that is not ours.
pub(crate) fn decode_greeting<'a, T: Deserialize<'a>>(
    kind: Kind,
    payload: &'a [u8],
) -> Result<Result<T, u16>, Violation> {
    let Some((version, rest)) = payload.split_first_chunk::<2>() else {
        return Err(Violation::OutOfTurn { kind });
    };
    match u16::from_le_bytes(*version) {
        VERSION => decode(kind, rest).map(Ok),
        other => Ok(Err(other)),
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod layout;

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_details_may_be_longer_by_them() {
        let limit_bytes = 1 << 20;
        let longest = vec![0; (limit_bytes + HEAD_LIMIT_BYTES) as usize];
        let longer = [&*longest, &[0]].concat();
        for kind in [kinds::RESULT, kinds::MESSAGE, Kind(0x80), Kind(0x58)] {
            assert!(check_len(kind, &longest, limit_bytes).is_ok());
            let refused = check_len(kind, &longer, limit_bytes);
            assert!(matches!(refused, Err(Violation::Frame(FrameError::TooLarge { .. }))), "{refused:?}");
        }
        for kind in [kinds::FAILURE, kinds::HEARTBEAT] {
            assert!(check_len(kind, &longer, limit_bytes).is_ok());
        }
    }

    #[test]
    fn no_head_is_larger_than_its_limit() {
        let payload = vec![7; 70_000];
        let name = "n".repeat(NAME_LIMIT_BYTES);
        let (lease, index, task_type) = (u64::MAX, u32::MAX, u32::MAX);
        let mut frames = [Vec::new(), Vec::new(), Vec::new()];
        let [message, schedule, result] = &mut frames;
        push(kinds::MESSAGE, &MessageFrame { lease, name: &name, payload: &payload }, message)
            .expect("it encodes");
        let child = ScheduleFrame { lease, index, task_type, payload: &payload };
        push(kinds::MESSAGE, &child, schedule).expect("it encodes");
        let ended = ResultFrame { lease, took_ns: u64::MAX, output: &payload };
        push(kinds::RESULT, &ended, result).expect("it encodes");
        for frame in frames {
            let head_bytes = (frame.len() - workfleet_wire::HEADER_LEN_BYTES - payload.len()) as u64;
            assert!(head_bytes <= HEAD_LIMIT_BYTES, "{head_bytes}");
        }
    }

    #[test]
    fn the_largest_task_fits_a_frame_with_the_largest_details() {
        let details = Details::from_encoded(&vec![7; DETAILS_LIMIT_BYTES]).expect("they fit");
        let frame_limit_bytes = 4096;
        let payload = vec![7; frame_limit_bytes as usize];
        let task = TaskFrame {
            lease: u64::MAX,
            sequence: u64::MAX,
            attempt: u32::MAX,
            task_type: u32::MAX,
            priority: u8::MAX,
            wants_output: true,
            last_heartbeat: Some(details),
            payload: &payload,
        };
        let mut out = Vec::new();
        push(kinds::TASK, &Next::Task(task.clone()), &mut out).expect("it encodes");
        let mut decoder = workfleet_wire::Decoder::new(limit_bytes(frame_limit_bytes));
        let mut rest = &*out;
        while !rest.is_empty() {
            let space = decoder.spare();
            let taken_bytes = space.len().min(rest.len());
            space[..taken_bytes].copy_from_slice(&rest[..taken_bytes]);
            decoder.advance(taken_bytes);
            rest = &rest[taken_bytes..];
        }
        let frame = decoder.next_frame().expect("it is allowed").expect("it is complete");
        assert_eq!(decode::<Next<'_>>(frame.kind, frame.payload).expect("it decodes"), Next::Task(task));
    }
}
