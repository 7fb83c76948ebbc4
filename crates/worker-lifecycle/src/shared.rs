//! The state that a worker's task shares with all references to the worker.
//!
//! Invariants:
//! - The board is one `watch` channel, so nothing here is synchronised by hand. No user's code runs under its lock.
//! - The deadline only ever moves forward in time to an earlier one.
//! - Once the step is `Ended`, the outcome is there and does not change.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use workfleet_fork::Home;

use crate::{
    clock::after,
    error::StartError,
    grace::{self, GracePeriodError},
    group::{ChildEvent, ChildId, ChildIncarnation, Occurrence, Role, Roster},
    lifecycle::{Lifecycle, LifecycleEvent, Step, TransitionError, WorkerState},
    outcome::{Ending, Outcome},
    reason::{StatusReason, StoppedBy},
    status::{Status, StatusSource},
    tasks::Tasks,
};

/// What everybody may read, and what tells the worker's task what to do.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) lifecycle: Lifecycle,
    /// It was not started, and cannot be any more.
    pub(crate) is_abandoned: bool,
    /// Its `on_startup` has succeeded, and it began to run.
    pub(crate) came_up: bool,
    /// When it is aborted, by the [clock](crate::clock) of stops.
    pub(crate) deadline: Option<Instant>,
    pub(crate) outcome: Option<Outcome>,
    /// What asked it to stop first.
    stopped_by: Option<StoppedBy>,
    /// Since when its state is what it is, by tokio's clock and by the system's.
    changed: (Instant, SystemTime),
}

impl Board {
    fn new() -> Self {
        Self {
            lifecycle: Lifecycle::default(),
            is_abandoned: false,
            came_up: false,
            deadline: None,
            outcome: None,
            stopped_by: None,
            changed: (Instant::now(), SystemTime::now()),
        }
    }

    /// Something happens to the worker. The one place where its state changes.
    fn handle(&mut self, event: LifecycleEvent) -> Result<(), TransitionError> {
        let before = self.lifecycle.state();
        if self.lifecycle.handle(event)? != before {
            self.changed = (Instant::now(), SystemTime::now());
        }
        Ok(())
    }

    /// Why its state is what it is. What failed is told apart, in words that are made elsewhere.
    fn reason(&self) -> StatusReason {
        // Only a runtime that goes stops a worker without a word.
        let stopped = |reason: fn(StoppedBy) -> StatusReason| {
            self.stopped_by.clone().map_or(StatusReason::RuntimeGone, reason)
        };
        let ending = self.outcome.as_ref().map(Outcome::ending);
        match (self.lifecycle.state(), ending) {
            (WorkerState::Init, _) => StatusReason::NotStarted,
            (WorkerState::Running, _) => StatusReason::Started,
            (_, Some(Ending::ByItself)) => StatusReason::EndedByItself,
            (_, Some(Ending::RuntimeGone)) => StatusReason::RuntimeGone,
            (_, Some(Ending::Forced)) => stopped(StatusReason::Aborted),
            _ => stopped(StatusReason::StopRequested),
        }
    }
}

/// How a child tells its group.
pub(crate) struct Parent {
    pub(crate) group: Weak<Shared>,
    pub(crate) events: mpsc::UnboundedSender<ChildEvent>,
    pub(crate) child: ChildId,
    pub(crate) incarnation: ChildIncarnation,
}

/// What a worker says about itself.
pub(crate) struct Made {
    pub(crate) name: Cow<'static, str>,
    pub(crate) grace: Result<Duration, GracePeriodError>,
    pub(crate) role: Role,
    pub(crate) source: Option<Arc<dyn StatusSource>>,
    pub(crate) queue: Option<Arc<dyn StatusSource>>,
}

pub(crate) struct Shared {
    /// What it is called before it is made.
    expected_name: Cow<'static, str>,
    /// Set before it is started.
    made: OnceLock<Made>,
    pub(crate) board: watch::Sender<Board>,
    /// Cancelled when the worker is asked to stop, and when it has ended.
    pub(crate) token: CancellationToken,
    /// Whether it was asked to stop, or has ended: set with release under the board's lock, so that a waiter that the
    /// board wakes finds it set. It is read with acquire by [`is_stopping`](Self::is_stopping), which is called for
    /// every message and must not take a lock.
    is_stopping: AtomicBool,
    /// What it has spawned.
    pub(crate) tasks: Tasks,
    /// Of a child: set before it is started.
    parent: OnceLock<Parent>,
    /// Set before it is started.
    runtime: OnceLock<Handle>,
    home: Home,
}

impl Shared {
    pub(crate) fn new(made: Made) -> Arc<Self> {
        let shared = Self::of_unmade("".into());
        shared.make(|| made);
        shared
    }

    /// Of a worker that will be made, and [told about](Self::make), before it is started.
    pub(crate) fn of_unmade(expected_name: Cow<'static, str>) -> Arc<Self> {
        Arc::new(Self {
            expected_name,
            made: OnceLock::new(),
            board: watch::Sender::new(Board::new()),
            token: CancellationToken::new(),
            is_stopping: AtomicBool::new(false),
            tasks: Tasks::default(),
            parent: OnceLock::new(),
            runtime: OnceLock::new(),
            home: Home::here(),
        })
    }

    /// The worker is there. What it says about itself is asked once.
    pub(crate) fn make(&self, made: impl FnOnce() -> Made) {
        self.made.get_or_init(made);
    }

    pub(crate) fn set_parent(&self, parent: Parent) {
        let is_first = self.parent.set(parent).is_ok();
        debug_assert!(is_first, "a worker is started once");
    }

    pub(crate) fn name(&self) -> &str {
        self.made.get().map_or(&self.expected_name, |made| &made.name)
    }

    pub(crate) fn grace(&self) -> Result<Duration, GracePeriodError> {
        self.made.get().map_or_else(grace::default_period, |made| made.grace.clone())
    }

    /// Of a group: its children.
    pub(crate) fn roster(&self) -> Option<&Arc<Roster>> {
        self.made.get()?.role.0.as_ref()
    }

    /// The group that it is a child of.
    pub(crate) fn group(&self) -> Option<Arc<Self>> {
        self.parent.get()?.group.upgrade()
    }

    /// Whether a group started it, and is told of its end.
    pub(crate) fn is_child(&self) -> bool {
        self.parent.get().is_some()
    }

    /// Whether this process made the worker. In a fork of it the worker's task does not run, and another thread may have held
    /// the board's lock.
    pub(crate) fn is_here(&self) -> bool {
        self.home.is_here()
    }

    pub(crate) fn home(&self) -> Home {
        self.home
    }

    pub(crate) fn state(&self) -> WorkerState {
        if !self.is_here() {
            return Outcome::forked().state();
        }
        self.board.borrow().lifecycle.state()
    }

    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.runtime.get()
    }

    /// Groups handle their deadline themselves, because they have to collect their children and name those that were
    /// late.
    pub(crate) fn is_group(&self) -> bool {
        self.roster().is_some()
    }

    /// Marks it as started. Of several calls at the same time, one succeeds.
    pub(crate) fn begin(&self) -> Result<Handle, StartError> {
        if !self.is_here() {
            return Err(StartError::Forked { name: self.name().to_owned() });
        }
        let runtime =
            Handle::try_current().map_err(|_| StartError::NoRuntime { name: self.name().to_owned() })?;
        self.grace()?;
        if !has_timer(&runtime) {
            return Err(StartError::NoTimer { name: self.name().to_owned() });
        }
        // Before it shows as started, so that whoever sees that finds its runtime.
        let runtime = self.runtime.get_or_init(|| runtime).clone();
        let mut refused = None;
        self.board.send_if_modified(|board| {
            refused = board.handle(LifecycleEvent::Start).err();
            refused.is_none()
        });
        if let Some(refused) = refused {
            return Err(StartError::AlreadyStarted { name: self.name().to_owned(), state: refused.state() });
        }
        Ok(runtime)
    }

    /// Asks it to stop, and to be aborted at the deadline, if there is one: the earliest that anybody has set counts.
    /// Returns whether it was running.
    pub(crate) fn request_stop(&self, deadline: Option<Instant>, by: StoppedBy) -> bool {
        if !self.is_here() {
            return false;
        }
        let mut is_first = false;
        self.board.send_if_modified(|board| {
            let was_asked = board.lifecycle.is_stop_requested();
            // One that does not run needs not be stopped.
            if board.handle(LifecycleEvent::Stop).is_err() {
                return false;
            }
            is_first = !was_asked;
            board.stopped_by.get_or_insert(by);
            self.is_stopping.store(true, Ordering::Release);
            let earliest = [board.deadline, deadline].into_iter().flatten().min();
            let is_earlier = earliest != board.deadline;
            board.deadline = earliest;
            is_first || is_earlier
        });
        if is_first {
            self.token.cancel();
        }
        is_first
    }

    /// Whether it was asked to stop, or has ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// The deadline that its grace period gives it from now on.
    pub(crate) fn deadline_by_grace(&self) -> Instant {
        // Without a valid grace period it was never started.
        after(self.grace().unwrap_or_default())
    }

    /// Something happened to its present hook. Returns the next step.
    pub(crate) fn handle(&self, event: LifecycleEvent) -> Step {
        let mut next = Step::Ended;
        self.board.send_if_modified(|board| {
            let before = board.lifecycle;
            let result = board.handle(event);
            debug_assert!(result.is_ok(), "the task knows its step: {result:?}");
            next = board.lifecycle.step();
            let came_up = next == Step::Run;
            board.came_up |= came_up;
            came_up || before.state() != board.lifecycle.state()
        });
        if next == Step::Run {
            self.tell_parent(Occurrence::Up);
        }
        next
    }

    /// The end. `event` is how `after_shutdown` went.
    pub(crate) fn end(&self, event: LifecycleEvent, outcome: impl FnOnce(Lifecycle) -> Outcome) {
        let mut ended = None;
        self.board.send_modify(|board| {
            let result = board.handle(event);
            debug_assert!(result.is_ok(), "after_shutdown is the last step: {result:?}");
            self.is_stopping.store(true, Ordering::Release);
            ended = Some(board.outcome.insert(outcome(board.lifecycle)).clone());
        });
        // Whatever else was to stop with it.
        self.token.cancel();
        if let Some(outcome) = ended {
            self.tell_parent(Occurrence::Ended(outcome));
        }
    }

    fn tell_parent(&self, what: Occurrence) {
        if let Some(parent) = self.parent.get() {
            // A group that is gone has abandoned this child, and said so in its report.
            let _ = parent.events.send(ChildEvent::new(parent.child, parent.incarnation, what));
        }
    }

    pub(crate) fn status(&self) -> Status {
        if !self.is_here() {
            let reason = StatusReason::Forked;
            return Status { name: self.name().to_owned(), state: self.state(), reason, ..Status::default() };
        }
        let (state, came_up, reason, (changed, since), outcome) = {
            let board = self.board.borrow();
            let state = board.lifecycle.state();
            (state, board.came_up, board.reason(), board.changed, board.outcome.clone())
        };
        // Errors write their own text, which may ask the worker: not under the board's lock.
        let failed = outcome.filter(|outcome| !outcome.failures().is_empty());
        let reason = failed.map_or(reason, |outcome| StatusReason::Failed(outcome.in_full()));
        let mut status = Status {
            name: self.name().to_owned(),
            state,
            reason,
            since: Some(since),
            lasted: Instant::now().saturating_duration_since(changed),
            running: state.is_running(),
            stopping: state.is_stopping(),
            ready: state.is_running() && came_up,
            ..Status::default()
        };
        // The queue last: what it says of itself, no source overrides.
        for source in self.made.get().into_iter().flat_map(|made| [&made.source, &made.queue]).flatten() {
            source.add_to(&mut status);
        }
        if let Some(roster) = self.roster() {
            status.children = roster.statuses();
            status.ready &= roster.is_ready();
        }
        status
    }
}

/// Whether a runtime has a time driver. tokio has no other way to tell than to make a timer, which panics without one.
fn has_timer(runtime: &Handle) -> bool {
    let _runtime = runtime.enter();
    workfleet_panics::catch(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

/// The right to start a worker. If it is dropped unused, callers that wait for the start-up are told that there will be
/// none.
pub(crate) struct Unstarted(Arc<Shared>);

impl Unstarted {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        // In a fork another thread may have held the lock.
        if self.0.is_here() {
            self.0.board.send_if_modified(|board| {
                board.is_abandoned = board.lifecycle.step() == Step::Init;
                board.is_abandoned
            });
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name()).field("state", &self.state()).finish()
    }
}
