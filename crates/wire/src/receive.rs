//! What the receiving functions make of a frame, blocking and asynchronous alike.

use serde::de::DeserializeOwned;

use crate::{FrameRef, Kind, ReceiveError, message};

impl FrameRef<'_> {
    /// What `receive_message` makes of a frame.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<(Kind, T), ReceiveError> {
        match message::decode(self.payload) {
            Ok(message) => Ok((self.kind, message)),
            Err(source) => Err(ReceiveError::Decode { kind: self.kind, source }),
        }
    }

    /// What `receive_type` makes of a frame.
    pub(crate) fn expect_type(self, expected: Kind) -> Result<(), ReceiveError> {
        if self.kind == expected && self.payload.is_empty() {
            Ok(())
        } else {
            Err(ReceiveError::Unexpected { expected, frame: self.to_frame() })
        }
    }
}
