//! The values that a manager gives to the sessions of its workers: [`Registry::session_with`](crate::Registry::session_with).
//!
//! Invariants:
//! - The manager encodes a value once, when it starts; each worker decodes it for itself. The value that a worker's own copy
//!   of the program has is never used, nor encoded.
//! - A value reaches the session that it was registered for, as the type that it was registered as, or the worker does not
//!   start.

use std::{any::type_name, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use workfleet_heartbeat::remote::Pins;
use workfleet_wire::{EncodeError, message};

use workfleet_causes::{joined, with_sources};

use crate::{bytes::at_once, error::TaskError};

/// The value of a session, in the program that registers it.
#[derive(Clone)]
pub(crate) struct OwnValue {
    type_name: &'static str,
    encode: Arc<dyn Fn() -> Result<Vec<u8>, EncodeError> + Send + Sync>,
}

impl OwnValue {
    pub(crate) fn new<V: Serialize + DeserializeOwned + Send + Sync + 'static>(value: V) -> Self {
        Self { type_name: type_name::<V>(), encode: Arc::new(move || message::encode_checked(&value)) }
    }
}

/// The values for all sessions of a registry, as they travel.
#[derive(Default)]
pub(crate) struct SessionValues {
    /// Encoded [`GivenValue`]s; nothing at all if there are none.
    bytes: Vec<u8>,
    /// What the values refer to lives for as long as this.
    pins: Pins,
}

/// The value for one session, as it travels.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct GivenValue<'a> {
    /// The type of the session.
    pub(crate) session: &'a str,
    /// The type of the value.
    type_name: &'a str,
    #[serde(serialize_with = "at_once")]
    encoded: &'a [u8],
}

/// Sessions could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionFailed {
    /// What the manager gives does not fit what the worker's registry takes. That will not change.
    Value(String),
    /// By what makes them.
    Made(String),
}

impl SessionFailed {
    pub(crate) fn making(session: &str, error: &TaskError) -> Self {
        Self::Made(format!("session {session}: {}", joined(error.chain())))
    }

    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Value(reason) | Self::Made(reason) => reason,
        }
    }
}

impl SessionValues {
    /// Encodes the values of these sessions; an error names the session.
    pub(crate) fn encode<'a>(
        sessions: impl Iterator<Item = (&'static str, &'a OwnValue)>,
    ) -> Result<Self, (&'static str, EncodeError)> {
        let (bytes, pins) = Pins::of(|| {
            let mut values = Vec::new();
            for (session, value) in sessions {
                let encoded = (value.encode)().map_err(|error| (session, error))?;
                values.push((session, value.type_name, encoded));
            }
            let given: Vec<_> = values
                .iter()
                .map(|(session, type_name, encoded)| GivenValue { session, type_name, encoded })
                .collect();
            let name = values.first().map_or("", |(session, ..)| session);
            if given.is_empty() {
                Ok(Vec::new())
            } else {
                message::encode(&given).map_err(|error| (name, error))
            }
        });
        Ok(Self { bytes: bytes?, pins })
    }

    /// As they came.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, pins: Pins::default() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What they refer to, to be kept while they may be used.
    pub(crate) fn into_pins(self) -> Pins {
        self.pins
    }

    /// Each of them.
    pub(crate) fn given(&self) -> Result<Vec<GivenValue<'_>>, SessionFailed> {
        if self.bytes.is_empty() {
            return Ok(Vec::new());
        }
        message::decode_borrowed(&self.bytes).map_err(|error| {
            SessionFailed::Value(format!(
                "the manager's values for sessions do not decode: {}",
                with_sources(&error)
            ))
        })
    }
}

impl GivenValue<'_> {
    /// The value that `session` takes, of those that were given for it: one of type `V`.
    pub(crate) fn take<V: DeserializeOwned>(given: Option<&Self>, session: &str) -> Result<V, SessionFailed> {
        let wanted = type_name::<V>();
        let Some(given) = given else {
            let reason = format!(
                "the session {session} takes a value of type {wanted}, and its manager gives it none"
            );
            return Err(SessionFailed::Value(reason));
        };
        if given.type_name != wanted {
            let found = given.type_name;
            let reason = format!(
                "the session {session} takes a value of type {wanted}, and its manager gives it a {found}"
            );
            return Err(SessionFailed::Value(reason));
        }
        message::decode(given.encoded).map_err(|error| {
            let reason = with_sources(&error);
            SessionFailed::Value(format!(
                "the value for the session {session} does not decode as {wanted}: {reason}"
            ))
        })
    }

    /// What is wrong if the worker's registry has no session that takes this value.
    pub(crate) fn taken_by_none(&self) -> SessionFailed {
        let Self { session, type_name, .. } = self;
        let reason = format!(
            "the manager gives a value of type {type_name} to the session {session}, and the worker's registry has no such \
             session that takes one"
        );
        SessionFailed::Value(reason)
    }
}
