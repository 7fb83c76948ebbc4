//! What receiving decides, blocking and asynchronous alike: they differ in how one read is made.

use std::io;

use serde::de::DeserializeOwned;

use crate::{Decoder, FrameRef, Kind, ReceiveError, message};

impl Decoder {
    /// Takes in what one read into [`spare`](Self::spare) has come to. `false`: the stream has ended, between two frames.
    #[inline]
    pub(crate) fn take_in(&mut self, read: io::Result<usize>) -> Result<bool, ReceiveError> {
        match read {
            Ok(0) => {
                self.finish()?;
                return Ok(false);
            }
            Ok(n_bytes) => self.advance(n_bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

/// The methods that each `Reader` has, with fields `io` and `decoder`.
macro_rules! parts_of_every_reader {
    () => {
        /// Receives frames with payloads up to 64 MiB ([`DEFAULT_FRAME_LIMIT_BYTES`](crate::DEFAULT_FRAME_LIMIT_BYTES)).
        pub fn new(io: R) -> Self {
            Self::from_parts(io, Decoder::default())
        }

        /// Receives frames with payloads up to `limit_bytes`.
        pub fn with_limit(io: R, limit_bytes: u64) -> Self {
            Self::from_parts(io, Decoder::new(limit_bytes))
        }

        /// Goes on where another reader stopped: `decoder` holds what was read ahead from `io`.
        pub fn from_parts(io: R, decoder: Decoder) -> Self {
            Self { io, decoder }
        }

        /// The reader and what was read ahead from it, so that another, blocking or asynchronous, can go on.
        pub fn into_parts(self) -> (R, Decoder) {
            (self.io, self.decoder)
        }

        /// The reader that frames are read from.
        pub fn get_ref(&self) -> &R {
            &self.io
        }

        /// The reader that frames are read from, to write to a socket or to change its settings. Bytes read from it here
        /// are missing in the frames.
        pub fn get_mut(&mut self) -> &mut R {
            &mut self.io
        }
    };
}
pub(crate) use parts_of_every_reader;

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
