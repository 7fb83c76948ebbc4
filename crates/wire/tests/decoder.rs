//! The decoder against one that is obviously right: any split of any stream, and what it may cost.

mod common;

use common::{Decoded, LIMIT_BYTES, cases, decode_naively, encode, frames, pieces, split, stream};
use proptest::prelude::*;
use workfleet_wire::{
    DEFAULT_FRAME_LIMIT_BYTES, Decoder, FrameError, FrameRef, Kind, encode_frame_with, encode_header,
};

/// Takes every frame that is there.
fn take(decoder: &mut Decoder, frames: &mut Vec<(Kind, Vec<u8>)>) -> Result<(), FrameError> {
    loop {
        let ready = decoder.is_ready();
        match decoder.next_frame() {
            Ok(Some(FrameRef { kind, payload })) => frames.push((kind, payload.to_vec())),
            Ok(None) => {
                assert!(!ready, "ready, and then nothing was there");
                return Ok(());
            }
            Err(error) => {
                assert!(ready, "not ready, and then an error was there");
                return Err(error);
            }
        }
    }
}

/// Feeds a stream in pieces; `choices` says, for each, whether it is copied in and whether frames are taken after it.
fn decode_in_pieces(stream: &[u8], pieces: &[usize], choices: &[(bool, bool)]) -> Decoded {
    let mut decoder = Decoder::new(LIMIT_BYTES);
    let mut frames = Vec::new();
    for (mut piece, (copies, takes)) in split(stream, pieces).zip(choices.iter().cycle()) {
        if *copies {
            decoder.extend(piece);
        } else {
            while !piece.is_empty() {
                let spare = decoder.spare();
                let (now, later) = piece.split_at(piece.len().min(spare.len()));
                spare[..now.len()].copy_from_slice(now);
                decoder.advance(now.len());
                piece = later;
            }
        }
        if *takes && let Err(error) = take(&mut decoder, &mut frames) {
            return Decoded { frames, end: Err(error) };
        }
    }
    let end = take(&mut decoder, &mut frames).and_then(|()| decoder.finish());
    Decoded { frames, end }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_split_of_any_stream_decodes_the_same(
        stream in stream(),
        pieces in pieces(),
        choices in prop::collection::vec(any::<(bool, bool)>(), 1..8),
    ) {
        let decoded = decode_in_pieces(&stream, &pieces, &choices);
        prop_assert_eq!(decoded, decode_naively(&stream, LIMIT_BYTES));
    }

    #[test]
    fn frames_come_back_as_they_were_sent(frames in frames(), pieces in pieces()) {
        let stream = encode(&frames);
        let decoded = decode_in_pieces(&stream, &pieces, &[(false, true)]);
        prop_assert_eq!(decoded, Decoded { frames, end: Ok(()) });
    }

    #[test]
    fn a_payload_written_in_place_gives_the_same_stream(frames in frames()) {
        let mut stream = Vec::new();
        for (kind, payload) in &frames {
            let refused = encode_frame_with(*kind, &mut stream, |out| {
                out.extend_from_slice(payload);
                Err(())
            });
            prop_assert!(refused.is_err());
            encode_frame_with(*kind, &mut stream, |out| {
                out.extend_from_slice(payload);
                Ok::<(), FrameError>(())
            })?;
        }
        prop_assert_eq!(stream, encode(&frames));
    }

    #[test]
    fn memory_follows_what_arrived_and_not_what_was_claimed(
        claimed_bytes in 0..=DEFAULT_FRAME_LIMIT_BYTES,
        arrived in 0..200_000_usize,
        pieces in prop::collection::vec(1..40_000_usize, 1..8),
    ) {
        let mut stream = encode_header(Kind(0x12), claimed_bytes).to_vec();
        stream.resize(stream.len() + arrived, 0xff);
        let mut decoder = Decoder::default();
        let mut arrived_bytes = 0;
        for piece in split(&stream, &pieces) {
            let spare = decoder.spare();
            // A read brings no more than it was given room for; what is left out does not matter here.
            let n_bytes = piece.len().min(spare.len());
            spare[..n_bytes].copy_from_slice(&piece[..n_bytes]);
            decoder.advance(n_bytes);
            arrived_bytes += n_bytes;
            while let Ok(Some(_)) = decoder.next_frame() {}
            decoder.spare();
            prop_assert!(decoder.capacity_bytes() <= 2 * arrived_bytes + (32 << 10), "{:?}", decoder);
        }
    }

    #[test]
    fn garbage_costs_a_constant(garbage in prop::collection::vec(any::<u8>(), 0..4000)) {
        let mut decoder = Decoder::default();
        for byte in &garbage {
            decoder.extend(&[*byte]);
            let _ = decoder.next_frame();
            decoder.spare();
            prop_assert!(decoder.capacity_bytes() <= 32 << 10, "{:?}", decoder);
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_memory_is_taken(
        kind in any::<u8>().prop_map(Kind),
        limit_bytes in 0..u64::from(u32::MAX),
        above in 1..=u64::MAX - u64::from(u32::MAX),
    ) {
        let len_bytes = limit_bytes + above;
        let mut decoder = Decoder::new(limit_bytes);
        decoder.extend(&encode_header(kind, len_bytes));
        prop_assert!(decoder.capacity_bytes() <= 32 << 10);
        prop_assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge { kind, len_bytes, limit_bytes }));
        prop_assert_eq!(decoder.capacity_bytes(), 0);
    }
}

#[test]
fn the_most_hostile_length_is_too_large() {
    let mut decoder = Decoder::default();
    decoder.extend(b"t\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(decoder.next_frame(), Ok(None), "the header is not there yet");
    decoder.extend(b"\xff");
    let error = FrameError::TooLarge { kind: Kind(b't'), len_bytes: u64::MAX, limit_bytes: 64 << 20 };
    assert_eq!(decoder.next_frame(), Err(error));
    assert_eq!(decoder.capacity_bytes(), 0);
}

#[test]
fn a_payload_of_exactly_the_limit_is_accepted() {
    let mut decoder = Decoder::new(3);
    decoder.extend(b"m\x03\0\0\0\0\0\0\0abc");
    assert_eq!(decoder.next_frame(), Ok(Some(FrameRef { kind: Kind(b'm'), payload: b"abc" })));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn a_limit_of_nothing_still_accepts_empty_frames() {
    let mut decoder = Decoder::new(0);
    decoder.extend(b"n\0\0\0\0\0\0\0\0");
    assert_eq!(decoder.next_frame(), Ok(Some(FrameRef { kind: Kind(b'n'), payload: b"" })));
}
