//! A context without a worker: one task, run in place.

use std::{any::Any, sync::Arc};

use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{
    Details, HeartbeaterRegistry,
    remote::{self, Scope},
};
use workfleet_wire::Kind;

use workfleet_causes::with_sources;

use crate::{
    context::TaskContext,
    error::TaskError,
    extension::{Extensions, SendToManager},
    heartbeat::{HeartbeatersError, TaskHeartbeatError},
    ids::ManagerId,
    manager::Manager,
    message::EncodedMessage,
    priority::Priority,
    refusal::{MessageSendError, ScheduleErrorKind},
    registry::{Registry, entry::Entry},
    run::{Attempt, host::Host, sessions::Sessions},
    task::EncodedTask,
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
        let id = ManagerId::unlike_others();
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

impl TaskContext {
    /// A context without a worker, to run one task in place: in a test, or where a pool would be too much.
    ///
    /// What the task schedules and sends goes to `manager`; [`NullManager`](crate::NullManager) is one that takes no
    /// tasks and drops messages. `session` is what the task finds under its type; `()` if it needs none.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use workfleet_task_manager::{NullManager, Task, TaskContext, TaskError, TaskSpec};
    /// # #[derive(Debug, Serialize, Deserialize)]
    /// # struct Double(u64);
    /// # impl TaskSpec for Double { const NAME: &'static str = "double"; type Output = u64; }
    /// # impl Task for Double {
    /// #     fn run(self, cx: &TaskContext) -> Result<u64, TaskError> { Ok(self.0 * cx.session::<u64>()?) }
    /// # }
    /// let doubled = Double(21).run(&TaskContext::detached(NullManager, 2_u64));
    /// assert_eq!(doubled.unwrap(), 42);
    /// ```
    ///
    /// It cannot be [cancelled](Self::is_cancelled) but through its own
    /// [`cancellation_token`](Self::cancellation_token), and services have no other half here. Its
    /// [heartbeats](Self::heartbeat) are dropped, and there is no timeout.
    pub fn detached<S: Any + Send + Sync>(manager: impl Manager + 'static, session: S) -> Self {
        let mut sessions = Sessions::default();
        sessions.set(session);
        Self::new(Arc::new(Detached::new(manager, Registry::new(), sessions)), Detached::ATTEMPT, None)
    }

    /// The same with every session that `registry` makes, and with the tasks in it as links of a
    /// [`Chain`](crate::Chain).
    ///
    /// # Errors
    /// What the making of a session failed with.
    pub fn detached_with(manager: impl Manager + 'static, registry: &Registry) -> Result<Self, TaskError> {
        let values = registry.session_values();
        let values = values.map_err(|(session, error)| {
            TaskError::message(format!("the value for the session {session}: {}", with_sources(&error)))
        })?;
        let mut sessions = Sessions::default();
        let made = registry.make_sessions(&values, &mut sessions);
        made.map_err(|failed| TaskError::message(failed.into_reason()))?;
        let host = Detached::new(manager, registry.clone(), sessions);
        Ok(Self::new(Arc::new(host), Detached::ATTEMPT, None))
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
        self.manager.schedule_encoded(task, priority.into()).map_err(|error| error.into_parts())
    }

    fn send(&self, _attempt: Attempt, message: EncodedMessage) -> Result<(), MessageSendError> {
        self.manager.send_encoded(message)
    }

    fn heartbeat(&self, _attempt: Attempt, _details: Details) -> Result<(), TaskHeartbeatError> {
        // Nobody listens, and nobody waits for it.
        Ok(())
    }

    fn flush(&self, _attempt: Attempt) -> Result<(), MessageSendError> {
        // A manager has what it was sent when it has taken it.
        Ok(())
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        self.manager.heartbeaters()
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl SendToManager for Detached {
    fn send_frame(&self, kind: Kind, _payload: &[u8]) -> Result<(), MessageSendError> {
        Err(MessageSendError::NoService { kind })
    }
}
