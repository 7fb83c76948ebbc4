//! What the tests share: how many cases a property gets, streams to try, and a decoder that is obviously right.

#![allow(dead_code, reason = "each test uses its part of this")]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use workfleet_wire::{FrameError, HEADER_LEN_BYTES, Kind, encode_frame, encode_header};

/// The limit of the property tests: low, so that streams cross it.
pub(crate) const LIMIT_BYTES: u64 = 300;

/// 256 cases with a fixed seed, so that a run is repeatable; WORKFLEET_PROPTEST_CASES asks for more.
pub(crate) fn cases() -> Config {
    let cases = match std::env::var("WORKFLEET_PROPTEST_CASES") {
        Ok(cases) => cases.parse().expect("WORKFLEET_PROPTEST_CASES is a number"),
        Err(_) => 256,
    };
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x66_6c_65_65_74),
        failure_persistence: None,
        ..Config::default()
    }
}

/// What a stream holds: its frames, and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) frames: Vec<(Kind, Vec<u8>)>,
    pub(crate) end: Result<(), FrameError>,
}

/// Decodes a whole stream at once, in the plainest way.
pub(crate) fn decode_naively(mut bytes: &[u8], limit_bytes: u64) -> Decoded {
    let mut frames = Vec::new();
    let truncated =
        |have: usize, need_bytes: u64| FrameError::Truncated { have_bytes: have as u64, need_bytes };
    let end = loop {
        if bytes.is_empty() {
            break Ok(());
        }
        if bytes.len() < HEADER_LEN_BYTES {
            break Err(truncated(bytes.len(), HEADER_LEN_BYTES as u64));
        }
        let kind = Kind(bytes[0]);
        let len_bytes = u64::from_le_bytes(bytes[1..9].try_into().unwrap());
        if len_bytes > limit_bytes {
            break Err(FrameError::TooLarge { kind, len_bytes, limit_bytes });
        }
        let frame_len_bytes = HEADER_LEN_BYTES + usize::try_from(len_bytes).unwrap();
        if bytes.len() < frame_len_bytes {
            break Err(truncated(bytes.len(), frame_len_bytes as u64));
        }
        frames.push((kind, bytes[9..frame_len_bytes].to_vec()));
        bytes = &bytes[frame_len_bytes..];
    };
    Decoded { frames, end }
}

/// Frames of any kind, with payloads within the limit.
pub(crate) fn frames() -> impl Strategy<Value = Vec<(Kind, Vec<u8>)>> {
    let payload = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 0..=LIMIT_BYTES as usize),
    ];
    prop::collection::vec((any::<u8>().prop_map(Kind), payload), 0..20)
}

/// These frames, one after the other.
pub(crate) fn encode(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (kind, payload) in frames {
        encode_frame(*kind, payload, &mut stream);
    }
    stream
}

/// Streams good and bad: frames, frames cut off, frames and then a header that claims anything, and garbage; mostly zeros in
/// part, since those make short lengths.
pub(crate) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let whole = || frames().prop_map(|frames| encode(&frames));
    let mostly_zeros = prop_oneof![4 => Just(0), 1 => any::<u8>()];
    prop_oneof![
        whole(),
        (whole(), any::<prop::sample::Index>()).prop_map(|(mut stream, cut)| {
            stream.truncate(cut.index(stream.len() + 1));
            stream
        }),
        (whole(), any::<u8>(), any::<u64>(), 0..64_u32, whole()).prop_map(
            |(mut stream, kind, len, shift, rest)| {
                stream.extend_from_slice(&encode_header(Kind(kind), len >> shift));
                stream.extend_from_slice(&rest);
                stream
            }
        ),
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(mostly_zeros, 0..400),
    ]
}

/// How a stream is split on its way: these sizes, over and over.
pub(crate) fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        prop::collection::vec(1..12_usize, 1..8),
        prop::collection::vec(1..1000_usize, 1..8),
    ]
}

/// The stream, piece by piece.
pub(crate) fn split<'a>(mut stream: &'a [u8], pieces: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    pieces.iter().cycle().map_while(move |size| {
        let (piece, rest) = stream.split_at((*size).min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
