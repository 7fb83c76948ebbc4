//! What a worker has spawned, so that none of it outlives the worker.
//!
//! Invariants:
//! - Once this is closed, nothing is spawned any more.
//! - A task is alive from before it is spawned until its future is dropped, however that comes about.
//! - A failure is recorded before the task is no longer alive.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;
use workfleet_panics::discard;

use crate::{error::WorkerFailureCause, output::HookOutput, panic::Caught};

/// The tasks of one worker. Most workers have none, and pay nothing for this.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    state: Mutex<State>,
    failed: Arc<Failed>,
}

/// Tells that a task has failed.
#[derive(Debug, Default)]
struct Failed {
    /// Set (release) before anybody is notified, and never unset.
    one_has: AtomicBool,
    /// Also before somebody waits.
    told: Notify,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Some(Arc<Spawned>),
    Closed(Option<Arc<Spawned>>),
}

#[derive(Debug)]
struct Spawned {
    alive: watch::Sender<usize>,
    /// Cancelled to have all of them dropped.
    abort: CancellationToken,
    failures: Mutex<Vec<WorkerFailureCause>>,
}

impl Spawned {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            alive: watch::Sender::new(0),
            abort: CancellationToken::new(),
            failures: Mutex::default(),
        })
    }
}

/// One of them, while it lives.
struct Alive(Arc<Spawned>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| *alive -= 1);
    }
}

impl Tasks {
    /// Spawns a task, unless this is closed. Returns whether it did.
    pub(crate) fn spawn<F>(&self, runtime: &Handle, future: F) -> bool
    where
        F: Future<Output: HookOutput> + Send + 'static,
    {
        let alive = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let State::None = *state {
                *state = State::Some(Spawned::new());
            }
            match &*state {
                State::Some(spawned) => {
                    spawned.alive.send_modify(|alive| *alive += 1);
                    Some(Alive(Arc::clone(spawned)))
                }
                State::None | State::Closed(_) => None,
            }
        };
        let Some(alive) = alive else {
            // Its end is somebody else's code: not under the lock, and not as a panic of whoever spawns.
            discard(future);
            return false;
        };
        let failed = Arc::clone(&self.failed);
        runtime.spawn(async move {
            // In this order, so that it is dropped before it counts as ended, also where it is never polled.
            let (alive, future) = (alive, future);
            let spawned = &alive.0;
            let mut task = pin!(Caught::new(async { future.await.into_result() }));
            let ended = tokio::select! {
                biased;
                () = spawned.abort.cancelled() => None,
                ended = task.as_mut() => Some(ended),
            };
            let failure = match ended {
                Some(Ok(Ok(()))) => None,
                Some(Ok(Err(error))) => Some(WorkerFailureCause::Error(error)),
                Some(Err(panic)) => Some(WorkerFailureCause::Panic(panic)),
                None => task.abort().err().map(WorkerFailureCause::Panic),
            };
            if let Some(failure) = failure {
                spawned.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                failed.one_has.store(true, Ordering::Release);
                failed.told.notify_one();
            }
        });
        true
    }

    fn spawned(&self) -> Option<Arc<Spawned>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::None => None,
            State::Some(spawned) => Some(Arc::clone(spawned)),
            State::Closed(spawned) => spawned.clone(),
        }
    }

    /// The output of a future, or `None` if a task fails first, which drops the future.
    pub(crate) async fn unless_one_fails<F: Future>(&self, future: F) -> Option<F::Output> {
        let (mut future, mut failed) = (pin!(future), pin!(self.failed.told.notified()));
        let mut waker: Option<Waker> = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            // A consumer comes by here with each message: as long as none has failed, the notification need not be looked at
            // again, because it knows whom to wake.
            let is_awaited = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if is_awaited && !self.failed.one_has.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            waker = Some(cx.waker().clone());
            failed.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// Returns when one has failed and that was not reported yet.
    pub(crate) async fn has_failed(&self) {
        self.failed.told.notified().await;
    }

    /// Nothing is spawned any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match std::mem::take(&mut *state) {
            State::None => State::Closed(None),
            State::Some(spawned) => State::Closed(Some(spawned)),
            State::Closed(spawned) => State::Closed(spawned),
        };
    }

    /// Drops all of them at their present `.await`.
    pub(crate) fn abort(&self) {
        if let Some(spawned) = self.spawned() {
            spawned.abort.cancel();
        }
    }

    /// Returns when none lives any more.
    pub(crate) async fn ended(&self) {
        if let Some(spawned) = self.spawned() {
            // The sender lives as long as `spawned`.
            let _ = spawned.alive.subscribe().wait_for(|alive| *alive == 0).await;
        }
    }

    /// How those failed that have, since this was asked last.
    pub(crate) fn take_failures(&self) -> Vec<WorkerFailureCause> {
        let spawned = self.spawned();
        spawned.map_or_else(Vec::new, |spawned| {
            std::mem::take(&mut *spawned.failures.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}
