//! Frames and their nine header bytes.
//!
//! - A frame is one kind byte, a little-endian `u64` payload length, and the payload: Python's `struct.pack("<cQ", …)`.
//! - `measure` is the only reader of a header. The decoder and the codec share it, so the limit holds in both, and holds
//!   as soon as the header is there.
//! - What is appended to a caller's vector is a whole frame or nothing, also when the caller's code fails or panics.

use std::fmt;

use bytes::Bytes;

use crate::restore::append_or_restore;
use crate::{FrameError, Kind};

/// How many bytes a frame has before its payload: the kind, and the payload's length as a little-endian `u64`.
pub const HEADER_LEN_BYTES: usize = 9;

/// The longest payload of one frame that is accepted unless another limit is given: 64 MiB.
pub const DEFAULT_FRAME_LIMIT_BYTES: u64 = 64 << 20;

/// Up to here a payload is copied behind its header and sent in one write; above it, the copy costs more than it saves.
pub(crate) const SMALL_PAYLOAD_BYTES: usize = 16 << 10;

/// A frame whose payload is borrowed from the buffer it arrived in.
///
/// What [`Decoder::next_frame`](crate::Decoder::next_frame) gives: no copy, no reference count. [`to_frame`](Self::to_frame)
/// copies it into one that can be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// What the frame is.
    pub kind: Kind,
    /// What it carries; empty if it carries nothing.
    pub payload: &'a [u8],
}

impl FrameRef<'_> {
    /// Copies the payload, so that the frame outlives the buffer.
    ///
    /// ```
    /// use workfleet_wire::{Decoder, Kind, encode_frame};
    ///
    /// let mut stream = Vec::new();
    /// encode_frame(Kind(b'm'), b"kept", &mut stream);
    /// let mut decoder = Decoder::default();
    /// decoder.extend(&stream);
    /// let frame = decoder.next_frame()?.map(|frame| frame.to_frame());
    /// drop(decoder);
    /// assert_eq!(frame.unwrap().payload, "kept");
    /// # Ok::<(), workfleet_wire::FrameError>(())
    /// ```
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        Frame { kind: self.kind, payload: Bytes::copy_from_slice(self.payload) }
    }
}

impl fmt::Debug for FrameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("FrameRef", self.kind, self.payload, f)
    }
}

/// A frame that owns its payload, cheap to clone and to send elsewhere.
///
/// Clones share one payload.
///
/// ```
/// use workfleet_wire::{Frame, Kind};
///
/// let frame = Frame { kind: Kind(b'm'), payload: "hello".into() };
/// assert_eq!(format!("{frame:?}"), r#"Frame { kind: Kind(0x6d), len_bytes: 5, payload: b"hello" }"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the frame is.
    pub kind: Kind,
    /// What it carries; empty if it carries nothing.
    pub payload: Bytes,
}

impl Frame {
    /// The same frame, borrowed.
    ///
    /// ```
    /// use workfleet_wire::{Frame, Kind};
    ///
    /// let frame = Frame { kind: Kind(b'm'), payload: "hello".into() };
    /// assert_eq!(frame.as_frame_ref().payload, b"hello");
    /// assert_eq!(frame.as_frame_ref().to_frame(), frame);
    /// ```
    #[must_use]
    pub fn as_frame_ref(&self) -> FrameRef<'_> {
        FrameRef { kind: self.kind, payload: &self.payload }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Frame", self.kind, &self.payload, f)
    }
}

/// A frame's length and how its payload begins: payloads run to megabytes, and a log line should not.
fn debug(name: &str, kind: Kind, payload: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SHOWN_BYTES: usize = 32;
    let (shown, dots) = match payload.get(..SHOWN_BYTES) {
        Some(shown) if shown.len() < payload.len() => (shown, "…"),
        _ => (payload, ""),
    };
    f.debug_struct(name)
        .field("kind", &kind)
        .field("len_bytes", &payload.len())
        .field("payload", &format_args!("b\"{}\"{dots}", shown.escape_ascii()))
        .finish()
}

/// The header of a frame of this kind whose payload has this length.
///
/// Use it to write header and payload separately. The length is not checked: see [`check_frame_len`].
///
/// ```
/// use workfleet_wire::{Kind, encode_header};
///
/// assert_eq!(encode_header(Kind(b'm'), 258), *b"m\x02\x01\0\0\0\0\0\0");
/// ```
#[inline]
#[must_use]
pub const fn encode_header(kind: Kind, len_bytes: u64) -> [u8; HEADER_LEN_BYTES] {
    let [a, b, c, d, e, f, g, h] = len_bytes.to_le_bytes();
    [kind.0, a, b, c, d, e, f, g, h]
}

/// Appends one frame to `out`.
///
/// Any number of frames may stand in one buffer: they are written at once and read one by one. No limit is applied
/// here; [`check_frame_len`] applies one.
///
/// ```
/// use workfleet_wire::{Kind, encode_frame};
///
/// let mut out = Vec::new();
/// encode_frame(Kind(b'm'), b"hi", &mut out);
/// encode_frame(Kind(b'n'), b"", &mut out);
/// assert_eq!(out, b"m\x02\0\0\0\0\0\0\0hin\0\0\0\0\0\0\0\0");
/// ```
#[inline]
pub fn encode_frame(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_LEN_BYTES + payload.len());
    out.extend_from_slice(&encode_header(kind, payload.len() as u64));
    out.extend_from_slice(payload);
}

/// Appends one frame whose payload `fill` appends in place.
///
/// The length is put into the header afterwards, so a message is encoded without a buffer of its own. `out` gains a
/// whole frame or nothing: when `fill` fails or panics, `out` is what it was before.
///
/// ```
/// use workfleet_wire::{Kind, encode_frame_with, message};
///
/// let mut out = Vec::new();
/// encode_frame_with(Kind(0x12), &mut out, |out| {
///     message::encode_into(&7_u64, out)?; // which attempt
///     message::encode_into("done", out)
/// })?;
/// assert_eq!(out, b"\x12\x06\0\0\0\0\0\0\0\x07\x04done");
/// # Ok::<(), workfleet_wire::EncodeError>(())
/// ```
///
/// # Errors
/// What `fill` returned.
///
/// # Panics
/// If `fill` leaves `out` shorter than it was given: it may only append.
#[inline]
pub fn encode_frame_with<E>(
    kind: Kind,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    append_or_restore(out, |out| {
        out.extend_from_slice(&encode_header(kind, 0));
        fill(out)?;
        let frame_len_bytes = out.len().saturating_sub(start);
        assert!(
            frame_len_bytes >= HEADER_LEN_BYTES,
            "the payload's writer removed bytes that were not its own"
        );
        let header = encode_header(kind, (frame_len_bytes - HEADER_LEN_BYTES) as u64);
        out[start..start + HEADER_LEN_BYTES].copy_from_slice(&header);
        Ok(())
    })
}

/// Checks a payload's length against a limit, as the receiver will.
///
/// For senders: if the receiver refuses a frame, the connection is lost; an error here costs one frame.
///
/// ```
/// use workfleet_wire::{DEFAULT_FRAME_LIMIT_BYTES, Kind, check_frame_len};
///
/// assert!(check_frame_len(Kind(0x12), 64 << 20, DEFAULT_FRAME_LIMIT_BYTES).is_ok());
/// assert!(check_frame_len(Kind(0x12), (64 << 20) + 1, DEFAULT_FRAME_LIMIT_BYTES).is_err());
/// ```
///
/// # Errors
/// [`FrameError::TooLarge`] if the payload is longer than `limit_bytes`.
#[inline]
pub const fn check_frame_len(kind: Kind, len_bytes: u64, limit_bytes: u64) -> Result<(), FrameError> {
    if len_bytes > limit_bytes { Err(FrameError::TooLarge { kind, len_bytes, limit_bytes }) } else { Ok(()) }
}

/// The longest payload that one allocation can hold together with its header; a larger limit is lowered to this.
pub(crate) const MAX_LIMIT_BYTES: u64 = (isize::MAX as usize - HEADER_LEN_BYTES) as u64;

/// Reads the header at the front of `bytes`: `None` while it is incomplete, else the kind and the payload's length,
/// which is within the limit. `limit_bytes` is at most [`MAX_LIMIT_BYTES`].
#[inline]
pub(crate) fn measure(bytes: &[u8], limit_bytes: u64) -> Result<Option<(Kind, usize)>, FrameError> {
    debug_assert!(limit_bytes <= MAX_LIMIT_BYTES, "the limit was not lowered");
    let Some(&[kind, a, b, c, d, e, f, g, h]) = bytes.first_chunk::<HEADER_LEN_BYTES>() else {
        return Ok(None);
    };
    let kind = Kind(kind);
    let len_bytes = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    check_frame_len(kind, len_bytes, limit_bytes)?;
    // Lossless: at most MAX_LIMIT_BYTES.
    Ok(Some((kind, len_bytes as usize)))
}

/// The error for a stream that ended with `bytes`, in which `measure` found no whole frame.
pub(crate) fn truncated(bytes: &[u8], limit_bytes: u64) -> FrameError {
    match measure(bytes, limit_bytes) {
        Ok(header) => FrameError::Truncated {
            have_bytes: bytes.len() as u64,
            need_bytes: (HEADER_LEN_BYTES + header.map_or(0, |(_, len_bytes)| len_bytes)) as u64,
        },
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::Kind;

    #[test]
    fn a_payload_written_in_place_gives_the_same_bytes() {
        let mut copied = b"before".to_vec();
        let mut in_place = copied.clone();
        encode_frame(Kind(0x12), b"payload", &mut copied);
        encode_frame_with(Kind(0x12), &mut in_place, |out| {
            out.extend_from_slice(b"payload");
            Ok::<(), FrameError>(())
        })
        .unwrap();
        assert_eq!(in_place, copied);
    }

    #[test]
    fn a_payload_that_fails_leaves_nothing() {
        let mut out = b"before".to_vec();
        let result = encode_frame_with(Kind(0x12), &mut out, |out| {
            out.extend_from_slice(b"half of the pay");
            Err("no more")
        });
        assert_eq!(result, Err("no more"));
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_payload_that_panics_leaves_nothing() {
        let mut out = b"before".to_vec();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            encode_frame_with(Kind(0x12), &mut out, |out| -> Result<(), FrameError> {
                out.extend_from_slice(b"half of the pay");
                std::panic::resume_unwind(Box::new("a caller's bug"))
            })
        }));
        assert!(caught.is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    #[should_panic(expected = "removed bytes that were not its own")]
    fn a_payload_writer_that_removes_the_header_is_a_bug() {
        let mut out = Vec::new();
        let _ = encode_frame_with(Kind(0x12), &mut out, |out| {
            out.clear();
            Ok::<(), FrameError>(())
        });
    }

    #[test]
    fn debug_shows_how_a_long_payload_begins() {
        let frame = Frame { kind: Kind(b'm'), payload: vec![b'x'; 100].into() };
        let text = format!("{frame:?}");
        assert_eq!(
            text,
            format!("Frame {{ kind: Kind(0x6d), len_bytes: 100, payload: b\"{}\"… }}", "x".repeat(32))
        );
        let exactly = FrameRef { kind: Kind(b'm'), payload: &[b'x'; 32] };
        assert!(!format!("{exactly:?}").contains('…'));
    }
}
