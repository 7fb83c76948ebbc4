//! What two processes tell each other about events and beats, in the frames of [`EVENT_KINDS`](workfleet_wire::kinds::EVENT_KINDS).
//!
//! Parent is towards the process that started this one. What a frame is about was attached before, under a number that the
//! lower side chose and never uses again on that connection.

use serde::{Deserialize, Serialize};
use workfleet_wire::{DecodeError, Kind, Row, Rule, Table, message};

use crate::{Details, address::Address, cores::event::News};

/// Parent: something from further up is used here, under this number.
pub(super) const ATTACH: Kind = Kind(0x30);
/// Parent: the number is not used any more. Everything that was said under it came before.
pub(super) const DETACH: Kind = Kind(0x31);
/// Parent: an event was set or cleared. Answered by [`DONE`].
pub(super) const OPERATION: Kind = Kind(0x32);
/// Parent: the answer to [`STATE`].
pub(super) const TAKEN: Kind = Kind(0x33);
/// Parent: beats, one after the other.
pub(super) const BEATS: Kind = Kind(0x34);
/// Parent: the answer to [`FLUSH`].
pub(super) const FLUSHED: Kind = Kind(0x35);
/// Child: what an event is. Answered by [`TAKEN`].
pub(super) const STATE: Kind = Kind(0x38);
/// Child: the answer to [`OPERATION`].
pub(super) const DONE: Kind = Kind(0x39);
/// Child: the event that was attached is not there any more.
pub(super) const GONE: Kind = Kind(0x3a);
/// Child: send what beats there are, and say so when everybody below has done it too. Answered by [`FLUSHED`].
pub(super) const FLUSH: Kind = Kind(0x3b);

const fn to_parent(kind: Kind, name: &'static str) -> Row {
    Row::one(kind, name, Rule::Carries, Rule::Never)
}

const fn downwards(kind: Kind, name: &'static str) -> Row {
    Row::one(kind, name, Rule::Never, Rule::Carries)
}

/// The kinds of events and heartbeats. The manager is the process above, and a worker the one below.
///
/// ```
/// use workfleet_heartbeat::remote;
/// use workfleet_wire::Kind;
///
/// assert_eq!(remote::TABLE.named(Kind(0x34)).to_string(), "0x34 (BEATS)");
/// ```
pub static TABLE: Table = Table::new(&[
    to_parent(ATTACH, "ATTACH"),
    to_parent(DETACH, "DETACH"),
    to_parent(OPERATION, "OPERATION"),
    to_parent(TAKEN, "TAKEN"),
    to_parent(BEATS, "BEATS"),
    to_parent(FLUSHED, "FLUSHED"),
    downwards(STATE, "STATE"),
    downwards(DONE, "DONE"),
    downwards(GONE, "GONE"),
    downwards(FLUSH, "FLUSH"),
]);

/// The longest name of an event, in bytes.
pub const NAME_LIMIT_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Event,
    Sender,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attach {
    pub(super) number: u64,
    pub(super) what: What,
    pub(super) address: Address,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) number: u64,
    pub(super) news: News,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flush {
    pub(super) number: u64,
    pub(super) request: u64,
}

/// One of the beats in a frame of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    pub(super) number: u64,
    /// How many were superseded by this one on their way.
    pub(super) superseded: u64,
    pub(super) details: Details,
}

/// What another process sent does not fit here.
#[doc(alias = "Violation")]
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame's payload does not decode.
    #[error("the frame {} does not decode", TABLE.named(*.kind))]
    #[non_exhaustive]
    Payload {
        /// The frame's kind.
        kind: Kind,
        /// What was wrong.
        source: DecodeError,
    },
    /// A frame of this kind does not go this way.
    #[error("the frame {} does not go this way", TABLE.named(*.kind))]
    #[non_exhaustive]
    Direction {
        /// The frame's kind.
        kind: Kind,
    },
    /// Something was attached under a number that is in use, with a name that is too long, or beyond the limit.
    #[error("{reason}")]
    #[non_exhaustive]
    Attachment {
        /// What was wrong with it.
        reason: String,
    },
}

workfleet_causes::readable!(ProtocolError { Payload { kind, source }, Direction { kind }, Attachment { reason } });

pub(super) fn decode<'a, T: Deserialize<'a>>(kind: Kind, payload: &'a [u8]) -> Result<T, ProtocolError> {
    message::decode_borrowed(payload).map_err(|source| ProtocolError::Payload { kind, source })
}

/// The beats in a frame, one after the other.
pub(super) fn each_beat(mut payload: &[u8], mut each: impl FnMut(Beat)) -> Result<(), ProtocolError> {
    while !payload.is_empty() {
        let (beat, rest) = message::decode_prefix(payload)
            .map_err(|source| ProtocolError::Payload { kind: BEATS, source })?;
        each(beat);
        payload = rest;
    }
    Ok(())
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_into(value, &mut payload);
    payload
}

/// Numbers, texts and bytes always encode.
pub(super) fn encode_into<T: Serialize>(value: &T, payload: &mut Vec<u8>) {
    message::encode_into(value, payload)
        .unwrap_or_else(|error| unreachable!("numbers and bytes encode: {error}"));
}
