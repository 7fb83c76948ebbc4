//! Sending and receiving frames over tokio's [`AsyncRead`] and [`AsyncWrite`]: the names of [`blocking`](crate::blocking).
//!
//! - Receiving is cancel-safe: what was read belongs to the [`Reader`], which holds the [`Decoder`], and not to a future.
//! - Sending is not cancel-safe, and cannot be: a future that is dropped half-way leaves half a frame. If you must be able to give
//!   up, send from a task of its own, or write from a buffer that you keep.
//! - Nothing is flushed: over a buffered writer, many frames share a write, and the caller flushes before it waits for
//!   an answer.
//! - No timers, no tasks, no runtime: the traits alone.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frame::SMALL_PAYLOAD_BYTES;
use crate::receive::parts_of_every_reader;
use crate::{
    Decoder, Frame, FrameRef, Kind, ReceiveError, SendError, encode_frame, encode_frame_with, encode_header,
    message,
};

/// Receives frames from an asynchronous reader, and holds what was read ahead of them.
///
/// Make one for a connection and keep it: the bytes after the last frame received may be in it already.
/// [`into_parts`](Self::into_parts) hands them on.
///
/// ```
/// use workfleet_wire::{Kind, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut worker, manager) = tokio::io::duplex(1024); // a socket pair, in earnest
/// asynchronous::send_message(&mut worker, Kind(b'm'), &("progress", 3_u32)).await?;
/// asynchronous::send_type(&mut worker, Kind(b't')).await?;
///
/// let mut from_worker = asynchronous::Reader::new(manager);
/// let (kind, message) = asynchronous::receive_message::<_, (String, u32)>(&mut from_worker).await?;
/// assert_eq!((kind, message), (Kind(b'm'), ("progress".to_owned(), 3)));
/// asynchronous::receive_type(&mut from_worker, Kind(b't')).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    io: R,
    decoder: Decoder,
}

impl<R> Reader<R> {
    parts_of_every_reader!();
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next frame, borrowed from this reader, or `None` where the stream ends between two frames.
    ///
    /// The fastest way to receive: no copy is made, and a read takes in as many frames as have arrived. The functions
    /// of this module are made of it.
    ///
    /// ```
    /// use workfleet_wire::{Kind, asynchronous::Reader, encode_frame};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), workfleet_wire::ReceiveError> {
    /// let mut stream = Vec::new();
    /// encode_frame(Kind(b'm'), b"one", &mut stream);
    /// encode_frame(Kind(b'm'), b"three", &mut stream);
    ///
    /// let mut reader = Reader::new(&stream[..]);
    /// let mut len_bytes = 0;
    /// while let Some(frame) = reader.next_frame().await? {
    ///     len_bytes += frame.payload.len();
    /// }
    /// assert_eq!(len_bytes, 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Cancel-safe: dropping this future loses nothing. What it had read stays in this reader, and the next call goes on
    /// from there, so it can stand in a `select!`.
    ///
    /// # Errors
    /// - [`ReceiveError::Io`]: the reader failed. What was read before is kept.
    /// - [`ReceiveError::Frame`]: a header above the limit, or an end inside a frame.
    pub async fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, ReceiveError> {
        while !self.decoder.is_ready() {
            // Taken in by the very poll that read it, so that no drop can come between.
            let read = self.read().await;
            if !self.decoder.take_in(read)? {
                return Ok(None);
            }
        }
        Ok(self.decoder.next_frame()?)
    }

    /// One read into the decoder's spare space.
    #[inline]
    async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut space = ReadBuf::new(self.decoder.spare());
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut space));
            Poll::Ready(read.map(|()| space.filled().len()))
        })
        .await
    }
}

/// Sends one frame.
///
/// `Ok` means that all of it was written, not that it was flushed or received. The payload may be empty; then this is
/// [`send_type`]. No limit is applied: [`check_frame_len`](crate::check_frame_len) says beforehand what the other side will.
///
/// ```
/// use workfleet_wire::{Kind, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), workfleet_wire::SendError> {
/// let mut out = Vec::new();
/// asynchronous::send_bytes(&mut out, Kind(b'm'), b"hi").await?;
/// assert_eq!(out, b"m\x02\0\0\0\0\0\0\0hi");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Not cancel-safe: dropping this future may leave part of the frame written, and then the stream is of no more use. Do not
/// put it in a `select!`.
///
/// # Errors
/// [`SendError::Io`] if the writer fails. Part of the frame may have been written: the stream is of no more use.
pub async fn send_bytes<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    kind: Kind,
    payload: &[u8],
) -> Result<(), SendError> {
    if payload.len() <= SMALL_PAYLOAD_BYTES {
        let mut frame = Vec::new();
        encode_frame(kind, payload, &mut frame);
        write_all(writer, &mut [IoSlice::new(&frame)]).await
    } else {
        let header = encode_header(kind, payload.len() as u64);
        write_all(writer, &mut [IoSlice::new(&header), IoSlice::new(payload)]).await
    }
}

/// Encodes a message and sends it as one frame.
///
/// `Ok` means that all of it was written, not that it was flushed or received. The message is encoded before the first
/// write.
///
/// ```
/// use workfleet_wire::{Kind, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), workfleet_wire::SendError> {
/// let mut out = Vec::new();
/// asynchronous::send_message(&mut out, Kind(b'm'), "hi").await?;
/// assert_eq!(out, b"m\x03\0\0\0\0\0\0\0\x02hi");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Not cancel-safe: dropping this future may leave part of the frame written, and then the stream is of no more use. Do not
/// put it in a `select!`.
///
/// # Errors
/// - [`SendError::Encode`]: the message cannot be encoded. Nothing was written.
/// - [`SendError::Io`]: the writer failed. Part of the frame may have been written: the stream is of no more use.
pub async fn send_message<W: AsyncWrite + Unpin + ?Sized, T: Serialize + ?Sized>(
    writer: &mut W,
    kind: Kind,
    message: &T,
) -> Result<(), SendError> {
    let mut frame = Vec::new();
    encode_frame_with(kind, &mut frame, |out| message::encode_into(message, out))?;
    write_all(writer, &mut [IoSlice::new(&frame)]).await
}

/// Sends an empty frame: its kind says it all.
///
/// `Ok` means that all of it was written, not that it was flushed or received.
///
/// ```
/// use workfleet_wire::{Kind, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), workfleet_wire::SendError> {
/// let mut out = Vec::new();
/// asynchronous::send_type(&mut out, Kind(b'n')).await?;
/// assert_eq!(out, b"n\0\0\0\0\0\0\0\0");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Not cancel-safe: dropping this future may leave part of the frame written, and then the stream is of no more use. Do not
/// put it in a `select!`.
///
/// # Errors
/// [`SendError::Io`] if the writer fails. Part of the frame may have been written: the stream is of no more use.
pub async fn send_type<W: AsyncWrite + Unpin + ?Sized>(writer: &mut W, kind: Kind) -> Result<(), SendError> {
    write_all(writer, &mut [IoSlice::new(&encode_header(kind, 0))]).await
}

/// Receives one frame, with a payload that can be kept.
///
/// ```
/// use workfleet_wire::{Kind, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), workfleet_wire::ReceiveError> {
/// let mut reader = asynchronous::Reader::new(&b"m\x02\0\0\0\0\0\0\0hi"[..]);
/// let frame = asynchronous::receive_bytes(&mut reader).await?;
/// assert_eq!((frame.kind, &frame.payload[..]), (Kind(b'm'), &b"hi"[..]));
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Cancel-safe: dropping this future loses nothing. What it had read stays in the reader.
///
/// # Errors
/// - [`ReceiveError::Ended`]: the stream ended between two frames.
/// - As [`Reader::next_frame`].
pub async fn receive_bytes<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Frame, ReceiveError> {
    Ok(reader.next_frame().await?.ok_or(ReceiveError::Ended)?.to_frame())
}

/// Receives one frame and decodes its payload.
///
/// Returns the kind too, which says what the message is about; where the kind decides the type, use
/// [`Reader::next_frame`] and [`message::decode`]. An empty frame is decoded like any other: only a type that encodes to
/// nothing accepts it.
///
/// ```
/// use workfleet_wire::{Kind, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), workfleet_wire::ReceiveError> {
/// let mut reader = asynchronous::Reader::new(&b"m\x03\0\0\0\0\0\0\0\x02hi"[..]);
/// let (kind, text) = asynchronous::receive_message::<_, String>(&mut reader).await?;
/// assert_eq!((kind, text.as_str()), (Kind(b'm'), "hi"));
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Cancel-safe: dropping this future loses nothing. What it had read stays in the reader.
///
/// # Errors
/// - [`ReceiveError::Decode`]: the payload is no such message. The frame is consumed, and the next can be received.
/// - [`ReceiveError::Ended`]: the stream ended between two frames.
/// - As [`Reader::next_frame`].
pub async fn receive_message<R: AsyncRead + Unpin, T: DeserializeOwned>(
    reader: &mut Reader<R>,
) -> Result<(Kind, T), ReceiveError> {
    let frame = reader.next_frame().await?.ok_or(ReceiveError::Ended)?;
    frame.decode()
}

/// Receives the empty frame of the kind that is expected.
///
/// ```
/// use workfleet_wire::{Kind, ReceiveError, asynchronous};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ReceiveError> {
/// let mut reader = asynchronous::Reader::new(&b"s\0\0\0\0\0\0\0\0t\x04\0\0\0\0\0\0\0task"[..]);
/// asynchronous::receive_type(&mut reader, Kind(b's')).await?;
///
/// // Something else came: it is not lost.
/// let error = asynchronous::receive_type(&mut reader, Kind(b's')).await.unwrap_err();
/// let ReceiveError::Unexpected { frame, .. } = error else { panic!("{error}") };
/// assert_eq!((frame.kind, &frame.payload[..]), (Kind(b't'), &b"task"[..]));
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Cancel-safe: dropping this future loses nothing. What it had read stays in the reader.
///
/// # Errors
/// - [`ReceiveError::Unexpected`]: another frame came, or one with a payload; it is in the error.
/// - [`ReceiveError::Ended`]: the stream ended between two frames.
/// - As [`Reader::next_frame`].
pub async fn receive_type<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    expected: Kind,
) -> Result<(), ReceiveError> {
    let frame = reader.next_frame().await?.ok_or(ReceiveError::Ended)?;
    frame.expect_type(expected)
}

async fn write_all<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    mut slices: &mut [IoSlice<'_>],
) -> Result<(), SendError> {
    while !slices.is_empty() {
        let n_bytes = poll_fn(|cx| Pin::new(&mut *writer).poll_write_vectored(cx, slices)).await?;
        if n_bytes == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        IoSlice::advance_slices(&mut slices, n_bytes);
    }
    Ok(())
}
