//! The manager's thread: it keeps a worker in every slot, and serves the core's timer.
//!
//! Invariant: when the thread ends, for any reason, every task has ended, so that no caller waits for it.

use std::{
    convert::Infallible,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep_until,
};

use super::{OwnThread, Shared, close, patiently, spawn_patiently};
use crate::sys::naming::Naming;

/// The runtime of a manager's thread. It can be dropped anywhere, also inside another runtime: dropping it does not
/// wait.
pub(crate) struct ManagerRuntime(Option<Runtime>);

impl ManagerRuntime {
    /// Tries [patiently] until `deadline`.
    pub(crate) fn new(deadline: Instant) -> io::Result<Self> {
        patiently(deadline, || {
            let runtime = Builder::new_current_thread().enable_all().build();
            // What takes a call of the system there.
            Ok(Self(Some(runtime.naming("making a runtime (epoll_create1, eventfd2 or the like)")?)))
        })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let Some(runtime) = &self.0 else { unreachable!("it is there until it is dropped") };
        runtime.block_on(future)
    }
}

impl Drop for ManagerRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts the thread; what fails but may pass is tried again until `deadline`. The future `keep_worker` of a slot keeps workers in
/// it until the manager closes. Meanwhile the thread carries out how the manager is to close, and polls `aside`. It ends when
/// all slots have ended, and calls `at_end` last.
pub(crate) fn start<L: Future<Output = ()> + Send + 'static>(
    deadline: Instant,
    runtime: ManagerRuntime,
    shared: Arc<Shared>,
    grace: Duration,
    keep_worker: impl Fn(usize) -> L + Send + 'static,
    aside: impl Future<Output = Infallible> + Send + 'static,
    at_end: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    spawn_patiently(deadline, "workfleet", move || {
        let _closed = Closed(Arc::clone(&shared));
        let _own = OwnThread::of(&shared);
        let drive = async { drive(&shared, grace, keep_worker, aside).await };
        let driven = catch_unwind(AssertUnwindSafe(|| runtime.block_on(drive)));
        // What a blocked writer keeps must not keep us: the rest ends with the process.
        drop(runtime);
        if let Err(panic) = driven {
            // The panic was printed. Whoever waits must not wait forever.
            std::mem::forget(panic);
            workfleet_notice::error!("the manager's thread has failed: its tasks end as not run");
            shared.abandon();
        }
        at_end();
    })
}

/// The manager has closed when this is dropped, the last of its thread's deeds, whatever becomes of those before.
struct Closed(Arc<Shared>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.has_closed();
    }
}

async fn drive<L: Future<Output = ()> + Send + 'static>(
    shared: &Shared,
    grace: Duration,
    keep_worker: impl Fn(usize) -> L,
    aside: impl Future<Output = Infallible>,
) {
    let mut kept = JoinSet::new();
    let (mut slots, mut begun) = (shared.slots.subscribe(), 0);
    let mut aside = pin!(aside);
    let mut closing = pin!(close::carry_out(shared, grace));
    let mut deadline: Option<Instant> = None;
    loop {
        let now = *slots.borrow_and_update();
        (begun..now).for_each(|slot| {
            kept.spawn(keep_worker(slot));
        });
        begun = now;
        tokio::select! {
            biased;
            // There is no error while `shared` is there.
            _ = slots.changed() => {}
            ended = kept.join_next() => match ended {
                None => return,
                Some(Ok(())) => {}
                // A bug of ours, and its tasks are nobody's now: rather no manager than one that hangs.
                Some(Err(error)) => panic!("a slot is lost: {error}"),
            },
            () = shared.timer.notified() => deadline = shared.deadline(),
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                deadline = shared.handle_timeout();
            }
            never = &mut closing => match never {},
            never = &mut aside => match never {},
        }
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_gets_no_thread_can_be_given_up_inside_a_runtime() {
        let around = ManagerRuntime::new(Instant::now()).expect("a runtime");
        around.block_on(async { drop(ManagerRuntime::new(Instant::now()).expect("a runtime")) });
    }
}
