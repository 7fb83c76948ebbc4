//! What each worker sets up once: the makers of its sessions, and the values that the manager gives to them.
//!
//! Invariants:
//! - A type has one maker. Sessions are made in the order of registration, up to one that cannot be made.
//! - A value that no maker takes is an error, so that a worker whose program has another registry does not start.

use std::{
    any::{Any, TypeId, type_name},
    fmt,
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use workfleet_wire::EncodeError;

use crate::{
    error::TaskError,
    run::sessions::{AnySession, Sessions},
    session_values::{GivenValue, OwnValue, SessionFailed, SessionValues},
};

/// The makers of all sessions, in the order of registration.
#[derive(Clone, Default)]
pub(super) struct SessionMakers(Vec<SessionMaker>);

/// What makes the session of one type.
#[derive(Clone)]
pub(super) struct SessionMaker {
    type_id: TypeId,
    type_name: &'static str,
    /// What [`Registry::session_with`](crate::Registry::session_with) was given.
    own_value: Option<OwnValue>,
    make: Arc<MakeSession>,
}

/// Makes a session, of the value that the manager gives it, if any.
type MakeSession = dyn Fn(Option<&GivenValue<'_>>) -> Result<AnySession, SessionFailed> + Send + Sync;

impl SessionMakers {
    /// Adds one, or says which type has one already.
    pub(super) fn add(&mut self, session: SessionMaker) -> Result<(), &'static str> {
        if self.0.iter().any(|other| other.type_id == session.type_id) {
            return Err(session.type_name);
        }
        self.0.push(session);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values that sessions are to be given, or which session's cannot be sent.
    pub(super) fn values(&self) -> Result<SessionValues, (&'static str, EncodeError)> {
        let with_values = self.0.iter();
        SessionValues::encode(
            with_values.filter_map(|session| Some((session.type_name, session.own_value.as_ref()?))),
        )
    }

    /// Makes every session of the values that the manager gives, up to one that cannot be made.
    pub(super) fn make(&self, values: &SessionValues, made: &mut Sessions) -> Result<(), SessionFailed> {
        let given = values.given()?;
        if let Some(value) = given.iter().find(|value| !self.0.iter().any(|session| session.takes(value))) {
            return Err(value.taken_by_none());
        }
        for session in &self.0 {
            let value = (session.make)(given.iter().find(|value| session.takes(value)))?;
            made.add(session.type_id, session.type_name, value);
        }
        Ok(())
    }
}

impl fmt::Debug for SessionMakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|session| session.type_name)).finish()
    }
}

impl SessionMaker {
    /// A session that needs nothing of the manager.
    pub(super) fn new<S, F>(make: F) -> Self
    where
        S: Any + Send + Sync,
        F: Fn() -> Result<S, TaskError> + Send + Sync + 'static,
    {
        Self::making::<S>(None, move |_given| make_session(&make))
    }

    /// A session that is made of `value`, as the manager has it.
    pub(super) fn of_value<V, S, F>(value: V, make: F) -> Self
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        S: Any + Send + Sync,
        F: Fn(V) -> Result<S, TaskError> + Send + Sync + 'static,
    {
        Self::making::<S>(Some(OwnValue::new(value)), move |given| {
            let value = GivenValue::take::<V>(given, type_name::<S>())?;
            make_session(|| make(value))
        })
    }

    fn making<S: Any + Send + Sync>(
        own_value: Option<OwnValue>,
        make: impl Fn(Option<&GivenValue<'_>>) -> Result<AnySession, SessionFailed> + Send + Sync + 'static,
    ) -> Self {
        Self { type_id: TypeId::of::<S>(), type_name: type_name::<S>(), own_value, make: Arc::new(make) }
    }

    fn takes(&self, value: &GivenValue<'_>) -> bool {
        self.own_value.is_some() && self.type_name == value.session
    }
}

fn make_session<S: Any + Send + Sync>(
    make: impl FnOnce() -> Result<S, TaskError>,
) -> Result<AnySession, SessionFailed> {
    match make() {
        Ok(session) => Ok(Box::new(session)),
        Err(error) => Err(SessionFailed::making(type_name::<S>(), &error)),
    }
}
