//! Which handlers there are for which type. Shared: handlers come and go while messages are dispatched.
//!
//! Invariant: no handler runs, and none is dropped, under the lock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::event::DispatchEvent;

/// The handlers of one type, in the order of their tags. A dispatch takes the whole as it is.
type Handlers<H> = std::sync::Arc<BTreeMap<String, H>>;

#[derive(Debug)]
pub(super) struct Registry<H> {
    by_type: RwLock<HashMap<String, Handlers<H>>>,
}

impl<H: Clone> Registry<H> {
    pub(super) fn new() -> Self {
        Self { by_type: RwLock::new(HashMap::new()) }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Handlers<H>>> {
        self.by_type.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Handlers<H>>> {
        self.by_type.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the handler that it replaces.
    pub(super) fn register(&self, event: DispatchEvent, handler: H) -> Option<H> {
        let mut by_type = self.write();
        let handlers = by_type.entry(event.event_type().to_owned()).or_default();
        let before = std::sync::Arc::clone(handlers);
        let replaced = std::sync::Arc::make_mut(handlers).insert(event.tag().to_owned(), handler);
        drop(by_type);
        drop(before);
        replaced
    }

    /// Returns the handler that it removes. A type without handlers takes no memory.
    pub(super) fn unregister(&self, event: &DispatchEvent) -> Option<H> {
        let mut by_type = self.write();
        let handlers = by_type.get_mut(event.event_type())?;
        let before = std::sync::Arc::clone(handlers);
        let removed = std::sync::Arc::make_mut(handlers).remove(event.tag());
        if handlers.is_empty() {
            by_type.remove(event.event_type());
        }
        drop(by_type);
        drop(before);
        removed
    }

    /// The handlers of a type, as they are now.
    pub(super) fn of(&self, event_type: &str) -> Option<Handlers<H>> {
        self.read().get(event_type).cloned()
    }
}
