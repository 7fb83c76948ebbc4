//! Typed messages: what a frame's payload means, by serde and postcard.
//!
//! - A payload is exactly one message: trailing bytes are an error.
//! - A message is data and never code.
//! - What is appended to a caller's vector is a whole message or nothing.
//! - A value whose type reads what it writes arrives as it was sent. For other types, see below what is an error where.
//!
//! The encoding is [postcard's wire format](https://postcard.jamesmunns.com/wire-format): compact, in field order, without
//! field names. So both sides must agree on the type; a handshake that compares versions makes sure of it.
//!
//! # What travels, and what does not
//! The format has no names, and does not say what comes next. So a type must read exactly what it writes. The attributes of
//! serde, and what becomes of them:
//!
//! | serde | | error |
//! |---|---|---|
//! | `rename`, `rename_all`, `default`, `alias`, `deny_unknown_fields`, `bound`, `crate`, `borrow` | travels | |
//! | `transparent`, `from`, `try_from`, `into`, `remote`, and `with` whose two functions fit each other | travels | |
//! | `skip` of a field; the field is made anew where it arrives | travels | |
//! | `skip` of a variant behind all others | travels, but for that variant | [`Refused`](EncodeErrorKind::Refused) |
//! | `skip`, `skip_deserializing` of a variant before others | those others are refused, by `*_checked` | [`Asymmetric`](EncodeErrorKind::Asymmetric) |
//! | `skip_serializing_if`, once it skips | refused | [`SkippedField`](EncodeErrorKind::SkippedField) |
//! | `skip_serializing_if` in a tuple struct, once it skips | refused, by `*_checked` | [`Asymmetric`](EncodeErrorKind::Asymmetric) |
//! | `skip_serializing` or `skip_deserializing` of a field, one without the other | refused, by `*_checked` | [`Asymmetric`](EncodeErrorKind::Asymmetric) |
//! | `serialize_with`, `deserialize_with`, or an implementation by hand, that do not fit each other | refused, by `*_checked` | [`Asymmetric`](EncodeErrorKind::Asymmetric) |
//! | `flatten`, and a map that does not know its length | refused | [`UnknownLength`](EncodeErrorKind::UnknownLength) |
//! | `untagged`, `tag`, `tag` with `content`, and what takes any value (`serde_json::Value`, `IgnoredAny`) | refused, by `*_checked` | [`SelfDescribing`](EncodeErrorKind::SelfDescribing) |
//! | a sequence that does not know its length, or tells a wrong one | travels, with the length that it has | |
//! | a `Serialize` that fails: a path that is not UTF-8, a time before 1970 | refused, in its own words | [`Refused`](EncodeErrorKind::Refused) |
//! | values that nest beyond [`NESTING_LIMIT`] | refused, and an error where they arrive | [`TooDeep`](EncodeErrorKind::TooDeep) |
//!
//! [`encode`] and [`encode_into`] find only what writing a value shows. [`encode_checked`] and [`encode_checked_into`] also find what
//! only reading it back shows. Without them, such a value is an error where it arrives, or arrives as another value.
//!
//! # What is checked where a value is sent
//! The checked functions read a message back before they return it. They compare what the type wrote with what it asked to read:
//!
//! - in builds with debug assertions, for every value;
//! - in other builds, for the first [`CHECKED_VALUES`] values of each type, and later for each value with a struct or variant in
//!   it that no earlier value of its type had.
//!
//! All other values are written once, as [`encode_into`] writes them. Each struct and variant in them costs one look into a
//! table.
//!
//! The comparison is of kinds, not of values. So maps without an order, and numbers that differ each time they are read, pass.
//! The copy is dropped; [`is_dry_run`] tells a type that it is a copy. If the type's own `Deserialize` refuses the copy or panics, the
//! value is sent all the same: the receiver may accept it.
//!
//! # What a hostile payload can cost
//! Memory follows the elements that are there, not the claimed length: a sequence reserves at most about 1 MiB ahead. But an
//! element of one byte in the payload can be large in memory (`Option<[u64; 100]>`). So the frame limit bounds memory only
//! together with the type. [`NESTING_LIMIT`] bounds the stack, also for a type that contains itself.
//!
//! Do not decode sequences of elements that encode to nothing (`Vec<()>`) from a peer that you do not trust: their claimed
//! length costs time.

mod check;
mod decoder;
mod depth;
mod encoder;
mod error;
mod probe;
mod seen;
mod trace;

use std::any::type_name;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::restore::append_or_restore;
use check::Verdict;
use decoder::Decoder;
use encoder::Encoder;
use error::Fault;
use seen::{Key, Sites};

pub use check::is_dry_run;
pub use depth::NESTING_LIMIT;
pub use error::{DecodeError, EncodeError, EncodeErrorKind, Member, Place};

/// How many values of each type [`encode_checked`] reads back, in builds without debug assertions.
pub const CHECKED_VALUES: u32 = 16;

/// Encodes one message into a new vector.
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
/// [`EncodeError`]: the value's `Serialize` fails, skips a field, writes a map of unknown length, or nests beyond
/// [`NESTING_LIMIT`]. What only reading shows is found by [`encode_checked`].
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
/// use workfleet_wire::{Kind, encode_frame_with, message};
///
/// let mut out = Vec::new();
/// encode_frame_with(Kind(b'm'), &mut out, |out| message::encode_into("hello", out))?;
/// assert_eq!(out, b"m\x06\0\0\0\0\0\0\0\x05hello");
/// # Ok::<(), workfleet_wire::EncodeError>(())
/// ```
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    append_or_restore(out, |out| value.serialize(&mut Encoder::new(out, ())))
        .map_err(|fault: Fault| fault.into_encode_error(type_name::<T>()))
}

/// Encodes one message into a new vector, and checks that it can be read back.
///
/// As [`encode`]. Then the message is [read back](self#what-is-checked-where-a-value-is-sent): if the type does not read what it
/// writes, that is an error here.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_wire::message::{self, EncodeErrorKind};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(untagged)]
/// enum Shape { Square(f32), Label(String) }
///
/// let error = message::encode_checked(&Shape::Square(1.5)).unwrap_err();
/// assert!(matches!(error.kind(), EncodeErrorKind::SelfDescribing { .. }));
/// assert!(error.to_string().contains("::Shape` is an untagged enum"), "{error}");
/// ```
///
/// # Errors
/// [`EncodeError`]: what [`encode`] refuses, and what would arrive as something else or not at all.
pub fn encode_checked<T>(value: &T) -> Result<Vec<u8>, EncodeError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let mut out = Vec::new();
    encode_checked_into(value, &mut out)?;
    Ok(out)
}

/// Appends one message to `out`, and checks that it can be read back.
///
/// As [`encode_into`], with the check of [`encode_checked`].
///
/// # Errors
/// As [`encode_checked`].
pub fn encode_checked_into<T>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    if is_dry_run() {
        // What is written while another value is checked goes nowhere.
        return encode_into(value, out);
    }
    let key = Key::of::<T>();
    append_or_restore(out, |out| {
        if cfg!(debug_assertions) || key.times_seen() < u64::from(CHECKED_VALUES) {
            return encode_and_check(value, key, out);
        }
        let mut sites = Sites::new(key);
        let encoded = value.serialize(&mut Encoder::new(out, &mut sites));
        encoded.map_err(|fault| fault.into_encode_error(type_name::<T>()))?;
        if sites.any_new() { check_again(value, key) } else { Ok(()) }
    })
}

#[cold]
fn encode_and_check<T>(value: &T, key: Key, out: &mut Vec<u8>) -> Result<(), EncodeError>
where
    T: Serialize + DeserializeOwned,
{
    let start = out.len();
    let written = check::write(value, key, out).map_err(|fault| fault.into_encode_error(type_name::<T>()))?;
    match check::check(value, &out[start..], &written) {
        Verdict::Arrives => {
            key.count();
            written.count();
            Ok(())
        }
        Verdict::Unsure => Ok(()),
        Verdict::Refused(error) => Err(error),
    }
}

/// A value that was written has something in it that was not seen in its type before.
#[cold]
fn check_again<T>(value: &T, key: Key) -> Result<(), EncodeError>
where
    T: Serialize + DeserializeOwned,
{
    match encode_and_check(value, key, &mut Vec::new()) {
        // It was written before, and only now fails to be: it is what it was.
        Err(error) if matches!(error.kind(), EncodeErrorKind::Refused { .. }) => Ok(()),
        checked => checked,
    }
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
/// - [`DecodeError::Malformed`], [`DecodeError::Refused`]: the bytes are no value of this type.
/// - [`DecodeError::Trailing`]: they are more than one.
/// - [`DecodeError::TooDeep`]: they nest beyond [`NESTING_LIMIT`].
/// - [`DecodeError::SelfDescribing`]: no value of this type can be decoded.
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
    match decode_prefix(payload)? {
        (value, []) => Ok(value),
        (_, trailing) => Err(DecodeError::Trailing {
            type_name: type_name::<T>(),
            len_bytes: payload.len(),
            trailing_bytes: trailing.len(),
        }),
    }
}

/// Decodes the message at the front of a payload that may hold several, and gives the rest.
///
/// ```
/// use workfleet_wire::message;
///
/// let mut payload = message::encode("one")?;
/// message::encode_into(&2_u8, &mut payload)?;
/// let (first, rest) = message::decode_prefix::<&str>(&payload)?;
/// assert_eq!((first, rest), ("one", &[2][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`decode`], except [`DecodeError::Trailing`].
pub fn decode_prefix<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    let mut decoder = Decoder::new(payload, ());
    match T::deserialize(&mut decoder) {
        Ok(value) => Ok((value, decoder.rest())),
        Err(fault) => Err(fault.into_decode_error(type_name::<T>(), payload.len())),
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
        assert!(error.to_string().ends_with("::Half`: refused"), "{error}");
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
