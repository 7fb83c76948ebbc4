//! The sessions of a worker. Where they are kept, from their making to their end, stands in `kept`.
//!
//! Invariant: sessions are dropped one after the other, the last made first. A panic of one keeps no other from its end.

use std::any::{Any, TypeId, type_name};

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
