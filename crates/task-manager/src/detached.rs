//! A context without a worker: one task, run in place.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{
    Details,
    remote::{self, Scope},
};
use workfleet_wire::Kind;

use crate::{
    extension::Extensions,
    heartbeat::HeartbeatError,
    manager::{Manager, ScheduleErrorKind, SendError},
    message::EncodedMessage,
    pool::settings,
    registry::{Entry, Registry},
    run::{Attempt, host::Host, sessions::Sessions},
    task::{EncodedTask, ManagerId, Priority},
};

pub(crate) struct Detached {
    manager: Box<dyn Manager>,
    registry: Registry,
    sessions: Arc<Sessions>,
    token: CancellationToken,
    extensions: Extensions,
    id: ManagerId,
    /// Events are found by name among those of this context.
    _names: Scope,
}

impl Detached {
    /// The only attempt there is.
    pub(crate) const ATTEMPT: Attempt = Attempt { lease: 1, sequence: 0, number: 1 };

    pub(crate) fn new(manager: impl Manager + 'static, registry: Registry, sessions: Sessions) -> Self {
        let id = settings::new_id();
        Self {
            manager: Box::new(manager),
            registry,
            sessions: Arc::new(sessions),
            token: CancellationToken::new(),
            extensions: Extensions::default(),
            id,
            _names: remote::open_scope(id.to_bits()),
        }
    }
}

impl Host for Detached {
    fn name(&self) -> &str {
        "detached"
    }

    fn manager(&self) -> ManagerId {
        self.id
    }

    fn priority_levels(&self) -> u8 {
        self.manager.priority_levels()
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.registry.entry(name)
    }

    fn sessions(&self) -> Option<Arc<Sessions>> {
        Some(Arc::clone(&self.sessions))
    }

    fn is_cancelled(&self, _lease: u64) -> bool {
        self.token.is_cancelled()
    }

    fn cancellation_token(&self, _lease: u64) -> CancellationToken {
        self.token.clone()
    }

    fn schedule(
        &self,
        _attempt: Attempt,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), (EncodedTask, ScheduleErrorKind)> {
        self.manager.schedule_encoded(task, priority).map_err(|error| error.into_parts())
    }

    fn send(&self, _attempt: Attempt, message: EncodedMessage) -> Result<(), SendError> {
        self.manager.send_encoded(message)
    }

    fn heartbeat(&self, _attempt: Attempt, _details: Details) -> Result<(), HeartbeatError> {
        // Nobody listens, and nobody waits for it.
        Ok(())
    }

    fn flush(&self, _attempt: Attempt) -> Result<(), SendError> {
        // A manager has what it was sent when it has taken it.
        Ok(())
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn send_frame(&self, kind: Kind, _payload: &[u8]) -> Result<(), SendError> {
        Err(SendError::NoService { kind })
    }
}
