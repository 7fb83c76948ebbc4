//! What can go wrong with sending and receiving a frame.
//!
//! - Each text is lowercase and names the value and the limit; the cause is kept as the `source`.
//! - The end of a stream between two frames ([`ReceiveError::Ended`]) is never confused with one inside a frame
//!   ([`FrameError::Truncated`]).
//! - What would otherwise be lost is handed back ([`ReceiveError::Unexpected`] holds the frame that came).

use std::io;

use crate::{DecodeError, EncodeError, Frame, FrameError, Kind};

/// A frame that could not be sent.
///
/// After [`Io`](Self::Io) part of the frame may have been written: nothing more can be sent on that stream. After the
/// others nothing was written, and the stream is as it was.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let (manager, mut worker) = std::io::pipe()?;
/// drop(manager);
/// let error = blocking::send_type(&mut worker, Kind(b'n')).unwrap_err();
/// assert!(error.is_disconnect());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The writer failed.
    #[error("could not write a frame")]
    Io(#[from] io::Error),
    /// The frame breaks the rules of the format.
    #[error("could not send a frame")]
    Frame(#[from] FrameError),
    /// The message could not be encoded.
    #[error("could not encode a message to send")]
    Encode(#[from] EncodeError),
}

workfleet_causes::readable!(SendError { Io(error), Frame(error), Encode(error) });

impl SendError {
    /// Whether the other side is gone: the connection was closed, reset or aborted.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::Io(error) if is_disconnect(error))
    }
}

/// A frame that could not be received.
///
/// ```
/// use workfleet_wire::{FrameError, ReceiveError, blocking};
///
/// // The other side is done: it closed its end between two frames.
/// let mut reader = blocking::Reader::new(&b""[..]);
/// assert!(matches!(blocking::receive_bytes(&mut reader), Err(ReceiveError::Ended)));
///
/// // The other side died: its last frame is incomplete.
/// let mut reader = blocking::Reader::new(&b"m\x05\0\0\0\0\0\0\0he"[..]);
/// let error = blocking::receive_bytes(&mut reader).unwrap_err();
/// assert!(matches!(error, ReceiveError::Frame(FrameError::Truncated { have_bytes: 11, need_bytes: 14, .. })));
/// assert!(error.is_disconnect());
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The stream ended between two frames, as a connection does that is closed in good order.
    #[error("stream ended")]
    Ended,
    /// The reader failed. What had been read before is kept: where the failure passes (an interrupted or timed out
    /// read), receiving can be tried again.
    #[error("could not read a frame")]
    Io(#[from] io::Error),
    /// What came is not a frame. Nothing more can be received from that stream.
    #[error("could not receive a frame")]
    Frame(#[from] FrameError),
    /// A frame came, but its payload is not the message that was expected. The frame is consumed, the next can be received.
    #[error("could not decode the payload of a frame of kind {kind}")]
    Decode {
        /// The frame's kind.
        kind: Kind,
        /// What is wrong with its payload.
        source: DecodeError,
    },
    /// A frame came that is not the empty frame that was expected. It is handed back here, and the next can be received.
    #[error("expected an empty frame of kind {expected}, received kind {} with {} bytes", .frame.kind, .frame.payload.len())]
    Unexpected {
        /// The kind that was waited for.
        expected: Kind,
        /// The frame that came.
        frame: Frame,
    },
}

workfleet_causes::readable!(ReceiveError {
    Ended,
    Io(error),
    Frame(error),
    Decode { kind, source },
    Unexpected { expected, frame },
});

impl ReceiveError {
    /// Whether the other side is gone: the stream ended, between frames or inside one, or the connection was reset or aborted.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Ended | Self::Frame(FrameError::Truncated { .. }) => true,
            Self::Io(error) => is_disconnect(error),
            _ => false,
        }
    }
}

/// Whether a system's error means that the other side is gone.
fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_can_be_carried_across_threads_and_boxed() {
        fn is<E: std::error::Error + Send + Sync + 'static>() {}
        is::<FrameError>();
        is::<SendError>();
        is::<ReceiveError>();
        is::<EncodeError>();
        is::<DecodeError>();
    }

    #[test]
    fn a_timed_out_read_is_no_disconnect() {
        assert!(!ReceiveError::Io(io::ErrorKind::WouldBlock.into()).is_disconnect());
        assert!(ReceiveError::Io(io::ErrorKind::ConnectionReset.into()).is_disconnect());
        assert!(!SendError::Io(io::ErrorKind::TimedOut.into()).is_disconnect());
    }
}
