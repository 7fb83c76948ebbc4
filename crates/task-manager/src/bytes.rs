//! How bytes travel inside a message.

use serde::Serializer;

/// Writes bytes in one piece: the same message as one by one, which is how serde writes a slice.
pub(crate) fn at_once<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}
