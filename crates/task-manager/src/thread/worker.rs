//! What runs on a worker thread.
//!
//! Invariants:
//! - What an attempt says is taken between its begin and its end, and by then it is where it belongs: there is nothing
//!   to flush.
//! - A worker that was abandoned says nothing any more.
//! - What the user's code has left in a worker is dropped on the worker's thread, or on another, but never on the manager's.

use std::{
    fmt,
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{Details, HeartbeaterRegistry};
use workfleet_wire::Kind;

use super::exchange::{Exchange, Receiver};
use crate::{
    context::TaskContext,
    extension::{Extensions, SendToManager},
    failure::{Failed, FailureCause},
    guards::guarded,
    heartbeat::{HeartbeatersError, TaskHeartbeatError},
    ids::ManagerId,
    kinds,
    message::EncodedMessage,
    pool::Shared,
    priority::Priority,
    refusal::{MessageSendError, ScheduleErrorKind},
    registry::{
        Registry,
        entry::{AsyncRunFn, Entry},
    },
    run::{
        self, Attempt, caught,
        host::Host,
        kept::Kept,
        open::OpenAttempts,
        panics,
        queue::{Step, TaskQueue},
        queued::Queued,
        runtime::{self, on_own_runtime},
        sessions::Sessions,
        together::{self, Desk},
    },
    service::Peer,
    task::EncodedTask,
    worker::end_copy_of,
};

/// A worker thread.
pub(super) struct ThreadWorker {
    pub(super) name: Arc<str>,
    pub(super) slot: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) entries: Arc<[Entry]>,
    pub(super) queue: Arc<TaskQueue>,
    pub(super) sessions: Kept,
    pub(super) open: Mutex<OpenAttempts>,
    /// It was left alone with what it runs: what it is still handed is done elsewhere. Set once (release) before its slot is
    /// cleared, and looked at (acquire) before anything is begun.
    pub(super) abandoned: AtomicBool,
    pub(super) extensions: Extensions,
    pub(super) exchange: Arc<Exchange>,
    pub(super) peer: Peer,
}

impl ThreadWorker {
    /// Runs tasks until there are none any more.
    pub(super) fn run(self: &Arc<Self>, backtraces: bool) {
        panics::keep(backtraces);
        while let Some(task) = self.next() {
            if task.revoked || self.is_abandoned() {
                self.give_back(&task);
            } else if task.concurrent {
                let lease = task.lease();
                if let Err(error) = on_own_runtime(|runtime| together::run(self, runtime, task)) {
                    let reason = format!("no runtime: {error}");
                    self.queue.end_concurrent(lease);
                    let failed = FailureCause::Rejected { reason }.into();
                    self.shared.attempt_ended(self.slot, lease, Duration::ZERO, Err(failed));
                }
            } else {
                self.run_single(task);
            }
        }
    }

    /// The next task; none once nothing comes any more.
    fn next(&self) -> Option<Queued> {
        let next = runtime::wait_with_background(None, |cx| self.queue.poll_next(cx));
        next.unwrap_or_else(|| match self.queue.next(None, || ()) {
            Step::Run(task, _) => Some(task),
            Step::PollSocket | Step::Nothing | Step::End => None,
        })
    }

    /// Drops a reference on the manager's thread. If it is the last, because the worker's thread has ended meanwhile, what the
    /// user's code has left in the worker is dropped elsewhere.
    pub(super) fn let_go(worker: Arc<Self>) {
        let Some(last) = Arc::into_inner(worker) else { return };
        // If there is no thread to be had, it is never dropped, rather than here.
        let last = ManuallyDrop::new(last);
        let drops = move || drop(ManuallyDrop::into_inner(last));
        if let Err(error) = thread::Builder::new().name("workfleet-drop".into()).spawn(drops) {
            workfleet_notice::error!(%error, "no thread could be started to drop what a worker has left");
        }
    }

    /// Takes nothing more from what runs here, and begins nothing more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        *self.lock_open() = OpenAttempts::default();
    }

    /// Whether this is a process that a task has forked: it is no worker, and takes none of the original's locks.
    fn is_copy(&self) -> bool {
        !self.shared.home.is_here()
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// From now on, the attempt may say something; one that has to beat has begun.
    fn open(&self, task: &Queued) {
        self.lock_open().open(task.lease(), ());
        if task.heartbeat_timeout.is_some() {
            self.shared.heartbeat(self.slot, task.lease(), None);
        }
    }

    fn give_back(&self, task: &Queued) {
        self.queue.end_concurrent(task.lease());
        self.shared.given_back(self.slot, task.lease());
    }

    fn report(&self, task: &Queued, ended: Result<Vec<u8>, Box<Failed>>, took: Duration) {
        end_copy_of(self.shared.home);
        let lease = task.lease();
        let output_bytes = ended.as_ref().map_or(0, Vec::len);
        let cancelled = || self.queue.is_cancelled(lease);
        let debug = || task.debug_form(&self.entries);
        let ended = run::classify(ended, output_bytes, self.shared.frame_limit_bytes, cancelled, debug);
        self.lock_open().close(lease);
        self.shared.attempt_ended(self.slot, lease, took, ended);
    }

    fn lock_open(&self) -> MutexGuard<'_, OpenAttempts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver for ThreadWorker {
    fn receive(self: Arc<Self>, kind: Kind, payload: &[u8]) {
        guarded(|| {
            if !self.extensions.on_frame(kind, payload) {
                workfleet_notice::error!(worker = &*self.name, kind = %kinds::TABLE.named(kind), "a frame came that no extension expects");
            }
        });
        Self::let_go(self);
    }
}

impl Desk for ThreadWorker {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Queued>> {
        loop {
            match self.queue.poll_next(cx) {
                Poll::Ready(Some(task)) if task.revoked || self.is_abandoned() => self.give_back(&task),
                polled => return polled,
            }
        }
    }

    fn run_single(self: &Arc<Self>, task: Queued) {
        let began = Instant::now();
        self.open(&task);
        let mut output = Vec::new();
        let ended = match self.entries.get(task.task_type as usize) {
            None => Err(task.unknown().into()),
            Some(entry) => {
                let cx = task.context(self.clone());
                let wanted = task.wants_output.then_some(&mut output);
                caught(|| (entry.run)(&task.payload, &cx, wanted))
            }
        };
        self.report(&task, ended.map(|()| output), began.elapsed());
    }

    fn begin(self: &Arc<Self>, task: &Queued) -> (TaskContext, Option<AsyncRunFn>) {
        self.open(task);
        let entry = self.entries.get(task.task_type as usize);
        (task.context(self.clone()), entry.and_then(|entry| entry.run_async))
    }

    fn end(&self, task: Queued, ended: Result<Vec<u8>, Box<Failed>>, took: Duration) {
        self.report(&task, ended, took);
        self.queue.end_concurrent(task.lease());
    }
}

impl Host for ThreadWorker {
    fn name(&self) -> &str {
        &self.name
    }

    fn manager(&self) -> ManagerId {
        self.shared.id
    }

    fn priority_levels(&self) -> u8 {
        self.shared.levels
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.registry.entry(name)
    }

    fn sessions(&self) -> Option<Arc<Sessions>> {
        self.sessions.get()
    }

    fn is_cancelled(&self, lease: u64) -> bool {
        self.is_copy() || self.queue.is_cancelled(lease)
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
        if self.is_copy() || !self.lock_open().is_open(attempt.lease) {
            return Err((task, ScheduleErrorKind::AttemptEnded));
        }
        self.shared.schedule_child(self.slot, attempt.lease, task, priority)
    }

    fn send(&self, attempt: Attempt, message: EncodedMessage) -> Result<(), MessageSendError> {
        message.check_len(self.shared.frame_limit_bytes)?;
        if self.is_copy() {
            return Err(MessageSendError::AttemptEnded);
        }
        let open = self.lock_open();
        if !open.is_open(attempt.lease) {
            return Err(MessageSendError::AttemptEnded);
        }
        let told = self.shared.put_message(attempt, message);
        drop(open);
        let room = told.has_room_again();
        told.tell();
        if room {
            self.shared.resume();
        }
        Ok(())
    }

    fn heartbeat(&self, attempt: Attempt, details: Details) -> Result<(), TaskHeartbeatError> {
        // Nothing travels, so nothing has to be held back.
        if self.is_copy() || !self.lock_open().is_open(attempt.lease) {
            return Err(TaskHeartbeatError::AttemptEnded);
        }
        self.shared.heartbeat(self.slot, attempt.lease, Some(details));
        Ok(())
    }

    fn flush(&self, _attempt: Attempt) -> Result<(), MessageSendError> {
        if self.is_copy() { Err(MessageSendError::AttemptEnded) } else { Ok(()) }
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        if self.is_copy() {
            return Err(HeartbeatersError::ManagerGone);
        }
        self.shared.heartbeaters.get()
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl SendToManager for ThreadWorker {
    fn send_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), MessageSendError> {
        if self.is_copy() {
            return Err(MessageSendError::AttemptEnded);
        }
        let (len_bytes, limit_bytes) = (payload.len() as u64, self.shared.frame_limit_bytes);
        if len_bytes > limit_bytes {
            return Err(MessageSendError::TooLarge { len_bytes, limit_bytes });
        }
        let may_wait = !self.extensions.is_attaching();
        self.exchange.to_service(self.peer.clone(), kind, payload, may_wait)
    }
}

impl fmt::Debug for ThreadWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadWorker").field("name", &self.name).finish_non_exhaustive()
    }
}
