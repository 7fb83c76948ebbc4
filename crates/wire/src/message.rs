//! Typed messages: what a frame's payload means, by serde and postcard.
//!
//! - A payload is exactly one message: trailing bytes are an error.
//! - A message is data and never code.
//! - What is appended to a caller's vector is a whole message or nothing.
//!
//! The encoding is [postcard's wire format](https://postcard.jamesmunns.com/wire-format): compact, in field order, without
//! field names. So both sides must agree on the type; a handshake that compares versions makes sure of it.
//!
//! # What a hostile payload can cost
//! Memory follows the elements that are there, not the length that is claimed: a sequence reserves at most about 1 MiB
//! ahead of them. But an element that is one byte in a payload can be large in memory (`Option<[u64; 100]>`), so the limit on
//! frames bounds memory only together with the type. And two kinds of type should not be decoded at all from a peer that is
//! not trusted: sequences of elements that encode to nothing (`Vec<()>`), whose claimed length costs time, and types that
//! contain themselves (a list of boxes, a tree), whose depth costs stack.

use std::any::type_name;

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::append_or_restore;

/// A value that could not be encoded as a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not encode a value of type {type_name}")]
#[non_exhaustive]
pub struct EncodeError {
    /// The value's type.
    pub type_name: &'static str,
    /// What its `Serialize` or the format refused. The format keeps no text of an error that a `Serialize` raised itself.
    pub source: postcard::Error,
}

/// A payload that is not the message that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are no value of this type: they end too early, or hold what it cannot.
    #[error("{len_bytes} bytes are not a value of type {type_name}")]
    Malformed {
        /// The type that was expected.
        type_name: &'static str,
        /// The payload's length.
        len_bytes: usize,
        /// What the type's `Deserialize` or the format refused.
        source: postcard::Error,
    },
    /// A value of this type was there, and bytes after it.
    #[error("{trailing_bytes} of {len_bytes} bytes are left over after a value of type {type_name}")]
    Trailing {
        /// The type that was expected.
        type_name: &'static str,
        /// The payload's length.
        len_bytes: usize,
        /// How many bytes were left.
        trailing_bytes: usize,
    },
}

/// Encodes one message into a vector of its own.
///
/// [`decode`] gives the value back.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_wire::message;
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Progress {
///     files: u64,
///     name: String,
/// }
///
/// let progress = Progress { files: 3, name: "a".to_owned() };
/// let payload = message::encode(&progress)?;
/// assert_eq!(payload, b"\x03\x01a");
/// assert_eq!(message::decode::<Progress>(&payload)?, progress);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EncodeError`] if the value's `Serialize` fails, or uses what the format cannot express (a sequence of unknown length,
/// for one).
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends one message to `out`.
///
/// `out` gains a whole message or nothing: when the value's `Serialize` fails or panics, `out` is what it was before.
/// With [`encode_frame_with`](crate::encode_frame_with) a message goes straight into a frame.
///
/// ```
/// use workfleet_wire::{encode_frame_with, kinds, message};
///
/// let mut out = Vec::new();
/// encode_frame_with(kinds::MESSAGE, &mut out, |out| message::encode_into("hello", out))?;
/// assert_eq!(out, b"m\x06\0\0\0\0\0\0\0\x05hello");
/// # Ok::<(), workfleet_wire::EncodeError>(())
/// ```
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    append_or_restore(out, |out| postcard::serialize_with_flavor(value, Append(out)))
        .map_err(|source| EncodeError { type_name: type_name::<T>(), source })
}

/// Decodes a payload that is exactly one message.
///
/// ```
/// use workfleet_wire::{DecodeError, message};
///
/// assert_eq!(message::decode::<(u8, String)>(b"\x07\x02hi")?, (7, "hi".to_owned()));
///
/// let error = message::decode::<(u8, String)>(b"\x07\x02hi, there").unwrap_err();
/// assert!(matches!(error, DecodeError::Trailing { trailing_bytes: 7, .. }));
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Errors
/// - [`DecodeError::Malformed`]: the bytes are no value of this type.
/// - [`DecodeError::Trailing`]: they are more than one.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    decode_borrowed(payload)
}

/// Decodes a payload that is exactly one message, which may borrow from it.
///
/// ```
/// use workfleet_wire::message;
///
/// let payload = message::encode("not copied")?;
/// assert_eq!(message::decode_borrowed::<&str>(&payload)?, "not copied");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`decode`].
pub fn decode_borrowed<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    let (type_name, len_bytes) = (type_name::<T>(), payload.len());
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, trailing)) => {
            Err(DecodeError::Trailing { type_name, len_bytes, trailing_bytes: trailing.len() })
        }
        Err(source) => Err(DecodeError::Malformed { type_name, len_bytes, source }),
    }
}

/// Where the format writes to: the end of a vector that we keep, also when it fails.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde::Serializer;
    use serde::ser::Error as _;

    use super::*;

    /// Writes a byte, then fails or panics.
    struct Half {
        panics: bool,
    }

    impl Serialize for Half {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct Second(bool);
            impl Serialize for Second {
                fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                    if self.0 {
                        std::panic::resume_unwind(Box::new("a caller's bug"));
                    }
                    Err(S::Error::custom("refused"))
                }
            }
            (1_u8, Second(self.panics)).serialize(serializer)
        }
    }

    #[test]
    fn a_value_that_fails_leaves_nothing_and_is_named() {
        let mut out = b"before".to_vec();
        let error = encode_into(&Half { panics: false }, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        assert!(error.to_string().ends_with("::Half"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn a_value_that_panics_leaves_nothing() {
        let mut out = b"before".to_vec();
        let caught = catch_unwind(AssertUnwindSafe(|| encode_into(&Half { panics: true }, &mut out)));
        assert!(caught.is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn unsized_values_encode_as_their_owned_selves() {
        assert_eq!(encode("text"), encode(&"text".to_owned()));
        assert_eq!(encode(&[1_u32, 2, 3][..]), encode(&vec![1_u32, 2, 3]));
    }

    #[test]
    fn the_unit_encodes_to_nothing() {
        assert_eq!(encode(&()), Ok(vec![]));
        assert_eq!(decode::<()>(b""), Ok(()));
    }

    #[test]
    fn a_claimed_length_costs_no_memory_that_did_not_arrive() {
        // A vector of 2^63 strings, in eleven bytes.
        let hostile = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01a";
        assert!(matches!(decode::<Vec<String>>(hostile), Err(DecodeError::Malformed { len_bytes: 11, .. })));
        assert!(matches!(decode::<String>(hostile), Err(DecodeError::Malformed { .. })));
        assert!(matches!(decode_borrowed::<&[u8]>(hostile), Err(DecodeError::Malformed { .. })));
    }
}
