//! Where a worker keeps its sessions: made before its first task, ended when it leaves.
//!
//! Invariant: a borrower of one session holds all of them. So a worker can let go of its sessions at any time, and they end on the
//! thread of the last holder: the worker's own, because no task outlives its turn there.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::{
    runtime::{self, on_own_runtime},
    sessions::Sessions,
};
use crate::{
    registry::Registry,
    session_values::{SessionFailed, SessionValues},
};

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
