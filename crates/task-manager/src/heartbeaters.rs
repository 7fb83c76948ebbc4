//! The heartbeaters of a manager: those that its program has given it, or its own.
//!
//! Invariant: only the manager's handle holds them, so what a program has given is not dropped on the manager's thread.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use workfleet_heartbeat::{HeartbeaterRegistry, Heartbeaters};

use crate::{
    heartbeat::HeartbeatersError,
    manager::Manager,
    message::EncodedMessage,
    options::TaskOptions,
    refusal::{MessageSendError, ScheduleError},
    task::EncodedTask,
};

/// What a manager has.
pub(crate) struct PoolHeartbeaters {
    given: Option<Arc<dyn HeartbeaterRegistry>>,
    /// If none were given, those that it has made when somebody asked for them.
    own: Mutex<Option<Arc<Heartbeaters>>>,
}

impl PoolHeartbeaters {
    pub(crate) fn new(given: Option<Arc<dyn HeartbeaterRegistry>>) -> Arc<Self> {
        Arc::new(Self { given, own: Mutex::default() })
    }

    pub(crate) fn get(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        if let Some(given) = &self.given {
            return Ok(Arc::clone(given));
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*own {
            return Ok(Arc::clone(own) as _);
        }
        let made = Arc::new(Heartbeaters::new().map_err(HeartbeatersError::Start)?);
        *own = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl fmt::Debug for PoolHeartbeaters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHeartbeaters").field("given", &self.given.is_some()).finish_non_exhaustive()
    }
}

/// The same for what does not outlive the manager's handle. Set once, before the first task comes.
#[derive(Debug, Default)]
pub(crate) struct HeartbeatersOfManager(OnceLock<Weak<PoolHeartbeaters>>);

impl HeartbeatersOfManager {
    pub(crate) fn set(&self, of: &Arc<PoolHeartbeaters>) {
        self.0.get_or_init(|| Arc::downgrade(of));
    }

    pub(crate) fn get(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        let of = self.0.get().and_then(Weak::upgrade);
        of.ok_or(HeartbeatersError::ManagerGone)?.get()
    }
}

/// A manager that is not a pool, with heartbeaters for the tasks that run by it in place.
///
/// ```
/// use std::sync::Arc;
/// use workfleet_heartbeat::Heartbeaters;
/// use workfleet_task_manager::{NullManager, TaskContext, WithHeartbeaters};
///
/// let heartbeaters = Arc::new(Heartbeaters::new()?);
/// let cx = TaskContext::detached(WithHeartbeaters::new(NullManager, heartbeaters), ());
/// let event = cx.heartbeaters()?.new_event();
/// assert!(!event.is_set());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WithHeartbeaters<M> {
    manager: M,
    heartbeaters: Arc<dyn HeartbeaterRegistry>,
}

impl<M: Manager> WithHeartbeaters<M> {
    /// This manager, with these heartbeaters.
    pub fn new(manager: M, heartbeaters: Arc<dyn HeartbeaterRegistry>) -> Self {
        Self { manager, heartbeaters }
    }
}

impl<M: Manager> Manager for WithHeartbeaters<M> {
    fn priority_levels(&self) -> u8 {
        self.manager.priority_levels()
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        options: TaskOptions,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        self.manager.schedule_encoded(task, options)
    }

    fn send_encoded(&self, message: EncodedMessage) -> Result<(), MessageSendError> {
        self.manager.send_encoded(message)
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        Ok(Arc::clone(&self.heartbeaters))
    }
}

impl<M: fmt::Debug> fmt::Debug for WithHeartbeaters<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithHeartbeaters").field("manager", &self.manager).finish_non_exhaustive()
    }
}
