//! The sessions of a worker, from their making to their end.
//!
//! Invariants:
//! - Sessions are dropped one after the other, the last made first. A panic of one keeps no other from its end.
//! - A borrower of one session holds all of them. So a worker can let go of its sessions at any time, and they end on the
//!   thread of the last holder: the worker's own, because no task outlives its turn there.

use std::{
    any::{Any, TypeId, type_name},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::runtime::Handle;

use super::runtime::{self, on_own_runtime};
use crate::{
    registry::Registry,
    session_values::{SessionFailed, SessionValues},
};

pub(crate) type AnySession = Box<dyn Any + Send + Sync>;

/// The sessions of one worker.
#[derive(Default)]
pub(crate) struct Sessions {
    /// In the order of their making.
    made: Vec<Made>,
}

struct Made {
    type_id: TypeId,
    type_name: &'static str,
    value: AnySession,
}

impl Sessions {
    pub(crate) fn get(&self, wanted: TypeId) -> Option<&(dyn Any + Send + Sync)> {
        self.made.iter().find(|made| made.type_id == wanted).map(|made| &*made.value)
    }

    pub(crate) fn add(&mut self, type_id: TypeId, type_name: &'static str, value: AnySession) {
        self.made.push(Made { type_id, type_name, value });
    }

    /// Adds a session, or replaces the one of its type.
    pub(crate) fn set<S: Any + Send + Sync>(&mut self, session: S) {
        self.made.retain(|made| made.type_id != TypeId::of::<S>());
        self.add(TypeId::of::<S>(), type_name::<S>(), Box::new(session));
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        while let Some(Made { type_name, value, .. }) = self.made.pop() {
            if let Err(message) = workfleet_panics::catch(|| drop(value)) {
                workfleet_notice::error!(
                    session = type_name,
                    message,
                    "the destructor of a session panicked"
                );
            }
        }
    }
}

/// Where a worker keeps its sessions.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<Arc<Sessions>>>);

impl Kept {
    /// Makes every session, in the context of the runtime if there are asynchronous tasks to be run. If one cannot be made,
    /// this is why; those before it are kept all the same.
    pub(crate) fn make(&self, registry: &Registry, values: &SessionValues) -> Result<(), SessionFailed> {
        if !registry.has_sessions() || !registry.has_async_tasks() {
            return self.make_here(registry, values);
        }
        let made = on_own_runtime(|runtime| {
            let _context = runtime.enter();
            self.make_here(registry, values)
        });
        made.unwrap_or_else(|error| Err(SessionFailed::Made(format!("no runtime: {error}"))))
    }

    fn make_here(&self, registry: &Registry, values: &SessionValues) -> Result<(), SessionFailed> {
        let mut sessions = Sessions::default();
        let made = workfleet_panics::catch(|| registry.make_sessions(values, &mut sessions));
        let made =
            made.unwrap_or_else(|message| Err(SessionFailed::Made(format!("a session panicked: {message}"))));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sessions));
        made
    }

    pub(crate) fn get(&self) -> Option<Arc<Sessions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends what tasks and sessions have left in the background on this thread, then drops the sessions: runs the user's code.
    pub(crate) fn end(&self) {
        let background = runtime::end_background();
        let _context = background.as_ref().map(Handle::enter);
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Not under the lock.
        drop(sessions);
    }
}
