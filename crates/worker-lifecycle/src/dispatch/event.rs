//! What handlers are registered for: `"type"` or `"type.tag"`.

use std::{error, fmt, str::FromStr};

/// A message that is an event of some type.
///
/// ```
/// use workfleet_worker_lifecycle::EventMessage;
///
/// enum Order {
///     Placed(u64),
///     Cancelled(u64),
/// }
///
/// impl EventMessage for Order {
///     fn event_type(&self) -> &str {
///         match self {
///             Self::Placed(_) => "placed",
///             Self::Cancelled(_) => "cancelled",
///         }
///     }
/// }
/// ```
pub trait EventMessage {
    /// The type, for which handlers are registered.
    fn event_type(&self) -> &str;
}

/// What a handler is registered for: a type of events, and a tag that tells it from other handlers of the same type.
///
/// Written `"type"` or `"type.tag"`. Neither part may have a dot in it, and neither may be empty.
///
/// ```
/// use workfleet_worker_lifecycle::DispatchEvent;
///
/// let event: DispatchEvent = "order.audit".parse()?;
/// assert_eq!((event.event_type(), event.tag()), ("order", "audit"));
/// assert_eq!("order".parse::<DispatchEvent>()?.tag(), "");
/// assert!("order.audit.again".parse::<DispatchEvent>().is_err());
/// # Ok::<(), workfleet_worker_lifecycle::DispatchEventError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DispatchEvent {
    event_type: String,
    tag: String,
}

impl DispatchEvent {
    pub(super) fn from_parts(event_type: &str, tag: &str) -> Self {
        Self { event_type: event_type.into(), tag: tag.into() }
    }

    /// The type of events.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The tag; empty if there is none.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl FromStr for DispatchEvent {
    type Err = DispatchEventError;

    fn from_str(text: &str) -> Result<Self, DispatchEventError> {
        let mut parts = text.split('.');
        let (event_type, tag) = (parts.next().unwrap_or_default(), parts.next());
        if event_type.is_empty() || tag == Some("") || parts.next().is_some() {
            return Err(DispatchEventError { text: text.into() });
        }
        Ok(Self::from_parts(event_type, tag.unwrap_or_default()))
    }
}

impl TryFrom<&str> for DispatchEvent {
    type Error = DispatchEventError;

    fn try_from(text: &str) -> Result<Self, DispatchEventError> {
        text.parse()
    }
}

impl fmt::Display for DispatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.event_type)?;
        if self.tag.is_empty() { Ok(()) } else { write!(f, ".{}", self.tag) }
    }
}

/// A text that is neither `type` nor `type.tag`.
#[doc(alias = "EventError")]
#[derive(Clone, PartialEq, Eq)]
pub struct DispatchEventError {
    text: String,
}

workfleet_causes::readable!(struct DispatchEventError { text });

impl DispatchEventError {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for DispatchEventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no event: it must be `type` or `type.tag`, without empty parts", self.text)
    }
}

impl error::Error for DispatchEventError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["order", "order.audit", "ärger.ß", "a b.c d"] {
            assert_eq!(text.parse::<DispatchEvent>().expect("an event").to_string(), text);
        }
    }

    #[test]
    fn malformed_events_are_errors_with_the_text() {
        for text in ["", ".", ".tag", "type.", "type..tag", "type.tag.more", ".."] {
            assert_eq!(text.parse::<DispatchEvent>().expect_err("no event").text(), text);
        }
    }
}
