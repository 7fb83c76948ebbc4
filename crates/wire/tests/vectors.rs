//! Bytes that Python's `struct.pack("<cQ", …)` wrote, decoded here and encoded back to the same bytes.

use workfleet_wire::{Decoder, FrameError, FrameRef, Kind, encode_frame, encode_header};

/// A line of `vectors/frames.txt`, which `vectors/frames.py` wrote.
enum Vector {
    Frame { kind: Kind, payload: Vec<u8>, bytes: Vec<u8> },
    Header { kind: Kind, len_bytes: u64, bytes: Vec<u8> },
}

fn hex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn vectors() -> Vec<Vector> {
    include_str!("vectors/frames.txt")
        .lines()
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["frame", kind, payload, bytes] => {
                Vector::Frame { kind: Kind(hex(kind)[0]), payload: hex(payload), bytes: hex(bytes) }
            }
            ["header", kind, len_bytes, bytes] => Vector::Header {
                kind: Kind(hex(kind)[0]),
                len_bytes: len_bytes.parse().unwrap(),
                bytes: hex(bytes),
            },
            _ => panic!("not a vector: {line}"),
        })
        .collect()
}

#[test]
fn frames_from_python_decode_and_encode_back() {
    let mut stream = Vec::new();
    let mut sent = Vec::new();
    for vector in vectors() {
        if let Vector::Frame { kind, payload, bytes } = vector {
            let mut ours = Vec::new();
            encode_frame(kind, &payload, &mut ours);
            assert_eq!(ours, bytes, "{kind}");
            stream.extend(bytes);
            sent.push((kind, payload));
        }
    }
    assert_eq!(sent.len(), 14);

    let mut decoder = Decoder::default();
    decoder.extend(&stream);
    for (kind, payload) in &sent {
        assert_eq!(decoder.next_frame(), Ok(Some(FrameRef { kind: *kind, payload })));
    }
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn headers_from_python_are_read_and_written_alike() {
    let mut headers = 0;
    for vector in vectors() {
        if let Vector::Header { kind, len_bytes, bytes } = vector {
            headers += 1;
            assert_eq!(encode_header(kind, len_bytes)[..], bytes);
            // What a decoder read is told by the error of one that accepts nothing.
            let mut decoder = Decoder::new(0);
            decoder.extend(&bytes);
            match len_bytes {
                0 => assert_eq!(decoder.next_frame(), Ok(Some(FrameRef { kind, payload: b"" }))),
                _ => assert_eq!(
                    decoder.next_frame(),
                    Err(FrameError::TooLarge { kind, len_bytes, limit_bytes: 0 })
                ),
            }
        }
    }
    assert_eq!(headers, 14);
}
