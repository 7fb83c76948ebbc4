//! The blocking functions over readers and writers that do as little as they may.

mod common;

use std::io::{self, IoSlice, Read, Write};

use common::{Decoded, LIMIT_BYTES, cases, decode_naively, encode, frames, pieces, stream};
use proptest::prelude::*;
use workfleet_wire::blocking::{
    Reader, receive_bytes, receive_message, receive_type, send_bytes, send_message, send_type,
};
use workfleet_wire::{FrameError, Kind, ReceiveError, SendError, encode_header, message};

/// Reads and writes a few bytes at a time, and is interrupted before every one, by turns as a signal and a timeout do it.
struct Fitful<T> {
    inner: T,
    pieces: Vec<usize>,
    turn: usize,
}

impl<T> Fitful<T> {
    fn new(inner: T, pieces: &[usize]) -> Self {
        Self { inner, pieces: pieces.to_vec(), turn: 0 }
    }

    fn next_len(&mut self, offered_bytes: usize, interruptions: &[io::ErrorKind]) -> io::Result<usize> {
        let turn = self.turn;
        self.turn += 1;
        match interruptions.get(turn % (interruptions.len() + 1)) {
            Some(kind) => Err((*kind).into()),
            None => Ok(self.pieces[turn % self.pieces.len()].min(offered_bytes)),
        }
    }
}

impl<R: Read> Read for Fitful<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.next_len(space.len(), &[io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock])?;
        self.inner.read(&mut space[..n_bytes])
    }
}

impl<W: Write> Write for Fitful<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = Vec::new();
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        let n_bytes = self.next_len(bytes.len(), &[io::ErrorKind::Interrupted])?;
        self.inner.write(&bytes[..n_bytes])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Receives all frames, trying again after each timeout.
fn receive_all(reader: &mut Reader<impl Read>) -> Decoded {
    let mut frames = Vec::new();
    loop {
        match receive_bytes(reader) {
            Ok(frame) => frames.push((frame.kind, frame.payload.to_vec())),
            Err(ReceiveError::Ended) => return Decoded { frames, end: Ok(()) },
            Err(ReceiveError::Frame(error)) => return Decoded { frames, end: Err(error) },
            Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_reader_agrees_with_the_plain_decoder(stream in stream(), pieces in pieces()) {
        let mut reader = Reader::with_limit(Fitful::new(&stream[..], &pieces), LIMIT_BYTES);
        prop_assert_eq!(receive_all(&mut reader), decode_naively(&stream, LIMIT_BYTES));
    }

    #[test]
    fn what_was_read_ahead_moves_on_with_the_parts(frames in frames(), after in 0..20_usize) {
        let stream = encode(&frames);
        let mut reader = Reader::new(&stream[..]);
        let after = after.min(frames.len());
        for (kind, payload) in &frames[..after] {
            let frame = receive_bytes(&mut reader)?;
            prop_assert_eq!((frame.kind, &frame.payload[..]), (*kind, &payload[..]));
        }
        let (io, decoder) = reader.into_parts();
        let rest = receive_all(&mut Reader::from_parts(io, decoder));
        prop_assert_eq!(rest, Decoded { frames: frames[after..].to_vec(), end: Ok(()) });
    }

    #[test]
    fn a_writer_that_takes_little_gets_all(frames in frames(), pieces in pieces()) {
        let mut writer = Fitful::new(Vec::new(), &pieces);
        for (kind, payload) in &frames {
            if payload.is_empty() {
                send_type(&mut writer, *kind)?;
            } else {
                send_bytes(&mut writer, *kind, payload)?;
            }
        }
        prop_assert_eq!(writer.inner, encode(&frames));
    }

    #[test]
    fn a_payload_too_large_to_copy_is_sent_whole(len_bytes in 16_000..70_000_usize, pieces in prop::collection::vec(500..9000_usize, 1..8)) {
        let payload: Vec<u8> = (0..len_bytes).map(|at| (at % 251) as u8).collect();
        let mut writer = Fitful::new(Vec::new(), &pieces);
        send_bytes(&mut writer, Kind(0x12), &payload)?;
        prop_assert_eq!(writer.inner, encode(&[(Kind(0x12), payload)]));
    }
}

/// Counts its writes.
#[derive(Default)]
struct Counting {
    writes: usize,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes += 1;
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_frame_is_one_write() {
    for len_bytes in [0, 1, 64, 16 << 10, (16 << 10) + 1, 1 << 20] {
        let mut writer = Counting::default();
        send_bytes(&mut writer, Kind(0x12), &vec![7; len_bytes]).unwrap();
        assert_eq!(writer.writes, 1, "{len_bytes}");
    }
    let mut writer = Counting::default();
    send_message(&mut writer, Kind(0x12), &vec!["text"; 10_000]).unwrap();
    assert_eq!(writer.writes, 1);
}

#[test]
fn a_writer_that_takes_nothing_is_an_error() {
    for len_bytes in [0, 64, 1 << 20] {
        let error = send_bytes(&mut &mut [][..], Kind(0x12), &vec![7; len_bytes]).unwrap_err();
        assert!(
            matches!(&error, SendError::Io(error) if error.kind() == io::ErrorKind::WriteZero),
            "{error}"
        );
        assert!(!error.is_disconnect());
    }
}

#[test]
fn a_message_that_cannot_be_encoded_sends_nothing() {
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            // A map whose length is not known.
            serde::Serializer::serialize_map(serializer, None).map(drop)?;
            unreachable!("a map needs its length")
        }
    }
    let mut out = Vec::new();
    let error = send_message(&mut out, Kind(b'm'), &Refuses).unwrap_err();
    assert!(matches!(error, SendError::Encode(_)));
    assert!(out.is_empty());
}

#[test]
fn a_payload_of_another_type_costs_only_its_frame() {
    let mut stream = Vec::new();
    send_message(&mut stream, Kind(b'm'), "text").unwrap();
    send_message(&mut stream, Kind(b'm'), &7_u8).unwrap();
    let mut reader = Reader::new(&stream[..]);
    let error = receive_message::<_, u8>(&mut reader).unwrap_err();
    assert!(matches!(error, ReceiveError::Decode { kind: Kind(b'm'), .. }), "{error}");
    assert_eq!(receive_message::<_, u8>(&mut reader).unwrap(), (Kind(b'm'), 7));
}

#[test]
fn what_comes_instead_of_an_acknowledgement_is_handed_back() {
    let mut stream = Vec::new();
    send_type(&mut stream, Kind(b'm')).unwrap();
    send_bytes(&mut stream, Kind(b's'), b"not empty").unwrap();
    send_type(&mut stream, Kind(b's')).unwrap();
    let mut reader = Reader::new(&stream[..]);
    for (kind, payload) in [(Kind(b'm'), &b""[..]), (Kind(b's'), b"not empty")] {
        match receive_type(&mut reader, Kind(b's')) {
            Err(ReceiveError::Unexpected { expected: Kind(b's'), frame }) => {
                assert_eq!((frame.kind, &frame.payload[..]), (kind, payload));
            }
            other => panic!("{other:?}"),
        }
    }
    receive_type(&mut reader, Kind(b's')).unwrap();
    assert!(matches!(receive_type(&mut reader, Kind(b's')), Err(ReceiveError::Ended)));
}

#[test]
fn an_end_between_frames_differs_from_one_inside() {
    let whole = encode(&[(Kind(b'm'), b"hello".to_vec())]);
    for cut in 0..=whole.len() {
        let mut reader = Reader::new(&whole[..cut]);
        let error = match cut {
            0 => receive_bytes(&mut reader).unwrap_err(),
            14 => {
                receive_bytes(&mut reader).unwrap();
                receive_bytes(&mut reader).unwrap_err()
            }
            _ => {
                let error = receive_bytes(&mut reader).unwrap_err();
                let (have, need) = (cut as u64, if cut < 9 { 9 } else { 14 });
                let ReceiveError::Frame(FrameError::Truncated { have_bytes, need_bytes }) = error else {
                    panic!("{error}")
                };
                assert_eq!((have_bytes, need_bytes), (have, need));
                continue;
            }
        };
        assert!(matches!(error, ReceiveError::Ended), "{cut}: {error}");
    }
}

#[test]
fn after_a_header_above_the_limit_the_error_stays() {
    let mut stream = encode_header(Kind(7), u64::MAX).to_vec();
    stream.extend(encode(&[(Kind(b'n'), vec![])]));
    let mut reader = Reader::new(&stream[..]);
    for _ in 0..3 {
        let error = receive_bytes(&mut reader).unwrap_err();
        assert!(matches!(error, ReceiveError::Frame(FrameError::TooLarge { kind: Kind(7), .. })), "{error}");
    }
}

#[test]
fn frames_cross_a_pipe() {
    let (ours, mut theirs) = io::pipe().unwrap();
    let large = vec![7_u8; 3 << 20];
    let sent = large.clone();
    let sender = std::thread::spawn(move || {
        send_message(&mut theirs, Kind(0x10), &("worker", 1_u32)).unwrap();
        send_bytes(&mut theirs, Kind(0x12), &sent).unwrap();
        send_type(&mut theirs, Kind(b't')).unwrap();
    });
    let mut reader = Reader::new(ours);
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(frame.kind, Kind(0x10));
    assert_eq!(message::decode_borrowed::<(&str, u32)>(frame.payload).unwrap(), ("worker", 1));
    let frame = receive_bytes(&mut reader).unwrap();
    assert_eq!(frame.kind, Kind(0x12));
    assert!(frame.payload == large);
    receive_type(&mut reader, Kind(b't')).unwrap();
    assert!(matches!(receive_bytes(&mut reader), Err(ReceiveError::Ended)));
    sender.join().unwrap();
}
