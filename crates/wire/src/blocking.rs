//! Sending and receiving frames over [`std::io`].
//!
//! - Receiving goes through a [`Reader`], which holds the [`Decoder`]. One read takes in as many frames as have arrived. What was
//!   read ahead stays in the reader. So a call that fails, is interrupted, times out or gets an unexpected frame loses nothing.
//! - Sending needs no state: a frame is written whole, and header and payload in one write where the writer can.
//! - Nothing is flushed: over a [`BufWriter`](std::io::BufWriter), many frames share a write, and the caller flushes before
//!   it waits for an answer.

use std::io::{self, IoSlice, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::SMALL_PAYLOAD_BYTES;
use crate::receive::parts_of_every_reader;
use crate::{
    Decoder, Frame, FrameRef, Kind, ReceiveError, SendError, encode_frame, encode_frame_with, encode_header,
    message,
};

/// Receives frames from a reader, and holds what was read ahead of them.
///
/// Make one for a connection and keep it: the bytes after the last frame received may be in it already.
/// [`into_parts`](Self::into_parts) hands them on.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let (manager, mut worker) = std::io::pipe()?; // or a socket
/// blocking::send_message(&mut worker, Kind(b'm'), &("progress", 3_u32))?;
/// blocking::send_type(&mut worker, Kind(b't'))?;
///
/// let mut from_worker = blocking::Reader::new(manager);
/// let (kind, message) = blocking::receive_message::<_, (String, u32)>(&mut from_worker)?;
/// assert_eq!((kind, message), (Kind(b'm'), ("progress".to_owned(), 3)));
/// blocking::receive_type(&mut from_worker, Kind(b't'))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Another reader goes on where this one stopped:
///
/// ```
/// use workfleet_wire::blocking::{Reader, receive_bytes};
///
/// let stream = b"m\x03\0\0\0\0\0\0\0onem\x03\0\0\0\0\0\0\0two";
/// let mut reader = Reader::new(&stream[..]);
/// assert_eq!(receive_bytes(&mut reader)?.payload, "one");
/// let (io, decoder) = reader.into_parts();
/// assert!(io.is_empty()); // "two" has been read, too
/// let mut reader = Reader::from_parts(io, decoder);
/// assert_eq!(receive_bytes(&mut reader)?.payload, "two");
/// # Ok::<(), workfleet_wire::ReceiveError>(())
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    io: R,
    decoder: Decoder,
}

impl<R> Reader<R> {
    parts_of_every_reader!();
}

impl<R: Read> Reader<R> {
    /// The next frame, borrowed from this reader, or `None` where the stream ends between two frames.
    ///
    /// The fastest way to receive: no copy is made, and a read takes in as many frames as have arrived. The functions
    /// of this module are made of it.
    ///
    /// ```
    /// use workfleet_wire::{Kind, blocking::Reader, encode_frame};
    ///
    /// let mut stream = Vec::new();
    /// encode_frame(Kind(b'm'), b"one", &mut stream);
    /// encode_frame(Kind(b'm'), b"three", &mut stream);
    ///
    /// let mut reader = Reader::new(&stream[..]);
    /// let mut len_bytes = 0;
    /// while let Some(frame) = reader.next_frame()? {
    ///     len_bytes += frame.payload.len();
    /// }
    /// assert_eq!(len_bytes, 8);
    /// # Ok::<(), workfleet_wire::ReceiveError>(())
    /// ```
    ///
    /// # Errors
    /// - [`ReceiveError::Io`]: the reader failed. Nothing is lost, so a read that timed out can be tried again; an
    ///   interrupted one is, here.
    /// - [`ReceiveError::Frame`]: a header above the limit, or an end inside a frame.
    pub fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, ReceiveError> {
        while !self.decoder.is_ready() {
            let read = self.io.read(self.decoder.spare());
            if !self.decoder.take_in(read)? {
                return Ok(None);
            }
        }
        Ok(self.decoder.next_frame()?)
    }
}

/// Sends one frame.
///
/// `Ok` means that all of it was written, not that it was flushed or received. The payload may be empty; then this is
/// [`send_type`]. No limit is applied: [`check_frame_len`](crate::check_frame_len) says beforehand what the other side will.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let mut out = Vec::new();
/// blocking::send_bytes(&mut out, Kind(b'm'), b"hi")?;
/// assert_eq!(out, b"m\x02\0\0\0\0\0\0\0hi");
/// # Ok::<(), workfleet_wire::SendError>(())
/// ```
///
/// # Errors
/// [`SendError::Io`] if the writer fails. Part of the frame may have been written: the stream is of no more use.
pub fn send_bytes<W: Write + ?Sized>(writer: &mut W, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
    if payload.len() <= SMALL_PAYLOAD_BYTES {
        let mut frame = Vec::new();
        encode_frame(kind, payload, &mut frame);
        writer.write_all(&frame)?;
        return Ok(());
    }
    let header = encode_header(kind, payload.len() as u64);
    let mut slices = [IoSlice::new(&header), IoSlice::new(payload)];
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match writer.write_vectored(left) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(n_bytes) => IoSlice::advance_slices(&mut left, n_bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Encodes a message and sends it as one frame.
///
/// `Ok` means that all of it was written, not that it was flushed or received.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let mut out = Vec::new();
/// blocking::send_message(&mut out, Kind(b'm'), "hi")?;
/// assert_eq!(out, b"m\x03\0\0\0\0\0\0\0\x02hi");
/// # Ok::<(), workfleet_wire::SendError>(())
/// ```
///
/// # Errors
/// - [`SendError::Encode`]: the message cannot be encoded. Nothing was written.
/// - [`SendError::Io`]: the writer failed. Part of the frame may have been written: the stream is of no more use.
pub fn send_message<W: Write + ?Sized, T: Serialize + ?Sized>(
    writer: &mut W,
    kind: Kind,
    message: &T,
) -> Result<(), SendError> {
    let mut frame = Vec::new();
    encode_frame_with(kind, &mut frame, |out| message::encode_into(message, out))?;
    writer.write_all(&frame)?;
    Ok(())
}

/// Sends an empty frame: its kind says it all.
///
/// `Ok` means that all of it was written, not that it was flushed or received.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let mut out = Vec::new();
/// blocking::send_type(&mut out, Kind(b'n'))?;
/// assert_eq!(out, b"n\0\0\0\0\0\0\0\0");
/// # Ok::<(), workfleet_wire::SendError>(())
/// ```
///
/// # Errors
/// [`SendError::Io`] if the writer fails. Part of the frame may have been written: the stream is of no more use.
pub fn send_type<W: Write + ?Sized>(writer: &mut W, kind: Kind) -> Result<(), SendError> {
    writer.write_all(&encode_header(kind, 0))?;
    Ok(())
}

/// Receives one frame, with a payload that can be kept.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let mut reader = blocking::Reader::new(&b"m\x02\0\0\0\0\0\0\0hi"[..]);
/// let frame = blocking::receive_bytes(&mut reader)?;
/// assert_eq!((frame.kind, &frame.payload[..]), (Kind(b'm'), &b"hi"[..]));
/// # Ok::<(), workfleet_wire::ReceiveError>(())
/// ```
///
/// # Errors
/// - [`ReceiveError::Ended`]: the stream ended between two frames.
/// - As [`Reader::next_frame`].
pub fn receive_bytes<R: Read>(reader: &mut Reader<R>) -> Result<Frame, ReceiveError> {
    Ok(reader.next_frame()?.ok_or(ReceiveError::Ended)?.to_frame())
}

/// Receives one frame and decodes its payload.
///
/// Returns the kind too, which says what the message is about; where the kind decides the type, use
/// [`Reader::next_frame`] and [`message::decode`]. An empty frame is decoded like any other: only a type that encodes to
/// nothing accepts it.
///
/// ```
/// use workfleet_wire::{Kind, blocking};
///
/// let mut reader = blocking::Reader::new(&b"m\x03\0\0\0\0\0\0\0\x02hi"[..]);
/// let (kind, text) = blocking::receive_message::<_, String>(&mut reader)?;
/// assert_eq!((kind, text.as_str()), (Kind(b'm'), "hi"));
/// # Ok::<(), workfleet_wire::ReceiveError>(())
/// ```
///
/// # Errors
/// - [`ReceiveError::Decode`]: the payload is no such message. The frame is consumed, and the next can be received.
/// - [`ReceiveError::Ended`]: the stream ended between two frames.
/// - As [`Reader::next_frame`].
pub fn receive_message<R: Read, T: DeserializeOwned>(
    reader: &mut Reader<R>,
) -> Result<(Kind, T), ReceiveError> {
    let frame = reader.next_frame()?.ok_or(ReceiveError::Ended)?;
    frame.decode()
}

/// Receives the empty frame of the kind that is expected.
///
/// ```
/// use workfleet_wire::{Kind, ReceiveError, blocking};
///
/// let mut reader = blocking::Reader::new(&b"s\0\0\0\0\0\0\0\0t\x04\0\0\0\0\0\0\0task"[..]);
/// blocking::receive_type(&mut reader, Kind(b's'))?;
///
/// // Something else came: it is not lost.
/// let error = blocking::receive_type(&mut reader, Kind(b's')).unwrap_err();
/// let ReceiveError::Unexpected { frame, .. } = error else { panic!("{error}") };
/// assert_eq!((frame.kind, &frame.payload[..]), (Kind(b't'), &b"task"[..]));
/// # Ok::<(), ReceiveError>(())
/// ```
///
/// # Errors
/// - [`ReceiveError::Unexpected`]: another frame came, or one with a payload; it is in the error.
/// - [`ReceiveError::Ended`]: the stream ended between two frames.
/// - As [`Reader::next_frame`].
pub fn receive_type<R: Read>(reader: &mut Reader<R>, expected: Kind) -> Result<(), ReceiveError> {
    let frame = reader.next_frame()?.ok_or(ReceiveError::Ended)?;
    frame.expect_type(expected)
}
