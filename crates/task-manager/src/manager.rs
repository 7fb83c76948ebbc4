//! The manager as everything that schedules sees it.
//!
//! [`Manager`] is object-safe and speaks of encoded tasks; [`ManagerExt`] gives it the typed face.

use std::sync::Arc;

use workfleet_heartbeat::HeartbeaterRegistry;

use crate::{
    heartbeat::HeartbeatersError,
    message::{EncodedMessage, TaskMessage},
    options::TaskOptions,
    refusal::{MessageSendError, ScheduleError, ScheduleErrorKind},
    task::{EncodedTask, TaskSpec},
};

/// What can schedule tasks and take messages: a pool, the view of one that its workers have, or a [`NullManager`].
pub trait Manager: Send + Sync {
    /// How many priority levels there are; the least urgent is one less.
    fn priority_levels(&self) -> u8;

    /// Schedules a task without a handle.
    ///
    /// # Errors
    /// [`ScheduleError`], with the task.
    fn schedule_encoded(
        &self,
        task: EncodedTask,
        options: TaskOptions,
    ) -> Result<(), ScheduleError<EncodedTask>>;

    /// Puts a message into the inbox.
    ///
    /// # Errors
    /// [`MessageSendError`].
    fn send_encoded(&self, message: EncodedMessage) -> Result<(), MessageSendError>;

    /// What makes events and registers heartbeaters for the users of this manager: of a pool, what its builder was given, or its own;
    /// by default none.
    ///
    /// # Errors
    /// [`HeartbeatersError`]: there are none here.
    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        Err(HeartbeatersError::NotGiven)
    }
}

impl<M: Manager + ?Sized> Manager for Arc<M> {
    fn priority_levels(&self) -> u8 {
        (**self).priority_levels()
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        options: TaskOptions,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        (**self).schedule_encoded(task, options)
    }

    fn send_encoded(&self, message: EncodedMessage) -> Result<(), MessageSendError> {
        (**self).send_encoded(message)
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        (**self).heartbeaters()
    }
}

/// A manager that runs nothing: messages are dropped, tasks are handed back.
///
/// For running one task in place: see [`TaskContext::detached`](crate::TaskContext::detached).
///
/// ```
/// use workfleet_task_manager::{Chain, ManagerExt, NullManager, ScheduleErrorKind};
///
/// let error = NullManager.schedule(Chain::new()).unwrap_err();
/// assert!(matches!(error.kind(), ScheduleErrorKind::NoWorkers));
/// assert!(error.into_task().is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NullManager;

impl Manager for NullManager {
    fn priority_levels(&self) -> u8 {
        128
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        _options: TaskOptions,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        Err(ScheduleError::new(task, ScheduleErrorKind::NoWorkers))
    }

    fn send_encoded(&self, _message: EncodedMessage) -> Result<(), MessageSendError> {
        Ok(())
    }
}

/// The typed face of every [`Manager`].
pub trait ManagerExt: Manager {
    /// Schedules a task and lets it go: its output is dropped, its failure comes with the messages.
    ///
    /// # Errors
    /// [`ScheduleError`] with the task: its priority is beyond the levels, it is not registered, it cannot be
    /// encoded, it exceeds the frame limit, or the manager takes no more.
    fn schedule<T: TaskSpec>(&self, task: T) -> Result<(), ScheduleError<T>> {
        self.schedule_with(task, TaskOptions::new())
    }

    /// Schedules a task as `options` say: a [`TaskOptions`], or a [`Priority`](crate::Priority) alone.
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    fn schedule_with<T: TaskSpec>(
        &self,
        task: T,
        options: impl Into<TaskOptions>,
    ) -> Result<(), ScheduleError<T>> {
        match EncodedTask::new(&task) {
            Err(error) => Err(ScheduleError::new(task, ScheduleErrorKind::Encode(error))),
            Ok(encoded) => {
                self.schedule_encoded(encoded, options.into()).map_err(|error| error.map(|_encoded| task))
            }
        }
    }

    /// Puts a message into the manager's inbox.
    ///
    /// # Errors
    /// [`MessageSendError`]: the message cannot be encoded or exceeds the frame limit, or whoever sends it has ended.
    fn send_message<M: TaskMessage>(&self, message: &M) -> Result<(), MessageSendError> {
        self.send_encoded(EncodedMessage::new(message).map_err(MessageSendError::Encode)?)
    }
}

impl<T: Manager + ?Sized> ManagerExt for T {}
