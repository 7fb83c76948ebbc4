//! Whether the current thread must not be blocked, because an async runtime polls futures on it.
//!
//! Tokio reports a current runtime on every thread that belongs to one, also on threads that a program may block. What
//! tells them apart is the cooperative budget: it is limited exactly while tokio polls a future. So a thread is asked
//! for more units than a limited budget can have, and all of them are given back.
//!
//! | where the call is made | blocking it |
//! |---|---|
//! | a future that tokio polls: `block_on`, `spawn`, `spawn_local`, on any kind of runtime | stops the runtime's other tasks |
//! | `spawn_blocking`, `block_in_place` | is what they are for |
//! | a thread without a runtime, or with a guard of `Handle::enter` only | concerns nobody else |
//! | a future inside `tokio::task::unconstrained` | stops the runtime's other tasks, but is not told from `spawn_blocking` |
//! | a future that another executor polls | is not noticed |
//!
//! Shared with `workfleet-task-manager`, and no part of the public interface.

use std::{
    collections::BTreeSet,
    panic::Location,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    runtime::Handle,
    task::coop::{RestoreOnPending, poll_proceed},
};

/// More than a limited budget can have: tokio counts it in a `u8`.
const MORE_THAN_ANY_BUDGET: usize = 256;

/// Whether tokio is polling a future on this thread: what blocks it stops the runtime.
pub fn is_polling() -> bool {
    // Most threads have nothing to do with a runtime.
    if Handle::try_current().is_err() {
        return false;
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken: Vec<RestoreOnPending> = Vec::with_capacity(MORE_THAN_ANY_BUDGET);
    let mut is_limited = false;
    while !is_limited && taken.len() < MORE_THAN_ANY_BUDGET {
        match poll_proceed(&mut cx) {
            Poll::Ready(unit) => taken.push(unit),
            Poll::Pending => is_limited = true,
        }
    }
    // Each restores the budget that it found: the last goes first.
    while taken.pop().is_some() {}
    is_limited
}

/// Warns if tokio is polling a future on this thread, which `call` is about to block: once for each place in the program
/// that calls it.
#[track_caller]
pub fn warn_of_blocking(call: &'static str, instead: &'static str) {
    /// As many as there are such places.
    static WARNED: Mutex<BTreeSet<(&str, u32, u32)>> = Mutex::new(BTreeSet::new());
    if !is_polling() {
        return;
    }
    let caller = Location::caller();
    let place = (caller.file(), caller.line(), caller.column());
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
        tracing::warn!(
            %caller,
            call,
            instead,
            "a call blocks a thread on which an async runtime polls futures: none of them goes on meanwhile"
        );
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures_util::FutureExt;
    use tokio::{
        runtime::{Builder, Handle, Runtime},
        task::{self, LocalSet, coop},
    };
    use tracing::{Event, Metadata, Subscriber, span};

    use super::*;

    /// Counts what is said of blocking calls.
    #[derive(Clone, Default)]
    struct Counter(Arc<AtomicU32>);

    impl Subscriber for Counter {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().ends_with("::runtime_thread")
        }
        fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}
        fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}
        fn event(&self, _event: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _span: &span::Id) {}
        fn exit(&self, _span: &span::Id) {}
    }

    #[test]
    fn a_blocking_call_is_warned_of_once_for_each_place_that_makes_it() {
        let counter = Counter::default();
        let warned = || counter.0.load(Ordering::Relaxed);
        let here = || warn_of_blocking("wait", "await");
        tracing::subscriber::with_default(counter.clone(), || {
            here();
            assert_eq!(warned(), 0, "it blocks nobody else");
            for runtime in runtimes() {
                (0..3).for_each(|_| runtime.block_on(async { here() }));
            }
            assert_eq!(warned(), 1);
            runtimes()[0].block_on(async { warn_of_blocking("wait", "await") });
            assert_eq!(warned(), 2, "another place");
        });
    }

    fn runtimes() -> [Runtime; 2] {
        let multi = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        [Builder::new_current_thread().build().expect("a runtime"), multi]
    }

    async fn in_a_future() -> bool {
        is_polling()
    }

    #[test]
    fn a_thread_without_a_runtime_may_be_blocked() {
        assert!(!is_polling());
        for runtime in runtimes() {
            let _guard = runtime.enter();
            assert!(!is_polling(), "a guard alone polls nothing");
        }
        assert!(!in_a_future().now_or_never().expect("it does not wait"), "another executor");
    }

    #[test]
    fn a_thread_that_polls_a_future_may_not() {
        for runtime in runtimes() {
            assert!(runtime.block_on(in_a_future()));
            assert!(runtime.handle().block_on(in_a_future()));
            assert!(runtime.block_on(async { task::spawn(in_a_future()).await.expect("it does not panic") }));
            assert!(LocalSet::new().block_on(&runtime, async {
                task::spawn_local(in_a_future()).await.expect("it does not panic")
            }));
            // One executor inside the other.
            assert!(runtime.block_on(async { in_a_future().now_or_never().expect("it does not wait") }));
            let nested = || Handle::current().block_on(in_a_future());
            assert!(
                runtime.block_on(async { task::spawn_blocking(nested).await.expect("it does not panic") })
            );
        }
    }

    #[test]
    fn a_thread_that_a_runtime_has_for_blocking_may_be_blocked() {
        let [current, multi] = runtimes();
        for runtime in [&current, &multi] {
            assert!(
                !runtime
                    .block_on(async { task::spawn_blocking(is_polling).await.expect("it does not panic") })
            );
        }
        multi.block_on(async {
            let spawned = task::spawn(async { (task::block_in_place(is_polling), is_polling()) });
            assert_eq!(spawned.await.expect("it does not panic"), (false, true));
        });
    }

    /// What is documented as not being told.
    #[test]
    fn a_future_without_a_budget_is_taken_for_a_thread_for_blocking() {
        for runtime in runtimes() {
            assert!(!runtime.block_on(coop::unconstrained(in_a_future())));
        }
    }

    #[test]
    fn asking_costs_the_future_nothing_of_its_budget() {
        fn left() -> usize {
            let mut cx = Context::from_waker(Waker::noop());
            (0..)
                .take_while(|_| match poll_proceed(&mut cx) {
                    Poll::Ready(unit) => {
                        unit.made_progress();
                        true
                    }
                    Poll::Pending => false,
                })
                .count()
        }
        for runtime in runtimes() {
            let untouched = runtime.block_on(async { left() });
            let (asked, then) = runtime.block_on(async { (is_polling(), left()) });
            assert!(asked && untouched > 0);
            assert_eq!(then, untouched);
            assert!(runtime.block_on(async {
                left();
                is_polling()
            }));
        }
    }
}
