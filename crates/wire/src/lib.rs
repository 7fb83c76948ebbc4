//! The frames and typed messages in which the processes of a fleet talk.
//!
//! A **frame** is one kind byte, a little-endian `u64` length, and that many bytes of payload: the `struct.pack("<cQ", …)`
//! of Python's `undr.task`, so that bytes which its functions wrote are decoded here, and the reverse. A **message** is a
//! payload that is a value of a Rust type, by serde and [postcard](https://postcard.jamesmunns.com/wire-format).
//!
//! ```
//! use workfleet_wire::kinds::{self, Direction};
//! use workfleet_wire::{blocking, message};
//!
//! let (manager, mut worker) = std::io::pipe()?; // or a socket
//! blocking::send_message(&mut worker, kinds::MESSAGE, &("digested", 42_u64))?;
//! drop(worker);
//!
//! let mut from_worker = blocking::Reader::new(manager);
//! while let Some(frame) = from_worker.next_frame()? {
//!     kinds::check(frame.kind, Direction::ToManager, frame.payload.len() as u64)?;
//!     let (what, how_many): (&str, u64) = message::decode_borrowed(frame.payload)?;
//!     assert_eq!((what, how_many), ("digested", 42));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What stands where
//! - [`Decoder`], [`encode_frame`], [`encode_frame_with`]: the core, with no IO. Everything else here is made of it.
//! - [`message`]: values to payloads and back.
//! - [`kinds`]: the table below, and [`kinds::check`], which holds a frame against it. A [`Table`] holds another protocol's
//!   kinds.
//! - [`undr`]: the protocol of Python's `undr.task`, to talk with a program that uses it.
//! - [`blocking`]: `send_bytes`, `send_message`, `send_type`, `receive_bytes`, `receive_message`, `receive_type` over
//!   [`std::io`].
//! - `asynchronous` (feature `tokio`): the same names over tokio's `AsyncRead` and `AsyncWrite`.
//! - `codec` (feature `codec`): a `tokio_util::codec`, for a `Stream` and a `Sink` of frames.
//!
//! # What is promised
//! - How a stream is split on its way changes nothing about its frames.
//! - A length is held against a limit (64 MiB unless another is given) before memory is taken, and memory grows with the
//!   bytes that arrived, never with the bytes that were claimed.
//! - Whatever arrives gives a frame, a wait for more, or an error with a type; never a panic.
//! - A payload is exactly one message, and data only: trailing bytes are an error, and nothing that arrives is run.
//! - A value that [`message::encode_checked`] takes arrives as it was sent; what serde can say and the format cannot carry is an
//!   error where it is encoded. Values nest up to a limit, on both sides.
//!
//! # The kinds
//! What each kind is, and whether it carries a payload, is empty, may be either, or does not go (–), each way:
//!
//! | kind | name | worker → manager | manager → worker | meaning |
//! |---|---|---|---|---|
//! | `0x01` | [`WELCOME`](kinds::WELCOME) | – | carries | the manager's half of the handshake |
//! | `0x02` | [`CANCEL`](kinds::CANCEL) | – | carries | a running attempt should end |
//! | `0x03` | [`RECALL`](kinds::RECALL) | – | carries | give prefetched tasks back |
//! | `0x04` | [`PING`](kinds::PING) | – | empty | are you there? |
//! | `0x05` | [`FLUSHED`](kinds::FLUSHED) | – | carries | the answer to a flush |
//! | `0x10` | [`HELLO`](kinds::HELLO) | carries | – | the worker's half of the handshake |
//! | `0x11` | [`START_FAILED`](kinds::START_FAILED) | carries | – | this worker cannot start, and why |
//! | `0x12` | [`RESULT`](kinds::RESULT) | carries | – | an attempt ended with an output |
//! | `0x13` | [`FAILURE`](kinds::FAILURE) | carries | – | an attempt ended without an output |
//! | `0x14` | [`RETURNED`](kinds::RETURNED) | carries | – | prefetched tasks given back |
//! | `0x15` | [`FLUSH`](kinds::FLUSH) | carries | – | say when everything before this has been handled |
//! | `0x16` | [`PONG`](kinds::PONG) | empty | – | the answer to a ping |
//! | `0x17` | [`HEARTBEAT`](kinds::HEARTBEAT) | carries | – | an attempt has begun, or beats |
//! | `0x20..=0x2f` | [streams](kinds::STREAM_KINDS) | either | either | a service's own |
//! | `0x30..=0x3f` | [events and heartbeats](kinds::EVENT_KINDS) | either | either | a service's own |
//! | `0x40..=0x4f` | [locks](kinds::LOCK_KINDS) | either | either | a service's own |
//! | `0x50..=0x57` | [broker connections](kinds::BROKER_KINDS) | either | either | a service's own |
//! | `0x58..=0x67` | [application](kinds::APPLICATION_KINDS) | either | either | free for an application's own services |
//! | `0x6d` `m` | [`MESSAGE`](kinds::MESSAGE) | carries | empty | a message for the inbox; it has been accepted |
//! | `0x6e` `n` | [`IDLE`](kinds::IDLE) | empty | – | the worker is idle, give it a task |
//! | `0x73` `s` | [`SCHEDULED`](kinds::SCHEDULED) | – | empty | what was to be scheduled has been accepted |
//! | `0x74` `t` | [`DONE_NEXT/TASK`](kinds::TASK) | empty | carries | the task is done, next please; a task, none yet, or close |
//! | `0x80..=0xff` | [`schedule`](kinds::schedule) | carries | – | schedule a task at this priority, 0 to 127 |
//!
//! The ranges, and who owns them:
//!
//! | range | owner |
//! |---|---|
//! | `0x00..=0x1f` | the pool's own connection; what the table does not name is unknown |
//! | `0x20..=0x2f` | streams |
//! | `0x30..=0x3f` | events and heartbeats |
//! | `0x40..=0x4f` | locks |
//! | `0x50..=0x57` | broker connections |
//! | `0x58..=0x67` | an application's own services |
//! | `0x68..=0x7f` | the letters of undr (`m`, `n`, `s`, `t`); all others are unknown |
//! | `0x80..=0xff` | schedule, one kind for each priority |

#[cfg(feature = "tokio")]
pub mod asynchronous;
pub mod blocking;
#[cfg(feature = "codec")]
pub mod codec;
mod decoder;
mod direction;
mod error;
mod frame;
mod frame_error;
mod kind;
mod kind_texts;
pub mod kinds;
pub mod message;
mod receive;
mod restore;
mod table;
pub mod undr;

pub use decoder::Decoder;
pub use error::{ReceiveError, SendError};
pub use frame::{
    DEFAULT_FRAME_LIMIT_BYTES, Frame, FrameRef, HEADER_LEN_BYTES, check_frame_len, encode_frame,
    encode_frame_with, encode_header,
};
pub use frame_error::{FrameError, Violation};
pub use kind::Kind;
pub use message::{DecodeError, EncodeError};
pub use table::{Row, Rule, Table};
