//! What can go wrong with a message, as its user sees it and as it travels through serde.
//!
//! - Each text names the type, and the place in it as far as serde tells.
//! - The words of a type's own `Serialize` or `Deserialize` are kept: postcard's error would drop them.

use std::fmt;

use super::depth::TooDeep;

/// Where in a value something is: a field of a struct, or a variant of an enum, by serde's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Place {
    /// The struct or enum.
    pub container: &'static str,
    /// The field of the struct, or of the variant; or the variant itself.
    pub member: Member,
}

/// A part of a struct or enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Member {
    /// A field with a name.
    Field(&'static str),
    /// An element, counted from 0.
    Element(usize),
    /// A variant.
    Variant(&'static str),
}

impl Place {
    pub(super) fn field(container: &'static str, field: &'static str) -> Self {
        Self { container, member: Member::Field(field) }
    }

    pub(super) fn element(container: &'static str, index: usize) -> Self {
        Self { container, member: Member::Element(index) }
    }

    pub(super) fn variant(container: &'static str, variant: &'static str) -> Self {
        Self { container, member: Member::Variant(variant) }
    }

    /// Without the container's name if that is the type itself, which the text has named before.
    fn within(self, type_name: &str) -> impl fmt::Display {
        let outermost = type_name.split('<').next().unwrap_or(type_name);
        let outermost = outermost.rsplit("::").next().unwrap_or(outermost);
        let is_outermost = outermost == self.container;
        FormatWith(move |f: &mut fmt::Formatter<'_>| match is_outermost {
            true => write!(f, "{}", self.member),
            false => write!(f, "{self}"),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`", self.member, self.container)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, "field `{name}`"),
            Self::Element(index) => write!(f, "element {index}"),
            Self::Variant(name) => write!(f, "variant `{name}`"),
        }
    }
}

struct FormatWith<F>(F);

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for FormatWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// A value that cannot be encoded as a message. Nothing of it was written.
///
/// ```
/// use serde::Serialize;
/// use workfleet_wire::message::{self, EncodeErrorKind};
///
/// #[derive(Serialize)]
/// struct Order {
///     #[serde(skip_serializing_if = "Option::is_none")]
///     note: Option<String>,
/// }
///
/// let error = message::encode(&Order { note: None }).unwrap_err();
/// assert!(matches!(error.kind(), EncodeErrorKind::SkippedField { field: "note", .. }));
/// assert!(error.to_string().ends_with(
///     "::Order`: field `note` was skipped (`skip_serializing_if`): values that travel have all their fields; \
///      remove the attribute"
/// ));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EncodeError {
    type_name: &'static str,
    place: Option<Place>,
    kind: EncodeErrorKind,
}

workfleet_causes::readable!(struct EncodeError { type_name, place, kind });

/// Why a value cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// A field was skipped. The format has no names of fields, so the reader would take the next field for it.
    #[non_exhaustive]
    SkippedField {
        /// The field, by serde's name.
        field: &'static str,
    },
    /// A map does not know its length beforehand, as a struct with `#[serde(flatten)]` does not.
    UnknownLength,
    /// To read the type, the format would have to say what comes next, and it does not. Such types are enums with
    /// `untagged` or `tag`, types with `#[serde(flatten)]`, and types that take any value.
    #[non_exhaustive]
    SelfDescribing {
        /// What asked, as far as serde tells.
        asked: String,
    },
    /// The type does not read what it wrote.
    #[non_exhaustive]
    Asymmetric {
        /// Where reading and writing differ.
        reason: String,
    },
    /// The value's own `Serialize` failed.
    #[non_exhaustive]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The value is nested beyond [`NESTING_LIMIT`](super::NESTING_LIMIT).
    #[non_exhaustive]
    TooDeep {
        /// The limit.
        limit: u32,
    },
    /// The format could not write it.
    Format(postcard::Error),
}

impl EncodeError {
    pub(super) fn new(type_name: &'static str, place: Option<Place>, kind: EncodeErrorKind) -> Self {
        Self { type_name, place, kind }
    }

    /// For a value that nests others beyond a limit of its own: `limit` is what it allows.
    ///
    /// ```
    /// let error = workfleet_wire::EncodeError::too_deep::<Vec<u8>>(16);
    /// assert_eq!(error.to_string(), "`alloc::vec::Vec<u8>` is nested more than 16 levels deep");
    /// ```
    #[must_use]
    pub fn too_deep<T: ?Sized>(limit: u32) -> Self {
        Self::new(std::any::type_name::<T>(), None, EncodeErrorKind::TooDeep { limit })
    }

    /// The value's type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// The innermost known place in the value. `None` if that is the value itself.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &EncodeErrorKind {
        &self.kind
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.type_name)?;
        let place = self.place.map(|place| place.within(self.type_name));
        match (&self.kind, place) {
            (EncodeErrorKind::SkippedField { field }, place) => {
                match place {
                    Some(place) => write!(f, ": {place}")?,
                    None => write!(f, ": field `{field}`")?,
                }
                f.write_str(
                    " was skipped (`skip_serializing_if`): values that travel have all their fields; remove the attribute",
                )
            }
            (EncodeErrorKind::UnknownLength, place) => {
                match place {
                    Some(place) => write!(f, ": {place} is")?,
                    None => f.write_str(" is")?,
                }
                f.write_str(
                    " a map whose length is not known beforehand (`#[serde(flatten)]`): \
                     give the flattened fields a field of their own, or the map its length",
                )
            }
            (EncodeErrorKind::SelfDescribing { asked }, place) => {
                match place {
                    Some(place) => write!(f, ": {place} is")?,
                    None => f.write_str(" is")?,
                }
                write!(
                    f,
                    " {asked}: it asks what comes next when it is read, and a message does not say; \
                     remove the attribute, or use a type that knows its parts"
                )
            }
            (EncodeErrorKind::TooDeep { limit }, _) => {
                write!(f, " is nested more than {limit} levels deep")
            }
            (EncodeErrorKind::Asymmetric { reason } | EncodeErrorKind::Refused { reason }, place) => {
                match place {
                    Some(place) => write!(f, ": {place}: {reason}"),
                    None => write!(f, ": {reason}"),
                }
            }
            (EncodeErrorKind::Format(error), Some(place)) => write!(f, ": {place}: {error}"),
            (EncodeErrorKind::Format(error), None) => write!(f, ": {error}"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// A payload that is not the expected message.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not a value of this type: they end too early, or have a value that it does not allow.
    #[error("{len_bytes} bytes are not a value of type {type_name}")]
    Malformed {
        /// The type that was expected.
        type_name: &'static str,
        /// The payload's length.
        len_bytes: usize,
        /// What the format refused.
        source: postcard::Error,
    },
    /// The type's own `Deserialize` refused what the bytes hold.
    #[error("{len_bytes} bytes are not a value of type {type_name}: {reason}")]
    #[non_exhaustive]
    Refused {
        /// The type that was expected.
        type_name: &'static str,
        /// The payload's length.
        len_bytes: usize,
        /// What it said, and where.
        reason: String,
    },
    /// To read the type, the format would have to say what comes next, and it does not. So no value of this type can be
    /// decoded.
    #[error(
        "a value of type {type_name} cannot be decoded: {asked} asks what comes next, and a message does not say"
    )]
    #[non_exhaustive]
    SelfDescribing {
        /// The type that was expected.
        type_name: &'static str,
        /// What asked, as far as serde tells.
        asked: String,
    },
    /// The bytes nest values beyond [`NESTING_LIMIT`](super::NESTING_LIMIT).
    #[error("{len_bytes} bytes nest a value of type {type_name} more than {limit} levels deep")]
    #[non_exhaustive]
    TooDeep {
        /// The type that was expected.
        type_name: &'static str,
        /// The payload's length.
        len_bytes: usize,
        /// The limit.
        limit: u32,
    },
    /// There are bytes left after a value of this type.
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

workfleet_causes::readable!(DecodeError {
    Malformed { type_name, len_bytes, source },
    Refused { type_name, len_bytes, reason },
    SelfDescribing { type_name, asked },
    TooDeep { type_name, len_bytes, limit },
    Trailing { type_name, len_bytes, trailing_bytes },
});

/// The error that goes through serde: one pointer, so that it costs nothing where nothing fails.
#[derive(Debug)]
pub(super) struct Fault(Box<(FaultKind, Option<Place>)>);

#[derive(Debug)]
pub(super) enum FaultKind {
    /// In the type's own words.
    Own(String),
    /// In serde's words: what came is not what the type expects.
    Shape(String),
    Format(postcard::Error),
    TooDeep,
    SkippedField(&'static str),
    UnknownLength,
    SelfDescribing(String),
}

impl Fault {
    #[cold]
    pub(super) fn new(kind: FaultKind) -> Self {
        Self(Box::new((kind, None)))
    }

    /// Names the place, unless one further in is known.
    #[cold]
    pub(super) fn at(mut self, place: Place) -> Self {
        self.0.1.get_or_insert(place);
        self
    }

    pub(super) fn kind(&self) -> &FaultKind {
        &self.0.0
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.0.1
    }

    pub(super) fn into_encode_error(self, type_name: &'static str) -> EncodeError {
        let (kind, place) = *self.0;
        let kind = match kind {
            FaultKind::Own(reason) | FaultKind::Shape(reason) => EncodeErrorKind::Refused { reason },
            FaultKind::Format(error) => EncodeErrorKind::Format(error),
            FaultKind::TooDeep => EncodeErrorKind::TooDeep { limit: super::depth::NESTING_LIMIT },
            FaultKind::SkippedField(field) => EncodeErrorKind::SkippedField { field },
            FaultKind::UnknownLength => EncodeErrorKind::UnknownLength,
            FaultKind::SelfDescribing(asked) => EncodeErrorKind::SelfDescribing { asked },
        };
        EncodeError::new(type_name, place, kind)
    }

    pub(super) fn into_decode_error(self, type_name: &'static str, len_bytes: usize) -> DecodeError {
        let (kind, place) = *self.0;
        match kind {
            FaultKind::Own(reason) | FaultKind::Shape(reason) => {
                let reason = match place {
                    Some(place) => format!("{}: {reason}", place.within(type_name)),
                    None => reason,
                };
                DecodeError::Refused { type_name, len_bytes, reason }
            }
            FaultKind::Format(source) => DecodeError::Malformed { type_name, len_bytes, source },
            FaultKind::TooDeep => {
                DecodeError::TooDeep { type_name, len_bytes, limit: super::depth::NESTING_LIMIT }
            }
            FaultKind::SelfDescribing(asked) => DecodeError::SelfDescribing { type_name, asked },
            FaultKind::SkippedField(_) | FaultKind::UnknownLength => {
                unreachable!("only what is written skips fields or has no length")
            }
        }
    }
}

impl From<postcard::Error> for Fault {
    #[cold]
    fn from(error: postcard::Error) -> Self {
        Self::new(FaultKind::Format(error))
    }
}

impl From<TooDeep> for Fault {
    #[cold]
    fn from(TooDeep: TooDeep) -> Self {
        Self::new(FaultKind::TooDeep)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            FaultKind::Own(text) | FaultKind::Shape(text) => f.write_str(text),
            FaultKind::Format(error) => write!(f, "{error}"),
            FaultKind::TooDeep => {
                write!(f, "it is nested more than {} levels deep", super::depth::NESTING_LIMIT)
            }
            FaultKind::SkippedField(field) => write!(f, "field `{field}` was skipped"),
            FaultKind::UnknownLength => f.write_str("a map of unknown length"),
            FaultKind::SelfDescribing(asked) => write!(f, "{asked} asks what comes next"),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::new(FaultKind::Own(message.to_string()))
    }
}

impl serde::de::Error for Fault {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::new(FaultKind::Own(message.to_string()))
    }

    #[cold]
    fn invalid_type(unexpected: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::new(FaultKind::Shape(format!("invalid type: {unexpected}, expected {expected}")))
    }

    #[cold]
    fn invalid_value(unexpected: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::new(FaultKind::Shape(format!("invalid value: {unexpected}, expected {expected}")))
    }

    #[cold]
    fn invalid_length(len: usize, expected: &dyn serde::de::Expected) -> Self {
        Self::new(FaultKind::Shape(format!("invalid length {len}, expected {expected}")))
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        Self::new(FaultKind::Shape(format!("missing field `{field}`")))
    }
}
