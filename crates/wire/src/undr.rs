//! The protocol of Python's [`undr.task`](https://pypi.org/project/undr/), under its names and with its meaning.
//!
//! A Rust program plays either side of it with this module: undr's manager, or one of its workers. Frames, functions and
//! letters are those of undr 1.0.1. The pool of `workfleet-task-manager` takes undr's letters where it does the same thing, and
//! has a table of its own.
//!
//! | kind | worker → manager | manager → worker |
//! |---|---|---|
//! | `n` | [`NEXT_TASK`], empty: the worker has no task; answered by `t` | – |
//! | `t` | [`ACKNOWLEDGE_AND_NEXT_TASK`], empty: the worker completed its task; answered by `t` | [`TASK`], carries: a task, `None`, or a `CloseRequest` |
//! | `m` | [`MESSAGE`], carries: a message for the inbox; answered by `m` | [`MESSAGE`], empty: the message is accepted |
//! | `s` | – | [`TASK_ACCEPTED`], empty: the task is accepted |
//! | `0x80..=0xff` | [`schedule`], carries: a new task, at the priority kind − `0x80`; answered by `s` | – |
//!
//! Each frame of a worker gets exactly one answer, and the worker waits for it.
//!
//! # Messages are bytes here
//! undr's messages and tasks are *pickles*. To load a pickle is to run what its sender wrote, and only Python can do it. So
//! [`send_message`] takes a pickle that the caller has, and [`receive_message`] returns a pickle as bytes. Nothing here
//! reads one or makes one.
//!
//! # Where undr's documentation and its code differ
//! | undr's documentation | undr's code | this module |
//! |---|---|---|
//! | `n`: the worker started a task | a worker that has no task sends it, to get one (`Proxy.next_task`) | as the code |
//! | `t` to a worker: it starts a new task, or ends | also a pickled `None`: there is no task now, ask again | as the code |
//! | `receive_type` reads until the type comes | it reads one frame; any other is an `AssertionError`, and lost | one frame; another is in [`ReceiveError::Unexpected`] |
//! | `receive_message` decodes the message | an empty frame gives `b""`, and is not decoded | an empty payload |
//! | priorities 0 to 127 | `ProcessManager` takes at most 127 levels, so 0 to 126 | 0 to 127 |
//!
//! An end of the stream is a `ConnectionResetError` in undr, whether it comes between two frames or inside one. Here the
//! first is [`ReceiveError::Ended`] and the second [`FrameError::Truncated`]. undr knows no limit for a frame; a [`Reader`]
//! has one.
//!
//! ```
//! use workfleet_wire::kinds::Direction;
//! use workfleet_wire::undr;
//!
//! // A worker's frames, as undr's `Proxy` sends them; the pickle is that of `"digested"`.
//! let pickle = b"\x80\x04\x95\x0c\0\0\0\0\0\0\0\x8c\x08digested\x94.";
//! let mut to_manager = Vec::new();
//! undr::send_message(&mut to_manager, undr::MESSAGE, pickle)?;
//! undr::send_type(&mut to_manager, undr::ACKNOWLEDGE_AND_NEXT_TASK)?;
//!
//! // The manager takes them, and accepts the message.
//! let mut from_worker = undr::Reader::new(&to_manager[..]);
//! let mut to_worker = Vec::new();
//! let (kind, message) = undr::receive_message(&mut from_worker)?;
//! undr::check(kind, Direction::ToManager, message.len() as u64)?;
//! assert_eq!((kind, &message[..]), (undr::MESSAGE, &pickle[..]));
//! undr::send_type(&mut to_worker, undr::MESSAGE)?;
//! undr::receive_type(&mut from_worker, undr::ACKNOWLEDGE_AND_NEXT_TASK)?;
//!
//! // The worker waits for that.
//! undr::receive_type(&mut undr::Reader::new(&to_worker[..]), undr::MESSAGE)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Over tokio, the functions of `asynchronous` send and receive the same frames.

use std::io::{Read, Write};

use bytes::Bytes;

use crate::kinds::{Direction, SCHEDULE_KINDS};
use crate::{FrameError, Kind, ReceiveError, Row, Rule, SendError, Table};

pub use crate::blocking::{Reader, receive_bytes, receive_type, send_bytes, send_type};

/// Worker → manager, empty: the worker has no task and asks for one. Answered by [`TASK`].
///
/// undr's documentation says that the worker started a task; its workers send this when they have none.
#[doc(alias = "next_task")]
pub const NEXT_TASK: Kind = Kind(b'n');
/// Worker → manager, empty: the worker completed its task and asks for the next. Answered by [`TASK`], which is the same
/// byte the other way.
#[doc(alias = "acknowledge_and_next_task")]
pub const ACKNOWLEDGE_AND_NEXT_TASK: Kind = Kind(b't');
/// Manager → worker, carries: the pickle of a task to start, of `None` (there is none now), or of a `CloseRequest` (the
/// worker must end). The same byte as [`ACKNOWLEDGE_AND_NEXT_TASK`] the other way.
#[doc(alias = "CloseRequest")]
pub const TASK: Kind = Kind(b't');
/// Worker → manager, carries: the pickle of a message for the inbox. Manager → worker, empty: that message is accepted.
pub const MESSAGE: Kind = Kind(b'm');
/// Manager → worker, empty: the task that a [`schedule`] frame carried is accepted.
pub const TASK_ACCEPTED: Kind = Kind(b's');

/// Worker → manager, carries: the kind of a frame with the pickle of a new task at `priority`; `None` above 127.
///
/// Tasks of lower numbers come first. [`Kind::schedule_priority`] is the inverse. Answered by [`TASK_ACCEPTED`]. undr's
/// own `ProcessManager` has two levels unless it is told otherwise, and ends the connection at a priority that it lacks.
///
/// ```
/// use workfleet_wire::{Kind, undr};
///
/// assert_eq!(undr::schedule(1), Some(Kind(0x81)));
/// assert_eq!(undr::schedule(128), None);
/// ```
#[inline]
#[must_use]
pub const fn schedule(priority: u8) -> Option<Kind> {
    match priority.checked_add(*SCHEDULE_KINDS.start()) {
        Some(byte) => Some(Kind(byte)),
        None => None,
    }
}

/// undr's kinds, both ways.
///
/// ```
/// use workfleet_wire::undr;
///
/// assert_eq!(undr::TABLE.name(undr::TASK_ACCEPTED), Some("TASK_ACCEPTED"));
/// ```
pub static TABLE: Table = Table::new(&[
    Row::one(MESSAGE, "MESSAGE", Rule::Carries, Rule::Empty),
    Row::one(NEXT_TASK, "NEXT_TASK", Rule::Empty, Rule::Never),
    Row::one(TASK_ACCEPTED, "TASK_ACCEPTED", Rule::Never, Rule::Empty),
    Row::one(TASK, "ACKNOWLEDGE_AND_NEXT_TASK/TASK", Rule::Empty, Rule::Carries),
    Row::range(SCHEDULE_KINDS, "schedule", Rule::Carries, Rule::Never),
]);

/// Checks one frame's kind and payload length against undr's [`TABLE`].
///
/// undr's functions check neither.
///
/// # Errors
/// As [`Table::check`].
#[inline]
pub fn check(kind: Kind, direction: Direction, payload_len_bytes: u64) -> Result<(), FrameError> {
    TABLE.check(kind, direction, payload_len_bytes)
}

/// Sends one frame with a message that is pickled already.
///
/// undr's function pickles a Python value first. Here the caller passes the pickle, which is sent unchanged. `Ok` means that all
/// of it was written, not that it was flushed or received.
///
/// ```
/// use workfleet_wire::undr;
///
/// let mut out = Vec::new();
/// undr::send_message(&mut out, undr::TASK, b"\x80\x04N.")?; // pickle.dumps(None): no task now
/// assert_eq!(out, b"t\x04\0\0\0\0\0\0\0\x80\x04N.");
/// # Ok::<(), workfleet_wire::SendError>(())
/// ```
///
/// # Errors
/// [`SendError::Io`] if the writer fails. Part of the frame may have been written: the stream is of no more use.
pub fn send_message<W: Write + ?Sized>(writer: &mut W, kind: Kind, pickle: &[u8]) -> Result<(), SendError> {
    send_bytes(writer, kind, pickle)
}

/// Receives one frame, whose payload is a pickle or empty.
///
/// undr's function loads the pickle, unless it is told not to; here the caller gets its bytes, and nothing of it is run.
///
/// ```
/// use workfleet_wire::undr;
///
/// let mut from_manager = undr::Reader::new(&b"t\x04\0\0\0\0\0\0\0\x80\x04N."[..]);
/// let (kind, pickle) = undr::receive_message(&mut from_manager)?;
/// assert_eq!((kind, &pickle[..]), (undr::TASK, &b"\x80\x04N."[..]));
/// # Ok::<(), workfleet_wire::ReceiveError>(())
/// ```
///
/// # Errors
/// As [`receive_bytes`].
pub fn receive_message<R: Read>(reader: &mut Reader<R>) -> Result<(Kind, Bytes), ReceiveError> {
    let frame = receive_bytes(reader)?;
    Ok((frame.kind, frame.payload))
}
