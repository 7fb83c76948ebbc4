//! The codec against the plain decoder, and inside tokio-util's framed streams.
#![cfg(feature = "codec")]

mod common;

use bytes::BytesMut;
use common::{Decoded, LIMIT_BYTES, cases, decode_naively, encode, frames, pieces, split, stream};
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder, Framed, FramedRead};
use workfleet_wire::codec::FrameCodec;
use workfleet_wire::{Frame, FrameError, FrameRef, Kind, ReceiveError, SendError, encode_header};

fn decode_in_pieces(stream: &[u8], pieces: &[usize]) -> Decoded {
    let mut codec = FrameCodec::new(LIMIT_BYTES);
    let mut source = BytesMut::new();
    let mut frames = Vec::new();
    let mut take = |decoded: Result<Option<Frame>, ReceiveError>| match decoded {
        Ok(Some(frame)) => {
            frames.push((frame.kind, frame.payload.to_vec()));
            None
        }
        Ok(None) => Some(Ok(())),
        Err(ReceiveError::Frame(error)) => Some(Err(error)),
        Err(error) => panic!("{error}"),
    };
    for piece in split(stream, pieces) {
        source.extend_from_slice(piece);
        let state = loop {
            if let Some(state) = take(codec.decode(&mut source)) {
                break state;
            }
        };
        if let Err(error) = state {
            assert_eq!(source.capacity(), 0, "what is left after an error is dropped");
            return Decoded { frames, end: Err(error) };
        }
    }
    let end = loop {
        if let Some(state) = take(codec.decode_eof(&mut source)) {
            break state;
        }
    };
    Decoded { frames, end }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_codec_agrees_with_the_plain_decoder(stream in stream(), pieces in pieces()) {
        prop_assert_eq!(decode_in_pieces(&stream, &pieces), decode_naively(&stream, LIMIT_BYTES));
    }

    #[test]
    fn the_codec_writes_what_the_core_writes(frames in frames()) {
        let mut codec = FrameCodec::new(LIMIT_BYTES);
        let mut out = BytesMut::new();
        for (turn, (kind, payload)) in frames.iter().enumerate() {
            let frame = FrameRef { kind: *kind, payload };
            if turn % 2 == 0 { codec.encode(frame, &mut out)? } else { codec.encode(frame.to_frame(), &mut out)? }
        }
        prop_assert_eq!(&out[..], encode(&frames));
    }

    #[test]
    fn memory_follows_what_arrived(claimed_bytes in 0..=64_u64 << 20, arrived in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut codec = FrameCodec::default();
        let mut source = BytesMut::new();
        source.extend_from_slice(&encode_header(Kind(0x12), claimed_bytes));
        for byte in &arrived {
            source.extend_from_slice(&[*byte]);
            if codec.decode(&mut source).is_err() {
                break;
            }
            prop_assert!(source.capacity() <= 1024);
        }
    }
}

#[test]
fn a_frame_above_the_limit_is_not_sent_and_the_next_one_is() {
    let mut codec = FrameCodec::new(4);
    let mut out = BytesMut::new();
    let frame = |payload: &'static str| Frame { kind: Kind(b'm'), payload: payload.into() };
    match codec.encode(frame("hello"), &mut out) {
        Err(SendError::Frame(error)) => {
            assert_eq!(error, FrameError::TooLarge { kind: Kind(b'm'), len_bytes: 5, limit_bytes: 4 });
        }
        other => panic!("{other:?}"),
    }
    codec.encode(frame("helo"), &mut out).unwrap();
    assert_eq!(&out[..], b"m\x04\0\0\0\0\0\0\0helo");
}

#[test]
fn an_error_stays() {
    let mut codec = FrameCodec::default();
    let mut source = BytesMut::from(&encode_header(Kind(7), u64::MAX)[..]);
    for _ in 0..3 {
        let error = codec.decode(&mut source).unwrap_err();
        assert!(matches!(error, ReceiveError::Frame(FrameError::TooLarge { kind: Kind(7), .. })), "{error}");
        source.extend_from_slice(b"n\0\0\0\0\0\0\0\0");
    }
}

#[tokio::test]
async fn frames_cross_a_framed_stream_and_its_end_is_seen() {
    let (worker, manager) = tokio::io::duplex(100);
    let mut worker = Framed::new(worker, FrameCodec::default());
    let mut manager = Framed::new(manager, FrameCodec::default());
    let large = Frame { kind: Kind(0x12), payload: vec![7; 1 << 20].into() };
    let sent = large.clone();
    let sender = async move {
        worker.send(FrameRef { kind: Kind(b'n'), payload: b"" }).await.unwrap();
        worker.send(sent).await.unwrap();
    };
    let receiver = async move {
        assert_eq!(manager.next().await.unwrap().unwrap().kind, Kind(b'n'));
        assert!(manager.next().await.unwrap().unwrap() == large);
        assert!(manager.next().await.is_none());
    };
    tokio::join!(sender, receiver);
}

#[tokio::test]
async fn an_end_inside_a_frame_is_an_error() {
    let mut frames = FramedRead::new(&b"n\0\0\0\0\0\0\0\0m\x05\0\0\0\0\0\0\0hel"[..], FrameCodec::default());
    assert_eq!(frames.next().await.unwrap().unwrap().kind, Kind(b'n'));
    match frames.next().await {
        Some(Err(ReceiveError::Frame(error))) => {
            assert_eq!(error, FrameError::Truncated { have_bytes: 12, need_bytes: 14 });
        }
        other => panic!("{other:?}"),
    }
}
