//! The runtime of a thread that runs tasks: what asynchronous tasks are polled on, and what they spawn.
//!
//! Invariants:
//! - A runtime is dropped on its own thread. One that is in use then, because a task calls `exit`, is left alone; and none waits
//!   for what still blocks.
//! - A thread that has nothing in the background pays nothing for the others: it waits for tasks as if there were no runtime.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::yield_now,
    time::timeout_at,
};

use crate::sys::naming::Naming;

/// While tasks wait, what is in the background gets a turn this often.
pub(crate) const TURN: Duration = Duration::from_millis(1);

thread_local! {
    static RUNTIME: RefCell<OwnRuntime> = const { RefCell::new(OwnRuntime(None)) };
}

/// Lends the runtime on which this thread runs asynchronous tasks. It is made when it is first needed.
pub(crate) fn on_own_runtime<R>(run: impl FnOnce(&Runtime) -> R) -> io::Result<R> {
    let runtime = RUNTIME.with_borrow_mut(|OwnRuntime(own)| match own {
        Some(runtime) => Ok::<_, io::Error>(Rc::clone(runtime)),
        None => {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.naming("making a runtime (epoll_create1, eventfd2 or the like)")?;
            Ok(Rc::clone(own.insert(Rc::new(runtime))))
        }
    })?;
    Ok(run(&runtime))
}

/// This thread's runtime, if there is one and what was spawned there has not ended.
fn in_background() -> Option<Rc<Runtime>> {
    RUNTIME.with_borrow(|OwnRuntime(own)| {
        own.as_ref().filter(|runtime| runtime.metrics().num_alive_tasks() > 0).map(Rc::clone)
    })
}

/// Waits for what `poll` yields, up to the deadline, and has what is in the background go on meanwhile; that gets a turn also if
/// there is nothing to wait for. None if there is nothing in the background, or nothing has come by the deadline.
pub(crate) fn wait_with_background<T>(
    deadline: Option<Instant>,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let runtime = in_background()?;
    runtime.block_on(async {
        yield_now().await;
        let polled = poll_fn(poll);
        match deadline {
            None => Some(polled.await),
            Some(deadline) => timeout_at(deadline.into(), polled).await.ok(),
        }
    })
}

/// Gives what is in the background a turn.
pub(crate) fn turn_background() {
    if let Some(runtime) = in_background() {
        runtime.block_on(yield_now());
    }
}

/// Ends what runs in the background on this thread's runtime: runs the destructors of what was spawned there. What runs later
/// in the context of the runtime finds it shut down.
pub(crate) fn end_background() -> Option<Handle> {
    // Taken out first: a destructor may ask for the runtime.
    let own = RUNTIME.with_borrow_mut(|own| OwnRuntime(own.0.take()));
    own.0.as_ref().map(|runtime| runtime.handle().clone())
}

/// A thread's runtime, which goes with the thread. That may be in the midst of a task: one that calls `exit` runs the
/// destructors of its thread's locals.
struct OwnRuntime(Option<Rc<Runtime>>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take().and_then(Rc::into_inner) {
            runtime.shutdown_background();
        }
    }
}
