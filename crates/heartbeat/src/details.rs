//! What a beat says beside that it came: any value that can be serialised, encoded where it is sent.
//!
//! Invariant: no more than [`DETAILS_LIMIT_BYTES`] of them, so that what is kept of a token is bounded.

use std::{cell::Cell, fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use workfleet_wire::{DecodeError, EncodeError, message};

/// The largest details, encoded: 64 KiB.
pub const DETAILS_LIMIT_BYTES: usize = 64 * 1024;

/// A beat's details, encoded. Cloning shares them.
///
/// ```
/// use workfleet_heartbeat::Details;
///
/// let details = Details::encode(&("frame", 42_u32))?;
/// assert_eq!(details.decode::<(String, u32)>()?, ("frame".to_owned(), 42));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Details(Arc<[u8]>);

/// Details that cannot be sent.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetailsError {
    /// The value does not travel.
    #[error("the details cannot be encoded: {0}")]
    Encode(EncodeError),
    /// They exceed [`DETAILS_LIMIT_BYTES`].
    #[error("the details have {len_bytes} bytes, of {limit_bytes} that are allowed")]
    #[non_exhaustive]
    TooLarge {
        /// Their length.
        len_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
}

workfleet_causes::readable!(DetailsError { Encode(error), TooLarge { len_bytes, limit_bytes } });

/// Details that are not a value of the type that was expected.
#[doc(alias = "DetailsMismatch")]
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub struct DetailsDecodeError {
    /// What was wrong.
    #[from]
    pub source: DecodeError,
}

workfleet_causes::readable!(struct DetailsDecodeError { source });

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Details {
    /// Encodes `value` as a [message](workfleet_wire::message): field after field, without names. A value that would lose something,
    /// such as a field that `skip_serializing_if` skips, is refused. But the value is not read back here. So a type that cannot be
    /// read back is encoded, and [`decode`](Self::decode) then fails: an enum with `#[serde(untagged)]`, for example.
    ///
    /// # Errors
    /// [`DetailsError`]: it cannot be encoded, or is larger than [`DETAILS_LIMIT_BYTES`].
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, DetailsError> {
        // Encoded into a buffer that stays, then copied: one allocation of just the right size. It is taken out while in
        // use, because a value's `Serialize` may encode another.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        message::encode_into(value, &mut scratch).map_err(DetailsError::Encode)?;
        let details = Self::from_encoded(&scratch);
        if details.is_ok() {
            // An error means that this thread ends.
            let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        details
    }

    /// Takes what [`as_bytes`](Self::as_bytes) gave elsewhere.
    ///
    /// # Errors
    /// [`DetailsError::TooLarge`].
    pub fn from_encoded(bytes: &[u8]) -> Result<Self, DetailsError> {
        let (len_bytes, limit_bytes) = (bytes.len(), DETAILS_LIMIT_BYTES);
        if len_bytes > limit_bytes {
            return Err(DetailsError::TooLarge { len_bytes, limit_bytes });
        }
        Ok(Self(bytes.into()))
    }

    /// The value.
    ///
    /// # Errors
    /// [`DetailsDecodeError`]: they are not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DetailsDecodeError> {
        Ok(message::decode(&self.0)?)
    }

    /// Their bytes: the value in [postcard's format](https://postcard.jamesmunns.com/wire-format).
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Details({} bytes)", self.0.len())
    }
}

impl Serialize for Details {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl serde::de::Visitor<'_> for Bytes {
            type Value = Details;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {DETAILS_LIMIT_BYTES} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Details, E> {
                Details::from_encoded(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_refuses_to_be_encoded_is_its_senders_error() {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("never"))
            }
        }
        let error = Details::encode(&Refuses).expect_err("it refuses");
        assert!(matches!(error, DetailsError::Encode(_)), "{error:?}");
        assert!(error.to_string().ends_with("::Refuses`: never"), "{error}");
        assert_eq!(Details::encode(&1_u8).expect("it encodes").as_bytes(), [1]);
    }

    #[test]
    fn details_end_at_the_limit() {
        // Two bytes, or three, are the length.
        let most = vec![7_u8; DETAILS_LIMIT_BYTES - 3];
        assert_eq!(
            Details::encode(&most).expect("they fit").decode::<Vec<u8>>().expect("they are that"),
            most
        );
        let len_bytes = DETAILS_LIMIT_BYTES + 1;
        let error = Details::encode(&vec![7_u8; DETAILS_LIMIT_BYTES - 2]).expect_err("one too many");
        assert_eq!(error, DetailsError::TooLarge { len_bytes, limit_bytes: DETAILS_LIMIT_BYTES });
    }

    #[test]
    fn details_of_another_type_are_an_error() {
        let details = Details::encode(&300_u32).expect("it encodes");
        let error = details.decode::<String>().expect_err("they are a number");
        assert!(matches!(error.source, DecodeError::Malformed { len_bytes: 2, .. }), "{error}");
        let pair = Details::encode(&(1_u8, 2_u8)).expect("it encodes");
        let error = pair.decode::<u8>().expect_err("they are two");
        assert!(matches!(error.source, DecodeError::Trailing { trailing_bytes: 1, .. }), "{error}");
    }

    #[test]
    fn they_travel_inside_other_values() {
        let details = Details::encode("half way").expect("it encodes");
        let outer = Details::encode(&(details.clone(), 1_u8)).expect("it encodes");
        assert_eq!(outer.decode::<(Details, u8)>().expect("it is that"), (details, 1));
    }
}
