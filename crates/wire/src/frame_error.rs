//! What can be wrong with a frame, or with a stream of frames.
//!
//! - Each text is lowercase and names the value and the limit.
//! - A kind is printed as a byte. The [`Table`](crate::Table) of a protocol prints the same text with the name:
//!   [`Table::describe`](crate::Table::describe).

use std::fmt;

use crate::Kind;
use crate::direction::Direction;

/// A frame, or a stream of frames, that breaks the rules of the format.
///
/// It comes from the other side (or, where a frame is refused before it is sent, from this one: then nothing was written). When
/// receiving, all but [`UnknownKind`](Self::UnknownKind) and [`Unexpected`](Self::Unexpected) mean that the stream cannot be
/// read any further.
///
/// ```
/// use workfleet_wire::{Decoder, FrameError, Kind, encode_header};
///
/// let mut decoder = Decoder::new(1024);
/// decoder.extend(&encode_header(Kind(b'm'), u64::MAX));
/// let error = decoder.next_frame().unwrap_err();
/// assert!(matches!(error, FrameError::TooLarge { limit_bytes: 1024, .. }));
/// assert_eq!(
///     error.to_string(),
///     "frame of kind 0x6d has a payload of 18446744073709551615 bytes, above the limit of 1024 bytes"
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A header announces, or a sender offers, a payload above the limit.
    TooLarge {
        /// The frame's kind.
        kind: Kind,
        /// The payload's length.
        len_bytes: u64,
        /// The longest payload that is accepted.
        limit_bytes: u64,
    },
    /// The stream ended inside a frame.
    Truncated {
        /// How many of the frame's bytes have arrived, its header included.
        have_bytes: u64,
        /// How many there should be: those of the whole frame, or of the header while that is incomplete.
        need_bytes: u64,
    },
    /// No frame of this kind is known in either direction.
    UnknownKind {
        /// The kind that came.
        kind: Kind,
    },
    /// A known kind that goes the wrong way, has a payload where none may be, or none where one must be.
    Unexpected {
        /// The kind that came.
        kind: Kind,
        /// The way it went.
        direction: Direction,
        /// The payload's length.
        len_bytes: u64,
        /// The rule it breaks.
        violation: Violation,
    },
}

workfleet_causes::readable!(FrameError {
    TooLarge { kind, len_bytes, limit_bytes },
    Truncated { have_bytes, need_bytes },
    UnknownKind { kind },
    Unexpected { kind, direction, len_bytes, violation },
});

impl FrameError {
    /// The text, with kinds printed as `named` has them.
    pub(crate) fn write<N: fmt::Display>(
        &self,
        f: &mut fmt::Formatter<'_>,
        named: impl FnOnce(Kind) -> N,
    ) -> fmt::Result {
        match *self {
            Self::TooLarge { kind, len_bytes, limit_bytes } => write!(
                f,
                "frame of kind {} has a payload of {len_bytes} bytes, above the limit of {limit_bytes} bytes",
                named(kind)
            ),
            Self::Truncated { have_bytes, need_bytes } => {
                write!(f, "stream ended inside a frame, after {have_bytes} of {need_bytes} bytes")
            }
            Self::UnknownKind { kind } => write!(f, "unknown frame kind {}", named(kind)),
            Self::Unexpected { kind, direction, len_bytes, violation } => {
                write!(f, "frame kind {} with {len_bytes} bytes {direction}: {violation}", named(kind))
            }
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |kind| kind)
    }
}

impl std::error::Error for FrameError {}

/// The rule of the table of kinds that a frame breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// Frames of this kind go only the other way.
    WrongDirection,
    /// This kind has no payload this way.
    MustBeEmpty,
    /// This kind has a payload this way.
    MustCarry,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongDirection => "goes only the other way",
            Self::MustBeEmpty => "must be empty",
            Self::MustCarry => "must carry a payload",
        })
    }
}
