//! Frames and typed messages over any byte stream, blocking or asynchronous.
//!
//! Use it where two processes send each other Rust values over a pipe or a socket, or to talk with a Python program that uses
//! `undr.task`.
//!
//! ```text
//!                     kind   length (u64, little-endian)   payload
//!                   ┌──────┬──────────────────────────┬──────────────────────┐
//! ("README.md", 42) │  58  │ 0b 00 00 00 00 00 00 00  │ 09 "README.md" 2a    │  ("README.md", 42)
//!    ── encode ──►  └──────┴──────────────────────────┴──────────────────────┘  ── decode ──►
//!                                                       the message, by postcard
//! ```
//!
//! A **frame** is one kind byte, a little-endian `u64` length, and that many bytes of payload. Python's `undr.task` writes the same
//! bytes with `struct.pack("<cQ", …)`. A **message** is a payload that holds one value of a Rust type, encoded by serde and
//! [postcard](https://postcard.jamesmunns.com/wire-format).
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
//! - The frames depend on the bytes alone, not on how the stream was split on its way.
//! - A length is checked against a limit (64 MiB by default) before memory is reserved. Memory grows with the bytes that
//!   arrived, never with the bytes that a header claims.
//! - Any input gives a frame, a wait for more bytes, or a typed error. It never gives a panic.
//! - A payload is exactly one message: trailing bytes are an error. A message is data: nothing that arrives is executed.
//! - A value that the format cannot carry is an error where it is encoded, if writing it shows the problem. If only reading it back
//!   shows the problem, [`message::encode_checked`] finds it in
//!   [the values that it reads back](message#what-is-checked-where-a-value-is-sent).
//! - Values nest up to a limit, on both sides.
//!
//! # The kinds
//! This crate assigns ranges of kinds. Each protocol has a range, keeps a [`Table`] of its kinds beside its own code, and checks
//! its frames against that table.
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
