//! Every public error of this crate follows the convention: one line, no text twice, and readable where `main` prints it.

use std::time::Duration;

use serde::{Serialize, Serializer, ser};
use workfleet_causes::check_variants;
use workfleet_wire::message;

use crate::{
    DetailsDecodeError, DetailsError, EventLostError, HeartbeatError, RegisterError, Token, UnregisterError,
    WaitError,
    remote::{EventNameError, ProtocolError},
};

fn token() -> Token {
    Token::from("import/42")
}

fn too_large() -> DetailsError {
    DetailsError::TooLarge { len_bytes: 2000, limit_bytes: 1024 }
}

fn undecodable() -> workfleet_wire::DecodeError {
    message::decode::<u64>(&[]).expect_err("there is nothing")
}

#[test]
fn errors_of_details() {
    check_variants!(DetailsError {
        DetailsError::Encode(_) => DetailsError::Encode(message::encode(&Refuses).expect_err("it refuses")),
        DetailsError::TooLarge { .. } => too_large(),
    });
    check_variants!(DetailsDecodeError { _ => DetailsDecodeError { source: undecodable() } });
}

/// A value that refuses to be encoded.
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("it is told to"))
    }
}

#[test]
fn errors_of_heartbeaters() {
    check_variants!(RegisterError {
        RegisterError::Taken { .. } => RegisterError::Taken { token: token() },
        RegisterError::Stopped => RegisterError::Stopped,
        RegisterError::Forked => RegisterError::Forked,
        RegisterError::Refused { .. } => RegisterError::refused(token(), "the database is away"),
    });
    check_variants!(HeartbeatError {
        HeartbeatError::Details(_) => HeartbeatError::Details(too_large()),
        HeartbeatError::NotConnected => HeartbeatError::NotConnected,
        HeartbeatError::Forked => HeartbeatError::Forked,
        HeartbeatError::Refused { .. } => HeartbeatError::refused("the database is away"),
    });
    check_variants!(UnregisterError {
        UnregisterError::Unknown { .. } => UnregisterError::Unknown { token: token() },
        UnregisterError::InProgress { .. } => UnregisterError::InProgress { token: token() },
        UnregisterError::InsideCallback { .. } => UnregisterError::InsideCallback { token: token() },
        UnregisterError::FlushTimedOut { .. } => UnregisterError::FlushTimedOut {
            token: token(),
            workers: vec!["worker-0".to_owned()],
            callback_runs: true,
            after: Duration::from_secs(5),
        },
        UnregisterError::CallbackPanicked { .. } => {
            UnregisterError::CallbackPanicked { token: token(), message: "it broke".to_owned() }
        },
        UnregisterError::Stopped => UnregisterError::Stopped,
        UnregisterError::Forked => UnregisterError::Forked,
        UnregisterError::Refused { .. } => UnregisterError::refused(token(), "the database is away"),
    });
}

#[test]
fn errors_of_events() {
    check_variants!(EventLostError { EventLostError => EventLostError });
    check_variants!(WaitError {
        WaitError::TimedOut(_) => WaitError::TimedOut(Duration::from_millis(1)),
        WaitError::NoTimer => WaitError::NoTimer,
        WaitError::Lost(_) => WaitError::Lost(EventLostError),
    });
    check_variants!(EventNameError { _ => EventNameError { len_bytes: 2000 } });
}

#[test]
fn errors_of_other_processes() {
    let kind = workfleet_wire::Kind(0x30);
    check_variants!(ProtocolError {
        ProtocolError::Payload { .. } => ProtocolError::Payload { kind, source: undecodable() },
        ProtocolError::Direction { .. } => ProtocolError::Direction { kind },
        ProtocolError::Attachment { .. } => ProtocolError::Attachment { reason: "its name is too long".to_owned() },
    });
}
