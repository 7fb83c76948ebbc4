//! Where an attempt runs: in a worker process, on a thread of the manager's process, or in place. What
//! [`TaskContext`](crate::TaskContext) and [`Proxy`](crate::Proxy) are the faces of.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{Details, HeartbeaterRegistry};

use super::{Attempt, sessions::Sessions};
use crate::{
    extension::{Extensions, SendToManager},
    heartbeat::{HeartbeatersError, TaskHeartbeatError},
    ids::ManagerId,
    message::EncodedMessage,
    priority::Priority,
    refusal::{MessageSendError, ScheduleErrorKind},
    registry::entry::Entry,
    task::EncodedTask,
};

pub(crate) trait Host: SendToManager {
    /// The worker's name.
    fn name(&self) -> &str;
    fn manager(&self) -> ManagerId;
    fn priority_levels(&self) -> u8;
    /// The code of a type of task.
    fn entry(&self, name: &str) -> Option<Entry>;
    /// The worker's sessions: none once the worker has let go of them.
    fn sessions(&self) -> Option<Arc<Sessions>>;
    fn is_cancelled(&self, lease: u64) -> bool;
    fn cancellation_token(&self, lease: u64) -> CancellationToken;
    /// Schedules a child of an attempt.
    fn schedule(
        &self,
        attempt: Attempt,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), (EncodedTask, ScheduleErrorKind)>;
    /// Sends a message of an attempt.
    fn send(&self, attempt: Attempt, message: EncodedMessage) -> Result<(), MessageSendError>;
    /// An attempt beats.
    fn heartbeat(&self, attempt: Attempt, details: Details) -> Result<(), TaskHeartbeatError>;
    /// Returns when the manager has everything that was sent before, also what was held back of an attempt's heartbeats.
    fn flush(&self, attempt: Attempt) -> Result<(), MessageSendError>;
    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError>;
    fn extensions(&self) -> &Extensions;
}
