//! What the heartbeaters, their senders, runners and thread share.
//!
//! Invariants:
//! - All state is behind the one lock of the runners, which is held for a few instructions. Callbacks, wakers and
//!   destructors of user values run outside it.
//! - A call that makes the next deadline earlier wakes the sleeping thread.

use std::{cell::Cell, collections::BTreeMap, fmt, sync::Arc, time::Instant};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};
use workfleet_fork::Home;

use super::callback_runners::{CallbackRunners, Needs, RunnerId, Work};
use crate::{
    Details, Executor, HeartbeatError, Report,
    cores::{Closed, Key, Table},
};

/// What is called with each report of a token. Wherever it is dropped, a panic of its destructor goes no further.
pub(crate) struct Callback(Option<Box<dyn FnMut(Report) + Send>>);

impl Callback {
    pub(super) fn new(callback: impl FnMut(Report) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Calls it; what it said if it panicked.
    fn call(&mut self, report: Report) -> Option<String> {
        let callback = self.0.as_mut()?;
        workfleet_panics::catch(|| callback(report)).err()
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        let callback = self.0.take();
        if let Err(message) = workfleet_panics::catch(|| drop(callback)) {
            workfleet_notice::error!(panic = %message, "the destructor of a heartbeater's callback panicked");
        }
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

pub(crate) struct Shared {
    runners: CallbackRunners<State>,
    /// The thread has something to look at.
    pub(super) changed: Notify,
    executor: Option<Box<dyn Executor>>,
    /// Of the heartbeaters' own runtime.
    pub(super) runtime: Handle,
    clock: fn() -> Instant,
    home: Home,
}

pub(crate) struct State {
    pub(super) table: Table<Callback>,
    /// The callers that wait for a closed token's end.
    pub(super) closers: BTreeMap<Key, oneshot::Sender<Closed<Callback>>>,
    /// Until when the thread sleeps. A call with an earlier deadline wakes it. None while it is awake.
    pub(super) sleeps: Option<Sleeps>,
    /// Of the tokens whose senders other processes may have.
    #[cfg(feature = "remote")]
    pub(super) places: BTreeMap<Key, Arc<dyn crate::ports::TokenPlace>>,
    pub(super) stopped: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeps {
    pub(super) until: Option<Instant>,
}

impl Work for State {
    fn has_ready(&self) -> bool {
        self.table.has_ready()
    }
}

thread_local! {
    /// The callback that runs on this thread.
    static INSIDE: Cell<Option<(*const Shared, Key)>> = const { Cell::new(None) };
}

impl Shared {
    pub(super) fn new(
        executor: Option<Box<dyn Executor>>,
        runtime: Handle,
        clock: fn() -> Instant,
    ) -> Arc<Self> {
        let state = State {
            table: Table::new(),
            closers: BTreeMap::new(),
            sleeps: None,
            #[cfg(feature = "remote")]
            places: BTreeMap::new(),
            stopped: false,
        };
        Arc::new(Self {
            runners: CallbackRunners::new(state),
            changed: Notify::new(),
            executor,
            runtime,
            clock,
            home: Home::here(),
        })
    }

    /// Whether this process started the heartbeaters. In a fork of it there is none of their threads, and another may have held
    /// their lock.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.home.is_here()
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// A beat of a token that was registered here.
    pub(crate) fn beat(self: &Arc<Self>, key: Key, details: Details) -> Result<(), HeartbeatError> {
        if !self.is_here() {
            return Err(HeartbeatError::Forked);
        }
        let now = self.now();
        self.change(|state| match state.stopped {
            false => {
                state.table.beat(now, key, details);
                Ok(())
            }
            true => Err(HeartbeatError::NotConnected),
        })
    }

    /// Changes the state, and carries out what follows.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let ((changed, follows), needs) = self.runners.change(|state| {
            let changed = change(state);
            (changed, state.follows())
        });
        self.see_to(follows);
        self.meet(needs);
        changed
    }

    /// Checks the runners for one that hangs. True if it has to be called again.
    pub(super) fn tick(self: &Arc<Self>) -> bool {
        let tick = self.runners.tick();
        self.meet(Needs { runner: tick.runner, hang_check: false });
        tick.again
    }

    /// Whether the check for hangs is on.
    pub(super) fn checks_for_hangs(&self) -> bool {
        self.runners.checks_for_hangs()
    }

    /// Whether this thread is in the token's callback: waiting there for its end would be forever.
    pub(super) fn is_inside(&self, key: Key) -> bool {
        INSIDE.get() == Some((std::ptr::from_ref(self), key))
    }

    /// Drops a callback, on a thread that its destructor may block. None if there is no such thread now.
    pub(super) fn discard(&self, callback: Callback) -> Option<tokio::task::JoinHandle<()>> {
        let discard = || self.runtime.spawn_blocking(|| drop(callback));
        workfleet_panics::catch(discard)
            .inspect_err(|message| {
                workfleet_notice::error!(panic = %message, "no thread could be started to drop a callback");
            })
            .ok()
    }

    fn see_to(&self, follows: Follows) {
        for (waiter, closed) in follows.closed {
            // Nobody waits any more once the runtime is shut down.
            drop(waiter.send(closed));
        }
        if follows.wake {
            self.changed.notify_one();
        }
    }

    fn meet(self: &Arc<Self>, needs: Needs) {
        if needs.hang_check {
            self.changed.notify_one();
        }
        if let Some(runner) = needs.runner {
            self.start(runner);
        }
    }

    fn start(self: &Arc<Self>, runner: RunnerId) {
        match &self.executor {
            None => self.start_here(runner),
            Some(executor) => {
                let job = Job { shared: Arc::clone(self), runner: Some(runner), ours: false };
                if let Err(message) =
                    workfleet_panics::catch(|| executor.execute(Box::new(move || job.run())))
                {
                    workfleet_notice::error!(panic = %message, "the executor of callbacks panicked");
                    self.start_instead_of(runner);
                }
            }
        }
    }

    /// On the blocking pool of our own.
    fn start_here(self: &Arc<Self>, runner: RunnerId) {
        let job = Job { shared: Arc::clone(self), runner: Some(runner), ours: true };
        // It panics if the system has no thread left.
        if let Err(message) = workfleet_panics::catch(|| self.runtime.spawn_blocking(move || job.run())) {
            workfleet_notice::error!(panic = %message, "no thread could be started for callbacks");
            let needs = self.runners.postpone(runner);
            self.meet(needs);
        }
    }

    /// For one that an executor has not run.
    fn start_instead_of(self: &Arc<Self>, runner: RunnerId) {
        let needs = self.runners.lost(runner);
        if let Some(runner) = needs.runner {
            self.start_here(runner);
        }
    }

    /// Calls one callback after the other for as long as there is something to report.
    fn run(self: &Arc<Self>, me: RunnerId) {
        let mut returned: Option<Returned> = None;
        loop {
            let now = self.now();
            let (mut gone, mut follows) = (None, Follows::default());
            let finish = |state: &mut State| {
                if let Some(Returned { key, callback, panicked }) = returned.take() {
                    gone = state.table.finished(now, key, callback, panicked);
                    follows = state.follows();
                }
            };
            let (work, needs) = self.runners.next(me, finish, |state| state.table.poll_ready());
            self.see_to(follows);
            self.meet(needs);
            // Its destructor may block, and whose call is next must not wait for that.
            gone.into_iter().for_each(|callback| drop(self.discard(callback)));
            let Some(work) = work else { return };
            let (key, mut callback) = (work.key, work.callback);
            let before = INSIDE.replace(Some((Arc::as_ptr(self), key)));
            let panicked = callback.call(work.report);
            INSIDE.set(before);
            if let Some(message) = &panicked {
                workfleet_notice::error!(panic = %message, "the callback of a heartbeater panicked");
            }
            returned = Some(Returned { key, callback, panicked });
        }
    }
}

/// A callback that has been called.
struct Returned {
    key: Key,
    callback: Callback,
    panicked: Option<String>,
}

/// What has to be done after a change, outside the lock.
#[derive(Default)]
struct Follows {
    closed: Vec<(oneshot::Sender<Closed<Callback>>, Closed<Callback>)>,
    wake: bool,
}

impl State {
    fn follows(&mut self) -> Follows {
        let mut closed = Vec::new();
        while let Some(end) = self.table.poll_closed() {
            let Some(waiter) = self.closers.remove(&end.key) else {
                unreachable!("whoever closes a token waits for its end");
            };
            closed.push((waiter, end));
        }
        let earlier = |sleeps: Sleeps| match (self.table.poll_timeout(), sleeps.until) {
            (Some(next), Some(until)) => next < until,
            (next, None) => next.is_some(),
            (None, Some(_)) => false,
        };
        let wake = self.sleeps.is_some_and(|sleeps| self.stopped || earlier(sleeps));
        if wake {
            self.sleeps = None;
        }
        Follows { closed, wake }
    }
}

/// What an executor is given. If it is dropped without having been run, another is started.
struct Job {
    shared: Arc<Shared>,
    /// None once it was run.
    runner: Option<RunnerId>,
    ours: bool,
}

impl Job {
    fn run(mut self) {
        if let Some(runner) = self.runner.take() {
            self.shared.run(runner);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let Some(runner) = self.runner.take() else { return };
        if self.ours {
            // The runtime is shut down, and so are we; or there was no thread.
            let needs = self.shared.runners.postpone(runner);
            self.shared.meet(needs);
        } else {
            self.shared.start_instead_of(runner);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
