//! Frames as a [`tokio_util::codec`]: a `Stream` and a `Sink` of frames.
//!
//! - It reads headers with the same function as the [`Decoder`](crate::Decoder), so both accept the same streams.
//! - A length is checked against the limit as soon as the header has arrived. Memory grows with what has arrived.
//! - After an error nothing more is decoded and nothing more is kept.

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::frame::{MAX_LIMIT_BYTES, measure, truncated};
use crate::{
    DEFAULT_FRAME_LIMIT_BYTES, Frame, FrameError, FrameRef, HEADER_LEN_BYTES, ReceiveError, SendError,
    check_frame_len, encode_header,
};

/// Encodes and decodes frames for [`Framed`](tokio_util::codec::Framed), `FramedRead` and `FramedWrite`.
///
/// The limit holds both ways: a larger frame is neither accepted nor sent. A decoded payload shares the buffer that it arrived
/// in. So a small frame that is kept also keeps the memory of the frames beside it: copy what you keep for long. Where frames
/// are handled one by one, [`Decoder`](crate::Decoder) is faster, because it counts no references.
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use tokio_util::codec::Framed;
/// use workfleet_wire::{Frame, Kind, codec::FrameCodec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (worker, manager) = tokio::io::duplex(1024); // a socket pair, in earnest
/// let mut worker = Framed::new(worker, FrameCodec::default());
/// let mut manager = Framed::new(manager, FrameCodec::default());
///
/// worker.send(Frame { kind: Kind(b'm'), payload: "hello".into() }).await?;
/// drop(worker);
/// assert_eq!(manager.next().await.unwrap()?.payload, "hello");
/// assert!(manager.next().await.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FrameCodec {
    /// The longest payload accepted and sent; at most `MAX_LIMIT_BYTES`.
    limit_bytes: u64,
    /// The first error of decoding. Once it is set, what arrives is dropped.
    failed: Option<FrameError>,
}

impl FrameCodec {
    /// A codec for payloads of at most `limit_bytes`; [`FrameCodec::default`] is for 64 MiB.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use tokio_util::codec::Encoder;
    /// use workfleet_wire::{Frame, Kind, codec::FrameCodec};
    ///
    /// let frame = Frame { kind: Kind(b'm'), payload: "hello".into() };
    /// let mut out = BytesMut::new();
    /// assert!(FrameCodec::new(4).encode(frame.clone(), &mut out).is_err());
    /// assert!(out.is_empty());
    /// assert!(FrameCodec::new(5).encode(frame, &mut out).is_ok());
    /// ```
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes: limit_bytes.min(MAX_LIMIT_BYTES), failed: None }
    }

    /// Keeps `error`, drops the rest.
    fn fail(&mut self, error: FrameError, source: &mut BytesMut) -> ReceiveError {
        self.failed = Some(error);
        *source = BytesMut::new();
        error.into()
    }
}

impl Default for FrameCodec {
    /// A codec with the limit [`DEFAULT_FRAME_LIMIT_BYTES`].
    fn default() -> Self {
        Self::new(DEFAULT_FRAME_LIMIT_BYTES)
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = ReceiveError;

    /// The next whole frame, or `None` until more bytes have come.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] as soon as a header announces more than the limit; the error stays.
    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, ReceiveError> {
        if let Some(error) = self.failed {
            return Err(self.fail(error, source));
        }
        match measure(source, self.limit_bytes) {
            Ok(Some((kind, len_bytes))) if source.len() - HEADER_LEN_BYTES >= len_bytes => {
                source.advance(HEADER_LEN_BYTES);
                Ok(Some(Frame { kind, payload: source.split_to(len_bytes).freeze() }))
            }
            // Reserves nothing: the reader's buffer doubles as bytes arrive.
            Ok(_) => Ok(None),
            Err(error) => Err(self.fail(error, source)),
        }
    }

    /// As `decode`, at the end of the stream.
    ///
    /// # Errors
    /// - As `decode`.
    /// - [`FrameError::Truncated`]: part of a frame is left.
    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, ReceiveError> {
        match self.decode(source)? {
            None if !source.is_empty() => {
                let error = truncated(source, self.limit_bytes);
                Err(self.fail(error, source))
            }
            frame => Ok(frame),
        }
    }
}

impl Encoder<FrameRef<'_>> for FrameCodec {
    type Error = SendError;

    /// Appends one frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] if the payload is longer than the limit; nothing is appended.
    fn encode(&mut self, frame: FrameRef<'_>, out: &mut BytesMut) -> Result<(), SendError> {
        let len_bytes = frame.payload.len() as u64;
        check_frame_len(frame.kind, len_bytes, self.limit_bytes)?;
        out.reserve(HEADER_LEN_BYTES + frame.payload.len());
        out.extend_from_slice(&encode_header(frame.kind, len_bytes));
        out.extend_from_slice(frame.payload);
        Ok(())
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = SendError;

    /// Appends one frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] if the payload is longer than the limit; nothing is appended.
    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), SendError> {
        self.encode(frame.as_frame_ref(), out)
    }
}
