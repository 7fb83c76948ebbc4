//! An end to the wait of any future of a lock, by tokio's timer.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::{
    LockFailed,
    events::{Ending, Limit},
};

/// The future's output, or the error that it took longer than `timeout`.
///
/// A future that is ready at once needs no timer, and no runtime.
pub(crate) async fn within<T>(
    timeout: Duration,
    future: impl Future<Output = Result<T, LockFailed>>,
) -> Result<T, LockFailed> {
    let ending = Ending;
    let mut future = pin!(future);
    if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return result;
    }
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(ending.by(Limit::NoTimer));
    }
    let limited = workfleet_panics::catch(|| tokio::time::timeout(timeout, future));
    let Ok(limited) = limited else { return Err(ending.by(Limit::NoTimer)) };
    limited.await.unwrap_or_else(|_| Err(ending.by(Limit::TimedOut(timeout))))
}
