//! What a frame costs without its way: written into a buffer, and read from one. Beside it stands tokio-util's
//! `LengthDelimitedCodec`, told to write and read the same bytes.
//!
//! `cargo bench -p workfleet-wire --features codec` measures `FrameCodec` too.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};
use workfleet_wire::{Decoder, HEADER_LEN_BYTES, Kind, encode_frame};

const KIND: Kind = Kind(b'm');

/// How many frames stand in a buffer, and how long the payload of each is.
const STREAMS: [(u64, usize); 3] = [(1024, 32), (256, 1024), (16, 64 * 1024)];

/// The codec whose frames are ours: the kind, eight bytes of length, the payload.
fn length_delimited() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_offset(1)
        .length_field_length(8)
        .length_adjustment(HEADER_LEN_BYTES as isize)
        .num_skip(0)
        .little_endian()
        .max_frame_length(64 << 20)
        .new_codec()
}

fn stream_of(frames: u64, payload_bytes: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..frames {
        encode_frame(KIND, &vec![7; payload_bytes], &mut stream);
    }
    stream
}

fn encode(criterion: &mut Criterion) {
    for (frames, payload_bytes) in STREAMS {
        let mut group = criterion.benchmark_group(format!("encode/{payload_bytes} bytes"));
        group.throughput(Throughput::Elements(frames));
        let payload = vec![7; payload_bytes];
        let mut out = Vec::new();
        group.bench_function("encode_frame", |bencher| {
            bencher.iter(|| {
                out.clear();
                (0..frames).for_each(|_| encode_frame(KIND, black_box(&payload), &mut out));
                black_box(out.len())
            });
        });
        #[cfg(feature = "codec")]
        group.bench_function("FrameCodec", |bencher| {
            use workfleet_wire::{FrameRef, codec::FrameCodec};
            let (mut codec, mut out) = (FrameCodec::default(), BytesMut::new());
            bencher.iter(|| {
                out.clear();
                for _ in 0..frames {
                    let frame = FrameRef { kind: KIND, payload: black_box(&payload) };
                    codec.encode(frame, &mut out).expect("it is within the limit");
                }
                black_box(out.len())
            });
        });
        // It has no kinds, so its header is eight bytes. A payload that it is given is copied like ours.
        group.bench_function("LengthDelimitedCodec", |bencher| {
            let payload = Bytes::from(payload.clone());
            let mut codec =
                LengthDelimitedCodec::builder().length_field_length(8).little_endian().new_codec();
            codec.set_max_frame_length(64 << 20);
            let mut out = BytesMut::new();
            bencher.iter(|| {
                out.clear();
                for _ in 0..frames {
                    codec.encode(black_box(payload.clone()), &mut out).expect("it is within the limit");
                }
                black_box(out.len())
            });
        });
        group.finish();
    }
}

/// From bytes that have arrived to the last frame, the copy into the reader's buffer included.
fn decode(criterion: &mut Criterion) {
    for (frames, payload_bytes) in STREAMS {
        let mut group = criterion.benchmark_group(format!("decode/{payload_bytes} bytes"));
        group.throughput(Throughput::Elements(frames));
        let stream = stream_of(frames, payload_bytes);
        group.bench_function("Decoder", |bencher| {
            let mut decoder = Decoder::default();
            bencher.iter(|| {
                decoder.extend(black_box(&stream));
                let mut n = 0;
                while let Some(frame) = decoder.next_frame().expect("they are frames") {
                    n += u64::from(black_box(frame).kind == KIND);
                }
                assert_eq!(n, frames);
            });
        });
        #[cfg(feature = "codec")]
        group.bench_function("FrameCodec", |bencher| {
            let (mut codec, mut source) = (workfleet_wire::codec::FrameCodec::default(), BytesMut::new());
            bencher.iter(|| {
                source.extend_from_slice(black_box(&stream));
                let mut n = 0;
                while let Some(frame) = codec.decode(&mut source).expect("they are frames") {
                    n += u64::from(black_box(frame).kind == KIND);
                }
                assert_eq!(n, frames);
            });
        });
        group.bench_function("LengthDelimitedCodec", |bencher| {
            let (mut codec, mut source) = (length_delimited(), BytesMut::new());
            bencher.iter(|| {
                source.extend_from_slice(black_box(&stream));
                let mut n = 0;
                while let Some(frame) = codec.decode(&mut source).expect("they are frames") {
                    n += u64::from(black_box(frame)[0] == KIND.0);
                }
                assert_eq!(n, frames);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
