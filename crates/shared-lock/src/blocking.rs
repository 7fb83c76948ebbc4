//! Waiting for a future on a thread that may block, without a runtime.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::{
    LockFailed,
    events::{Ending, Limit},
};

/// Unparks the thread that waits. One that is woken too often polls again, and one that was woken before it parked
/// does not park.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// The future's output; `None` if it is not ready within `timeout`. Without a timeout it waits for as long as it takes.
///
/// A future that is ready at once costs neither a waker nor a look at the clock. A timeout beyond what a clock can count
/// is none.
pub(crate) fn block_on<F: Future>(future: F, timeout: Option<Duration>) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Some(output);
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match deadline {
            None => thread::park(),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return None,
            },
        }
    }
}

/// As [`block_on`], for a lock: the error that it took longer than `timeout` is its own.
pub(crate) fn block_on_within<T>(
    future: impl Future<Output = Result<T, LockFailed>>,
    timeout: Duration,
) -> Result<T, LockFailed> {
    let ending = Ending;
    let future = pin!(future);
    block_on(future, Some(timeout)).unwrap_or_else(|| Err(ending.by(Limit::TimedOut(timeout))))
}

/// As [`block_on`], without a timeout.
pub(crate) fn block_on_forever<F: Future>(future: F) -> F::Output {
    match block_on(future, None) {
        Some(output) => output,
        None => unreachable!("only a timeout ends a wait"),
    }
}
