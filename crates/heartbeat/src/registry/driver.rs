//! The heartbeaters' thread: time for the table, and the check for runners that hang.

use std::{
    io,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    time::timeout_at,
};

use super::{
    elsewhere,
    shared::{Shared, Sleeps, State},
};

/// How long a callback may keep others waiting before they get another runner: at least this, and less than twice this.
const PATIENCE: Duration = Duration::from_millis(5);

/// How many callbacks may hang at the same time without harm to others: each holds a thread of the pool.
const THREADS_LIMIT: usize = 4096;

/// A runtime that can be dropped anywhere, also inside another: dropping it does not wait.
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(THREADS_LIMIT)
            .thread_name("workfleet-heartbeat-callbacks")
            .build()?;
        Ok(Self(Some(runtime)))
    }
}

impl Deref for OwnRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        let Some(runtime) = &self.0 else { unreachable!("it is there until it is dropped") };
        runtime
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts the thread. It ends when the heartbeaters are stopped.
pub(super) fn start(runtime: OwnRuntime, shared: Arc<Shared>) -> io::Result<()> {
    let thread = thread::Builder::new().name("workfleet-heartbeat".into());
    thread.spawn(move || {
        let driven = catch_unwind(AssertUnwindSafe(|| runtime.block_on(drive(&shared))));
        if let Err(panic) = driven {
            // The panic was printed. Whoever waits must not wait forever.
            std::mem::forget(panic);
            workfleet_notice::error!("the heartbeaters' thread has failed: they stop");
        }
        // Nobody waits for a callback that hangs; who waits for an unregistering is told.
        drop(runtime);
        end(&shared);
    })?;
    Ok(())
}

/// Serves the table until it is stopped.
pub(super) async fn drive(shared: &Arc<Shared>) {
    // When to look at the runners again.
    let mut look_at: Option<Instant> = None;
    loop {
        let now = shared.now();
        let Some(would_miss) = serve(shared, |state| state.table.would_miss(now)) else {
            return;
        };
        if would_miss {
            elsewhere::catch_up(shared).await;
        }
        // With the time from before: whoever was silent until then has been given every chance.
        let handled = serve(shared, |state| {
            state.table.handle_timeout(now);
            state.table.poll_timeout().is_none_or(|at| at > now).then_some(())
        });
        if handled.is_none() {
            return;
        }
        match look_at {
            Some(at) if at > now => {}
            Some(_) => look_at = shared.tick().then(|| now + PATIENCE),
            None => look_at = shared.checks_for_hangs().then(|| now + PATIENCE),
        }
        let until = shared.change(|state| {
            let next = state.table.poll_timeout();
            let until = match (next, look_at) {
                (Some(next), Some(look_at)) => Some(next.min(look_at)),
                (next, look_at) => next.or(look_at),
            };
            state.sleeps = Some(Sleeps { until });
            until
        });
        match until {
            None => shared.changed.notified().await,
            // Whether it is time or something has changed, the next turn finds out.
            Some(at) => drop(timeout_at(at.into(), shared.changed.notified()).await),
        }
    }
}

/// Serves the table bit by bit, so that others get the lock between. None once it is stopped.
fn serve<T>(shared: &Arc<Shared>, mut bit: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
    loop {
        let (stopped, served) = shared.change(|state| {
            state.sleeps = None;
            (state.stopped, bit(state))
        });
        if stopped || served.is_some() {
            return served.filter(|_| !stopped);
        }
    }
}

/// Drops what is left, outside the lock: callbacks may do anything when they are dropped.
pub(super) fn end(shared: &Arc<Shared>) {
    let left = shared.change(|state| {
        state.stopped = true;
        (std::mem::take(&mut state.table), std::mem::take(&mut state.closers))
    });
    drop(left);
    // They hold what is shared, as it holds them.
    #[cfg(feature = "remote")]
    drop(shared.change(|state| std::mem::take(&mut state.places)));
}
