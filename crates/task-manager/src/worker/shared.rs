//! What the threads of a worker process share, and what a task has of it as its host.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{Details, HeartbeaterRegistry, cores::ThrottleLimits};
use workfleet_wire::{Decoder, Kind};

use super::{
    fork,
    outbox::{Outbox, PushError},
    parent::ParentEnd,
    places::Places,
};
use crate::{
    extension::{Extensions, SendToManager},
    heartbeat::{HeartbeatersError, TaskHeartbeatError},
    ids::ManagerId,
    kinds,
    message::EncodedMessage,
    priority::Priority,
    protocol::{MessageFrame, ScheduleFrame},
    refusal::{MessageSendError, ScheduleErrorKind},
    registry::{Registry, entry::Entry, index::Index},
    run::{Attempt, host::Host, kept::Kept, queue::TaskQueue, sessions::Sessions},
    session_values::SessionValues,
    sys::status_page::StatusPage,
    task::EncodedTask,
};

/// What the threads of a worker process share.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) manager: ManagerId,
    pub(super) priority_levels: u8,
    pub(super) frame_limit_bytes: u64,
    pub(super) throttle: ThrottleLimits,
    pub(super) backtraces: bool,
    pub(super) registry: Registry,
    pub(super) index: Index,
    /// In the order of their indices on the wire.
    pub(super) entries: Vec<Entry>,
    /// Asynchronous tasks share the task thread.
    pub(super) together: bool,
    /// Until the sessions are made of them.
    pub(super) session_values: Mutex<SessionValues>,
    pub(super) sessions: Kept,
    pub(super) queue: TaskQueue,
    /// Of the thread that owns the socket.
    pub(super) decoder: Mutex<Decoder>,
    pub(super) outbox: Outbox,
    pub(super) status_page: StatusPage,
    pub(super) places: Places,
    pub(super) flushes: Flushes,
    pub(super) extensions: Extensions,
    pub(super) parent_end: ParentEnd,
}

/// Who waits for the manager to have read everything up to some point.
#[derive(Default)]
pub(super) struct Flushes {
    /// Requests are numbered in the order in which they leave.
    next: AtomicU64,
    answered: Mutex<u64>,
    changed: Condvar,
}

impl Worker {
    fn send_message(&self, lease: u64, message: &EncodedMessage) -> Result<(), MessageSendError> {
        if fork::is_copy() {
            return Err(MessageSendError::AttemptEnded);
        }
        message.check_len(self.frame_limit_bytes)?;
        let frame = MessageFrame { lease, name: &message.name, payload: &message.payload };
        let pushed = self
            .outbox
            .push_from(lease, kinds::MESSAGE, |out, _| workfleet_wire::message::encode_into(&frame, out));
        pushed.map_err(|error| match error {
            PushError::LeaseEnded | PushError::TooManyChildren => MessageSendError::AttemptEnded,
            PushError::Encode(source) => MessageSendError::Encode(source),
        })
    }

    fn schedule_child(
        &self,
        lease: u64,
        task: &EncodedTask,
        priority: Priority,
    ) -> Result<(), ScheduleErrorKind> {
        if fork::is_copy() {
            return Err(ScheduleErrorKind::AttemptEnded);
        }
        let levels = self.priority_levels;
        let kind = (priority.0 < levels)
            .then(|| kinds::schedule(priority.0))
            .flatten()
            .ok_or(ScheduleErrorKind::Priority { priority, levels })?;
        let task_type = self.index.of(task).ok_or(ScheduleErrorKind::Unregistered { name: task.name() })?;
        let (len_bytes, limit_bytes) = (task.payload.len() as u64, self.frame_limit_bytes);
        if len_bytes > limit_bytes {
            return Err(ScheduleErrorKind::TooLarge { len_bytes, limit_bytes });
        }
        let pushed = self.outbox.push_from(lease, kind, |out, index| {
            let frame = ScheduleFrame { lease, index, task_type, payload: &task.payload };
            workfleet_wire::message::encode_into(&frame, out)
        });
        pushed.map_err(|error| match error {
            PushError::LeaseEnded => ScheduleErrorKind::AttemptEnded,
            PushError::TooManyChildren => {
                ScheduleErrorKind::TooManyChildren { limit: self.outbox.children_limit() }
            }
            PushError::Encode(source) => ScheduleErrorKind::Encode(source),
        })
    }

    /// Somebody may wait for what comes back, so the I/O thread should not take its time.
    pub(super) fn poll_for_answer(&self) {
        if self.queue.want_answer() {
            self.outbox.wake();
        }
    }

    /// Sends all that is left to be said, however long the manager takes to read it.
    pub(super) fn flush_at_end(&self) {
        self.parent_end.flush();
        self.outbox.flush_fully();
    }

    pub(super) fn flushed(&self, id: u64) {
        let mut answered = self.flushes.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered = (*answered).max(id);
        drop(answered);
        self.flushes.changed.notify_all();
    }
}

impl Host for Worker {
    fn name(&self) -> &str {
        &self.name
    }

    fn manager(&self) -> ManagerId {
        self.manager
    }

    fn priority_levels(&self) -> u8 {
        self.priority_levels
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.registry.entry(name)
    }

    fn sessions(&self) -> Option<Arc<Sessions>> {
        self.sessions.get()
    }

    fn is_cancelled(&self, lease: u64) -> bool {
        self.queue.is_cancelled(lease)
    }

    fn cancellation_token(&self, lease: u64) -> CancellationToken {
        self.queue.token(lease)
    }

    fn schedule(
        &self,
        attempt: Attempt,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), (EncodedTask, ScheduleErrorKind)> {
        self.schedule_child(attempt.lease, &task, priority).map_err(|kind| (task, kind))
    }

    fn send(&self, attempt: Attempt, message: EncodedMessage) -> Result<(), MessageSendError> {
        self.send_message(attempt.lease, &message)
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        Err(HeartbeatersError::InWorkerProcess)
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn heartbeat(&self, attempt: Attempt, details: Details) -> Result<(), TaskHeartbeatError> {
        let taken = !fork::is_copy() && self.outbox.beat(Instant::now(), attempt.lease, details);
        if taken { Ok(()) } else { Err(TaskHeartbeatError::AttemptEnded) }
    }

    /// Sends everything and waits for the manager to have read it.
    fn flush(&self, attempt: Attempt) -> Result<(), MessageSendError> {
        if fork::is_copy() {
            return Err(MessageSendError::AttemptEnded);
        }
        self.parent_end.flush();
        self.poll_for_answer();
        let mut id = 0;
        self.outbox
            .push_behind_beats(attempt.lease, kinds::FLUSH, |out| {
                // Under the outbox's lock, behind the beats: so an answer is one to those who were before, and to no other.
                id = self.flushes.next.fetch_add(1, Ordering::Relaxed) + 1;
                workfleet_wire::message::encode_into(&id, out)
            })
            .map_err(MessageSendError::Encode)?;
        let mut answered = self.flushes.answered.lock().unwrap_or_else(PoisonError::into_inner);
        while *answered < id {
            // Answered, or the manager is gone and the I/O thread ends this process.
            answered = self.flushes.changed.wait(answered).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

impl SendToManager for Worker {
    fn send_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), MessageSendError> {
        if fork::is_copy() {
            return Err(MessageSendError::AttemptEnded);
        }
        let (len_bytes, limit_bytes) = (payload.len() as u64, self.frame_limit_bytes);
        if len_bytes > limit_bytes {
            return Err(MessageSendError::TooLarge { len_bytes, limit_bytes });
        }
        self.poll_for_answer();
        self.outbox.push_for_service(kind, payload);
        Ok(())
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}
