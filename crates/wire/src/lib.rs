//! The frames and typed messages in which the processes of a fleet talk.
//!
//! A **frame** is one kind byte, a little-endian `u64` length, and that many bytes of payload: the `struct.pack("<cQ", …)`
//! of Python's `undr.task`, so that bytes which its functions wrote are decoded here, and the reverse. A **message** is a
//! payload that is a value of a Rust type, by serde and [postcard](https://postcard.jamesmunns.com/wire-format).
//!
//! ```
//! use workfleet_wire::kinds::Direction;
//! use workfleet_wire::{Kind, Row, Rule, Table, blocking, message};
//!
//! /// A protocol of one kind, in the range that is an application's.
//! const DIGESTED: Kind = Kind(0x58);
//! static PROTOCOL: Table = Table::new(&[Row::one(DIGESTED, "DIGESTED", Rule::Carries, Rule::Never)]);
//!
//! let (manager, mut worker) = std::io::pipe()?; // or a socket
//! blocking::send_message(&mut worker, DIGESTED, &("README.md", 42_u64))?;
//! drop(worker);
//!
//! let mut from_worker = blocking::Reader::new(manager);
//! while let Some(frame) = from_worker.next_frame()? {
//!     PROTOCOL.check(frame.kind, Direction::ToManager, frame.payload.len() as u64)?;
//!     let (file, how_many): (&str, u64) = message::decode_borrowed(frame.payload)?;
//!     assert_eq!((file, how_many), ("README.md", 42));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What stands where
//! - [`Decoder`], [`encode_frame`], [`encode_frame_with`]: the core, with no IO. Everything else here is made of it.
//! - [`message`]: values to payloads and back.
//! - [`Table`]: the kinds of one protocol, to check a frame against. [`kinds`]: the ranges that protocols own.
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
//! - What serde can say and the format cannot carry is an error where it is encoded, as far as writing shows it; what only reading
//!   shows, [`message::encode_checked`] finds in [those values](message#what-is-checked-where-a-value-is-sent) that it reads
//!   back. Values nest up to a limit, on both sides.
//!
//! # The kinds
//! This crate gives out ranges of kinds. Each protocol has a range, keeps the [`Table`] of its kinds beside its own code, and
//! checks its frames against that.
//!
//! | range | owner | its table |
//! |---|---|---|
//! | `0x00..=0x1f` | a [pool](kinds::POOL_KINDS)'s own connection | `kinds::TABLE` in `workfleet-task-manager` |
//! | `0x20..=0x2f` | [streams](kinds::STREAM_KINDS) | not yet used |
//! | `0x30..=0x3f` | [events and heartbeats](kinds::EVENT_KINDS) | `remote::TABLE` in `workfleet-heartbeat` |
//! | `0x40..=0x4f` | [locks](kinds::LOCK_KINDS) | not yet used |
//! | `0x50..=0x57` | [broker connections](kinds::BROKER_KINDS) | not yet used |
//! | `0x58..=0x67` | an [application](kinds::APPLICATION_KINDS)'s own services | the application's |
//! | `0x68..=0x7f` | the [letters](kinds::LETTER_KINDS) of undr: `m`, `n`, `s`, `t` | [`undr::TABLE`]; the pool has them too |
//! | `0x80..=0xff` | [schedule](kinds::SCHEDULE_KINDS), one kind for each priority | [`undr::TABLE`]; the pool has them too |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tokio")]
pub mod asynchronous;
pub mod blocking;
#[cfg(feature = "codec")]
pub mod codec;
#[cfg(all(test, not(workfleet_loom)))]
mod convention;
mod decoder;
mod direction;
mod error;
mod frame;
mod frame_error;
mod kind;
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

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
