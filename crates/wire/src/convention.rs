//! Every public error of this crate follows the convention: one line, no text twice, and readable where `main` prints it.

use std::io;

use serde::{Serialize, Serializer, ser};
use workfleet_causes::check_variants;

use crate::{
    DecodeError, EncodeError, Frame, FrameError, Kind, ReceiveError, SendError, Violation, kinds::Direction,
    message,
};

const KIND: Kind = Kind(0x58);

/// A value that refuses to be encoded.
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("it is told to"))
    }
}

fn refused() -> EncodeError {
    message::encode(&Refuses).expect_err("it refuses")
}

fn malformed() -> DecodeError {
    message::decode::<u64>(&[]).expect_err("there is nothing")
}

fn unknown() -> FrameError {
    FrameError::UnknownKind { kind: KIND }
}

#[test]
fn errors_of_messages() {
    let (type_name, len_bytes) = ("u64", 9);
    check_variants!(EncodeError { _ => refused() });
    check_variants!(DecodeError {
        DecodeError::Malformed { .. } => malformed(),
        DecodeError::Refused { .. } => DecodeError::Refused { type_name, len_bytes, reason: "as told".to_owned() },
        DecodeError::SelfDescribing { .. } => {
            DecodeError::SelfDescribing { type_name, asked: "a value of any type".to_owned() }
        },
        DecodeError::TooDeep { .. } => DecodeError::TooDeep { type_name, len_bytes, limit: 128 },
        DecodeError::Trailing { .. } => DecodeError::Trailing { type_name, len_bytes, trailing_bytes: 1 },
    });
}

#[test]
fn errors_of_frames() {
    let len_bytes = 9;
    check_variants!(FrameError {
        FrameError::TooLarge { .. } => FrameError::TooLarge { kind: KIND, len_bytes, limit_bytes: 8 },
        FrameError::Truncated { .. } => FrameError::Truncated { have_bytes: 8, need_bytes: 9 },
        FrameError::UnknownKind { .. } => unknown(),
        FrameError::Unexpected { .. } => FrameError::Unexpected {
            kind: KIND,
            direction: Direction::ToManager,
            len_bytes,
            violation: Violation::MustBeEmpty,
        },
    });
    check_variants!(SendError {
        SendError::Io(_) => SendError::Io(io::ErrorKind::BrokenPipe.into()),
        SendError::Frame(_) => SendError::Frame(unknown()),
        SendError::Encode(_) => SendError::Encode(refused()),
    });
    check_variants!(ReceiveError {
        ReceiveError::Ended => ReceiveError::Ended,
        ReceiveError::Io(_) => ReceiveError::Io(io::ErrorKind::ConnectionReset.into()),
        ReceiveError::Frame(_) => ReceiveError::Frame(unknown()),
        ReceiveError::Decode { .. } => ReceiveError::Decode { kind: KIND, source: malformed() },
        ReceiveError::Unexpected { .. } => {
            ReceiveError::Unexpected { expected: KIND, frame: Frame { kind: KIND, payload: Vec::new().into() } }
        },
    });
}
