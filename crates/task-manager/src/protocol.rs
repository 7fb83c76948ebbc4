//! What the frames between a manager and its worker processes carry. The kinds are [`workfleet_wire::kinds`].
//!
//! Invariants:
//! - The first frame each way opens with the protocol's version as two little-endian bytes, in every version: so
//!   that two versions can at least tell each other apart.
//! - Names of tasks travel once, as a digest in the handshake; after it a task's type is its index in the sorted
//!   registry.

use serde::{Deserialize, Serialize};
use workfleet_wire::{DecodeError, EncodeError, FrameError, Kind, kinds, kinds::Direction, message};

use crate::{failure::Failed, task::ManagerId};

/// Raised whenever a frame changes its meaning or layout.
pub(crate) const VERSION: u16 = 2;

/// Manager → worker, first: who the worker is. The page that it publishes its running attempt in comes with the
/// frame's first byte.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) registry_digest: u64,
    pub(crate) worker: String,
    pub(crate) manager: ManagerId,
    pub(crate) priority_levels: u8,
    pub(crate) frame_limit_bytes: u64,
    /// How many asynchronous tasks it runs at once.
    pub(crate) async_tasks: u32,
}

/// Worker → manager, first: what it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) registry_digest: u64,
}

/// Worker → manager, instead of [`kinds::IDLE`]: its sessions could not be made.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartFailed {
    pub(crate) reason: String,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskFrame<'a> {
    pub(crate) lease: u64,
    pub(crate) sequence: u64,
    pub(crate) attempt: u32,
    pub(crate) task_type: u32,
    pub(crate) priority: u8,
    /// Somebody waits for the output; otherwise it need not travel.
    pub(crate) wants_output: bool,
    pub(crate) payload: &'a [u8],
}

/// No more than this comes beside a task's payload.
pub(crate) const TASK_HEAD_BYTES: u64 = 64;

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
    pub(crate) output: &'a [u8],
}

impl ResultFrame<'_> {
    /// No more than this comes beside the output.
    pub(crate) const HEAD_BYTES: u64 = 32;
}

/// Worker → manager: an attempt ended without an output.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureFrame {
    pub(crate) lease: u64,
    pub(crate) took_ns: u64,
    pub(crate) failed: Box<Failed>,
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
    pub(crate) payload: &'a [u8],
}

/// Worker → manager: a task schedules another, its `index`-th.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleFrame<'a> {
    pub(crate) lease: u64,
    pub(crate) index: u32,
    pub(crate) task_type: u32,
    pub(crate) payload: &'a [u8],
}

/// A frame that its receiver cannot accept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the frame {kind} does not decode")]
    Payload { kind: Kind, source: DecodeError },
    #[error("the frame {kind} came out of turn")]
    OutOfTurn { kind: Kind },
    #[error("the frame {kind} names task type {index}, of {known} that are registered")]
    TaskType { kind: Kind, index: u32, known: usize },
    #[error("a task was scheduled at priority {priority}, of {levels} levels")]
    Priority { priority: u8, levels: u8 },
    #[error("the frame {kind} belongs to no service of this manager")]
    NoService { kind: Kind },
    #[error(transparent)]
    Events(#[from] workfleet_heartbeat::remote::Violation),
}

/// What either side accepts in one frame, if tasks, outputs and messages may have `frame_limit_bytes`: what the pool
/// itself has to say, say of a thousand tasks given back, is not theirs to limit.
pub(crate) fn limit_bytes(frame_limit_bytes: u64) -> u64 {
    frame_limit_bytes.max(64 << 10)
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
