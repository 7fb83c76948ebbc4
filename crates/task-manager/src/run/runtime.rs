//! The runtime of a thread that runs tasks: what asynchronous tasks are polled on, and what they spawn.
//!
//! Invariant: a runtime is dropped on its own thread. One that is in use then, because a task calls `exit`, is left alone;
//! and none waits for what still blocks.

use std::{cell::RefCell, io, rc::Rc};

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<OwnRuntime> = const { RefCell::new(OwnRuntime(None)) };
}

/// Lends the runtime on which this thread runs asynchronous tasks. It is made when it is first needed.
pub(crate) fn on_own_runtime<R>(run: impl FnOnce(&Runtime) -> R) -> io::Result<R> {
    let runtime = RUNTIME.with_borrow_mut(|OwnRuntime(own)| match own {
        Some(runtime) => Ok::<_, io::Error>(Rc::clone(runtime)),
        None => Ok(Rc::clone(own.insert(Rc::new(Builder::new_current_thread().enable_all().build()?)))),
    })?;
    Ok(run(&runtime))
}

/// Ends what runs in the background on this thread's runtime: runs the destructors of what was spawned there.
pub(crate) fn end_background() {
    // Taken out first: a destructor may ask for the runtime.
    let own = RUNTIME.with_borrow_mut(|own| OwnRuntime(own.0.take()));
    drop(own);
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
