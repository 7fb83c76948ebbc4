//! The asynchronous functions over streams that are rarely ready, with every receive dropped half-way.
#![cfg(feature = "tokio")]

mod common;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use common::{Decoded, LIMIT_BYTES, cases, decode_naively, encode, frames, pieces, stream};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use workfleet_wire::asynchronous::{
    Reader, receive_bytes, receive_message, receive_type, send_bytes, send_message, send_type,
};
use workfleet_wire::{Frame, Kind, ReceiveError, SendError};

/// Reads and writes a few bytes at a time, and is not ready every other time.
struct Fitful<T> {
    inner: T,
    pieces: Vec<usize>,
    turn: usize,
}

impl<T> Fitful<T> {
    fn new(inner: T, pieces: &[usize]) -> Self {
        Self { inner, pieces: pieces.to_vec(), turn: 0 }
    }

    fn next_len(&mut self, offered_bytes: usize) -> Poll<usize> {
        self.turn += 1;
        if self.turn % 2 == 1 {
            return Poll::Pending;
        }
        Poll::Ready(self.pieces[self.turn / 2 % self.pieces.len()].min(offered_bytes))
    }
}

impl AsyncRead for Fitful<&[u8]> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let offered_bytes = space.remaining().min(self.inner.len());
        self.next_len(offered_bytes).map(|n_bytes| {
            let (now, later) = self.inner.split_at(n_bytes);
            space.put_slice(now);
            self.inner = later;
            Ok(())
        })
    }
}

impl AsyncWrite for Fitful<Vec<u8>> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.next_len(bytes.len()).map(|n_bytes| {
            self.inner.extend_from_slice(&bytes[..n_bytes]);
            Ok(n_bytes)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls a future once, and drops it.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future until it is ready; for streams that are ready again at once.
fn poll_until_ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

fn receive_all(mut receive: impl FnMut() -> Result<Frame, ReceiveError>) -> Decoded {
    let mut frames = Vec::new();
    loop {
        match receive() {
            Ok(frame) => frames.push((frame.kind, frame.payload.to_vec())),
            Err(ReceiveError::Ended) => return Decoded { frames, end: Ok(()) },
            Err(ReceiveError::Frame(error)) => return Decoded { frames, end: Err(error) },
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_reader_agrees_with_the_plain_decoder(stream in stream(), pieces in pieces()) {
        let mut reader = Reader::with_limit(Fitful::new(&stream[..], &pieces), LIMIT_BYTES);
        let decoded = receive_all(|| poll_until_ready(receive_bytes(&mut reader)));
        prop_assert_eq!(decoded, decode_naively(&stream, LIMIT_BYTES));
    }

    #[test]
    fn a_receive_dropped_at_every_turn_loses_nothing(stream in stream(), pieces in pieces()) {
        let mut reader = Reader::with_limit(Fitful::new(&stream[..], &pieces), LIMIT_BYTES);
        let decoded = receive_all(|| loop {
            if let Poll::Ready(received) = poll_once(receive_bytes(&mut reader)) {
                return received;
            }
        });
        prop_assert_eq!(decoded, decode_naively(&stream, LIMIT_BYTES));
    }

    #[test]
    fn a_writer_that_takes_little_gets_all(frames in frames(), pieces in pieces()) {
        let mut writer = Fitful::new(Vec::new(), &pieces);
        for (kind, payload) in &frames {
            if payload.is_empty() {
                poll_until_ready(send_type(&mut writer, *kind))?;
            } else {
                poll_until_ready(send_bytes(&mut writer, *kind, payload))?;
            }
        }
        prop_assert_eq!(writer.inner, encode(&frames));
    }

    #[test]
    fn a_payload_too_large_to_copy_is_sent_whole(len_bytes in 16_000..70_000_usize, pieces in prop::collection::vec(500..9000_usize, 1..8)) {
        let payload: Vec<u8> = (0..len_bytes).map(|at| (at % 251) as u8).collect();
        let mut writer = Fitful::new(Vec::new(), &pieces);
        poll_until_ready(send_bytes(&mut writer, Kind(0x12), &payload))?;
        prop_assert_eq!(writer.inner, encode(&[(Kind(0x12), payload)]));
    }
}

#[tokio::test]
async fn a_blocking_reader_goes_on_where_an_asynchronous_one_stopped() {
    let stream = encode(&[(Kind(b'm'), b"one".to_vec()), (Kind(b'm'), b"two".to_vec())]);
    let mut reader = Reader::new(&stream[..]);
    assert_eq!(receive_bytes(&mut reader).await.unwrap().payload, "one");
    let (io, decoder) = reader.into_parts();
    assert!(io.is_empty(), "both were read at once");
    let mut reader = workfleet_wire::blocking::Reader::from_parts(io, decoder);
    assert_eq!(workfleet_wire::blocking::receive_bytes(&mut reader).unwrap().payload, "two");
}

#[tokio::test]
async fn both_sides_talk_over_one_stream() {
    let (manager, mut worker) = tokio::io::duplex(100);
    let worker = async move {
        send_message(&mut worker, Kind(0x10), &("worker", 1_u32)).await.unwrap();
        let mut reader = Reader::new(worker);
        receive_type(&mut reader, Kind(0x04)).await.unwrap();
        // The same stream, for what goes the other way.
        send_bytes(reader.get_mut(), Kind(0x12), &vec![7; 1 << 20]).await.unwrap();
        send_type(reader.get_mut(), Kind(b't')).await.unwrap();
    };
    let manager = async move {
        let mut reader = Reader::new(manager);
        let (kind, hello) = receive_message::<_, (String, u32)>(&mut reader).await.unwrap();
        assert_eq!((kind, hello), (Kind(0x10), ("worker".to_owned(), 1)));
        send_type(reader.get_mut(), Kind(0x04)).await.unwrap();
        let frame = receive_bytes(&mut reader).await.unwrap();
        assert!(frame.payload == vec![7; 1 << 20]);
        // It is not the acknowledgement that was hoped for, and comes back.
        match receive_type(&mut reader, Kind(0x16)).await {
            Err(ReceiveError::Unexpected { expected: Kind(0x16), frame }) => {
                assert_eq!(frame.kind, Kind(b't'))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(receive_bytes(&mut reader).await, Err(ReceiveError::Ended)));
    };
    tokio::join!(manager, worker);
}

#[tokio::test]
async fn sending_to_a_stream_that_is_gone_is_a_disconnect() {
    let (manager, mut worker) = tokio::io::duplex(100);
    drop(manager);
    let error = send_type(&mut worker, Kind(b'n')).await.unwrap_err();
    assert!(error.is_disconnect(), "{error}");
    let error = send_bytes(&mut &mut io::Cursor::new(&mut [][..]), Kind(0x12), b"x").await.unwrap_err();
    assert!(matches!(error, SendError::Io(error) if error.kind() == io::ErrorKind::WriteZero));
}

#[test]
fn futures_can_be_sent_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let mut reader = Reader::new(&b""[..]);
    is_send(&receive_bytes(&mut reader));
    is_send(&receive_message::<_, String>(&mut reader));
    is_send(&receive_type(&mut reader, Kind(0x04)));
    let mut out = Vec::new();
    is_send(&send_bytes(&mut out, Kind(0x12), b""));
    is_send(&send_message(&mut out, Kind(0x12), ""));
}
